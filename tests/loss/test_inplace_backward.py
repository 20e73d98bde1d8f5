"""``inplace_backward=True``: the same gradient in the logits' own memory, or a refusal in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from benchmarks.harness.memory import peak_of
from scnp_kernels import (
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPTverskyLoss,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from scnp_kernels.backends import in_slabs
from scnp_kernels.backends.native import loader
from scnp_kernels.backends.native import operators as native
from scnp_kernels.rules import overwriting
from scnp_kernels.rules.dice_ce import Wanted
from scnp_kernels.rules.target import Reading
from tests import generators as g
from tests.cases import DTYPES, Case
from tests.contract.test_capabilities import _capabilities_of_this_machine
from tests.fused_loss_cases import FUSED_CASES, SPECIAL_CASES, FusedCase, outcome_by

LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module]]] = {
    "dice_ce": (scnp_dice_ce_loss, SCNPDiceCELoss),
    "tversky": (scnp_tversky_loss, SCNPTverskyLoss),
    "focal": (scnp_focal_loss, SCNPFocalLoss),
}
of_every_loss = pytest.mark.parametrize("name", LOSSES)


# The bits


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN where NaN is, and everything else alike, the sign of a zero included."""
    nan = one.isnan()
    alike = torch.equal(nan, other.isnan()) and torch.equal(one[~nan], other[~nan])
    return alike and torch.equal(one[~nan].signbit(), other[~nan].signbit())


def _copy_with_layout(tensor: Tensor) -> Tensor:
    """A copy whose memory looks the same, gaps between the elements included."""
    copy = tensor.new_empty(0)
    layout = (tensor.storage_offset(), tensor.shape, tensor.stride())
    return copy.set_(tensor.untyped_storage().clone(), *layout)


def _in_slabs(*arguments: Any) -> None:
    """What a GPU does, with the CPU's kernels."""
    logits: Tensor = arguments[2]
    in_slabs.backward(native.dice_ce_backward, logits.shape[1] * logits.dtype.itemsize, *arguments)


assert loader.load() is None  # why not
PATHS = {"cpu": native.dice_ce_backward_in_place, "slabs": _in_slabs}


def _compare(fused: FusedCase, in_place: Callable[..., None]) -> None:
    """The gradient in place equals the one elsewhere, and touches nothing but the logits."""

    def backward(of_sums: Tensor, winners: Tensor, logits: Tensor, *rest: Any) -> Tensor:
        overwritten = _copy_with_layout(logits)
        whole = overwritten.new_empty(0).set_(overwritten.untyped_storage())
        before = whole.clone()
        in_place(of_sums, winners, overwritten, *rest)
        result = overwritten.clone()
        overwritten.copy_(logits)
        assert torch.equal(whole.view(torch.uint8), before.view(torch.uint8))
        return result

    elsewhere = outcome_by(native.dice_ce_forward, native.dice_ce_backward, fused, fused.dtype)
    in_its_place = outcome_by(native.dice_ce_forward, backward, fused, fused.dtype)
    assert _same_bits(in_its_place.gradient, elsewhere.gradient)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fused", FUSED_CASES + SPECIAL_CASES, ids=lambda fused: fused.name)
def test_the_same_bits(fused: FusedCase, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_slabs, "_SMALL", 0)  # slabs as short as they get
    _compare(fused, PATHS[path])


@pytest.mark.parametrize("fused", FUSED_CASES, ids=lambda fused: fused.name)
def test_the_same_bits_in_strips(fused: FusedCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cut of small images, strips of one pixel included."""
    plan = in_slabs.plan
    for length, width in ((1, 1), (2, 3), (3, 100)):

        def cut(*arguments: Any, length: int = length, width: int = width) -> in_slabs.Plan:
            chosen = plan(*arguments)
            return chosen._replace(images=1, length=max(length, chosen.halo), width=width)

        monkeypatch.setattr(in_slabs, "plan", cut)
        _compare(fused, _in_slabs)


# Larger than a tile, so that neighbours need what others overwrite; those of several images need
# more for their halos than may be kept at once.
_MASK = g.valid_pixels(0.8)
TILED = [
    FusedCase(Case("volume", "", (3, 3, 40, 36, 50)), of_plain=True),
    FusedCase(Case("volume_5", "", (2, 2, 30, 64, 70), (3, 5, 5), mask=_MASK), of_plain=True),
    FusedCase(Case("rows", "", (3, 2, 700, 90), gate=_MASK), softmax=False),
    FusedCase(Case("rows_11", "", (1, 3, 300, 200), 11), of_plain=True, gamma=2.0),
    FusedCase(Case("columns", "", (1, 2, 40, 3000), 5), of_plain=True),
    FusedCase(Case("line", "", (2, 3, 20_000), 9)),
    FusedCase(Case("last", "", (2, 3, 20, 60, 70), layout=g.channels_last), of_plain=True),
    FusedCase(Case("plain", "", (2, 3, 20, 60, 70)), of_penalized=False, of_plain=True),
    FusedCase(Case("wide", "2-byte winners", (1, 2, 90, 300), 17), of_plain=True),
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("fused", TILED, ids=lambda fused: fused.name)
def test_tiles_that_need_each_other(fused: FusedCase, threads: int, path: str) -> None:
    torch.set_num_threads(threads)
    dtype = DTYPES[(TILED.index(fused) + threads) % len(DTYPES)]
    _compare(FusedCase(fused.case, dtype, *_rest(fused)), PATHS[path])


def _rest(fused: FusedCase) -> tuple[bool, bool, bool, float]:
    return (fused.softmax, fused.of_penalized, fused.of_plain, fused.gamma)


@pytest.mark.parametrize("capability", _capabilities_of_this_machine())
def test_every_instruction_set(capability: str) -> None:
    program = (
        "from tests.loss import test_inplace_backward as t\n"
        "from scnp_kernels.backends.native import loader\n"
        "import torch; torch.set_num_threads(2)\n"
        "for number, fused in enumerate((*t.FUSED_CASES, *t.TILED)):\n"
        "    dtype = t.DTYPES[number % 4]\n"
        "    fused = t.FusedCase(fused.case, dtype, *t._rest(fused))\n"
        "    t._compare(fused, t.PATHS['cpu'])\n"
        "print(loader.build_record()['capability'])\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "SCNP_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [capability]


# The losses


def _inputs(
    shape: Sequence[int] = (2, 3, 19, 23), dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = g.seeded(7)
    leaf = torch.randn(tuple(shape), generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    return leaf.requires_grad_(), labels


def _head(leaf: Tensor) -> Tensor:
    """Logits that nobody needs any more; their gradient goes on to a leaf."""
    return leaf * 1.5


def _gradients(leaf: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the gradient of the leaf, and what the logits hold afterwards."""
    leaf.grad = None
    logits = _head(leaf)
    value = loss(logits)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad, logits.detach()


@of_every_loss
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("weights", [(1, 0), (0, 1), (0.5, 2)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_loss(
    name: str, activation: str, weights: tuple[float, float], dtype: torch.dtype
) -> None:
    function, module = LOSSES[name]
    leaf, labels = _inputs(dtype=dtype)
    mask = torch.rand(labels.shape, generator=g.seeded(3)) < 0.8
    gate = torch.rand(labels.shape, generator=g.seeded(4)) < 0.5
    options: dict[str, Any] = {
        "activation": activation,
        "scnp_weight": weights[0],
        "plain_weight": weights[1],
        "ignore_index": 2,
    }
    value, gradient, _ = _gradients(
        leaf, lambda z: function(z, labels, mask=mask, gate=gate, **options)
    )
    options["inplace_backward"] = True
    by_function = _gradients(leaf, lambda z: function(z, labels, mask=mask, gate=gate, **options))
    criterion = module(**options)
    by_module = _gradients(leaf, lambda z: criterion(z, labels, mask, gate))
    for in_place in (by_function, by_module):
        assert torch.equal(in_place[0], value)
        assert _same_bits(in_place[1], gradient)
        assert _same_bits(in_place[2] * 1.5, gradient)  # the logits hold their gradient
    assert "inplace_backward=True" in repr(criterion)


@of_every_loss
def test_terms_for_a_log(name: str) -> None:
    function, _ = LOSSES[name]
    leaf, labels = _inputs()
    loss, terms = function(_head(leaf), labels, plain_weight=1.0, return_terms=True)
    (gradient,) = torch.autograd.grad(loss, leaf)
    in_place, its_terms = function(
        _head(leaf), labels, plain_weight=1.0, return_terms=True, inplace_backward=True
    )
    assert _same_bits(torch.autograd.grad(in_place, leaf)[0], gradient)
    assert list(its_terms) == list(terms)
    assert all(torch.equal(its_terms[part], terms[part]) for part in terms)


def test_weights_that_are_tensors_get_their_gradient() -> None:
    leaf, labels = _inputs()
    results = []
    for in_place in (False, True):
        ramp = torch.tensor(0.25, requires_grad=True)
        loss = scnp_dice_ce_loss(
            _head(leaf), labels, scnp_weight=ramp, plain_weight=1.0, inplace_backward=in_place
        )
        results.append(torch.autograd.grad(loss, (leaf, ramp)))
    assert all(_same_bits(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("layout", [g.as_made, g.channels_last])
def test_validity_per_channel(layout: g.Layout) -> None:
    leaf, _ = _inputs((2, 3, 9, 11))
    masks = torch.rand(leaf.shape, generator=g.seeded(1)) < 0.5
    valid = torch.rand(leaf.shape, generator=g.seeded(2)) < 0.8

    def loss(logits: Tensor, in_place: bool) -> Tensor:
        result: Tensor = scnp_dice_ce_loss(
            logits, masks, mask=valid, activation="sigmoid", inplace_backward=in_place
        )
        return result

    (expected,) = torch.autograd.grad(loss(_head(leaf), False), leaf)
    logits = layout(_head(leaf))
    if layout is g.as_made:
        assert _same_bits(torch.autograd.grad(loss(logits, True), leaf)[0], expected)
    else:
        with pytest.raises(ValueError, match=r"^inplace_backward: got .*takes contiguous logits"):
            loss(logits, True)


def test_a_step_of_training_and_one_of_validation() -> None:
    """A convolution's output, no gradient wanted in between, empty batches."""
    network = nn.Conv2d(2, 3, 3, padding=1)
    images = torch.randn(2, 2, 12, 13, generator=g.seeded(0))
    labels = torch.randint(0, 3, (2, 12, 13), generator=g.seeded(1))
    criterion = SCNPDiceCELoss(inplace_backward=True)
    criterion(network(images), labels).backward()
    in_place = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    SCNPDiceCELoss()(network(images), labels).backward()
    for parameter, gradient in zip(network.parameters(), in_place, strict=True):
        assert torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]
    with torch.no_grad():
        leaf = torch.randn(2, 3, 4, 5, requires_grad=True)
        criterion(leaf, labels[:, :4, :5])
    with torch.inference_mode():
        criterion(network(images), labels)
    criterion(torch.randn(2, 3, 4, 5), labels[:, :4, :5])
    empty = torch.zeros(0, 3, 4, 5, requires_grad=True)
    criterion(empty * 1, labels[:0, :4, :5]).backward()
    assert empty.grad is not None


# What it takes

SHAPE = (2, 2, 320, 384)  # small enough for results to come from torch's allocator


def _peak(run: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    return peak_of(profiler)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_peak_of_tensors(dtype: torch.dtype, plain_weight: float) -> None:
    """1 byte per logit, and statistics; elsewhere the gradient comes on top."""
    torch.use_deterministic_algorithms(False)
    leaf, labels = _inputs(SHAPE, dtype)
    logits_count = leaf.numel()
    peaks = []
    for in_place in (True, False):
        held: list[Tensor] = [_head(leaf)]

        def run(in_place: bool = in_place, held: list[Tensor] = held) -> Tensor:
            logits = held[0]
            loss = scnp_dice_ce_loss(
                logits, labels, plain_weight=plain_weight, inplace_backward=in_place
            )
            return torch.autograd.grad(loss, logits)[0]

        peaks.append(_peak(run) / logits_count)
    assert peaks[0] <= 1.1
    assert peaks[1] == pytest.approx(1 + dtype.itemsize, abs=0.1)


WHOLE_PROCESS = """
import sys, torch
from scnp_kernels import scnp_dice_ce_loss
torch.set_num_threads(2)
def high_water():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
def inputs(shape):
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), dtype=torch.uint8)
    return torch.zeros(shape, dtype=torch.float16, requires_grad=True) * 1, labels
def step(logits, labels):
    loss = scnp_dice_ce_loss(logits, labels, inplace_backward=sys.argv[1] == "True")
    return torch.autograd.grad(loss, logits)[0]
for shape in ((2, 2, 4096, 2048), (2, 4, 160, 160, 160)):
    step(*inputs((2, shape[1], *(64 for _ in shape[2:]))))  # loads the code, wakes the threads
    logits, labels = inputs(shape)
    open("/proc/self/clear_refs", "w").write("5")
    before = high_water()
    step(logits, labels)
    print((high_water() - before) / logits.numel())
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux's kernel")
def test_peak_of_the_whole_process() -> None:
    """With what the kernels take for themselves, which no allocator of torch's sees."""

    def measure(in_place: bool) -> list[float]:
        result = subprocess.run(
            [sys.executable, "-c", WHOLE_PROCESS, str(in_place)],
            env={**os.environ, "SCNP_KEEP_MEBIBYTES": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return [float(line) for line in result.stdout.split()]

    assert max(measure(in_place=True)) <= 1.1
    assert min(measure(in_place=False)) >= 2.9


# Bytes that a GPU's kernels take per pixel beside the gradient: softmax's common parts, joint.
COMMON = 16


@pytest.mark.parametrize("shape", [(2, 2, 2048, 1024), (2, 3, 96, 96, 96), (1, 4, 400, 60, 60)])
@pytest.mark.parametrize("common", [0, COMMON])
def test_peak_of_slabs(shape: tuple[int, ...], common: int) -> None:
    """On a GPU all that slabs take comes from torch's allocator, which is counted here."""
    torch.use_deterministic_algorithms(False)
    leaf, labels = _inputs(shape, torch.float16)
    images = leaf.detach(), labels, None
    reading = Reading(False, 0, shape[1], None, False)
    how = (3,) * (len(shape) - 2), reading, Wanted(True, True, True)
    statistics, winners = native.dice_ce_forward(*images, None, *how)
    gradient = torch.randn(statistics.shape, generator=g.seeded(0), dtype=torch.float64)
    expected = native.dice_ce_backward(gradient, winners, *images, *how)

    def kernels(*arguments: Any) -> Tensor:
        logits: Tensor = arguments[2]
        taken = torch.empty(logits.shape[0] * logits[0, 0].numel() * common, dtype=torch.uint8)
        result = native.dice_ce_backward(*arguments)
        del taken
        return result

    per_pixel = shape[1] * 2 + common
    peak = _peak(lambda: in_slabs.backward(kernels, per_pixel, gradient, winners, *images, *how))
    assert peak / leaf.numel() <= 0.1
    assert _same_bits(images[0], expected)


@pytest.mark.parametrize(
    ("shape", "most"),
    [
        ((2, 2, 1280, 1024), 1.1),
        ((2, 3, 160, 128, 112), 2.5),
        ((1, 2, 128, 128, 128), 4.5),  # the budget of one small image: nearest to it
        ((64, 2, 256, 256), 1.1),
        ((8, 3, 100_000), 1.1),
    ],
)
def test_how_much_slabs_compute_twice(shape: tuple[int, ...], most: float) -> None:
    window = (3,) * (len(shape) - 2)
    cut = in_slabs.plan(shape, 2, shape[1] * 2 + COMMON, window, Wanted(True, True, True))
    size = shape[2 + cut.axis]
    others = shape[2 + cut.across] if cut.across != cut.axis else 1
    twice = min(size, cut.length + 2 * cut.halo) / cut.length
    twice *= min(others, cut.width + 2 * cut.halo_across) / cut.width
    assert 1 <= twice <= most


# What it refuses


def _call(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
    loss: Tensor = scnp_dice_ce_loss(logits, labels, inplace_backward=True, **options)
    return loss


def _refuses(kind: type[Exception], words: str) -> Any:
    return pytest.raises(
        kind, match=rf"(?s)^inplace_backward: got .*{words}.*inplace_backward=False"
    )


def test_what_is_no_flag() -> None:
    leaf, labels = _inputs()
    with pytest.raises(TypeError, match=r"^inplace_backward: got 1, takes True or False"):
        scnp_dice_ce_loss(_head(leaf), labels, inplace_backward=1)  # type: ignore[call-overload]


def test_leaves_and_their_views() -> None:
    leaf, labels = _inputs()
    with _refuses(ValueError, "a leaf "):
        _call(leaf, labels)
    with _refuses(ValueError, "a view of a leaf "):
        _call(leaf.view(leaf.shape), labels)
    with _refuses(ValueError, "a view of a leaf "):
        _call(leaf.transpose(2, 3)[..., 1:].transpose(2, 3), labels[:, 1:])


def test_memory_that_stands_for_several_elements() -> None:
    leaf, labels = _inputs()
    with _refuses(ValueError, "strides"):
        _call(_head(leaf)[:, :1].expand(leaf.shape), labels)
    with _refuses(ValueError, "strides"):
        _call(_head(leaf).as_strided((2, 3, 10, 10), (200, 20, 2, 1)), labels[:, :10, :10])


@pytest.mark.parametrize(
    "producer",
    [
        torch.sigmoid,
        torch.tanh,
        torch.relu,
        torch.exp,
        lambda z: z.softmax(1),
        lambda z: z.log_softmax(1),
        lambda z: torch.sigmoid(z)[:, :3],
        lambda z: torch.sigmoid(z).view_as(z),
        lambda z: SavesItsResult.apply(z),
    ],
)
def test_a_producer_that_saved_its_result(producer: Callable[[Tensor], Tensor]) -> None:
    leaf, labels = _inputs()
    with _refuses(ValueError, "saved for its own backward pass"):
        _call(producer(leaf), labels)


class SavesItsResult(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        result = z.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        result: Tensor = gradient * ctx.saved_tensors[0]
        return result


@pytest.mark.parametrize("producer", [torch.sigmoid, lambda z: SavesItsResult.apply(z)])
def test_what_is_not_seen_at_the_call_is_seen_by_autograd(
    producer: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version counter, which is raised before the producer takes what it saved."""
    monkeypatch.setattr("scnp_kernels.rules.overwriting._held_by", lambda _: ())
    leaf, labels = _inputs()
    loss = _call(producer(leaf), labels)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    assert leaf.grad is None


@pytest.mark.parametrize("first", [True, False])
def test_another_loss_that_saved_the_logits(first: bool) -> None:
    """If it comes first in the backward pass all is well; if it comes later, autograd refuses."""
    leaf, labels = _inputs()
    logits = _head(leaf)
    (expected,) = torch.autograd.grad(
        scnp_dice_ce_loss(logits, labels) + logits.square().mean(), leaf
    )
    logits = _head(leaf)
    if first:  # what is computed last is differentiated first
        loss = _call(logits, labels)
        total = loss + logits.square().mean()
        torch.testing.assert_close(torch.autograd.grad(total, leaf)[0], expected)
    else:
        other = logits.square().mean()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (other + _call(logits, labels)).backward()


def test_a_loss_that_needs_no_logits_beside_it() -> None:
    leaf, labels = _inputs()
    logits = _head(leaf)
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(logits, labels) + logits.sum(), leaf)
    logits = _head(leaf)
    other = logits.sum()
    (gradient,) = torch.autograd.grad(other + _call(logits, labels), leaf)
    torch.testing.assert_close(gradient, expected)


def test_two_losses_in_place() -> None:
    leaf, labels = _inputs()
    logits = _head(leaf)
    total = _call(logits, labels) + _call(logits, labels)
    with _refuses(RuntimeError, "changed since the loss was called"):
        total.backward()


def test_logits_that_were_changed() -> None:
    leaf, labels = _inputs()
    logits = _head(leaf)
    loss = _call(logits, labels)
    with torch.no_grad():
        logits.zero_()
    with _refuses(RuntimeError, "changed since the loss was called"):
        loss.backward()


def test_a_second_backward_pass() -> None:
    leaf, labels = _inputs()
    loss = _call(_head(leaf), labels)
    loss.backward(retain_graph=True)
    with _refuses(RuntimeError, "a second backward pass"):
        loss.backward()
    loss = _call(_head(leaf), labels)
    loss.backward()
    with pytest.raises(RuntimeError, match="second"):
        loss.backward()


def test_derivatives_of_the_gradient() -> None:
    leaf, labels = _inputs()
    with _refuses(RuntimeError, "create_graph"):
        torch.autograd.grad(_call(_head(leaf), labels), leaf, create_graph=True)
    loss = _call(_head(leaf), labels)
    with _refuses(RuntimeError, "several at once"):
        torch.autograd.grad(loss, leaf, torch.ones(2), is_grads_batched=True)


def test_hooks() -> None:
    leaf, labels = _inputs()

    def with_hook(logits: Tensor) -> None:
        logits.register_hook(lambda gradient: gradient * logits)

    for register in (with_hook, Tensor.retain_grad):
        logits = _head(leaf)
        register(logits)
        with _refuses(ValueError, "with a hook"):
            _call(logits, labels)
        logits = _head(leaf)
        loss = _call(logits, labels)
        register(logits)
        with _refuses(ValueError, "with a hook"):
            loss.backward()
        logits = _head(leaf)
        loss = _call(logits, labels)
        register(logits)
        del logits  # the hook lives on
        with _refuses(ValueError, "with a hook"):
            loss.backward()


def test_hooks_of_masks_per_channel() -> None:
    leaf, _ = _inputs((2, 3, 9, 11))
    masks = torch.ones(leaf.shape, dtype=torch.bool)
    logits = _head(leaf)
    loss = _call(logits, masks, mask=masks, activation="sigmoid")
    logits.retain_grad()
    with _refuses(ValueError, "with a hook"):
        loss.backward()


def test_a_hook_of_what_the_logits_are_a_view_of() -> None:
    leaf, labels = _inputs()
    base = _head(leaf)
    base.register_hook(lambda gradient: gradient * (base.detach().abs() < 1))
    with _refuses(ValueError, "a view of a tensor with one"):
        _call(base[:, :, :], labels)


def test_memory_of_a_leaf_behind_a_function() -> None:
    class Detached(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.detach()

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return gradient

    leaf, labels = _inputs()
    with _refuses(ValueError, "a leaf's memory"):
        _call(Detached.apply(leaf), labels)


@pytest.mark.parametrize("last", ["norm", "norm and softmax"])
def test_a_checkpoint_is_not_computed_again_by_looking(last: str) -> None:
    """Its running statistics would move on, and it costs a forward pass."""
    tracked = []
    for in_place in (False, True):
        torch.manual_seed(0)
        convolution, norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        end = nn.Identity() if last == "norm" else nn.Softmax(dim=1)
        network = nn.Sequential(convolution, norm, end)
        logits = checkpoint(network, torch.randn(2, 1, 9, 8), use_reentrant=False)
        labels = torch.randint(0, 3, (2, 9, 8))
        loss: Tensor = scnp_dice_ce_loss(logits, labels, inplace_backward=in_place)
        assert norm.num_batches_tracked == 1
        loss.backward()
        tracked.append((norm.num_batches_tracked, norm.running_mean, convolution.weight.grad))
    for one, other in zip(*tracked, strict=True):
        assert torch.equal(one, other)


def test_a_torch_that_does_not_tell_of_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those before 2.8."""
    monkeypatch.setattr(overwriting, "_top_hooks", None)
    leaf, labels = _inputs()
    with _refuses(ValueError, "saved-tensor hooks"):
        _call(_head(leaf), labels)


def test_hooks_of_saved_tensors() -> None:
    """Autograd compares no versions behind them."""
    leaf, labels = _inputs()
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
        _refuses(ValueError, "saved-tensor hooks"),
    ):
        _call(_head(leaf), labels)
    with _refuses(ValueError, "saved-tensor hooks"):
        checkpoint(lambda z: _call(_head(z), labels), leaf, use_reentrant=False)


def test_a_head_behind_a_checkpoint() -> None:
    """It is computed again, into other memory: nothing is lost."""
    leaf, labels = _inputs()
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(torch.sigmoid(leaf) * 2, labels), leaf)
    logits = checkpoint(lambda z: torch.sigmoid(z) * 2, leaf, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(_call(logits, labels), leaf)[0], expected)


def test_transforms() -> None:
    leaf, labels = _inputs()
    with _refuses(ValueError, "torch.func"):
        torch.func.grad(lambda z: _call(_head(z), labels))(leaf.detach())
    with _refuses(ValueError, "torch.func"):
        torch.func.vmap(lambda z: _call(_head(z), labels))(leaf.detach()[None])


def test_compiled() -> None:
    leaf, labels = _inputs()

    def step(leaf: Tensor) -> Tensor:
        return _call(_head(leaf), labels)

    with pytest.raises(Exception, match=r"inplace_backward: got True under torch\.compile"):
        torch.compile(step, backend="eager", fullgraph=True)(leaf)
    with torch.no_grad():
        torch.compile(step, backend="eager", fullgraph=True)(leaf)


def test_where_a_compiled_step_may_end_its_graph() -> None:
    """There the loss runs as it does without, with all that it looks at."""
    leaf, labels = _inputs()
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(_head(leaf), labels), leaf)
    step = torch.compile(lambda z: _call(_head(z), labels), backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(step(leaf), leaf)[0], expected)
    saving = torch.compile(lambda z: _call(torch.sigmoid(z), labels), backend="aot_eager")
    with _refuses(ValueError, "saved for its own backward pass"):
        saving(leaf)


@pytest.mark.parametrize("last", [torch.sigmoid, _head])
def test_a_compiled_network_before_it(last: Callable[[Tensor], Tensor]) -> None:
    """It keeps what it likes; whether that is its result is seen at the call."""
    leaf, labels = _inputs()
    network = torch.compile(lambda z: last(z.square()), backend="aot_eager")
    logits = network(leaf)
    if last is torch.sigmoid:
        with _refuses(ValueError, "saved for its own backward pass"):
            _call(logits, labels)
    else:
        (expected,) = torch.autograd.grad(scnp_dice_ce_loss(_head(leaf.square()), labels), leaf)
        torch.testing.assert_close(torch.autograd.grad(_call(logits, labels), leaf)[0], expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"backend": "reference"}, 'the backend "reference"'), ({}, "with C = 251 classes")],
)
def test_backends_that_cannot(options: dict[str, Any], words: str) -> None:
    leaf, labels = _inputs((1, 251, 4, 5))
    with _refuses(ValueError, words):
        _call(_head(leaf), labels, **options)


def test_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        leaf, labels = (mode.from_tensor(value) for value in _inputs())
        with _refuses(TypeError, "FakeTensor"):
            _call(F.relu(leaf), labels)
