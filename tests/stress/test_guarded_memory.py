"""Promise: no kernel reads outside of the tensors that it is given, on any instruction set.

The tensors lie right behind, or right in front of, memory that no program may touch: a kernel that
reads one element too far ends its process.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import ctypes, mmap, torch
from scnp_kernels import scnp

PAGE = mmap.PAGESIZE
protect = ctypes.CDLL(None, use_errno=True).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

def guarded(tensor, at_end):
    size = tensor.numel() * tensor.element_size()
    length = -(-size // PAGE) * PAGE
    memory = mmap.mmap(-1, length + 2 * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for guard in (start, start + PAGE + length):
        assert protect(guard, PAGE, 0) == 0
    offset = PAGE + (length - size if at_end else 0)
    copy = torch.frombuffer(memory, dtype=tensor.dtype, offset=offset, count=tensor.numel())
    return copy.copy_(tensor.flatten()).view(tensor.shape)

generator = torch.Generator().manual_seed(0)
count = 0
for at_end in (False, True):
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for spatial, window in (((3, 5), 3), ((9, 64), 3), ((5, 131), 3), ((20, 9), 5),
                                ((16, 77), 9), ((17, 33), 15), ((18, 96), 13), ((3, 4, 5), 3),
                                ((4, 6, 50), 3), ((6, 5, 70), 5), ((300,), 3), ((12, 40), 17)):
            shape = (1, 2, *spatial)
            logits = guarded(torch.randn(shape, generator=generator).to(dtype), at_end)
            incoming = guarded(torch.randn(shape, generator=generator).to(dtype), at_end)
            labels = torch.randint(0, 2, (1, *spatial), generator=generator)
            gate = torch.rand(1, *spatial, generator=generator) < 0.8
            logits.requires_grad_()
            for given in (None, guarded(gate, at_end)):
                result = scnp(logits, guarded(labels, at_end), window, gate=given, backend="cpu")
                result.backward(incoming)
                count += 1
print(count)
"""


def _capabilities_of_this_machine() -> list[str]:
    best = torch.backends.cpu.get_cpu_capability()
    all_of_x86 = ["portable", "avx2", "avx512"]
    return all_of_x86[: {"AVX512": 3, "AVX2": 2}.get(best, 1)]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux to guard pages")
@pytest.mark.parametrize("capability", _capabilities_of_this_machine())
def test_nothing_is_read_in_front_of_a_tensor_or_behind_it(capability: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "SCNP_CPU_CAPABILITY": capability},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == 2 * 4 * 12 * 2
