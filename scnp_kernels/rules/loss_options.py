"""What the fused losses are made of: their options, the checks of these, and the class weights.

All of them share :class:`LossOptions`; a loss adds what is its own. Each loss is a weighted sum of
``PARTS``, and the option ``<part>_weight`` weighs a part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypedDict, TypeVar

import torch
from torch import Tensor

from .arguments import (
    KernelSize,
    check_dense_tensor,
    check_flag,
    check_ignore_index,
    check_kernel_size,
)
from .weights import Weight, check_term_weights, check_weight, check_weights

ACTIVATIONS = ("softmax", "sigmoid")

_PER_CLASS = "[C] finite numbers that are not negative, as a sequence, an array or a tensor"
# What the arguments with a number per class take, as their errors say it.
_TAKES = {
    "class_weights": f"takes None, or {_PER_CLASS}",
    "alpha": f"takes None, a number in [0, 1], or {_PER_CLASS}",
}


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """The options that all fused losses have; :mod:`scnp_kernels.losses` says what each means."""

    PARTS: ClassVar[tuple[str, ...]] = ()
    # Finite numbers that are not negative, beside the weights.
    NUMBERS: ClassVar[tuple[str, ...]] = ("smooth",)

    kernel_size: KernelSize = 3
    activation: str = "softmax"
    scnp_weight: Weight = 1.0
    plain_weight: Weight = 0.0
    include_background: bool = True
    batch_dice: bool = False
    smooth: float = 1e-5
    ignore_index: int | None = None
    distributed: bool | None = None
    inplace_backward: bool = False
    validate: bool | None = None
    backend: str = "auto"

    @property
    def part_weights(self) -> dict[str, float]:
        """The weight of every part."""
        return {part: getattr(self, f"{part}_weight") for part in self.PARTS}

    @property
    def exponent(self) -> float:
        """The gamma that modulates cross entropy; 0 for cross entropy as it is."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class DiceCEOptions(LossOptions):
    """The options of :func:`scnp_kernels.scnp_dice_ce_loss`."""

    PARTS: ClassVar[tuple[str, ...]] = ("ce", "dice")

    ce_weight: float = 1.0
    dice_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TverskyOptions(LossOptions):
    """The options of :func:`scnp_kernels.scnp_tversky_loss`."""

    PARTS: ClassVar[tuple[str, ...]] = ("ce", "tversky")
    NUMBERS: ClassVar[tuple[str, ...]] = ("smooth", "alpha", "beta")

    alpha: float = 0.5
    beta: float = 0.5
    ce_weight: float = 0.0
    tversky_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FocalOptions(LossOptions):
    """The options of :func:`scnp_kernels.scnp_focal_loss`; an ``alpha`` per class is no option."""

    PARTS: ClassVar[tuple[str, ...]] = ("focal", "dice")
    NUMBERS: ClassVar[tuple[str, ...]] = ("smooth", "gamma")

    gamma: float = 2.0
    alpha: float | None = None
    focal_weight: float = 1.0
    dice_weight: float = 0.0

    @property
    def exponent(self) -> float:
        return self.gamma


# The same by name and type, for signatures that end in ``**options``: what such a signature shows
# is read from the dataclasses, and a type checker reads these.
class LossKeywords(TypedDict, total=False):
    """The keywords of all fused losses."""

    activation: str
    scnp_weight: Weight
    plain_weight: Weight
    include_background: bool
    batch_dice: bool
    smooth: float
    ignore_index: int | None
    distributed: bool | None
    inplace_backward: bool
    validate: bool | None
    backend: str


class DiceCEKeywords(LossKeywords, total=False):
    """The keywords of :func:`scnp_kernels.scnp_dice_ce_loss`."""

    ce_weight: float
    dice_weight: float


class TverskyKeywords(LossKeywords, total=False):
    """The keywords of :func:`scnp_kernels.scnp_tversky_loss`."""

    alpha: float
    beta: float
    ce_weight: float
    tversky_weight: float


class FocalKeywords(LossKeywords, total=False):
    """The keywords of :func:`scnp_kernels.scnp_focal_loss`."""

    gamma: float
    focal_weight: float
    dice_weight: float


Options = TypeVar("Options", bound=LossOptions)

# Found here, since graphs of torch 2.6 cannot look into dataclasses (nor into their `replace`).
_FIELDS: dict[type[LossOptions], tuple[str, ...]] = {
    options: tuple(field.name for field in fields(options))
    for options in (DiceCEOptions, TverskyOptions, FocalOptions)
}


def make_options(kind: type[Options], **values: Any) -> Options:
    """Return the options of a loss as they are given; raise TypeError for one it does not have."""
    for name in values:
        if name not in _FIELDS[kind]:
            known = ", ".join(_FIELDS[kind])
            raise TypeError(f"{name}: got an option that this loss does not have, takes {known}")
    return kind(**values)


def check_options(options: Options) -> Options:
    """Return the options with numbers as floats.

    Raises:
        TypeError: An option has a type that it does not take.
        ValueError: An option has a value that it does not take.
    """
    if not isinstance(options.activation, str) or options.activation not in ACTIVATIONS:
        raise ValueError(f'activation: got {options.activation!r}, takes "softmax" or "sigmoid"')
    check_flag("include_background", options.include_background)
    check_flag("batch_dice", options.batch_dice)
    check_flag("distributed", options.distributed, or_none=True)
    check_flag("inplace_backward", options.inplace_backward)
    check_flag("validate", options.validate, or_none=True)
    check_kernel_size(options.kernel_size)
    parts = {f"{part}_weight": weight for part, weight in options.part_weights.items()}
    changes: dict[str, Any] = dict(check_weights(parts))
    changes.update(check_term_weights(options.scnp_weight, options.plain_weight))
    changes.update({name: check_weight(name, getattr(options, name)) for name in options.NUMBERS})
    changes["ignore_index"] = check_ignore_index(options.ignore_index)
    if isinstance(options, FocalOptions) and options.alpha is not None:
        changes["alpha"] = _check_alpha(options.alpha, options)
    values = {name: getattr(options, name) for name in _FIELDS[type(options)]}
    return type(options)(**{**values, **changes})


def _check_alpha(alpha: float, options: LossOptions) -> float:
    checked = check_weight("alpha", alpha, _TAKES["alpha"])
    if checked > 1:
        raise ValueError(f"alpha: got {alpha!r}, {_TAKES['alpha']}")
    if options.activation == "softmax" and not options.include_background:
        raise ValueError(
            f"alpha: got {alpha!r} with softmax and include_background=False, where it has no "
            f"background to balance; takes None there, or {_PER_CLASS}"
        )
    return checked


def check_channels(options: LossOptions, channels: int) -> None:
    """Raise ValueError where the options do not fit logits of so many channels."""
    if options.activation == "softmax" and channels == 1:
        raise ValueError('activation: got "softmax" with C = 1 class, takes "sigmoid" there')
    if not options.include_background and channels == 1:
        raise ValueError("include_background: got False with C = 1 class, takes True there")


def sums_over_ranks(options: LossOptions) -> bool:
    """Return whether Dice's parts are summed over several ranks, asked anew at each call.

    Raises:
        ValueError: It was asked for, but no ranks run.
    """
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    if options.distributed and not running:
        raise ValueError("distributed: got True, but torch.distributed is not initialized")
    wanted = options.distributed is not False and options.batch_dice
    return wanted and running and torch.distributed.get_world_size() > 1


def as_class_weights(
    class_weights: Tensor | Sequence[float], name: str = "class_weights"
) -> Tensor:
    """Return class weights as a floating tensor ``[C]``; raise where they are none."""
    takes = _TAKES[name]
    try:
        weights = torch.as_tensor(class_weights)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: got {class_weights!r}, {takes}") from None
    check_dense_tensor(name, weights)
    if weights.dtype == torch.bool or weights.is_complex():
        raise TypeError(f"{name}: got {weights.dtype}, {takes}")
    if weights.dim() != 1:
        way_out = (
            f"; float({name}) makes it a number" if name == "alpha" and not weights.dim() else ""
        )
        raise ValueError(f"{name}: got shape {tuple(weights.shape)}, {takes}{way_out}")
    if weights.device.type == "meta":
        raise ValueError(f"{name}: got a tensor on meta, {takes}")
    weights = weights if weights.is_floating_point() else weights.float()
    # Values are looked at where that costs nothing: elsewhere it would wait, or break a graph.
    # Subclasses (DTensors, fake tensors) have none to look at.
    has_values = type(weights) in (Tensor, torch.nn.Parameter) and weights.device.type == "cpu"
    if has_values and not torch.compiler.is_compiling():
        for weight in weights.tolist():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{name}: got {weight!r} among them, {takes}")
    return weights


def check_class_weights(
    class_weights: Tensor | Sequence[float] | None, logits: Tensor, name: str = "class_weights"
) -> Tensor | None:
    """Return class weights ``[C]`` on the device of the logits, or None where there are none."""
    if class_weights is None:
        return None
    weights = as_class_weights(class_weights, name)
    if weights.shape[0] != logits.shape[1]:
        raise ValueError(
            f"{name}: got {weights.shape[0]} numbers, takes C = {logits.shape[1]}, one per "
            "channel of the logits"
        )
    return weights.to(logits.device)
