"""ncu's counters of the four main kernels, beside what ``make gpu-check`` predicts of them.

    python -m benchmarks.gpu.counters    only runs the kernels: what ncu is told to watch

Sectors are the 32-byte pieces that the kernels ask of L2; ``gpu-check`` counts them in Triton's
interpreter on smaller images, as a multiple of the least. Occupancy is theoretical (registers,
shared memory) and achieved.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.program import Job
from benchmarks.gpu.rows import Row

TABLE = "counters"
SECTOR = 32  # bytes
METRICS = {
    "microseconds": "gpu__time_duration.sum",
    "sectors": "lts__t_sectors_srcunit_tex.sum",
    "dram_bytes": "dram__bytes.sum",
    "registers": "launch__registers_per_thread",
    "occupancy": "sm__maximum_warps_per_active_cycle_pct",
    "achieved_occupancy": "sm__warps_active.avg.pct_of_peak_sustained_active",
}


class Kernel(NamedTuple):
    """One of the four, and what was predicted without a GPU: docs/gpu.md."""

    name: str
    shape: tuple[int, ...]
    backward: bool
    sectors: float  # over the least; tests/gpu/check/traffic.py
    registers: int  # of a thread on sm_90, by triton 3.6; tests/gpu/check/ahead_of_time.py
    occupancy: float  # theoretical, in percent; likewise


def kernels() -> tuple[Kernel, ...]:
    """In the order of their launches."""
    from benchmarks.gpu.cases import SHAPES

    return (
        Kernel("2D forward", SHAPES.paper_2d, False, 1.14, 38, 75),
        Kernel("2D backward", SHAPES.paper_2d, True, 1.15, 31, 100),
        Kernel("3D forward", SHAPES.paper_3d, False, 1.97, 62, 50),
        Kernel("3D backward", SHAPES.paper_3d, True, 1.35, 61, 50),
    )


def jobs() -> Iterator[Job]:
    """Yield one job: ncu watches all four kernels."""
    yield Job(TABLE, "w = 3, float32, int64 labels", "ncu", _measured)


def find_ncu() -> str | None:
    """Return ncu's path: on PATH, or where CUDA's toolkit puts it."""
    toolkits = (os.environ.get("CUDA_HOME", ""), "/usr/local/cuda")
    places = [Path(toolkit) / "bin" / "ncu" for toolkit in toolkits if toolkit]
    return shutil.which("ncu") or next((str(place) for place in places if place.exists()), None)


def _measured() -> Row:
    ncu = find_ncu()
    if ncu is None:
        return {"state": "not there", "reason": "there is no ncu on PATH or in CUDA's toolkit"}
    options = ["--csv", "--print-units", "base", "--profile-from-start", "off"]
    options += ["--target-processes", "all", "--metrics", ",".join(METRICS.values())]
    result = subprocess.run(
        [ncu, *options, sys.executable, "-m", "benchmarks.gpu.counters"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(result.stdout, result.stderr, sep="\n", flush=True)
    found = read_counters(result.stdout)
    names = [kernel.name for kernel in kernels()]
    if len(found) != len(names):
        said = [line for line in result.stdout.splitlines() if line.startswith("==")]
        reason = f"ncu (status {result.returncode}) watched {len(found)} kernels of {len(names)}"
        return {"state": "not there", "reason": " ".join([f"{reason}:", *said[-4:]])}
    return {"kernels": [_compared(*pair) for pair in zip(kernels(), found, strict=True)]}


def _compared(kernel: Kernel, counters: Row) -> Row:
    from benchmarks.harness.case import Case, least_bytes

    least = least_bytes(Case(kernel.shape))[kernel.backward]
    row = {
        "kernel": kernel.name,
        "predicted_sectors_over_least": kernel.sectors,
        "predicted_registers": kernel.registers,
        "predicted_occupancy": kernel.occupancy,
        **counters,
    }
    if "sectors" in counters:
        row["sectors_over_least"] = round(counters["sectors"] * SECTOR / least, 3)
    if "dram_bytes" in counters:
        row["dram_over_least"] = round(counters["dram_bytes"] / least, 3)
    return row


def read_counters(text: str) -> list[Row]:
    """Read ncu's CSV: one line for each kernel and metric, between lines that begin with "=="."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    by_metric = {metric: name for name, metric in METRICS.items()}
    found: dict[str, Row] = {}
    for line in csv.DictReader(io.StringIO("\n".join(lines))):
        name = by_metric.get(line.get("Metric Name", ""))
        if name is None:
            continue
        row = found.setdefault(line["ID"], {"launched": line["Kernel Name"]})
        try:
            value = float(line["Metric Value"].replace(",", ""))
        except ValueError:  # "n/a" where the card has no such counter
            continue
        row[name] = value / 1e3 if line["Metric Unit"] in ("nsecond", "ns") else value
    return list(found.values())


def main() -> None:
    """Launch each kernel once, within what ncu watches; compile before."""
    import torch

    from benchmarks.gpu import device
    from benchmarks.gpu.inputs import make
    from benchmarks.harness.case import Case
    from benchmarks.harness.subject import gradient
    from scnp_kernels import scnp

    for shape in dict.fromkeys(kernel.shape for kernel in kernels()):
        buffer = make(Case(shape), 0)
        gradient(scnp(buffer.logits, buffer.labels, 3), buffer)
        device.synchronize()
        if not device.REHEARSAL:
            torch.cuda.profiler.start()
        penalized = scnp(buffer.logits, buffer.labels, 3)
        gradient(penalized, buffer)
        device.synchronize()
        if not device.REHEARSAL:
            torch.cuda.profiler.stop()


if __name__ == "__main__":
    main()
