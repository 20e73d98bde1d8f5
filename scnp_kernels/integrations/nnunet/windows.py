"""Which window each output of nnU-Net's network gets, from the options and the plan's spacing.

nnU-Net pools thick slices in the plane first, so that voxels become nearly cubic at coarse scales:

    spacing 5 x 1 x 1 mm      5 x 1 x 1    window 1 x 3 x 3     scale 0
    pooled by 1 x 2 x 2       5 x 2 x 2    window 3 x 3 x 3     scale 1
"""

from __future__ import annotations

from collections.abc import Sequence

from ...rules.arguments import KernelSize, check_kernel_size

# nnU-Net calls a spacing anisotropic when its coarsest axis is more than three times the next.
# Here every axis is compared with the finest: across a wider gap, neighbours are other anatomy.
ANISOTROPY_THRESHOLD = 3.0

Window = tuple[int, ...]


def window_for_spacing(side: int, spacing: Sequence[float]) -> Window:
    """``side`` along fine axes; 1 along those more than three times coarser than the finest.

    Example:
        >>> window_for_spacing(3, (5.0, 1.0, 1.0))
        (1, 3, 3)
        >>> window_for_spacing(3, (3.0, 1.0, 1.0))
        (3, 3, 3)
    """
    finest = min(spacing)
    return tuple(1 if length > ANISOTROPY_THRESHOLD * finest else side for length in spacing)


def windows_per_scale(
    kernel_size: KernelSize,
    per_scale: Sequence[KernelSize] | None,
    spacing: Sequence[float],
    scales: Sequence[Sequence[float]] | None,
    *,
    follow_spacing: bool = True,
) -> tuple[Window, ...]:
    """One window for every output of the network, the finest first.

    Args:
        kernel_size: One side for all axes; or one side per axis, taken as it is.
        per_scale: The same, one for each output; replaces ``kernel_size``.
        spacing: The plan's spacing, one length per spatial axis.
        scales: Size of every output relative to the patch, one factor per spatial axis (nnU-Net's
            deep supervision scales); None without deep supervision.
        follow_spacing: Whether one side for all axes is adapted to the spacing of every scale.

    Raises:
        TypeError: A window is neither an integer nor a sequence of integers.
        ValueError: A window is even or not positive, or the numbers of windows, axes and scales do
            not fit.

    Example:
        >>> windows_per_scale(3, None, (5.0, 1.0, 1.0), [(1, 1, 1), (1, 0.5, 0.5)])
        ((1, 3, 3), (3, 3, 3))
    """
    one_scale: list[Sequence[float]] = [(1.0,) * len(spacing)]
    factors = one_scale if scales is None else list(scales)
    sizes = [kernel_size] * len(factors) if per_scale is None else list(per_scale)
    if len(sizes) != len(factors):
        raise ValueError(
            f"SCNP_KERNEL_SIZE_PER_SCALE: got {len(sizes)} windows {per_scale!r}, takes one for "
            f"each of the network's {len(factors)} outputs"
        )
    windows = []
    for size, factor in zip(sizes, factors, strict=True):
        if isinstance(size, int) and follow_spacing:
            (side,) = check_kernel_size(size)
            spacing_here = [length / f for length, f in zip(spacing, factor, strict=True)]
            windows.append(window_for_spacing(side, spacing_here))
        else:
            windows.append(check_kernel_size(size, len(spacing)))
    return tuple(windows)
