"""The fused losses as modules, which hold their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..rules.arguments import KernelSize
from ..rules.loss_options import (
    DiceCEOptions,
    FocalOptions,
    LossOptions,
    TverskyOptions,
    as_class_weights,
    make_options,
)
from ..rules.weights import Weight
from .compute import Alpha, LossTerms, check_loss, compute_loss, split_alpha
from .signatures import shows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..rules.loss_options import DiceCEKeywords, FocalKeywords, TverskyKeywords


class FusedLoss(nn.Module):
    """What the modules share: options, class weights, and the call."""

    options: LossOptions
    class_weights: Tensor | None
    alpha: Tensor | None  # [C], of focal

    def __init__(
        self,
        options: LossOptions,
        class_weights: Tensor | Sequence[float] | None,
        alpha: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.options = check_loss(options)
        # A buffer follows the module to its device; these are no part of the state.
        weights = None if class_weights is None else as_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("alpha", alpha, persistent=False)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
        *,
        scnp_weight: Weight | None = None,
        plain_weight: Weight | None = None,
        return_terms: bool = False,
    ) -> Tensor | tuple[Tensor, LossTerms]:
        """Return the loss, a scalar; shapes as in :func:`scnp_dice_ce_loss`.

        Args:
            logits: ``[B, C, *spatial]``.
            target: A label map, or masks of the shape of ``logits``.
            mask: Bool, False where pixels are invalid.
            gate: Bool, False where pixels keep their own logit.
            scnp_weight: In this call, in the place of the option; None: the option.
            plain_weight: Likewise.
            return_terms: Return the parts of the loss too, a dict of detached scalars.
        """
        return compute_loss(
            logits,
            target,
            mask,
            gate,
            self.options,
            self.class_weights,
            self.alpha,
            scnp_weight=scnp_weight,
            plain_weight=plain_weight,
            return_terms=return_terms,
        )

    def extra_repr(self) -> str:
        """Return the options as keyword arguments, for ``print``."""
        names = (field.name for field in fields(self.options))
        return ", ".join(f"{name}={getattr(self.options, name)!r}" for name in names)


class SCNPDiceCELoss(FusedLoss):
    """:func:`scnp_dice_ce_loss` as a module, with the same arguments.

    ``options`` holds them, frozen; ``criterion.options = dataclasses.replace(criterion.options,
    plain_weight=1.0)`` changes one. Another ``scnp_weight`` or ``plain_weight`` for one call goes
    to the call.

    Example:
        >>> import torch
        >>> criterion = SCNPDiceCELoss(kernel_size=3, plain_weight=1.0, batch_dice=True)
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> criterion(logits, target).backward()
        >>> loss, terms = criterion(logits, target, return_terms=True)
        >>> list(terms)
        ['scnp_ce', 'scnp_dice', 'plain_ce', 'plain_dice']
    """

    options: DiceCEOptions

    @shows(DiceCEOptions)
    def __init__(
        self,
        kernel_size: KernelSize = 3,
        *,
        class_weights: Tensor | Sequence[float] | None = None,
        **options: Unpack[DiceCEKeywords],
    ) -> None:
        super().__init__(
            make_options(DiceCEOptions, kernel_size=kernel_size, **options), class_weights
        )


class SCNPTverskyLoss(FusedLoss):
    """:func:`scnp_tversky_loss` as a module, with the same arguments.

    ``options`` holds them, frozen, as those of :class:`SCNPDiceCELoss`.

    Example:
        >>> import torch
        >>> criterion = SCNPTverskyLoss(kernel_size=3, alpha=0.3, beta=0.7, ce_weight=1.0)
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> criterion(logits, target).backward()
    """

    options: TverskyOptions

    @shows(TverskyOptions)
    def __init__(
        self,
        kernel_size: KernelSize = 3,
        *,
        class_weights: Tensor | Sequence[float] | None = None,
        **options: Unpack[TverskyKeywords],
    ) -> None:
        super().__init__(
            make_options(TverskyOptions, kernel_size=kernel_size, **options), class_weights
        )


class SCNPFocalLoss(FusedLoss):
    """:func:`scnp_focal_loss` as a module, with the same arguments.

    ``options`` holds them, frozen, as those of :class:`SCNPDiceCELoss`.

    Example:
        >>> import torch
        >>> criterion = SCNPFocalLoss(kernel_size=3, gamma=2.0, alpha=0.75, dice_weight=1.0)
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> criterion(logits, target).backward()
    """

    options: FocalOptions

    @shows(FocalOptions)
    def __init__(
        self,
        kernel_size: KernelSize = 3,
        *,
        alpha: Alpha = None,
        class_weights: Tensor | Sequence[float] | None = None,
        **options: Unpack[FocalKeywords],
    ) -> None:
        number, of_classes = split_alpha(alpha)
        checked = make_options(FocalOptions, kernel_size=kernel_size, alpha=number, **options)
        super().__init__(checked, class_weights, of_classes)
