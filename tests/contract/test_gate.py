"""Promise: where `gate` is False a pixel keeps its own logit, and still lends it to its neighbours.

The case list (``GATED`` of tests/cases.py) holds every backend to brute force; here stands what the
argument means beside the others, and in the losses.
"""

from __future__ import annotations

import runpy
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

from scnp_kernels import SCNP, SCNPDiceCELoss, SCNPLoss, ops, reference, scnp, scnp_dice_ce_loss
from tests import generators as g
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import DTYPES, Case, Sample
from tests.oracle import brute_force, brute_force_gradient, read_target

EXAMPLES = Path(__file__).parents[2] / "examples"
SHAPES = [(2, 3, 17), (2, 3, 7, 9), (1, 2, 4, 5, 6)]
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape) - 2}d")
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _map(shape: tuple[int, ...], share: float = 0.5, seed: int = 5) -> Tensor:
    return g.valid_pixels(share)(shape, g.seeded(seed))


def _composed(sample: Sample, gate: Tensor, backend: str) -> Outcome:
    """``where(gate, SCNP(z), z)`` written out around the operator without a gate."""
    ungated = sample._replace(kwargs=sample.kwargs | {"gate": None})
    outcome = forward_backward(backend, ungated)
    keeps = ~gate.unsqueeze(1).expand_as(sample.logits)
    centre = torch.tensor(_taps(sample) // 2).to(outcome.winners)
    winners = torch.where(keeps, centre, outcome.winners)
    window = sample.kwargs["kernel_size"]
    return Outcome(
        torch.where(keeps, sample.logits, outcome.penalized),
        winners,
        brute_force_gradient(sample.incoming, winners.long(), window),
    )


def _taps(sample: Sample) -> int:
    window = sample.kwargs["kernel_size"]
    assert isinstance(window, int)
    taps: int = window ** (sample.logits.dim() - 2)
    return taps


def test_by_hand(backend: str) -> None:
    """The closed pixel lends its 1 to both neighbours; an invalid one would lend it to nobody."""
    logits = torch.tensor([[[2.0, 1.0, 3.0]]], requires_grad=True)
    target, middle_is_off = torch.ones(1, 3).long(), torch.tensor([[True, False, True]])
    lends = scnp(logits, target, gate=middle_is_off, backend=backend)
    assert lends.tolist() == [[[1.0, 1.0, 1.0]]]
    (gradient,) = torch.autograd.grad(lends, logits, torch.tensor([[[10.0, 20.0, 40.0]]]))
    assert gradient.tolist() == [[[0.0, 70.0, 0.0]]]
    ends_are_off = scnp(logits, target, gate=~middle_is_off, backend=backend)
    assert ends_are_off.tolist() == [[[2.0, 1.0, 3.0]]]
    keeps_to_itself = scnp(logits, target, mask=middle_is_off, backend=backend)
    assert keeps_to_itself.tolist() == [[[2.0, 1.0, 3.0]]]


@by_shape
@by_dtype
def test_open_everywhere_is_no_gate(
    backend: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    sample = Case("open", "", shape, logits=g.some_nan).make(dtype)
    gate = torch.ones(shape[0], *shape[2:], dtype=torch.bool)
    gated = forward_backward(backend, sample._replace(kwargs=sample.kwargs | {"gate": gate}))
    for one, other in zip(gated, forward_backward(backend, sample), strict=True):
        assert_same(one, other)
        if one.is_floating_point():  # to the last bit: signs of zeros, and NaN's own bits
            assert torch.equal(one.view(torch.uint8), other.view(torch.uint8))


@by_shape
@by_dtype
def test_closed_everywhere_is_the_identity(
    backend: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    sample = Case("closed", "", shape, logits=g.signed_zeros).make(dtype)
    gate = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool)
    outcome = forward_backward(backend, sample._replace(kwargs=sample.kwargs | {"gate": gate}))
    assert torch.equal(outcome.penalized.view(torch.uint8), sample.logits.view(torch.uint8))
    assert torch.equal(outcome.gradient.view(torch.uint8), sample.incoming.view(torch.uint8))


# Results above 16 MiB are written around the cache, row by row where rows are whole blocks.
LARGE = [
    ((1, 2, 1300, 1728), 3, torch.float32, g.as_made),
    ((1, 2, 1300, 1728), 7, torch.float32, g.as_made),
    ((1, 2, 1300, 1728), 17, torch.float32, g.as_made),
    ((1, 2, 1300, 1730), 3, torch.float32, g.as_made),
    ((1, 1, 1300, 1728), 3, torch.float64, g.as_made),
    ((1, 3, 2200, 1472), 3, torch.float16, g.as_made),
    ((1, 2, 4_500_000), 5, torch.bfloat16, g.as_made),
    ((1, 2, 1300, 1728), 3, torch.float32, g.reversed_axes),
    ((1, 2, 1300, 1728), 3, torch.float32, g.channels_last),
    ((1, 1, 90, 200, 256), 3, torch.float32, g.as_made),
]


@pytest.mark.parametrize(
    ("shape", "window", "dtype", "layout"), LARGE,
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
@pytest.mark.parametrize("gate_layout", [g.as_made, g.reversed_axes], ids=["near", "strided"])
def test_results_larger_than_the_cache(
    shape: tuple[int, ...],
    window: int,
    dtype: torch.dtype,
    layout: g.Layout,
    gate_layout: g.Layout,
) -> None:
    logits = layout((2 * torch.randn(shape, generator=g.seeded(0))).to(dtype))
    target = torch.randint(0, 2, (shape[0], *shape[2:]), generator=g.seeded(1), dtype=torch.uint8)
    gate = gate_layout(_map(shape))
    assert logits.numel() * logits.itemsize > 16 << 20
    how = (target, None, [window] * (len(shape) - 2), False, 1 if shape[1] == 1 else 0, 3, 1, True)
    with torch.no_grad():
        penalized, winners = _gated(logits, gate, how)
        plain, plain_winners = _gated(logits, None, how)
    keeps = ~gate.unsqueeze(1)
    assert torch.equal(penalized, torch.where(keeps, logits, plain))
    centre = window ** (len(shape) - 2) // 2
    assert torch.equal(winners, plain_winners.masked_fill(keeps, centre))


def _gated(logits: Tensor, gate: Tensor | None, how: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    target, mask, *rest = how
    result: tuple[Tensor, Tensor] = ops.forward(logits, target, mask, gate, *rest, "cpu")
    return result


@by_shape
@by_dtype
def test_it_is_where_around_scnp(backend: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """With masks and ignored labels too, whose pixels keep their logit anyway."""
    gate = _map(shape, 0.6)
    for case in (
        Case("labels", "", shape, logits=g.tied),
        Case("masks", "", shape, target=g.masks(), mask=g.valid_pixels()),
        Case("ignored", "", shape, 5, target=g.labels(ignored=9), ignore_index=9,
             mask=g.valid_pixels()),
    ):  # fmt: skip
        sample = case.make(dtype)
        gated = sample._replace(kwargs=sample.kwargs | {"gate": gate})
        for actual, wanted in zip(
            forward_backward(backend, gated), _composed(sample, gate, backend), strict=True
        ):
            assert_same(actual, wanted)


@by_shape
@pytest.mark.parametrize("layout", [g.as_made, g.channels_last])
def test_beside_a_mask_that_differs_by_channel(
    backend: str, shape: tuple[int, ...], layout: g.Layout
) -> None:
    generator = g.seeded(3)
    logits = layout(torch.randint(-4, 5, shape, generator=generator).float())
    masks = torch.rand(shape, generator=generator) < 0.5
    valid = torch.rand(shape, generator=generator) < 0.6
    gate = _map(shape)
    expected = brute_force(logits, *read_target(shape, masks, mask=valid), 3, gate)
    leaf = logits.detach().requires_grad_()
    penalized = scnp(leaf, masks, mask=valid, gate=gate, backend=backend)
    assert_same(penalized.detach(), expected.penalized)
    incoming = torch.randint(-3, 4, shape, generator=generator).float()
    (gradient,) = torch.autograd.grad(penalized, leaf, incoming)
    assert_same(gradient, brute_force_gradient(incoming, expected.winners, 3))


def test_the_target_behind_a_closed_gate_is_read_and_checked(backend: str) -> None:
    logits, target = torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3).long()
    gate = torch.ones(1, 3, 3, dtype=torch.bool)
    gate[0, 1, 1] = False
    target[0, 1, 1] = 7
    with pytest.raises(ValueError, match="target: got a label map that holds 7"):
        scnp(logits, target, gate=gate, validate=True, backend=backend)
    # It decides to whom the pixel lends its logit.
    logits = torch.tensor([[[0.0, 5.0, 1.0]]])
    closed = torch.tensor([[True, False, True]])
    of_background = scnp(logits, torch.tensor([[0, 0, 1]]), gate=closed, backend=backend)
    of_foreground = scnp(logits, torch.tensor([[0, 1, 1]]), gate=closed, backend=backend)
    assert of_background.tolist() == [[[5.0, 5.0, 1.0]]]
    assert of_foreground.tolist() == [[[0.0, 5.0, 1.0]]]


def test_modules_hand_it_on(backend: str) -> None:
    logits = torch.randn(2, 3, 7, 9, generator=g.seeded(0))
    target = torch.randint(0, 3, (2, 7, 9), generator=g.seeded(1))
    mask, gate = _map(logits.shape, 0.8), _map(logits.shape, seed=6)
    wanted = scnp(logits, target, 5, mask=mask, gate=gate, backend=backend)
    module = SCNP(5, backend=backend)
    assert_same(module(logits, target, mask, gate), wanted)
    assert_same(module(logits, target, mask=mask, gate=gate), wanted)
    assert_same(reference.scnp(logits, target, 5, mask=mask, gate=gate), wanted)
    loss = SCNPLoss(nn.CrossEntropyLoss(), 5, plain_weight=0.5, backend=backend)
    plain = F.cross_entropy(logits, target)
    assert_same(
        loss(logits, target, mask=mask, gate=gate),
        F.cross_entropy(wanted, target) + 0.5 * plain,
    )
    as_function = scnp_dice_ce_loss(logits, target, 5, mask=mask, gate=gate, backend=backend)
    criterion = SCNPDiceCELoss(5, backend=backend)
    assert_same(criterion(logits, target, mask, gate), as_function)
    assert_same(criterion(logits, target, mask=mask, gate=gate), as_function)


@by_shape
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("joint", [False, True], ids=["penalized", "joint"])
@pytest.mark.parametrize("sigmoid", [False, True], ids=["softmax", "sigmoid"])
def test_the_fused_loss_is_the_loss_of_gated_logits(
    backend: str, shape: tuple[int, ...], dtype: torch.dtype, joint: bool, sigmoid: bool
) -> None:
    """Written out in plain PyTorch around ``scnp(gate=)``; every pixel counts, gated or not."""
    logits = torch.randn(shape, generator=g.seeded(0)).to(dtype).requires_grad_()
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=g.seeded(1))
    mask, gate = _map(shape, 0.8), _map(shape, seed=6)
    fused = scnp_dice_ce_loss(
        logits,
        target,
        activation="sigmoid" if sigmoid else "softmax",
        plain_weight=0.7 if joint else 0.0,
        mask=mask,
        gate=gate,
        backend=backend,
    )
    penalized = scnp(logits, target, mask=mask, gate=gate, backend=backend)
    expected = _dice_ce(penalized, target, mask, sigmoid)
    if joint:
        expected = expected + 0.7 * _dice_ce(logits, target, mask, sigmoid)
    torch.testing.assert_close(fused, expected.to(fused.dtype))
    (gradient,) = torch.autograd.grad(fused, logits)
    (wanted,) = torch.autograd.grad(expected, logits)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=tolerance)


def _dice_ce(logits: Tensor, target: Tensor, valid: Tensor, sigmoid: bool) -> Tensor:
    classes = logits.shape[1]
    one_hot = torch.stack([target == k for k in range(classes)], 1).to(logits)
    inside = valid.unsqueeze(1).expand_as(logits)
    if sigmoid:
        ce = F.binary_cross_entropy_with_logits(logits[inside], one_hot[inside])
        p = logits.sigmoid()
    else:
        ce = F.cross_entropy(logits, target, reduction="none")[valid].mean()
        p = logits.softmax(1)
    p, y = (p * inside).flatten(2), (one_hot * inside).flatten(2)
    dice = (2 * (p * y).sum(2) + 1e-5) / (p.sum(2) + y.sum(2) + 1e-5)
    return ce + 1 - dice.mean()


def test_the_plain_loss_does_not_see_it(backend: str) -> None:
    logits = torch.randn(2, 3, 7, 9, generator=g.seeded(0)).requires_grad_()
    target = torch.randint(0, 3, (2, 7, 9), generator=g.seeded(1))
    options: dict[str, Any] = {"scnp_weight": 0.0, "plain_weight": 1.0, "backend": backend}
    gated = scnp_dice_ce_loss(logits, target, gate=_map(logits.shape), **options)
    assert_same(gated, scnp_dice_ce_loss(logits, target, **options))


def test_second_derivatives_of_the_fused_loss(backend: str) -> None:
    shape = (1, 2, 3, 4)
    logits = torch.randn(shape, dtype=torch.float64, generator=g.seeded(0)).requires_grad_()
    target = torch.randint(0, 2, (1, 3, 4), generator=g.seeded(1))
    gate = _map(shape)

    def loss(z: Tensor) -> Tensor:
        return scnp_dice_ce_loss(z, target, gate=gate, plain_weight=0.5, backend=backend)

    assert torch.autograd.gradgradcheck(loss, logits)
    gates = torch.stack([gate, ~gate])
    mapped = torch.func.vmap(
        lambda m: scnp_dice_ce_loss(logits.detach(), target, gate=m, backend=backend)
    )(gates)
    one_by_one = [
        scnp_dice_ce_loss(logits.detach(), target, gate=m, backend=backend) for m in gates
    ]
    torch.testing.assert_close(mapped, torch.stack(one_by_one))


def test_opcheck(backend: str) -> None:
    logits, target = torch.randn(2, 3, 6, 5), torch.randint(0, 3, (2, 6, 5))
    gate, mask = _map(logits.shape), _map(logits.shape, 0.8)
    rest = (target, mask, gate, [3, 3], False, 0, 3, None, True, backend)
    opcheck(ops.forward, (logits.requires_grad_(), *rest))


def test_compiles_to_one_graph_for_every_shape(backend: str) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    def step(z: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        loss = scnp_dice_ce_loss(z, y, gate=gate, backend=backend)
        return loss + scnp(z, y, 5, gate=gate, backend=backend).square().mean()

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=counter)
    compiled_for_the_first = 0  # torch may compile twice at once, to make a float a constant
    for height, width in ((8, 10), (11, 12), (13, 7)):
        z = torch.randn(2, 3, height, width, requires_grad=True)
        y, gate = torch.randint(0, 3, (2, height, width)), _map((2, 3, height, width))
        got, wanted = compiled(z, y, gate), step(z, y, gate)
        compiled_for_the_first = compiled_for_the_first or counter.frame_count
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close(torch.autograd.grad(got, z), torch.autograd.grad(wanted, z))
    assert counter.frame_count == compiled_for_the_first


def test_exports(backend: str) -> None:
    class Step(nn.Module):
        def forward(self, z: Tensor, y: Tensor, gate: Tensor) -> Tensor:
            return scnp(z, y, gate=gate, backend=backend)

    z, y = torch.randn(2, 3, 7, 9), torch.randint(0, 3, (2, 7, 9))
    gate = _map(z.shape)
    exported = torch.export.export(Step(), (z, y, gate))
    assert_same(exported.module()(z, y, ~gate), scnp(z, y, gate=~gate, backend=backend))


def test_only_where_the_whole_window_is_annotated(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe of docs/gate.md, against a loop over the pixels."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    recipe = runpy.run_path(str(EXAMPLES / "gate.py"))
    ignored = 255
    target = g.labels(torch.uint8, ignored=ignored)((1, 3, 6, 8), g.seeded(0))
    logits = torch.randn(1, 3, 6, 8, generator=g.seeded(1))
    annotated, near = recipe["annotated"](target), recipe["near_structures"](target, 1)
    for y, x in product(range(6), range(8)):
        around = target[0, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert annotated[0, y, x] == (around != ignored).all()
        assert near[0, y, x] == (around == 1).any()
    got = scnp(logits, target, ignore_index=ignored, gate=annotated, backend=backend)
    penalized = scnp(logits, target, ignore_index=ignored, backend=backend)
    assert_same(got, torch.where(annotated.unsqueeze(1), penalized, logits))


def test_the_recipe_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    losses, validation = runpy.run_path(str(EXAMPLES / "gate.py"))["train"](12)
    assert losses[-1] < losses[0]
    assert validation > 0
