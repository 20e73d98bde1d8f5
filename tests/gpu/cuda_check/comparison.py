"""One case of ``tests/cases.py`` on the host-executed CUDA kernels, against the oracle."""

from __future__ import annotations

from typing import NamedTuple

import torch

from scnp_kernels.rules.arguments import check_arguments
from tests.calls import assert_same
from tests.cases import Case, expected
from tests.gpu.cuda_check.host_worker import (
    GATHER,
    SCATTER,
    Limits,
    Reading,
    Worker,
    winner_type_for,
)
from tests.oracle import brute_force_gather, brute_force_gradient


class Regime(NamedTuple):
    """One way to cut the work: no cut may change a result."""

    name: str
    limits: Limits


REGIMES = (
    Regime("as_on_a_gpu", Limits(seed=1)),
    # Tiles of a few pixels, many to a block: every case has halos between tiles.
    Regime("small_tiles", Limits(shared_memory=1200, blocks=3, seed=2)),
    # No tile at all: whole windows from global memory.
    Regime("no_tiles", Limits(shared_memory=0, blocks=2, seed=3)),
)


def check_case(worker: Worker, case: Case, dtype: torch.dtype, limits: Limits) -> None:
    """Forward, scatter and gather: values and winners, bit for bit (the sign of zero aside).

    Raises:
        AssertionError: Something differs.
        WorkerDiedError: A sanitizer or a barrier stopped the program.
    """
    sample = case.make(dtype)
    kwargs = sample.kwargs
    arguments = check_arguments(
        sample.logits,
        sample.target,
        kwargs["kernel_size"],
        kwargs["ignore_index"],
        kwargs["mask"],
        kwargs.get("gate"),
        False,
    )
    logits, target, mask, gate, kernel_size = arguments[:5]
    reading = Reading(
        kernel_size,
        arguments.reading.target_is_masks,
        arguments.reading.first_class,
        arguments.reading.label_count,
        arguments.reading.ignore_index,
    )
    wanted = expected(case, dtype)
    winner_type = winner_type_for(kernel_size)
    result = worker.forward(logits, target, mask, reading, winner_type, limits, gate=gate)
    assert_same(result.penalized, wanted.penalized)
    if case.winners_are_numbered:
        assert_same(result.winners.long(), wanted.winners)
    gradient = worker.linear(SCATTER, sample.incoming, result.winners, kernel_size, limits)
    assert_same(gradient, brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size))
    gathered = worker.linear(GATHER, sample.incoming, result.winners, kernel_size, limits)
    assert_same(gathered, brute_force_gather(sample.incoming, wanted.winners, case.kernel_size))
    fault = worker.find_fault(logits, target, mask, reading, limits)
    assert fault is None
