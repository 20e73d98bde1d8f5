"""What Dice + cross entropy is made of: its options, their checks, and the class weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .arguments import (
    KernelSize,
    check_dense_tensor,
    check_flag,
    check_ignore_index,
    check_kernel_size,
    check_not_both_zero,
    check_weight,
)

ACTIVATIONS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class DiceCEOptions:
    """The options of :func:`scnp_kernels.scnp_dice_ce_loss`, which says what each one means."""

    kernel_size: KernelSize = 3
    activation: str = "softmax"
    ce_weight: float = 1.0
    dice_weight: float = 1.0
    scnp_weight: float = 1.0
    plain_weight: float = 0.0
    include_background: bool = True
    batch_dice: bool = False
    smooth: float = 1e-5
    ignore_index: int | None = None
    distributed: bool | None = None
    validate: bool | None = None
    backend: str = "auto"


def check_options(options: DiceCEOptions) -> DiceCEOptions:
    """Return the options with weights as floats.

    Raises:
        TypeError: An option has a type that it does not take.
        ValueError: An option has a value that it does not take.
    """
    if not isinstance(options.activation, str) or options.activation not in ACTIVATIONS:
        raise ValueError(f'activation: got {options.activation!r}, takes "softmax" or "sigmoid"')
    check_flag("include_background", options.include_background)
    check_flag("batch_dice", options.batch_dice)
    check_flag("distributed", options.distributed, or_none=True)
    check_flag("validate", options.validate, or_none=True)
    check_kernel_size(options.kernel_size)
    ce_weight = check_weight("ce_weight", options.ce_weight)
    dice_weight = check_weight("dice_weight", options.dice_weight)
    check_not_both_zero("ce_weight", ce_weight, "dice_weight", dice_weight)
    scnp_weight = check_weight("scnp_weight", options.scnp_weight)
    plain_weight = check_weight("plain_weight", options.plain_weight)
    check_not_both_zero("scnp_weight", scnp_weight, "plain_weight", plain_weight)
    return replace(
        options,
        ce_weight=ce_weight,
        dice_weight=dice_weight,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        smooth=check_weight("smooth", options.smooth),
        ignore_index=check_ignore_index(options.ignore_index),
    )


def check_channels(options: DiceCEOptions, channels: int) -> None:
    """Raise ValueError where the options do not fit logits of so many channels."""
    if options.activation == "softmax" and channels == 1:
        raise ValueError('activation: got "softmax" with C = 1 class, takes "sigmoid" there')
    if not options.include_background and channels == 1:
        raise ValueError("include_background: got False with C = 1 class, takes True there")


def sums_over_ranks(options: DiceCEOptions) -> bool:
    """Return whether Dice's parts are summed over several ranks, asked anew at each call.

    Raises:
        ValueError: It was asked for, but no ranks run.
    """
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    if options.distributed and not running:
        raise ValueError("distributed: got True, but torch.distributed is not initialized")
    wanted = options.distributed is not False and options.batch_dice
    return wanted and running and torch.distributed.get_world_size() > 1


def as_class_weights(class_weights: Tensor | Sequence[float]) -> Tensor:
    """Return class weights as a floating tensor ``[C]``; raise where they are none."""
    takes = "takes [C] finite numbers that are not negative"
    try:
        weights = torch.as_tensor(class_weights)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"class_weights: got {class_weights!r}, {takes}") from None
    check_dense_tensor("class_weights", weights)
    if weights.dtype == torch.bool or weights.is_complex():
        raise TypeError(f"class_weights: got {weights.dtype}, {takes}")
    if weights.dim() != 1:
        raise ValueError(f"class_weights: got shape {tuple(weights.shape)}, {takes}")
    if weights.device.type == "meta":
        raise ValueError(f"class_weights: got a tensor on meta, {takes}")
    weights = weights if weights.is_floating_point() else weights.float()
    # Values are looked at where that costs nothing: elsewhere it would wait, or break a graph.
    # Subclasses (DTensors, fake tensors) have none to look at.
    has_values = type(weights) in (Tensor, torch.nn.Parameter) and weights.device.type == "cpu"
    if has_values and not torch.compiler.is_compiling():
        for weight in weights.tolist():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"class_weights: got {weight!r} among them, {takes}")
    return weights


def check_class_weights(
    class_weights: Tensor | Sequence[float] | None, logits: Tensor
) -> Tensor | None:
    """Return class weights ``[C]`` on the device of the logits, or None where there are none."""
    if class_weights is None:
        return None
    weights = as_class_weights(class_weights)
    if weights.shape[0] != logits.shape[1]:
        raise ValueError(
            f"class_weights: got {weights.shape[0]} numbers, takes C = {logits.shape[1]}, one per "
            "channel of the logits"
        )
    return weights.to(logits.device)
