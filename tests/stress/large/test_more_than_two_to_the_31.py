"""Promise: more than 2**31 elements work; nothing is counted in 32 bits.

Float16 logits, uint8 labels, 1 byte of winners: 4.0 + 4.0 + 2.0 GiB and the labels at the peak of
the forward pass, as much again in the backward pass once the logits are let go.
"""

from __future__ import annotations

import resource
from itertools import product

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp
from tests.calls import assert_same
from tests.generators import seeded
from tests.oracle import brute_force, brute_force_gradient, read_target

LIMIT = 2**31
MOST_MEMORY = 14 * 2**30
RANDOM_CROPS = 60
# Repeated along the memory: no period divides a power of two, so an offset that wraps is seen.
PERIOD_OF_LOGITS, PERIOD_OF_LABELS = 1_000_003, 999_983


def _repeated(shape: tuple[int, ...], block: Tensor) -> Tensor:
    """A large tensor made of one block after the other."""
    result = torch.empty(shape, dtype=block.dtype)
    flat = result.view(-1)
    for begin in range(0, flat.numel(), block.numel()):
        part = flat[begin : begin + block.numel()]
        part.copy_(block[: part.numel()])
    return result


def _place_of(position: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of the element at this position in memory."""
    index = []
    for size in reversed(shape):
        position, at = divmod(position, size)
        index.append(at)
    return tuple(reversed(index))


Box = tuple[slice, ...]


def _around(index: tuple[int, ...], shape: tuple[int, ...], reach: int) -> Box:
    """Pixels at most ``reach`` away from an element of ``[B, C, *spatial]``, in its channel."""
    pixels = zip(index[2:], shape[2:], strict=True)
    spatial = (slice(max(0, at - reach), min(size, at + reach + 1)) for at, size in pixels)
    return slice(index[0], index[0] + 1), slice(index[1], index[1] + 1), *spatial


def _within(inner: Box, outer: Box) -> Box:
    """An inner box in the coordinates of the outer one."""
    return tuple(
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1297, 1291, 1283), (3, 5, 12_007, 12_011), (2, 1, LIMIT // 2 + 12_345)],
    ids=["one_volume", "many_planes", "long_lines"],
)
def test_more_than_two_to_the_31_elements(shape: tuple[int, ...]) -> None:
    elements = torch.Size(shape).numel()
    assert elements > LIMIT
    channels = shape[1]
    labels = max(channels, 2)
    torch.set_num_threads(2)
    # Fresh memory is filled twice where determinism is asked for; here it is the kernels' turn.
    torch.use_deterministic_algorithms(False)
    logits = _repeated(shape, torch.randn(PERIOD_OF_LOGITS, generator=seeded(0)).half())
    block = torch.randint(0, labels, (PERIOD_OF_LABELS,), generator=seeded(1), dtype=torch.uint8)
    target = _repeated((shape[0], *shape[2:]), block)
    logits.requires_grad_()

    positions = [0, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT // 2, elements - 1, 2 * LIMIT - elements]
    positions += torch.randint(0, elements, (RANDOM_CROPS // 2,), generator=seeded(2)).tolist()
    beyond = torch.randint(LIMIT, elements, (RANDOM_CROPS // 2,), generator=seeded(3))
    positions += beyond.tolist()
    places = [_place_of(position, shape) for position in positions]
    # Whoever sends a gradient to a pixel is 1 away, and whom it looks at 2.
    boxes = [(_around(place, shape, 3), _around(place, shape, 5)) for place in places]
    with torch.no_grad():
        crops = [
            (logits[outer].clone(), target[(outer[0], *outer[2:])].clone()) for _, outer in boxes
        ]

    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        penalized = scnp(logits, target, kernel_size=3)
    (winners,) = saved
    del target
    # Only the winners are kept: the backward pass has no use for the logits.
    logits.untyped_storage().resize_(0)
    incoming = penalized.detach()
    (gradient,) = torch.autograd.grad(penalized, logits, incoming)

    for (inner, outer), (z, y) in zip(boxes, crops, strict=True):
        # The crop is one channel of many: as a mask, the label's question is asked here.
        label = 1 if channels == 1 else outer[1].start
        foreground, valid = read_target(z.shape, (y == label).unsqueeze(1))
        expected = brute_force(z, foreground, valid, 3)
        own = _within(inner, outer)
        assert_same(penalized.detach()[inner], expected.penalized[own])
        assert_same(winners[inner].long(), expected.winners[own])
        expected_gradient = brute_force_gradient(expected.penalized, expected.winners, 3)
        assert_same(gradient[inner], expected_gradient[own])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\n{elements:,} elements, {len(boxes)} crops, peak memory {peak / 2**30:.1f} GiB")
    assert peak < MOST_MEMORY


def test_boxes_are_what_they_say() -> None:
    """The positions of the crops, on a shape that can be counted by hand."""
    shape = (2, 3, 4, 5)
    for position, index in enumerate(product(*map(range, shape))):
        assert _place_of(position, shape) == index
    assert _around((1, 2, 0, 4), shape, 1) == (
        slice(1, 2),
        slice(2, 3),
        slice(0, 2),
        slice(3, 5),
    )
