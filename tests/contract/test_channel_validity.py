"""Promise: beside overlapping masks, `mask` may say by channel which pixels are valid."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from scnp_kernels import SCNPLoss, scnp, scnp_dice_ce_loss
from tests import generators as g
from tests.cases import DTYPES
from tests.oracle import brute_force, brute_force_gradient, read_target

SHAPES = [(2, 3, 17), (2, 3, 7, 9), (1, 2, 4, 5, 6)]


def _inputs(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = g.seeded(3)
    # Few distinct values: ties decide who wins.
    logits = torch.randint(-4, 5, shape, generator=generator).to(dtype)
    masks = torch.rand(shape, generator=generator) < 0.5
    valid = torch.rand(shape, generator=generator) < 0.6
    valid[:, 0] = True
    valid[:, 1, ..., ::2] = False
    return logits, masks, valid


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{len(shape) - 2}d")
@pytest.mark.parametrize("ragged", [False, True], ids=["contiguous", "channels_last"])
def test_every_channel_has_its_own(
    backend: str, shape: tuple[int, ...], dtype: torch.dtype, ragged: bool
) -> None:
    logits, masks, valid = _inputs(shape, dtype)
    if ragged:
        logits = logits.movedim(1, -1).contiguous().movedim(-1, 1)
    expected = brute_force(logits, *read_target(shape, masks, mask=valid), 3)
    leaf = logits.detach().requires_grad_()
    penalized = scnp(leaf, masks, mask=valid, backend=backend)
    assert torch.equal(penalized, expected.penalized)
    assert penalized.stride() == torch.empty_like(logits).stride()
    incoming = torch.randint(-3, 4, shape, generator=g.seeded(4)).to(dtype)
    (gradient,) = torch.autograd.grad(penalized, leaf, incoming)
    window = (3,) * (len(shape) - 2)
    assert torch.equal(gradient, brute_force_gradient(incoming, expected.winners, window))


def test_the_same_for_all_channels_is_the_mask_of_the_pixels(backend: str) -> None:
    logits, masks, valid = _inputs((2, 3, 7, 9), torch.float32)
    one = valid[:, 1]
    everywhere = one.unsqueeze(1).expand_as(logits)
    by_channel = scnp(logits, masks, mask=everywhere, backend=backend)
    assert torch.equal(by_channel, scnp(logits, masks, mask=one, backend=backend))


def test_invalid_pixels_of_one_channel_are_not_checked() -> None:
    logits, masks, valid = _inputs((2, 3, 7, 9), torch.float32)
    target = torch.where(valid, masks.long(), 7)
    assert torch.equal(scnp(logits, target, mask=valid), scnp(logits, masks, mask=valid))
    valid[1, 2, 3, 4], target[1, 2, 3, 4] = True, 7
    with pytest.raises(ValueError, match="target: got a mask that holds 7"):
        scnp(logits, target, mask=valid)


def test_in_the_fused_loss(backend: str) -> None:
    """Against torch's own binary cross entropy and Dice, written out for every image and class."""
    logits, masks, valid = _inputs((2, 3, 7, 9), torch.float64)
    leaf = logits.clone().requires_grad_()
    loss = scnp_dice_ce_loss(leaf, masks, activation="sigmoid", mask=valid, backend=backend)
    other = logits.clone().requires_grad_()
    penalized = scnp(other, masks, mask=valid, backend=backend)
    ce = F.binary_cross_entropy_with_logits(penalized[valid], masks[valid].double())
    p, y = penalized.sigmoid() * valid, (masks & valid).double()
    dice = (2 * (p * y).sum((2, 3)) + 1e-5) / (p.sum((2, 3)) + y.sum((2, 3)) + 1e-5)
    expected = ce + 1 - dice.mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(leaf.grad, other.grad)
    assert leaf.grad is not None
    assert (leaf.grad[~valid] == 0).all()


def test_in_a_loss_of_two_steps() -> None:
    logits, masks, valid = _inputs((2, 3, 7, 9), torch.float32)

    def loss(z: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(z[valid], y[valid].float())

    expected = loss(scnp(logits, masks, mask=valid), masks)
    assert torch.equal(SCNPLoss(loss)(logits, masks, mask=valid), expected)


def test_what_cannot_be_taken_says_so() -> None:
    logits, masks, valid = _inputs((2, 3, 7, 9), torch.float32)
    labels = torch.zeros(2, 7, 9, dtype=torch.long)
    with pytest.raises(ValueError, match=r"mask: got the shape of logits .* beside a label map"):
        scnp(logits, labels, mask=valid)
    with pytest.raises(ValueError, match=r'mask: .* with softmax.*activation="sigmoid"'):
        scnp_dice_ce_loss(logits, masks, mask=valid)
    with pytest.raises(ValueError, match=r"mask: got shape .* or, beside masks, \(2, 3, 7, 9\)"):
        scnp(logits, masks, mask=valid[:, :2])
