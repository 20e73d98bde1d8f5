"""What is measured: the shapes, and the slices through them that answer one question each.

Not the full product: every group changes one thing, and its members are measured in turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.harness.case import BOOL_MASKS, FLOAT_MASKS, LABELS, Case

LISTING = "listing"
LISTING_COMPILED = "listing compiled"
SHIFTED_COMPILED = "shifted compiled"
SEPARABLE_COMPILED = "separable compiled"  # the listing, pooled along one axis after the other
# Of other libraries: see library_peers.py.
OPENCV = "OpenCV erode + dilate"
SERRON, KORNIA = "listing by serron", "listing by kornia"
COPY = "copy"  # of the logits: measured beside every case
FILL = "fill"  # allocate and fill the three results
OURS = "scnp cpu"
OURS_REFERENCE = "scnp reference"
OURS_GATED = "scnp cpu, gate"

# Whole losses.
DICE_CE, DICE_CE_COMPILED, DICE_CE_MONAI = "Dice+CE", "Dice+CE compiled", "Dice+CE of MONAI"
LISTING_DICE_CE, LISTING_DICE_CE_COMPILED = "listing, Dice+CE", "listing, Dice+CE compiled"
SCNP_DICE_CE = "scnp, Dice+CE"  # two steps
FUSED, FUSED_JOINT, FUSED_PLAIN = "SCNPDiceCELoss", "SCNPDiceCELoss joint", "SCNPDiceCELoss plain"
FUSED_TVERSKY, FUSED_FOCAL = "SCNPTverskyLoss", "SCNPFocalLoss"
LOSSES_WITHOUT_SCNP = (DICE_CE, DICE_CE_COMPILED, DICE_CE_MONAI)
OUR_LOSSES = (SCNP_DICE_CE, FUSED, FUSED_JOINT, FUSED_PLAIN, FUSED_TVERSKY, FUSED_FOCAL)

PEERS = (LISTING, LISTING_COMPILED, SHIFTED_COMPILED)  # of scnp alone


@dataclass(frozen=True)
class Group:
    """Cases that answer one question, with what is measured on each, all in turns."""

    name: str
    question: str
    members: tuple[tuple[Case, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Shapes:
    """The shapes of a run."""

    paper_2d: tuple[int, ...] = (2, 2, 1280, 1024)  # Appendix B of the paper
    paper_3d: tuple[int, ...] = (2, 3, 160, 128, 112)
    sizes: tuple[tuple[int, ...], ...] = ((1, 2, 512, 512), (1, 2, 2048, 2048), (1, 2, 96, 96, 96))
    windows_3d: tuple[int, ...] = (1, 2, 96, 96, 96)  # the listing is too slow for more
    classes_spatial: tuple[int, ...] = (512, 512)
    classes: tuple[int, ...] = (2, 4, 8)
    classes_of_loss: tuple[int, ...] = (2, 8, 16)
    one_channel: tuple[tuple[int, ...], ...] = ((1, 1, 2048, 2048), (1, 1, 160, 128, 112))
    small: tuple[int, ...] = (1, 2, 64, 64)
    # As many pixels in 2D as in 3D.
    many_classes: tuple[int, ...] = (2, 4, 16, 64, 117)
    many_classes_spatial: tuple[tuple[int, ...], ...] = ((512, 512), (64, 64, 64))
    # max_pool3d vectorizes over channels_last, if there are enough: its slow layout, and its fast.
    pooled: tuple[tuple[int, ...], ...] = ((1, 3, 96, 96, 96), (1, 16, 64, 64, 64))
    threads: tuple[int, ...] = (1, 2)
    windows_2d: tuple[int, ...] = (3, 5, 7, 11)
    windows_3d_large: tuple[int, ...] = (3, 5, 7)  # of the paper's shape
    windows_3d_small: tuple[int, ...] = (3, 5, 7, 9, 11)  # of the smaller image


FULL = Shapes()
QUICK = Shapes(  # to see that the suite works; its numbers mean nothing
    paper_2d=(1, 2, 64, 48),
    paper_3d=(1, 2, 12, 16, 16),
    sizes=((1, 2, 32, 32), (1, 2, 12, 12, 12)),
    windows_3d=(1, 2, 12, 12, 12),
    classes_spatial=(32, 32),
    classes=(2, 3),
    classes_of_loss=(2, 3),
    one_channel=((1, 1, 64, 64),),
    small=(1, 2, 20, 20),
    many_classes=(2, 117),
    many_classes_spatial=((16, 16), (6, 6, 6)),
    pooled=((1, 3, 6, 7, 8),),
)

_PEERS = (LISTING, LISTING_COMPILED)
_ALL = (*_PEERS, SHIFTED_COMPILED, OURS)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_TARGETS = (LABELS, FLOAT_MASKS, BOOL_MASKS)
_LISTING_LOSSES = (LISTING_DICE_CE, LISTING_DICE_CE_COMPILED)
_LOSSES = (*LOSSES_WITHOUT_SCNP, *_LISTING_LOSSES, *OUR_LOSSES)


def groups(shapes: Shapes) -> tuple[Group, ...]:
    """Every group of a run."""
    paper_2d, paper_3d = papers = [Case(shapes.paper_2d), Case(shapes.paper_3d)]
    loss_2d, loss_3d = losses = _varied(papers, "of_loss", [True])
    one_channel = [Case(shape) for shape in shapes.one_channel]
    return (
        _group(
            "2D",
            "the paper's 2D shape, with other libraries",
            [paper_2d],
            (*_ALL, OURS_REFERENCE, FILL, OPENCV, SERRON, KORNIA),
        ),
        _group("3D", "the paper's 3D shape", [paper_3d], (*_ALL, FILL)),
        _group("small", "what a call costs", [Case(shapes.small)], (*_PEERS, OURS, OURS_REFERENCE)),
        Group(
            "2D windows",
            "larger windows in 2D",
            tuple(
                (case, _ALL if case.kernel_size <= 5 else (*_PEERS, OURS))
                for case in _varied([paper_2d], "kernel_size", shapes.windows_2d)
            ),
        ),
        _group(
            "3D windows",
            "larger windows in 3D",
            _varied([paper_3d], "kernel_size", shapes.windows_3d_large),
        ),
        Group(
            "3D windows, smaller image",
            "larger windows in 3D, where the peers can still be measured",
            tuple(
                (Case(shapes.windows_3d, kernel_size=w), (*_peers_of_window_3d(w), OURS))
                for w in shapes.windows_3d_small
            ),
        ),
        _group(
            "pooling in channels_last",
            "the listing's max_pool3d in channels_last_3d",
            _varied([Case(shape) for shape in shapes.pooled], "channels_last", (False, True)),
            (LISTING, OURS),
        ),
        _group(
            "2D dtypes",
            "half types in 2D",
            _varied([paper_2d], "dtype", _DTYPES),
            (LISTING, OURS),
        ),
        _group("3D dtypes", "half types in 3D", _varied([paper_3d], "dtype", _DTYPES)),
        Group(
            "sizes",
            "other sizes",
            tuple((Case(s), _ALL if len(s) == 4 else (*_PEERS, OURS)) for s in shapes.sizes),
        ),
        _group(
            "classes",
            "2 to 8 classes",
            [Case((1, count, *shapes.classes_spatial)) for count in shapes.classes],
            (*_PEERS, OURS),
        ),
        _group("loss 2D", "Dice + cross entropy on the paper's 2D shape", [loss_2d], _LOSSES),
        _group("loss 3D", "Dice + cross entropy on the paper's 3D shape", [loss_3d], _LOSSES),
        _group(
            "loss classes",
            "Dice + cross entropy of 2 to 16 classes",
            _losses_of_classes(shapes.classes_of_loss, shapes.classes_spatial),
            (DICE_CE, DICE_CE_COMPILED, SCNP_DICE_CE, FUSED, FUSED_JOINT),
        ),
        _group(
            "many classes",
            "the fused loss of 2 to 117 classes, time per logit",
            _losses_of_classes(shapes.many_classes, *shapes.many_classes_spatial),
            (FUSED,),
        ),
        _group("gate", "a gate against none", papers, (OURS, OURS_GATED)),
        _group("targets", "label maps and one-hot masks", _varied(papers, "target", _TARGETS)),
        _group(
            "layout",
            "channels_last against contiguous",
            _varied(papers, "channels_last", (False, True)),
        ),
        Group(
            "threads",
            "from one thread to one for each core, with one image of one channel too",
            tuple(
                (case, (FUSED if case.of_loss else OURS,))
                for case in _varied([*papers, *one_channel, *losses], "threads", shapes.threads)
            ),
        ),
    )


def _group(
    name: str, question: str, cases: Iterable[Case], names: tuple[str, ...] = (OURS,)
) -> Group:
    """Everything that is named on every case."""
    return Group(name, question, tuple((case, names) for case in cases))


def _varied(cases: Iterable[Case], attribute: str, values: Sequence[Any]) -> list[Case]:
    return [replace(case, **{attribute: value}) for case in cases for value in values]


def _losses_of_classes(counts: Iterable[int], *spatial: tuple[int, ...]) -> list[Case]:
    return [Case((1, count, *sides), of_loss=True) for sides in spatial for count in counts]


def _peers_of_window_3d(kernel_size: int) -> Iterator[str]:
    """Pooling in one step is too slow above 7; pooling by axis is for what is larger than 3."""
    if kernel_size <= 7:
        yield from _PEERS
    if kernel_size > 3:
        yield SEPARABLE_COMPILED


def all_cases(shapes: Shapes) -> tuple[Case, ...]:
    """Every case of the groups, once."""
    return tuple(dict.fromkeys(case for group in groups(shapes) for case, _ in group.members))
