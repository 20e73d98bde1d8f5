"""Dice + cross entropy on SCNP logits, as one loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor, nn

from .autograd.dice_ce import dice_ce_statistics
from .backends.registry import check_backend
from .rules.arguments import KernelSize, channel_by_channel, check_arguments, differs_by_channel
from .rules.dice_ce import Wanted, loss_from_statistics, unstack_statistics
from .rules.loss_options import (
    DiceCEOptions,
    as_class_weights,
    check_channels,
    check_class_weights,
    check_options,
    sums_over_ranks,
)
from .sharding import dtensor


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
    gate: Tensor | None = None,
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
        logits: ``[B, C, *spatial]``. :func:`scnp_kernels.scnp` says more of it, and of ``target``,
            ``kernel_size``, ``ignore_index``, ``mask``, ``validate`` and ``backend``.
        target: A label map ``[B, *spatial]`` or ``[B, 1, *spatial]``, or masks of the shape of
            ``logits``.
        kernel_size: SCNP's window in pixels, odd, or one odd number per spatial axis.
        activation: ``"softmax"`` (one class per pixel; needs C >= 2), or ``"sigmoid"`` with binary
            cross entropy (classes may overlap).
        ce_weight: Weight of the cross entropy; finite and not negative, as every weight here.
        dice_weight: Weight of ``1 - Dice``. It and ``ce_weight`` are not both 0.
        scnp_weight: Weight of the loss on penalized logits.
        plain_weight: Weight of the loss on plain logits. It and ``scnp_weight`` are not both 0.
        include_background: Whether Dice counts the class 0; cross entropy always does.
        batch_dice: Sum over the images of the batch before Dice is taken, not after.
        smooth: Added to Dice's numerator and denominator. A class that is absent and not predicted
            has Dice 1 (0 when ``smooth`` is 0).
        class_weights: ``[C]``, for the cross entropy only. With softmax as in
            :func:`torch.nn.functional.cross_entropy` (``weight``), with sigmoid as in
            :func:`torch.nn.functional.binary_cross_entropy_with_logits` (``pos_weight``).
        ignore_index: The label of invalid pixels: they take no part in SCNP, Dice or cross entropy,
            and their gradient is exactly 0.
        mask: Bool ``[B, *spatial]`` or ``[B, 1, *spatial]``, or beside masks of the shape of
            ``logits``; False where pixels are invalid.
        gate: Bool ``[B, *spatial]`` or ``[B, 1, *spatial]``; pixels where it is False count with
            their own logit in the loss on SCNP logits. The loss on plain logits does not see it.
        distributed: With ``batch_dice``, sum Dice's parts over all ranks. None: when
            ``torch.distributed`` runs with several ranks; False: never, as for a loss that not
            every rank computes. With DTensors the loss is that of the whole tensors, on every
            rank, and True is an error.
        validate: Check that the target holds permitted values only; None: on the CPU.
        backend: ``"auto"``, or one of :func:`scnp_kernels.backends` by name.

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
    options = DiceCEOptions(
        kernel_size=kernel_size,
        activation=activation,
        ce_weight=ce_weight,
        dice_weight=dice_weight,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        include_background=include_background,
        batch_dice=batch_dice,
        smooth=smooth,
        ignore_index=ignore_index,
        distributed=distributed,
        validate=validate,
        backend=backend,
    )
    check_backend(backend)
    return _loss(logits, target, mask, gate, check_options(options), class_weights)


def _loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    options: DiceCEOptions,
    class_weights: Tensor | Sequence[float] | None,
) -> Tensor:
    """Return the loss by checked options, a scalar."""
    on_mesh = dtensor.are_dtensors(logits, target, mask, gate)
    if on_mesh and options.distributed:
        raise ValueError("distributed: got True with DTensors, whose mesh says what is summed up")
    over_ranks = not on_mesh and sums_over_ranks(options)
    arguments = check_arguments(
        logits, target, options.kernel_size, options.ignore_index, mask, gate, options.validate
    )
    check_channels(options, logits.shape[1])
    weights = check_class_weights(class_weights, logits)
    if on_mesh and weights is not None:
        weights = dtensor.gathered(weights)

    softmax = options.activation == "softmax"
    per_channel = differs_by_channel(arguments)
    if per_channel:
        dtensor.check_same_for_all_channels(on_mesh)
        if softmax:
            raise ValueError(
                "mask: got the shape of logits with softmax, which needs all channels of a pixel; "
                'takes it with activation="sigmoid"'
            )
        arguments = channel_by_channel(arguments)
    wanted = Wanted(softmax, options.scnp_weight != 0, options.plain_weight != 0)
    statistics_of = dtensor.dice_ce_statistics if on_mesh else dice_ce_statistics
    statistics = statistics_of(arguments, wanted, options.backend)
    if per_channel:
        statistics = statistics.view(*statistics.shape[:2], *logits.shape[:2])
    weighted_mean = softmax and not arguments.reading.target_is_masks
    terms = []
    for term, weight in enumerate((options.scnp_weight, options.plain_weight)):
        if weight != 0:
            of_term = unstack_statistics(statistics[term])
            terms.append(
                weight * loss_from_statistics(of_term, options, weights, weighted_mean, over_ranks)
            )
    total = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    total = total if logits.dtype == torch.float64 else total.float()
    return dtensor.replicated_like(logits, total) if on_mesh else total


class SCNPDiceCELoss(nn.Module):
    """:func:`scnp_dice_ce_loss` as a module, with the same arguments.

    ``options`` holds them, frozen; ``criterion.options = dataclasses.replace(criterion.options,
    plain_weight=1.0)`` changes one.

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
        check_backend(backend)
        self.options = check_options(
            DiceCEOptions(
                kernel_size=kernel_size,
                activation=activation,
                ce_weight=ce_weight,
                dice_weight=dice_weight,
                scnp_weight=scnp_weight,
                plain_weight=plain_weight,
                include_background=include_background,
                batch_dice=batch_dice,
                smooth=smooth,
                ignore_index=ignore_index,
                distributed=distributed,
                validate=validate,
                backend=backend,
            )
        )
        # A buffer follows the module to its device; this one is no part of the state.
        weights = None if class_weights is None else as_class_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        """Return the loss, a scalar; shapes as in :func:`scnp_dice_ce_loss`."""
        return _loss(logits, target, mask, gate, self.options, self.class_weights)

    def extra_repr(self) -> str:
        """Return the options as keyword arguments, for ``print``."""
        names = (field.name for field in fields(self.options))
        return ", ".join(f"{name}={getattr(self.options, name)!r}" for name in names)
