"""Every method against the plain baseline: differences, intervals and p-values, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.common.tables import either
from benchmarks.topology import statistics
from benchmarks.topology.final_scores import (
    AS_PREDICTED,
    POST_PROCESSED,
    Column,
    Versions,
    columns,
    connectivities,
)
from benchmarks.topology.results import LOWER_IS_BETTER, Method, Results
from benchmarks.topology.search import CRITERION, Choice
from benchmarks.topology.statistics import Array, Effect

BASELINE = Method("ce_dice", "off", (1,))
SIGNIFICANT = 0.05
RESAMPLES = 100_000  # swaps: all of them are tried for up to 16 images


@dataclass(frozen=True)
class Comparison:
    """One measure of a method against the baseline's, both post-processed as chosen, or neither."""

    method: Method
    version: str
    column: Column
    mean: float
    baseline: float  # over the seeds that both have
    difference: Effect
    by_seed: tuple[float, ...]  # the difference of every seed that both have
    change: Effect  # a share of the baseline's mean
    p: float
    p_holm: float  # over all comparisons of the table

    @property
    def outcome(self) -> str:
        """better, worse, or nothing where the difference is not significant."""
        if self.p_holm >= SIGNIFICANT:
            return ""
        lower = self.difference.value < 0
        return "better" if lower == (self.column.measure in LOWER_IS_BETTER) else "worse"

    def to_json(self) -> dict[str, object]:
        """As numbers and text; what is not known is null."""
        flat: dict[str, object] = {
            "method": self.method.title,
            "version": self.version,
            "measure": self.column.measure,
            "neighbours": self.column.neighbours,
            "mean": self.mean,
            "baseline": self.baseline,
            "difference by seed": self.by_seed,
            "p": self.p,
            "p_holm": self.p_holm,
            "outcome": self.outcome,
        }
        for name, effect in (("difference", self.difference), ("change", self.change)):
            flat[name] = {
                key: value if value == value else None for key, value in effect._asdict().items()
            }
        return flat


@dataclass
class Verdict:
    """What one scored split of a data set says."""

    results: Results
    split: str
    window: tuple[int, ...]  # of the methods on SCNP
    methods: list[Method]  # the baseline first
    seeds: Mapping[Method, list[int]]  # that collapsed on no scored split
    choices: Mapping[Method, Choice]
    scores: Mapping[Method, Versions]

    @property
    def main(self) -> Column:
        """What the verdict is about: topological mistakes by the data set's own connectivity."""
        return Column(CRITERION, connectivities(self.results.configuration)[0])

    @property
    def images(self) -> int:
        """How many pairs a test has: images, volumes or their cubes."""
        for versions in self.scores.values():
            return int(versions[AS_PREDICTED][self.main.name].shape[1])
        return 0

    def scored_as(self, count: int = 2) -> str:
        """What so many of its pairs are called."""
        return self.results.scored_as(self.split, count)

    @property
    def too_few(self) -> bool:
        """Whether the images are so few that no comparison can be significant."""
        return self.least_p * len(self.primary) >= SIGNIFICANT

    @property
    def least_p(self) -> float:
        """What no p can be below, with so few images."""
        return statistics.least_p_value(self.images) if self.images else 1.0

    def failed(self, method: Method) -> str:
        """How many of its trainings collapsed, as tables say it; nothing where none did."""
        for split in self.results.configuration.tests:
            counted = self.results.counted(method, split)
            if isinstance(counted, str):
                return counted
        return ""

    def counted(self, method: Method) -> str:
        """How many seeds a row stands for; or what the failed ones found."""
        return self.failed(method) or str(len(self.seeds[method]))

    def common_seeds(self, method: Method) -> list[int]:
        """Those to compare over; none where a training of either collapsed."""
        if method == BASELINE or self.failed(method) or self.failed(BASELINE):
            return []
        return sorted(set(self.seeds[method]) & set(self.seeds.get(BASELINE, [])))

    @cached_property
    def primary(self) -> list[Comparison]:
        """Of the topological mistakes, post-processed: what was to be compared is one row each."""
        return _corrected(self._compare(POST_PROCESSED, self.main))

    @cached_property
    def secondary(self) -> list[Comparison]:
        """Of every measure, with post-processing and without, by both connectivities."""
        return _corrected(
            comparison
            for version in (AS_PREDICTED, POST_PROCESSED)
            for column in columns(self.results)
            for comparison in self._compare(version, column)
        )

    def paired_by_seed(self, method: Method, version: str, column: Column) -> list[Array]:
        """The method's and the baseline's scores, [seeds, images], of the seeds that both have."""
        seeds = self.common_seeds(method)
        return [
            self.scores[m][version][column.name][[self.seeds[m].index(s) for s in seeds]]
            for m in (method, BASELINE)
        ]

    def paired(self, method: Method, version: str, column: Column) -> list[Array]:
        """The method's and the baseline's scores, [images], each the mean over those seeds."""
        return [
            statistics.over_images(scores)
            for scores in self.paired_by_seed(method, version, column)
        ]

    @property
    def usual_image(self) -> str | None:
        """Where SCNP changes the mistakes by the median over the images; None for volumes.

        Of the baseline's loss in all its modes that are compared; of several such images the one
        with the most mistakes of the baseline. The picture shows it.
        """
        methods = [c.method for c in self.primary if c.method.loss == BASELINE.loss]
        if not methods or self.results.configuration.spatial_dimensions == 3:
            return None
        own, baseline = np.mean([self.paired(m, POST_PROCESSED, self.main) for m in methods], 0)
        changes = own - baseline
        middle = np.sort(changes)[len(changes) // 2]
        index = np.where(np.isclose(changes, middle), baseline, -1).argmax()
        return self.results.images(BASELINE, self.split)[int(index)]

    def _compare(self, version: str, column: Column) -> Iterator[Comparison]:
        for method in self.methods:
            if not self.common_seeds(method):
                continue
            own, baseline = self.paired(method, version, column)
            of_method, of_baseline = self.paired_by_seed(method, version, column)
            p_value = statistics.permutation_test(own, baseline, RESAMPLES)
            yield Comparison(
                method,
                version,
                column,
                float(own.mean()),
                float(baseline.mean()),
                statistics.effect(own, baseline),
                tuple((of_method - of_baseline).mean(1).tolist()),
                statistics.relative_effect(own, baseline),
                p_value,
                p_value,
            )

    def to_json(self) -> dict[str, object]:
        """Everything, as numbers and text."""
        return {
            "data set": self.results.name,
            "split": self.split,
            "warning": self.results.warning,
            "sentence": sentence(self),
            "images": self.images,
            "seeds": {method.title: self.seeds[method] for method in self.methods},
            "post-processing": {m.title: asdict(choice) for m, choice in self.choices.items()},
            "verdict": [comparison.to_json() for comparison in self.primary],
            "every comparison": [comparison.to_json() for comparison in self.secondary],
        }


def _corrected(comparisons: Iterator[Comparison]) -> list[Comparison]:
    found = list(comparisons)
    corrected = statistics.holm([comparison.p for comparison in found])
    return [replace(c, p_holm=float(p)) for c, p in zip(found, corrected, strict=True)]


def percent(effect: Effect) -> str:
    """A change with its interval: -32 % [-40, -24]."""
    if effect.value != effect.value:
        return ""
    interval = "" if effect.low != effect.low else f" [{effect.low:+.0%}, {effect.high:+.0%}]"
    return f"{effect.value:+.0%}{interval}".replace("%", " %")


def paired_as(verdicts: Iterable[Verdict]) -> str:
    """What the pairs of their tests are: images, volumes, cubes, or those that occur."""
    return either(verdict.scored_as() for verdict in verdicts)


def _change(comparison: Comparison) -> str:
    return percent(comparison.change) or f"{comparison.difference.value:+.3g}"


def sentence(verdict: Verdict) -> str:
    """What the verdict's table of a split says."""
    results, split = verdict.results, verdict.split
    pairs = f"{verdict.images} {verdict.scored_as(verdict.images)}"
    counted = f" ({pairs})" if verdict.images else ""  # none where all collapsed
    beginning = f"{results.name}, {split}{counted}, beside the plain baseline: "
    if verdict.failed(BASELINE):
        return f"{beginning}no verdict, since {BASELINE.title} itself collapsed."
    clauses = []
    for outcome, words in (
        ("better", "significantly fewer topological mistakes with"),
        ("worse", "significantly more topological mistakes with"),
        ("", "no significant difference with"),
    ):
        named = [
            f"{c.method.title} ({_change(c)}, p = {c.p_holm:.2g})"
            for c in verdict.primary
            if c.outcome == outcome
        ]
        if named:
            clauses.append(f"{words} {', '.join(named)}")
    left_out = [m for m in verdict.methods if m != BASELINE and not verdict.common_seeds(m)]
    failed = [m.title for m in left_out if verdict.failed(m)]
    if failed:
        clauses.append(f"not compared, since trainings collapsed: {', '.join(failed)}")
    of_other_seeds = [m.title for m in left_out if not verdict.failed(m)]
    if of_other_seeds:
        clauses.append(
            f"not compared, since they share no seed with the baseline: {', '.join(of_other_seeds)}"
        )
    tests = len(verdict.primary)
    if verdict.too_few:
        clauses.append(
            f"with {pairs} and {tests} comparisons the smallest of them needs a p "
            f"below {SIGNIFICANT / max(tests, 1):.2g}, and none can be below {verdict.least_p:.2g}"
        )
    return beginning + ("; ".join(clauses) or "no method to compare") + "."


def overall(verdicts: list[Verdict]) -> str:
    """The one sentence that all tables come to, about SCNP in any form on the baseline's loss."""
    groups: dict[str, list[str]] = {
        kind: [] for kind in ("better", "worse", "", "few", "collapsed")
    }
    for verdict in verdicts:
        outcomes = {
            c.outcome
            for c in verdict.primary
            if c.method.loss == BASELINE.loss and c.method.mode != BASELINE.mode
        }
        # One mode may be better and another worse: then both are said.
        none = "few" if verdict.too_few else ""
        kinds = sorted(outcomes - {""}) or [none] if outcomes else ["collapsed"]
        for kind in kinds:
            groups[kind].append(f"{verdict.results.name} {verdict.split}")
    total = len(verdicts)
    better = groups["better"]
    few = [verdict for verdict in verdicts if verdict.too_few]
    text = (
        f"Training on SCNP logits, alone, jointly or after a warm-up, makes significantly fewer "
        f"topological mistakes than the same loss without on {len(better)} of {total} test "
        f"set{'' if total == 1 else 's'}" + (f" ({', '.join(better)})" if better else "")
    )
    for kind, words in (
        ("worse", "significantly more"),
        ("", "no significant difference"),
        ("few", f"too few {paired_as(few)} for a significant difference"),
        ("collapsed", "nothing to compare, since trainings collapsed,"),
    ):
        if groups[kind]:
            text += f"; {words} on {', '.join(groups[kind])}"
    return (
        f"{text}. (Betti-matching error, both sides with the same search of post-processing, "
        f"p < {SIGNIFICANT} by paired permutation tests over {paired_as(verdicts)}, corrected by "
        "Holm's method.)"
    )
