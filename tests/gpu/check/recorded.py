"""What the package would launch for given tensors: kernel, grid, arguments; nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scnp_kernels.backends.triton import dice_ce, launching, operators
from scnp_kernels.rules.dice_ce import Wanted
from scnp_kernels.rules.target import Reading
from scnp_kernels.rules.window import winner_dtype

KERNELS = {
    operators: (
        "forward_march",
        "scatter_march",
        "forward_any_window",
        "scatter_any_window",
        "gather_kernel",
    ),
    dice_ce: (
        "dice_ce_forward_march",
        "dice_ce_forward_pixels",
        "dice_ce_backward_common",
        "dice_ce_backward_unpenalized",
        "dice_ce_backward_march",
        "dice_ce_backward_any_window",
    ),
}


class Launch(NamedTuple):
    """One launch."""

    kernel: Any  # the jitted function
    programs: int
    arguments: tuple[Any, ...]
    options: dict[str, Any]


class _Recorder:
    def __init__(self, kernel: Any, launches: list[Launch]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            self.launches.append(Launch(self.kernel, grid[0], arguments, options))

        return launch


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """List the launches within instead of running them."""
    launches: list[Launch] = []
    kernels = [
        (module, name, getattr(module, name)) for module in KERNELS for name in KERNELS[module]
    ]
    for module, name, kernel in kernels:
        setattr(module, name, _Recorder(kernel, launches))
    try:
        yield launches
    finally:
        for module, name, kernel in kernels:
            setattr(module, name, kernel)


def launch_of(
    operation: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    kernel_size: int,
    rocm: bool = False,
    gated: bool = False,
) -> Launch:
    """Return the launch of an operation on contiguous tensors, with int64 labels."""
    launching.ON_ROCM = rocm
    window = (kernel_size,) * (len(shape) - 2)
    logits = torch.empty(shape, dtype=dtype, device="meta")
    winners = torch.empty(shape, dtype=winner_dtype(window), device="meta")
    with recorded() as launches:
        if operation == "forward":
            labels: Tensor = torch.empty((shape[0], *shape[2:]), dtype=torch.int64, device="meta")
            gate = torch.empty_like(labels, dtype=torch.bool) if gated else None
            operators.forward(
                logits, labels, None, gate, window, Reading(False, 0, shape[1], None, False)
            )
        else:
            getattr(operators, operation)(logits, winners, window)
    (launch,) = launches
    return launch


def dice_ce_launch_of(
    kernel: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    kernel_size: int,
    *,
    softmax: bool = True,
    of_penalized: bool = True,
    of_plain: bool = False,
    gamma: float = 0.0,
    rocm: bool = False,
) -> Launch:
    """Return the launch of one of Dice + cross entropy's kernels on such tensors."""
    launching.ON_ROCM = rocm
    window = (kernel_size,) * (len(shape) - 2)
    logits = torch.empty(shape, dtype=dtype, device="meta")
    labels = torch.empty((shape[0], *shape[2:]), dtype=torch.int64, device="meta")
    how = (
        window,
        Reading(False, 0, shape[1], None, False),
        Wanted(softmax, of_penalized, of_plain, gamma),
    )
    with recorded() as launches:
        statistics, winners = dice_ce.dice_ce_forward(logits, labels, None, None, *how)
        dice_ce.dice_ce_backward(statistics, winners, logits, labels, None, *how)
    (launch,) = (found for found in launches if found.kernel.__name__ == kernel)
    return launch
