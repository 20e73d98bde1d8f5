"""Promise: whatever is passed, the documented result comes back, or one error that names why not.

Calls are put together at random from good, odd and impossible arguments. A judge that knows the
contract, and nothing of the package, says which arguments are at fault. Where there are some, one
TypeError or ValueError must name one of them; where there are none, brute force has the answer.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scnp_kernels import SCNP, SCNPDiceCELoss, SCNPLoss, scnp, scnp_dice_ce_loss
from tests import generators as g
from tests.calls import assert_same
from tests.hypothesis_profiles import times
from tests.oracle import Reading, brute_force, brute_force_gradient, read_target

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
STRANGE_DTYPES = (torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.bits8)
MASKS = (torch.bool, *INTEGERS, *WIDE_UNSIGNED, *FLOATS)
NOT_TENSORS: tuple[Any, ...] = (
    None,
    1,
    2.5,
    "target",
    [[1.0]],
    {},
    np.zeros((2, 3, 4)),
    object(),
    torch,
    Tensor,
)
# The share of calls with nothing wrong should not vanish: most draws are good.
MOSTLY = 12


class Subclass(Tensor):
    """A tensor of another class, as frameworks make them."""


# Forms of a tensor: the same values otherwise stored. `None` where the form does not exist.


def _overlapping(tensor: Tensor) -> Tensor:
    """Every element of the last axis shares its memory with others."""
    flat = tensor.flatten()
    return flat.as_strided(tensor.shape, [1] * tensor.dim()) if flat.numel() else tensor


def _expanded(tensor: Tensor) -> Tensor:
    return g.one_for_all(tensor) if tensor.numel() else tensor


def _negated_view(tensor: Tensor) -> Tensor:
    """The negative bit: torch negates when somebody reads."""
    if tensor.dtype not in (torch.float32, torch.float64):
        return tensor
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


def _requiring_gradient(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor


def _zero_tensor(tensor: Tensor) -> Tensor:
    return torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype)


GOOD_FORMS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda tensor: tensor,
    _overlapping,
    _expanded,
    _negated_view,
    _requiring_gradient,
    _zero_tensor,
    lambda tensor: tensor.as_subclass(Subclass),
    lambda tensor: torch.nn.Parameter(tensor, requires_grad=False),
    lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor,
)


def _quietly(make: Callable[[], Any]) -> Any:
    """Torch warns of tensors that it is about to give up, or has just begun with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


BAD_FORMS: tuple[Callable[[Tensor], Any], ...] = (
    lambda tensor: tensor.to_sparse(),
    lambda tensor: tensor.float().reshape(-1, 1).to_sparse_csr(),
    lambda tensor: tensor.float().to_mkldnn(),
    lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.5, 0, torch.qint8),
    lambda tensor: torch.nested.nested_tensor([tensor.float(), tensor.float()]),
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor.tolist(),
    lambda tensor: tensor.numpy(),
)


class Call(NamedTuple):
    """The arguments of ``scnp`` less the backend."""

    logits: Any
    target: Any
    kernel_size: Any
    ignore_index: Any
    mask: Any
    gate: Any
    validate: Any


@st.composite
def _bent(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape, mostly as it is; else with axes lost, added, swapped, emptied or of other size."""
    if draw(st.integers(0, MOSTLY)):
        return shape
    axis = draw(st.integers(0, len(shape) - 1))
    return draw(
        st.sampled_from(
            (
                (),
                shape[:axis] + shape[axis + 1 :],
                (*shape[:axis], 1, *shape[axis:]),
                (*shape[:axis], 0, *shape[axis + 1 :]),
                (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]),
                tuple(reversed(shape)),
                (1,) * (6 - len(shape)) + shape,
                (2,) * 6,
            )
        )
    )


@st.composite
def _tensors(
    draw: st.DrawFn, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...], values: list[float]
) -> Any:
    """A tensor of this kind, mostly; now and then in another form, or none at all."""
    if not draw(st.integers(0, 2 * MOSTLY)):
        return draw(st.sampled_from(NOT_TENSORS))
    strange = not draw(st.integers(0, MOSTLY))
    dtype = draw(st.sampled_from(STRANGE_DTYPES if strange else dtypes))
    generator = g.seeded(draw(st.integers(0, 2**16)))
    index = torch.randint(0, len(values), draw(_bent(shape)), generator=generator)
    chosen = torch.tensor(values, dtype=torch.float64)[index]
    if dtype == torch.bits8:
        return chosen.to(torch.uint8).view(dtype)
    tensor = chosen.to(dtype) if dtype.is_floating_point else chosen.long().to(dtype)
    bad = not draw(st.integers(0, MOSTLY))
    form = draw(st.sampled_from(BAD_FORMS if bad else GOOD_FORMS))
    try:
        return _quietly(lambda: form(tensor))
    except (RuntimeError, TypeError, ValueError, IndexError):  # torch has no such tensor
        return tensor


KERNEL_SIZES: tuple[Any, ...] = (
    3,
    3,
    3,
    1,
    5,
    7,
    np.int64(3),
    np.array(3),
    31,
    10**6 + 1,
    2**62 + 1,
    10**30 + 1,
)
BAD_KERNEL_SIZES: tuple[Any, ...] = (
    0, 2, -3, 10**30, 3.0, math.nan, math.inf, "3", b"\x03\x03", True, None, (), [], {3}, {3: 3},
    (3, None), (3, 3, 3, 3), (3, 2), (3, -1), ("3", 3), (True, 3), ((3,), 3), torch.tensor(3),
    torch.tensor([3, 3]), np.array([3, 3]), object(), iter([3, 3]), int, range(0),
)  # fmt: skip
IGNORED: tuple[Any, ...] = (
    None,
    None,
    None,
    2,
    255,
    -1,
    -100,
    np.int8(-1),
    2**40,
    2**63,
    -(2**63),
    2**64,
    10**400,
)
BAD_IGNORED: tuple[Any, ...] = (
    1.0,
    math.nan,
    "255",
    True,
    [255],
    torch.tensor(255),
    object(),
    b"\xff",
    1j,
)
FLAGS = (None, None, True, False)
BAD_FLAGS: tuple[Any, ...] = (0, 1, "yes", 1.0, torch.tensor(True), np.bool_(True), object())


@st.composite
def _mostly(draw: st.DrawFn, good: tuple[Any, ...], bad: tuple[Any, ...]) -> Any:
    return draw(st.sampled_from(good if draw(st.integers(0, MOSTLY)) else bad))


@st.composite
def _windows(draw: st.DrawFn, dimensions: int) -> Any:
    if draw(st.booleans()):
        return draw(_mostly(KERNEL_SIZES, BAD_KERNEL_SIZES))
    length = draw(_mostly((dimensions,), (1, 2, 3, 4)))
    sizes = [draw(st.sampled_from((1, 3, 5))) for _ in range(length)]
    return tuple(sizes) if draw(st.booleans()) else sizes


@st.composite
def calls(draw: st.DrawFn) -> Call:
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    spatial = tuple(draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3))))
    shape = (batch, channels, *spatial)
    logit_values = [0.5, -1.5, 2.0, *draw(st.sampled_from(((), (math.nan, math.inf, -math.inf))))]
    logits = draw(_tensors(shape, FLOATS, logit_values))
    as_masks = draw(st.booleans())
    target_shape = shape if as_masks else draw(st.sampled_from(((batch, *spatial),
                                                                (batch, 1, *spatial))))  # fmt: skip
    good = [0.0, 1.0] if as_masks or channels == 1 else [float(k) for k in range(channels)]
    ignored = draw(_mostly(IGNORED if channels == 1 or not as_masks else (None,), BAD_IGNORED))
    if isinstance(ignored, int) and not isinstance(ignored, bool) and draw(st.booleans()):
        good = [*good, float(max(-(2.0**63), min(float(2**62), ignored)))]
    bad = [-1.0, 3.0, 0.5, 255.0, 1e30, -1e300, math.nan, math.inf, -math.inf, 2.0**62]
    values = good if draw(st.integers(0, 3)) else [*good * 4, draw(st.sampled_from(bad))]
    dtypes = MASKS if draw(st.booleans()) else (*INTEGERS, *FLOATS)
    target = draw(_tensors(target_shape, dtypes, values))
    mask = None
    if draw(st.booleans()):
        mask_shape = draw(st.sampled_from(((batch, *spatial), (batch, 1, *spatial))))
        mask = draw(_tensors(mask_shape, (torch.bool,) * 8 + (torch.uint8, torch.float32), [0, 1]))
    gate = None
    if not draw(st.integers(0, 7)):
        gate_shape = draw(st.sampled_from(((batch, *spatial), (batch, 1, *spatial))))
        gate = draw(_tensors(gate_shape, (torch.bool,) * 8 + (torch.uint8, torch.float32), [0, 1]))
    window = draw(_windows(len(spatial)))
    validate = draw(_mostly(FLAGS, BAD_FLAGS))
    return Call(logits, target, window, ignored, mask, gate, validate)


# The judge


def _is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and not value.is_nested
        and value.layout == torch.strided
        and not value.is_quantized
    )


def _is_index(value: Any) -> bool:
    if isinstance(value, bool | Tensor):
        return False
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def _window(kernel_size: Any, dimensions: int) -> tuple[int, ...] | None:
    """One side per axis, or None."""
    if _is_index(kernel_size):
        window = (operator.index(kernel_size),) * dimensions
    elif isinstance(kernel_size, tuple | list | range) and all(map(_is_index, kernel_size)):
        window = tuple(map(operator.index, kernel_size))
    else:
        return None
    good = len(window) == dimensions and all(size > 0 and size % 2 == 1 for size in window)
    return window if good else None


def faults(call: Call) -> set[str]:
    """The names of the arguments that the contract refuses, before any value is read."""
    logits, target, mask = call.logits, call.target, call.mask
    found = set()
    if call.validate is not None and not isinstance(call.validate, bool):
        found.add("validate")
    if call.ignore_index is not None and not _is_index(call.ignore_index):
        found.add("ignore_index")
    if not (_is_dense(logits) and logits.dtype in FLOATS and 3 <= logits.dim() <= 5):
        # A module may be made for any number of axes, and refuses what fits none of them.
        fits_some = any(_window(call.kernel_size, dimensions) for dimensions in (1, 2, 3))
        return found | {"logits"} | (set() if fits_some else {"kernel_size"})
    if _window(call.kernel_size, logits.dim() - 2) is None:
        found.add("kernel_size")
    batch, channels, *spatial = logits.shape
    maps = ((batch, *spatial), (batch, 1, *spatial))
    target_is_masks = _is_dense(target) and target.shape == logits.shape
    per_channel = (tuple(logits.shape),) if target_is_masks else ()
    for name, value, shapes in (
        ("mask", mask, (*maps, *per_channel)),
        ("gate", call.gate, maps),
    ):
        if value is None:
            continue
        fits = _is_dense(value) and tuple(value.shape) in shapes and value.dtype == torch.bool
        if not fits or value.device != logits.device:
            found.add(name)
    if not (_is_dense(target) and target.device == logits.device):
        return found | {"target"}
    if target.shape == logits.shape:
        if target.dtype not in MASKS:
            found.add("target")
        elif channels != 1 and call.ignore_index is not None:
            found.add("ignore_index")
    elif tuple(target.shape) not in maps or target.dtype not in (
        *INTEGERS,
        *FLOATS,
        *((torch.bool,) if channels == 1 else ()),
    ):
        found.add("target")
    return found


def _plain(tensor: Tensor) -> Tensor:
    """The values alone, in memory of their own."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _reading(call: Call) -> Reading:
    ignored = None if call.ignore_index is None else operator.index(call.ignore_index)
    mask = None if call.mask is None else _plain(call.mask)
    return read_target(tuple(call.logits.shape), _plain(call.target), ignored, mask)


def holds_wrong_values(call: Call) -> bool:
    """Is there a valid pixel whose target is not permitted? Of a call without other faults."""
    if call.validate is False or call.logits.numel() == 0:
        return False
    channels = call.logits.shape[1]
    masks = call.target.shape == call.logits.shape
    valid = _reading(call).valid
    permitted = (0, 1) if masks or channels == 1 else range(channels)
    flat = _plain(call.target).flatten().tolist()
    per_pixel = valid if masks else valid[:, 0]
    return any(
        ok and value not in permitted
        for value, ok in zip(flat, per_pixel.flatten().tolist(), strict=True)
    )


def _check_result(call: Call, result: Tensor, gradient: Tensor | None, incoming: Tensor) -> None:
    logits = call.logits
    assert result.shape == logits.shape
    assert result.dtype == logits.dtype
    assert result.device == logits.device
    if logits.device.type == "meta":
        return
    window = _window(call.kernel_size, logits.dim() - 2)
    assert window is not None
    # Beyond the image there is nobody: the oracle need not count taps out there.
    window = tuple(min(w, 2 * n + 1) for w, n in zip(window, logits.shape[2:], strict=True))
    if logits.numel() == 0:
        return
    gate = None if call.gate is None else _plain(call.gate)
    wanted = brute_force(_plain(logits), *_reading(call), window, gate)
    assert_same(result.detach().as_subclass(Tensor), wanted.penalized)
    if gradient is not None:
        assert_same(
            gradient.as_subclass(Tensor), brute_force_gradient(incoming, wanted.winners, window)
        )


def _names_one_of(error: Exception, names: set[str]) -> bool:
    return any(str(error).startswith((f"{name}:", f"{name},")) for name in names)


def _outcome(function: Callable[[], Tensor]) -> Tensor | Exception:
    """What it returned, or the TypeError or ValueError that it raised."""
    try:
        return function()
    except (TypeError, ValueError) as error:
        return error


def _check_error(error: Exception, at_fault: set[str]) -> None:
    assert type(error) in (TypeError, ValueError)
    assert at_fault, f"refused for no reason: {error}"
    assert _names_one_of(error, at_fault), (error, at_fault)


def judge(call: Call, function: Callable[[], Tensor]) -> bool:
    """Hold what the call does against what it should do. True where it gave a result."""
    at_fault = faults(call)
    if not at_fault and call.logits.device.type == "cpu" and holds_wrong_values(call):
        at_fault = {"target"}
    result = _outcome(function)
    if isinstance(result, Exception):
        _check_error(result, at_fault)
        return False
    assert not at_fault, f"taken in spite of {at_fault}"
    assert result.requires_grad == call.logits.requires_grad
    incoming = torch.randn(tuple(result.shape), generator=g.seeded(0), dtype=torch.float64).to(
        result.dtype
    )
    gradient = None
    if result.requires_grad:
        (gradient,) = torch.autograd.grad(result, call.logits, incoming.to(result.device))
    _check_result(call, result, gradient, incoming)
    return True


@times(5)
@given(call=calls())
def test_every_call_gives_the_result_or_one_error(backend: str, call: Call) -> None:
    judge(call, lambda: scnp(
        call.logits, call.target, call.kernel_size, ignore_index=call.ignore_index,
        mask=call.mask, gate=call.gate, validate=call.validate, backend=backend,
    ))  # fmt: skip


@given(call=calls())
def test_modules_judge_alike(backend: str, call: Call) -> None:
    """Whether they complain when they are made or when they are called."""

    def as_module() -> Tensor:
        module = SCNP(
            call.kernel_size,
            ignore_index=call.ignore_index,
            validate=call.validate,
            backend=backend,
        )
        result: Tensor = module(call.logits, call.target, call.mask, call.gate)
        return result

    def around_a_loss() -> Tensor:
        module = SCNPLoss(
            lambda logits, _target: logits,
            call.kernel_size,
            ignore_index=call.ignore_index,
            validate=call.validate,
            backend=backend,
        )
        result: Tensor = module(call.logits, call.target, mask=call.mask, gate=call.gate)
        return result

    assert judge(call, as_module) == judge(call, around_a_loss)


# The combined loss: more arguments, each a number, a flag, a word or weights.

WEIGHTS = (0, 1, 0.5, 2.0, 1e-3, np.float32(1), np.int64(2))
BAD_WEIGHTS: tuple[Any, ...] = (
    -1, math.nan, math.inf, -math.inf, "1", None, True, 1j, [1.0], 10**400, -(10**400),
    torch.tensor(1.0), np.float32(-1), np.float64("nan"), np.bool_(True), object(),
)  # fmt: skip
# What weighs the loss of penalized or of plain logits may be a tensor, too.
TERM_WEIGHTS: tuple[Any, ...] = (*WEIGHTS, torch.tensor(1.0), torch.tensor(0.5))
BAD_TERM_WEIGHTS: tuple[Any, ...] = (
    *(weight for weight in BAD_WEIGHTS if not isinstance(weight, torch.Tensor)),
    torch.ones(2), torch.tensor(True), torch.tensor(1j),
)  # fmt: skip
BAD_ACTIVATIONS: tuple[Any, ...] = (
    "relu",
    "",
    None,
    1,
    ["softmax"],
    torch.ones(2),
    np.ones(3),
    object(),
)
BAD_CLASS_WEIGHTS: tuple[Any, ...] = (
    [1.0], [1.0] * 7, 3.0, "abc", {1: 2}, [[1.0] * 3], [-1.0, 1.0, 1.0], [math.nan, 1.0, 1.0],
    [math.inf, 1.0, 1.0], torch.tensor([1.0, -1.0, 1.0]), torch.tensor([1.0, math.nan, 1.0]),
    torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.complex64),
    torch.ones(3).to_sparse(), torch.ones(3, device="meta"), object(), [None] * 3, ["1"] * 3,
    _quietly(lambda: torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8)),
    _quietly(lambda: torch.nested.nested_tensor([torch.ones(3)])),
)  # fmt: skip


@st.composite
def loss_options(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """Options of the combined loss for three classes, and those of them that are at fault."""
    options: dict[str, Any] = {}
    at_fault = set()
    pools: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
        "activation": (("softmax", "sigmoid"), BAD_ACTIVATIONS),
        "include_background": ((True, False), BAD_FLAGS),
        "batch_dice": ((True, False), BAD_FLAGS),
        "distributed": ((None, False), (*BAD_FLAGS, True)),
        "smooth": (WEIGHTS, BAD_WEIGHTS),
        "class_weights": ((None, [1, 2, 3], (0.5, 0.0, 1.0), torch.ones(3)), BAD_CLASS_WEIGHTS),
        "ce_weight": (WEIGHTS, BAD_WEIGHTS),
        "dice_weight": (WEIGHTS, BAD_WEIGHTS),
        "scnp_weight": (TERM_WEIGHTS, BAD_TERM_WEIGHTS),
        "plain_weight": (TERM_WEIGHTS, BAD_TERM_WEIGHTS),
    }
    for name, (good, bad) in pools.items():
        is_bad = not draw(st.integers(0, 25))
        options[name] = draw(st.sampled_from(bad if is_bad else good))
        if is_bad:
            at_fault.add(name)
    for one, other in (("ce_weight", "dice_weight"), ("scnp_weight", "plain_weight")):
        if not {one, other} & at_fault and options[one] == options[other] == 0:
            at_fault |= {one, other}
    return options, at_fault


@given(made=loss_options(), as_module=st.booleans(), seed=st.integers(0, 2**16))
def test_the_combined_loss_gives_a_number_or_one_error(
    backend: str, made: tuple[dict[str, Any], set[str]], as_module: bool, seed: int
) -> None:
    options, at_fault = made
    generator = g.seeded(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator).requires_grad_()
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    call: Callable[[], Tensor] = partial(
        scnp_dice_ce_loss, logits, target, **options, backend=backend
    )
    if as_module:

        def call() -> Tensor:
            loss: Tensor = SCNPDiceCELoss(**options, backend=backend)(logits, target)
            return loss

    loss = _outcome(call)
    if isinstance(loss, Exception):
        _check_error(loss, at_fault)
        return
    assert not at_fault, f"taken in spite of {at_fault}"
    assert loss.shape == ()
    assert loss.isfinite()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "bad", ["", "CPU", "gpu", None, 1, ["cpu"], b"cpu", object()], ids=lambda bad: repr(bad)[:8]
)
def test_a_backend_that_is_none_is_named(bad: Any) -> None:
    logits, target = torch.zeros(1, 1, 3), torch.zeros(1, 3)
    for function in (scnp, scnp_dice_ce_loss):
        _check_error(
            _as_error(_outcome(partial(function, logits, target, backend=bad))), {"backend"}
        )


def _as_error(outcome: Tensor | Exception) -> Exception:
    assert isinstance(outcome, Exception)
    return outcome


def test_the_judge_lets_good_calls_pass() -> None:
    """A strategy that only makes bad calls, or a judge that refuses all, would prove nothing."""
    counts = {True: 0, False: 0}

    @times(3)
    @given(call=calls())
    def draw(call: Call) -> None:
        counts[not faults(call)] += 1

    draw()
    assert counts[True] > 60
    assert counts[False] > 60
