"""Promise: rows of any length, with anything at their ends, give what the reference gives.

The CPU kernels work on blocks of 64 pixels, in registers of 8 to 32, which are handed on from one
to the next; rows of up to 1024 pixels make a tile. So the lengths are those at which one of these
is just full, and special values are strewn over all of it.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from scnp_kernels import ops
from tests.calls import assert_same
from tests.cases import DTYPES

WIDTHS = [2, 3, *(n + d for n in (8, 16, 32, 48, 64, 80, 128, 192) for d in (-1, 0, 1, 2)), 513]
LONG_WIDTHS = [1023, 1024, 1025, 1026, 2047, 2050]
SPECIAL = (float("nan"), -0.0, 0.0, float("-inf"), float("inf"))

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _logits(shape: tuple[int, ...], dtype: torch.dtype, special: float) -> Tensor:
    """Few values, so that many are tied; `special` is the share of NaN, zeros and infinities."""
    generator = torch.Generator().manual_seed(shape[-1])
    logits = (2 * torch.randn(shape, generator=generator)).round().div(4)
    values = torch.tensor(SPECIAL)[torch.randint(0, len(SPECIAL), shape, generator=generator)]
    return torch.where(torch.rand(shape, generator=generator) < special, values, logits).to(dtype)


def _check(logits: Tensor, window: list[int]) -> None:
    generator = torch.Generator().manual_seed(1)
    channels, spatial = logits.shape[1], logits.shape[2:]
    classes = max(2, channels)
    target = torch.randint(0, classes + 1, (logits.shape[0], *spatial), generator=generator)
    first_class = 1 if channels == 1 else 0
    incoming = torch.randn(logits.shape, generator=generator).to(logits)
    incoming = torch.empty_like(logits).copy_(incoming)
    results = []
    for backend in ("reference", "cpu"):
        arguments = (
            target,
            None,
            None,
            window,
            False,
            first_class,
            classes,
            classes,
            True,
            backend,
        )
        penalized, winners = ops.forward(logits, *arguments)
        gradient = ops.scatter(incoming, winners, window, backend)
        again = ops.gather(incoming, winners, window, backend)
        results.append((penalized, winners, gradient, again))
    for wanted, actual in zip(*results, strict=True):
        assert_same(actual, wanted)


@by_dtype
@pytest.mark.parametrize("special", [0.0, 0.02, 0.5], ids=["plain", "some", "many"])
def test_2d(dtype: torch.dtype, special: float) -> None:
    for width in WIDTHS:
        for height in (1, 2, 5):
            _check(_logits((1, 2, height, width), dtype, special), [3, 3])


@by_dtype
@pytest.mark.parametrize("special", [0.0, 0.02, 0.5], ids=["plain", "some", "many"])
def test_3d(dtype: torch.dtype, special: float) -> None:
    for width in WIDTHS:
        _check(_logits((1, 2, 3, 4, width), dtype, special), [3, 3, 3])


LARGE_WINDOWS = [
    *([n, n] for n in (5, 7, 9, 11, 13, 15)),
    [5, 15],
    [15, 5],
    [7, 3],
    [3, 7],
    [17, 5],  # more rows than the windows that registers serve
    [5, 17],
    [17, 15],  # 255 taps
    [31, 7],  # as many rows as winners are looked up in
    [85, 3],
    [1, 255],
    [255, 1],
]


@by_dtype
@pytest.mark.parametrize("window", LARGE_WINDOWS, ids=str)
def test_large_windows(dtype: torch.dtype, window: list[int]) -> None:
    """From images that no window fits into to such as have windows that no border clips."""
    for height in (1, 2, 3, window[0] // 2 + 1, window[0] + 2):
        for width in (1, 2, 3, window[1] // 2, window[1] // 2 + 1, 49, 64, 65, 127, 130):
            if width > 0:
                special = 0.05 * (width % 3)
                _check(_logits((1, 2, height, width), dtype, special), window)


@by_dtype
@pytest.mark.parametrize(
    "window", [[3, 3, 11], [5, 5, 5], [5, 5, 9], [11, 3, 3], [1, 7, 7]], ids=str
)
def test_large_windows_in_3d(dtype: torch.dtype, window: list[int]) -> None:
    for width in (2, 6, 17, 64, 70):
        _check(_logits((1, 2, 5, 6, width), dtype, 0.05), window)


@by_dtype
@pytest.mark.parametrize("window", [[5, 5], [7, 13], [15, 15]], ids=str)
def test_large_windows_in_more_than_one_tile(dtype: torch.dtype, window: list[int]) -> None:
    """Tiles that begin in the middle of an image, along both axes."""
    _check(_logits((2, 2, 150, 70), dtype, 0.02), window)
    _check(_logits((1, 2, 20, 1090), dtype, 0.02), window)


@by_dtype
def test_special_values_at_the_end_of_a_row(dtype: torch.dtype) -> None:
    """They are looked for once for both classes, and row by row."""
    for width in (40, 64, 100, 192):
        logits = _logits((1, 2, 40, width), dtype, 0.0)
        logits[..., ::7, -1] = float("nan")
        logits[..., 3::7, 0] = -0.0
        _check(logits, [7, 7])


@by_dtype
@pytest.mark.parametrize("width", LONG_WIDTHS)
def test_more_than_one_tile(dtype: torch.dtype, width: int) -> None:
    _check(_logits((1, 1, 9, width), dtype, 0.02), [3, 3])
    _check(_logits((1, 2, 3, 17, width), dtype, 0.02), [3, 3, 3])


@by_dtype
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7, 8, 9, 12])
def test_channels_last(dtype: torch.dtype, channels: int) -> None:
    """Up to eight channels are taken together; rows of two, three, four and eight interleaved."""
    for width in (2, 15, 33, 64, 130):
        logits = _logits((2, channels, 6, width), dtype, 0.02)
        _check(logits.contiguous(memory_format=torch.channels_last), [3, 3])
        _check(logits.contiguous(memory_format=torch.channels_last), [5, 7])
        logits = _logits((1, channels, 3, 4, width), dtype, 0.02)
        _check(logits.contiguous(memory_format=torch.channels_last_3d), [3, 3, 3])


@by_dtype
@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((1, 2, 2, 70), [3, 3]),
        ((1, 2, 2, 70), [7, 3]),  # reaches one row only, but its taps count seven
        ((1, 2, 5, 2), [3, 9]),
        ((1, 2, 2, 2), [9, 9]),
        ((1, 2, 6, 1, 70), [3, 3, 3]),  # a plane of one row, whose windows are three high
        ((1, 2, 6, 1, 70), [3, 1, 3]),
        ((1, 2, 6, 5, 70), [3, 1, 3]),
        ((1, 2, 1, 5, 70), [3, 3, 3]),
        ((1, 2, 2, 2, 70), [5, 3, 9]),
        ((1, 2, 6, 5, 70), [3, 3, 1]),
        ((1, 2, 9, 1, 70), [5, 3, 5]),
        ((1, 2, 3, 1, 3), [5, 3, 5]),
        ((1, 2, 20, 1, 70), [5, 5, 9]),
        ((1, 2, 20, 1, 70), [7, 1, 7]),
        ((1, 2, 9, 3, 70), [5, 1, 5]),
        ((1, 2, 1, 9, 70), [3, 5, 5]),
    ],
    ids=str,
)
def test_windows_under_other_names(
    dtype: torch.dtype, shape: tuple[int, ...], window: list[int]
) -> None:
    """What matters is what a window reaches; what its taps are called depends on its size."""
    _check(_logits(shape, dtype, 0.02), window)
