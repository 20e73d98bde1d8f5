"""Loads the package on PYTHONPATH and shows what its CUDA build holds; fails if anything lacks.

``python show_registered.py 8.0 9.0``: the compute capabilities that it must hold code for. Needs a
CUDA build of torch, and no GPU.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import torch

import scnp_kernels
from scnp_kernels import ops
from scnp_kernels.backends.native import loader as native

OPERATORS = ("native_forward", "native_scatter", "native_gather")
# What nvcc embeds: regions of a header (magic, version, header size, bytes that follow) and, in
# them, entries (kind, version, header size, bytes that follow, ..., architecture at byte 28).
_REGION_MAGIC = struct.pack("<I", 0xBA55ED50)
_KINDS = {1: "PTX", 2: "machine code"}


def embedded_code(binary: bytes) -> set[tuple[str, int]]:
    """What kind of code for which architecture lies in a binary: ``("machine code", 80)``."""
    found = set()
    region = binary.find(_REGION_MAGIC)
    while region >= 0:
        header_size, size = struct.unpack_from("<HQ", binary, region + 6)
        entry = region + header_size
        while entry < region + header_size + size:
            kind, _, entry_header_size, entry_size = struct.unpack_from("<HHIQ", binary, entry)
            (architecture,) = struct.unpack_from("<I", binary, entry + 28)
            found.add((_KINDS.get(kind, f"kind {kind}"), architecture))
            entry += entry_header_size + entry_size
        region = binary.find(_REGION_MAGIC, region + 4)
    return found


def main(capabilities: list[str]) -> int:
    """Print what is there; return the exit status."""
    reason = native.load_cuda()
    if reason is not None:
        print(f"FAILED: {reason}")
        return 1
    record = native.build_record() or {}
    print(f"package  {Path(scnp_kernels.__file__).parent}")
    print(f"torch    {torch.__version__}")
    print(f"record   {record}")
    failed = False
    for operator in OPERATORS:
        name = f"{ops.NAMESPACE}::{operator}"
        keys = [
            key
            for key in ("CPU", "CUDA")
            if torch._C._dispatch_has_kernel_for_dispatch_key(name, key)
        ]
        print(f"{name}  registered for {', '.join(keys)}")
        failed |= keys != ["CPU", "CUDA"]
    code = embedded_code(Path(record["file"]).read_bytes())
    print("code     " + ", ".join(f"{kind} for {number}" for kind, number in sorted(code)))
    wanted = {("machine code", int(name.replace(".", ""))) for name in capabilities}
    if not wanted <= code:
        print(f"FAILED: no {sorted(wanted - code)}")
        failed = True
    print(f"backend  cuda: {scnp_kernels.backends()['cuda']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
