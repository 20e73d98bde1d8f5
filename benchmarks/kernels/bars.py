"""What the kernels have to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.common.tables import number, times
from benchmarks.kernels.cases import (
    DICE_CE,
    DICE_CE_COMPILED,
    DICE_CE_MONAI,
    FILL,
    FUSED,
    FUSED_FOCAL,
    FUSED_JOINT,
    FUSED_TVERSKY,
    LISTING,
    LISTING_COMPILED,
    OURS,
    OURS_GATED,
    SHIFTED_COMPILED,
)
from benchmarks.kernels.results import (
    BOTH,
    FORWARD,
    RECORDING,
    NotMeasuredError,
    Ratio,
    Record,
    Results,
    per_logit,
    ratio,
)


@dataclass(frozen=True)
class Verdict:
    """One bar, and how a run stands to it."""

    bar: str
    limit: str
    measured: str
    reached: bool | None  # None: not measured


# Several ratios: every one of them has to reach the bar.
Measure = Callable[[Results], Sequence[Ratio] | float]
Find = Callable[[Results], Record]


@dataclass(frozen=True)
class _Bar:
    title: str
    limit: float
    measure: Measure
    unit: str = "x"
    at_least: bool = False

    def judge(self, results: Results) -> Verdict:
        limit = f"{'≥' if self.at_least else '≤'} {self.limit:g}{self.unit}"
        try:
            measured = self.measure(results)
        except NotMeasuredError:
            return Verdict(self.title, limit, "not measured", None)
        if isinstance(measured, float):
            values, text = [measured], f"{number(measured)}{self.unit}"
        else:
            values = [one.of_medians for one in measured]
            texts = (f"{times(r.of_medians)} ({times(r.median_of_rounds)})" for r in measured)
            text = "; ".join(texts)
        reached = all(v >= self.limit if self.at_least else v <= self.limit for v in values)
        return Verdict(self.title, limit, text, reached)


def _least(title: str, limit: float, measure: Measure) -> _Bar:
    return _Bar(title, limit, measure, at_least=True)


def verdicts(results: Results) -> list[Verdict]:
    """Every bar, in order; those against peers are of the instruction set that ran."""
    return [bar.judge(results) for bar in (*_against_peers(results.capability), *_BARS)]


def _found(group: str, implementation: str, **wanted: object) -> Find:
    return lambda results: results.find(group, implementation, **wanted)


def _fastest(group: str, *implementations: str) -> Find:
    """Of several the one that takes least."""

    def find(results: Results) -> Record:
        records = (results.find(group, name) for name in implementations)
        return min(records, key=lambda record: record.milliseconds(BOTH))

    return find


def _ratios(*compared: tuple[Find, Find], phases: Sequence[str] = (BOTH,)) -> Measure:
    """How many times longer each first takes than its second, in every phase."""
    return lambda results: [
        ratio(one(results), other(results), p) for one, other in compared for p in phases
    ]


def _beside(one: str, other: str, *groups: str) -> Measure:
    """How many times longer one implementation takes than another, in each group."""
    return _ratios(*((_found(group, one), _found(group, other)) for group in groups))


def _by_shape(
    group: str,
    one: str,
    other: str,
    attribute: str = "kernel_size",
    values: tuple[object, object] = (3, 3),
    shapes: int | None = None,
) -> Measure:
    """The same in one group for each shape or the first ``shapes``, by an attribute of either."""

    def measure(results: Results) -> list[Ratio]:
        of_one = [r for r in results.in_group(group, one) if getattr(r, attribute) == values[0]]
        if not of_one:
            raise NotMeasuredError(group)
        wanted = {attribute: values[1]}
        of_other = [results.find(group, other, shape=r.shape, **wanted) for r in of_one]
        return [ratio(*pair, BOTH) for pair in zip(of_one, of_other, strict=True)][:shapes]

    return measure


def _most_of_ours(attribute: str) -> Measure:
    return lambda results: max(getattr(results.find(g, OURS), attribute) for g in ("2D", "3D"))


def _kept_by_loss(results: Results) -> float:
    """Bytes per logit, in hundredths: the sums of every image and class are far below one."""
    records = [results.find(group, name) for group in LOSS_GROUPS for name in (FUSED, FUSED_JOINT)]
    return round(max(record.saved_per_logit for record in records), 2)


def _peak_of_loss(results: Results) -> float:
    pairs = [
        [results.find(g, name).peak_per_logit for name in (FUSED, DICE_CE)] for g in LOSS_GROUPS
    ]
    return max(fused / plain for fused, plain in pairs)


def _many_classes(results: Results) -> list[Ratio]:
    found = [r for r in results.in_group("many classes", FUSED) if len(r.shape) == 5]
    if not found:
        raise NotMeasuredError("many classes")
    classes = sorted(found, key=lambda record: record.shape[1])
    return [per_logit(classes[-1], classes[0])]


def _dtype_bar(dtype: str) -> _Bar:
    pairs = (
        (_found(group, OURS, dtype=dtype), _found(group, OURS, dtype="float32"))
        for group in ("2D dtypes", "3D dtypes")
    )
    return _Bar(f"{dtype} against float32, 2D; 3D", 1.2, _ratios(*pairs))


def _window_bar(dimensions: str, window: int, limit: float) -> _Bar:
    one, three = (_found(f"{dimensions} windows", OURS, kernel_size=w) for w in (window, 3))
    return _Bar(f"{dimensions}, w = {window} against w = 3", limit, _ratios((one, three)))


def _against_filling(dimensions: str, limit: float) -> _Bar:
    title = f"{dimensions}, against allocating and filling the three results"
    return _Bar(title, limit, _beside(OURS, FILL, dimensions))


def _against_peers(capability: str) -> Iterator[_Bar]:
    avx2 = capability == "avx2"
    for dimensions, peer, limit in (
        ("2D", LISTING, 30 if avx2 else 25),
        ("2D", LISTING_COMPILED, 12 if avx2 else 7),
        ("3D", LISTING, 55 if avx2 else 45),
        ("3D", LISTING_COMPILED, 60 if avx2 else 40),
    ):
        yield _least(f"{dimensions}, against the {peer}", limit, _beside(peer, OURS, dimensions))
    for group, most in zip(LOSS_GROUPS, (0.25, 0.15) if avx2 else (0.5, 0.3), strict=True):
        title = f"{group[-2:]}, {FUSED} against plain Dice+CE, the faster of eager and compiled"
        plain = _fastest(group, DICE_CE, DICE_CE_COMPILED)
        yield _Bar(title, most, _ratios((_found(group, FUSED), plain)))
    if avx2:
        yield _against_filling("2D", 1.5)


LOSS_GROUPS = ("loss 2D", "loss 3D")
_ALONE = "(no gradient wanted; remembering for backward)"
_FORWARD = (FORWARD, RECORDING)
_SMALL = (_found("small", OURS), _found("small", LISTING))
_SHIFTED = (_found("2D", SHIFTED_COMPILED), _found("2D", OURS))
_BARS = (
    _least(
        f"2D, forward alone, against shifted comparisons compiled {_ALONE}",
        1.6,
        _ratios(_SHIFTED, phases=_FORWARD),
    ),
    _window_bar("2D", 11, 1.8),
    _window_bar("3D", 7, 2.5),
    _dtype_bar("bfloat16"),
    _dtype_bar("float16"),
    _against_filling("3D", 1.2),
    _Bar("saved for backward", 1, _most_of_ours("saved_per_logit"), " B per logit"),
    _Bar(
        "peak of tensors beyond inputs and results",
        1.3,
        _most_of_ours("peak_per_logit"),
        " B per logit",
    ),
    _Bar(
        f"1x2x64x64, one forward call against the listing {_ALONE}",
        1,
        _ratios(_SMALL, phases=_FORWARD),
    ),
    _Bar(
        "channels_last against contiguous, 2D; 3D",
        1.5,
        _by_shape("layout", OURS, OURS, "channels_last", (True, False)),
    ),
    _Bar("a gate against none, 2D; 3D", 1.1, _by_shape("gate", OURS_GATED, OURS)),
    *(
        _Bar(f"{name} against {FUSED}, 2D; 3D", 1.15, _beside(name, FUSED, *LOSS_GROUPS))
        for name in (FUSED_TVERSKY, FUSED_FOCAL)
    ),
    *(
        _Bar(
            f"{group[-2:]}, {FUSED} against plain Dice+CE, MONAI's",
            limit,
            _beside(FUSED, DICE_CE_MONAI, group),
        )
        for group, limit in zip(LOSS_GROUPS, (0.5, 0.3), strict=True)
    ),
    _Bar(f"{FUSED_JOINT} against {FUSED}, 2D; 3D", 1.4, _beside(FUSED_JOINT, FUSED, *LOSS_GROUPS)),
    _Bar(f"{FUSED}: saved for backward", 1, _kept_by_loss, " B per logit"),
    _Bar(f"{FUSED}: peak of tensors against plain Dice+CE", 0.25, _peak_of_loss),
    _Bar(f"3D, {FUSED} of 117 classes against 2, time per logit", 1.3, _many_classes),
    *(
        _least(
            f"{name}, speed-up from one thread to two, 2D; 3D",
            1.8,
            _by_shape("threads", name, name, "threads", (1, 2), shapes=2),
        )
        for name in (OURS, FUSED)
    ),
)
