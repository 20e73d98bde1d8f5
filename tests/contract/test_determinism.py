"""Promise: the same bits from any number of threads, at every call, with no flag."""

from __future__ import annotations

import contextlib
import math
import mmap
import resource

import pytest
import torch

from scnp_kernels import scnp
from scnp_kernels.backends.native import loader as native
from tests import generators as g
from tests.calls import Outcome, forward_backward
from tests.cases import CASES, DTYPES, Case

# B * C == 1: only cuts through the image can feed several threads.
SINGLE_CHANNEL = [
    Case("1d", "", (1, 1, 5000), 5, logits=g.tied),
    Case("2d_rows", "", (1, 1, 301, 11), 3, logits=g.tied),
    Case("2d_columns", "", (1, 1, 7, 2100), 5, logits=g.tied),
    Case("2d_constant", "", (1, 1, 130, 40), 7, logits=g.constant, target=g.blobs),
    Case("3d_planes", "", (1, 1, 50, 9, 10), 3, logits=g.tied),
    Case("3d_rows", "", (1, 1, 3, 60, 70), (3, 5, 5), logits=g.tied),
    Case("3d_nan", "", (1, 1, 20, 12, 13), 3, logits=g.some_nan, mask=g.valid_pixels()),
]


def _bits(outcome: Outcome) -> list[bytes]:
    """Every bit: signs of zeros and payloads of NaN too."""
    return [tensor.contiguous().view(torch.uint8).numpy().tobytes() for tensor in outcome]


def _on(count: int, backend: str, case: Case, dtype: torch.dtype) -> list[bytes]:
    torch.set_num_threads(count)
    return _bits(forward_backward(backend, case.make(dtype)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_threads_give_the_same_bits(backend: str, case: Case) -> None:
    """Brute force holds for one thread, so it holds for two."""
    assert _on(2, backend, case, torch.float32) == _on(1, backend, case, torch.float32)


@pytest.mark.parametrize("case", SINGLE_CHANNEL, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_image_is_cut_without_a_trace(backend: str, case: Case, dtype: torch.dtype) -> None:
    one = _on(1, backend, case, dtype)
    for count in (2, 3):
        assert _on(count, backend, case, dtype) == one


@pytest.mark.parametrize("case", SINGLE_CHANNEL, ids=lambda case: case.name)
def test_repeated_runs_give_the_same_bits(backend: str, case: Case) -> None:
    first = _on(2, backend, case, torch.float32)
    for _ in range(3):
        assert _on(2, backend, case, torch.float32) == first


@pytest.mark.parametrize("deterministic", [False, True])
def test_no_flag_is_needed(backend: str, deterministic: bool) -> None:
    """Torch's own switch changes nothing, and raises no complaint."""
    case = SINGLE_CHANNEL[3]
    wanted = _on(2, backend, case, torch.float32)
    torch.use_deterministic_algorithms(deterministic)
    assert _on(2, backend, case, torch.float32) == wanted


def test_two_threads_really_share_the_work() -> None:
    """Equal results with one and two threads say nothing where only one ever works."""
    record = native.build_record()
    assert record is not None
    assert record["parallel"] == "openmp"
    shape = (2, 2, 1024, 1024)
    # Who reads a page of new memory first takes a fault on it. Time would not do: a thread that
    # waits for the other one spends it as well.
    memory = mmap.mmap(-1, 4 * math.prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system that has no large pages
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # of which one fault would bring 512 small ones
    logits = torch.frombuffer(memory, dtype=torch.float32).view(shape)
    target = torch.zeros(shape[0], *shape[2:], dtype=torch.int64)
    torch.set_num_threads(2)
    scnp(logits[:, :, :8], target[:, :8], backend="cpu")  # makes the second thread
    own, others = _page_faults()
    scnp(logits, target, backend="cpu")
    own, others = (now - before for now, before in zip(_page_faults(), (own, others), strict=True))
    pages = len(memory) // mmap.PAGESIZE
    assert own > pages // 4
    assert others > pages // 4


def _page_faults() -> tuple[int, int]:
    """Counts the faults of this thread and of all others of the process, so far."""
    own = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    return own, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - own
