"""Promise: bad input raises one error that names the argument, what it got and what it takes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from scnp_kernels import SCNP, SCNPLoss, scnp

LOGITS = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
TARGET = torch.zeros(2, 4, 5, dtype=torch.long)
MASKS = torch.zeros(2, 3, 4, 5, dtype=torch.bool)
LOGITS_TAKES = r"takes float16, bfloat16, float32 or float64"
DENSE = r"takes a dense \(strided\) one"
TERM_WEIGHT = "takes a finite number that is not negative, or a real tensor without axes"
ODD = r"takes an odd positive integer, or a sequence of them"
INDEX = r"takes an integer or None"
MAP_SHAPES = r"\(2, 4, 5\) or \(2, 1, 4, 5\)"


class Bad(NamedTuple):
    """A call that differs from a good one in one argument, and the error it raises."""

    name: str
    arguments: dict[str, Any]
    error: type[Exception]
    message: str


def _quietly(make: Callable[[], Tensor]) -> Tensor:
    """Torch warns of tensors that it is about to give up, or has just begun with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


def _quantized() -> Tensor:
    return _quietly(lambda: torch.quantize_per_tensor(LOGITS, 0.1, 0, torch.qint8))


def _nested() -> Tensor:
    return torch.nested.nested_tensor([LOGITS[0], LOGITS[1]], layout=torch.jagged)


NOT_TENSORS: list[Any] = [None, 1.0, [[1.0]], LOGITS.numpy(), "logits"]

LOGITS_ERRORS = [
    *(
        Bad(f"logits_{type(value).__name__}", {"logits": value}, TypeError,
            rf"logits: got {type(value).__name__}, takes a torch\.Tensor")
        for value in NOT_TENSORS
        if not isinstance(value, list)
    ),
    *(
        Bad(f"logits_{dtype}", {"logits": LOGITS.to(dtype)}, TypeError,
            rf"logits: got {dtype}, {LOGITS_TAKES}")
        for dtype in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.complex64,
                      torch.float8_e4m3fn)
    ),
    *(
        Bad(f"logits_{len(shape)}_axes", {"logits": torch.zeros(shape)}, ValueError,
            rf"logits: got {len(shape)} axes \({', '.join(map(str, shape))},?\), "
            r"takes \[B, C, \*spatial\] with 1 to 3 spatial axes")
        for shape in ((), (3,), (2, 3), (1, 2, 3, 4, 5, 6))
    ),
    Bad("logits_coo", {"logits": LOGITS.to_sparse()}, TypeError,
        rf"logits: got a torch\.sparse_coo tensor, {DENSE}"),
    Bad("logits_csr", {"logits": _quietly(LOGITS[0, 0].to_sparse_csr)}, TypeError,
        rf"logits: got a torch\.sparse_csr tensor, {DENSE}"),
    Bad("logits_mkldnn", {"logits": LOGITS.to_mkldnn()}, TypeError,
        rf"logits: got a torch\._mkldnn tensor, {DENSE}"),
    Bad("logits_nested", {"logits": _nested()}, TypeError,
        rf"logits: got a nested tensor, {DENSE}"),
    Bad("logits_quantized", {"logits": _quantized()}, TypeError,
        rf"logits: got a quantized tensor, {DENSE}"),
]  # fmt: skip

TARGET_ERRORS = [
    *(
        Bad(f"target_{type(value).__name__}", {"target": value}, TypeError,
            rf"target: got {type(value).__name__}, takes a torch\.Tensor")
        for value in NOT_TENSORS
    ),
    *(
        Bad(f"target_shape_{'x'.join(map(str, shape))}",
            {"target": torch.zeros(shape, dtype=torch.long)}, ValueError,
            rf"target: got shape \({', '.join(map(str, shape))},?\), takes a label map of shape "
            rf"{MAP_SHAPES}, or masks of the shape of logits \(2, 3, 4, 5\)")
        for shape in ((), (2,), (4, 5), (2, 5, 4), (1, 4, 5), (2, 4, 6), (2, 2, 4, 5),
                      (2, 4, 5, 1), (1, 3, 4, 5), (2, 4, 5, 3), (2, 1, 3, 4, 5))
    ),
    *(
        Bad(f"target_map_{dtype}", {"target": TARGET.to(dtype)}, TypeError,
            rf"target: got a label map of {dtype}, takes uint8, int8, int16, int32, int64, "
            r"bool \(when C = 1\), or a floating dtype holding whole numbers")
        for dtype in (torch.uint16, torch.uint32, torch.uint64, torch.complex64,
                      torch.float8_e5m2)
    ),
    *(
        Bad(f"target_masks_{dtype}", {"target": MASKS.to(dtype)}, TypeError,
            rf"target: got masks of {dtype}, takes bool, an integer dtype, or float16, "
            r"bfloat16, float32 or float64 holding 0 and 1")
        for dtype in (torch.complex64, torch.float8_e5m2)
    ),
    Bad("target_bool_map", {"target": TARGET.bool()}, TypeError,
        r"target: got a label map of torch\.bool for C = 3 classes; a bool label map needs "
        r"C = 1, and one mask per class needs the shape of logits \(2, 3, 4, 5\)"),
    Bad("target_coo", {"target": TARGET.to_sparse()}, TypeError,
        rf"target: got a torch\.sparse_coo tensor, {DENSE}"),
    Bad("target_nested", {"target": _nested()}, TypeError,
        rf"target: got a nested tensor, {DENSE}"),
    Bad("target_quantized", {"target": _quantized()}, TypeError,
        rf"target: got a quantized tensor, {DENSE}"),
    Bad("target_device", {"target": TARGET.to("meta")}, ValueError,
        r"target: got a tensor on meta, takes the device of logits, cpu"),
    Bad("target_value", {"target": TARGET + 3}, ValueError,
        r"target: got a label map that holds 3, takes integers in \[0, 3\)"),
    Bad("target_mask_value", {"target": MASKS.to(torch.uint8) + 2}, ValueError,
        r"target: got a mask that holds 2, takes masks of 0 and 1"),
]  # fmt: skip

KERNEL_SIZE_ERRORS = [
    *(
        Bad(f"kernel_size_{value!r}", {"kernel_size": value}, error,
            rf"kernel_size: got .*, {ODD} \(2, one per axis\)")
        for value, error in (
            (2, ValueError), (0, ValueError), (-1, ValueError), (-3, ValueError),
            (10**6, ValueError), ((3, 2), ValueError), ((0, 3), ValueError),
            ([3, -3], ValueError), ((), ValueError), ((3,), ValueError),
            ([3, 3, 3], ValueError), (3.0, TypeError), (math.nan, TypeError),
            ("3", TypeError), ("33", TypeError), (None, TypeError), (True, TypeError),
            ((True, 3), TypeError), ((3.0, 3), TypeError), (("3", 3), TypeError),
            ((3, None), TypeError), ({3, 5}, TypeError), (b"\x03\x03", TypeError),
            (torch.tensor(3), TypeError), (torch.tensor([3, 3]), TypeError),
            ((torch.tensor(3), 3), TypeError),
        )
    ),
    Bad("kernel_size_beyond_int32",
        {"logits": torch.empty(1, 1, 1, 1).expand(1, 1, 100_000, 100_000),
         "target": torch.zeros(1, 1, 1).expand(1, 100_000, 100_000),
         "kernel_size": 99_999}, ValueError,
        r"kernel_size: got .*99999.*, a window of 9,999,800,001 pixels; takes windows of at most"),
]  # fmt: skip

OTHER_ERRORS = [
    *(
        Bad(f"ignore_index_{value!r}", {"ignore_index": value}, TypeError,
            rf"ignore_index: got .*, {INDEX}")
        for value in (1.0, 255.0, math.nan, "255", True, [255], torch.tensor(255))
    ),
    Bad("ignore_index_with_masks", {"target": MASKS, "ignore_index": 255}, ValueError,
        r"ignore_index: got 255 with one target mask per channel, .*pass mask="),
    *(
        Bad(f"mask_{type(value).__name__}", {"mask": value}, TypeError,
            rf"mask: got {type(value).__name__}, takes a torch\.Tensor")
        for value in (1.0, [[True]], TARGET.numpy(), True)
    ),
    *(
        Bad(f"mask_{dtype}", {"mask": TARGET.to(dtype)}, TypeError,
            rf"mask: got {dtype}, takes torch\.bool \(True where a pixel is valid\)")
        for dtype in (torch.uint8, torch.int64, torch.float32, torch.complex64)
    ),
    *(
        Bad(f"mask_shape_{'x'.join(map(str, shape))}",
            {"mask": torch.ones(shape, dtype=torch.bool)}, ValueError,
            rf"mask: got shape \({', '.join(map(str, shape))},?\), takes {MAP_SHAPES}")
        for shape in ((), (4, 5), (1, 4, 5), (2, 4, 6), (2, 2, 4, 5), (2, 4, 5, 1))
    ),
    Bad("mask_device", {"mask": TARGET.bool().to("meta")}, ValueError,
        r"mask: got a tensor on meta, takes the device of logits, cpu"),
    Bad("mask_coo", {"mask": TARGET.bool().to_sparse()}, TypeError,
        rf"mask: got a torch\.sparse_coo tensor, {DENSE}"),
    *(
        Bad(f"gate_{type(value).__name__}", {"gate": value}, TypeError,
            rf"gate: got {type(value).__name__}, takes a torch\.Tensor")
        for value in (1.0, [[True]], TARGET.numpy(), True)
    ),
    *(
        Bad(f"gate_{dtype}", {"gate": TARGET.to(dtype)}, TypeError,
            rf"gate: got {dtype}, takes torch\.bool \(False where a pixel keeps its own logit\)")
        for dtype in (torch.uint8, torch.int64, torch.float32, torch.complex64)
    ),
    *(
        Bad(f"gate_shape_{'x'.join(map(str, shape))}",
            {"gate": torch.ones(shape, dtype=torch.bool)}, ValueError,
            rf"gate: got shape \({', '.join(map(str, shape))},?\), takes {MAP_SHAPES}")
        for shape in ((), (4, 5), (1, 4, 5), (2, 4, 6), (2, 2, 4, 5), (2, 4, 5, 1))
    ),
    Bad("gate_per_channel", {"target": MASKS, "gate": MASKS.bool()}, ValueError,
        r"gate: got shape .*; it is the same for all channels"),
    Bad("gate_device", {"gate": TARGET.bool().to("meta")}, ValueError,
        r"gate: got a tensor on meta, takes the device of logits, cpu"),
    Bad("gate_coo", {"gate": TARGET.bool().to_sparse()}, TypeError,
        rf"gate: got a torch\.sparse_coo tensor, {DENSE}"),
    *(
        Bad(f"validate_{value!r}", {"validate": value}, TypeError,
            r"validate: got .*, takes True or False or None")
        for value in (1, 0, "yes", 1.0, torch.tensor(True))
    ),
    *(
        Bad(f"backend_{value!r}", {"backend": value}, error,
            r'backend: got .*, takes "auto", "triton", "cuda", "cpu", "reference"')
        for value, error in (
            ("cudnn", ValueError), ("", ValueError), ("CPU", ValueError), (None, TypeError),
            (1, TypeError), (torch.device("cpu"), TypeError),
        )
    ),
    *(
        Bad(f"backend_{name}", {"backend": name}, RuntimeError,
            rf"backend='{name}' cannot run here: \w+")
        for name in ("triton", "cuda")
    ),
    Bad("backend_cpu_on_meta",
        {"logits": LOGITS.to("meta"), "target": TARGET, "backend": "cpu"}, ValueError,
        r"target: got a tensor on cpu, takes the device of logits, meta"),
]  # fmt: skip

ERRORS = [*LOGITS_ERRORS, *TARGET_ERRORS, *KERNEL_SIZE_ERRORS, *OTHER_ERRORS]


@pytest.mark.parametrize("bad", ERRORS, ids=lambda bad: bad.name)
def test_bad_argument(backend: str, bad: Bad) -> None:
    good: dict[str, Any] = {"logits": LOGITS, "target": TARGET, "backend": backend}
    with pytest.raises(bad.error, match=bad.message) as caught:
        scnp(**(good | bad.arguments))
    assert type(caught.value) is bad.error
    # Nothing was left behind: a good call still works.
    assert scnp(LOGITS, TARGET, backend=backend).shape == LOGITS.shape


@pytest.mark.parametrize("value", ["fast", "CPU", "cuda:0"])
def test_bad_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCNP_BACKEND", value)
    with pytest.raises(ValueError, match=rf'SCNP_BACKEND: got {value!r}, takes "auto", "triton"'):
        scnp(LOGITS, TARGET)
    monkeypatch.setenv("SCNP_BACKEND", "")
    assert scnp(LOGITS, TARGET).shape == LOGITS.shape


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_environment_names_a_backend_that_cannot_run(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises as if asked for by name, and never gives way to another."""
    monkeypatch.setenv("SCNP_BACKEND", name)
    with pytest.raises(RuntimeError, match=f"SCNP_BACKEND='{name}' cannot run here: "):
        scnp(LOGITS, TARGET)


@pytest.mark.parametrize("bad", [{"kernel_size": 3}, {"ignore_index": 1.5}])
def test_errors_under_vmap(backend: str, bad: dict[str, Any]) -> None:
    """Shapes in messages are those of one sample, not of the stack."""
    logits, target = LOGITS.expand(2, *LOGITS.shape), torch.zeros(2, 2, 4, 6).long()
    with pytest.raises((TypeError, ValueError), match=r"ignore_index: got 1\.5|target: got shape "
                       r"\(2, 4, 6\), takes a label map of shape \(2, 4, 5\)"):  # fmt: skip
        torch.func.vmap(lambda z, y: scnp(z, y, **bad, backend=backend))(logits, target)


# Modules say so when they are built, wherever they can.

BAD_MODULES: list[tuple[str, type[nn.Module], dict[str, Any], type[Exception], str]] = [
    ("scnp_validate", SCNP, {"validate": 1}, TypeError, "validate: got 1, takes True or False"),
    ("scnp_backend", SCNP, {"backend": "x"}, ValueError, "backend: got 'x', takes"),
    ("scnp_ignore_index", SCNP, {"ignore_index": 1.5}, TypeError, r"ignore_index: got 1\.5"),
    *(
        (f"loss_{type(value).__name__}", SCNPLoss, {"loss": value}, TypeError,
         rf"loss: got {type(value).__name__}, takes a module or function of \(logits, target\)")
        for value in (None, "dice", 1.0, LOGITS)
    ),
    *(
        (f"kernel_size_{value!r}", module, {"kernel_size": value}, error,
         rf"kernel_size: got .*, {ODD}")
        for module in (SCNP, SCNPLoss)
        for value, error in (
            (2, ValueError), (-3, ValueError), ((3, 2), ValueError), ((3, 3, 3, 3), ValueError),
            ((), ValueError), (3.0, TypeError), ("3", TypeError), (None, TypeError),
            (True, TypeError), ((3, "3"), TypeError), (torch.tensor(3), TypeError),
        )
    ),
    ("loss_validate", SCNPLoss, {"validate": "no"}, TypeError, "validate: got 'no', takes"),
    ("loss_backend", SCNPLoss, {"backend": "x"}, ValueError, "backend: got 'x', takes"),
    ("loss_ignore_index", SCNPLoss, {"ignore_index": "x"}, TypeError, "ignore_index: got 'x'"),
    ("both_zero", SCNPLoss, {"scnp_weight": 0}, ValueError,
     "scnp_weight, plain_weight: got 0 and 0, takes at least one above 0"),
    *(
        (f"{name}_{value!r}", SCNPLoss, {name: value}, error,
         f"{name}: got .*, {TERM_WEIGHT}")
        for name in ("scnp_weight", "plain_weight")
        for value, error in (
            (-1, ValueError), (-0.5, ValueError), (math.inf, ValueError), (math.nan, ValueError),
            ("1", TypeError), (None, TypeError), (True, TypeError), (1j, TypeError),
        )
    ),
    *(
        (f"{name}_{value!r}", SCNPLoss, {name: value}, error,
         f"{name}: got a tensor of .*, {TERM_WEIGHT}")
        for name in ("scnp_weight", "plain_weight")
        for value, error in ((torch.ones(2), ValueError), (torch.tensor(True), TypeError))
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "arguments", "error", "message"),
    [pytest.param(*rest, id=name) for name, *rest in BAD_MODULES],
)
def test_bad_module(
    module: type[nn.Module], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    good = {"loss": nn.CrossEntropyLoss()} if module is SCNPLoss else {}
    with pytest.raises(error, match=message) as caught:
        module(**(good | arguments))
    assert type(caught.value) is error


def test_modules_raise_the_errors_of_scnp(backend: str) -> None:
    module = SCNP(3, ignore_index=255, backend=backend)
    with pytest.raises(ValueError, match="ignore_index: got 255 with one target mask"):
        module(LOGITS, MASKS)
    criterion = SCNPLoss(nn.CrossEntropyLoss(), 3, backend=backend)
    with pytest.raises(ValueError, match="target: got shape"):
        criterion(LOGITS, TARGET[:1])
    with pytest.raises(TypeError, match=r"mask: got torch\.int64"):
        criterion(LOGITS, TARGET, mask=TARGET)
    with pytest.raises(ValueError, match=rf"kernel_size: got 3 values .*, {ODD}"):
        SCNP((3, 3, 3), backend=backend)(LOGITS, TARGET)
    assert criterion(LOGITS, TARGET).isfinite()


def test_a_list_of_outputs_is_told_which_wrapper_goes_outside() -> None:
    outputs: Any = [LOGITS, LOGITS]
    with pytest.raises(
        TypeError, match=r"logits: got a list of 2 outputs, .*DeepSupervisionLoss\("
    ):
        SCNPLoss(torch.nn.CrossEntropyLoss())(outputs, TARGET)


@pytest.mark.parametrize("masks", [False, True])
def test_logits_smaller_than_the_target_are_told_to_be_upsampled(masks: bool) -> None:
    logits = torch.zeros(2, 3, 8, 6)
    target = torch.zeros((2, 3, 32, 24) if masks else (2, 32, 24), dtype=torch.long)
    with pytest.raises(ValueError, match=r"upsample the logits .*size=\(32, 24\)"):
        scnp(logits, target)


def test_soft_labels_are_told_the_way_out() -> None:
    soft = torch.full(LOGITS.shape, 0.25)
    with pytest.raises(ValueError, match=r"holds 0.25, .*target > 0.5, or validate=False"):
        scnp(LOGITS, soft, backend="reference")
    assert torch.equal(scnp(LOGITS, soft, validate=False), scnp(LOGITS, soft > 0.5))
