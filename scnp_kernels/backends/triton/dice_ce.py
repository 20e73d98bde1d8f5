"""Dice + cross entropy's statistics and their gradient on the GPU: what the registry calls.

    forward     winners, then the statistics of every block of pixels, then the blocks' sum
    backward    what the classes of each pixel have in common, then the gradient, sent to winners

Neither penalized logits nor probabilities are ever in memory. Nothing waits for the GPU, except
with ``validate=True``, which looks at the target's values beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...rules.dice_ce import STATISTICS, Wanted, new_winners, statistics_dtype
from ...rules.target import Reading, check_values
from .. import in_slabs
from . import launch_table, launching
from .images import (
    Strides,
    plane_needs_64_bits,
    strides_of_image,
    tensor_needs_64_bits,
    three_axes,
)
from .kernels.device.pixel_loss import common_parts
from .kernels.dice_ce_backward_any_window import dice_ce_backward_any_window
from .kernels.dice_ce_backward_march import dice_ce_backward_march
from .kernels.dice_ce_backward_pixels import dice_ce_backward_common, dice_ce_backward_unpenalized
from .kernels.dice_ce_forward_march import dice_ce_forward_march
from .kernels.dice_ce_forward_pixels import dice_ce_forward_pixels
from .launching import (
    GateView,
    TargetView,
    any_window_geometry,
    any_window_options,
    march_options,
    on_device_of,
    view_gate,
    view_target,
)
from .operators import forward_into


def dice_ce_forward(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> tuple[Tensor, Tensor]:
    """Return what :func:`scnp_kernels.backends.composed_dice_ce.forward` does, fused.

    Raises:
        ValueError: With ``validate``, the target holds a value that is not permitted.
    """
    _, of_penalized, of_plain, _ = wanted
    images, channels = logits.shape[:2]
    statistics = logits.new_zeros((2, STATISTICS, images, channels), dtype=statistics_dtype(logits))
    winners = new_winners(logits, kernel_size, of_penalized)
    if logits.numel() == 0:
        return statistics, winners
    if reading.validate:
        check_values(logits, target, mask, reading)
    if not of_penalized and not of_plain:
        return statistics, winners
    view = view_target(target, mask, reading, logits)
    gate_view = view_gate(gate, logits)
    march = _statistics_march(logits, kernel_size, of_penalized, of_plain, focal=wanted.gamma != 0)
    if march is not None:
        partials = _forward_march(march, winners, logits, view, gate_view, kernel_size, wanted)
    else:
        if of_penalized:
            forward_into(None, winners, logits, view, gate_view, kernel_size)
        partials = _forward_pixels(logits, view, winners, kernel_size, wanted)
    terms = slice(0 if of_penalized else 1, 2 if of_plain else 1)
    torch.sum(partials, dim=-1, dtype=statistics.dtype, out=statistics[terms])
    return statistics, winners


def dice_ce_backward(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> Tensor:
    """Return what :func:`scnp_kernels.backends.composed_dice_ce.backward` does, fused."""
    softmax, of_penalized, of_plain, gamma = wanted
    result = torch.empty_like(logits)
    if not of_penalized and not of_plain:
        return result.zero_()
    if result.numel() == 0:
        return result
    view = view_target(target, mask, reading, logits)
    gradient = statistics_gradient.contiguous()
    if not of_penalized:
        _backward_unpenalized(result, gradient, logits, view, wanted)
        return result
    common = logits  # stands for a tensor that is not read: sigmoid's classes share nothing
    if softmax:
        common = _backward_common(gradient, winners, logits, view, kernel_size, wanted)
    terms = {"SOFTMAX": softmax, "OF_UNPENALIZED": of_plain, "GAMMA": gamma}
    if launch_table.can_march(three_axes(kernel_size, 1)):
        backward = _backward_march
    else:
        backward = _backward_any_window
    backward(result, gradient, winners, common, logits, view, kernel_size, terms)
    return result


def dice_ce_backward_in_place(
    statistics_gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    kernel_size: Sequence[int],
    reading: Reading,
    wanted: Wanted,
) -> None:
    """Overwrite the logits by the gradient that :func:`dice_ce_backward` returns, bit for bit."""
    softmax, of_penalized, of_plain, gamma = wanted
    per_pixel = logits.shape[1] * logits.dtype.itemsize
    if softmax and of_penalized:  # what _backward_common returns
        per_pixel += (1 + of_plain) * common_parts(gamma) * _wide(logits).itemsize
    images = (statistics_gradient, winners, logits, target, mask)
    in_slabs.backward(dice_ce_backward, per_pixel, *images, kernel_size, reading, wanted)


def _statistics_march(
    logits: Tensor, kernel_size: Sequence[int], of_penalized: bool, of_plain: bool, focal: bool
) -> launch_table.March | None:
    """Choose the march that does all in one pass; None for winners first, statistics second."""
    window = three_axes(kernel_size, 1)
    if not of_penalized or not launch_table.can_march(window):
        return None
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    return launch_table.dice_ce_forward_march(
        images, channels, sizes, window, logits.dtype.itemsize, 1 + of_plain, focal
    )


def _forward_march(
    march: launch_table.March,
    winners: Tensor,
    logits: Tensor,
    view: TargetView,
    gate: GateView,
    kernel_size: Sequence[int],
    wanted: Wanted,
) -> Tensor:
    """Return ``[terms, statistics, B, C, programs of an image]``; writes the winners too."""
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    programs = march.programs // images
    shape = (1 + wanted.of_plain, STATISTICS, images, channels, programs)
    partials = logits.new_empty(shape, dtype=_wide(logits))
    logits_strides, winners_strides = strides_of_image(logits), strides_of_image(winners)
    maps = (view.target_strides, view.mask_strides, gate.image_strides)
    tensors = (logits_strides, *maps, winners_strides)
    with on_device_of(logits):
        dice_ce_forward_march[(march.programs,)](
            logits,
            *view.pointers,
            gate.pointer,
            winners,
            partials,
            images,
            programs,
            *sizes,
            march.planes,
            *logits_strides,
            *view.strides,
            *gate.strides,
            *winners_strides,
            *view.labels,
            **view.options,
            **gate.options,
            SOFTMAX=wanted.softmax,
            OF_UNPENALIZED=wanted.of_plain,
            GAMMA=wanted.gamma,
            CHANNELS=march.channels,
            ONE_LAYOUT=logits_strides[3:] == winners_strides[3:],
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window), True),
        )
    return partials


def _forward_pixels(
    logits: Tensor,
    view: TargetView,
    winners: Tensor,
    kernel_size: Sequence[int],
    wanted: Wanted,
) -> Tensor:
    """Return ``[terms, statistics, B, C, blocks]``."""
    softmax, of_penalized, of_plain, gamma = wanted
    warps = launch_table.SUMMING_WARPS
    images, channels = logits.shape[:2]
    blocks = _blocks(logits, warps)
    shape = (of_penalized + of_plain, STATISTICS, images, channels, blocks)
    partials = logits.new_empty(shape, dtype=_wide(logits))
    winners_strides = strides_of_image(winners) if of_penalized else launching.NO_STRIDES
    with on_device_of(logits):
        dice_ce_forward_pixels[(images * blocks,)](
            logits,
            *view.pointers,
            winners if of_penalized else logits,
            partials,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *view.strides,
            *winners_strides,
            *view.labels,
            **view.options,
            SOFTMAX=softmax,
            OF_PENALIZED=of_penalized,
            OF_UNPENALIZED=of_plain,
            GAMMA=gamma,
            **_window_options(kernel_size),
            **_pixel_options(logits, view, winners_strides, kernel_size, warps),
        )
    return partials


def _backward_common(
    gradient: Tensor,
    winners: Tensor,
    logits: Tensor,
    view: TargetView,
    kernel_size: Sequence[int],
    wanted: Wanted,
) -> Tensor:
    """Return ``[terms, parts, B, *spatial]``: the ``Common`` of every pixel, part by part."""
    warps = launch_table.OTHER_WARPS
    images, _, *spatial = logits.shape
    shape = (1 + wanted.of_plain, common_parts(wanted.gamma), images, *spatial)
    common = logits.new_empty(shape, dtype=_wide(logits))
    winners_strides = strides_of_image(winners)
    with on_device_of(logits):
        dice_ce_backward_common[(images * _blocks(logits, warps),)](
            gradient,
            logits,
            view.pointers[0],
            winners,
            common,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *view.target_strides,
            *winners_strides,
            view.labels[0],
            TARGET_IS_MASKS=view.options["TARGET_IS_MASKS"],
            OF_UNPENALIZED=wanted.of_plain,
            GAMMA=wanted.gamma,
            **_window_options(kernel_size),
            **_pixel_options(logits, view, winners_strides, kernel_size, warps),
        )
    return common


def _backward_unpenalized(
    result: Tensor, gradient: Tensor, logits: Tensor, view: TargetView, wanted: Wanted
) -> None:
    """Write the gradient of a loss of the unpenalized logits alone."""
    warps = launch_table.OTHER_WARPS
    strides = strides_of_image(result)
    with on_device_of(logits):
        dice_ce_backward_unpenalized[(logits.shape[0] * _blocks(logits, warps),)](
            gradient,
            logits,
            *view.pointers,
            result,
            *_geometry(logits, warps),
            *strides_of_image(logits),
            *view.strides,
            *strides,
            *view.labels,
            **view.options,
            SOFTMAX=wanted.softmax,
            GAMMA=wanted.gamma,
            **_pixel_options(logits, view, strides, (1,), warps),
        )


def _backward_march(
    result: Tensor,
    gradient: Tensor,
    winners: Tensor,
    common: Tensor,
    logits: Tensor,
    view: TargetView,
    kernel_size: Sequence[int],
    terms: dict[str, Any],
) -> None:
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    march = launch_table.dice_ce_backward_march(
        images,
        channels,
        sizes,
        window,
        logits.dtype.itemsize,
        1 + terms["OF_UNPENALIZED"],
        focal=terms["GAMMA"] != 0,
    )
    tensors = _all_strides(result, winners, logits, view)
    layouts = {strides[3:] for strides in tensors if strides != launching.NO_STRIDES}
    with on_device_of(logits):
        dice_ce_backward_march[(march.programs,)](
            gradient,
            logits,
            *view.pointers,
            winners,
            common,
            result,
            images,
            channels,
            *sizes,
            march.planes,
            *strides_of_image(logits),
            *view.strides,
            *strides_of_image(winners),
            *strides_of_image(result),
            *view.labels,
            **view.options,
            **terms,
            CHANNELS=march.channels,
            ONE_LAYOUT=layouts <= {_plane_strides(sizes.middle, sizes.inner)},
            **march_options(march, window, plane_needs_64_bits(tensors, sizes, window), True),
        )


def _backward_any_window(
    result: Tensor,
    gradient: Tensor,
    winners: Tensor,
    common: Tensor,
    logits: Tensor,
    view: TargetView,
    kernel_size: Sequence[int],
    terms: dict[str, Any],
) -> None:
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    window = three_axes(kernel_size, 1)
    tensors = _all_strides(result, winners, logits, view)
    blocks = -(-_pixels(logits) // launch_table.ANY_WINDOW_LANES)
    wide_offsets = tensor_needs_64_bits(tensors, images, channels, sizes, window)
    with on_device_of(logits):
        dice_ce_backward_any_window[(images * channels * blocks,)](
            gradient,
            logits,
            *view.pointers,
            winners,
            common,
            result,
            images,
            blocks,
            *any_window_geometry(logits, kernel_size)[1:],
            *strides_of_image(logits),
            *view.strides,
            *strides_of_image(winners),
            *strides_of_image(result),
            *view.labels,
            **view.options,
            **terms,
            **any_window_options(wide_offsets, True),
        )


def _all_strides(
    result: Tensor, winners: Tensor, logits: Tensor, view: TargetView
) -> tuple[Strides, ...]:
    images = tuple(map(strides_of_image, (logits, winners, result)))
    return (*images, view.target_strides, view.mask_strides)


def _plane_strides(middle: int, inner: int) -> tuple[int, int]:
    """Return a contiguous plane's strides from row to row, 0 if it has one row, and column."""
    return (0 if middle == 1 else inner, 1)


def _wide(logits: Tensor) -> torch.dtype:
    """Return the dtype that kernels add up in."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def _pixels(logits: Tensor) -> int:
    """Return the number of pixels of one image."""
    return logits[0, 0].numel()


def _lanes(warps: int) -> int:
    """Return how many pixels a program of the kernels that take blocks of pixels has."""
    return warps * launching.lanes_of_a_warp() * launch_table.PIXELS_OF_A_THREAD


def _blocks(logits: Tensor, warps: int) -> int:
    """Return the number of blocks of pixels, and so of programs, per image."""
    return -(-_pixels(logits) // _lanes(warps))


def _geometry(logits: Tensor, warps: int) -> tuple[int, ...]:
    """Return the number of images, their blocks, their classes and their three sizes."""
    images, channels = logits.shape[:2]
    return (images, _blocks(logits, warps), channels, *three_axes(logits.shape[2:], 1))


def _window_options(kernel_size: Sequence[int]) -> dict[str, int]:
    """Return the constants that describe the window."""
    window = three_axes(kernel_size, 1)
    return {
        "WINDOW_OUTER": window.outer,
        "WINDOW_MIDDLE": window.middle,
        "WINDOW_INNER": window.inner,
    }


def _pixel_options(
    logits: Tensor,
    view: TargetView,
    other: Strides,
    kernel_size: Sequence[int],
    warps: int,
) -> dict[str, Any]:
    """Return the options of kernels that take blocks of pixels.

    ``other`` are the strides of the remaining tensor, winners or gradient.
    """
    images, channels = logits.shape[:2]
    sizes = three_axes(logits.shape[2:], 1)
    tensors = (strides_of_image(logits), view.target_strides, view.mask_strides, other)
    window = three_axes(kernel_size, 1)
    return {
        "LANES": _lanes(warps),
        "WIDE_OFFSETS": tensor_needs_64_bits(tensors, images, channels, sizes, window),
        "num_warps": warps,
        **launching.compiler_options(None, True),
    }
