r"""The first best of a window, plane by plane: what the two marches of Eq. 1 share.

Of every plane a program reads each row once per tap of the row, and keeps the first best of each
class, rows first, then planes (window 3, one lane):

      plane p      z z z   row y-1  -->  best of row  \
                   z z z   row y    -->  best of row   >  best of plane p    fg  bg  word
                   z z z   row y+1  -->  best of row  /                       |
                                                                              v
      ring of planes, in registers                       p-2      p-1         p
                                                       fg bg w  fg bg w    fg bg w
                                                            \      |       /
      window of pixel (p-1, y), whose class is in          best of its class  -->  key, word
      the word of plane p-1

    fg, bg    key of the best candidate of either class (keys.py)
    word      which tap that was, for either class, and what the pixel in the middle is

The next rows of a strip share what was read: STRIP + 2 rows serve STRIP results. Only a strictly
better candidate replaces another, and candidates come in raster order, so that the first of equal
ones stays.

In 2D a plane is one row, and the ring holds rows.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .keys import first_best, no_candidate, ordered_key
from .targets import is_foreground, load_target
from .views import next_row, pixels, rows_back

# A word: the winner of either class within what was read, then two flags of the middle pixel.
TAP_BITS = tl.constexpr(14)
FOREGROUND_TAP = tl.constexpr((1 << 14) - 1)
BACKGROUND_TAP = tl.constexpr(((1 << 14) - 1) << 14)
ONE_TAP_EACH = tl.constexpr(1 + (1 << 14))
FOREGROUND_FLAG = tl.constexpr(1 << 28)
VALID_FLAG = tl.constexpr(1 << 29)
FLAGS = tl.constexpr(3 << 28)


@triton.jit
def load_labels(
    target,  # view of the row that is read, as is the mask's
    mask,
    CHANNEL: tl.constexpr,
    row_inside,
    column_inside,
    ignore_index,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Return the target's values and which of them are usable, each a tuple over the row's taps."""
    values = ()
    usable = ()
    for tap in tl.static_range(WINDOW_INNER):
        value, is_usable = load_target(
            pixels(target, CHANNEL, tap - WINDOW_INNER // 2),
            pixels(mask, 0, tap - WINDOW_INNER // 2),
            row_inside & column_inside[tap],
            ignore_index,
            HAS_IGNORE_INDEX,
            HAS_MASK,
        )
        values = values + (value,)
        usable = usable + (is_usable,)
    return values, usable


@triton.jit
def best_of_row(
    logits,  # view of the row that is read
    CHANNEL: tl.constexpr,
    row_inside,
    column_inside,
    values,  # from load_labels
    usable,
    label,
    TARGET_IS_MASKS: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Return the first best of each class under a row of the window: (key, key, word)."""
    no_key = no_candidate(row_inside.shape[0], logits.pointer.dtype.element_ty)
    no_tap = tl.zeros([row_inside.shape[0]], tl.int32)
    foreground_key = no_key
    background_key = no_key
    foreground_tap = no_tap
    background_tap = no_tap
    flags = no_tap
    for tap in tl.static_range(WINDOW_INNER):
        logit = tl.load(
            pixels(logits, CHANNEL, tap - WINDOW_INNER // 2),
            mask=row_inside & column_inside[tap],
            other=0,
        )
        foreground = is_foreground(values[tap], label, TARGET_IS_MASKS)
        key = ordered_key(logit, foreground)
        foreground_key, foreground_tap = first_best(
            foreground_key, foreground_tap, tl.where(usable[tap] & foreground, key, no_key), tap
        )
        background_key, background_tap = first_best(
            background_key,
            background_tap,
            tl.where(usable[tap] & (foreground == 0), key, no_key),
            tap,
        )
        if tap == WINDOW_INNER // 2:
            flags = tl.where(foreground, FOREGROUND_FLAG, 0) | tl.where(usable[tap], VALID_FLAG, 0)
    word = foreground_tap | (background_tap << TAP_BITS) | flags
    return foreground_key, background_key, word


@triton.jit
def add_row(
    bests,
    row,  # from best_of_row
    AT: tl.constexpr,
    SOURCE: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
):
    """Add a row to the result whose entry is at ``AT``: row ``SOURCE`` of its window, if any."""
    if SOURCE == 0:
        bests = bests + row  # the window's first row makes the entry, in the order of results
    if (SOURCE > 0) and (SOURCE < WINDOW_MIDDLE):
        word = bests[AT + 2]
        row_word = row[2] + SOURCE * WINDOW_INNER * ONE_TAP_EACH
        if SOURCE == WINDOW_MIDDLE // 2:
            word = (word & ~FLAGS) | (row_word & FLAGS)
        foreground_key, word = first_best(
            bests[AT], word, row[0], (word & ~FOREGROUND_TAP) | (row_word & FOREGROUND_TAP)
        )
        background_key, word = first_best(
            bests[AT + 1], word, row[1], (word & ~BACKGROUND_TAP) | (row_word & BACKGROUND_TAP)
        )
        bests = bests[:AT] + (foreground_key, background_key, word) + bests[AT + 3 :]
    return bests


@triton.jit
def add_plane(
    best,  # (key, word) of one pixel's own class; its word holds one tap, and the flags
    plane,  # (key, key, word) of the same pixel's window in one more plane
    TAPS: tl.constexpr,
):
    """Return the better of the two, for a plane whose taps begin at ``TAPS``."""
    word = best[1]
    foreground = (word & FOREGROUND_FLAG) != 0
    tap = (plane[2] >> tl.where(foreground, 0, TAP_BITS)) & FOREGROUND_TAP
    return first_best(
        best[0], word, tl.where(foreground, plane[0], plane[1]), (word & FLAGS) | (tap + TAPS)
    )


@triton.jit
def open_window(
    ring,
    bests,
    no_key,
    AT: tl.constexpr,
    PLANE: tl.constexpr,
    HALF: tl.constexpr,
    TAPS: tl.constexpr,
):
    """Open the window whose middle is the plane just read: only now is its pixel's class known."""
    best = (no_key, bests[AT + 2] & FLAGS)
    for plane in tl.static_range(HALF):
        best = add_plane(best, ring[plane * PLANE + AT :], plane * TAPS)
    return add_plane(best, bests[AT:], HALF * TAPS)


@triton.jit
def bests_of_plane(
    logits,  # views of the plane that is read
    target,
    mask,
    row,
    rows_of_plane,  # 0 beyond the image's end, where there is nothing to read
    column_inside,
    channel,
    channels,
    label,  # the first channel's
    ignore_index,
    TARGET_IS_MASKS: tl.constexpr,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
    WINDOW_MIDDLE: tl.constexpr,
    WINDOW_INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    STRIP: tl.constexpr,
):
    """Return (key, key, word) of the plane for each (row of the strip, channel), as one tuple."""
    HALF_MIDDLE: tl.constexpr = WINDOW_MIDDLE // 2
    logits = rows_back(logits, HALF_MIDDLE)
    target = rows_back(target, HALF_MIDDLE)
    mask = rows_back(mask, HALF_MIDDLE)
    bests = ()
    for source in tl.static_range(STRIP + 2 * HALF_MIDDLE):
        # `row + (source - HALF_MIDDLE)` is the row that is read.
        row_inside = row + (source - HALF_MIDDLE) >= 0
        for c in tl.static_range(CHANNELS):
            if (c == 0) or TARGET_IS_MASKS:
                values, usable = load_labels(
                    target,
                    mask,
                    c,
                    row_inside & (row + (source - HALF_MIDDLE) < rows_of_plane),
                    column_inside,
                    ignore_index,
                    HAS_IGNORE_INDEX,
                    HAS_MASK,
                    WINDOW_INNER,
                )
            # The last group of channels may be incomplete: nothing is read beyond its end.
            rows = tl.where(channel + c < channels, rows_of_plane, 0)
            best = best_of_row(
                logits,
                c,
                row_inside & (row + (source - HALF_MIDDLE) < rows),
                column_inside,
                values,
                usable,
                label + c,
                TARGET_IS_MASKS,
                WINDOW_INNER,
            )
            for result in tl.static_range(STRIP):
                bests = add_row(
                    bests,
                    best,
                    (result * CHANNELS + c) * 3,
                    source - result,
                    WINDOW_MIDDLE,
                    WINDOW_INNER,
                )
        logits = next_row(logits)
        target = next_row(target)
        mask = next_row(mask)
    return bests


@triton.jit
def empty_windows(
    LANES: tl.constexpr, DTYPE: tl.constexpr, RESULTS: tl.constexpr, HALF_OUTER: tl.constexpr
):
    """Return the ring and the open windows before a march has read anything."""
    no_key = no_candidate(LANES, DTYPE)
    no_word = tl.zeros([LANES], tl.int32)
    ring = (no_key, no_key, no_word) * (RESULTS * HALF_OUTER)
    open_windows = (no_key, no_word) * (RESULTS * HALF_OUTER)
    return ring, open_windows


@triton.jit
def windows_with_plane(
    ring,
    open_windows,
    bests,  # from bests_of_plane
    LANES: tl.constexpr,
    DTYPE: tl.constexpr,
    RESULTS: tl.constexpr,
    HALF_OUTER: tl.constexpr,
    PLANE_TAPS: tl.constexpr,
):
    """Return the windows that are complete with this plane, the new ring, and the open windows.

    A window is (key, word), one for each (row of the strip, channel).
    """
    no_key = no_candidate(LANES, DTYPE)
    windows = ()
    for window in tl.static_range(HALF_OUTER):
        for result in tl.static_range(RESULTS):
            windows = windows + add_plane(
                open_windows[2 * (window * RESULTS + result) :],
                bests[3 * result :],
                (2 * HALF_OUTER - window) * PLANE_TAPS,
            )
    for result in tl.static_range(RESULTS):
        windows = windows + open_window(
            ring, bests, no_key, 3 * result, 3 * RESULTS, HALF_OUTER, PLANE_TAPS
        )
    return windows[: 2 * RESULTS], (ring + bests)[3 * RESULTS :], windows[2 * RESULTS :]
