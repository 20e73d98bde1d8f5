"""The entrance: scnp() checks its arguments and hands them to autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from .autograd.penalize import penalize
from .backends.registry import check_backend
from .rules.arguments import KernelSize, channel_by_channel, check_arguments, differs_by_channel
from .sharding import dtensor


def scnp(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    validate: bool | None = None,
    backend: str = "auto",
) -> Tensor:
    """Replace every logit by its worst same-class neighbour (Valverde et al., CVPR 2026, Eq. 1).

    In every class's channel, a foreground pixel takes the minimum over the foreground pixels in
    the window around it, a background pixel the maximum over the background pixels. A loss on the
    result cannot improve a pixel before it improves the pixel's worst neighbour. The gradient goes
    to the neighbours that were taken (Eq. 2). Apply it in training, before softmax or sigmoid;
    for validation, call the plain loss on the plain logits.

    Args:
        logits: ``[B, C, *spatial]`` with 1 to 3 spatial axes; float16, bfloat16, float32 or
            float64; any strides. A DTensor, with target, mask and gate on the same mesh, is
            penalized as a whole, and the result placed as it is (:mod:`scnp_kernels.sharding`).
        target: A label map ``[B, *spatial]`` or ``[B, 1, *spatial]`` (uint8, int8, int16, int32,
            int64, a floating dtype holding whole numbers; bool when ``C == 1``), or masks of the
            shape of ``logits``, one per channel, which may overlap (bool, any integer or floating
            dtype, holding 0 and 1). With ``C == 1``, foreground is 1.
        kernel_size: The window's side in pixels: odd, or one odd number per spatial axis, such as
            ``(1, 3, 3)`` for anisotropic voxels. It may be larger than the image.
        ignore_index: The label of pixels that take no part: they lend their logit to nobody and
            keep their own. For label maps, and masks with ``C == 1``.
        mask: Bool ``[B, *spatial]`` or ``[B, 1, *spatial]``; pixels where it is False take no
            part either. What the target holds there is never read. Beside masks it may have the
            shape of ``logits``: each channel then has valid pixels of its own.
        gate: Bool ``[B, *spatial]`` or ``[B, 1, *spatial]``; pixels where it is False are not
            penalized: they keep their own logit, in every channel, and their gradient passes
            straight through. Unlike invalid ones they still lend their logit to their neighbours,
            and their target is read and checked. ``where(gate, scnp(logits), logits)``, in the same
            pass: to penalize near structures only, or where the whole window is annotated.
        validate: Check that the target holds permitted values only. None: on the CPU, where the
            check is free; True: everywhere (elsewhere at the price of a synchronisation); False:
            nowhere (labels out of range are then background of every class, masks read as
            ``> 0.5``).
        backend: ``"auto"``, or one of :func:`scnp_kernels.backends` by name, which then runs or
            raises, and never gives way to another.

    Returns:
        The penalized logits, with the shape, dtype, device and memory format of ``logits``.
        For the backward pass it keeps the winners only, 1 byte per logit while a window has at
        most 255 pixels, 2 bytes above (4 above 32,767).

    Raises:
        TypeError: An argument has a type or dtype that it does not take.
        ValueError: An argument has a shape or value that it does not take.
        RuntimeError: A backend asked for by name cannot run here; the message says why.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[2.0, 1.0, 3.0, 0.5, 0.1]]])  # [B=1, C=1, W=5]
        >>> target = torch.tensor([[1, 1, 1, 0, 0]])              # [B=1, W=5]
        >>> scnp(logits, target, kernel_size=3)
        tensor([[[1.0000, 1.0000, 1.0000, 0.5000, 0.5000]]])
    """
    check_backend(backend)
    on_mesh = dtensor.are_dtensors(logits, target, mask, gate)
    arguments = check_arguments(logits, target, kernel_size, ignore_index, mask, gate, validate)
    if differs_by_channel(arguments):
        dtensor.check_same_for_all_channels(on_mesh)
        penalized = penalize(channel_by_channel(arguments), backend).view(logits.shape)
        # The result has the memory format of the logits.
        return penalized if logits.is_contiguous() else torch.empty_like(logits).copy_(penalized)
    return (dtensor.penalize if on_mesh else penalize)(arguments, backend)
