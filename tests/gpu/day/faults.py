"""What a rehearsal plants, each of which must stand in the report: a pytest plugin.

python -m tests.gpu.day --rehearse reference --fault "wrong bit"
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Any

import pytest
import torch

from benchmarks.gpu import device

ILLEGAL = (
    "CUDA error: an illegal memory access was encountered (planted)\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)
ILLEGAL_ACCESS, WRONG_BIT, HANGING_KERNEL, HANGING_STAGE, NO_CODE = (
    "illegal access",
    "wrong bit",
    "hanging kernel",
    "hanging stage",
    "does not compile",
)
FAULTS = (ILLEGAL_ACCESS, WRONG_BIT, HANGING_KERNEL, HANGING_STAGE, NO_CODE)
# Where: one test of the contract on "triton".
CHOSEN = "test_case[float32-window_3_2d-triton]"


class CompilationError(RuntimeError):
    """As triton raises one."""


def pytest_sessionstart(session: pytest.Session) -> None:
    """A stage that hangs before its first test."""
    of_contract = os.environ["SCNP_PROGRAM"] == "contract on triton"
    if planted() == HANGING_STAGE and of_contract and not hasattr(session.config, "workerinput"):
        time.sleep(3600)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let the chosen test meet the fault; after an illegal access, all of its process."""
    sticky = device.sticky_error()
    if sticky is not None:
        raise torch.AcceleratorError(sticky)
    if not item.nodeid.endswith(CHOSEN):
        return (yield)
    if planted() == ILLEGAL_ACCESS:
        device.plant_sticky_error(ILLEGAL)
        raise torch.AcceleratorError(ILLEGAL)
    if planted() == HANGING_KERNEL:
        time.sleep(3600)
    if planted() == NO_CODE:
        raise CompilationError("at 63:12: PassManager::run failed (planted)")
    if planted() != WRONG_BIT:
        return (yield)
    module: Any = item.module  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "forward_backward", _with_a_wrong_bit(module.forward_backward))
        return (yield)


def planted() -> str:
    """Return which fault."""
    return os.environ.get("SCNP_FAULT", "")


def _with_a_wrong_bit(forward_backward: Any) -> Any:
    def wrong(*arguments: Any, **options: Any) -> Any:
        outcome = forward_backward(*arguments, **options)
        bits = outcome.penalized.flatten()[-1:].view(torch.int32)
        bits ^= 1  # the last bit of the last pixel
        return outcome

    return wrong
