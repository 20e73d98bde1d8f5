"""Promise: a long training takes no more memory than a short one.

`make long-life` trains for 20,000 steps; here as many as show a leak of a few hundred bytes a step
among the objects, and of whole tensors in the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stress.long_life import MOST_GROWTH, Trainer, living_tensors

CHECKOUT = Path(__file__).parents[2]
STEPS = 600


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_constant() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.stress.long_life", "--steps", str(STEPS), "--threads", "1"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads(result.stdout)
    assert figures["steps"] == STEPS
    assert figures["refused"] == (STEPS + 6) // 7
    assert figures["grown_bytes"] <= MOST_GROWTH


def test_a_leak_would_be_seen() -> None:
    """The measure counts what one step leaves behind when somebody holds on to it."""
    trainer = Trainer()
    for number in range(12):
        trainer.step(number)
    before = living_tensors()
    kept = [trainer.logits((1, 3, 5), trainer.weight.dtype) for _ in range(3)]
    assert living_tensors() - before >= len(kept)
