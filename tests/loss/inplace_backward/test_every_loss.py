"""``inplace_backward=True`` in every fused loss, with all of its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scnp_kernels import (
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPTverskyLoss,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)
from tests import generators as g
from tests.cases import DTYPES
from tests.loss.inplace_backward.calls import head, inputs, same_bits

LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., nn.Module]]] = {
    "dice_ce": (scnp_dice_ce_loss, SCNPDiceCELoss),
    "tversky": (scnp_tversky_loss, SCNPTverskyLoss),
    "focal": (scnp_focal_loss, SCNPFocalLoss),
}
of_every_loss = pytest.mark.parametrize("name", LOSSES)


def _gradients(leaf: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, the gradient of the leaf, and what the logits hold afterwards."""
    leaf.grad = None
    logits = head(leaf)
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
    leaf, labels = inputs(dtype=dtype)
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
        assert same_bits(in_place[1], gradient)
        assert same_bits(in_place[2] * 1.5, gradient)  # the logits hold their gradient
    assert "inplace_backward=True" in repr(criterion)


@of_every_loss
def test_terms_for_a_log(name: str) -> None:
    function, _ = LOSSES[name]
    leaf, labels = inputs()
    loss, terms = function(head(leaf), labels, plain_weight=1.0, return_terms=True)
    (gradient,) = torch.autograd.grad(loss, leaf)
    in_place, its_terms = function(
        head(leaf), labels, plain_weight=1.0, return_terms=True, inplace_backward=True
    )
    assert same_bits(torch.autograd.grad(in_place, leaf)[0], gradient)
    assert list(its_terms) == list(terms)
    assert all(torch.equal(its_terms[part], terms[part]) for part in terms)


def test_weights_that_are_tensors_get_their_gradient() -> None:
    leaf, labels = inputs()
    results = []
    for in_place in (False, True):
        ramp = torch.tensor(0.25, requires_grad=True)
        loss = scnp_dice_ce_loss(
            head(leaf), labels, scnp_weight=ramp, plain_weight=1.0, inplace_backward=in_place
        )
        results.append(torch.autograd.grad(loss, (leaf, ramp)))
    assert all(same_bits(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("layout", [g.as_made, g.channels_last])
def test_validity_per_channel(layout: g.Layout) -> None:
    leaf, _ = inputs((2, 3, 9, 11))
    masks = torch.rand(leaf.shape, generator=g.seeded(1)) < 0.5
    valid = torch.rand(leaf.shape, generator=g.seeded(2)) < 0.8

    def loss(logits: Tensor, in_place: bool) -> Tensor:
        result: Tensor = scnp_dice_ce_loss(
            logits, masks, mask=valid, activation="sigmoid", inplace_backward=in_place
        )
        return result

    (expected,) = torch.autograd.grad(loss(head(leaf), False), leaf)
    logits = layout(head(leaf))
    if layout is g.as_made:
        assert same_bits(torch.autograd.grad(loss(logits, True), leaf)[0], expected)
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
