"""The fused loss against Dice + cross entropy: plain, and on penalized logits.

Half types run in mixed precision (``torch.autocast``), as in a training.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu import device, measure
from benchmarks.gpu.cases import SHAPES, loss_cases
from benchmarks.gpu.inputs import Shared
from benchmarks.gpu.program import Job
from benchmarks.gpu.rows import Row
from benchmarks.harness.case import Case, least_bytes
from benchmarks.harness.subject import Forward, Subject
from benchmarks.kernels import loss_peers, peers
from benchmarks.kernels.check import check_loss
from benchmarks.kernels.inputs import Buffer
from benchmarks.kernels.loss_peers import SMOOTH, dice_ce, on_listing
from scnp_kernels import scnp, scnp_dice_ce_loss

TABLE = "losses"
Function = loss_peers.Loss  # of logits and labels


def nnunet_dice_ce(logits: Tensor, labels: Tensor) -> Tensor:
    """The formula that nnU-Net v2 trains with: Dice of the whole batch, without the background.

    Its memory-efficient form: bool masks, of which the sums are taken without a gradient. nnU-Net's
    value is less by one, which changes no gradient.
    """
    probability = logits.softmax(dim=1)[:, 1:]
    pixels = tuple(range(2, logits.dim()))
    with torch.no_grad():
        masks = torch.zeros(logits.shape, device=logits.device, dtype=torch.bool)
        masks.scatter_(1, labels.unsqueeze(1), True)
        masks = masks[:, 1:]
        of_masks = masks.sum(pixels)
    intersection = (probability * masks).sum(pixels).sum(0)
    of_probability = probability.sum(pixels).sum(0)
    denominator = torch.clip(of_masks.sum(0) + of_probability + SMOOTH, 1e-8)
    dice = (2 * intersection + SMOOTH) / denominator
    return F.cross_entropy(logits, labels) + 1 - dice.mean()


def on_scnp(loss: Function, logits: Tensor, labels: Tensor) -> Tensor:
    """A loss on scnp, in two steps."""
    return loss(scnp(logits, labels), labels)


def fused(nnunet: bool, scnp_weight: float, plain_weight: float) -> Function:
    """The fused loss; ``nnunet`` chooses that formula."""
    return functools.partial(
        scnp_dice_ce_loss,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        batch_dice=nnunet,
        include_background=not nnunet,
    )


class Loss(NamedTuple):
    """One loss of the table."""

    name: str
    build: Callable[[], Function]
    formula: Function  # of the terms that it consists of
    of_penalized: bool
    of_plain: bool

    @property
    def compiles(self) -> bool:
        """Is anything of it compiled: by torch.compile, or by triton?"""
        return self.name.startswith(("fused", "scnp")) or self.name.endswith("compiled")


PLAIN, PLAIN_COMPILED = "plain", "plain compiled"
PLAIN_NNUNET, FUSED, FUSED_JOINT = "nnU-Net's", "fused", "fused joint"

LOSSES = (
    Loss(PLAIN, lambda: dice_ce, dice_ce, False, True),
    Loss(PLAIN_COMPILED, lambda: peers.compiled(dice_ce, device.COMPILER), dice_ce, False, True),
    Loss(FUSED, lambda: fused(False, 1, 0), dice_ce, True, False),
    Loss(FUSED_JOINT, lambda: fused(False, 1, 1), dice_ce, True, True),
    Loss("fused, plain only", lambda: fused(False, 0, 1), dice_ce, False, True),
    Loss(PLAIN_NNUNET, lambda: nnunet_dice_ce, nnunet_dice_ce, False, True),
    Loss("fused as nnU-Net's", lambda: fused(True, 1, 0), nnunet_dice_ce, True, False),
    Loss("scnp + plain", lambda: functools.partial(on_scnp, dice_ce), dice_ce, True, False),
    Loss(
        "listing + plain", lambda: functools.partial(on_listing, dice_ce), dice_ce, True, False
    ),
    Loss(
        "listing + plain, compiled",
        lambda: functools.partial(peers.compiled(on_listing, device.COMPILER), dice_ce),
        dice_ce,
        True,
        False,
    ),
)  # fmt: skip


def jobs() -> Iterator[Job]:
    """Yield every loss on every case."""
    for case in loss_cases(SHAPES):
        shared = Shared(case)
        for loss in LOSSES:
            yield Job(TABLE, case.name, loss.name, functools.partial(_measured, loss, shared))
        shared.forget()


def _measured(loss: Loss, shared: Shared) -> Row:
    forward = built(loss, shared.case)
    check(loss, forward, shared.rotation.inputs[0], shared.case)
    forward_bytes, backward_bytes = least_bytes(shared.case)
    row = measure.passes(Subject(forward, shared.rotation))
    return {**row, "least_forward": forward_bytes, "least_backward": backward_bytes}


def built(loss: Loss, case: Case) -> Forward:
    """Return the loss of a buffer, in mixed precision for half types."""
    torch._dynamo.reset()
    function = loss.build()

    def forward(buffer: Buffer) -> Tensor:
        with device.autocast(case.dtype):
            return function(buffer.logits, buffer.labels)

    return forward


def check(loss: Loss, forward: Forward, buffer: Buffer, case: Case) -> None:
    """Compare value and gradient with the formula in float64, on the listing."""
    exact = loss_peers.sum_of_terms(loss.formula, loss.of_penalized, loss.of_plain)
    tolerance = max(2e-5, torch.finfo(case.dtype).eps)
    # In half types every step of a composition rounds; the largest terms may cancel.
    check_loss(loss.name, forward, buffer, exact, tolerance, of_gradient=8 * tolerance)
