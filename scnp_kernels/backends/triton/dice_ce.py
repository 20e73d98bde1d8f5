"""Dice + cross entropy's sums and their gradient on the GPU: what the registry calls.

    forward     winners, then the sums of every block of pixels, then the blocks' sum
    backward    what the classes of each pixel have in common, then the gradient, sent to winners

Neither penalized logits nor probabilities are ever in memory. No synchronisation, except with
``validate=True``, which looks at the target's values beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...rules.dice_ce import new_winners, sums_dtype
from ...rules.target import check_values
from . import launch_table, launching
from .images import (
    Strides,
    plane_needs_64_bits,
    strides_of_image,
    tensor_needs_64_bits,
    three_axes,
)
from .kernels.dice_ce_backward_any_window import plain_gradient
from .kernels.dice_ce_backward_march import march_gradient
from .kernels.dice_ce_forward_march import march_sums
from .kernels.dice_ce_pixels import pixel_common, pixel_gradient, pixel_sums
from .launching import (
    TargetReading,
    march_options,
    on_device_of,
    plain_geometry,
    plain_options,
    read_target,
)
from .operators import forward_into

_FIELDS = 6  # of dice_ce.Sums
_PARTS = 3  # of what the classes of a pixel have in common


def dice_ce_forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    label_count: int,
    ignore_index: int | None,
    validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> tuple[Tensor, Tensor]:
    """:func:`scnp_kernels.composed_dice_ce.forward`, fused.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    images, channels = logits.shape[:2]
    sums = logits.new_zeros((2, _FIELDS, images, channels), dtype=sums_dtype(logits))
    winners = new_winners(logits, kernel_size, of_penalized)
    if logits.numel() == 0:
        return sums, winners
    if validate:
        check_values(logits, target, mask, target_is_masks, label_count, ignore_index)
    if not of_penalized and not of_plain:
        return sums, winners
    reading = read_target(target, mask, target_is_masks, first_class, ignore_index, logits)
    march = _sums_march(logits, kernel_size, of_penalized, of_plain)
    if march is not None:
        partials = _march_sums(march, winners, logits, reading, kernel_size, softmax, of_plain)
    else:
        if of_penalized:
            forward_into(None, winners, logits, reading, kernel_size)
        partials = _pixel_sums(
            logits, reading, winners, kernel_size, softmax, of_penalized, of_plain
        )
    terms = slice(0 if of_penalized else 1, 2 if of_plain else 1)
    torch.sum(partials, dim=-1, dtype=sums.dtype, out=sums[terms])
    return sums, winners


def dice_ce_backward(
    sums_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    target_is_masks: bool,
    first_class: int,
    _label_count: int,
    ignore_index: int | None,
    _validate: bool,
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> Tensor:
    """:func:`scnp_kernels.composed_dice_ce.backward`, fused."""
    result = torch.empty_like(logits)
    if not of_penalized and not of_plain:
        return result.zero_()
    if result.numel() == 0:
        return result
    reading = read_target(target, mask, target_is_masks, first_class, ignore_index, logits)
    sums_gradient = sums_gradient.contiguous()
    if not of_penalized:
        _pixel_gradient(result, sums_gradient, logits, reading, softmax)
        return result
    common = logits  # sigmoid's classes have nothing in common: never read
    if softmax:
        common = _pixel_common(sums_gradient, winners, logits, reading, kernel_size, of_plain)
    terms = {"SOFTMAX": softmax, "OF_PLAIN": of_plain}
    if launch_table.can_march(three_axes(kernel_size, 1)):
        _march_gradient(result, sums_gradient, winners, common, logits, reading, kernel_size, terms)
    else:
        _plain_gradient(result, sums_gradient, winners, common, logits, reading, kernel_size, terms)
    return result


def _sums_march(
    logits: Tensor, kernel_size: Sequence[int], of_penalized: bool, of_plain: bool
) -> launch_table.March | None:
    """None: the winners first, their sums in a second pass."""
    window = three_axes(kernel_size, 1)
    if not of_penalized or not launch_table.can_march(window):
        return None
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    return launch_table.sums_march(
        images, channels, sizes, window, logits.dtype.itemsize, 1 + of_plain
    )


def _march_sums(
    march: launch_table.March,
    winners: Tensor,
    logits: Tensor,
    reading: TargetReading,
    kernel_size: Sequence[int],
    softmax: bool,
    of_plain: bool,
) -> Tensor:
    """[terms, 6, B, C, programs of an image]; writes the winners too."""
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    programs = march.programs // images
    shape = (1 + of_plain, _FIELDS, images, channels, programs)
    partials = logits.new_empty(shape, dtype=_wide(logits))
    logits_strides, winners_strides = strides_of_image(logits), strides_of_image(winners)
    tensors = (logits_strides, reading.target_strides, reading.mask_strides, winners_strides)
    with on_device_of(logits):
        march_sums[(march.programs,)](
            logits,
            *reading.pointers,
            winners,
            partials,
            images,
            programs,
            *sizes,
            march.planes,
            *logits_strides,
            *reading.strides,
            *winners_strides,
            *reading.labels,
            **reading.options,
            SOFTMAX=softmax,
            OF_PLAIN=of_plain,
            CHANNELS=march.channels,
            ONE_LAYOUT=logits_strides[3:] == winners_strides[3:],
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window), True),
        )
    return partials


def _pixel_sums(
    logits: Tensor,
    reading: TargetReading,
    winners: Tensor,
    kernel_size: Sequence[int],
    softmax: bool,
    of_penalized: bool,
    of_plain: bool,
) -> Tensor:
    """[terms, 6, B, C, blocks]."""
    warps = launch_table.SUMMING_WARPS
    images, channels = logits.shape[:2]
    blocks = _blocks(logits, warps)
    shape = (of_penalized + of_plain, _FIELDS, images, channels, blocks)
    partials = logits.new_empty(shape, dtype=_wide(logits))
    winners_strides = strides_of_image(winners) if of_penalized else launching.NO_STRIDES
    with on_device_of(logits):
        pixel_sums[(images * blocks,)](
            logits,
            *reading.pointers,
            winners if of_penalized else logits,
            partials,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *reading.strides,
            *winners_strides,
            *reading.labels,
            **reading.options,
            SOFTMAX=softmax,
            OF_PENALIZED=of_penalized,
            OF_PLAIN=of_plain,
            **_window_options(kernel_size),
            **_pixel_options(logits, reading, winners_strides, kernel_size, warps),
        )
    return partials


def _pixel_common(
    sums_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    reading: TargetReading,
    kernel_size: Sequence[int],
    of_plain: bool,
) -> Tensor:
    """[terms, 3, B, *spatial]: the terms' (largest, inverse, pull) of every pixel."""
    warps = launch_table.OTHER_WARPS
    images, _, *spatial = logits.shape
    common = logits.new_empty((1 + of_plain, _PARTS, images, *spatial), dtype=_wide(logits))
    winners_strides = strides_of_image(winners)
    with on_device_of(logits):
        pixel_common[(images * _blocks(logits, warps),)](
            sums_gradient,
            logits,
            reading.pointers[0],
            winners,
            common,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *reading.target_strides,
            *winners_strides,
            reading.labels[0],
            TARGET_IS_MASKS=reading.options["TARGET_IS_MASKS"],
            OF_PLAIN=of_plain,
            **_window_options(kernel_size),
            **_pixel_options(logits, reading, winners_strides, kernel_size, warps),
        )
    return common


def _pixel_gradient(
    result: Tensor, sums_gradient: Tensor, logits: Tensor, reading: TargetReading, softmax: bool
) -> None:
    """Of the plain logits alone."""
    warps = launch_table.OTHER_WARPS
    strides = strides_of_image(result)
    with on_device_of(logits):
        pixel_gradient[(logits.shape[0] * _blocks(logits, warps),)](
            sums_gradient,
            logits,
            *reading.pointers,
            result,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *reading.strides,
            *strides,
            *reading.labels,
            **reading.options,
            SOFTMAX=softmax,
            **_pixel_options(logits, reading, strides, (1,), warps),
        )


def _march_gradient(
    result: Tensor,
    sums_gradient: Tensor,
    winners: Tensor,
    common: Tensor,
    logits: Tensor,
    reading: TargetReading,
    kernel_size: Sequence[int],
    terms: dict[str, bool],
) -> None:
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    march = launch_table.gradient_march(
        images, channels, sizes, window, logits.dtype.itemsize, 1 + terms["OF_PLAIN"]
    )
    tensors = _all_strides(result, winners, logits, reading)
    layouts = {strides[3:] for strides in tensors if strides != launching.NO_STRIDES}
    with on_device_of(logits):
        march_gradient[(march.programs,)](
            sums_gradient,
            logits,
            *reading.pointers,
            winners,
            common,
            result,
            images,
            channels,
            *sizes,
            march.planes,
            *strides_of_image(logits),
            *reading.strides,
            *strides_of_image(winners),
            *strides_of_image(result),
            *reading.labels,
            **reading.options,
            **terms,
            CHANNELS=march.channels,
            ONE_LAYOUT=layouts <= {_plane_strides(sizes.middle, sizes.inner)},
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window), True),
        )


def _plain_gradient(
    result: Tensor,
    sums_gradient: Tensor,
    winners: Tensor,
    common: Tensor,
    logits: Tensor,
    reading: TargetReading,
    kernel_size: Sequence[int],
    terms: dict[str, bool],
) -> None:
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = _all_strides(result, winners, logits, reading)
    blocks = -(-_pixels(logits) // launch_table.PLAIN_LANES)
    with on_device_of(logits):
        plain_gradient[(images * channels * blocks,)](
            sums_gradient,
            logits,
            *reading.pointers,
            winners,
            common,
            result,
            images,
            blocks,
            *plain_geometry(logits, kernel_size)[1:],
            *strides_of_image(logits),
            *reading.strides,
            *strides_of_image(winners),
            *strides_of_image(result),
            *reading.labels,
            **reading.options,
            **terms,
            **plain_options(tensor_needs_64_bits(tensors, images, channels, sizes, window), True),
        )


def _all_strides(
    result: Tensor, winners: Tensor, logits: Tensor, reading: TargetReading
) -> tuple[Strides, ...]:
    own = tuple(map(strides_of_image, (logits, winners, result)))
    return (*own, reading.target_strides, reading.mask_strides)


def _plane_strides(middle: int, inner: int) -> tuple[int, int]:
    """Of a contiguous image; a plane of one row is the same with stride 0 from row to row."""
    return (0 if middle == 1 else inner, 1)


def _wide(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _pixels(logits: Tensor) -> int:
    return logits[0, 0].numel()


def _lanes(warps: int) -> int:
    """Pixels of a program of pixel_dice_ce.py."""
    return warps * launching.lanes_of_a_warp() * launch_table.PIXELS_OF_A_THREAD


def _blocks(logits: Tensor, warps: int) -> int:
    """Of an image, likewise."""
    return -(-_pixels(logits) // _lanes(warps))


def _geometry(logits: Tensor, warps: int) -> tuple[int, ...]:
    images, channels = logits.shape[:2]
    return (images, _blocks(logits, warps), channels, *three_axes(logits.shape[2:], 1))


def _window_options(kernel_size: Sequence[int]) -> dict[str, int]:
    window = three_axes(kernel_size, 1)
    return {
        "WINDOW_OUTER": window.outer,
        "WINDOW_MIDDLE": window.middle,
        "WINDOW_INNER": window.inner,
    }


def _pixel_options(
    logits: Tensor,
    reading: TargetReading,
    other: Strides,
    kernel_size: Sequence[int],
    warps: int,
) -> dict[str, Any]:
    """``other``: the strides of winners or gradient."""
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    tensors = (strides_of_image(logits), reading.target_strides, reading.mask_strides, other)
    window = three_axes(kernel_size, 1)
    return {
        "LANES": _lanes(warps),
        "WIDE_OFFSETS": tensor_needs_64_bits(tensors, images, channels, sizes, window),
        "num_warps": warps,
        **launching.compiler_options(None, True),
    }
