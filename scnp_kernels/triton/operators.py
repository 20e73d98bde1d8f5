"""Forward, scatter and gather on the GPU: tensors in, one kernel launch each, tensors out.

No synchronisation and no allocation but the results, so that a CUDA graph can capture them;
``validate=True`` is the exception, which looks at the target's values beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from .. import reference
from ..checks import can_hold
from ..geometry import number_of_taps, winner_dtype
from . import launch_table
from .images import (
    Strides,
    plane_needs_64_bits,
    strides_of_image,
    strides_of_map,
    tensor_needs_64_bits,
    three_axes,
)
from .march_forward import march_forward
from .march_scatter import march_scatter
from .plain import gather_winners, plain_forward, plain_scatter

_ON_ROCM = torch.version.hip is not None
_NO_STRIDES = Strides(0, 0, 0, 0, 0)


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
        reference.check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
    batch, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    has_ignore_index = ignore_index is not None and can_hold(target.dtype, ignore_index)
    logits_strides = strides_of_image(logits)
    target_strides = strides_of_image(target) if target_is_masks else strides_of_map(target)
    mask_strides = _NO_STRIDES if mask is None else strides_of_map(mask)
    result_strides = strides_of_image(penalized)
    tensors = (logits_strides, target_strides, mask_strides, result_strides)
    pointers = (
        logits,
        _bytes(target) if target.dtype == torch.bool else target,
        winners if mask is None else _bytes(mask),  # never read without a mask
        penalized,
        winners,
    )
    strides = (
        *logits_strides,
        *target_strides,
        *(mask_strides.batch, *mask_strides[2:]),
        *result_strides,
    )
    reading = {
        "TARGET_IS_MASKS": target_is_masks,
        "HAS_IGNORE_INDEX": has_ignore_index,
        "HAS_MASK": mask is not None,
    }
    labels = (first_class, ignore_index if has_ignore_index else 0)
    with _on_device_of(logits):
        if not launch_table.can_march(window):
            plain_forward[_plain_grid(logits.numel())](
                *pointers,
                *_plain_geometry(logits, kernel_size),
                *strides,
                *labels,
                **reading,
                **_plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
            )
            return penalized, winners
        march = launch_table.forward_march(
            batch, channels, sizes, window, not target_is_masks, logits.dtype.itemsize, _ON_ROCM
        )
        march_forward[(march.programs,)](
            *pointers,
            channels,
            *sizes,
            march.planes,
            *strides,
            *labels,
            **reading,
            CHANNELS=march.channels,
            RESULT_LIKE_LOGITS=logits_strides[3:] == result_strides[3:],
            **_march_options(march, window, plane_needs_64_bits(tensors, sizes, window)),
        )
    return penalized, winners


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
    with _on_device_of(gradient):
        if not launch_table.can_march(window):
            plain_scatter[_plain_grid(gradient.numel())](
                gradient,
                winners,
                result,
                *_plain_geometry(gradient, kernel_size),
                *strides,
                **_plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
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
            **_march_options(march, window, plane_needs_64_bits(tensors, sizes, window)),
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
    with _on_device_of(values):
        gather_winners[_plain_grid(values.numel())](
            values,
            winners,
            result,
            values.numel(),
            channels,
            *sizes,
            *window,
            *(stride for tensor in tensors for stride in tensor),
            **_plain_options(tensor_needs_64_bits(tensors, batch, channels, sizes, window)),
        )
    return result


def _bytes(tensor: Tensor) -> Tensor:
    """A bool tensor's memory as bytes: only "zero or not" counts."""
    return tensor.view(torch.uint8)


def _on_device_of(tensor: Tensor) -> Any:
    """Kernels are launched on the current device: make it the tensor's."""
    if tensor.device.type != "cuda" or tensor.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(tensor.device)


def _march_options(
    march: launch_table.March, window: Sequence[int], wide_offsets: bool
) -> dict[str, Any]:
    outer, middle, inner = window
    return {
        "WINDOW_OUTER": outer,
        "WINDOW_MIDDLE": middle,
        "WINDOW_INNER": inner,
        "STRIP": march.strip,
        "BLOCK_ROWS": march.block_rows,
        "COLUMNS": march.columns,
        "WIDE_OFFSETS": wide_offsets,
        "num_warps": march.warps(_lanes_of_a_warp()),
        **_compiler_options(march.registers),
    }


def _compiler_options(registers: int | None) -> dict[str, Any]:
    """Values are compared, moved and added, never multiplied: there is nothing to fuse. The limit
    of a thread's registers is an option of the CUDA compiler only."""
    limit = {} if registers is None or _ON_ROCM else {"maxnreg": registers}
    return {"enable_fp_fusion": False, **limit}


def _lanes_of_a_warp() -> int:
    return 64 if _ON_ROCM else 32


def _plain_grid(count: int) -> tuple[int]:
    return (-(-count // launch_table.PLAIN_LANES),)


def _plain_options(wide_offsets: bool) -> dict[str, Any]:
    lanes = launch_table.PLAIN_LANES
    return {
        "LANES": lanes,
        "WIDE_OFFSETS": wide_offsets,
        "num_warps": lanes // _lanes_of_a_warp(),
        **_compiler_options(launch_table.PLAIN_REGISTERS),
    }


def _plain_geometry(image: Tensor, kernel_size: Sequence[int]) -> tuple[int, ...]:
    """Count, sizes, how far the window reaches inside the image, and how its taps are numbered."""
    sizes = three_axes(image.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    reach = (min(side // 2, size - 1) for side, size in zip(window, sizes, strict=True))
    return (
        image.numel(),
        image.shape[1],
        *sizes,
        *reach,
        window.middle,
        window.inner,
        number_of_taps(kernel_size) // 2,
    )
