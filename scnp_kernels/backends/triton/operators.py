"""Forward, scatter and gather on the GPU: tensors in, one kernel launch each, tensors out.

Nothing waits for the GPU and nothing but the results is allocated, so that a CUDA graph can capture
them; only ``validate=True`` waits, since it looks at the target's values beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...rules.target import Reading, check_values
from ...rules.window import winner_dtype
from . import launch_table, launching
from .images import (
    plane_needs_64_bits,
    strides_of_image,
    tensor_needs_64_bits,
    three_axes,
)
from .kernels.forward_any_window import forward_any_window
from .kernels.forward_march import forward_march
from .kernels.gather import gather as gather_kernel
from .kernels.scatter_any_window import scatter_any_window
from .kernels.scatter_march import scatter_march
from .launching import (
    GateView,
    TargetView,
    any_window_geometry,
    any_window_grid,
    any_window_options,
    march_options,
    on_device_of,
    view_gate,
    view_target,
)


def forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
) -> tuple[Tensor, Tensor]:
    """Return the penalized logits of Eq. 1 and the winners' tap numbers, both ``[B, C, *spatial]``.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    penalized = torch.empty_like(logits)
    winners = torch.empty_like(logits, dtype=winner_dtype(kernel_size))
    if logits.numel() == 0:
        return penalized, winners
    if reading.validate:
        check_values(logits, target, mask, reading)
    view = view_target(target, mask, reading, winners)
    forward_into(penalized, winners, logits, view, view_gate(gate, winners), kernel_size)
    return penalized, winners


def forward_into(
    penalized: Tensor | None,
    winners: Tensor,
    logits: Tensor,
    view: TargetView,
    gate: GateView,
    kernel_size: Sequence[int],
) -> None:
    """Run :func:`forward` into tensors of the same strides, or into the winners' alone."""
    batch, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    logits_strides = strides_of_image(logits)
    result_strides = strides_of_image(winners)
    maps = (view.target_strides, view.mask_strides, gate.image_strides)
    tensors = (logits_strides, *maps, result_strides)
    pointers = (
        logits,
        *view.pointers,
        gate.pointer,
        winners if penalized is None else penalized,
        winners,
    )
    strides = (*logits_strides, *view.strides, *gate.strides, *result_strides)
    options = {**view.options, **gate.options, "WINNERS_ONLY": penalized is None}
    with on_device_of(logits):
        if not launch_table.can_march(window):
            forward_any_window[any_window_grid(logits.numel())](
                *pointers,
                *any_window_geometry(logits, kernel_size),
                *strides,
                *view.labels,
                **options,
                **any_window_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
            )
            return
        march = launch_table.forward_march(
            batch,
            channels,
            sizes,
            window,
            not view.options["TARGET_IS_MASKS"],
            logits.dtype.itemsize,
            launching.ON_ROCM,
            gate.options["HAS_GATE"],
        )
        forward_march[(march.programs,)](
            *pointers,
            channels,
            *sizes,
            march.planes,
            *strides,
            *view.labels,
            **options,
            CHANNELS=march.channels,
            RESULT_LIKE_LOGITS=logits_strides[3:] == result_strides[3:],
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window)),
        )


def scatter(gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]) -> Tensor:
    """Send the gradient of every pixel to its winner, by Eq. 2; ``[B, C, *spatial]`` each."""
    result = torch.empty_like(winners, dtype=gradient.dtype)
    scatter_into(result, gradient, winners, kernel_size)
    return result


def scatter_into(
    result: Tensor, gradient: Tensor, winners: Tensor, kernel_size: Sequence[int]
) -> None:
    """Run :func:`scatter` into a tensor of any floating dtype; half types add up in float32."""
    if result.numel() == 0:
        return
    batch, channels = gradient.shape[:2]
    sizes = three_axes(gradient.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = tuple(map(strides_of_image, (gradient, winners, result)))
    strides = tuple(stride for tensor in tensors for stride in tensor)
    with on_device_of(gradient):
        if not launch_table.can_march(window):
            scatter_any_window[any_window_grid(gradient.numel())](
                gradient,
                winners,
                result,
                *any_window_geometry(gradient, kernel_size),
                *strides,
                **any_window_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
            )
            return
        march = launch_table.scatter_march(batch, channels, sizes, window, gradient.dtype.itemsize)
        scatter_march[(march.programs,)](
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
    """Return for every pixel the value at its winner: the transpose of :func:`scatter`."""
    result = torch.empty_like(winners, dtype=values.dtype)
    if result.numel() == 0:
        return result
    batch, channels = values.shape[:2]
    sizes = three_axes(values.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = tuple(map(strides_of_image, (values, winners, result)))
    with on_device_of(values):
        gather_kernel[any_window_grid(values.numel())](
            values,
            winners,
            result,
            values.numel(),
            channels,
            *sizes,
            *window,
            *(stride for tensor in tensors for stride in tensor),
            **any_window_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
        )
    return result
