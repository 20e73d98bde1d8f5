"""Views: what a marching program needs to reach its pixels in one image of a tensor.

The lanes' pixels have the same offsets in every plane, so a view holds them once, and marches by
moving one pointer:

    address of a lane's pixel = pointer (scalar, to a plane or a row) + lanes ([LANES])

Pointers that walk save registers. If addresses were computed anew from the plane's number, the
compiler would move whatever does not change out of the loop, where it occupies most of a thread's
registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl


class View(NamedTuple):
    """One image, or one plane or row of it, by strides in elements."""

    pointer: Any  # scalar; to the first element of the plane or row
    lanes: Any  # [LANES] offsets from there
    channel: Any  # stride from channel to channel, as are the next three
    outer: Any
    middle: Any
    inner: Any


@triton.jit
def offset(index, stride):
    """Return a scalar offset that cannot overflow."""
    return index.to(tl.int64) * stride


@triton.jit
def widened_stride(stride, WIDE_OFFSETS: tl.constexpr):
    """Return a stride whose multiples within a plane cannot overflow."""
    if WIDE_OFFSETS:
        stride = stride * tl.full([], 1, tl.int64)
    return stride


@triton.jit
def lane_offsets(row, column, row_stride, column_stride, WIDE_OFFSETS: tl.constexpr):
    """Return [LANES] offsets within a plane, in 32 bits where the plane fits."""
    if WIDE_OFFSETS:
        row = row.to(tl.int64)
        column = column.to(tl.int64)
    return row * row_stride + column * column_stride


@triton.jit
def image_view(
    pointer,  # to the tensor
    strides,  # (batch, channel, outer, middle, inner); 0 for an axis that the tensor lacks
    tile,  # from tile_of_program
    plane,  # the plane that the view begins with
    WIDE_OFFSETS: tl.constexpr,
):
    """Return the :class:`View` of a plane of the tile's image and channel."""
    middle = widened_stride(strides[3], WIDE_OFFSETS)
    inner = widened_stride(strides[4], WIDE_OFFSETS)
    pointer += offset(tile.batch, strides[0]) + offset(tile.channel, strides[1])
    pointer += offset(plane, strides[2])
    lanes = lane_offsets(tile.row, tile.column, middle, inner, WIDE_OFFSETS)
    return View(pointer, lanes, strides[1], strides[2], middle, inner)


@triton.jit
def with_lanes_of(view, other, SAME_LAYOUT: tl.constexpr):
    """Share the offsets of ``other``, and so their registers, where both have one layout."""
    lanes = view.lanes
    if SAME_LAYOUT:
        lanes = other.lanes
    return View(view.pointer, lanes, view.channel, view.outer, view.middle, view.inner)


@triton.jit
def at_pointer(view, pointer):
    """Return the same view from another pointer."""
    return View(pointer, view.lanes, view.channel, view.outer, view.middle, view.inner)


@triton.jit
def next_plane(view):
    """Move the view one plane on."""
    return at_pointer(view, view.pointer + view.outer)


@triton.jit
def planes_back(view, PLANES: tl.constexpr):
    """Move the view back by whole planes."""
    return at_pointer(view, view.pointer - PLANES * view.outer.to(tl.int64))


@triton.jit
def next_row(view):
    """Move the view one row on."""
    return at_pointer(view, view.pointer + view.middle)


@triton.jit
def rows_back(view, ROWS: tl.constexpr):
    """Move the view back by rows."""
    return at_pointer(view, view.pointer - ROWS * view.middle)


@triton.jit
def pixels(view, CHANNEL: tl.constexpr, ACROSS: tl.constexpr):
    """Return [LANES] pointers to the lanes' pixels, so many channels and columns further."""
    return view.pointer + CHANNEL * view.channel + ACROSS * view.inner + view.lanes
