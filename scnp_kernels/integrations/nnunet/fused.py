"""nnU-Net's own loss on penalized outputs, computed by the fused SCNP + Dice + cross entropy.

The paper's loss is the fused one. nnU-Net's two compound losses are, up to constants:

    DC_and_CE_loss     softmax; its Dice term is -Dice, the fused one's 1 - Dice
    DC_and_BCE_loss    sigmoid; the same, and with ignored voxels its cross entropy is the sum over
                       channels of the mean over voxels, the fused one's the mean over both
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.loss.robust_ce_loss import RobustCrossEntropyLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1
from torch import Tensor, nn

from ...losses import SCNPDiceCELoss
from ...rules.weights import check_weight
from .losses import Outputs, PaperDiceCELoss, TermsOfEpoch
from .windows import Window


class CannotFuseError(Exception):
    """The loss that nnU-Net built is not one that the fused loss computes; says why."""


class FusedOutputs(nn.Module):
    """The value and gradient of :class:`PenalizedOutputs`, with one fused loss per scale.

    In ``eval()`` it is the loss alone, unpenalised. ``scnp_weight``, ``plain_weight`` and ``terms``
    are those of :class:`PenalizedOutputs`; the terms are Dice and cross entropy by themselves.

    Args:
        loss: The loss that nnU-Net built, deep supervision included.
        windows: One window per scale.
        channels: Number of the network's outputs per voxel.
        plain_weight: Weight of the loss on plain outputs; finite and not negative.

    Raises:
        CannotFuseError: The fused loss does not compute that loss.
        ValueError: A window or weight is not one that SCNP takes.
    """

    def __init__(
        self,
        loss: Any,
        windows: Sequence[Window],
        *,
        channels: int,
        plain_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.windows = tuple(windows)
        self.scnp_weight = 1.0
        self.plain_weight = check_weight("plain_weight", plain_weight)
        self.terms = TermsOfEpoch()
        self.weights: tuple[float, ...] = (1.0,)
        of_one_scale = loss
        if isinstance(loss, DeepSupervisionWrapper):
            self.weights, of_one_scale = loss.weight_factors, loss.loss
        recognised = _recognise(of_one_scale, channels)
        self.last_channel_is_ignored = recognised.last_channel_is_ignored
        self.surplus = recognised.surplus
        self.of_scales = nn.ModuleList(
            SCNPDiceCELoss(window, **recognised.options) for window in self.windows
        )

    def forward(self, outputs: Outputs, targets: Outputs) -> Tensor:
        """The loss; ``outputs`` and ``targets`` as nnU-Net gives them."""
        if not self.training:
            plain: Tensor = self.loss(outputs, targets)
            return plain
        if isinstance(outputs, Tensor):
            outputs, targets = [outputs], [targets]  # type: ignore[list-item]
        losses = []
        terms: dict[str, Tensor] = {}
        scales = zip(self.weights, self.of_scales, outputs, targets, strict=True)
        for weight, fused, output, target in scales:
            if weight != 0:
                loss, of_scale = self._scale(fused, output, target)
                losses.append(weight * loss)
                for name, value in of_scale.items():
                    terms[name] = terms.get(name, 0) + weight * value
        self.terms.add(terms)
        return torch.stack(losses).sum()

    def _scale(
        self, fused: nn.Module, output: Tensor, target: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        mask = None
        if self.last_channel_is_ignored:
            target, mask = target[:, :-1], target[:, -1:] == 0
        loss, terms = fused(
            output,
            target,
            mask=mask,
            scnp_weight=self.scnp_weight,
            plain_weight=self.plain_weight,
            return_terms=True,
        )
        return loss - self.surplus * (self.scnp_weight + self.plain_weight), terms

    def extra_repr(self) -> str:
        return f"windows={self.windows}, fused, plain_weight={self.plain_weight}"


class _Recognised(NamedTuple):
    options: dict[str, Any]  # of SCNPDiceCELoss
    last_channel_is_ignored: bool
    surplus: float  # what the fused loss counts more: 1 - Dice where nnU-Net counts -Dice


def _recognise(loss: Any, channels: int) -> _Recognised:
    """The fused loss's options for the paper's loss, or one of nnU-Net's compound losses."""
    if type(loss) is PaperDiceCELoss:
        options = {"ignore_index": loss.options.ignore_index}
        return _Recognised(options, last_channel_is_ignored=False, surplus=0.0)
    if type(loss) is DC_and_CE_loss:
        cross_entropy = _expect(loss.ce, RobustCrossEntropyLoss)
        if cross_entropy.label_smoothing != 0 or cross_entropy.reduction != "mean":
            raise CannotFuseError("its cross entropy smooths labels, or is not a mean")
        return _Recognised(
            {
                "activation": "softmax",
                "ce_weight": loss.weight_ce,
                "dice_weight": loss.weight_dice,
                "class_weights": cross_entropy.weight,
                "ignore_index": loss.ignore_label,
                **_dice_options(loss.dc, softmax_helper_dim1),
            },
            last_channel_is_ignored=False,
            surplus=loss.weight_dice,
        )
    if type(loss) is DC_and_BCE_loss:
        cross_entropy = _expect(loss.ce, nn.BCEWithLogitsLoss)
        if cross_entropy.weight is not None or cross_entropy.pos_weight is not None:
            raise CannotFuseError("its cross entropy has weights")
        if cross_entropy.reduction != ("none" if loss.use_ignore_label else "mean"):
            raise CannotFuseError("its cross entropy is not a mean")
        return _Recognised(
            {
                "activation": "sigmoid",
                "ce_weight": loss.weight_ce * (channels if loss.use_ignore_label else 1),
                "dice_weight": loss.weight_dice,
                **_dice_options(loss.dc, torch.sigmoid),
            },
            last_channel_is_ignored=loss.use_ignore_label,
            surplus=loss.weight_dice,
        )
    raise CannotFuseError(f"nnU-Net built a {type(loss).__name__}")


def _dice_options(dice: Any, activation: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    # torch.compile wraps it; the fused loss replaces what would be compiled.
    dice = _expect(getattr(dice, "_orig_mod", dice), MemoryEfficientSoftDiceLoss)
    if dice.apply_nonlin is not activation:
        raise CannotFuseError("its Dice has another activation")
    return {
        "include_background": dice.do_bg,
        "batch_dice": dice.batch_dice,
        "distributed": _gathers_batch(dice),
        "smooth": dice.smooth,
    }


def _gathers_batch(dice: MemoryEfficientSoftDiceLoss) -> bool:
    """Whether Dice's sums are taken over all processes, as nnU-Net's own loss gathers them."""
    return bool(dice.ddp and dice.batch_dice)


def _expect(module: Any, kind: type[nn.Module]) -> Any:
    if type(module) is not kind:
        raise CannotFuseError(f"it is made of a {type(module).__name__}, not a {kind.__name__}")
    return module
