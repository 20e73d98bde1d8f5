"""Images cut along spatial axes: what shards borrow from each other, and SCNP across the cuts.

    whole axis      a b c d e f g h i j k l
    shards          a b c d|e f g h|i j k l
    the second one
    with its halo       c d e f g h i j         window 5: two slices from either side

    forward         what scnp() is given gets a halo: every pixel of the shard sees its window
    backward        incoming gradients and winners get one: the shard adds up, in raster order, all
                    that its pixels are sent. Adding up the neighbours' partial sums would round
                    differently from the whole image.

A shard thinner than the halo is no exception: slices come from as many shards as it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.autograd import Function

from .. import ops
from ..autograd.dispatch import apply, run
from ..rules.arguments import Arguments
from ..rules.target import Reading


class ShardedAxis(NamedTuple):
    """A spatial axis cut as :func:`torch.chunk` cuts it, one shard per process of a group."""

    axis: int  # counted from the last, -1 to -3, so that it is the same with and without channels
    size: int  # of the whole axis
    halo: int  # window // 2
    group: distributed.ProcessGroup
    ranks: tuple[int, ...]  # in the group: who holds the first shard, the second, ...
    shard: int  # the one that this process holds

    def bounds(self, shard: int) -> tuple[int, int]:
        """Return where a shard begins and ends on the whole axis.

        >>> axis = ShardedAxis(-1, 5, 1, group=None, ranks=(0, 1, 2, 3), shard=0)
        >>> [axis.bounds(shard) for shard in range(4)]
        [(0, 2), (2, 4), (4, 5), (5, 5)]
        """
        step = -(-self.size // len(self.ranks))
        return min(shard * step, self.size), min((shard + 1) * step, self.size)

    def borrowed(self, borrower: int, owner: int) -> tuple[int, int]:
        """Return the slices of one shard that another needs: begin and end on the whole axis.

        >>> axis = ShardedAxis(-1, 5, 3, group=None, ranks=(0, 1, 2, 3), shard=0)
        >>> [axis.borrowed(2, owner) for owner in range(4)]
        [(1, 2), (2, 4), (0, 0), (0, 0)]
        """
        begin, end = self.bounds(borrower)
        owned_begin, owned_end = self.bounds(owner)
        low = max(owned_begin, begin - self.halo)
        high = min(owned_end, end + self.halo)
        return (low, high) if owner != borrower and begin < end and low < high else (0, 0)

    @property
    def inside(self) -> tuple[int, int]:
        """First slice, and number of slices, of this process's shard within its extended shard."""
        begin, end = self.bounds(self.shard)
        return min(begin, self.halo) if begin < end else 0, end - begin


def extend(tensors: Sequence[Tensor], axes: Sequence[ShardedAxis]) -> list[Tensor]:
    """Return the shards with their halos, a copy of each, by one exchange per axis.

    One axis after the other: the second one's slices come with the first one's halo, and so bring
    the corners along.
    """
    extended = list(tensors)
    for axis in axes:
        extended = _extend_along(extended, axis)
    return extended


def _extend_along(tensors: list[Tensor], axis: ShardedAxis) -> list[Tensor]:
    begin, _ = axis.bounds(axis.shard)
    shards = range(len(axis.ranks))
    by_rank = sorted(shards, key=lambda shard: axis.ranks[shard])

    lent = {shard: axis.borrowed(shard, axis.shard) for shard in shards}
    outgoing = [
        tensor.narrow(axis.axis, low - begin, high - low)
        for low, high in (lent[shard] for shard in by_rank if lent[shard] != (0, 0))
        for tensor in tensors
    ]
    slice_bytes = [_bytes_of_a_slice(tensor, axis) for tensor in tensors]
    borrowed = {shard: axis.borrowed(axis.shard, shard) for shard in shards}
    received = _exchange(
        [_as_bytes(part) for part in outgoing],
        [sum(slice_bytes) * (lent[shard][1] - lent[shard][0]) for shard in by_rank],
        [sum(slice_bytes) * (borrowed[shard][1] - borrowed[shard][0]) for shard in by_rank],
        tensors[0].device,
        axis.group,
    )

    parts: list[dict[int, Tensor]] = [{axis.shard: tensor} for tensor in tensors]
    for shard, message in zip(by_rank, received, strict=True):
        slices = borrowed[shard][1] - borrowed[shard][0]
        if slices == 0:
            continue
        shares = message.split([size * slices for size in slice_bytes])
        for tensor, share, of_tensor in zip(tensors, shares, parts, strict=True):
            shape = list(tensor.shape)
            shape[axis.axis] = slices
            # A copy, since a message's parts do not begin where wider types may.
            of_tensor[shard] = share.clone().view(tensor.dtype).view(shape)
    return [torch.cat([part[shard] for shard in sorted(part)], axis.axis) for part in parts]


def _bytes_of_a_slice(tensor: Tensor, axis: ShardedAxis) -> int:
    shape = list(tensor.shape)
    del shape[axis.axis]
    return prod(shape) * tensor.element_size()


def _as_bytes(tensor: Tensor) -> Tensor:
    """uint8 ``[bytes]``, so that one message carries every dtype, bit for bit."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def _exchange(
    outgoing: list[Tensor],
    sent: list[int],
    received: list[int],
    device: torch.device,
    group: distributed.ProcessGroup,
) -> tuple[Tensor, ...]:
    """Send bytes to every rank of the group; what each one sent here, in the order of ranks."""
    message = torch.cat([torch.empty(0, dtype=torch.uint8, device=device), *outgoing])
    answer = torch.empty(sum(received), dtype=torch.uint8, device=device)
    distributed.all_to_all_single(answer, message, received, sent, group=group)
    parts: tuple[Tensor, ...] = answer.split(received)
    return parts


def _without_halo(extended: Tensor, like: Tensor, axes: Sequence[ShardedAxis]) -> Tensor:
    """Return the shard within an extended one, in the memory format of ``like``."""
    for axis in axes:
        extended = extended.narrow(axis.axis, *axis.inside)
    return torch.empty_like(like, dtype=extended.dtype).copy_(extended)


def _keep_inside(
    winners: Tensor, kernel_size: Sequence[int], axes: Sequence[ShardedAxis]
) -> Tensor:
    """Make pixels of the halo whose winners lie beyond it their own winners, in place.

    Those winners belong to another shard, and no kernel may look outside its image.
    """
    centre = prod(kernel_size) // 2
    for axis in axes:
        window, size = kernel_size[axis.axis], winners.shape[axis.axis]
        step = prod(kernel_size[axis.axis :]) // window  # taps from one slice to the next
        first, count = axis.inside
        for begin, slices in ((0, first), (first + count, size - first - count)):
            band = winners.narrow(axis.axis, begin, slices)
            position = torch.arange(begin, begin + slices, device=winners.device)
            position = position.view(-1, *[1] * (-1 - axis.axis))
            chosen = position + band.long() // step % window - window // 2
            band.masked_fill_((chosen < 0) | (chosen >= size), centre)
    return winners


class PenalizedShard(Function):
    """Eq. 1 for one shard; returns the penalized logits and, not differentiable, the winners."""

    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        gate: Tensor | None,
        kernel_size: tuple[int, ...],
        reading: Reading,
        backend: str,
        axes: tuple[ShardedAxis, ...],
    ) -> tuple[Tensor, Tensor]:
        images = (logits, target, mask, gate)
        extended = iter(extend([image for image in images if image is not None], axes))
        with_halo = [None if image is None else next(extended) for image in images]
        penalized, winners = run(ops.forward, *with_halo, kernel_size, *reading, backend)
        return _without_halo(penalized, logits, axes), _without_halo(winners, logits, axes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        winners = output[1]
        ctx.mark_non_differentiable(winners)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(winners)
        *_, ctx.kernel_size, _, ctx.backend, ctx.axes = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _winners: None) -> tuple[Any, ...]:
        if gradient is None:
            return None, None, None, None, None, None, None, None
        (winners,) = ctx.saved_tensors
        result = apply(ShardGradient, gradient, winners, ctx.kernel_size, ctx.backend, ctx.axes)
        return result, None, None, None, None, None, None, None


@torch.compiler.disable  # type: ignore[untyped-decorator]
def penalize_shard(arguments: Arguments, backend: str, axes: tuple[ShardedAxis, ...]) -> Tensor:
    """Return the penalized logits of a shard.

    ``torch.compile`` calls this as it is, exchange and all.
    """
    penalized: Tensor = apply(PenalizedShard, *arguments, backend, axes)[0]
    return penalized


class _LinearInValues(Function):
    """Linear in the first argument.

    :class:`ShardGradient` and :class:`ShardAtWinners` are each the other's transpose.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        _, winners, *ctx.settings = inputs
        ctx.save_for_backward(winners)


class ShardGradient(_LinearInValues):
    """Eq. 2 for one shard: its pixels get the gradient of all pixels that they are winners of."""

    @staticmethod
    def forward(
        gradient: Tensor,
        winners: Tensor,
        kernel_size: tuple[int, ...],
        backend: str,
        axes: tuple[ShardedAxis, ...],
    ) -> Tensor:
        gradient, around = extend([gradient, winners], axes)
        around = _keep_inside(around, kernel_size, axes)
        total = run(ops.scatter, gradient, around, kernel_size, backend)
        return _without_halo(total, winners, axes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        result = apply(ShardAtWinners, gradient, *ctx.saved_tensors, *ctx.settings)
        return result, None, None, None, None


class ShardAtWinners(_LinearInValues):
    """The transpose of Eq. 2: every pixel of the shard takes the value at its winner."""

    @staticmethod
    def forward(
        values: Tensor,
        winners: Tensor,
        kernel_size: tuple[int, ...],
        backend: str,
        axes: tuple[ShardedAxis, ...],
    ) -> Tensor:
        (extended,) = extend([values], axes)
        # Pixels of the halo are their own winners; their results are cut off.
        around = torch.full_like(extended, prod(kernel_size) // 2, dtype=winners.dtype)
        interior = around
        for axis in axes:
            interior = interior.narrow(axis.axis, *axis.inside)
        interior.copy_(winners)
        values = run(ops.gather, extended, around, kernel_size, backend)
        return _without_halo(values, winners, axes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        result = apply(ShardGradient, gradient, *ctx.saved_tensors, *ctx.settings)
        return result, None, None, None, None
