"""The CUDA kernels, compiled for the host under sanitizers, as Python functions.

:func:`build` compiles ``csrc/cuda`` with ``host_worker.cpp`` and the runtime in ``host_cuda``;
:class:`Worker` calls the program. A sanitizer that finds something ends the program, and the call
raises :class:`WorkerDiedError` with its report.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import torch
from torch import Tensor

HERE = Path(__file__).parent
CSRC = HERE.parents[2] / "csrc"

FLOAT_TYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)  # contract/geometry.h
TARGET_TYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.uint32,
    torch.int32,
    torch.uint64,
    torch.int64,
    *FLOAT_TYPES,
)
WINNER_TYPES = (torch.uint8, torch.int16, torch.int32)
FORWARD, SCATTER, GATHER, FIND_FAULT = range(4)
NO_FAULT = 2**64 - 1

# Not optimised: the kernels take most of the compiler's time and little of the test's.
FLAGS = ("-std=c++20", "-O0", "-g1", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Limits:
    """As in ``csrc/cuda/kernels.h``; and the seed of the order in which threads run."""

    shared_memory: int = 48 * 1024
    blocks: int = 2**31 - 1
    seed: int = 0


class ForwardResult(NamedTuple):
    """What the forward kernels write."""

    penalized: Tensor
    winners: Tensor


class Reading(NamedTuple):
    """How the target is to be read: the settings of the raw operator."""

    kernel_size: tuple[int, ...]
    target_is_masks: bool
    first_class: int
    label_count: int
    ignore_index: int | None


class WorkerDiedError(Exception):
    """The program ended in the middle of a call; the message is what it said."""


def build(csrc: Path, folder: Path, earlier: Path | None = None) -> Path:
    """Compile the kernels in ``csrc`` for the host; return the program.

    ``earlier`` is the folder of a build of the checkout's kernels: what is the same in ``csrc`` is
    not compiled again.

    Raises:
        RuntimeError: The compiler failed; the message holds its words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    include = (f"-I{HERE / 'host_cuda'}", f"-I{csrc / 'cuda'}")
    units = [*sorted((csrc / "cuda").glob("*.cu")), HERE / "host_worker.cpp"]
    objects = [folder / f"{unit.stem}.o" for unit in units]

    def compile_unit(unit: Path, to: Path) -> None:
        if earlier is not None and _is_as_in_the_checkout(unit, csrc):
            shutil.copy(earlier / to.name, to)
            return
        _run("g++", *FLAGS, *SANITIZERS, *include, "-x", "c++", "-c", str(unit), "-o", str(to))

    with ThreadPoolExecutor(os.cpu_count()) as compilers:
        list(compilers.map(compile_unit, units, objects))
    program = folder / "host_worker"
    _run("g++", *SANITIZERS, *map(str, objects), "-o", str(program))
    return program


def _is_as_in_the_checkout(unit: Path, csrc: Path) -> bool:
    """Are the unit and everything that it may include those of the checkout?"""
    own = [] if unit.parent == HERE else [unit]
    files = [*own, *csrc.glob("contract/*.h"), *csrc.glob("cuda/*.h")]
    return all(file.read_bytes() == (CSRC / file.relative_to(csrc)).read_bytes() for file in files)


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")


def axes_of(spatial: Sequence[int], fill: int) -> list[int]:
    """One value per spatial axis -> outer, middle, inner; a 2D image has no middle axis."""
    if len(spatial) == 2:
        return [spatial[0], fill, spatial[1]]
    return [*([fill] * (3 - len(spatial))), *spatial]


class _Memory(NamedTuple):
    """One tensor of a call: its bytes (zeros for a result) and its strides."""

    data: bytes
    element_size: int
    strides: list[int]  # batch, channel, outer, middle, inner; in elements


_ABSENT = _Memory(b"", 1, [0] * 5)


def _span(tensor: Tensor) -> int:
    """Elements from the first to the last in memory."""
    if tensor.numel() == 0:
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in steps)


def _memory(tensor: Tensor, has_channels: bool = True) -> _Memory:
    flat = torch.as_strided(tensor, (_span(tensor),), (1,))
    batch, *rest = tensor.stride()
    channel = rest.pop(0) if has_channels else 0
    data = flat.contiguous().view(torch.uint8).numpy().tobytes()
    return _Memory(data, tensor.element_size(), [batch, channel, *axes_of(rest, 0)])


class Worker:
    """The running program. One call at a time."""

    def __init__(self, program: Path) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115, closed by close()
        self._process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Leaks are looked for with ptrace, which containers forbid.
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        )

    def is_running(self) -> bool:
        """Can it be called?"""
        return self._process.poll() is None

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None,
        reading: Reading,
        winner_type: torch.dtype,
        limits: Limits,
        batch_distance: int = 0,
        gate: Tensor | None = None,
    ) -> ForwardResult:
        """Eq. 1. Shapes as in :mod:`scnp_kernels.ops`."""
        results = [torch.empty_like(logits), torch.empty_like(logits, dtype=winner_type)]
        self._call(
            FORWARD,
            _header_of(logits, winner_type, target, mask, reading, gate),
            limits,
            [
                _memory(logits),
                _memory(target, reading.target_is_masks),
                _ABSENT if mask is None else _memory(mask, False),
                _ABSENT if gate is None else _memory(gate, False),
            ],
            results,
            batch_distance,
        )
        return ForwardResult(*results)

    def linear(
        self,
        operation: int,
        values: Tensor,
        winners: Tensor,
        kernel_size: tuple[int, ...],
        limits: Limits,
        batch_distance: int = 0,
    ) -> Tensor:
        """Eq. 2 (``SCATTER``) or its transpose (``GATHER``); ``[B, C, *spatial]`` each."""
        result = torch.empty_like(winners, dtype=values.dtype)
        reading = Reading(kernel_size, False, 0, 0, None)
        self._call(
            operation,
            _header_of(values, winners.dtype, None, None, reading),
            limits,
            [_memory(values), _memory(winners), _ABSENT, _ABSENT],
            [result],
            batch_distance,
        )
        return result

    def find_fault(
        self, logits: Tensor, target: Tensor, mask: Tensor | None, reading: Reading, limits: Limits
    ) -> int | None:
        """Where the target first holds what it may not, as an index into it; None if nowhere."""
        self._call(
            FIND_FAULT,
            _header_of(logits, torch.uint8, target, mask, reading),
            limits,
            [
                _ABSENT,
                _memory(target, reading.target_is_masks),
                _ABSENT if mask is None else _memory(mask, False),
                _ABSENT,
            ],
            [],
            0,
        )
        (position,) = struct.unpack("Q", self._read(8))
        return None if position == NO_FAULT else int(position)

    def _call(
        self,
        operation: int,
        header: list[int],
        limits: Limits,
        inputs: list[_Memory],
        results: list[Tensor],
        batch_distance: int,
    ) -> None:
        outputs = [_memory(result) for result in results]
        tensors = [*inputs, *outputs, *[_ABSENT] * (2 - len(outputs))]
        numbers = [
            operation,
            limits.seed,
            limits.shared_memory,
            limits.blocks,
            batch_distance,
            *header,
        ]
        for memory in tensors:
            numbers += [len(memory.data), memory.element_size, *memory.strides]
        message = struct.pack(f"{len(numbers)}q", *numbers) + b"".join(m.data for m in inputs)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
        except BrokenPipeError:
            self._died()
        (error,) = struct.unpack("q", self._read(8))
        if error != 0:
            raise RuntimeError(f"the launch was refused with CUDA error {error}")
        for result, memory in zip(results, outputs, strict=True):
            raw = torch.frombuffer(bytearray(self._read(len(memory.data))), dtype=torch.uint8)
            whole = raw.view(result.dtype)
            result.copy_(torch.as_strided(whole, result.shape, result.stride()))

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            self._died()
        return data

    def _died(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        raise WorkerDiedError(self._errors.read().decode(errors="replace"))


def _header_of(
    logits: Tensor,
    winner_type: torch.dtype,
    target: Tensor | None,
    mask: Tensor | None,
    reading: Reading,
    gate: Tensor | None = None,
) -> list[int]:
    """Sizes, types and settings, in the order of the program's header."""
    ignored = reading.ignore_index
    return [
        logits.shape[0],
        logits.shape[1],
        *axes_of(logits.shape[2:], 1),
        *axes_of(reading.kernel_size, 1),
        FLOAT_TYPES.index(logits.dtype),
        WINNER_TYPES.index(winner_type),
        0 if target is None else TARGET_TYPES.index(target.dtype),
        int(reading.target_is_masks),
        reading.first_class,
        reading.label_count,
        int(ignored is not None),
        ignored or 0,
        int(mask is not None),
        int(gate is not None),
    ]


def winner_type_for(kernel_size: Sequence[int]) -> torch.dtype:
    """The narrowest type for the window's taps."""
    taps = math.prod(kernel_size)
    return torch.uint8 if taps <= 255 else torch.int16 if taps <= 32_767 else torch.int32
