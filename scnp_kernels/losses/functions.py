"""The fused losses as functions of logits and target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from torch import Tensor

from ..rules.arguments import KernelSize
from ..rules.loss_options import DiceCEOptions, FocalOptions, TverskyOptions, make_options
from .compute import Alpha, LossTerms, check_loss, compute_loss, split_alpha
from .signatures import shows

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..rules.loss_options import DiceCEKeywords, FocalKeywords, TverskyKeywords


@overload
def scnp_dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[False] = False,
    **options: Unpack[DiceCEKeywords],
) -> Tensor: ...
@overload
def scnp_dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[True],
    **options: Unpack[DiceCEKeywords],
) -> tuple[Tensor, LossTerms]: ...
@shows(DiceCEOptions)
def scnp_dice_ce_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: bool = False,
    **options: Unpack[DiceCEKeywords],
) -> Tensor | tuple[Tensor, LossTerms]:
    """Return Dice + cross entropy on SCNP logits (Valverde et al., CVPR 2026), a scalar.

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
            ``kernel_size``, ``ignore_index``, ``mask``, ``gate``, ``validate`` and ``backend``.
        target: A label map ``[B, *spatial]`` or ``[B, 1, *spatial]``, or masks of the shape of
            ``logits``.
        kernel_size: SCNP's window in pixels, odd, or one odd number per spatial axis.
        activation: ``"softmax"`` (one class per pixel; needs C >= 2), or ``"sigmoid"`` with binary
            cross entropy (classes may overlap).
        ce_weight: Weight of the cross entropy; finite and not negative, as every weight here.
        dice_weight: Weight of ``1 - Dice``. It and ``ce_weight`` are not both 0.
        scnp_weight: Weight of the loss on penalized logits. A tensor without axes may be another
            one at every call of a compiled step, which is not compiled again; what it weighs is
            always computed, even if it holds 0. Its value is not checked, and it gets its gradient
            if it requires one.
        plain_weight: Weight of the loss on plain logits, likewise. It and ``scnp_weight`` are not
            both the number 0.
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
        inplace_backward: Write the gradient over the logits, to save its memory: after the
            backward pass they hold their gradient. Refused where somebody else needs them.
        validate: Check that the target holds permitted values only; None: on the CPU.
        backend: ``"auto"``, or one of :func:`scnp_kernels.backends` by name.
        return_terms: Return the parts of the loss too, for a log.
        **options: All of the above that the signature of the source leaves out.

    Returns:
        A scalar in float32 (float64 for float64 logits). The cross entropy is the mean over the
        valid pixels (sigmoid: and classes), and 0 when there are none, or none
        of a class whose weight is above 0.

        With ``return_terms``, also a dict of detached scalars of the same pass, each before it is
        weighed: ``"scnp_ce"`` and ``"scnp_dice"`` (1 - Dice) of penalized logits, ``"plain_ce"``
        and ``"plain_dice"`` of plain ones. What is not computed is absent.

    Raises:
        TypeError: An argument has a type or dtype that it does not take.
        ValueError: An argument has a shape or value that it does not take.
        RuntimeError: A backend asked for by name cannot run here; or, from a backward pass with
            ``inplace_backward``, the logits were changed or overwritten before it, or are to be
            differentiated twice.

    Example:
        >>> import torch
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> scnp_dice_ce_loss(logits, target, kernel_size=3, plain_weight=1.0).backward()
    """
    checked = check_loss(make_options(DiceCEOptions, kernel_size=kernel_size, **options))
    return compute_loss(
        logits, target, mask, gate, checked, class_weights, return_terms=return_terms
    )


@overload
def scnp_tversky_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[False] = False,
    **options: Unpack[TverskyKeywords],
) -> Tensor: ...
@overload
def scnp_tversky_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[True],
    **options: Unpack[TverskyKeywords],
) -> tuple[Tensor, LossTerms]: ...
@shows(TverskyOptions)
def scnp_tversky_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: bool = False,
    **options: Unpack[TverskyKeywords],
) -> Tensor | tuple[Tensor, LossTerms]:
    """Return the Tversky loss (Salehi et al., 2017) on SCNP logits, a scalar.

        index = (TP + smooth) / (TP + alpha * FP + beta * FN + smooth)
        L(z)  = tversky_weight * (1 - mean of index) + ce_weight * cross_entropy(z)
        loss  = scnp_weight * L(scnp(logits)) + plain_weight * L(logits)

    TP, FP and FN are the sums over pixels of ``p * y``, ``p * (1 - y)`` and ``(1 - p) * y``. With
    ``alpha = beta = 0.5`` the index is Dice, whose ``smooth`` is twice as large. The first term of
    L equals MONAI's ``TverskyLoss`` for the same options, its ``smooth_nr`` and ``smooth_dr`` being
    ``smooth``. It costs what :func:`scnp_dice_ce_loss` costs, which says more of it.

    Args:
        logits: ``[B, C, *spatial]``, as in :func:`scnp_dice_ce_loss`.
        target: A label map, or masks of the shape of ``logits``, likewise.
        kernel_size: SCNP's window in pixels, odd, or one odd number per spatial axis.
        alpha: Weight of false positives; finite and not negative.
        beta: Weight of false negatives; likewise. Above ``alpha``, missed pixels cost more.
        tversky_weight: Weight of the Tversky loss. It and ``ce_weight`` are not both 0.
        ce_weight: Weight of the cross entropy.
        class_weights: ``[C]``, for the cross entropy only.
        mask: Bool, False where pixels are invalid.
        gate: Bool, False where pixels keep their own logit.
        return_terms: Return the parts too: ``"scnp_tversky"``, ``"scnp_ce"``, ``"plain_tversky"``,
            ``"plain_ce"``, those that are computed.
        **options: The other options of :func:`scnp_dice_ce_loss`, with the same meaning:
            ``include_background``, ``batch_dice`` and ``distributed`` are those of the index.

    Returns:
        What :func:`scnp_dice_ce_loss` returns. The index of a class that is absent and not
        predicted is 1 (0 when ``smooth`` is 0).

    Raises:
        TypeError: An argument has a type or dtype that it does not take.
        ValueError: An argument has a shape or value that it does not take.
        RuntimeError: A backend asked for by name cannot run here.

    Example:
        >>> import torch
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> scnp_tversky_loss(logits, target, alpha=0.3, beta=0.7).backward()
    """
    checked = check_loss(make_options(TverskyOptions, kernel_size=kernel_size, **options))
    return compute_loss(
        logits, target, mask, gate, checked, class_weights, return_terms=return_terms
    )


@overload
def scnp_focal_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    alpha: Alpha = None,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[False] = False,
    **options: Unpack[FocalKeywords],
) -> Tensor: ...
@overload
def scnp_focal_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    alpha: Alpha = None,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: Literal[True],
    **options: Unpack[FocalKeywords],
) -> tuple[Tensor, LossTerms]: ...
@shows(FocalOptions)
def scnp_focal_loss(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    alpha: Alpha = None,
    class_weights: Tensor | Sequence[float] | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    return_terms: bool = False,
    **options: Unpack[FocalKeywords],
) -> Tensor | tuple[Tensor, LossTerms]:
    """Return the focal loss (Lin et al., 2017) on SCNP logits, with or without Dice, a scalar.

        focal = mean over pixels and classes of a * (1 - p)^gamma * cross entropy
        L(z)  = focal_weight * focal(z) + dice_weight * (1 - dice(z))
        loss  = scnp_weight * L(scnp(logits)) + plain_weight * L(logits)

    p is the probability of what the target says. For the same options ``focal`` equals MONAI's
    ``FocalLoss`` (``use_softmax`` is ``activation="softmax"``, ``weight`` is ``class_weights``, and
    these and ``alpha`` have a number for the background too), and L its ``DiceFocalLoss`` with
    sigmoid: with softmax, MONAI takes Dice of softmax, but focal of sigmoid. Two things differ.
    Where MONAI ignores pixels it divides by their number, not by that times the classes; and
    without the background it takes softmax over the other classes, where here the background's
    pixels are left out of the sum: ``scnp_focal_loss(logits[:, 1:], one_hot_target[:, 1:])`` is the
    former. It costs about what :func:`scnp_dice_ce_loss` costs, which says more of it.

    Args:
        logits: ``[B, C, *spatial]``, as in :func:`scnp_dice_ce_loss`.
        target: A label map, or masks of the shape of ``logits``, likewise.
        kernel_size: SCNP's window in pixels, odd, or one odd number per spatial axis.
        gamma: How much easy pixels count for less; finite and not negative. 0 is cross entropy.
        alpha: The factor a. A number in [0, 1]: with softmax alpha for all classes but the class 0,
            which has ``1 - alpha``; with sigmoid alpha where a pixel belongs to a class, and
            ``1 - alpha`` where not. ``[C]`` numbers, one for the pixels of each class; with sigmoid
            1 where a pixel does not belong to it. None: 1.
        focal_weight: Weight of the focal loss. It and ``dice_weight`` are not both 0.
        dice_weight: Weight of ``1 - Dice``.
        class_weights: ``[C]``, which weigh the focal loss of each class.
        mask: Bool, False where pixels are invalid.
        gate: Bool, False where pixels keep their own logit.
        return_terms: Return the parts too: ``"scnp_focal"``, ``"scnp_dice"``, ``"plain_focal"``,
            ``"plain_dice"``, those that are computed.
        **options: The other options of :func:`scnp_dice_ce_loss`, with the same meaning;
            ``include_background`` is about both parts.

    Returns:
        What :func:`scnp_dice_ce_loss` returns.

    Raises:
        TypeError: An argument has a type or dtype that it does not take.
        ValueError: An argument has a shape or value that it does not take.
        RuntimeError: A backend asked for by name cannot run here.

    Example:
        >>> import torch
        >>> logits = torch.randn(2, 3, 16, 16, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 16, 16))               # [B, H, W]
        >>> scnp_focal_loss(logits, target, gamma=2.0, dice_weight=1.0).backward()
    """
    number, of_classes = split_alpha(alpha)
    checked = check_loss(
        make_options(FocalOptions, kernel_size=kernel_size, alpha=number, **options)
    )
    return compute_loss(
        logits, target, mask, gate, checked, class_weights, of_classes, return_terms=return_terms
    )
