"""Loads the package on PYTHONPATH and shows what its CUDA build holds; fails if anything lacks.

``python show_built.py 8.0 9.0``: the compute capabilities that it must hold code for. Needs neither
a GPU nor a CUDA build of torch.
"""

from __future__ import annotations

import contextlib
import re
import struct
import subprocess
import sys
from pathlib import Path
from unittest import mock

import torch

import scnp_kernels
from scnp_kernels.backends.native import loader as native
from scnp_kernels.backends.native import operators
from scnp_kernels.rules.target import Reading

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


def call_every_operator() -> None:
    """With tensors of no elements, which launch nothing, and without values or a device.

    What Python hands over is what the module takes: the dtypes, the numbers, how many there are.
    """
    logits = torch.empty(0, 3, 4, 5, device="meta")
    target = torch.empty(0, 4, 5, dtype=torch.uint8, device="meta")
    mask = torch.empty(0, 4, 5, dtype=torch.bool, device="meta")
    with (
        mock.patch("torch.cuda.device", return_value=contextlib.nullcontext()),
        mock.patch.object(operators, "_stream", return_value=0),
    ):
        penalized, winners = operators.forward(
            logits, target, mask, mask, [3, 3], Reading(False, 0, 3, 255, False)
        )
        assert penalized.shape == winners.shape == logits.shape
        assert operators.scatter(penalized, winners, [3, 3]).shape == logits.shape
        assert operators.gather(penalized, winners, [3, 3]).shape == logits.shape


def main(capabilities: list[str]) -> int:
    """Print what is there; return the exit status."""
    reason = native.load()
    record = native.build_record()
    if reason is not None or record is None or record["cuda"] is None:
        print(f"FAILED: {reason or 'the module was built without its CUDA part'}")
        return 1
    print(f"package  {Path(scnp_kernels.__file__).parent}")
    print(f"torch    {torch.__version__}")
    print(f"record   {record}")
    call_every_operator()
    print("called   " + ", ".join(name for name in dir(native.kernels) if "cuda" in name))
    code = embedded_code(Path(record["file"]).read_bytes())
    print("code     " + ", ".join(f"{kind} for {number}" for kind, number in sorted(code)))
    wanted = {("machine code", int(name.replace(".", ""))) for name in capabilities}
    linked = subprocess.run(
        ["readelf", "--wide", "--dynamic", "--dyn-syms", record["file"]],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", linked)
    print("needs    " + ", ".join(needed))
    print(f"backend  cuda: {native.load_cuda() or native.OK}")
    failures = []
    if not wanted <= code:
        failures.append(f"no {sorted(wanted - code)}")
    # The runtime is inside, and hidden: torch's own must not be taken for it.
    if any("cuda" in name for name in needed) or re.search(r" cuda[A-Z]\w*$", linked, re.M):
        failures.append("the CUDA runtime is not hidden inside the module")
    print(*(f"FAILED: {failure}" for failure in failures), sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
