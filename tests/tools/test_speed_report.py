"""``python -m scnp_kernels`` on speed: its text and its rules, with planted figures.

No figure that a clock gave is judged.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from scnp_kernels import speed_report
from scnp_kernels.speed_report import Setting, Timing, describe, listing, measure, remedies
from tests import oracle

STATES = {
    "triton": "torch sees no GPU",
    "cuda": "this torch is built without CUDA",
    "cpu": "ok",
    "reference": "ok",
}
WELL = Setting(
    device="cpu",
    backend="cpu",
    states=STATES,
    capability="avx512",
    built_for=("portable", "avx2", "avx512"),
    offered="avx512",
    threads=8,
    cores=8,
)
FAST = [Timing((1, 2, 64, 64), 0.1, 0.2), Timing((1, 2, 512, 512), 1.0, 20.0)]


def test_nothing_to_do() -> None:
    assert remedies(WELL, FAST) == []
    assert remedies(replace(WELL, device="cuda", backend="triton"), FAST) == []


@pytest.mark.parametrize(
    ("changes", "what", "way_out"),
    [
        (
            {"capability": "avx2", "variables": {"SCNP_CPU_CAPABILITY": "avx2"}},
            "run with avx2 instructions, but the machine has avx512",
            "unset SCNP_CPU_CAPABILITY",
        ),
        (
            {"capability": "portable", "built_for": ("portable",), "offered": "avx2"},
            "run with portable instructions, but the machine has avx2",
            "compile the kernels again by a compiler that knows avx2",
        ),
        (
            {
                "capability": "portable",
                "built_for": ("portable",),
                "variables": {"SCNP_CPU_CAPABILITY": "portable"},
            },
            "the machine has avx512",
            "compile the kernels again",
        ),
        ({"threads": 1}, "1 thread of 8", "torch.set_num_threads(8)"),
        ({"parallel": False}, "without OpenMP", "compile them again by a compiler with OpenMP"),
        (
            {"variables": {"SCNP_KEEP_MEBIBYTES": "0"}},
            "SCNP_KEEP_MEBIBYTES=0",
            "unset it where memory allows",
        ),
        ({"fills_memory": True}, "fills all fresh memory", "fill_uninitialized_memory = False"),
        (
            {"backend": "reference", "states": STATES | {"cpu": "no kernels were compiled (how)"}},
            "slow reference backend",
            "cpu: no kernels were compiled (how)",
        ),
        (
            {"backend": "reference", "variables": {"SCNP_BACKEND": "reference"}},
            "SCNP_BACKEND=reference",
            "unset it",
        ),
        (
            {"device": "cuda", "backend": "reference"},
            "slow reference backend",
            "triton: torch sees no GPU; cuda: this torch is built without CUDA",
        ),
        ({"device": "cuda", "backend": "cuda"}, "not on triton", "torch sees no GPU"),
        (
            {
                "states": STATES | {"triton": "ok, interpreted on the CPU"},
                "variables": {"TRITON_INTERPRET": "1"},
            },
            "TRITON_INTERPRET",
            "unset it but for debugging",
        ),
    ],
)
def test_each_reason_has_its_way_out(changes: dict[str, Any], what: str, way_out: str) -> None:
    (found,) = remedies(replace(WELL, **changes), FAST)
    assert what in found
    assert way_out in found


def test_several_reasons() -> None:
    found = remedies(replace(WELL, threads=1, capability="portable", fills_memory=True), FAST)
    assert len(found) == 3


def test_one_core_has_one_thread() -> None:
    assert remedies(replace(WELL, threads=1, cores=1), FAST) == []


def test_figures_are_judged_where_nothing_else_is_known() -> None:
    slow = [FAST[0], Timing((1, 2, 512, 512), 1.0, 3.9)]
    (found,) = remedies(WELL, slow)
    assert found.startswith("3.9x as fast as the listing is less than the 4x")
    assert len(remedies(replace(WELL, threads=1), slow)) == 1
    assert remedies(WELL, [FAST[0], Timing((1, 2, 512, 512), 1.0, 4.0)]) == []
    assert remedies(WELL, [Timing((1, 2, 64, 64), 1.0, 0.5), FAST[1]]) == []


def test_rows() -> None:
    assert describe(Timing((1, 2, 64, 64), 0.25, 1.0)) == (
        "1x2x64x64",
        "0.25 ms forward + backward, the listing 1 ms: 4.0x as fast",
    )
    assert describe(Timing((1, 2, 512, 512), 3.0, 1.5))[1].endswith(": 2.0x as slow")


def test_the_listing_is_the_papers() -> None:
    logits = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 9, 11), generator=torch.Generator().manual_seed(1))
    masks = F.one_hot(labels, 3).movedim(-1, 1).float()
    assert torch.equal(listing(logits, masks, 5), oracle.listing(logits, masks, 5))


def test_rounds_end_with_the_time() -> None:
    """By a clock that goes on by a second at each look."""
    for seconds, rounds in ((0.0, 1), (12.0, 3)):
        looks = itertools.count()
        taken = measure((1, 2, 8, 8), "cpu", looks.__next__, seconds)
        assert taken == Timing((1, 2, 8, 8), 1e3, 1e3)
        # Four to warm up and one to begin; a round has four, and one that asks for the time.
        assert next(looks) == 5 + 5 * rounds


@pytest.mark.parametrize(("milliseconds", "side"), [(1.0, 512), (10.0, 256), (90.0, 128)])
def test_a_slow_machine_gets_a_smaller_image(milliseconds: float, side: int) -> None:
    small = Timing((1, 2, 64, 64), milliseconds / 2, milliseconds / 2)
    assert speed_report.large_shape(small, 0.7) == (1, 2, side, side)


def test_the_report() -> None:
    environment = {**os.environ, "SCNP_CPU_CAPABILITY": "portable", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-m", "scnp_kernels"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    speed = result.stdout.partition("\nSpeed\n")[2]
    rows = speed.splitlines()
    assert rows[0].split()[0] == "1x2x64x64"
    assert rows[1].split()[0] in ("1x2x512x512", "1x2x256x256", "1x2x128x128")
    assert all("ms forward + backward, the listing" in row for row in rows[:2])
    advice = speed.partition("What makes it slow here\n")[2]
    setting = speed_report.observe()
    assert ("unset SCNP_CPU_CAPABILITY" in advice) == (setting.offered != "portable")
    assert ("torch runs on 1 thread of" in advice) == (setting.cores > 1)


def test_a_variable_that_cannot_be_obeyed_is_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "scnp_kernels"],
        env={**os.environ, "SCNP_CPU_CAPABILITY": "avx9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.strip().startswith("error: SCNP_CPU_CAPABILITY: got 'avx9'")
    assert "Traceback" not in result.stderr


def test_the_report_takes_no_arguments_but_help() -> None:
    command = [sys.executable, "-m", "scnp_kernels"]
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0
    assert "python -m scnp_kernels" in helped.stdout
    refused = subprocess.run([*command, "verdict"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "verdict" in refused.stderr
    assert not refused.stdout
