"""Forward, scatter and gather on the GPU: tensors in, one kernel launch each, tensors out.

No synchronisation and no allocation but the results, so that a CUDA graph can capture them;
``validate=True`` is the exception, which looks at the target's values beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...rules.target import check_values
from ...rules.window import winner_dtype
from . import launch_table, launching
from .images import (
    plane_needs_64_bits,
    strides_of_image,
    tensor_needs_64_bits,
    three_axes,
)
from .kernels.any_window import gather_winners, plain_forward, plain_scatter
from .kernels.forward_march import march_forward
from .kernels.scatter_march import march_scatter
from .launching import (
    TargetReading,
    march_options,
    on_device_of,
    plain_geometry,
    plain_grid,
    plain_options,
    read_target,
)


def forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
) -> tuple[Tensor, Tensor]:
    """Eq. 1. Returns the penalized logits and the winners' tap numbers, both ``[B, C, *spatial]``.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    penalized = torch.empty_like(logits)
    winners = torch.empty_like(logits, dtype=winner_dtype(kernel_size))
    if logits.numel() == 0:
        return penalized, winners
    if validate:
        check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
    reading = read_target(target, mask, target_is_masks, first_class, ignore_index, winners)
    forward_into(penalized, winners, logits, reading, kernel_size)
    return penalized, winners


def forward_into(
    penalized: Tensor | None,
    winners: Tensor,
    logits: Tensor,
    reading: TargetReading,
    kernel_size: Sequence[int],
) -> None:
    """:func:`forward` into tensors of the same strides; without ``penalized``, the winners only."""
    batch, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    logits_strides = strides_of_image(logits)
    result_strides = strides_of_image(winners)
    tensors = (logits_strides, reading.target_strides, reading.mask_strides, result_strides)
    pointers = (
        logits,
        *reading.pointers,
        winners if penalized is None else penalized,
        winners,
    )
    strides = (*logits_strides, *reading.strides, *result_strides)
    options = {**reading.options, "WINNERS_ONLY": penalized is None}
    with on_device_of(logits):
        if not launch_table.can_march(window):
            plain_forward[plain_grid(logits.numel())](
                *pointers,
                *plain_geometry(logits, kernel_size),
                *strides,
                *reading.labels,
                **options,
                **plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
            )
            return
        march = launch_table.forward_march(
            batch,
            channels,
            sizes,
            window,
            not reading.options["TARGET_IS_MASKS"],
            logits.dtype.itemsize,
            launching.ON_ROCM,
        )
        march_forward[(march.programs,)](
            *pointers,
            channels,
            *sizes,
            march.planes,
            *strides,
            *reading.labels,
            **options,
            CHANNELS=march.channels,
            RESULT_LIKE_LOGITS=logits_strides[3:] == result_strides[3:],
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window)),
        )


def scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Eq. 2. Sends the gradient of every pixel to its winner; ``[B, C, *spatial]`` each."""
    result = torch.empty_like(winners, dtype=gradient.dtype)
    scatter_into(result, gradient, winners, kernel_size)
    return result


def scatter_into(
    result: Tensor, gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]
) -> None:
    """:func:`scatter` into a tensor of any floating dtype; float32 is what half types add up in."""
    if result.numel() == 0:
        return
    batch, channels = gradient.shape[:2]
    sizes = three_axes(gradient.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = tuple(map(strides_of_image, (gradient, winners, result)))
    strides = tuple(stride for tensor in tensors for stride in tensor)
    with on_device_of(gradient):
        if not launch_table.can_march(window):
            plain_scatter[plain_grid(gradient.numel())](
                gradient,
                winners,
                result,
                *plain_geometry(gradient, kernel_size),
                *strides,
                **plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
            )
            return
        march = launch_table.scatter_march(batch, channels, sizes, window, gradient.dtype.itemsize)
        march_scatter[(march.programs,)](
            gradient,
            winners,
            result,
            channels,
            *sizes,
            march.planes,
            *strides,
            ONE_LAYOUT=len({tensor[3:] for tensor in tensors}) == 1,
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window)),
        )


def gather(values: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """The transpose of :func:`scatter`: every pixel takes the value at its winner."""
    result = torch.empty_like(winners, dtype=values.dtype)
    if result.numel() == 0:
        return result
    batch, channels = values.shape[:2]
    sizes = three_axes(values.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = tuple(map(strides_of_image, (values, winners, result)))
    with on_device_of(values):
        gather_winners[plain_grid(values.numel())](
            values,
            winners,
            result,
            values.numel(),
            channels,
            *sizes,
            *window,
            *(stride for tensor in tensors for stride in tensor),
            **plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
        )
    return result
