"""The way of every fused loss from its arguments to a scalar."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from ..autograd.dice_ce import dice_ce_statistics
from ..autograd.overwriting import check_overwriting, overwriting_statistics
from ..backends.registry import check_backend
from ..rules.arguments import channel_by_channel, check_arguments, differs_by_channel
from ..rules.dice_ce import Wanted, unstack_statistics
from ..rules.loss_options import (
    LossOptions,
    Options,
    as_class_weights,
    check_channels,
    check_class_weights,
    check_options,
    sums_over_ranks,
)
from ..rules.loss_parts import Circumstances, parts_of, sum_of_parts
from ..rules.weights import Weight, check_term_weights, is_computed, weighted_sum
from ..sharding import dtensor

# The parts of a loss, detached scalars by name: "scnp_ce", "plain_dice" and the like. A dict, since
# loggers take dicts, and since a part that is not computed is then absent, where a field of a
# tuple would need a number that looks like a loss, or a None that vmap refuses.
LossTerms = dict[str, Tensor]
Alpha = float | Tensor | Sequence[float] | None


def split_alpha(alpha: Alpha) -> tuple[float | None, Tensor | None]:
    """Return alpha as a number, or as numbers ``[C]``, and None for the other."""
    if alpha is None or isinstance(alpha, (int, float, numbers.Real, str)):
        return alpha, None  # a string is refused with the options
    return None, as_class_weights(alpha, "alpha")


def check_loss(options: Options) -> Options:
    """Return the options of a loss with numbers as floats; raise where one is not permitted."""
    check_backend(options.backend)
    return check_options(options)


def compute_loss(
    logits: Tensor,
    target: Tensor,
    mask: Tensor | None,
    gate: Tensor | None,
    options: LossOptions,
    class_weights: Tensor | Sequence[float] | None,
    alpha: Tensor | None = None,
    *,
    scnp_weight: Weight | None = None,
    plain_weight: Weight | None = None,
    return_terms: bool = False,
) -> Tensor | tuple[Tensor, LossTerms]:
    """Return the loss by checked options, a scalar; weights that are given replace theirs."""
    term_weights = {"scnp_weight": options.scnp_weight, "plain_weight": options.plain_weight}
    if scnp_weight is not None or plain_weight is not None:
        term_weights = check_term_weights(
            options.scnp_weight if scnp_weight is None else scnp_weight,
            options.plain_weight if plain_weight is None else plain_weight,
        )
    on_mesh = dtensor.are_dtensors(logits, target, mask, gate)
    if on_mesh and options.distributed:
        raise ValueError("distributed: got True with DTensors, whose mesh says what is summed up")
    over_ranks = not on_mesh and sums_over_ranks(options)
    arguments = check_arguments(
        logits, target, options.kernel_size, options.ignore_index, mask, gate, options.validate
    )
    check_channels(options, logits.shape[1])
    weights = check_class_weights(class_weights, logits)
    alpha = check_class_weights(alpha, logits, "alpha")
    if on_mesh:
        weights = None if weights is None else dtensor.gathered(weights)
        alpha = None if alpha is None else dtensor.gathered(alpha)

    softmax = options.activation == "softmax"
    per_channel = differs_by_channel(arguments)
    if per_channel:
        dtensor.check_same_for_all_channels(on_mesh)
        if softmax:
            raise ValueError(
                "mask: got the shape of logits with softmax, which needs all channels of a pixel; "
                'takes it with activation="sigmoid"'
            )
        arguments = channel_by_channel(arguments)
    wanted = Wanted(
        softmax,
        is_computed(term_weights["scnp_weight"]),
        is_computed(term_weights["plain_weight"]),
        options.exponent,
    )
    if options.inplace_backward and check_overwriting(logits, arguments, options.backend):
        statistics = overwriting_statistics(logits, arguments, wanted, options.backend)
    else:
        statistics_of = dtensor.dice_ce_statistics if on_mesh else dice_ce_statistics
        statistics = statistics_of(arguments, wanted, options.backend)
    if per_channel:
        statistics = statistics.view(*statistics.shape[:2], *logits.shape[:2])
    circumstances = Circumstances(
        weights, alpha, softmax and not arguments.reading.target_is_masks, over_ranks
    )

    def as_result(value: Tensor) -> Tensor:
        value = value if logits.dtype == torch.float64 else value.float()
        return dtensor.replicated_like(logits, value) if on_mesh else value

    weighted = []
    terms = {}
    for index, (name, weight) in enumerate(term_weights.items()):
        if not is_computed(weight):
            continue
        parts = parts_of(unstack_statistics(statistics[index]), options, circumstances)
        if on_mesh and isinstance(weight, Tensor):
            weight = dtensor.gathered(weight)
        weighted.append((weight, sum_of_parts(parts, options)))
        term = name.removesuffix("_weight")
        terms.update({f"{term}_{part}": value for part, value in parts.items()})
    total = as_result(weighted_sum(weighted))
    if not return_terms:
        return total
    return total, {name: as_result(value.detach()) for name, value in terms.items()}
