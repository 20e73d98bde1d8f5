"""What cases are made of: logits, targets, masks of valid pixels, and memory layouts.

Makers take the shape of the logits, ``[B, C, *spatial]``, and a seeded generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

Shape = tuple[int, ...]
Logits = Callable[[Shape, Generator], Tensor]  # float64, rounded to the case's dtype afterwards
Target = Callable[[Shape, Generator], Tensor]
Mask = Callable[[Shape, Generator], Tensor]
Layout = Callable[[Tensor], Tensor]


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def uniform_integers(low: int, high: int, shape: Shape, generator: Generator) -> Tensor:
    """int64 in [low, high)."""
    return torch.randint(low, high, shape, generator=generator)


# Logits


def normal(shape: Shape, generator: Generator) -> Tensor:
    return 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def distinct(shape: Shape, generator: Generator) -> Tensor:
    """No two alike, and well apart; exact in every dtype up to 256 values."""
    count = math.prod(shape)
    return (torch.randperm(count, generator=generator).double() - count // 2).view(shape) / 8


def tied(shape: Shape, generator: Generator) -> Tensor:
    """Few values, so that most windows hold several of the best."""
    return uniform_integers(-1, 2, shape, generator).double()


def constant(shape: Shape, generator: Generator) -> Tensor:
    del generator
    return torch.full(shape, -1.5, dtype=torch.float64)


def signed_zeros(shape: Shape, generator: Generator) -> Tensor:
    """-0 and +0: equal, so the first wins whatever its sign."""
    return _choice(shape, generator, (-0.0, 0.0))


def infinities(shape: Shape, generator: Generator) -> Tensor:
    """Mostly infinite: many windows hold nothing finite."""
    return _choice(shape, generator, (-math.inf, -math.inf, math.inf, math.inf, 0.5))


def minus_infinity(shape: Shape, generator: Generator) -> Tensor:
    """A best of -inf is a real winner, not an empty window."""
    return _choice(shape, generator, (-math.inf,))


def plus_infinity(shape: Shape, generator: Generator) -> Tensor:
    return _choice(shape, generator, (math.inf,))


def some_nan(shape: Shape, generator: Generator) -> Tensor:
    """Beside numbers and infinities, several to a window now and then: the first NaN wins."""
    special = _choice(shape, generator, (math.nan, math.nan, math.inf, -math.inf))
    chosen = torch.rand(shape, generator=generator) < 0.2
    return torch.where(chosen, special, normal(shape, generator))


def all_nan(shape: Shape, generator: Generator) -> Tensor:
    return _choice(shape, generator, (math.nan,))


def extreme(shape: Shape, generator: Generator) -> Tensor:
    """The largest and smallest magnitudes of every dtype (infinite and zero in the narrower)."""
    magnitudes = [torch.finfo(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float64)]
    values = [0.0, 12345.0, 2.0**-24, 2.0**-133, 2.0**-149, 5e-324]
    values += [value for info in magnitudes for value in (info.max, info.tiny)]
    return _choice(shape, generator, (*values, *(-value for value in values)))


def _choice(shape: Shape, generator: Generator, values: tuple[float, ...]) -> Tensor:
    index = uniform_integers(0, len(values), shape, generator)
    return torch.tensor(values, dtype=torch.float64)[index]


# Targets


def labels(
    dtype: torch.dtype = torch.int64,
    *,
    channel_axis: bool = False,
    classes: int | None = None,
    ignored: int | None = None,
) -> Target:
    """A random label map ``[B, *spatial]``, or ``[B, 1, *spatial]`` with ``channel_axis``.

    ``classes`` below the number of channels leaves the last ones absent; a fifth of the pixels
    are labelled ``ignored``, where that is given.
    """

    def make(shape: Shape, generator: Generator) -> Tensor:
        batch, channels, *spatial = shape
        count = classes or max(2, channels)
        label_map = uniform_integers(0, count, (batch, *spatial), generator)
        if ignored is not None:
            chosen = torch.rand(label_map.shape, generator=generator) < 0.2
            label_map = torch.where(chosen, ignored, label_map)
        label_map = label_map.to(dtype)
        return label_map.unsqueeze(1) if channel_axis else label_map

    return make


def masks(
    dtype: torch.dtype = torch.bool, *, share: float = 0.5, ignored: int | None = None
) -> Target:
    """One random binary mask per channel: they overlap, and some pixels are in none of them."""

    def make(shape: Shape, generator: Generator) -> Tensor:
        chosen = torch.rand(shape, generator=generator) < share
        values = chosen.to(torch.int64)
        if ignored is not None:
            values = torch.where(torch.rand(shape, generator=generator) < 0.2, ignored, values)
        return values.to(dtype)

    return make


def only_label(label: int) -> Target:
    """The same label everywhere: foreground of one channel, background of the others."""

    def make(shape: Shape, generator: Generator) -> Tensor:
        del generator
        return torch.full((shape[0], *shape[2:]), label)

    return make


def checkerboard(shape: Shape, generator: Generator) -> Tensor:
    """Direct neighbours always differ."""
    del generator
    return _sum_of_indices(shape) % max(2, shape[1])


def thin_lines(shape: Shape, generator: Generator) -> Tensor:
    """Class 1: diagonal lines one pixel wide on a background of class 0."""
    del generator
    return (_sum_of_indices(shape) % 5 == 0).long()


def blobs(shape: Shape, generator: Generator) -> Tensor:
    """Compact regions: every pixel has the label of the nearest of a few seeds."""
    spatial = shape[2:]
    axes = torch.meshgrid(*(torch.arange(size) for size in spatial), indexing="ij")
    points = torch.stack(axes, -1).double()  # [*spatial, d]
    extent = torch.tensor(spatial, dtype=torch.float64)
    maps = []
    for _ in range(shape[0]):
        seeds = torch.rand(7, len(spatial), generator=generator, dtype=torch.float64) * extent
        distances = (points.unsqueeze(-2) - seeds).square().sum(-1)  # [*spatial, 7]
        maps.append(distances.argmin(-1) % max(2, shape[1]))
    return torch.stack(maps)


def _sum_of_indices(shape: Shape) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(size) for size in shape[2:]), indexing="ij")
    return sum(axes, torch.zeros(shape[2:], dtype=torch.int64)).expand(shape[0], *shape[2:])


# Masks of valid pixels


def valid_pixels(share: float = 0.7, *, channel_axis: bool = False) -> Mask:
    """Random; ``share`` of the pixels are valid."""

    def make(shape: Shape, generator: Generator) -> Tensor:
        mask = torch.rand((shape[0], *shape[2:]), generator=generator) < share
        return mask.unsqueeze(1) if channel_axis else mask

    return make


def first_image_invalid(shape: Shape, generator: Generator) -> Tensor:
    mask = valid_pixels()(shape, generator)
    mask[0] = False
    return mask


# Layouts: the same values (but for `repeated`) at other places of the memory


def as_made(tensor: Tensor) -> Tensor:
    return tensor


def channels_last(tensor: Tensor) -> Tensor:
    """Axis 1 varies fastest, in 1D too, where torch has no name for it."""
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)


def reversed_axes(tensor: Tensor) -> Tensor:
    """The first axis varies fastest (a transposed array)."""
    order = list(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def every_second(tensor: Tensor) -> Tensor:
    """A slice with steps of a larger tensor, whose other elements must not be read."""
    larger = torch.empty([2 * size + 1 for size in tensor.shape], dtype=tensor.dtype)
    if tensor.dtype == torch.bool or tensor.dtype.is_floating_point:
        larger.fill_(math.nan)
    else:
        larger.fill_(torch.iinfo(tensor.dtype).max // 2)
    view = larger[tuple(slice(1, None, 2) for _ in tensor.shape)]
    return view.copy_(tensor)


def repeated(axis: int) -> Layout:
    """Stride 0 along one axis: its first entry, again and again."""

    def lay_out(tensor: Tensor) -> Tensor:
        return tensor.narrow(axis, 0, 1).expand(tensor.shape)

    return lay_out


def one_for_all(tensor: Tensor) -> Tensor:
    """A single element, stride 0 everywhere: the gradient that ``.sum().backward()`` sends."""
    return tensor.flatten()[:1].view([1] * tensor.dim()).expand(tensor.shape)
