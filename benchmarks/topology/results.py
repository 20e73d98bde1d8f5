"""What the finished runs of a data set say: every measure by image and seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common.errors import UsageError
from benchmarks.common.tables import by
from benchmarks.topology import losses
from benchmarks.topology.configuration import Configuration
from benchmarks.topology.records import (
    SCORES,
    VALIDATION,
    RunRecord,
    blaming,
    configuration_of,
    finished_runs,
    train_anew,
    truths,
)
from benchmarks.topology.scoring import parts
from benchmarks.topology.structures import are_tubes

Window = tuple[int, ...]
LOWER_IS_BETTER = {
    "betti0_error",
    "betti1_error",
    "betti_error",
    "betti_matching_error",
    "roundness_error",
}
CUBES_NOTE = (
    "Cubes of one volume share its staining and its expert: p speaks of these volumes, not of "
    "others."
)
TITLES = {
    "dice": "Dice",
    "betti0_error": "Betti-0 error",
    "betti1_error": "Betti-1 error",
    "betti_error": "Betti error",
    "betti_matching_error": "Betti-matching error",
    "cldice": "clDice",
    "roundness_error": "roundness error",
}
LOSS_TITLES = {
    "ce": "CE",
    "dice": "Dice",
    "ce_dice": "CE+Dice",
    "tversky": "Tversky",
    "focal": "Focal",
    "cldice": "clDice",
    "skeleton_recall": "Skeleton Recall",
    "topoloss": "TopoLoss",
    "regionwise": "RegionWise",
}
MODE_TITLES = {"off": "plain", "on": "SCNP", "joint": "joint", "warm_up": "warm-up"}


@dataclass(frozen=True)
class Method:
    """A loss, with SCNP or without: what a row of a table is about."""

    loss: str
    mode: str
    window: Window  # (1,) when the mode is off

    @property
    def plain(self) -> Method:
        """The same loss without SCNP."""
        return Method(self.loss, "off", (1,))

    @property
    def loss_title(self) -> str:
        """The loss as tables name it."""
        return LOSS_TITLES.get(self.loss, self.loss)

    @property
    def mode_title(self) -> str:
        """plain, SCNP or joint."""
        return MODE_TITLES[self.mode]

    @property
    def title(self) -> str:
        """All of it, as tables name it."""
        window = "" if self.mode == "off" else f", w = {by(self.window)}"
        return f"{self.loss_title}, {self.mode_title}{window}"


@dataclass
class Results:
    """The finished runs of one data set."""

    folder: Path
    configuration: Configuration
    runs: dict[Method, dict[int, RunRecord]]  # by seed
    _values: dict[tuple[Method, int, str], dict[str, dict[str, float]]] = field(
        default_factory=dict
    )
    _images: dict[str, tuple[RunRecord, set[str]]] = field(default_factory=dict)  # by split
    _cut: dict[str, bool] = field(default_factory=dict)  # by split

    @property
    def name(self) -> str:
        """The data set's."""
        return self.folder.name

    @property
    def split(self) -> str:
        """The first scored one, which is shown where there is room for one."""
        return self.configuration.tests[0]

    @property
    def measures(self) -> tuple[str, ...]:
        """What every image was scored by."""
        return self.configuration.measures

    @property
    def tiled(self) -> bool:
        """Whether volumes are scored on cubes where they are large."""
        return self.configuration.spatial_dimensions == 3 and self.configuration.tile > 0

    def is_cut(self, split: str) -> bool:
        """Whether volumes of a split were scored on several cubes each."""
        if split not in self._cut:
            self._cut[split] = self.tiled and (
                len(self._volumes_and_cubes(split)) > len(truths(self.folder, split))
            )
        return self._cut[split]

    def _volumes_and_cubes(self, split: str) -> set[str]:
        """The names of what is scored of a split's volumes."""
        return {
            key.removeprefix(f"{split}/") + place
            for key, truth in truths(self.folder, split).items()
            for place, _ in parts(truth.shape, self.configuration.tile)
        }

    def scored_as(self, split: str, count: int = 2) -> str:
        """What a split's scores and a test's pairs stand for, as texts call so many of them."""
        if self.configuration.spatial_dimensions == 2:
            name = "image"
        else:
            name = "cube" if self.is_cut(split) else "volume"
        return name if count == 1 else f"{name}s"

    def scored(self, split: str) -> int:
        """How many images, volumes or cubes every run was scored on."""
        return len(self.images(self.methods()[0], split))

    @cached_property
    def has_tubes(self) -> bool:
        """Whether the structures of the validation images are tubes rather than blobs."""
        return are_tubes(truths(self.folder, VALIDATION).values())

    def methods(self) -> list[Method]:
        """Those with at least one finished run: losses in the paper's order, off before on."""
        loss_order, mode_order = list(losses.LOSSES), list(losses.MODES)
        return sorted(
            self.runs,
            key=lambda m: (loss_order.index(m.loss), mode_order.index(m.mode), m.window),
        )

    def seeds(self, *methods: Method) -> list[int]:
        """The seeds that every one of the methods has finished, collapsed or not."""
        common = set.intersection(*(set(self.runs.get(method, {})) for method in methods))
        return sorted(common)

    def collapsed(self, method: Method, split: str) -> dict[int, str]:
        """What failed trainings found in the split, by seed: nothing, everything."""
        by_seed = sorted(self.runs.get(method, {}).items())
        found = {seed: record.collapse(split) for seed, record in by_seed}
        return {seed: what for seed, what in found.items() if what}

    def sound(self, method: Method, split: str) -> list[int]:
        """The seeds that did not collapse: those that means stand for."""
        return sorted(set(self.seeds(method)) - set(self.collapsed(method, split)))

    def tested(self, method: Method, split: str) -> list[int]:
        """The seeds to compare with the plain loss; none where a training of either collapsed."""
        if method.mode == "off" or any(self.collapsed(m, split) for m in (method, method.plain)):
            return []
        return self.seeds(method, method.plain)

    def counted(self, method: Method, split: str) -> int | str:
        """How many seeds a row stands for; where some collapsed, what so many of them found."""
        finished = len(self.seeds(method))
        kinds = Counter(self.collapsed(method, split).values())
        seeds = "seed" if finished == 1 else "seeds"
        told = (f"{count} of {finished} {seeds} found {what}" for what, count in kinds.items())
        return ", ".join(told) or finished

    @property
    def warning(self) -> str:
        """The sentence that names every collapsed run, which all reports begin with; or ""."""
        clauses, failed = [], 0
        for method in self.methods():
            found: dict[int, list[str]] = {}
            for split in self.configuration.tests:
                for seed, what in self.collapsed(method, split).items():
                    found.setdefault(seed, []).append(f"{what} on {split}")
            seeds_of: dict[str, list[str]] = {}
            for seed, outcomes in sorted(found.items()):
                seeds_of.setdefault(" and ".join(outcomes), []).append(str(seed))
            for what, seeds in seeds_of.items():
                word = "seed" if len(seeds) == 1 else "seeds"
                clauses.append(f"{method.title}, {word} {', '.join(seeds)} found {what}")
            failed += len(found)
        if not failed:
            return ""
        trainings = sum(map(len, self.runs.values()))
        return (
            f"{self.name}: {failed} of {trainings} trainings collapsed, which is a failure and no "
            f"score: {'; '.join(clauses)}."
        )

    def values(
        self, method: Method, split: str, measure: str, seeds: list[int] | None = None
    ) -> npt.NDArray[np.float64]:
        """[seeds, images] of one measure, of sound seeds; images in the order of their names."""
        chosen = self.sound(method, split) if seeds is None else seeds
        scores = [self._scores(method, seed, split) for seed in chosen]
        return np.array([[of[image][measure] for image in sorted(of)] for of in scores])

    def mean(
        self, method: Method, split: str, measure: str, seeds: list[int] | None = None
    ) -> float:
        """Over sound seeds and images; nan without a seed."""
        values = self.values(method, split, measure, seeds)
        return float(values.mean()) if values.size else float("nan")

    def images(self, method: Method, split: str) -> list[str]:
        """The names of the scored images, in the order of ``values``."""
        return sorted(self._scores(method, self.seeds(method)[0], split))

    def _scores(self, method: Method, seed: int, split: str) -> dict[str, dict[str, float]]:
        """Of one run: by image, then by measure."""
        key = (method, seed, split)
        if key not in self._values:
            record = self.runs[method][seed]
            with blaming(record.folder / SCORES, train_anew(record.folder)):
                self._values[key] = {
                    row["image"]: {measure: float(row[measure]) for measure in self.measures}
                    for row in record.scores()
                    if row["split"] == split
                }
            self._check_images(record, split, set(self._values[key]))
        return self._values[key]

    def _check_images(self, record: RunRecord, split: str, images: set[str]) -> None:
        """Every run must have scored the same images; the one that lacks some is at fault."""
        unknown = images - self._volumes_and_cubes(split) if self.tiled else set()
        if unknown:
            raise UsageError(
                f"{record.folder / SCORES}: scores {split} {min(unknown)}, which is no volume or "
                f"cube of these settings (earlier versions cut others); {train_anew(record.folder)}"
            )
        first, of_first = self._images.setdefault(split, (record, images))
        for lacking, missing in ((record, of_first - images), (first, images - of_first)):
            if missing:
                raise UsageError(
                    f"{lacking.folder / SCORES}: lacks {split} {self.scored_as(split, 1)} "
                    f"{min(missing)}; {train_anew(lacking.folder)}"
                )


def read_results(folder: Path) -> Results:
    """The finished runs in a data set's output folder. Raises UsageError where there is none."""
    runs: dict[Method, dict[int, RunRecord]] = {}
    for record in finished_runs(folder):
        key = record.key
        method = Method(key.loss, key.mode, key.kernel_size)
        runs.setdefault(method, {})[key.seed] = record
    if not runs:
        raise UsageError(f"{folder}: holds no finished run; start with `run`")
    return Results(folder, configuration_of(folder), runs)


def common_window(results: Results) -> Window:
    """The window that most runs with SCNP used: the one that comparisons between losses show."""
    counts: Counter[Window] = Counter()
    for method, by_seed in results.runs.items():
        if method.mode != "off":
            counts[method.window] += len(by_seed)
    return max(counts, key=lambda window: (counts[window], -window[0]), default=(3,))


def comparable(results: Results) -> list[Method]:
    """Every plain loss, and those on SCNP with the common window."""
    window = common_window(results)
    return [m for m in results.methods() if m.mode == "off" or m.window == window]


def compared(results: Results) -> list[Method]:
    """Those on SCNP that have a seed in common with the same loss without it."""
    methods = comparable(results)
    return [m for m in methods if m.mode != "off" and results.seeds(m, m.plain)]
