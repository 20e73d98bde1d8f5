"""What is measured: the shapes, and the slices through them that answer one question each.

Not the full product: every group changes one thing, and its members are measured in turns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from benchmarks.harness.case import BOOL_MASKS, FLOAT_MASKS, LABELS, Case

LISTING = "listing"
LISTING_COMPILED = "listing compiled"
SHIFTED_COMPILED = "shifted compiled"
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
    classes: tuple[int, ...] = (2, 3, 4, 8)
    classes_of_loss: tuple[int, ...] = (2, 4, 8, 16)
    one_channel: tuple[tuple[int, ...], ...] = ((1, 1, 2048, 2048), (1, 1, 160, 128, 112))
    small: tuple[int, ...] = (1, 2, 64, 64)
    windows: dict[int, tuple[int, ...]] = field(
        default_factory=lambda: {2: (3, 5, 7, 11), 3: (3, 5, 7)}  # by spatial axes
    )


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
    small=(1, 2, 16, 16),
)

_PEERS = (LISTING, LISTING_COMPILED)
_ALL = (*_PEERS, SHIFTED_COMPILED, OURS)
_HALF_TYPES = (torch.bfloat16, torch.float16)
_LOSSES = (
    *LOSSES_WITHOUT_SCNP,
    LISTING_DICE_CE,
    LISTING_DICE_CE_COMPILED,
    SCNP_DICE_CE,
    FUSED,
    FUSED_JOINT,
    FUSED_PLAIN,
    FUSED_TVERSKY,
    FUSED_FOCAL,
)


def groups(shapes: Shapes) -> tuple[Group, ...]:
    """Every group of a run."""
    paper_2d = Case(shapes.paper_2d)
    paper_3d = Case(shapes.paper_3d)
    windows_2d, windows_3d = (
        tuple(replace(Case(shape), kernel_size=w) for w in shapes.windows[dimensions])
        for dimensions, shape in ((2, shapes.paper_2d), (3, shapes.windows_3d))
    )
    return (
        Group("2D", "the paper's 2D shape", ((paper_2d, (*_ALL, OURS_REFERENCE, FILL)),)),
        Group("3D", "the paper's 3D shape", ((paper_3d, (*_ALL, FILL)),)),
        Group(
            "small", "what a call costs", ((Case(shapes.small), (*_PEERS, OURS, OURS_REFERENCE)),)
        ),
        Group(
            "2D windows",
            "larger windows in 2D",
            tuple((c, _ALL if c.kernel_size <= 5 else (*_PEERS, OURS)) for c in windows_2d),
        ),
        _ours_only(
            "3D windows",
            "larger windows in 3D",
            [replace(paper_3d, kernel_size=w) for w in shapes.windows[3]],
        ),
        Group(
            "3D windows, smaller image",
            "larger windows in 3D, where the peers can still be measured",
            tuple((case, (*_PEERS, OURS)) for case in windows_3d),
        ),
        Group(
            "2D dtypes",
            "half types in 2D",
            tuple((replace(paper_2d, dtype=t), (LISTING, OURS)) for t in _dtypes()),
        ),
        _ours_only(
            "3D dtypes", "half types in 3D", [replace(paper_3d, dtype=t) for t in _dtypes()]
        ),
        Group(
            "sizes",
            "other sizes",
            tuple((Case(s), _ALL if len(s) == 4 else (*_PEERS, OURS)) for s in shapes.sizes),
        ),
        Group(
            "classes",
            "2 to 8 classes",
            tuple(
                (Case((1, count, *shapes.classes_spatial)), (*_PEERS, OURS))
                for count in shapes.classes
            ),
        ),
        Group(
            "loss 2D",
            "Dice + cross entropy on the paper's 2D shape",
            ((Case(shapes.paper_2d, of_loss=True), _LOSSES),),
        ),
        Group(
            "loss 3D",
            "Dice + cross entropy on the paper's 3D shape",
            ((Case(shapes.paper_3d, of_loss=True), _LOSSES),),
        ),
        Group(
            "loss classes",
            "Dice + cross entropy of 2 to 16 classes",
            tuple(
                (
                    Case((1, count, *shapes.classes_spatial), of_loss=True),
                    (DICE_CE, DICE_CE_COMPILED, SCNP_DICE_CE, FUSED, FUSED_JOINT),
                )
                for count in shapes.classes_of_loss
            ),
        ),
        Group(
            "gate",
            "a gate against none",
            tuple((case, (OURS, OURS_GATED)) for case in (paper_2d, paper_3d)),
        ),
        _ours_only(
            "targets",
            "label maps and one-hot masks",
            [
                replace(case, target=target)
                for case in (paper_2d, paper_3d)
                for target in (LABELS, FLOAT_MASKS, BOOL_MASKS)
            ],
        ),
        _ours_only(
            "layout",
            "channels_last against contiguous",
            [
                replace(case, channels_last=channels_last)
                for case in (paper_2d, paper_3d)
                for channels_last in (False, True)
            ],
        ),
        _ours_only(
            "threads",
            "one thread against two, with one image of one channel too",
            [
                replace(Case(shape), threads=threads)
                for shape in (shapes.paper_2d, shapes.paper_3d, *shapes.one_channel)
                for threads in (1, 2)
            ],
        ),
    )


def _ours_only(name: str, question: str, cases: list[Case]) -> Group:
    return Group(name, question, tuple((case, (OURS,)) for case in cases))


def _dtypes() -> tuple[torch.dtype, ...]:
    return (torch.float32, *_HALF_TYPES)


def all_cases(shapes: Shapes) -> tuple[Case, ...]:
    """Every case of the groups, once."""
    return tuple(dict.fromkeys(case for group in groups(shapes) for case, _ in group.members))
