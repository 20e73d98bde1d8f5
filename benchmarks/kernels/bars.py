"""What the kernels have to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
Measure = Callable[[Results], list[Ratio] | float]


@dataclass(frozen=True)
class _Bar:
    title: str
    limit: float
    at_least: bool
    measure: Measure
    unit: str = "x"


def verdicts(results: Results) -> list[Verdict]:
    """Every bar, in order; those against peers are of the instruction set that ran."""
    bars = (*_against_peers(results.capability), *_BARS)
    return [_judge(bar, results) for bar in bars]


def _judge(bar: _Bar, results: Results) -> Verdict:
    limit = f"{'≥' if bar.at_least else '≤'} {bar.limit:g}{bar.unit}"
    try:
        measured = bar.measure(results)
    except NotMeasuredError:
        return Verdict(bar.title, limit, "not measured", None)
    if isinstance(measured, float):
        values, text = [measured], f"{number(measured)}{bar.unit}"
    else:
        values = [one.of_medians for one in measured]
        text = "; ".join(f"{times(r.of_medians)} ({times(r.median_of_rounds)})" for r in measured)
    reached = all(v >= bar.limit if bar.at_least else v <= bar.limit for v in values)
    return Verdict(bar.title, limit, text, reached)


Find = Callable[[Results], Record]


def _found(group: str, implementation: str, **wanted: object) -> Find:
    return lambda results: results.find(group, implementation, **wanted)


def _fastest(group: str, *implementations: str) -> Find:
    """Of several the one that takes least."""

    def find(results: Results) -> Record:
        records = (results.find(group, name) for name in implementations)
        return min(records, key=lambda record: record.milliseconds(BOTH))

    return find


def _ratios(*compared: tuple[Find, Find, str]) -> Measure:
    """How many times longer each first takes than its second, in a phase."""
    return lambda results: [ratio(one(results), other(results), p) for one, other, p in compared]


def _speed_up(group: str, peer: str, *phases: str) -> Measure:
    """How many times longer a peer takes than ours."""
    return _ratios(*((_found(group, peer), _found(group, OURS), phase) for phase in phases))


def _ours(groups: tuple[str, ...], one: dict[str, object], other: dict[str, object]) -> Measure:
    """How many times longer one of our cases takes than another."""
    return _ratios(
        *((_found(g, OURS, **one), _found(g, OURS, **other), BOTH) for g in groups),
    )


def _gate(results: Results) -> list[Ratio]:
    gated = results.in_group("gate", OURS_GATED)
    if not gated:
        raise NotMeasuredError("gate")
    return [ratio(one, results.find("gate", OURS, shape=one.shape), BOTH) for one in gated]


def _layout(results: Results) -> list[Ratio]:
    last = [r for r in results.in_group("layout", OURS) if r.channels_last]
    if not last:
        raise NotMeasuredError("layout")
    return [
        ratio(record, results.find("layout", OURS, shape=record.shape, channels_last=False), BOTH)
        for record in last
    ]


def _saved(results: Results) -> float:
    return max(results.find(group, OURS).saved_per_logit for group in ("2D", "3D"))


def _peak(results: Results) -> float:
    return max(results.find(group, OURS).peak_per_logit for group in ("2D", "3D"))


LOSS_GROUPS = ("loss 2D", "loss 3D")


def _kept_by_loss(results: Results) -> float:
    """Bytes per logit, less 4 per pixel."""
    records = [results.find(group, name) for group in LOSS_GROUPS for name in (FUSED, FUSED_JOINT)]
    return max(((r.saved_bytes or 0) - 4 * (r.logits // r.shape[1])) / r.logits for r in records)


def _peak_of_loss(results: Results) -> float:
    return max(
        results.find(group, FUSED).peak_per_logit / results.find(group, DICE_CE).peak_per_logit
        for group in LOSS_GROUPS
    )


def _dtype_bar(dtype: str) -> _Bar:
    groups = ("2D dtypes", "3D dtypes")
    measure = _ours(groups, {"dtype": dtype}, {"dtype": "float32"})
    return _Bar(f"{dtype} against float32, 2D; 3D", 1.2, False, measure)


def _window_bar(group: str, dimensions: str, window: int, limit: float) -> _Bar:
    measure = _ours((group,), {"kernel_size": window}, {"kernel_size": 3})
    return _Bar(f"{dimensions}, w = {window} against w = 3", limit, False, measure)


def _many_classes(results: Results) -> list[Ratio]:
    found = [r for r in results.in_group("many classes", FUSED) if len(r.shape) == 5]
    if not found:
        raise NotMeasuredError("many classes")
    classes = sorted(found, key=lambda record: record.shape[1])
    return [per_logit(classes[-1], classes[0])]


def _two_threads(implementation: str) -> Measure:
    """The paper's shapes, which come first, on one thread and on two."""

    def measure(results: Results) -> list[Ratio]:
        alone, both = (
            [r for r in results.in_group("threads", implementation) if r.threads == count]
            for count in (1, 2)
        )
        if not both:
            raise NotMeasuredError("two threads")
        return [ratio(*pair, BOTH) for pair in zip(alone[:2], both[:2], strict=True)]

    return measure


def _against_peers(capability: str) -> Iterator[_Bar]:
    avx2 = capability == "avx2"
    for dimensions, peer, limit in (
        ("2D", LISTING, 30 if avx2 else 25),
        ("2D", LISTING_COMPILED, 12 if avx2 else 7),
        ("3D", LISTING, 55 if avx2 else 45),
        ("3D", LISTING_COMPILED, 60 if avx2 else 40),
    ):
        measure = _speed_up(dimensions, peer, BOTH)
        yield _Bar(f"{dimensions}, against the {peer}", limit, True, measure)
    for dimensions, most in (("2D", 0.25 if avx2 else 0.5), ("3D", 0.15 if avx2 else 0.3)):
        group = f"loss {dimensions}"
        yield _Bar(
            f"{dimensions}, SCNPDiceCELoss against plain Dice+CE, the faster of eager and compiled",
            most,
            False,
            _ratios((_found(group, FUSED), _fastest(group, DICE_CE, DICE_CE_COMPILED), BOTH)),
        )
    if avx2:
        yield _against_filling("2D", 1.5)


def _against_filling(dimensions: str, limit: float) -> _Bar:
    return _Bar(
        f"{dimensions}, against allocating and filling the three results",
        limit,
        False,
        _ratios((_found(dimensions, OURS), _found(dimensions, FILL), BOTH)),
    )


_BARS = (
    _Bar(
        "2D, forward alone, against shifted comparisons compiled "
        "(no gradient wanted; remembering for backward)",
        1.6,
        True,
        _speed_up("2D", SHIFTED_COMPILED, FORWARD, RECORDING),
    ),
    _window_bar("2D windows", "2D", 11, 1.8),
    _window_bar("3D windows", "3D", 7, 2.5),
    _dtype_bar("bfloat16"),
    _dtype_bar("float16"),
    _against_filling("3D", 1.2),
    _Bar("saved for backward", 1, False, _saved, " B per logit"),
    _Bar("peak of tensors beyond inputs and results", 1.3, False, _peak, " B per logit"),
    _Bar(
        "1x2x64x64, one forward call against the listing "
        "(no gradient wanted; remembering for backward)",
        1,
        False,
        _ratios(
            *((_found("small", OURS), _found("small", LISTING), p) for p in (FORWARD, RECORDING)),
        ),
    ),
    _Bar("channels_last against contiguous, 2D; 3D", 1.5, False, _layout),
    _Bar("a gate against none, 2D; 3D", 1.1, False, _gate),
    *(
        _Bar(
            f"{name} against SCNPDiceCELoss, 2D; 3D",
            1.15,
            False,
            _ratios(*((_found(g, name), _found(g, FUSED), BOTH) for g in LOSS_GROUPS)),
        )
        for name in (FUSED_TVERSKY, FUSED_FOCAL)
    ),
    *(
        _Bar(
            f"{group[-2:]}, SCNPDiceCELoss against plain Dice+CE, MONAI's",
            limit,
            False,
            _ratios((_found(group, FUSED), _found(group, DICE_CE_MONAI), BOTH)),
        )
        for group, limit in zip(LOSS_GROUPS, (0.5, 0.3), strict=True)
    ),
    _Bar(
        "SCNPDiceCELoss joint against SCNPDiceCELoss, 2D; 3D",
        1.4,
        False,
        _ratios(*((_found(g, FUSED_JOINT), _found(g, FUSED), BOTH) for g in LOSS_GROUPS)),
    ),
    _Bar(
        "SCNPDiceCELoss: saved for backward, less 4 B per pixel",
        1,
        False,
        _kept_by_loss,
        " B per logit",
    ),
    _Bar("SCNPDiceCELoss: peak of tensors against plain Dice+CE", 0.25, False, _peak_of_loss),
    _Bar("3D, SCNPDiceCELoss of 117 classes against 2, time per logit", 1.3, False, _many_classes),
    *(
        _Bar(f"{name}, speed-up from one thread to two, 2D; 3D", 1.8, True, _two_threads(name))
        for name in (OURS, FUSED)
    ),
)
