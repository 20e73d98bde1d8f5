"""Promise: every instruction set of the CPU kernels computes the same bits.

A process chooses its instruction set once, so each runs in a process of its own and prints a digest
of all results; the reference computes the same digest without any of the compiled code.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from tests import fresh_process

DIGEST = """
import hashlib, sys, torch
from scnp_kernels import scnp
from scnp_kernels.backends.native import loader as native
backend = sys.argv[1]
digest = hashlib.sha256()
generator = torch.Generator().manual_seed(0)
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    for spatial, window in (((1100,), 5), ((37, 70), 3), ((4, 1030), 7), ((5, 9, 33), 3),
                            ((5, 8, 65), (1, 3, 5)), ((20, 21), 17), ((12, 200), 9),
                            ((18, 70), 15)):
        shape = (1, 3, *spatial)
        logits = (torch.randn(shape, generator=generator) * 4).round().div(4).to(dtype)
        logits.flatten()[::97] = float("-inf")
        logits.flatten()[50::211] = float("nan")
        logits.requires_grad_()
        target = torch.randint(0, 4, (1, *spatial), generator=generator)
        incoming = torch.randn(shape, generator=generator).to(dtype)
        gate = torch.rand(1, *spatial, generator=generator) < 0.7
        for given in (None, gate):
            penalized = scnp(logits, target, window, ignore_index=3, gate=given, backend=backend)
            (gradient,) = torch.autograd.grad(penalized, logits, incoming)
            for result in (penalized.detach(), gradient):
                # One NaN and one zero: their payload and sign are not promised.
                same = torch.where(result.isnan(), float("nan"), result) + 0.0
                digest.update(same.double().numpy().tobytes())
record = native.build_record() or {}
print(record.get("capability"), digest.hexdigest())
"""


def _digest(backend: str, capability: str) -> tuple[str, str]:
    result = fresh_process.run(DIGEST, backend, SCNP_CPU_CAPABILITY=capability)
    assert result.returncode == 0, result.stderr
    used, digest = result.stdout.split()
    return used, digest


def _capabilities_of_this_machine() -> list[str]:
    best = torch.backends.cpu.get_cpu_capability()
    return {
        "AVX512": ["portable", "avx2", "avx512"],
        "AVX2": ["portable", "avx2"],
    }.get(best, ["portable"])


@pytest.fixture(scope="module")
def expected() -> str:
    return _digest("reference", "")[1]


@pytest.mark.parametrize("capability", _capabilities_of_this_machine())
def test_every_instruction_set_computes_the_same_bits(capability: str, expected: str) -> None:
    used, digest = _digest("cpu", capability)
    assert used == capability
    assert digest == expected


CHOSEN = """
from scnp_kernels.backends.native import loader as native
print((native.build_record() or {}).get("capability"))
"""


def test_the_best_instruction_set_is_chosen_by_itself() -> None:
    result = fresh_process.run(CHOSEN, SCNP_CPU_CAPABILITY="")
    assert result.stdout.strip() == _capabilities_of_this_machine()[-1], result.stderr


def test_an_unknown_instruction_set_is_refused() -> None:
    result = fresh_process.run(DIGEST, "cpu", SCNP_CPU_CAPABILITY="sse9")
    assert result.returncode == 1
    assert "ValueError: SCNP_CPU_CAPABILITY: got 'sse9', takes portable, avx2" in result.stderr


@pytest.mark.parametrize(
    "file",
    [
        "dispatch.cpp",
        "targets/portable/shared_portable.cpp",
        "targets/portable/penalize_float32_portable.cpp",
        "targets/portable/scatter_portable.cpp",
        "targets/portable/dice_ce_portable.cpp",
        "targets/avx512/shared_avx512.cpp",
    ],
)
def test_the_portable_kernels_compile_without_x86(file: str) -> None:
    """For machines that none of us has, as far as a compiler for this one can tell."""
    csrc = Path(__file__).parents[2] / "csrc"
    command = [*shlex.split(os.environ.get("CXX", "c++")), "-std=c++20", "-fsyntax-only"]
    warnings = ["-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"]
    result = subprocess.run(
        [*command, *warnings, "-DSCNP_FOREIGN_MACHINE", f"-I{csrc}", str(csrc / "cpu" / file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
