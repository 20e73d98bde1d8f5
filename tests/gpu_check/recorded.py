"""What the package would launch for given tensors: kernel, grid, arguments; nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scnp_kernels.backends.triton import dice_ce, launching, operators
from scnp_kernels.rules.window import winner_dtype

KERNELS = {
    operators: (
        "march_forward",
        "march_scatter",
        "plain_forward",
        "plain_scatter",
        "gather_winners",
    ),
    dice_ce: (
        "march_sums",
        "pixel_sums",
        "pixel_common",
        "pixel_gradient",
        "march_gradient",
        "plain_gradient",
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
    """Launches within are listed, not run."""
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
) -> Launch:
    """The launch of "forward", "scatter" or "gather" for contiguous tensors and int64 labels."""
    launching.ON_ROCM = rocm
    window = (kernel_size,) * (len(shape) - 2)
    logits = torch.empty(shape, dtype=dtype, device="meta")
    winners = torch.empty(shape, dtype=winner_dtype(window), device="meta")
    with recorded() as launches:
        if operation == "forward":
            labels: Tensor = torch.empty((shape[0], *shape[2:]), dtype=torch.int64, device="meta")
            operators.forward(logits, labels, None, window, False, 0, shape[1], None, False)
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
    rocm: bool = False,
) -> Launch:
    """The launch of one of the kernels of Dice + cross entropy, likewise."""
    launching.ON_ROCM = rocm
    window = (kernel_size,) * (len(shape) - 2)
    logits = torch.empty(shape, dtype=dtype, device="meta")
    labels = torch.empty((shape[0], *shape[2:]), dtype=torch.int64, device="meta")
    arguments = (labels, None, window, False, 0, shape[1], None, False)
    terms = (softmax, of_penalized, of_plain)
    with recorded() as launches:
        sums, winners = dice_ce.dice_ce_forward(logits, *arguments, *terms)
        dice_ce.dice_ce_backward(sums, winners, logits, *arguments, *terms)
    (launch,) = (found for found in launches if found.kernel.__name__ == kernel)
    return launch
