"""Promise: backward, double backward, torch.func's grad, vmap and jacrev; no forward mode.

Logits are distinct and far apart against the steps of numerical differentiation, so that nobody's
winner changes on the way.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from scnp_kernels import scnp
from tests import generators as g
from tests.calls import assert_same
from tests.cases import Case, Sample

CASES = [
    Case("1d", "", (2, 2, 7), logits=g.distinct),
    Case("2d", "", (1, 3, 3, 4), logits=g.distinct),
    Case("3d", "", (1, 2, 2, 3, 3), (1, 3, 3), logits=g.distinct),
    Case("masks", "", (1, 3, 3, 4), logits=g.distinct, target=g.masks()),
    Case("binary", "", (2, 1, 3, 4), 5, logits=g.distinct),
    Case("invalid", "", (1, 3, 3, 4), logits=g.distinct, target=g.labels(ignored=9),
         ignore_index=9, mask=g.valid_pixels()),
    Case("gate", "", (1, 3, 3, 4), logits=g.distinct, gate=g.valid_pixels(0.5)),
    Case("gate_invalid", "", (1, 3, 3, 4), logits=g.distinct, target=g.labels(ignored=9),
         ignore_index=9, mask=g.valid_pixels(), gate=g.valid_pixels(0.5)),
    Case("taps_289", "", (1, 2, 2, 4), 17, logits=g.distinct),
    Case("channels_last", "", (2, 2, 2, 3), logits=g.distinct, layout=g.channels_last),
]  # fmt: skip
# Torch's own, of how gradcheck maps over gradients.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def _function(sample: Sample, backend: str) -> Callable[[Tensor], Tensor]:
    """The penalized logits as a function of the logits alone."""

    def penalize(logits: Tensor) -> Tensor:
        return scnp(logits, sample.target, **sample.kwargs, backend=backend)

    return penalize


def _energy(sample: Sample, backend: str) -> Callable[[Tensor], Tensor]:
    """A scalar whose second derivative in the logits is not zero."""
    penalize = _function(sample, backend)

    def energy(logits: Tensor) -> Tensor:
        return (penalize(logits) ** 3 * sample.incoming).sum()

    return energy


@by_name
def test_gradcheck(backend: str, case: Case) -> None:
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    assert torch.autograd.gradcheck(_function(sample, backend), logits, check_batched_grad=True)


@by_name
def test_gradgradcheck(backend: str, case: Case) -> None:
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda z: _function(sample, backend)(z) ** 2, logits, check_batched_grad=True
    )


@by_name
def test_double_backward_is_linear(backend: str, case: Case) -> None:
    """The gradient's derivative in the incoming gradient, by hand: scatter's transpose."""
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    incoming = sample.incoming.detach().requires_grad_()
    penalized = _function(sample, backend)(logits)

    def gradient(incoming: Tensor) -> Tensor:
        return torch.autograd.grad(penalized, logits, incoming, create_graph=True)[0]

    assert torch.autograd.gradcheck(gradient, incoming, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(gradient, incoming)


@by_name
def test_func_grad(backend: str, case: Case) -> None:
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    energy = _energy(sample, backend)
    (wanted,) = torch.autograd.grad(energy(logits), logits)
    assert_same(torch.func.grad(energy)(sample.logits), wanted)
    (value_gradient, value) = torch.func.grad_and_value(energy)(sample.logits)
    assert_same(value_gradient, wanted)
    assert_same(value, energy(sample.logits))


@by_name
def test_func_vjp(backend: str, case: Case) -> None:
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    pulled = torch.func.vjp(_function(sample, backend), sample.logits)
    penalized, pull = pulled[0], pulled[1]
    (wanted,) = torch.autograd.grad(_function(sample, backend)(logits), logits, sample.incoming)
    assert_same(pull(sample.incoming)[0], wanted)
    assert_same(penalized, _function(sample, backend)(sample.logits))


@by_name
def test_jacrev(backend: str, case: Case) -> None:
    """Row by row, the Jacobian is the gradient of one penalized logit."""
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    penalized = _function(sample, backend)(logits)
    rows = [
        torch.autograd.grad(penalized, logits, one.view(penalized.shape), retain_graph=True)[0]
        for one in torch.eye(penalized.numel(), dtype=torch.float64)
    ]
    wanted = torch.stack(rows).view(*penalized.shape, *logits.shape)
    jacobian = torch.func.jacrev(_function(sample, backend))(sample.logits)
    assert_same(jacobian, wanted)
    assert jacobian.flatten(0, logits.dim() - 1).count_nonzero() == logits.numel()


@by_name
def test_jacrev_of_jacrev(backend: str, case: Case) -> None:
    """The Hessian of sum(incoming * z~**3): winner by winner, 6 * incoming * z on the diagonal."""
    sample = case.make(torch.float64)
    hessian = torch.func.jacrev(torch.func.jacrev(_energy(sample, backend)))(sample.logits)
    jacobian = torch.func.jacrev(_function(sample, backend))(sample.logits)
    rows = jacobian.reshape(sample.logits.numel(), -1)  # one winner per penalized logit
    weights = (6 * sample.incoming * _function(sample, backend)(sample.logits)).flatten()
    wanted = rows.T @ torch.diag(weights) @ rows
    torch.testing.assert_close(hessian.reshape(wanted.shape), wanted)


@by_name
def test_penalized_logits_are_linear_between_ties(backend: str, case: Case) -> None:
    """Without anything around it, SCNP's own second derivative is zero, not an error."""
    sample = case.make(torch.float64)
    hessian = torch.func.jacrev(torch.func.jacrev(_function(sample, backend)))(sample.logits)
    assert hessian.shape == 3 * sample.logits.shape
    assert hessian.count_nonzero() == 0


@by_name
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("mapped", ["logits", "target", "both"])
def test_vmap(backend: str, case: Case, axis: int, mapped: str) -> None:
    samples = [case.make(torch.float64, seed) for seed in range(3)]
    logits = torch.stack([s.logits for s in samples], axis)
    target = torch.stack([s.target for s in samples], axis)
    # Masks of valid pixels are mapped with the target, along another axis; gates with the logits.
    masks = _stack([s.kwargs["mask"] for s in samples], 1)
    gates = _stack([s.kwargs.get("gate") for s in samples], 2)
    logits_axis = None if mapped == "target" else axis
    target_axis = None if mapped == "logits" else axis
    mask_axis = None if mapped == "logits" or masks is None else 1
    gate_axis = None if mapped == "target" or gates is None else 2

    def penalize(
        logits: Tensor, target: Tensor, mask: Tensor | None, gate: Tensor | None
    ) -> Tensor:
        kwargs = samples[0].kwargs | {"mask": mask, "gate": gate}
        return scnp(logits, target, **kwargs, backend=backend)

    axes = (logits_axis, target_axis, mask_axis, gate_axis)
    result = torch.func.vmap(penalize, in_dims=axes)(
        samples[0].logits if logits_axis is None else logits,
        samples[0].target if target_axis is None else target,
        samples[0].kwargs["mask"] if mask_axis is None else masks,
        samples[0].kwargs.get("gate") if gate_axis is None else gates,
    )
    wanted = torch.stack(
        [
            penalize(
                samples[0 if logits_axis is None else i].logits,
                samples[0 if target_axis is None else i].target,
                samples[0 if mask_axis is None else i].kwargs["mask"],
                samples[0 if gate_axis is None else i].kwargs.get("gate"),
            )
            for i in range(3)
        ]
    )
    assert_same(result, wanted)


def _stack(values: list[Tensor | None], axis: int) -> Tensor | None:
    given = [value for value in values if value is not None]
    return torch.stack(given, axis) if given else None


@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_vmap_out_dims(backend: str, out_axis: int) -> None:
    sample = CASES[1].make(torch.float64)
    stack = torch.stack([sample.logits, -sample.logits])
    penalize = _function(sample, backend)
    result = torch.func.vmap(penalize, out_dims=out_axis)(stack)
    assert_same(result, torch.stack([penalize(z) for z in stack], out_axis))


def test_vmap_of_vmap(backend: str) -> None:
    sample = CASES[1].make(torch.float64)
    stack = torch.stack([sample.logits * i for i in range(6)]).view(2, 3, *sample.logits.shape)
    penalize = _function(sample, backend)
    result = torch.func.vmap(torch.func.vmap(penalize))(stack)
    assert_same(result, torch.stack([torch.stack([penalize(z) for z in row]) for row in stack]))


@by_name
@pytest.mark.parametrize("axis", [0, 2, -1])
def test_vmap_of_grad(backend: str, case: Case, axis: int) -> None:
    """Gradients per sample."""
    sample = case.make(torch.float64)
    stack = torch.stack([case.make(torch.float64, seed).logits for seed in range(3)], axis)
    gradient = torch.func.grad(_energy(sample, backend))
    result = torch.func.vmap(gradient, in_dims=axis)(stack)
    assert_same(result, torch.stack([gradient(z) for z in stack.unbind(axis)]))


@by_name
def test_grad_of_vmap(backend: str, case: Case) -> None:
    sample = case.make(torch.float64)
    energy = _energy(sample, backend)
    stack = torch.stack([case.make(torch.float64, seed).logits for seed in range(3)])
    gradient = torch.func.grad(lambda z: torch.func.vmap(energy)(z).sum())(stack)
    assert_same(gradient, torch.stack([torch.func.grad(energy)(z) for z in stack]))


@by_name
def test_batched_gradients(backend: str, case: Case) -> None:
    """Several incoming gradients at once: only the gradient is mapped, not the winners."""
    sample = case.make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    penalized = _function(sample, backend)(logits)
    incoming = torch.stack([sample.incoming, 2 * sample.incoming, -sample.incoming])
    (batched,) = torch.autograd.grad(
        penalized, logits, incoming, is_grads_batched=True, retain_graph=True
    )
    each = [torch.autograd.grad(penalized, logits, one, retain_graph=True)[0] for one in incoming]
    assert_same(batched, torch.stack(each))


def test_forward_mode_raises(backend: str) -> None:
    """Never a silent zero."""
    sample = CASES[1].make(torch.float64)
    penalize = _function(sample, backend)
    tangent = torch.ones_like(sample.logits)
    clear = r"jvp|forward.mode"
    with pytest.raises((RuntimeError, NotImplementedError), match=clear):
        torch.func.jvp(penalize, (sample.logits,), (tangent,))
    with pytest.raises((RuntimeError, NotImplementedError), match=clear):
        torch.func.jacfwd(penalize)(sample.logits)
    with pytest.raises((RuntimeError, NotImplementedError), match=clear):
        torch.func.hessian(_energy(sample, backend))(sample.logits)  # forward over reverse
    with (
        forward_ad.dual_level(),
        pytest.raises((RuntimeError, NotImplementedError), match=clear),
    ):
        penalize(forward_ad.make_dual(sample.logits, tangent))


def test_forward_mode_past_scnp_is_untouched(backend: str) -> None:
    """Logits that carry no tangent penalize as ever, inside a level of forward mode."""
    sample = CASES[1].make(torch.float64)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(torch.ones(()), torch.ones(()))
        weighted = _function(sample, backend)(sample.logits) * dual
        tangent = forward_ad.unpack_dual(weighted).tangent
    assert tangent is not None
    assert_same(tangent, _function(sample, backend)(sample.logits))


@pytest.mark.parametrize("masks", [False, True], ids=["label_map", "masks"])
def test_target_gets_no_gradient(backend: str, masks: bool) -> None:
    logits = torch.randn(1, 2, 5, 5, requires_grad=True)
    shape = (1, 2, 5, 5) if masks else (1, 5, 5)
    target = torch.ones(shape, requires_grad=True)
    penalized = scnp(logits, target, backend=backend)
    gradients = torch.autograd.grad(penalized.sum(), (logits, target), allow_unused=True)
    assert gradients[0] is not None
    assert gradients[1] is None


def test_graph_can_be_retained(backend: str) -> None:
    sample = CASES[1].make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    penalized = _function(sample, backend)(logits)
    (once,) = torch.autograd.grad(penalized, logits, sample.incoming, retain_graph=True)
    (twice,) = torch.autograd.grad(penalized, logits, sample.incoming, retain_graph=True)
    assert_same(once, twice)
    penalized.backward(sample.incoming, retain_graph=True)
    penalized.backward(sample.incoming)
    assert logits.grad is not None
    assert_same(logits.grad, once + once)
    with pytest.raises(RuntimeError, match="second time"):
        penalized.backward(sample.incoming)


def test_penalized_twice(backend: str) -> None:
    """SCNP of SCNP: gradients pass through both."""
    sample = CASES[1].make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    penalize = _function(sample, backend)
    assert torch.autograd.gradcheck(lambda z: penalize(penalize(z)), logits)
    assert not torch.equal(penalize(penalize(logits)), penalize(logits))


def test_shared_logits_add_up(backend: str) -> None:
    """The joint loss uses the logits twice; both gradients arrive."""
    sample = CASES[1].make(torch.float64)
    logits = sample.logits.detach().requires_grad_()
    penalized = _function(sample, backend)(logits)
    (alone,) = torch.autograd.grad(penalized.sum(), logits, retain_graph=True)
    (both,) = torch.autograd.grad((penalized + logits).sum(), logits)
    assert_same(both, alone + 1)
