"""The weights of a loss's terms and parts: what each one takes, and the sum that they make."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .arguments import check_dense_tensor

Weight = float | Tensor

_NUMBER = "takes a finite number that is not negative"
_TERM_WEIGHT = f"{_NUMBER}, or a real tensor without axes"

# By a name of this module: graphs of torch 2.6 cannot look into sys.float_info.
_LARGEST_FLOAT = sys.float_info.max


def check_weight(name: str, weight: float, takes: str = _NUMBER) -> float:
    """Raise unless ``weight`` is a finite number that is not negative.

    ``takes`` ends the error, where the argument takes something else besides.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float, numbers.Real)):
        raise TypeError(f"{name}: got {weight!r}, {takes}")
    # Numbers of other libraries, such as numpy's, are taken as the float that they stand for.
    number = weight if isinstance(weight, (int, float)) else _nearest_float(weight)
    # Comparisons, which torch.compile can trace where the weight is not a constant; NaN fails both,
    # and so does an integer beyond every float.
    if not 0 <= number <= _LARGEST_FLOAT:
        raise ValueError(f"{name}: got {weight!r}, {takes}")
    return float(number)


def _nearest_float(number: numbers.Real) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def check_weights(weights: Mapping[str, float], takes: str = _NUMBER) -> dict[str, float]:
    """Return weights as floats; raise unless each is one, and one at least is above 0."""
    checked = {name: check_weight(name, weight, takes) for name, weight in weights.items()}
    if not any(checked.values()):
        zeros = " and ".join("0" for _ in checked)
        raise ValueError(f"{', '.join(checked)}: got {zeros}, takes at least one above 0")
    return checked


def check_term_weights(scnp_weight: Weight, plain_weight: Weight) -> dict[str, Weight]:
    """Return the weights of the loss of penalized and of plain logits, by their names.

    Numbers become floats. A tensor stays one, and its value is nobody's business here: to look at
    it would wait for a device, or end a graph.
    """
    weights: dict[str, Weight] = {"scnp_weight": scnp_weight, "plain_weight": plain_weight}
    if not any(isinstance(weight, Tensor) for weight in weights.values()):
        return {**check_weights(weights, _TERM_WEIGHT)}  # type: ignore[arg-type]
    return {
        name: _check_tensor_weight(name, weight)
        if isinstance(weight, Tensor)
        else check_weight(name, weight, _TERM_WEIGHT)
        for name, weight in weights.items()
    }


def _check_tensor_weight(name: str, weight: Tensor) -> Tensor:
    check_dense_tensor(name, weight)
    if weight.dtype == torch.bool or weight.is_complex():
        raise TypeError(f"{name}: got a tensor of {weight.dtype}, {_TERM_WEIGHT}")
    if weight.dim() != 0:
        raise ValueError(f"{name}: got a tensor of shape {tuple(weight.shape)}, {_TERM_WEIGHT}")
    return weight


def is_computed(weight: Weight) -> bool:
    """Return whether the term with that weight is computed: not with the number 0."""
    return isinstance(weight, Tensor) or weight != 0


def weighted_sum(terms: Sequence[tuple[Weight, Tensor]]) -> Tensor:
    """Return the sum of one or two losses, each given behind its weight."""
    weighted = [_weighted(weight, loss) for weight, loss in terms]
    return weighted[0] if len(weighted) == 1 else weighted[0] + weighted[1]


def _weighted(weight: Weight, loss: Tensor) -> Tensor:
    if isinstance(weight, Tensor):
        # In the wider of the two dtypes, and rounded to the loss's once.
        return (weight * loss).to(loss.dtype)
    return loss if weight == 1 else weight * loss
