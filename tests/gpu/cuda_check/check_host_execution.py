"""The kernels' logic, without a GPU: the whole case list on the host, under sanitizers.

Threads run in shuffled order between barriers that all must reach, and every tensor lies in memory
of exactly its size.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.calls import assert_same
from tests.cases import CASES, DTYPES, PLANE, VOLUME, Case
from tests.generators import seeded
from tests.gpu.cuda_check.comparison import REGIMES, Regime, check_case
from tests.gpu.cuda_check.host_worker import (
    GATHER,
    SCATTER,
    TARGET_TYPES,
    Limits,
    Reading,
    Worker,
    WorkerDiedError,
    winner_type_for,
)

by_regime = pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime.name)
MAPS = Reading((3, 3), False, 0, 3, None)


@by_regime
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_the_oracle(worker: Worker, case: Case, regime: Regime) -> None:
    """Forward, scatter and gather, in every dtype: values and winners."""
    for dtype in DTYPES:
        check_case(worker, case, dtype, regime.limits)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [PLANE, VOLUME], ids=str)
def test_the_order_of_threads_changes_nothing(
    worker: Worker, shape: tuple[int, ...], seed: int
) -> None:
    case = Case("order", "", shape, 5)
    for shared_memory in (1200, 48 * 1024):
        check_case(worker, case, torch.float32, Limits(shared_memory=shared_memory, seed=seed))


@pytest.mark.parametrize("shared_memory", [48 * 1024, 0], ids=["tiles", "no_tiles"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_offsets_beyond_32_bits(worker: Worker, dtype: torch.dtype, shared_memory: int) -> None:
    """The second image lies 2**31 + 2**20 elements behind the first, in every tensor."""
    far = 2**31 + 2**20
    limits = Limits(shared_memory=shared_memory)
    generator = seeded(0)
    logits = torch.randn(2, 3, 7, 9, generator=generator).to(dtype)
    target = torch.randint(0, 3, (2, 7, 9), generator=generator)
    near = worker.forward(logits, target, None, MAPS, torch.uint8, limits)
    distant = worker.forward(logits, target, None, MAPS, torch.uint8, limits, far)
    assert_same(distant.penalized, near.penalized)
    assert_same(distant.winners, near.winners)
    for operation in (SCATTER, GATHER):
        wanted = worker.linear(operation, logits, near.winners, (3, 3), limits)
        got = worker.linear(operation, logits, near.winners, (3, 3), limits, far)
        assert_same(got, wanted)


def _fault(
    worker: Worker, target: Tensor, reading: Reading, mask: Tensor | None = None
) -> int | None:
    channels = target.shape[1] if reading.target_is_masks else 3
    logits = torch.zeros(target.shape[0], channels, *target.shape[-2:])
    faults = {
        worker.find_fault(logits, target, mask, reading, limits)
        for limits in (Limits(), Limits(blocks=1, seed=3))
    }
    assert len(faults) == 1
    return faults.pop()


@pytest.mark.parametrize("dtype", TARGET_TYPES[1:], ids=str)
def test_the_first_fault_is_found(worker: Worker, dtype: torch.dtype) -> None:
    """Of several, and whatever the type: labels out of range, and masks that are not 0 or 1."""
    wide_unsigned = dtype in (torch.uint16, torch.uint32, torch.uint64)
    for is_masks in (True,) if wide_unsigned else (False, True):
        reading = MAPS._replace(target_is_masks=is_masks)
        clean = torch.randint(
            0, 2, (2, 3, 20, 30) if is_masks else (2, 20, 30), generator=seeded(1)
        )
        assert _fault(worker, clean.to(dtype), reading) is None
        for position in (0, 777, clean.numel() - 1):
            dirty = clean.clone()
            dirty.view(-1)[position] = 3
            dirty.view(-1)[-1] = 100
            assert _fault(worker, dirty.to(dtype), reading) == position


@pytest.mark.parametrize("value", [-1.0, 0.5, 3.0, math.nan, math.inf, -math.inf, 1e30])
def test_floating_faults(worker: Worker, value: float) -> None:
    label_map = torch.zeros(1, 4, 5, dtype=torch.float64)
    label_map[0, 2, 1] = value
    assert _fault(worker, label_map, MAPS) == 11
    everywhere = torch.ones(1, 4, 5, dtype=torch.bool)
    everywhere[0, 2, 1] = False
    assert _fault(worker, label_map, MAPS, everywhere) is None


def test_ignored_labels_are_no_fault(worker: Worker) -> None:
    label_map = torch.full((1, 4, 5), 255, dtype=torch.uint8)
    assert _fault(worker, label_map, MAPS._replace(ignore_index=255)) is None
    assert _fault(worker, label_map, MAPS._replace(ignore_index=254)) == 0
    assert _fault(worker, label_map, MAPS._replace(ignore_index=-1)) == 0


def test_the_largest_integers_are_not_taken_for_others(worker: Worker) -> None:
    """2**63 and 2**64 - 1 in uint64 masks: no int64 is the same number."""
    masks = torch.zeros(1, 1, 1, 2, dtype=torch.uint64)
    masks.view(torch.int64).view(-1)[:] = torch.tensor([-(2**63), -1])
    logits = torch.tensor([[[[1.0, 2.0]]]])
    for ignored in (-1, -(2**63), 2**63 - 1):
        reading = Reading((1, 3), True, 1, 2, ignored)
        result = worker.forward(logits, masks, None, reading, torch.uint8, Limits())
        assert result.penalized.flatten().tolist() == [1.0, 1.0]  # both are foreground


@by_regime
def test_windows_that_need_four_bytes(worker: Worker, regime: Regime) -> None:
    """33 x 33 x 33 = 35,937 taps, and no smaller window would do: every pixel sees all others."""
    size = 17
    logits = torch.randn(1, 1, size, size, size, generator=seeded(0))
    target = (torch.arange(size**3) % 3 == 0).view(1, size, size, size).to(torch.uint8)
    window = (33, 33, 33)
    reading = Reading(window, False, 1, 2, None)
    result = worker.forward(logits, target, None, reading, winner_type_for(window), regime.limits)
    lowest, highest = logits[target.unsqueeze(1) == 1].min(), logits[target.unsqueeze(1) == 0].max()
    assert_same(result.penalized, torch.where(target.unsqueeze(1) == 1, lowest, highest))
    ones = torch.ones_like(logits)
    gradient = worker.linear(SCATTER, ones, result.winners, window, regime.limits)
    wanted = torch.zeros_like(logits)
    wanted[logits == lowest] = target.sum().float()
    wanted[logits == highest] = (1 - target).sum().float()
    assert_same(gradient, wanted)


@by_regime
@pytest.mark.parametrize("kernel_size", [(3, 3), (17, 17), (201, 201)], ids=str)
def test_no_winner_leads_out_of_memory(
    worker: Worker, kernel_size: tuple[int, int], regime: Regime
) -> None:
    """Winners that no forward pass writes: dropped or clamped, and never read beyond a tensor."""
    winner_type = winner_type_for(kernel_size)
    generator = seeded(2)
    lowest, highest = torch.iinfo(winner_type).min, torch.iinfo(winner_type).max
    winners = torch.randint(lowest, highest, (1, 2, 6, 7), generator=generator).to(winner_type)
    values = torch.randn(1, 2, 6, 7, generator=generator)
    for operation in (SCATTER, GATHER):
        worker.linear(operation, values, winners, kernel_size, regime.limits)


def test_labels_out_of_range_are_nobodys(worker: Worker) -> None:
    """Unchecked, they are background of every class."""
    logits = torch.tensor([[[[5.0, 1.0, 2.0]], [[1.0, 4.0, 3.0]]]])
    for label in (-7, 2, 2**40):
        target = torch.tensor([[[0, label, label]]])
        reading = Reading((1, 3), False, 0, 2, None)
        result = worker.forward(logits, target, None, reading, torch.uint8, Limits())
        assert result.penalized.flatten().tolist() == [5.0, 2.0, 2.0, 4.0, 4.0, 4.0]


def test_a_launch_that_a_device_would_refuse_is_refused(worker: Worker) -> None:
    """More shared memory than a block has: the error arrives, and the next call works."""
    logits = torch.zeros(1, 1, 200, 200)
    target = torch.zeros(1, 200, 200, dtype=torch.uint8)
    reading = Reading((31, 31), False, 1, 2, None)
    with pytest.raises(RuntimeError, match="refused with CUDA error 1"):
        worker.forward(logits, target, None, reading, torch.int16, Limits(shared_memory=2**20))
    check_case(worker, CASES[0], torch.float32, Limits())


def test_a_dead_worker_tells_why(program: Path) -> None:
    """Or nobody would know which sanitizer stopped it."""
    worker = Worker(program)
    logits = torch.zeros(1, 1, 4)
    with pytest.raises(WorkerDiedError, match="unknown operation"):
        worker.linear(99, logits, torch.zeros(1, 1, 4, dtype=torch.uint8), (3,), Limits())
    worker.close()
