"""The loss of a semantic segmentation head that predicts at a stride, with SCNP.

Needs torch alone. Detectron2's heads, SegFormer and their like predict at a fraction of the image's
size, and mark padding and pixels without a label by an ignore value:

    predictions [B, C, H/stride, W/stride] -> upsampled in float32 [B, C, H, W] -> SCNP -> loss
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..modules import SCNPLoss
from ..rules.arguments import KernelSize


def semantic_head_loss(
    predictions: Tensor,
    targets: Tensor,
    kernel_size: KernelSize = 3,
    *,
    ignore_value: int = 255,
    plain_weight: float = 0.0,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The loss on penalized logits, at the targets' size.

    SCNP comes after upsampling, because it needs the target's pixels; in float32, because
    neighbouring upsampled logits differ by less than half precision can tell.

    Args:
        predictions: Logits ``[B, C, h, w]`` as the head gives them; resized to the targets
            (bilinear, corners not aligned) where the size differs. With one channel, those of the
            label 1 against the label 0.
        targets: Label map ``[B, H, W]``, integers; ``ignore_value`` where there is no label, which
            is also what Detectron2 pads batches with.
        kernel_size: The window, in pixels of the targets.
        ignore_value: The label of pixels that take no part.
        plain_weight: Weight of the same loss on plain logits; 1 is the paper's joint loss.
        loss: A function of ``(logits [B, C, H, W], targets)``; None for cross entropy (with one
            channel, binary) averaged over labelled pixels (0, with zero gradient, where there are
            none). Another one, such as Detectron2's ``DeepLabCE``, must know the ignore value
            itself.

    Returns:
        The loss, float32.

    Raises:
        TypeError, ValueError: As :func:`scnp_kernels.scnp` and :class:`scnp_kernels.SCNPLoss`.

    Example:
        >>> predictions = torch.zeros(2, 3, 4, 4, requires_grad=True)   # [B, C, h, w]
        >>> targets = torch.full((2, 16, 16), 255)                      # [B, H, W]
        >>> targets[:, :8, :8] = 1
        >>> semantic_head_loss(predictions, targets)
        tensor(1.0986, grad_fn=<DivBackward0>)
    """

    def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        valid = labels != ignore_value
        if logits.shape[1] == 1:
            wanted = (labels * valid).to(logits.dtype)
            total = F.binary_cross_entropy_with_logits(
                logits.squeeze(1), wanted, weight=valid, reduction="sum"
            )
        else:
            labels = labels.long()
            total = F.cross_entropy(logits, labels, ignore_index=ignore_value, reduction="sum")
        return total / valid.sum().clamp_min(1)

    # Inside, no autocast: it would bring the upsampled logits back to half precision.
    with torch.autocast(predictions.device.type, enabled=False):
        logits = predictions.float()
        if logits.shape[-2:] != targets.shape[-2:]:
            logits = F.interpolate(
                logits, size=targets.shape[-2:], mode="bilinear", align_corners=False
            )
        criterion = SCNPLoss(
            cross_entropy if loss is None else loss,
            kernel_size,
            plain_weight=plain_weight,
            ignore_index=ignore_value,
        )
        result: Tensor = criterion(logits, targets)
    return result
