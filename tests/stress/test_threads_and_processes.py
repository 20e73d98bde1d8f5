"""Promise: many threads, forked and spawned workers, and errors in the middle change nothing."""

from __future__ import annotations

import gc
import os
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scnp_kernels import scnp
from tests import generators as g
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import CASES, Case

# Every fifth case: all shapes, dtypes of targets and layouts, interleaved.
MIXED = [case for case in CASES if case.winners_are_numbered][::5]
TWO_TILES = Case("two_tiles", "", (2, 3, 70, 60), 5)


def _same(actual: Outcome, wanted: Outcome) -> None:
    for one, other in zip(actual, wanted, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("inner_threads", [1, 2])
def test_threads_at_once(backend: str, inner_threads: int) -> None:
    """Eight Python threads with different shapes, each with torch's own threads below."""
    torch.set_num_threads(inner_threads)
    jobs = [(case, torch.float32) for case in (*MIXED, TWO_TILES)] * 2
    wanted = [forward_backward(backend, case.make(dtype)) for case, dtype in jobs]

    def call(job: tuple[Case, torch.dtype]) -> Outcome:
        torch.set_num_threads(inner_threads)
        case, dtype = job
        return forward_backward(backend, case.make(dtype))

    with ThreadPoolExecutor(8) as pool:
        for outcome, expected in zip(pool.map(call, jobs), wanted, strict=True):
            _same(outcome, expected)


def test_threads_that_fail_beside_threads_that_do_not(backend: str) -> None:
    """Wrong labels in every second call; the others are as ever."""
    torch.set_num_threads(2)
    sample = TWO_TILES.make(torch.float32)
    wanted = scnp(sample.logits, sample.target, 5, backend=backend)
    wrong = sample.target.clone()
    wrong[1, 69, 59] = 3

    def call(number: int) -> Tensor | None:
        if number % 2:
            with pytest.raises(ValueError, match="target: got a label map that holds 3"):
                scnp(sample.logits, wrong, 5, backend=backend)
            return None
        return scnp(sample.logits, sample.target, 5, backend=backend)

    with ThreadPoolExecutor(4) as pool:
        results = [result for result in pool.map(call, range(40)) if result is not None]
    assert len(results) == 20
    for result in results:
        assert_same(result, wanted)


def test_an_error_keeps_nothing_alive(backend: str) -> None:
    logits = torch.randn(2, 3, 7, 9, requires_grad=True)
    target = torch.full((2, 7, 9), 3)
    alive = [weakref.ref(logits), weakref.ref(target)]
    for _ in range(3):
        with pytest.raises(ValueError, match="target: got a label map that holds 3"):
            scnp(logits, target, backend=backend)
    del logits, target
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


def test_an_error_in_the_backward_pass_leaves_the_graph_usable(backend: str) -> None:
    """A hook raises between the loss and SCNP; the same graph then runs through."""
    sample = Case("plain", "", (2, 3, 7, 9)).make(torch.float32)
    logits = sample.logits.detach().requires_grad_()
    penalized = scnp(logits, sample.target, backend=backend)

    def fail(_: Tensor) -> None:
        raise RuntimeError("in the middle")

    handle = penalized.register_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        penalized.backward(sample.incoming, retain_graph=True)
    handle.remove()
    assert logits.grad is None
    penalized.backward(sample.incoming)
    assert logits.grad is not None
    assert_same(logits.grad, forward_backward(backend, sample).gradient)


class Penalized(Dataset[tuple[Tensor, Tensor]]):
    """Calls SCNP where it is asked, in a worker."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        case = Case("plain", "", (1, 3, 17, 19), 5, logits=g.tied)
        outcome = forward_backward(self.backend, case.make(torch.float32, seed=index))
        return outcome.penalized, outcome.gradient


@pytest.mark.parametrize(
    ("backend", "method"), [("cpu", "fork"), ("reference", "fork"), ("cpu", "spawn")]
)
def test_workers_of_a_data_loader(backend: str, method: str) -> None:
    """Forked after this process has used its pool of threads, and spawned afresh."""
    torch.set_num_threads(2)
    forward_backward(backend, TWO_TILES.make(torch.float32))
    data = Penalized(backend)
    loader = DataLoader(
        data, batch_size=None, num_workers=2, multiprocessing_context=method, timeout=600
    )
    count = 0
    for index, (penalized, gradient) in enumerate(loader):
        wanted_penalized, wanted_gradient = data[index]
        assert_same(penalized, wanted_penalized)
        assert_same(gradient, wanted_gradient)
        count += 1
    assert count == 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_between_forward_and_backward(backend: str) -> None:
    """The child ends what its parent began, and so does the parent."""
    sample = Case("plain", "", (1, 3, 17, 19), 5).make(torch.float32)
    wanted = forward_backward(backend, sample).gradient
    logits = sample.logits.detach().requires_grad_()
    penalized = scnp(logits, sample.target, 5, backend=backend)
    child = os.fork()
    if child == 0:
        (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
        os._exit(0 if torch.equal(gradient, wanted) else 1)
    deadline = time.monotonic() + 600
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            pytest.fail("the child hangs")
        time.sleep(0.02)
    assert ended[1] == 0
    (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
    assert_same(gradient, wanted)
