"""The cases that every backend is held to, each a small named input with a reason to be there.

They are kept small for the sake of brute force and of interpreters that run a kernel thread by
thread. ``large`` marks those that such an interpreter may leave out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from tests import generators as g
from tests.oracle import Expected, Reading, brute_force, read_target, window_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
NOT_BELOW_KAPPA = (
    g.extreme,
    g.infinities,
    g.minus_infinity,
    g.plus_infinity,
    g.some_nan,
    g.all_nan,
)
# Beyond this, backends may number the taps of a window that was cut to the image.
MOST_NUMBERED_TAPS = 32_767


class _Arguments(TypedDict):
    kernel_size: int | Sequence[int]
    ignore_index: int | None
    mask: Tensor | None


class Arguments(_Arguments, total=False):
    """The keyword arguments of ``scnp``, less ``validate`` and ``backend``."""

    gate: Tensor | None


class Sample(NamedTuple):
    """One input, ready to be passed on."""

    logits: Tensor
    target: Tensor
    kwargs: Arguments
    incoming: Tensor  # the gradient with respect to the penalized logits


ANY_LABELS = g.labels()


@dataclass(frozen=True)
class Case:
    """An input to be made in any dtype, and why it is worth a test."""

    name: str
    why: str
    shape: tuple[int, ...]  # [B, C, *spatial]
    kernel_size: int | tuple[int, ...] = 3
    logits: g.Logits = g.normal
    target: g.Target = ANY_LABELS
    ignore_index: int | None = None
    mask: g.Mask | None = None
    gate: g.Mask | None = None
    layout: g.Layout = g.as_made  # of the logits
    target_layout: g.Layout = g.as_made
    mask_layout: g.Layout = g.as_made
    gate_layout: g.Layout = g.as_made
    incoming_layout: g.Layout = g.as_made
    large: bool = False

    @property
    def window(self) -> tuple[int, ...]:
        return window_of(self.kernel_size, len(self.shape) - 2)

    @property
    def winners_are_numbered(self) -> bool:
        return math.prod(self.window) <= MOST_NUMBERED_TAPS

    @property
    def has_listing(self) -> bool:
        """Does the paper's listing know this case?"""
        plain = self.ignore_index is None and self.mask is None and self.gate is None
        return plain and self.logits not in NOT_BELOW_KAPPA

    def make(self, dtype: torch.dtype, seed: int = 0) -> Sample:
        """The same values whenever ``dtype`` and ``seed`` are the same."""
        generator = g.seeded(seed)
        logits = self.layout(self.logits(self.shape, generator).to(dtype))
        target = self.target_layout(self.target(self.shape, generator))
        mask = None
        if self.mask is not None:
            mask = self.mask_layout(self.mask(self.shape, generator))
        gate = None
        if self.gate is not None:
            # Of its own generator, so that a case draws the same values with and without one.
            gate = self.gate_layout(self.gate(self.shape, g.seeded(seed + 1)))
        incoming = torch.randn(self.shape, generator=generator, dtype=torch.float64).to(dtype)
        arguments: Arguments = {
            "kernel_size": self.kernel_size,
            "ignore_index": self.ignore_index,
            "mask": mask,
            "gate": gate,
        }
        return Sample(logits, target, arguments, self.incoming_layout(incoming))


def reading(sample: Sample) -> Reading:
    """The oracle's view of a sample's target."""
    kwargs = sample.kwargs
    return read_target(sample.logits.shape, sample.target, kwargs["ignore_index"], kwargs["mask"])


@cache
def expected(case: Case, dtype: torch.dtype, seed: int = 0) -> Expected:
    """Brute force's answer, computed once for all backends."""
    sample = case.make(dtype, seed)
    return brute_force(sample.logits, *reading(sample), case.kernel_size, sample.kwargs.get("gate"))


def _name(value: object) -> str:
    """float32 for torch.float32, 1x3x3 for (1, 3, 3)."""
    text = "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text.removeprefix("torch.")


LINE, PLANE, VOLUME = (2, 3, 17), (2, 3, 7, 9), (1, 2, 4, 5, 6)

WINDOWS = [
    Case(f"window_{_name(size)}_{len(shape) - 2}d", "windows of every shape", shape, size)
    for shape, sizes in (
        (LINE, (1, 3, 5, 7, (9,))),
        (PLANE, (1, 3, 5, 7, (3, 1), (1, 3), (5, 3))),
        (VOLUME, (1, 3, 5, (1, 3, 3), (3, 1, 1), (5, 3, 1), (1, 1, 7))),
    )
    for size in sizes
] + [
    Case("wide_window_1d", "reaches beyond both borders", (2, 2, 6), 31),
    Case("wide_window_2d", "reaches beyond all borders; 2-byte winners", (1, 2, 4, 5), 31),
    Case("wide_window_3d", "reaches beyond all borders; 2-byte winners", (1, 2, 3, 4, 5), 11),
    Case("taps_255", "the last window of 1-byte winners", (1, 2, 9, 11), (15, 17)),
    Case("taps_257", "the first window of 2-byte winners", (1, 2, 140), 257),
    Case("taps_289", "17x17", (1, 2, 9, 11), 17),
    Case("taps_343", "7x7x7", (1, 2, 3, 4, 5), 7),
    Case("taps_32767", "the last window that is numbered as it is", (1, 2, 4, 5), (151, 217)),
    Case("taps_40401", "cut to what the image can hold", (1, 2, 4, 5), 201),
    Case("huge_window", "far more taps than memory", (1, 2, 4, 5), (1_000_001, 1)),
]

SIZES = [
    Case(f"size_{_name(shape)}", "short, ragged and lonely axes", shape, size)
    for shape, size in (
        ((2, 3, 1), 3),
        ((2, 3, 1, 1), 3),
        ((2, 3, 1, 1, 1), 3),
        ((1, 2, 1, 8), 5),
        ((1, 2, 8, 1), 5),
        ((1, 2, 1, 6, 5), 3),
        ((1, 2, 6, 1, 5), 3),
        ((1, 2, 6, 5, 1), (3, 5, 3)),
        ((1, 2, 2), 3),
        ((3, 1, 2, 13), 3),
        ((1, 19, 3, 5), 3),
        ((5, 2, 3, 3, 2), 3),
    )
]

# The CPU kernels cut an image into tiles: 512 columns, planes of about 2,048 pixels, and, for
# several threads, runs of rows or planes.
LARGE = [
    Case("tiles_1d", "three tiles of columns", (1, 2, 1100), 3, large=True),
    Case("tiles_1d_wide", "windows across tiles", (1, 2, 1030), 41, large=True),
    Case("tiles_2d_columns", "two tiles of columns", (1, 2, 5, 700), 3, large=True),
    Case("tiles_2d_wide", "windows across tiles", (1, 1, 6, 530), 7, large=True),
    Case("tiles_2d_rows", "runs of rows for every thread", (1, 1, 70, 6), 3, large=True),
    Case("tiles_2d_rows_wide", "runs of rows for every thread", (1, 1, 83, 5), 5, large=True),
    Case("tiles_3d_planes", "planes above 2,048 pixels", (1, 1, 3, 48, 50), 3, large=True),
    Case("tiles_3d_columns", "rows above 512 columns", (1, 1, 2, 3, 600), 3, large=True),
    Case("tiles_3d_both", "planes and rows are cut", (1, 1, 2, 5, 520), (3, 3, 5), large=True),
    Case("tiles_3d_runs", "runs of planes", (1, 1, 40, 4, 3), 3, logits=g.tied, large=True),
    Case(
        "tiles_2d_tied",
        "ties between pixels of different tiles",
        (1, 1, 4, 1100),
        (3, 5),
        logits=g.constant,
        target=g.only_label(0),
        large=True,
    ),
]

LOGITS = [
    Case(f"{maker.__name__}_{len(shape) - 2}d", (maker.__doc__ or "").strip(), shape, logits=maker)
    for maker in (
        g.distinct,
        g.tied,
        g.constant,
        g.signed_zeros,
        g.infinities,
        g.minus_infinity,
        g.plus_infinity,
        g.some_nan,
        g.all_nan,
        g.extreme,
    )
    for shape in (LINE, PLANE, VOLUME)
] + [
    Case("tied_5x5", "ties across stages", (1, 2, 9, 11), 5, logits=g.tied),
    Case("tied_5x5x5", "ties across stages", (1, 1, 5, 6, 7), 5, logits=g.tied),
    Case("some_nan_5", "several NaNs to a window", PLANE, 5, logits=g.some_nan),
    Case("nan_17", "NaNs and 2-byte winners", (1, 2, 9, 11), 17, logits=g.some_nan),
]

TARGETS = [
    Case("all_foreground", "C = 1, the minimum", (2, 1, 7, 9), target=g.only_label(1)),
    Case("all_background", "C = 1, the maximum", (2, 1, 7, 9), target=g.only_label(0)),
    Case("one_class", "the other classes are absent", PLANE, target=g.only_label(2)),
    Case("absent_classes", "classes 2 to 4 are absent", (1, 5, 7, 9), target=g.labels(classes=2)),
    Case("checkerboard", "same-class neighbours touch by corners", PLANE, target=g.checkerboard),
    Case("checkerboard_binary", "likewise, C = 1", (1, 1, 6, 7), target=g.checkerboard),
    Case("thin_lines", "structures one pixel wide", (1, 2, 9, 11), 5, target=g.thin_lines),
    Case("thin_lines_3d", "structures one voxel wide", VOLUME, target=g.thin_lines),
    Case("blobs", "regions larger than a window", (1, 3, 11, 13), target=g.blobs),
    Case("blobs_3d", "regions larger than a window", (1, 3, 5, 6, 7), target=g.blobs),
    Case("classes_251", "more than a byte's codes", (1, 251, 2, 3), target=g.labels(torch.uint8)),
    Case("classes_256", "every uint8 is a class", (2, 256, 3, 4), target=g.labels(torch.uint8)),
    Case("classes_300", "beyond uint8", (1, 300, 2, 9), target=g.labels(torch.int16)),
    Case("classes_520", "beyond two bytes' codes", (1, 520, 9), target=g.labels(torch.float16)),
    Case(
        "classes_uint8",
        "classes no pixel can have",
        (1, 300, 5),
        target=g.labels(torch.uint8, classes=256),
    ),
    Case("classes_masks", "more masks than a byte counts", (1, 260, 2, 3), target=g.masks()),
] + [
    Case(
        f"labels_{_name(dtype)}{'_with_channel_axis' if channel_axis else ''}",
        "label maps of every dtype and shape",
        PLANE,
        target=g.labels(dtype, channel_axis=channel_axis),
    )
    for dtype in (*INTEGERS, *DTYPES)
    for channel_axis in (False, True)
]

MASKS = (
    [
        Case(
            f"masks_{_name(dtype)}",
            "overlapping masks of every dtype; some pixels are in none",
            (2, 4, 5, 7),
            target=g.masks(dtype),
        )
        for dtype in (torch.bool, *INTEGERS, *WIDE_UNSIGNED, *DTYPES)
    ]
    + [
        Case(f"masks_{d}d", "masks in every dimension", shape, target=g.masks())
        for d, shape in ((1, LINE), (3, VOLUME))
    ]
    + [
        Case("masks_empty", "every pixel is in no mask", PLANE, target=g.masks(share=0.0)),
        Case("masks_full", "every pixel is in every mask", PLANE, target=g.masks(share=1.0)),
    ]
)

BINARY = [
    Case(f"binary_map_{_name(dtype)}", "C = 1 as a label map", (2, 1, 5, 7), target=g.labels(dtype))
    for dtype in (torch.bool, *INTEGERS, *DTYPES)
] + [
    Case(f"binary_masks_{_name(dtype)}", "C = 1 as masks", (2, 1, 5, 7), target=g.masks(dtype))
    for dtype in (torch.bool, *INTEGERS, *WIDE_UNSIGNED, *DTYPES)
]


def _ignoring(name: str, why: str, label: int, target: g.Target, channels: int = 3) -> Case:
    return Case(name, why, (2, channels, 7, 9), target=target, ignore_index=label)


IGNORED = [
    _ignoring("ignore_-1", "MONAI's", -1, g.labels(ignored=-1)),
    _ignoring("ignore_-100", "torch's", -100, g.labels(torch.int16, ignored=-100)),
    _ignoring("ignore_255", "the field's", 255, g.labels(torch.uint8, ignored=255)),
    _ignoring("ignore_255_channel_axis", "", 255, g.labels(ignored=255, channel_axis=True)),
    _ignoring("ignore_float16_-1", "floating maps", -1, g.labels(torch.float16, ignored=-1)),
    _ignoring("ignore_float32_255", "floating maps", 255, g.labels(torch.float32, ignored=255)),
    _ignoring("ignore_255_in_int8", "no int8 is 255", 255, g.labels(torch.int8)),
    _ignoring("ignore_-1_in_uint8", "no uint8 is -1", -1, g.labels(torch.uint8)),
    _ignoring("ignore_2**40_in_int32", "no int32 is that", 2**40, g.labels(torch.int32)),
    _ignoring("ignore_2**40_in_float16", "no float16 is that", 2**40, g.labels(torch.float16)),
    _ignoring("ignore_2**70", "no integer dtype holds it", 2**70, g.labels()),
    _ignoring("ignore_2**63-1", "the largest of int64", 2**63 - 1, g.labels(ignored=2**63 - 1)),
    _ignoring("ignore_0", "an ordinary class is ignored", 0, g.labels()),
    _ignoring("ignore_1", "an ordinary class is ignored", 1, g.labels()),
    Case("ignore_many_classes", "255 is a class elsewhere", (1, 255, 3, 4), ignore_index=255,
         target=g.labels(torch.uint8, ignored=255)),
    Case("ignore_a_class_of_many", "", (1, 300, 3, 40), ignore_index=254),
    _ignoring("ignore_unused", "no pixel has it", 254, g.labels(torch.uint8)),
    _ignoring("ignore_everything", "nobody takes part", 2, g.only_label(2)),
    _ignoring("ignore_binary_map", "C = 1", 255, g.labels(torch.uint8, ignored=255), 1),
    _ignoring("ignore_binary_map_-1", "C = 1", -1, g.labels(torch.float32, ignored=-1), 1),
    _ignoring("ignore_binary_bool_map", "C = 1, 0 is False", 0, g.labels(torch.bool), 1),
    _ignoring("ignore_binary_masks", "C = 1", 255, g.masks(torch.uint8, ignored=255), 1),
    _ignoring("ignore_binary_masks_-1", "C = 1", -1, g.masks(torch.float16, ignored=-1), 1),
    _ignoring("ignore_binary_bool_masks", "C = 1, 1 is True", 1, g.masks(), 1),
    Case("ignore_1d", "", LINE, 5, target=g.labels(ignored=-1), ignore_index=-1),
    Case("ignore_3d", "", VOLUME, target=g.labels(ignored=-1), ignore_index=-1),
]  # fmt: skip

VALID = [
    Case("mask", "pixels outside the mask take no part", PLANE, mask=g.valid_pixels()),
    Case("mask_1d", "", LINE, 5, mask=g.valid_pixels()),
    Case("mask_3d", "", VOLUME, mask=g.valid_pixels()),
    Case("mask_channel_axis", "[B, 1, H, W]", PLANE, mask=g.valid_pixels(channel_axis=True)),
    Case("mask_all_valid", "changes nothing", PLANE, mask=g.valid_pixels(1.1)),
    Case("mask_none_valid", "everybody stays", PLANE, mask=g.valid_pixels(0.0)),
    Case("mask_image", "the first image has no valid pixel", PLANE, mask=g.first_image_invalid),
    Case("mask_and_masks", "masks of classes and of validity", PLANE, target=g.masks(),
         mask=g.valid_pixels()),
    Case("mask_and_ignore", "invalid for either reason", PLANE,
         target=g.labels(ignored=255), ignore_index=255, mask=g.valid_pixels()),
    Case("mask_binary", "C = 1", (2, 1, 7, 9), mask=g.valid_pixels()),
    Case("mask_binary_masks", "C = 1, everything at once", (2, 1, 7, 9), 5,
         target=g.masks(torch.uint8, ignored=255), ignore_index=255, mask=g.valid_pixels()),
    Case("mask_17", "2-byte centre", (1, 2, 9, 11), 17, mask=g.valid_pixels(0.4)),
    Case("mask_nan", "a NaN of an invalid pixel stays where it is", PLANE, logits=g.some_nan,
         mask=g.valid_pixels(0.5)),
    Case("mask_nan_only", "likewise when its neighbours are NaN", PLANE, logits=g.all_nan,
         mask=g.valid_pixels(0.5)),
    Case("mask_infinities", "", PLANE, 5, logits=g.infinities, mask=g.valid_pixels(0.5)),
    Case("mask_tied", "the first valid one wins", PLANE, 5, logits=g.tied, mask=g.valid_pixels()),
    Case("mask_tiles", "across tiles", (1, 1, 3, 1100), mask=g.valid_pixels(), large=True),
]  # fmt: skip


GATED = [
    *(
        Case(f"gate_{_name(size)}_{len(shape) - 2}d", "windows of every path", shape, size,
             gate=g.valid_pixels(0.6))
        for shape, sizes in (
            (LINE, (1, 3, 5)),
            (PLANE, (1, 3, 5, 7, 9, 11, (1, 3), (5, 3))),
            (VOLUME, (3, 5, 7, (1, 3, 3), (3, 1, 1))),
        )
        for size in sizes
    ),
    Case("gate_wide_1d", "reaches beyond both borders", (2, 2, 6), 31, gate=g.valid_pixels(0.5)),
    Case("gate_17", "2-byte centre", (1, 2, 9, 11), 17, gate=g.valid_pixels(0.5)),
    Case("gate_40401", "cut to what the image can hold", (1, 2, 4, 5), 201,
         gate=g.valid_pixels(0.5)),
    Case("gate_channel_axis", "[B, 1, H, W]", PLANE, gate=g.valid_pixels(0.5, channel_axis=True)),
    Case("gate_open", "changes nothing", PLANE, gate=g.valid_pixels(1.1)),
    Case("gate_closed", "everybody stays", PLANE, gate=g.valid_pixels(0.0)),
    Case("gate_image", "the first image stays", PLANE, gate=g.first_image_invalid),
    Case("gate_and_masks", "overlapping classes", PLANE, target=g.masks(),
         gate=g.valid_pixels(0.5)),
    Case("gate_and_mask", "an invalid neighbour lends nothing, a closed one does", PLANE,
         mask=g.valid_pixels(0.6), gate=g.valid_pixels(0.6)),
    Case("gate_mask_ignore", "everything at once", PLANE, 5, target=g.labels(ignored=255),
         ignore_index=255, mask=g.valid_pixels(), gate=g.valid_pixels(0.6)),
    Case("gate_mask_ignore_3d", "everything at once", VOLUME, target=g.labels(ignored=-1),
         ignore_index=-1, mask=g.valid_pixels(), gate=g.valid_pixels(0.6)),
    Case("gate_binary", "C = 1", (2, 1, 7, 9), gate=g.valid_pixels(0.5)),
    Case("gate_binary_masks", "C = 1, everything at once", (2, 1, 7, 9), 5,
         target=g.masks(torch.uint8, ignored=255), ignore_index=255, mask=g.valid_pixels(),
         gate=g.valid_pixels(0.6)),
    Case("gate_tied", "the first of equals wins, closed or not", PLANE, 5, logits=g.tied,
         gate=g.valid_pixels(0.5)),
    Case("gate_signed_zeros", "a closed pixel keeps the sign of its zero", PLANE,
         logits=g.signed_zeros, gate=g.valid_pixels(0.5)),
    Case("gate_nan", "a closed pixel's NaN spreads, but not to closed ones", PLANE,
         logits=g.some_nan, gate=g.valid_pixels(0.5)),
    Case("gate_infinities", "", VOLUME, logits=g.infinities, gate=g.valid_pixels(0.5)),
    Case("gate_extreme", "", PLANE, logits=g.extreme, gate=g.valid_pixels(0.5)),
    Case("gate_many_classes", "", (1, 255, 3, 4), gate=g.valid_pixels(0.5)),
    Case("gate_many_channels", "the last group of channels is incomplete", (2, 5, 4, 9),
         gate=g.valid_pixels(0.5)),
    Case("gate_rows_of_64", "rows of whole blocks, written where they belong", (1, 2, 9, 128),
         gate=g.valid_pixels(0.5)),
    Case("gate_long_rows", "more than is looked at together", (1, 2, 3, 300),
         gate=g.valid_pixels(0.99)),
    Case("gate_tiles", "across tiles", (1, 1, 3, 1100), gate=g.valid_pixels(0.5), large=True),
    Case("gate_tiles_3d", "planes and rows are cut", (1, 1, 2, 5, 520), gate=g.valid_pixels(0.5),
         large=True),
    Case("gate_channels_last", "channels vary fastest", PLANE, layout=g.channels_last,
         incoming_layout=g.channels_last, gate=g.valid_pixels(0.5)),
    Case("gate_channels_last_3d", "", VOLUME, layout=g.channels_last,
         incoming_layout=g.channels_last, gate=g.valid_pixels(0.5)),
    Case("gate_channels_last_4", "four channels are written together", (2, 4, 5, 70),
         layout=g.channels_last, gate=g.valid_pixels(0.5)),
    *(
        Case(f"gate_{layout.__name__}", "every tensor laid out otherwise", PLANE,
             gate=g.valid_pixels(0.5), gate_layout=layout, layout=g.every_second,
             target_layout=g.reversed_axes)
        for layout in (g.every_second, g.reversed_axes, g.one_for_all)
    ),
    Case("gate_expanded", "one row for all", PLANE, gate=g.valid_pixels(0.5),
         gate_layout=g.repeated(-2)),
]  # fmt: skip


def _laid_out(name: str, why: str, layout: g.Layout, incoming: g.Layout = g.as_made) -> list[Case]:
    """The layout for logits, in all dimensions, and for targets, masks and gradients."""
    return [
        *(
            Case(f"{name}_{d}d", why, shape, layout=layout, incoming_layout=incoming)
            for d, shape in ((1, LINE), (2, PLANE), (3, VOLUME))
        ),
        Case(f"{name}_target", why, VOLUME, target_layout=layout),
        Case(f"{name}_masks", why, PLANE, target=g.masks(torch.uint8), target_layout=layout),
        Case(f"{name}_mask", why, PLANE, mask=g.valid_pixels(), mask_layout=layout),
        Case(f"{name}_incoming", why, PLANE, 5, incoming_layout=layout),
        Case(f"{name}_incoming_3d", why, VOLUME, incoming_layout=layout),
    ]


LAYOUTS = [
    *_laid_out("channels_last", "channels vary fastest", g.channels_last, g.channels_last),
    *(
        Case(f"channels_last_{channels}", "as many elements from pixel to pixel",
             (2, channels, 5, 70), target=g.labels(), layout=g.channels_last,
             incoming_layout=g.channels_last)
        for channels in (2, 4, 17)
    ),
    *_laid_out("sliced", "steps along every axis, an offset", g.every_second, g.reversed_axes),
    *_laid_out("transposed", "the batch varies fastest", g.reversed_axes, g.every_second),
    *_laid_out("expanded_rows", "stride 0 along the last axis", g.repeated(-1), g.repeated(0)),
    *_laid_out("expanded_batch", "stride 0 along the batch", g.repeated(0), g.repeated(-1)),
    *_laid_out("one_for_all", "stride 0 everywhere", g.one_for_all, g.one_for_all),
    Case("all_laid_out", "every tensor in another layout", PLANE, target=g.labels(ignored=7),
         ignore_index=7, mask=g.valid_pixels(), layout=g.channels_last,
         target_layout=g.reversed_axes, mask_layout=g.every_second,
         incoming_layout=g.repeated(1)),
]  # fmt: skip

CASES: list[Case] = [
    *WINDOWS,
    *SIZES,
    *LARGE,
    *LOGITS,
    *TARGETS,
    *MASKS,
    *BINARY,
    *IGNORED,
    *VALID,
    *GATED,
    *LAYOUTS,
]
