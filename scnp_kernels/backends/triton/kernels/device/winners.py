"""Winners by their tap number: the pixel that a tap points to, and whether that is a given one."""

from __future__ import annotations

import triton
import triton.language as tl

from .numbers import widened
from .pixels import offset_in_image


@triton.jit
def pixel_of_winner(
    tap,  # [LANES] int32
    plane,
    row,
    column,
    sizes,  # (outer, middle, inner), as is window
    window,
):
    """Return (plane, row, column) of the pixels' winners."""
    column += tap % window[2] - window[2] // 2
    tap = tap // window[2]
    row += tap % window[1] - window[1] // 2
    plane += tap // window[1] - window[0] // 2
    # Winners of a forward pass never leave the image; corrupt ones must not leave memory.
    column = tl.minimum(tl.maximum(column, 0), sizes[2] - 1)
    row = tl.minimum(tl.maximum(row, 0), sizes[1] - 1)
    plane = tl.minimum(tl.maximum(plane, 0), sizes[0] - 1)
    return plane, row, column


@triton.jit
def load_logit(
    logits,  # pointer to the channel's image, as is winners
    winners,
    pixel,  # from pixels_of_image
    here,  # [LANES] bool: is there such a pixel?
    sizes,  # (outer, middle, inner), as are window and the strides
    window,
    logits_strides,
    winners_strides,
    PENALIZED: tl.constexpr,
):
    """Return [LANES] logits, widened: those of the pixels' winners, or the pixels' own."""
    if PENALIZED:
        tap = tl.load(winners + offset_in_image(pixel, winners_strides), mask=here, other=0)
        pixel = pixel_of_winner(tap.to(tl.int32), pixel[0], pixel[1], pixel[2], sizes, window)
    return widened(tl.load(logits + offset_in_image(pixel, logits_strides), mask=here, other=0))


@triton.jit
def add_to_winner(
    accumulators,
    AT: tl.constexpr,
    value,
    tap,
    PLANE: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Add ``value`` to the accumulator ``AT`` if that is the sender's winner.

    The accumulator lies in plane, row and column (PLANE, DOWN, ACROSS) of the sender's window. DOWN
    may be none of the window's rows: then nothing is added.
    """
    if (DOWN >= 0) and (DOWN < WINDOW_MIDDLE):
        wanted: tl.constexpr = (PLANE * WINDOW_MIDDLE + DOWN) * WINDOW_INNER + ACROSS
        added = accumulators[AT] + tl.where(tap == wanted, value, 0.0)
        accumulators = accumulators[:AT] + (added,) + accumulators[AT + 1 :]
    return accumulators


@triton.jit
def logit_at_winner(
    found,
    logit,
    tap,
    PLANE: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Return ``logit`` if the sender's tap points to it, else ``found``: see add_to_winner."""
    if (DOWN >= 0) and (DOWN < WINDOW_MIDDLE):
        wanted: tl.constexpr = (PLANE * WINDOW_MIDDLE + DOWN) * WINDOW_INNER + ACROSS
        found = tl.where(tap == wanted, logit, found)
    return found
