"""Promise: large results, streamed into memory that is used again, are as any other.

Recycled from 4 MiB on, streamed above 16 MiB: sizes that no other test of the CPU kernels has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp, scnp_dice_ce_loss
from scnp_kernels.backends.native import loader as native
from scnp_kernels.backends.native import operators
from tests import fresh_process

MEBIBYTE = 1 << 20
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def _inputs(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits with many ties, NaN and infinities; labels with ignored pixels."""
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(shape, generator=generator) * 8).round().div(8).to(dtype)
    logits.view(-1)[::9973] = float("nan")
    logits.view(-1)[50::7919] = float("-inf")
    coarse = torch.randint(0, shape[1] + 1, shape[:1] + shape[2:], generator=generator)
    return logits, coarse


def _results(
    backend: str, logits: Tensor, target: Tensor, window: int, incoming: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    penalized = scnp(leaf, target, window, ignore_index=logits.shape[1], backend=backend)
    (gradient,) = torch.autograd.grad(penalized, leaf, incoming)
    return penalized.detach(), gradient


@pytest.mark.parametrize(
    ("shape", "dtype", "window"),
    [
        ((2, 2, 1030, 1041), torch.float32, 3),  # rows that begin anywhere in a cache line
        ((1, 3, 1500, 1024), torch.float32, 3),  # rows of whole blocks
        ((1, 2, 1100, 1021), torch.float64, 5),
        ((2, 3, 1500, 1000), torch.bfloat16, 3),
        ((2, 3, 1500, 999), torch.float16, 7),
        ((1, 3, 61, 130, 179), torch.float32, 3),
        ((1, 1, 4_500_000), torch.float32, 9),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
def test_same_as_small_ones(
    shape: tuple[int, ...], dtype: torch.dtype, window: int, channels_last: bool
) -> None:
    """Bit for bit, with two threads: slices of at most 2 MiB, and some by the reference."""
    if channels_last and len(shape) not in CHANNELS_LAST:
        shape = (*shape[:2], 1, shape[2])
    torch.set_num_threads(2)
    logits, target = _inputs(shape, dtype)
    incoming = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    if channels_last:
        logits = logits.contiguous(memory_format=CHANNELS_LAST[len(shape)])
    assert logits.nbytes > 16 * MEBIBYTE
    axis = shape.index(max(shape[2:]), 2)
    pieces = list(_slices(shape[axis], logits.nbytes // (2 * MEBIBYTE) + 1, 2 * (window // 2)))
    wanted = []
    for number, (begin, length, first, last) in enumerate(pieces):
        arguments = (
            logits.narrow(axis, begin, length),
            target.narrow(axis - 1, begin, length),
            window,
            incoming.narrow(axis, begin, length),
        )
        for backend in ("cpu", "reference") if number == len(pieces) // 2 else ("cpu",):
            results = _results(backend, *arguments)
            wanted += [
                (which, first, last, result.narrow(axis, first - begin, last - first))
                for which, result in enumerate(results)
            ]
    for _ in range(2):  # the second time, in the memory of the first
        whole = _results("cpu", logits, target, window, incoming)
        assert whole[0].stride() == whole[1].stride() == logits.stride()
        for which, first, last, expected in wanted:
            result = whole[which].narrow(axis, first, last - first)
            assert torch.equal(result.isnan(), expected.isnan())
            assert torch.equal(result.nan_to_num(9.5), expected.nan_to_num(9.5))


def _slices(length: int, number: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """Begin and length of each slice, and from where to where the whole must be the same.

    What a gradient depends on lies ``halo`` away at most: half a window to whom it came, and half a
    window to what that has seen.
    """
    for slice_ in range(number):
        first, last = length * slice_ // number, length * (slice_ + 1) // number
        begin, end = max(first - halo, 0), min(last + halo, length)
        yield begin, end - begin, first, last


def _penalized(size: int = 1024, seed: int = 0) -> Tensor:
    """8 MiB, for 1024."""
    logits, target = _inputs((1, 2, size, 1024), torch.float32, seed)
    return scnp(logits, target, ignore_index=2, backend="cpu")


def test_memory_is_used_again_and_no_earlier() -> None:
    first = _penalized(seed=0)
    copy, address = first.clone(), first.data_ptr()
    view = first[:, 1]
    second = _penalized(seed=1)
    assert second.data_ptr() != address
    assert torch.equal(first.nan_to_num(), copy.nan_to_num())
    del first
    assert _penalized(seed=1).data_ptr() != address  # the view still holds it
    assert torch.equal(view.nan_to_num(), copy[:, 1].nan_to_num())
    del view
    third = _penalized(seed=1)
    assert third.data_ptr() == address
    assert torch.equal(third.nan_to_num(), second.nan_to_num())


def test_arrays_of_numpy_hold_the_memory() -> None:
    penalized = _penalized(seed=2)
    copy, array = penalized.clone(), penalized.numpy()
    del penalized
    others = [_penalized(seed=3) for _ in range(3)]
    assert torch.equal(torch.from_numpy(array).nan_to_num(), copy.nan_to_num())
    del others


def test_results_can_be_shared() -> None:
    penalized = _penalized(seed=4)
    copy = penalized.clone()
    shared = penalized.share_memory_()
    assert shared.is_shared()
    assert torch.equal(shared.nan_to_num(), copy.nan_to_num())


def test_results_shrink_but_do_not_grow() -> None:
    """Torch says so, and nothing is lost; a copy grows as any tensor does."""
    penalized = _penalized(seed=4)
    copy = penalized.clone()
    with pytest.raises(RuntimeError, match="not resizable"):
        penalized.resize_(1, 4, 1024, 1024)
    assert torch.equal(penalized.view(-1)[: copy.numel()].nan_to_num(), copy.view(-1).nan_to_num())
    penalized.resize_(1, 1, 1024, 1024)
    assert torch.equal(penalized.view(-1).nan_to_num(), copy[:, 0].reshape(-1).nan_to_num())
    copy.resize_(1, 4, 1024, 1024)


def test_deterministic_mode_fills_results() -> None:
    """An element that nobody writes shows; every other test of this suite relies on it."""
    like = torch.zeros(1, 2, 1024, 1024)
    assert native.load() is None
    operators._result_like(like, torch.float32).fill_(1)  # memory that the next ones take
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        assert operators._result_like(like, dtype).isnan().all()
    assert operators._result_like(like.double(), torch.int32).eq(2**31 - 1).all()
    assert operators._result_like(torch.zeros(1, 8, 1024, 1024), torch.uint8).eq(255).all()
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        operators._result_like(like, torch.float32).fill_(1)
        assert (
            operators._result_like(like, torch.float32).eq(1).all()
        )  # the same memory, left alone
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]


def test_many_threads_take_and_give_back_at_once() -> None:
    wanted = [_penalized(seed=seed) for seed in range(4)]

    def call(number: int) -> bool:
        result = _penalized(seed=number % 4)
        return torch.equal(result.nan_to_num(), wanted[number % 4].nan_to_num())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(24)))


def test_a_fork_while_memory_is_kept() -> None:
    _penalized(seed=5)
    child = os.fork()
    if child == 0:
        try:
            _penalized(seed=6)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_the_loss_keeps_its_winners_apart() -> None:
    """Winners of one call must not lie in memory that another takes before backward."""
    logits, target = _inputs((1, 2, 2200, 1024), torch.float32)
    logits = logits.nan_to_num(0, 0, 0).requires_grad_()
    alone = torch.autograd.grad(
        scnp_dice_ce_loss(logits, target, ignore_index=2, backend="cpu"), logits
    )[0].clone()
    loss = scnp_dice_ce_loss(logits, target, ignore_index=2, backend="cpu")
    between = scnp_dice_ce_loss(logits.neg(), target, ignore_index=2, backend="cpu")
    assert torch.equal(torch.autograd.grad(loss, logits)[0], alone)
    del between


KEPT = """
import resource, sys, torch
from scnp_kernels import scnp
logits = torch.zeros(1, 2, 1024, 4096)  # 32 MiB, and 8 MiB of winners
target = torch.zeros(1, 1024, 4096, dtype=torch.uint8)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
scnp(logits, target)
before = resident()
results = [scnp(logits, target) for _ in range(4)]
del results
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is recycled on Linux alone")
@pytest.mark.parametrize(
    ("kept", "least", "most"), [("64", 0, 60), ("0", -1, 40), ("512", 90, 140)]
)
def test_what_is_kept_is_limited(kept: str, least: float, most: float) -> None:
    """MiB that a process still has after four results of 40 MiB are gone.

    The GNU C library keeps some by itself.
    """
    result = fresh_process.run(KEPT, SCNP_KEEP_MEBIBYTES=kept)
    assert result.returncode == 0, result.stderr
    assert least <= float(result.stdout) <= most


OFFERED = """
import torch
from scnp_kernels import scnp
logits = torch.zeros(1, 2, 1024, 4096)
target = torch.zeros(1, 1024, 4096, dtype=torch.uint8)
def offered():
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("LazyFree")) / 1024
results = [scnp(logits, target)]
del results
print(offered())
results = [scnp(logits, target) for _ in range(4)]
del results
print(offered())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is recycled on Linux alone")
def test_what_is_kept_is_offered_to_the_system() -> None:
    """All but the newest quarter of the limit, what one step of a training frees."""
    result = fresh_process.run(OFFERED, SCNP_KEEP_MEBIBYTES="256")
    assert result.returncode == 0, result.stderr
    of_one, of_four = map(float, result.stdout.split())
    assert of_one == 0
    # MiB; the winners of one result serve the next. The system may have taken some.
    assert 40 <= of_four <= 4 * 32 + 8 - 64


@pytest.mark.parametrize("value", ["-1", "many", "64 ", "1e3"])
def test_a_limit_that_is_no_number_is_refused(value: str) -> None:
    result = fresh_process.run(KEPT, SCNP_KEEP_MEBIBYTES=value)
    assert result.returncode == 1
    assert f"ValueError: SCNP_KEEP_MEBIBYTES: got '{value}', takes" in result.stderr
