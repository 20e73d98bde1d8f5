"""The kernels of Dice + cross entropy equal the composition of plain operations, on every case.

The composition runs on the reference, which shares no code with them.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

from scnp_kernels import SCNPDiceCELoss, scnp_dice_ce_loss
from scnp_kernels.rules.arguments import check_arguments
from tests import fresh_process
from tests import generators as g
from tests.cases import CASES, DTYPES, Case, Sample

OPERATORS = torch.ops.scnp_kernels
TERMS = ((True, False), (False, True), (True, True))  # of the penalized logits, of the plain ones
# Relative to the largest value: half types round the gradient once.
TOLERANCE = {
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
    torch.float32: 2e-6,
    torch.float64: 1e-12,
}


class Outcome:
    """The sums, the winners and the gradient of one call."""

    def __init__(
        self,
        sample: Sample,
        backend: str,
        softmax: bool,
        terms: tuple[bool, bool],
        validate: bool = False,
        gamma: float = 0.0,
    ) -> None:
        arguments = check_arguments(
            sample.logits,
            sample.target,
            sample.kwargs["kernel_size"],
            sample.kwargs["ignore_index"],
            sample.kwargs["mask"],
            sample.kwargs.get("gate"),
            validate,
        )
        _, target, mask, gate, kernel_size, reading = arguments
        rest = (target, mask, gate, kernel_size, *reading, softmax, *terms, gamma, backend)
        self.sums, self.winners = OPERATORS.dice_ce_forward(sample.logits, *rest)
        incoming = torch.rand(self.sums.shape, generator=g.seeded(11), dtype=torch.float64) - 0.4
        self.gradient = OPERATORS.dice_ce_backward(incoming, self.winners, sample.logits, *rest)


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    finite = expected[expected.isfinite()]
    # At least 1/2: the gradient is a difference of numbers of about that size.
    scale = max(float(finite.abs().max()), 0.5) if finite.numel() else 0.5
    torch.testing.assert_close(
        actual, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True
    )


def _compare(sample: Sample, softmax: bool, terms: tuple[bool, bool], gamma: float = 0.0) -> None:
    actual = Outcome(sample, "cpu", softmax, terms, gamma=gamma)
    expected = Outcome(sample, "reference", softmax, terms, gamma=gamma)
    assert actual.winners.dtype == expected.winners.dtype
    assert torch.equal(actual.winners, expected.winners)
    assert actual.sums.shape == (2, 6, *sample.logits.shape[:2])
    # The pixels counted are exact.
    assert torch.equal(actual.sums[:, [2, 5]], expected.sums[:, [2, 5]])
    # Logits of half types are exact; only what is computed from them is rounded, to float32.
    wide = sample.logits.dtype == torch.float64
    for term, row in itertools.product(range(2), (0, 1, 3, 4)):
        of_kernel, composed = actual.sums[term, row], expected.sums[term, row]
        if wide:
            _close(of_kernel, composed, 1e-12)
        else:  # the composition adds up in float32, and may overflow there
            _close(of_kernel.float(), composed.float(), 2e-6)
    assert actual.gradient.dtype == sample.logits.dtype
    assert actual.gradient.stride() == torch.empty_like(sample.logits).stride()
    _close(actual.gradient, expected.gradient, TOLERANCE[sample.logits.dtype])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_case(case: Case, dtype: torch.dtype) -> None:
    sample = case.make(dtype)
    # One after the other, so that every case meets every one of them in some dtype.
    choice = CASES.index(case) + DTYPES.index(dtype)
    _compare(sample, choice % 2 == 0, TERMS[choice % 3])
    _compare(sample, choice % 2 == 0, TERMS[choice % 3], (2.0, 0.5, 2.5)[choice % 3])


CHOSEN = [
    Case("plain", "", (2, 3, 9, 70)),
    Case("tail", "", (1, 2, 3, 5, 131), kernel_size=(1, 3, 5)),
    Case("masks", "", (2, 3, 9, 70), target=g.masks(), mask=g.valid_pixels()),
    Case("ignored", "", (2, 3, 9, 70), target=g.labels(ignored=9), ignore_index=9),
    Case("large window", "", (1, 2, 20, 21), kernel_size=17),
    Case("larger window", "", (1, 2, 40, 50), kernel_size=(35, 37)),
    Case("channels last", "", (2, 5, 9, 70), layout=g.channels_last),
]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("terms", TERMS)
def test_every_option(case: Case, softmax: bool, terms: tuple[bool, bool]) -> None:
    for dtype, gamma in itertools.product(DTYPES, (0.0, 2.0, 1.3)):
        _compare(case.make(dtype), softmax, terms, gamma)


@pytest.mark.parametrize("classes", [1, 2, 17, 64, 250, 251])
def test_any_number_of_classes(classes: int) -> None:
    """251 classes do not fit the codes of a pixel: the loss is composed there."""
    case = Case("classes", "", (2, classes, 5, 67))
    for softmax, terms in itertools.product((True, False), TERMS):
        for gamma in (0.0, 2.0, 2.5):
            _compare(case.make(torch.float32), softmax, terms, gamma)


@pytest.mark.parametrize("shape", [(1, 1, 2100), (1, 2, 4100, 7), (2, 3, 40, 50, 30)], ids=str)
@pytest.mark.parametrize("softmax", [True, False])
def test_threads_change_no_bit(shape: tuple[int, ...], softmax: bool) -> None:
    sample = Case("", "", shape).make(torch.float32)
    outcomes = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        outcomes.append(Outcome(sample, "cpu", softmax, (True, True)))
    for other in outcomes[1:]:
        assert torch.equal(other.sums, outcomes[0].sums)
        assert torch.equal(other.gradient, outcomes[0].gradient)


# Numbers of classes that the kernels know as constants, and one that they do not.
DIGEST = """
import hashlib, itertools, torch
from scnp_kernels import scnp_dice_ce_loss, scnp_focal_loss
from scnp_kernels.backends.native import loader as native
digest = hashlib.sha256()
generator = torch.Generator().manual_seed(0)
dtypes = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
for dtype, classes, shape in itertools.product(dtypes, (2, 3, 4, 5), ((11, 200), (3, 7, 35))):
    for activation in ("softmax", "sigmoid"):
        logits = torch.randn((2, classes, *shape), generator=generator) * 4
        logits = logits.to(dtype).requires_grad_()
        target = torch.randint(0, classes + 1, (2, *shape), generator=generator)
        loss = scnp_dice_ce_loss(logits, target, plain_weight=1, ignore_index=classes,
                                 activation=activation, backend="cpu")
        loss.backward()
        digest.update(loss.detach().numpy().tobytes() + logits.grad.double().numpy().tobytes())
        masks = torch.rand(logits.shape, generator=generator) < 0.4
        for gamma, masked in ((2.0, False), (2.5, False), (3.0, True)):
            logits.grad = None
            options = {} if masked else {"ignore_index": classes}
            loss = scnp_focal_loss(logits, masks if masked else target, gamma=gamma, plain_weight=1,
                                   activation=activation, backend="cpu", **options)
            loss.backward()
            digest.update(loss.detach().numpy().tobytes())
            digest.update(logits.grad.double().numpy().tobytes())
print(native.build_record()["capability"], digest.hexdigest())
"""


def test_every_instruction_set_computes_the_same_bits() -> None:
    best = torch.backends.cpu.get_cpu_capability().lower()
    available = ["portable", "avx2", "avx512"]
    available = available[: available.index(best) + 1] if best in available else ["portable"]
    digests = set()
    for capability in available:
        result = fresh_process.run(DIGEST, SCNP_CPU_CAPABILITY=capability)
        assert result.returncode == 0, result.stderr
        used, digest = result.stdout.split()
        assert used == capability
        digests.add(digest)
    assert len(digests) == 1


def test_probabilities_are_those_of_float64_within_rounding() -> None:
    """The kernels' own exponential and logarithm, over all that logits can be."""
    spread = torch.linspace(-110, 110, 200_001)
    logits = torch.stack((spread, torch.zeros_like(spread))).view(1, 2, -1)
    target = torch.zeros(1, logits.shape[2], dtype=torch.int64)
    for activation in ("softmax", "sigmoid"):
        gradients = []
        for dtype in (torch.float32, torch.float64):
            leaf = logits.to(dtype, copy=True).requires_grad_()
            loss = scnp_dice_ce_loss(
                leaf, target, scnp_weight=0, plain_weight=1, dice_weight=0, activation=activation
            )
            loss.backward()
            assert leaf.grad is not None
            gradients.append(leaf.grad.double())
        single, double = gradients
        if activation == "softmax":
            # Of the other class; the target's own is p - 1, which cancels.
            single, double = single[:, 1], double[:, 1]
        # Where the exact result is above float32's denormal numbers.
        large = double.abs() > 1e-35
        assert ((single - double).abs() <= 4e-7 * double.abs())[large].all()
        assert (single[~large].abs() < 1e-35).all()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("terms", TERMS)
def test_forbidden_labels_are_found(backend: str, terms: tuple[bool, bool]) -> None:
    labels = torch.zeros(2, 9, 11, dtype=torch.int64)
    labels[1, 3, 4] = 7
    sample = Case("", "", (2, 3, 9, 11)).make(torch.float32)._replace(target=labels)
    with pytest.raises(ValueError, match="target: got a label map that holds 7, takes integers"):
        Outcome(sample, backend, True, terms, validate=True)
    masks = torch.zeros(2, 3, 9, 11, dtype=torch.uint8)
    masks[1, 2, 3, 4] = 2
    with pytest.raises(ValueError, match="target: got a mask that holds 2"):
        Outcome(sample._replace(target=masks), backend, True, terms, validate=True)


@pytest.mark.parametrize("shape", [(0, 3, 9, 11), (2, 3, 0, 11), (2, 3, 9, 0), (2, 0, 9, 11)])
def test_empty(shape: tuple[int, ...]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros((shape[0], *shape[2:]), dtype=torch.int64)
    loss = scnp_dice_ce_loss(logits, target, activation="sigmoid", plain_weight=1)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.shape == shape


def test_winners_that_no_forward_pass_writes_reach_no_foreign_memory() -> None:
    for window, dtype in (([3, 3], torch.uint8), ([17, 17], torch.int16), ([41, 41], torch.int16)):
        logits = torch.randn(1, 2, 21, 23)
        target = torch.randint(0, 2, (1, 21, 23))
        settings = (window, False, 0, 2, None, False, True, True, False, 0.0, "cpu")
        rest = (logits, target, None, None, *settings)
        sums = torch.zeros(2, 6, 1, 2, dtype=torch.float64)
        limits = torch.iinfo(dtype)
        for value in (limits.min, limits.max, 0, window[0] * window[1] - 1):
            winners = torch.full(logits.shape, value, dtype=dtype)
            gradient = OPERATORS.dice_ce_backward(sums + 1, winners, *rest)
            assert gradient.isfinite().all()


def test_winners_beside_a_single_column_are_not_followed() -> None:
    """One class's winners lead out of the image, the other's do not; NaN lies all around."""
    around = torch.full((64,), math.nan)
    logits = around[20:28].view(1, 2, 4, 1).zero_()
    target = torch.zeros(1, 4, 1, dtype=torch.int64)
    sums = torch.ones(2, 6, 1, 2, dtype=torch.float64)
    settings = ([3, 3], False, 0, 2, None, False, True, True, False, 0.0, "cpu")
    rest = (logits, target, None, None, *settings)
    for tap in range(9):
        winners = torch.full(logits.shape, 4, dtype=torch.uint8)
        winners[:, 0] = tap
        assert OPERATORS.dice_ce_backward(sums, winners, *rest).isfinite().all()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_loss_scaler_sees_what_overflowed(activation: str, value: float, classes: int) -> None:
    logits = torch.randn(1, classes, 5, 6, generator=g.seeded(4))
    logits[0, 1, 2, 3] = value
    target = torch.randint(0, classes, (1, 5, 6), generator=g.seeded(5))
    outcomes = []
    for backend in ("cpu", "reference"):
        leaf = logits.clone().requires_grad_()
        loss = scnp_dice_ce_loss(leaf, target, activation=activation, backend=backend)
        loss.backward()
        assert leaf.grad is not None
        outcomes.append((loss.detach(), leaf.grad))
    for fused, composed in zip(*outcomes, strict=True):
        torch.testing.assert_close(fused, composed, equal_nan=True)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_all_derivatives(activation: str) -> None:
    generator = g.seeded(2)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)

    def loss(z: Tensor) -> Tensor:
        return scnp_dice_ce_loss(z, target, plain_weight=0.5, activation=activation)

    assert torch.autograd.gradcheck(loss, (logits,))
    assert torch.autograd.gradgradcheck(loss, (logits,))
    leaf = logits.detach()
    hessian = torch.func.jacrev(torch.func.grad(loss))(leaf)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(loss, leaf))
    many = torch.randn(3, 2, 3, 4, 5, dtype=torch.float64, generator=generator)
    mapped = torch.func.vmap(torch.func.grad(loss))(many)
    one_by_one = torch.stack([torch.func.grad(loss)(z) for z in many])
    torch.testing.assert_close(mapped, one_by_one)


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("form", ["label map", "masks", "mask", "gate"])
@pytest.mark.parametrize("gamma", [0.0, 2.5])
def test_opcheck(terms: tuple[bool, bool], form: str, gamma: float) -> None:
    logits = torch.randn(2, 3, 6, 5)
    target = torch.randint(0, 3, (2, 6, 5))
    if form == "masks":
        target = torch.rand(2, 3, 6, 5) < 0.5
    mask = torch.rand(2, 6, 5) < 0.7 if form == "mask" else None
    gate = torch.rand(2, 6, 5) < 0.7 if form == "gate" else None
    rest = (target, mask, gate, [3, 3], form == "masks", 0, 3, None, True, True, *terms, gamma)
    sums, winners = OPERATORS.dice_ce_forward(logits, *rest, "cpu")
    for backend in ("cpu", "reference"):
        opcheck(
            OPERATORS.dice_ce_forward.default,
            (logits.clone().requires_grad_(), *rest, backend),
        )
        opcheck(OPERATORS.dice_ce_backward.default, (sums, winners, logits, *rest, backend))


def test_one_graph_serves_every_shape() -> None:
    torch._dynamo.reset()  # the number of graphs is counted
    criterion = SCNPDiceCELoss(plain_weight=1.0, class_weights=[1.0, 2.0, 0.5])
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(criterion, fullgraph=True, dynamic=True, backend=counter)
    compiled_for_the_first = 0  # torch may compile twice at once, to make a float a constant
    for height, width in ((8, 10), (11, 12), (33, 7)):
        logits = torch.randn(2, 3, height, width, requires_grad=True)
        target = torch.randint(0, 3, (2, height, width))
        value, expected = compiled(logits, target), criterion(logits, target)
        compiled_for_the_first = compiled_for_the_first or counter.frame_count
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(
            torch.autograd.grad(value, logits), torch.autograd.grad(expected, logits)
        )
    assert counter.frame_count == compiled_for_the_first


def test_autocast_leaves_the_logits_alone() -> None:
    logits = torch.randn(2, 3, 9, 11).bfloat16().requires_grad_()
    target = torch.randint(0, 3, (2, 9, 11))
    plain = scnp_dice_ce_loss(logits, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = scnp_dice_ce_loss(logits, target)
    assert value.dtype == torch.float32
    assert torch.equal(value, plain)


@pytest.mark.parametrize("window", [3, 17])
@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_the_winners_are_all_that_is_kept(window: int, plain_weight: float) -> None:
    logits = torch.randn(2, 3, 40, 50, requires_grad=True)
    target = torch.randint(0, 3, (2, 40, 50))
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        scnp_dice_ce_loss(logits, target, window, plain_weight=plain_weight)
    given = {logits.data_ptr(), target.data_ptr()}
    kept: dict[int, Any] = {
        tensor.data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in saved
        if tensor.data_ptr() not in given
    }
    # Beside them, a few numbers per image and class.
    assert sum(kept.values()) <= logits.numel() * (1 if window == 3 else 2) + 4096
