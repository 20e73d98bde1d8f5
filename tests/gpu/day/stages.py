"""Which programs a run consists of, in which order, and how long each may take."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
BUDGET = 480  # seconds of a whole run
# Of a 16-core machine; the others compile what the measurements need (benchmarks.gpu warm).
WORKERS, WARMING = 12, 4
TESTS = "tests/gpu/suite"


class Program(NamedTuple):
    """One program of a stage."""

    name: str
    command: tuple[str, ...]
    seconds: float  # it is ended after so many
    variables: tuple[tuple[str, str], ...] = ()
    restarts: bool = False  # begun again where it broke off, as long as it comes further


class Stage(NamedTuple):
    """Steps one after the other; the programs of a step run at the same time."""

    letter: str
    title: str
    seconds: float
    steps: tuple[tuple[Program, ...], ...]
    beside: tuple[Program, ...] = ()  # begun with this stage; may go on during the next ones
    alone: bool = False  # ends what runs beside, since it measures
    needs: str = ""  # what runs beside and is waited for before the steps


class Choice(NamedTuple):
    """What a run was asked for."""

    rows: Path  # folder of the report
    budget: float = BUDGET
    rehearsal: str = ""  # what stands for the Triton kernels on a machine without a GPU
    toy: bool = False  # a handful of tests a stage, for the tests of this program
    fault: str = ""  # what the rehearsal plants
    patience: float = 1.0  # how many times as long as on a GPU's machine everything may take

    @property
    def short(self) -> bool:
        return self.budget < BUDGET


# What a short run chooses of the contract: every kernel, borders of tiles and windows, ties.
SHORT_CASES = "(float32 or bfloat16) and (window or tiles or taps or tied or ignore or sliced)"
ONLY_ON_A_GPU = "graph or compile or opcheck or waits or same_bits or validate"
ONE_AT_A_TIME = "32_bits or memory"


def stages(choice: Choice) -> list[Stage]:
    """Return the stages of a run."""
    build: tuple[str, ...] = (sys.executable, "-m", "tests.gpu.day.build")
    if choice.rehearsal:
        build = (sys.executable, "-c", "print('left out of a rehearsal')")
    part = 0.5 if choice.short else 1.0
    cases = "test_case or test_many_programs"
    toy_cases = "float32-window_3_2d or 2d-softmax-penalized"
    if choice.short:
        cases = f"test_case and ({SHORT_CASES} or softmax or sigmoid)"
    special, apart, first = ONLY_ON_A_GPU, ONE_AT_A_TIME, ""
    if choice.toy:
        cases, first = f"test_case and ({toy_cases})", "float32-2d"
        special, apart = "test_graph[2d or waits", "memory"
    tests = _Tests(choice)
    measured = [("penalization", 90), ("losses", 42), ("training_step", 43), ("counters", 25)]
    if choice.short:
        measured = [("penalization", 30), ("losses", 22), ("training_step", 18)]
    return [
        Stage(
            "a",
            "What is here; one case of every operator, dtype and dimension",
            60 * part,
            (
                (_machine(choice, "triton", "reference"),),
                (tests.program("first look", ["first_look"], "triton,reference", first, 6),),
            ),
            beside=(Program("build", build, 240),),
        ),
        Stage(
            "b",
            "The contract on Triton",
            60 if choice.short else 120,
            ((tests.program("contract on triton", ["contract", "fused_loss"], "triton", cases),),),
            beside=() if choice.toy else tuple(_warm(choice, n) for n in range(WARMING)),
        ),
        Stage(
            "c",
            "The contract on CUDA C++, and the reference on the GPU",
            60 * part,
            (
                (_machine(choice, "cuda"),),
                (
                    tests.program(
                        "contract on cuda",
                        ["first_look", "contract", "fused_loss"],
                        "cuda,reference",
                        f"test_first_look or {cases}" if not choice.toy else cases,
                    ),
                ),
            ),
            needs="build",
        ),
        Stage(
            "d",
            "More than 2^31 elements, memory, CUDA graphs, torch.compile, opcheck",
            80 * part,
            (
                (
                    tests.program(
                        "one at a time", ["contract", "fused_loss"], "triton,cuda", apart, 1
                    ),
                    tests.program(
                        "only on a GPU", ["contract", "fused_loss"], "triton,cuda", special, 6, 75
                    ),
                ),
            ),
        ),
        Stage(
            "e",
            "Measurements",
            70 if choice.short else 200,
            tuple((_measurement(choice, name, seconds),) for name, seconds in measured),
            alone=True,
        ),
    ]


class _Tests:
    """How pytest is called."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def program(
        self,
        name: str,
        files: list[str],
        backends: str,
        keywords: str = "",
        workers: int = WORKERS,
        test_seconds: float = 40,
    ) -> Program:
        """Several processes, since one that meets a fault of the GPU can only end."""
        choice = self.choice
        command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib -q"]
        command += ["-p", "no:cacheprovider", "-p", "tests.gpu.day.pytest_rows", "--tb=short"]
        if choice.fault:
            command += ["-p", "tests.gpu.day.faults"]
        there = max(2, (os.cpu_count() or 1) - WARMING)
        most = 1 if choice.toy else 2 if choice.rehearsal else there
        command += ["-n", str(min(most, workers)), "--max-worker-restart", "100"]
        command += [f"{TESTS}/{file}.py" for file in files]
        if keywords:
            command += ["-k", keywords]
        return Program(
            name,
            tuple(command),
            seconds=600,
            variables=(
                ("SCNP_GPU_BACKENDS", backends),
                ("SCNP_TEST_SECONDS", str(test_seconds * choice.patience)),
            ),
        )


def _machine(choice: Choice, *backends: str) -> Program:
    del choice
    command = (sys.executable, "-m", "tests.gpu.day.machine", *backends)
    return Program(f"machine, {' and '.join(backends)}", command, 30)


def _warm(choice: Choice, share: int) -> Program:
    del choice
    command = (sys.executable, "-m", "benchmarks.gpu", "warm", "--share", f"{share}/{WARMING}")
    return Program(f"warm {share}", command, 400, (("TORCHINDUCTOR_COMPILE_THREADS", "1"),))


def _measurement(choice: Choice, part: str, seconds: float) -> Program:
    # The last job that begins in time may still take a few seconds.
    begin = 4 if choice.toy else (seconds - 8) * choice.patience
    command = (sys.executable, "-m", "benchmarks.gpu", part, "--seconds", str(begin))
    rows = str(choice.rows / "e.jsonl")
    return Program(part, (*command, "--rows", rows), seconds, restarts=True)


def variables_of(choice: Choice, stage: str, program: str, log: Path) -> dict[str, str]:
    """Return what every program finds in its environment."""
    variables = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "COLUMNS": "200",
        "TORCHINDUCTOR_COMPILE_THREADS": "4",
        "SCNP_BUILD": "none",  # nothing is compiled on the way: twelve workers would do it at once
        "SCNP_ROWS": str(choice.rows / f"{stage}.jsonl"),
        "SCNP_LOG": str(log),
        "SCNP_PROGRAM": program,
        "SCNP_REFERENCES": str(choice.rows / "references"),
    }
    if choice.rehearsal:
        variables |= {"SCNP_REHEARSAL": choice.rehearsal, "OMP_NUM_THREADS": "1"}
        variables |= {"CUDA_VISIBLE_DEVICES": ""}
    if choice.rehearsal == "interpreter":
        variables["TRITON_INTERPRET"] = "1"
    if choice.fault:
        variables["SCNP_FAULT"] = choice.fault
    return variables
