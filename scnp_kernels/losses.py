"""Dice + cross entropy on SCNP logits, as one loss."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .autograd.dice_ce import dice_ce_sums
from .backends.registry import check_backend
from .rules.arguments import (
    KernelSize,
    check_arguments,
    check_dense_tensor,
    check_flag,
    check_ignore_index,
    check_kernel_size,
    check_not_both_zero,
    check_weight,
)
from .rules.dice_ce import DiceCEOptions, loss_from_sums, unstack_sums
from .sharding.dtensor import are_dtensors, gathered, replicated_like
from .sharding.dtensor import dice_ce_sums as dice_ce_sums_over_mesh

ACTIVATIONS = ("softmax", "sigmoid")


def scnp_dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    activation: str = "softmax",
    ce_weight: float = 1.0,
    dice_weight: float = 1.0,
    scnp_weight: float = 1.0,
    plain_weight: float = 0.0,
    include_background: bool = True,
    batch_dice: bool = False,
    smooth: float = 1e-5,
    class_weights: Tensor | Sequence[float] | None = None,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    distributed: bool | None = None,
    validate: bool | None = None,
    backend: str = "auto",
) -> Tensor:
    """Dice + cross entropy on SCNP logits (Valverde et al., CVPR 2026), a scalar.

        L(z)  = ce_weight * cross_entropy(z) + dice_weight * (1 - dice(z))
        loss  = scnp_weight * L(scnp(logits)) + plain_weight * L(logits)

    ``plain_weight=1`` is the paper's joint loss; ``scnp_weight=0, plain_weight=1`` is plain
    Dice + cross entropy. What has weight 0 is not computed. For the same options L equals MONAI's
    ``DiceCELoss`` (with softmax or one class; its class weights weigh Dice too), and nnU-Net's
    ``DC_and_CE_loss`` and ``DC_and_BCE_loss``, which leave the constant ``dice_weight`` out (and
    where voxels are ignored, the latter's cross entropy is C times the one here).

    On the ``cpu`` and ``triton`` backends it is fused (``cpu``: up to 250 classes): neither
    penalized logits nor probabilities are ever in memory, and beside the logits and the target the
    backward pass keeps the winners alone, 1 byte per logit (2 or 4 for windows of more than 255 or
    32,767 pixels); nothing where ``scnp_weight`` is 0. Elsewhere it is composed of plain
    operations. Half types are added up in float32. It has all derivatives that
    :func:`scnp_kernels.scnp` has, and on the CPU the same bits on any number of threads and every
    instruction set.

    Args:
        logits, target, kernel_size, ignore_index, mask, validate, backend: As in
            :func:`scnp_kernels.scnp`. Invalid pixels (``ignore_index``, ``mask``) take no part in
            Dice or cross entropy: their gradient is exactly 0.
        activation: ``"softmax"`` (one class per pixel; needs C >= 2), or ``"sigmoid"`` with binary
            cross entropy (classes may overlap).
        ce_weight, dice_weight, scnp_weight, plain_weight: Finite, not negative.
        include_background: Whether Dice counts the class 0; cross entropy always does.
        batch_dice: Sum over the images of the batch before Dice is taken, not after.
        smooth: Added to Dice's numerator and denominator. A class that is absent and not predicted
            has Dice 1 (0 when ``smooth`` is 0).
        class_weights: ``[C]``, for the cross entropy only. With softmax as in
            :func:`torch.nn.functional.cross_entropy` (``weight``), with sigmoid as in
            :func:`torch.nn.functional.binary_cross_entropy_with_logits` (``pos_weight``).
        distributed: With ``batch_dice``, sum Dice's parts over all ranks. None: when
            ``torch.distributed`` runs with several ranks; False: never, as for a loss that not
            every rank computes. With DTensors the loss is that of the whole tensors, on every
            rank, and True is an error.

    Returns:
        A scalar in float32 (float64 for float64 logits). The cross entropy is the mean over the
        valid pixels (sigmoid: and classes), and 0 when there are none, or none
        of a class whose weight is above 0.

    Raises:
        TypeError: An argument has a type or dtype that it does not take.
        ValueError: An argument has a shape or value that it does not take.
        RuntimeError: A backend asked for by name cannot run here.

    Example:
        >>> import torch
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> scnp_dice_ce_loss(logits, target, kernel_size=3, plain_weight=1.0).backward()
    """
    check_backend(backend)
    on_mesh = are_dtensors(logits, target, mask)
    if on_mesh and distributed:
        raise ValueError("distributed: got True with DTensors, whose mesh says what is summed up")
    options = _check_options(
        activation,
        ce_weight,
        dice_weight,
        include_background,
        batch_dice,
        smooth,
        False if on_mesh else distributed,
    )
    scnp_weight = check_weight("scnp_weight", scnp_weight)
    plain_weight = check_weight("plain_weight", plain_weight)
    check_not_both_zero("scnp_weight", scnp_weight, "plain_weight", plain_weight)
    arguments = check_arguments(logits, target, kernel_size, ignore_index, mask, validate)
    channels = logits.shape[1]
    weights = _check_class_weights(class_weights, logits)
    if on_mesh and weights is not None:
        weights = gathered(weights)
    if activation == "softmax" and channels == 1:
        raise ValueError('activation: got "softmax" with C = 1 class, takes "sigmoid" there')
    if not include_background and channels == 1:
        raise ValueError("include_background: got False with C = 1 class, takes True there")

    sums_of = dice_ce_sums_over_mesh if on_mesh else dice_ce_sums
    sums = sums_of(arguments, activation == "softmax", scnp_weight != 0, plain_weight != 0, backend)
    weighted_mean = activation == "softmax" and not arguments.target_is_masks
    terms = [
        weight * loss_from_sums(unstack_sums(of_term), options, weights, weighted_mean)
        for weight, of_term in zip((scnp_weight, plain_weight), sums, strict=True)
        if weight != 0
    ]
    total = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    total = total if logits.dtype == torch.float64 else total.float()
    return replicated_like(logits, total) if on_mesh else total


class SCNPDiceCELoss(nn.Module):
    """:func:`scnp_dice_ce_loss` as a module, with the same arguments.

    Example:
        >>> import torch
        >>> criterion = SCNPDiceCELoss(kernel_size=3, plain_weight=1.0, batch_dice=True)
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> criterion(logits, target).backward()
    """

    class_weights: Tensor | None

    def __init__(
        self,
        kernel_size: KernelSize = 3,
        *,
        activation: str = "softmax",
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        scnp_weight: float = 1.0,
        plain_weight: float = 0.0,
        include_background: bool = True,
        batch_dice: bool = False,
        smooth: float = 1e-5,
        class_weights: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = None,
        distributed: bool | None = None,
        validate: bool | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        check_flag("validate", validate, or_none=True)
        check_backend(backend)
        check_flag("distributed", distributed, or_none=True)
        # Whether ranks run is asked at each call: a loss may be made before they do.
        options = _check_options(
            activation, ce_weight, dice_weight, include_background, batch_dice, smooth, False
        )
        self.scnp_weight = check_weight("scnp_weight", scnp_weight)
        self.plain_weight = check_weight("plain_weight", plain_weight)
        check_not_both_zero("scnp_weight", self.scnp_weight, "plain_weight", self.plain_weight)
        self.kernel_size = kernel_size
        self.activation = activation
        self.ce_weight = options.ce_weight
        self.dice_weight = options.dice_weight
        self.include_background = include_background
        self.batch_dice = batch_dice
        self.smooth = options.smooth
        self.ignore_index = check_ignore_index(ignore_index)
        self.distributed = distributed
        self.validate = validate
        self.backend = backend
        # A buffer, so that it follows the module to its device; not a part of the state.
        weights = None if class_weights is None else _as_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss, a scalar; shapes as in :func:`scnp_dice_ce_loss`."""
        return scnp_dice_ce_loss(
            logits,
            target,
            self.kernel_size,
            activation=self.activation,
            ce_weight=self.ce_weight,
            dice_weight=self.dice_weight,
            scnp_weight=self.scnp_weight,
            plain_weight=self.plain_weight,
            include_background=self.include_background,
            batch_dice=self.batch_dice,
            smooth=self.smooth,
            class_weights=self.class_weights,
            ignore_index=self.ignore_index,
            mask=mask,
            distributed=self.distributed,
            validate=self.validate,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, activation={self.activation!r}, "
            f"ce_weight={self.ce_weight}, dice_weight={self.dice_weight}, "
            f"scnp_weight={self.scnp_weight}, plain_weight={self.plain_weight}, "
            f"include_background={self.include_background}, batch_dice={self.batch_dice}, "
            f"ignore_index={self.ignore_index}, backend={self.backend!r}"
        )


def _check_options(
    activation: str,
    ce_weight: float,
    dice_weight: float,
    include_background: bool,
    batch_dice: bool,
    smooth: float,
    distributed: bool | None,
) -> DiceCEOptions:
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(f'activation: got {activation!r}, takes "softmax" or "sigmoid"')
    check_flag("include_background", include_background)
    check_flag("batch_dice", batch_dice)
    check_flag("distributed", distributed, or_none=True)
    ce_weight = check_weight("ce_weight", ce_weight)
    dice_weight = check_weight("dice_weight", dice_weight)
    check_not_both_zero("ce_weight", ce_weight, "dice_weight", dice_weight)
    return DiceCEOptions(
        activation=activation,
        ce_weight=ce_weight,
        dice_weight=dice_weight,
        include_background=include_background,
        batch_dice=batch_dice,
        smooth=check_weight("smooth", smooth),
        sum_over_ranks=_several_ranks(distributed) and batch_dice,
    )


def _several_ranks(distributed: bool | None) -> bool:
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and not running:
        raise ValueError("distributed: got True, but torch.distributed is not initialized")
    return distributed is not False and running and torch.distributed.get_world_size() > 1


def _as_weights(class_weights: Tensor | Sequence[float]) -> Tensor:
    takes = "takes [C] finite numbers that are not negative"
    try:
        weights = torch.as_tensor(class_weights)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"class_weights: got {class_weights!r}, {takes}") from None
    check_dense_tensor("class_weights", weights)
    if weights.dtype == torch.bool or weights.is_complex():
        raise TypeError(f"class_weights: got {weights.dtype}, {takes}")
    if weights.dim() != 1:
        raise ValueError(f"class_weights: got shape {tuple(weights.shape)}, {takes}")
    if weights.device.type == "meta":
        raise ValueError(f"class_weights: got a tensor on meta, {takes}")
    weights = weights if weights.is_floating_point() else weights.float()
    # Where looking at the values costs nothing: elsewhere it would wait, or break a graph.
    # Subclasses (DTensors, fake tensors) have none to look at.
    has_values = type(weights) in (Tensor, nn.Parameter) and weights.device.type == "cpu"
    if has_values and not torch.compiler.is_compiling():
        for weight in weights.tolist():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"class_weights: got {weight!r} among them, {takes}")
    return weights


def _check_class_weights(
    class_weights: Tensor | Sequence[float] | None, logits: Tensor
) -> Tensor | None:
    if class_weights is None:
        return None
    weights = _as_weights(class_weights)
    if weights.shape[0] != logits.shape[1]:
        raise ValueError(
            f"class_weights: got {weights.shape[0]} numbers, takes C = {logits.shape[1]}, one per "
            "channel of the logits"
        )
    return weights.to(logits.device)
