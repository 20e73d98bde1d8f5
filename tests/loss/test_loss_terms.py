"""The parts of a loss for a log, and weights that change from call to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from scnp_kernels import (
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPLoss,
    SCNPTverskyLoss,
    scnp,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from tests.generators import seeded
from tests.integrations.recipes import run_recipe

LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module], tuple[str, str]]] = {
    "dice_ce": (scnp_dice_ce_loss, SCNPDiceCELoss, ("ce", "dice")),
    "tversky": (scnp_tversky_loss, SCNPTverskyLoss, ("ce", "tversky")),
    "focal": (scnp_focal_loss, SCNPFocalLoss, ("focal", "dice")),
}
of_every_loss = pytest.mark.parametrize("name", LOSSES)


def inputs() -> tuple[Tensor, Tensor]:
    generator = seeded(7)
    logits = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=generator).requires_grad_()
    return logits, torch.randint(0, 3, (2, 9, 12), generator=generator)


@of_every_loss
@pytest.mark.parametrize(("scnp_weight", "plain_weight"), [(1, 0), (0.5, 2), (0, 1)])
def test_terms_are_the_parts_alone(name: str, scnp_weight: float, plain_weight: float) -> None:
    """Each equals the loss that has nothing else, and together they make the loss."""
    function, _, parts = LOSSES[name]
    logits, labels = inputs()
    weights = {f"{part}_weight": weight for part, weight in zip(parts, (0.7, 1.3), strict=True)}
    loss, terms = function(
        logits,
        labels,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        return_terms=True,
        **weights,
    )
    term_weights = {"scnp": scnp_weight, "plain": plain_weight}
    computed = [term for term, weight in term_weights.items() if weight != 0]
    assert list(terms) == [f"{term}_{part}" for term in computed for part in parts]
    total = logits.new_zeros(())
    for term in computed:
        for part in parts:
            value = terms[f"{term}_{part}"]
            assert not value.requires_grad
            assert value.shape == ()
            alone = dict.fromkeys(weights, 0) | {f"{part}_weight": 1}
            only_term = {f"{other}_weight": float(other == term) for other in term_weights}
            torch.testing.assert_close(value, function(logits, labels, **alone, **only_term).data)
            total = total + term_weights[term] * weights[f"{part}_weight"] * value
    torch.testing.assert_close(loss, total)
    assert torch.equal(
        loss,
        function(logits, labels, scnp_weight=scnp_weight, plain_weight=plain_weight, **weights),
    )


def test_a_part_of_weight_0_is_absent() -> None:
    logits, labels = inputs()
    _, terms = scnp_dice_ce_loss(logits, labels, ce_weight=0, return_terms=True)
    assert list(terms) == ["scnp_dice"]


@of_every_loss
def test_terms_come_out_of_a_compiled_step(name: str) -> None:
    logits, labels = inputs()
    criterion = LOSSES[name][1](plain_weight=0.5, **{f"{LOSSES[name][2][0]}_weight": 1.0})

    def step(logits: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = criterion(logits, labels, return_terms=True)
        return loss, terms

    loss, terms = torch.compile(step, fullgraph=True, backend="aot_eager")(logits, labels)
    expected, expected_terms = step(logits, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(terms, expected_terms)
    assert not any(term.requires_grad for term in terms.values())
    loss.backward()


def test_terms_are_mapped() -> None:
    logits, labels = inputs()
    many = torch.stack((logits.detach(), logits.detach().neg()))

    def loss_and_terms(z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return scnp_dice_ce_loss(z, labels, plain_weight=1, return_terms=True)

    gradients, terms = torch.func.vmap(torch.func.grad(loss_and_terms, has_aux=True))(many)
    for index, z in enumerate(many):
        gradient, of_one = torch.func.grad(loss_and_terms, has_aux=True)(z)
        torch.testing.assert_close(gradients[index], gradient)
        torch.testing.assert_close({key: value[index] for key, value in terms.items()}, of_one)


def test_terms_of_any_loss() -> None:
    logits, labels = inputs()
    criterion = SCNPLoss(nn.CrossEntropyLoss(), scnp_weight=0.5, plain_weight=2)
    loss, terms = criterion(logits, labels, return_terms=True)
    assert torch.equal(loss, criterion(logits, labels))
    torch.testing.assert_close(terms["scnp"], F.cross_entropy(scnp(logits, labels), labels).data)
    torch.testing.assert_close(terms["plain"], F.cross_entropy(logits, labels).data)
    assert not any(term.requires_grad for term in terms.values())
    assert list(SCNPLoss(nn.CrossEntropyLoss())(logits, labels, return_terms=True)[1]) == ["scnp"]


MODULES: dict[str, Callable[..., nn.Module]] = {
    "dice_ce": SCNPDiceCELoss,
    "tversky": SCNPTverskyLoss,
    "focal": SCNPFocalLoss,
    "any": lambda **options: SCNPLoss(nn.CrossEntropyLoss(), **options),
}
of_every_module = pytest.mark.parametrize("name", MODULES)


@of_every_module
def test_a_tensor_weighs_as_its_number(name: str) -> None:
    logits, labels = inputs()
    expected = MODULES[name](scnp_weight=0.3, plain_weight=0.6)(logits, labels)
    weights = {"scnp_weight": torch.tensor(0.3), "plain_weight": torch.tensor(0.6)}
    for value in (
        MODULES[name]()(logits, labels, **weights),
        MODULES[name](**weights)(logits, labels),
        MODULES[name](plain_weight=0.6)(logits, labels, scnp_weight=torch.tensor(0.3)),
        MODULES[name]()(logits, labels, scnp_weight=0.3, plain_weight=0.6),
    ):
        assert value.dtype == expected.dtype
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(
            torch.autograd.grad(value, logits),
            torch.autograd.grad(expected, logits, retain_graph=True),
            rtol=1e-6,
            atol=1e-9,
        )


@of_every_module
def test_what_a_tensor_weighs_is_always_computed(name: str) -> None:
    logits, labels = inputs()
    loss, terms = MODULES[name]()(
        logits,
        labels,
        scnp_weight=torch.tensor(0.0),
        plain_weight=torch.tensor(1.0),
        return_terms=True,
    )
    assert {key.split("_")[0] for key in terms} == {"scnp", "plain"}
    expected = MODULES[name](scnp_weight=0, plain_weight=1)(logits, labels)
    torch.testing.assert_close(loss, expected)


@of_every_module
def test_a_weight_gets_its_gradient(name: str) -> None:
    logits, labels = inputs()
    weight = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    loss, terms = MODULES[name]()(logits, labels, plain_weight=weight, return_terms=True)
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    part = {
        "dice_ce": ("plain_ce", "plain_dice"),
        "tversky": ("plain_tversky",),
        "focal": ("plain_focal",),
        "any": ("plain",),
    }
    torch.testing.assert_close(gradient.data, torch.stack([terms[key] for key in part[name]]).sum())
    # And the gradient of the gradient is the plain loss's.
    expected = MODULES[name](scnp_weight=0, plain_weight=1)(logits, labels)
    torch.testing.assert_close(
        torch.autograd.grad(gradient, logits), torch.autograd.grad(expected, logits)
    )


@of_every_module
def test_a_changing_weight_compiles_nothing_again(name: str) -> None:
    """A whole training step, at a hundred weights: given to the call, and changed in place."""
    generator = seeded(1)
    images = torch.randn(2, 4, 9, 12, generator=generator)
    labels = torch.randint(0, 3, (2, 9, 12), generator=generator)
    for in_call in (True, False):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        counter = CompileCounterWithBackend("aot_eager")
        network = nn.Conv2d(4, 3, 1)
        held = torch.tensor(1.0)
        criterion = MODULES[name](plain_weight=held)

        @torch.compile(fullgraph=True, backend=counter)
        def step(weight: Tensor) -> Tensor:
            options = {"scnp_weight": weight} if in_call else {}  # noqa: B023
            loss: Tensor = criterion(network(images), labels, **options)  # noqa: B023
            return loss

        for number in range(100):
            weight = torch.tensor(number / 99)
            held.fill_(1 - number / 99)
            loss = step(weight)
            loss.backward()
            if number % 33 == 0:
                options = {"scnp_weight": weight} if in_call else {}
                torch.testing.assert_close(loss, criterion(network(images), labels, **options))
        assert counter.frame_count == 1
        counters = torch._dynamo.utils.counters
        assert counters["stats"]["unique_graphs"] == 1
        assert not counters["recompiles"]


def test_a_number_that_changes_compiles_again() -> None:
    """A number is a constant of the graph: the second one compiles the step anew."""
    torch._dynamo.reset()
    logits, labels = inputs()
    criterion = SCNPLoss(nn.CrossEntropyLoss(), plain_weight=1.0)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(criterion, fullgraph=True, backend=counter)
    for weight in (0.25, 0.5, 0.75):
        criterion.scnp_weight = weight
        torch.testing.assert_close(compiled(logits, labels), criterion(logits, labels))
    assert counter.frame_count > 1


@of_every_module
@pytest.mark.parametrize(
    ("weight", "error", "text"),
    [
        (torch.ones(1), ValueError, r"plain_weight: got a tensor of shape \(1,\), takes a finite"),
        (torch.tensor(True), TypeError, "plain_weight: got a tensor of torch.bool"),
        (torch.tensor(1j), TypeError, "plain_weight: got a tensor of torch.complex64"),
        ("1", TypeError, "plain_weight: got '1'"),
        (-1, ValueError, "plain_weight: got -1"),
    ],
)
def test_errors(name: str, weight: Any, error: type[Exception], text: str) -> None:
    logits, labels = inputs()
    with pytest.raises(error, match=text):
        MODULES[name](plain_weight=weight)
    with pytest.raises(error, match=text):
        MODULES[name]()(logits, labels, plain_weight=weight)


@of_every_module
def test_both_numbers_0_in_a_call(name: str) -> None:
    logits, labels = inputs()
    with pytest.raises(ValueError, match="scnp_weight, plain_weight: got 0 and 0"):
        MODULES[name]()(logits, labels, scnp_weight=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_tensor_keeps_the_dtype_of_any_loss(dtype: torch.dtype) -> None:
    logits = torch.randn(2, 3, 9, 12, generator=seeded(7)).to(dtype)
    labels = torch.randint(0, 3, (2, 9, 12), generator=seeded(8))
    criterion = SCNPLoss(nn.CrossEntropyLoss(), scnp_weight=0.3)
    expected = criterion(logits, labels)
    value = criterion(logits, labels, scnp_weight=torch.tensor(0.3))
    assert value.dtype == expected.dtype
    assert torch.equal(value, expected)


def test_the_recipe_of_a_warm_up() -> None:
    """docs/losses.md: it learns, and its step is compiled once."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    names = run_recipe("warm_up.py")
    losses = names["losses"]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3]), losses
    assert 0 < names["validation"] < float("inf")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@of_every_loss
def test_one_byte_per_logit_is_kept(name: str) -> None:
    """Beside the logits and the target, which their owners hold anyway: the winners."""
    logits, labels = inputs()
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        LOSSES[name][0](logits, labels, plain_weight=1, return_terms=True)
    own = {logits.data_ptr(), labels.data_ptr()}
    large = [tensor for tensor in saved if tensor.numel() >= 100 and tensor.data_ptr() not in own]
    assert [(tensor.dtype, tensor.numel()) for tensor in large] == [(torch.uint8, logits.numel())]
