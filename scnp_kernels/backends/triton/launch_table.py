"""How a kernel is launched: a small table by dimension, dtype and window. Nothing is autotuned.

A marching program has one lane, that is one thread, per column of its block; in 3D each lane works
on a strip of rows. ``make gpu-check`` holds these choices to budgets: registers and occupancy from
the compiled code, loads and sectors from counting.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .images import Axes

# Windows with a longer side do not march, since what is unrolled grows with the window.
LONGEST_MARCHING_SIDE = {2: 7, 3: 5}
# The kernels for any window: pixels of a program and, at most, registers of a thread. Without a
# limit the CUDA compiler spills rather than take more than 32.
ANY_WINDOW_LANES = 128
ANY_WINDOW_REGISTERS = 64
# The kernels of Dice + cross entropy that take blocks of pixels. A program that sums over its
# pixels is one warp, which needs neither shared memory nor barriers.
PIXELS_OF_A_THREAD = 4
SUMMING_WARPS, OTHER_WARPS = 1, 4
# Registers of a thread that dice_ce_forward_march may use for running state, in 2D (True) and 3D
# (False). A step in 3D loads more, so that less remains.
_MOST_KEPT_REGISTERS = {True: 80, False: 45}

# A march reads window - 1 planes more than it writes: long marches read less, short ones make more
# programs. This many programs fill the largest chips several times over.
_ENOUGH_PROGRAMS = 1024
_LONGEST_MARCH = 16
_SHORTEST_MARCH = 4


class March(NamedTuple):
    """The launch of a marching kernel."""

    channels: int  # channels of a program; they share what is read of a label map
    strip: int  # rows of a lane
    block_rows: int  # strips above each other
    columns: int
    planes: int  # planes of the outer axis that a program writes
    programs: int
    registers: int | None  # the most that a thread may use; None leaves it to the compiler

    def warps(self, lanes_of_a_warp: int) -> int:
        """Return the number of warps that makes one thread per lane."""
        return self.block_rows * self.columns // lanes_of_a_warp


def can_march(window: Axes) -> bool:
    """Return whether the window is small enough for the marching kernels."""
    return max(window) <= LONGEST_MARCHING_SIDE[2 if window.middle == 1 else 3]


def forward_march(
    batch: int,
    channels: int,
    sizes: Axes,
    window: Axes,
    shares_labels: bool,
    itemsize: int,
    rocm: bool = False,
    gated: bool = False,
) -> March:
    """Choose the launch of Eq. 1; ``shares_labels``: a label map serves several channels.

    ROCm's wavefronts keep masks and pointers in scalar registers, of which long strips need more
    than there are; a gate is one pointer more.
    """
    if window.middle == 1 and sizes.middle == 1:
        # Rows of 128 columns; two channels share each label. With half types and windows of five
        # triton 3.8 would have to spill then: every channel reads the labels for itself.
        spills = window.outer == 5 and itemsize == 2
        together = 2 if shares_labels and channels > 1 and itemsize < 8 and not spills else 1
        registers = 64 if window.outer == 5 and itemsize == 4 else None
        return _march(batch, channels, sizes, together, 1, 1, 128, registers)
    if itemsize == 8:
        return _march(batch, channels, sizes, 1, 1, 4, 64, None)
    if max(window) <= 3:
        strip = 3 - rocm - (rocm and gated)
        # With half types triton 3.8 has to spill at 64 registers.
        return _march(batch, channels, sizes, 1, strip, 2, 64, 64 if itemsize == 4 else None)
    return _march(batch, channels, sizes, 1, 2 - rocm, 4, 64, 128)


def scatter_march(batch: int, channels: int, sizes: Axes, window: Axes, itemsize: int) -> March:
    """Choose the launch of Eq. 2."""
    if window.middle == 1 and sizes.middle == 1:
        return _march(batch, channels, sizes, 1, 1, 1, 128, None)
    if itemsize == 8:
        return _march(batch, channels, sizes, 1, 2, 4, 64, None)
    strip, registers = (4, 64) if max(window) <= 3 else (1, None)
    return _march(batch, channels, sizes, 1, strip, 4, 64, registers)


def _march(
    batch: int,
    channels: int,
    sizes: Axes,
    together: int,
    strip: int,
    block_rows: int,
    columns: int,
    registers: int | None,
) -> March:
    blocks = (
        batch
        * math.ceil(channels / together)
        * math.ceil(sizes.middle / (strip * block_rows))
        * math.ceil(sizes.inner / columns)
    )
    planes = _LONGEST_MARCH
    while planes > _SHORTEST_MARCH and blocks * math.ceil(sizes.outer / planes) < _ENOUGH_PROGRAMS:
        planes //= 2
    programs = blocks * math.ceil(sizes.outer / planes)
    return March(together, strip, block_rows, columns, planes, programs, registers)


def dice_ce_forward_march(
    batch: int,
    channels: int,
    sizes: Axes,
    window: Axes,
    itemsize: int,
    terms: int,
    focal: bool = False,
) -> March | None:
    """Choose the launch of Dice + cross entropy's forward pass, for one term or both.

    A program has all channels of a pixel. None where their rings of planes and their statistics
    would not stay in registers. ``focal``: with an exponent, whose powers need registers as well,
    so that a limit would make the compiler spill.
    """
    flat = window.middle == 1 and sizes.middle == 1
    if not flat and max(window) > 3:
        return None
    ring = 5 * (window.outer // 2)
    if itemsize == 8 or channels * (ring + 3 * terms + 4) > _MOST_KEPT_REGISTERS[flat]:
        return None
    if flat:
        return _march(batch, channels, sizes, channels, 1, 1, 128, None)
    return _march(batch, channels, sizes, channels, 1, 4, 64, None if focal else 128)


def dice_ce_backward_march(
    batch: int,
    channels: int,
    sizes: Axes,
    window: Axes,
    itemsize: int,
    terms: int,
    focal: bool = False,
) -> March:
    """Choose the launch of Dice + cross entropy's backward pass; ``focal`` as for the forward."""
    if window.middle == 1 and sizes.middle == 1:
        # Two channels share what is read once per pixel: its label, and what its classes have in
        # common.
        small = window.outer <= 3 and itemsize < 8
        together = 2 if small and terms == 1 and channels > 1 else 1
        registers = 64 if small and not focal else None
        return _march(batch, channels, sizes, together, 1, 1, 128, registers)
    if itemsize == 8 or max(window) > 3:
        return _march(batch, channels, sizes, 1, 1, 4, 64, None)
    return _march(batch, channels, sizes, 1, 1, 4, 64, None if focal else 80)
