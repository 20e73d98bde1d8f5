"""What a run leaves behind: every sample in JSON, a summary of them in CSV."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from benchmarks.common.files import write_csv, write_text
from benchmarks.common.tables import by
from benchmarks.harness.case import LABELS
from benchmarks.harness.turns import Measured
from benchmarks.kernels.cases import COPY

FORWARD, RECORDING, BACKWARD, BOTH = "forward", "recording forward", "backward", "both"
PHASES = {
    FORWARD: "forward, no gradient wanted",
    RECORDING: "forward, remembering what backward needs",
    BACKWARD: "backward",
    BOTH: "recording forward and backward",
}
JSON_NAME, CSV_NAME = "results.json", "results.csv"
CAPABILITIES = ("avx512", "avx2", "portable")  # of the kernels, the fastest first


class NotMeasuredError(LookupError):
    """The results do not hold what was asked for; the message names it."""


@dataclass
class Record:
    """All samples of one implementation on one case, in microseconds."""

    group: str
    case: str
    implementation: str
    shape: tuple[int, ...]
    kernel_size: int
    dtype: str
    target: str
    channels_last: bool
    threads: int | None
    logits: int
    saved_bytes: int | None = None
    peak_bytes: int | None = None  # of tensors, beyond inputs and results
    least_bytes: tuple[int, int] | None = None  # forward, backward
    rounds: list[int] = field(default_factory=list)  # in which it was measured
    times: dict[str, list[float]] = field(default_factory=dict)  # by phase

    @classmethod
    def of(cls, group: str, measured: Measured) -> Record:
        """What was measured in a group."""
        case, samples = measured.case, measured.samples
        asked = ("shape", "kernel_size", "target", "channels_last", "threads", "logits")
        return cls(
            group=group,
            case=case.name,
            implementation=measured.name,
            dtype=case.dtype_name,
            **{name: getattr(case, name) for name in asked},
            **measured.prepared.facts,
            rounds=measured.rounds,
            times={
                phase: [round(sample[place] * 1e6, 2) for sample in samples]
                for place, phase in enumerate((FORWARD, RECORDING, BOTH))
            },
        )

    @property
    def has_gradient(self) -> bool:
        """Whether all phases and the memory were measured: not of memory traffic, nor of OpenCV."""
        return self.least_bytes is not None

    @property
    def shape_name(self) -> str:
        """``2x2x1280x1024``."""
        return by(self.shape)

    @property
    def case_name(self) -> str:
        """The shape, the window, and what differs from a contiguous float32 and a label map."""
        parts = [self.shape_name, f"w = {self.kernel_size}"]
        parts += [self.dtype] if self.dtype != "float32" else []
        parts += [self.target] if self.target != LABELS else []
        parts += ["channels_last"] if self.channels_last else []
        if self.threads is not None:
            parts += [f"{self.threads} thread" + "s" * (self.threads > 1)]
        return ", ".join(parts)

    def microseconds(self, phase: str) -> list[float]:
        """The samples of one phase, round by round."""
        if phase == BACKWARD:
            pairs = zip(self.times[BOTH], self.times[RECORDING], strict=True)
            return [both - recording for both, recording in pairs]
        return self.times[phase]

    def milliseconds(self, phase: str) -> float:
        """The median."""
        return median(self.microseconds(phase)) / 1e3

    def quartiles(self, phase: str) -> tuple[float, float]:
        """The middle half of the samples lies between them, in milliseconds."""
        times = self.microseconds(phase)
        if len(times) < 2:
            return times[0] / 1e3, times[0] / 1e3
        low, _, high = quantiles(times, n=4, method="inclusive")
        return low / 1e3, high / 1e3

    def bytes_moved(self, phase: str) -> int | None:
        """The least that has to move."""
        if self.least_bytes is None:
            return None
        forward, backward = self.least_bytes
        return {BACKWARD: backward, BOTH: forward + backward}.get(phase, forward)

    def gigabytes_per_second(self, phase: str) -> float | None:
        """The least that has to move, over the time: what a user gets of the memory's speed."""
        moved = self.bytes_moved(phase)
        return None if moved is None else moved / self.milliseconds(phase) / 1e6

    @property
    def saved_per_logit(self) -> float:
        """Bytes kept for backward."""
        return (self.saved_bytes or 0) / self.logits

    @property
    def peak_per_logit(self) -> float:
        """Bytes of tensors at the peak of forward + backward, beyond inputs and results."""
        return (self.peak_bytes or 0) / self.logits


@dataclass(frozen=True)
class Ratio:
    """How many times longer one took than another, in two ways that should agree."""

    of_medians: float
    median_of_rounds: float  # ratio by ratio, in the rounds in which both were measured
    rounds: int


@dataclass(frozen=True)
class Results:
    """One run."""

    facts: dict[str, str]
    records: list[Record]
    missing: dict[str, str] = field(default_factory=dict)  # peers not installed: what they lack

    @property
    def capability(self) -> str:
        """The instruction set that the kernels used."""
        return self.facts.get("CPU capability of the kernels", "unknown")

    def find(self, group: str, implementation: str, **wanted: object) -> Record:
        """The one record of a group that fits.

        Raises:
            NotMeasuredError: There is none.
        """
        for record in self.in_group(group, implementation):
            if all(getattr(record, name) == value for name, value in wanted.items()):
                return record
        raise NotMeasuredError(f"{implementation} in {group!r} with {wanted}")

    def in_group(self, group: str, implementation: str | None = None) -> list[Record]:
        """The records of a group, in order; of one implementation, or of all."""
        of_group = [record for record in self.records if record.group == group]
        return [r for r in of_group if implementation in (None, r.implementation)]

    def copy_beside(self, record: Record) -> Record:
        """The copy of the same kind of logits, measured in the same rounds."""
        return self.find(
            record.group,
            COPY,
            shape=record.shape,
            dtype=record.dtype,
            channels_last=record.channels_last,
            threads=record.threads,
        )


def ratio(slower: Record, faster: Record, phase: str, faster_phase: str | None = None) -> Ratio:
    """How many times longer the first took; both from one group."""
    first = dict(zip(slower.rounds, slower.microseconds(phase), strict=True))
    second = dict(zip(faster.rounds, faster.microseconds(faster_phase or phase), strict=True))
    common = first.keys() & second.keys()
    if not common:
        raise NotMeasuredError(f"no round has both {slower.case} and {faster.case}")
    return Ratio(
        of_medians=median(first.values()) / median(second.values()),
        median_of_rounds=median(first[index] / second[index] for index in common),
        rounds=len(common),
    )


def per_logit(one: Record, other: Record) -> Ratio:
    """How many times longer the first took for a logit, forward + backward."""
    found, less = ratio(one, other, BOTH), other.logits / one.logits
    return Ratio(found.of_medians * less, found.median_of_rounds * less, found.rounds)


def write_results(folder: Path, results: Results) -> None:
    """Both files, each whole or not at all."""
    # One line for each record, so that a difference between two runs can be read.
    lines = ",\n".join(f"  {json.dumps(asdict(record))}" for record in results.records)
    facts = json.dumps(results.facts, indent=1)
    missing = json.dumps(results.missing, indent=1)
    document = f'{{"facts": {facts},\n"missing": {missing},\n"records": [\n{lines}\n]}}'
    write_text(folder / JSON_NAME, document)
    write_csv(folder / CSV_NAME, list(_csv_rows(results)))


def read_results(folder: Path) -> Results:
    """What :func:`write_results` wrote.

    Raises:
        FileNotFoundError: Nothing was measured yet.
    """
    document = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
    records = []
    for values in document["records"]:
        for name in ("shape", "least_bytes"):
            values[name] = values[name] and tuple(values[name])
        records.append(Record(**values))
    return Results(document["facts"], records, document.get("missing", {}))


def stored_runs(folder: Path) -> dict[Path, Results]:
    """The runs in a folder and in those within it, by folder; the fastest kernels come first.

    Raises:
        FileNotFoundError: There is none.
    """
    folders = [folder, *(folder / capability for capability in CAPABILITIES)]
    runs = {place: read_results(place) for place in folders if (place / JSON_NAME).exists()}
    if not runs:
        raise FileNotFoundError(f"{folder}: holds no {JSON_NAME}, nor a folder with one")
    return runs


def _csv_rows(results: Results) -> Iterable[dict[str, object]]:
    for record in results.records:
        measured = record.has_gradient
        for phase in PHASES if measured else (FORWARD,):
            speed = record.gigabytes_per_second(phase)
            to_copy = ratio(record, results.copy_beside(record), phase, FORWARD)
            low, high = record.quartiles(phase)
            yield {
                "group": record.group,
                "shape": record.shape_name,
                "kernel_size": record.kernel_size,
                "dtype": record.dtype,
                "target": record.target,
                "layout": "channels_last" if record.channels_last else "contiguous",
                "threads": record.threads or results.facts["threads"],
                "implementation": record.implementation,
                "phase": phase,
                "rounds": len(record.rounds),
                "median_ms": f"{record.milliseconds(phase):.5g}",
                "quartile1_ms": f"{low:.5g}",
                "quartile3_ms": f"{high:.5g}",
                "bytes_moved_at_least": record.bytes_moved(phase),
                "gb_per_s": None if speed is None else f"{speed:.4g}",
                "ratio_to_copy": f"{to_copy.of_medians:.4g}",
                "ratio_to_copy_median_of_rounds": f"{to_copy.median_of_rounds:.4g}",
                "saved_bytes_per_logit": f"{record.saved_per_logit:.4g}" if measured else None,
                "peak_bytes_per_logit": f"{record.peak_per_logit:.4g}" if measured else None,
            }
