"""The cases that the fused kernels of Dice + cross entropy are held to, and how they are compared.

What they must give is what the composition of the reference's operations gives in float64; the
winners bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scnp_kernels import ops
from scnp_kernels.rules.dice_ce import Wanted
from scnp_kernels.rules.target import Reading
from tests import generators as g
from tests.cases import Case


@dataclass(frozen=True)
class FusedCase:
    """One input and what is asked of it."""

    case: Case
    dtype: torch.dtype = torch.float32
    softmax: bool = True
    of_penalized: bool = True
    of_plain: bool = False
    gamma: float = 0.0

    @property
    def name(self) -> str:
        activation = "softmax" if self.softmax else "sigmoid"
        terms = "joint" if self.of_penalized and self.of_plain else "plain"
        if not self.of_plain:
            terms = "penalized"
        name = f"{self.case.name}-{activation}-{terms}-{str(self.dtype).removeprefix('torch.')}"
        return name if self.gamma == 0 else f"{name}-focal_{self.gamma}"


class FusedOutcome(NamedTuple):
    """What forward and backward give."""

    sums: Tensor  # [2, 6, B, C]
    winners: Tensor
    gradient: Tensor


def large_logits(shape: g.Shape, generator: torch.Generator) -> Tensor:
    """Up to 1e4 and more, where float32's steps are 1e-3; half of the pixels' classes lie close."""
    values = 1e4 * torch.randn((shape[0], 1, *shape[2:]), generator=generator, dtype=torch.float64)
    return values + torch.randn(shape, generator=generator, dtype=torch.float64)


def labels_out_of_range(shape: g.Shape, generator: torch.Generator) -> Tensor:
    """Some of no class at all: background of every channel."""
    return g.uniform_integers(-1, shape[1] + 2, (shape[0], *shape[2:]), generator)


_HALVES = (torch.float16, torch.bfloat16)
_IGNORING = g.labels(ignored=-1)
_FLAT = Case("2d", "", (2, 3, 5, 7))
_INVALID = Case("invalid", "", (2, 3, 5, 7), target=_IGNORING, ignore_index=-1,
                mask=g.valid_pixels())  # fmt: skip
_MASKS = Case("masks", "overlapping; some pixels are in none", (1, 3, 5, 7), target=g.masks())

FUSED_CASES = [
    FusedCase(_FLAT),
    FusedCase(_FLAT, of_plain=True),
    FusedCase(_FLAT, torch.float64, of_plain=True),
    FusedCase(_FLAT, of_penalized=False, of_plain=True),
    FusedCase(_FLAT, torch.float16, softmax=False, of_plain=True),
    FusedCase(_FLAT, torch.bfloat16, softmax=False, of_penalized=False, of_plain=True),
    FusedCase(Case("line", "", (2, 2, 37), 5), torch.float16, of_plain=True),
    FusedCase(Case("volume", "", (1, 3, 4, 5, 6)), of_plain=True),
    FusedCase(Case("volume_invalid", "", (1, 2, 4, 5, 6), target=_IGNORING, ignore_index=-1,
                   mask=g.valid_pixels()), torch.bfloat16, of_plain=True),
    FusedCase(Case("volume_flat", "", (1, 2, 3, 4, 5), (1, 3, 5)), torch.float64),
    FusedCase(Case("tied", "", (1, 3, 7, 6), 5, logits=g.tied), torch.bfloat16, of_plain=True),
    FusedCase(_INVALID, of_plain=True),
    FusedCase(_INVALID, torch.float16, softmax=False, of_plain=True),
    FusedCase(_INVALID, of_penalized=False, of_plain=True),
    FusedCase(Case("ignored_class", "", (1, 3, 5, 7), ignore_index=1), of_plain=True),
    FusedCase(_MASKS, of_plain=True),
    FusedCase(_MASKS, softmax=False, of_plain=True),
    FusedCase(_MASKS, of_penalized=False, of_plain=True),
    FusedCase(replace(_MASKS, name="masks_uint8", shape=(1, 2, 3, 4, 5),
                      target=g.masks(torch.uint8)), torch.float64, softmax=False),
    FusedCase(Case("binary", "", (2, 1, 5, 7)), softmax=False, of_plain=True),
    FusedCase(Case("binary_masks", "", (1, 1, 5, 7), target=g.masks(torch.uint8, ignored=255),
                   ignore_index=255), torch.float64, softmax=False, of_plain=True),
    FusedCase(Case("classes_5", "", (1, 5, 4, 9), (3, 5))),
    FusedCase(Case("classes_17", "", (1, 17, 3, 4)), of_plain=True),
    FusedCase(Case("classes_64", "", (1, 64, 2, 5)), torch.float16),
    FusedCase(Case("window_9", "too large to march", (1, 3, 9, 7), 9, target=_IGNORING,
                   ignore_index=-1), of_plain=True),
    FusedCase(Case("window_17", "2-byte winners", (1, 2, 4, 6), 17), torch.bfloat16,
              softmax=False, of_plain=True),
    FusedCase(Case("columns", "two blocks of columns", (1, 2, 2, 131)), of_plain=True),
    FusedCase(Case("rows", "two marches of rows", (1, 2, 19, 3), 5), of_plain=True),
    FusedCase(Case("out_of_range", "", (1, 3, 5, 7), target=labels_out_of_range), of_plain=True),
    FusedCase(Case("large", "", (1, 3, 5, 7), logits=large_logits), of_plain=True),
    FusedCase(Case("large_sigmoid", "", (1, 3, 5, 7), logits=large_logits), softmax=False),
    FusedCase(Case("channels_last", "", (2, 3, 4, 5), layout=g.channels_last), of_plain=True),
    FusedCase(Case("sliced", "", (2, 3, 4, 5), layout=g.every_second, mask=g.valid_pixels(),
                   mask_layout=g.every_second, target_layout=g.reversed_axes), of_plain=True),
    FusedCase(Case("sliced", "", (2, 3, 4, 5), layout=g.every_second), of_penalized=False,
              of_plain=True),
    *(
        FusedCase(Case("gate", "", (2, 3, 5, 7), gate=g.valid_pixels(0.5)), dtype, softmax=softmax,
                  of_plain=of_plain)
        for dtype, softmax, of_plain in (
            (torch.float32, True, True), (torch.float64, False, False),
            (torch.float16, True, False), (torch.bfloat16, False, True))
    ),
    FusedCase(replace(_INVALID, name="gate_invalid", gate=g.valid_pixels(0.5)), of_plain=True),
    FusedCase(Case("gate_volume", "", (1, 2, 4, 5, 6), target=_IGNORING, ignore_index=-1,
                   mask=g.valid_pixels(), gate=g.valid_pixels(0.5)), torch.float64, of_plain=True),
    FusedCase(Case("gate_volume_masks", "", (1, 3, 3, 4, 5), (1, 3, 5), target=g.masks(),
                   gate=g.valid_pixels(0.5)), softmax=False),
    FusedCase(Case("gate_classes_17", "winners first, statistics second", (1, 17, 3, 4),
                   gate=g.valid_pixels(0.5)), of_plain=True),
    FusedCase(Case("gate_window_9", "too large to march", (1, 3, 9, 7), 9, target=_IGNORING,
                   ignore_index=-1, gate=g.valid_pixels(0.5)), of_plain=True),
    FusedCase(Case("gate_channels_last", "", (2, 3, 4, 5), layout=g.channels_last,
                   gate=g.valid_pixels(0.5), gate_layout=g.every_second), of_plain=True),
    FusedCase(Case("gate_tied", "", (1, 3, 7, 6), 5, logits=g.tied, gate=g.valid_pixels(0.5))),
    # The focal loss: every kernel, the square and a power, one class per pixel and several.
    FusedCase(_FLAT, of_plain=True, gamma=2.0),
    FusedCase(_FLAT, torch.float64, of_plain=True, gamma=1.3),
    FusedCase(_FLAT, torch.float16, softmax=False, of_plain=True, gamma=0.5),
    FusedCase(_INVALID, of_plain=True, gamma=2.5),
    FusedCase(_INVALID, of_penalized=False, of_plain=True, gamma=2.5),
    FusedCase(_MASKS, of_plain=True, gamma=0.5),
    FusedCase(_MASKS, softmax=False, of_plain=True, gamma=2.0),
    FusedCase(_MASKS, of_penalized=False, of_plain=True, gamma=2.0),
    FusedCase(Case("volume", "", (1, 3, 4, 5, 6)), torch.bfloat16, of_plain=True, gamma=2.5),
    FusedCase(Case("classes_17", "", (1, 17, 3, 4)), of_plain=True, gamma=2.0),
    FusedCase(Case("window_9", "too large to march", (1, 3, 9, 7), 9, target=_IGNORING,
                   ignore_index=-1), of_plain=True, gamma=2.5),
    FusedCase(Case("large", "", (1, 3, 5, 7), logits=large_logits), of_plain=True, gamma=2.0),
    FusedCase(Case("large_sigmoid", "", (1, 3, 5, 7), logits=large_logits), softmax=False,
              gamma=2.5),
]  # fmt: skip

SPECIAL_CASES = [
    FusedCase(
        Case(logits.__name__, "", (2, 3, 3, 5), logits=logits),
        softmax=softmax,
        of_plain=True,
        gamma=gamma,
    )
    for logits in (g.infinities, g.some_nan, g.minus_infinity)
    for softmax in (False, True)
    for gamma in (0.0, 2.5)
] + [
    FusedCase(
        Case("gate_nan", "", (2, 3, 3, 5), logits=g.some_nan, gate=g.valid_pixels(0.5)),
        softmax=softmax,
        of_plain=True,
    )
    for softmax in (False, True)
]


def outcome_of(backend: str, fused: FusedCase, device: str = "cpu") -> FusedOutcome:
    """Both passes on a backend, or on the reference in float64 if the backend is ``"exact"``."""
    dtype = fused.dtype
    if backend == "exact":
        backend, dtype = "reference", torch.float64

    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, reading, wanted = arguments
        result: tuple[Tensor, Tensor] = ops.dice_ce_forward(*tensors, *reading, *wanted, backend)
        return result

    def backward(*arguments: Any) -> Tensor:
        *tensors, window, reading, wanted = arguments
        no_gate = None  # the winners say it all
        result: Tensor = ops.dice_ce_backward(*tensors, no_gate, window, *reading, *wanted, backend)
        return result

    return outcome_by(forward, backward, fused, dtype, device)


def outcome_by(
    forward: Callable[..., tuple[Tensor, Tensor]],
    backward: Callable[..., Tensor],
    fused: FusedCase,
    dtype: torch.dtype,
    device: str = "cpu",
) -> FusedOutcome:
    """By functions with the arguments of a Backend; the logits widened to ``dtype``."""
    sample = fused.case.make(fused.dtype)
    logits, target, mask = sample.logits, sample.target, sample.kwargs["mask"]
    gate = sample.kwargs.get("gate")
    if dtype != fused.dtype or device != "cpu":
        logits, target = logits.to(device, dtype), target.to(device)
        mask = None if mask is None else mask.to(device)
        gate = None if gate is None else gate.to(device)
    channels = logits.shape[1]
    how = (
        fused.case.window,
        Reading(
            target_is_masks=target.shape == logits.shape,
            first_class=1 if channels == 1 else 0,
            label_count=max(2, channels),
            ignore_index=fused.case.ignore_index,
            validate=False,
        ),
        Wanted(fused.softmax, fused.of_penalized, fused.of_plain, fused.gamma),
    )
    sums, winners = forward(logits, target, mask, gate, *how)
    of_sums = torch.randn(sums.shape, generator=g.seeded(2), dtype=torch.float64)
    gradient = backward(of_sums.to(logits.device), winners, logits, target, mask, *how)
    return FusedOutcome(sums.cpu(), winners.cpu(), gradient.cpu())


def assert_agrees(outcome: FusedOutcome, exact: FusedOutcome, fused: FusedCase) -> None:
    """In float32 the sums to 2e-6, the gradient to 1e-5 of its largest value; NaN where NaN is."""
    assert torch.equal(outcome.winners, exact.winners)
    double = fused.dtype == torch.float64
    scale = exact.sums.abs().nan_to_num(0, posinf=0).clamp_min(1)
    sums_tolerance = 1e-13 if double else 2e-6
    torch.testing.assert_close(
        outcome.sums / scale, exact.sums / scale, rtol=0, atol=sums_tolerance, equal_nan=True
    )
    largest = exact.gradient.nan_to_num(0).abs().max().item()
    tolerance = 1e-13 if double else 1e-5
    rounding = 2 * torch.finfo(fused.dtype).eps if fused.dtype in _HALVES else 0
    torch.testing.assert_close(
        outcome.gradient.double(),
        exact.gradient,
        rtol=rounding,
        atol=tolerance * max(largest, 1e-30),
        equal_nan=True,
    )
