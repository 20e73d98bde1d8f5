"""What all launches need: the device, compiler options, geometry, and how targets are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...rules.target import Reading, can_hold
from ...rules.window import number_of_taps
from . import launch_table
from .images import Strides, strides_of_image, strides_of_map, three_axes

ON_ROCM = torch.version.hip is not None
NO_STRIDES = Strides(0, 0, 0, 0, 0)


class TargetView(NamedTuple):
    """Target and mask, as kernels take them."""

    pointers: tuple[Tensor, Tensor]
    target_strides: Strides
    mask_strides: Strides
    labels: tuple[int, int]  # first_class, ignore_index
    options: dict[str, bool]

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides in the order of the kernels' parameters; the mask has no channels."""
        return (*self.target_strides, self.mask_strides.batch, *self.mask_strides[2:])


def view_target(
    target: Tensor,
    mask: Tensor | None,
    reading: Reading,
    unread: Tensor,
) -> TargetView:
    """Return what kernels need of a target.

    ``unread`` stands for a mask that is not there: any tensor on the same device.
    """
    ignored = reading.ignore_index
    if ignored is not None and not can_hold(target.dtype, ignored):
        ignored = None  # it matches nothing
    return TargetView(
        pointers=(
            as_bytes(target) if target.dtype == torch.bool else target,
            unread if mask is None else as_bytes(mask),
        ),
        target_strides=strides_of_image(target)
        if reading.target_is_masks
        else strides_of_map(target),
        mask_strides=NO_STRIDES if mask is None else strides_of_map(mask),
        labels=(reading.first_class, ignored or 0),
        options={
            "TARGET_IS_MASKS": reading.target_is_masks,
            "HAS_IGNORE_INDEX": ignored is not None,
            "HAS_MASK": mask is not None,
        },
    )


class GateView(NamedTuple):
    """A gate, as the kernels that penalize take it, behind the target and the mask."""

    pointer: Tensor
    image_strides: Strides
    options: dict[str, bool]

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides in the order of the kernels' parameters; it has no channels."""
        return (self.image_strides.batch, *self.image_strides[2:])


def view_gate(gate: Tensor | None, unread: Tensor) -> GateView:
    """Return what kernels need of a gate; ``unread`` stands for one that is not there."""
    return GateView(
        pointer=unread if gate is None else as_bytes(gate),
        image_strides=NO_STRIDES if gate is None else strides_of_map(gate),
        options={"HAS_GATE": gate is not None},
    )


def as_bytes(tensor: Tensor) -> Tensor:
    """View a bool tensor as bytes, since kernels ask only whether they are zero."""
    return tensor.view(torch.uint8)


def on_device_of(tensor: Tensor) -> Any:
    """Make the tensor's device the current one, on which kernels are launched."""
    if tensor.device.type != "cuda" or tensor.device.index == torch.cuda.current_device():
        return nullcontext()
    return torch.cuda.device(tensor.device)


def march_options(
    march: launch_table.March,
    window: Sequence[int],
    wide_offsets: bool,
    multiplies: bool = False,
) -> dict[str, Any]:
    """Return the constants and compiler options of a marching kernel."""
    outer, middle, inner = window
    return {
        "WINDOW_OUTER": outer,
        "WINDOW_MIDDLE": middle,
        "WINDOW_INNER": inner,
        "STRIP": march.strip,
        "BLOCK_ROWS": march.block_rows,
        "COLUMNS": march.columns,
        "WIDE_OFFSETS": wide_offsets,
        "num_warps": march.warps(lanes_of_a_warp()),
        **compiler_options(march.registers, multiplies),
    }


def compiler_options(registers: int | None, multiplies: bool) -> dict[str, Any]:
    """Return the compiler's options; only the CUDA compiler takes a limit of registers.

    ``multiplies`` lets it fuse a multiplication with an addition. SCNP itself compares, moves and
    adds values, and never multiplies: there is nothing to fuse.
    """
    limit = {} if registers is None or ON_ROCM else {"maxnreg": registers}
    return {"enable_fp_fusion": multiplies, **limit}


def lanes_of_a_warp() -> int:
    """Return how many threads run in lockstep."""
    return 64 if ON_ROCM else 32


def any_window_grid(count: int) -> tuple[int]:
    """Return the grid of a kernel for any window that writes ``count`` pixels."""
    return (-(-count // launch_table.ANY_WINDOW_LANES),)


def any_window_options(wide_offsets: bool, multiplies: bool = False) -> dict[str, Any]:
    """Return the constants and compiler options of a kernel for any window."""
    lanes = launch_table.ANY_WINDOW_LANES
    return {
        "LANES": lanes,
        "WIDE_OFFSETS": wide_offsets,
        "num_warps": lanes // lanes_of_a_warp(),
        **compiler_options(launch_table.ANY_WINDOW_REGISTERS, multiplies),
    }


def any_window_geometry(image: Tensor, kernel_size: Sequence[int]) -> tuple[int, ...]:
    """Return count, sizes, how far the window reaches inside the image, and its taps' numbering."""
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
