"""Compile a recorded launch ahead of time, and read what it needs from the machine code."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from tests.gpu.check.recorded import Launch

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_86": GPUTarget("cuda", 86, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
# Threads and blocks that a multiprocessor holds, by compute capability; its registers.
_MOST_THREADS = {80: 2048, 86: 1536, 90: 2048, 100: 2048}
_MOST_BLOCKS = {80: 32, 86: 16, 90: 32, 100: 32}
_REGISTERS = 65_536
_POINTERS = {
    torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.float32: "*fp32",
    torch.float64: "*fp64", torch.uint8: "*u8", torch.int8: "*i8", torch.int16: "*i16",
    torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip


class Resources(NamedTuple):
    """What one compiled kernel needs."""

    registers: int
    stack: int  # bytes
    spills: int  # instructions that store to or load from the stack (gfx: spilled registers)
    scalar_spills: int  # gfx: scalars kept in lanes of vector registers, not in memory
    occupancy: float  # theoretical: threads that fit, of those that a multiprocessor holds
    seconds: float  # processor time of the compilation


def source_of(launch: Launch) -> tuple[Any, dict[str, Any]]:
    """Triton's own reading of a launch, and the compiler's options."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}
    options = dict(launch.options)
    values = iter(launch.arguments)
    for number, parameter in enumerate(launch.kernel.params):
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            constants[(number,)] = options.pop(parameter.name)
            continue
        value = next(values)
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = _POINTERS[value.dtype]
            attributes[(number,)] = [["tt.divisibility", 16]]
        elif value == 1 and not parameter.do_not_specialize:
            signature[parameter.name] = "constexpr"
            constants[(number,)] = 1
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if not parameter.do_not_specialize and value % 16 == 0:
                attributes[(number,)] = [["tt.divisibility", 16]]
    source = ASTSource(launch.kernel, signature, constants, attributes)
    return source, options


def resources_of(launch: Launch, target: str) -> Resources:
    """Compile for a target of :data:`TARGETS`."""
    source, options = source_of(launch)
    start = os.times()
    compiled = triton.compile(source, target=TARGETS[target], options=options)
    seconds = sum(os.times()[:4]) - sum(start[:4])
    threads = options["num_warps"] * TARGETS[target].warp_size
    if target.startswith("gfx"):
        return _resources_of_amdgcn(compiled.asm["amdgcn"], seconds)
    return _resources_of_cubin(compiled.asm["cubin"], int(target[3:]), threads, seconds)


def _resources_of_cubin(cubin: bytes, capability: int, threads: int, seconds: float) -> Resources:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        usage = _cuobjdump("--dump-resource-usage", file.name)
        assembly = _cuobjdump("--dump-sass", file.name)
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    spills = len(re.findall(r"\b(?:LDL|STL)\b", assembly))
    assert "LDG" in assembly, "the disassembly shows no loads: it was not understood"
    # Registers are handed out to a warp in steps of 256.
    warps = _REGISTERS // (-(-found["REG"] * 32 // 256) * 256)
    most_threads = _MOST_THREADS[capability]
    blocks = min(warps // (threads // 32), most_threads // threads, _MOST_BLOCKS[capability])
    return Resources(
        found["REG"],
        found["STACK"] + found["LOCAL"],
        spills,
        0,
        blocks * threads / most_threads,
        seconds,
    )


def _resources_of_amdgcn(assembly: str, seconds: float) -> Resources:
    def number(name: str) -> int:
        match = re.search(rf"\.{name}:\s*(\d+)", assembly)
        assert match is not None, name
        return int(match[1])

    registers = number("vgpr_count")
    # A SIMD holds 8 waves and 512 vector registers for each lane, handed out in steps of 8.
    waves = min(8, 512 // (-(-max(registers, 1) // 8) * 8))
    return Resources(
        registers,
        number("private_segment_fixed_size"),
        number("vgpr_spill_count"),
        number("sgpr_spill_count"),
        waves / 8,
        seconds,
    )


def _cuobjdump(option: str, file: str) -> str:
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    environment = dict(os.environ, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    return subprocess.run(
        [str(tools / "cuobjdump"), option, file],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    ).stdout
