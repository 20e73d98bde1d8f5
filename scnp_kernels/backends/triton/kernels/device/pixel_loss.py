"""Dice + cross entropy at one pixel: probabilities, their share of the statistics, the gradient.

Softmax couples the classes of a pixel. What they have in common is a few numbers:

    largest    the largest logit m, subtracted so that nothing overflows
    inverse    1 / sum of exp(logit - m)
    pull       sum of y * dE - sum of p * a          (rules/dice_ce.py has the derivation)
    rest       only with the focal loss's gamma: the sum of all but the largest's exp(logit - m)

so that ``p = exp(logit - largest) * inverse``, and ``1 - p`` of the largest is ``rest * inverse``.
The logarithm of the sum would not do: added to a large m, it would lose what distinguishes the
classes. Sigmoid's classes have nothing in common.

Everything is computed in float32, or float64 for float64 logits. Special values spread as in
PyTorch's softmax: a NaN or +inf, or -inf in every class, makes all classes of the pixel NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import triton
import triton.language as tl

from .....rules.dice_ce import Statistics

STATISTICS = tl.constexpr(len(Statistics._fields))
INTERSECTION = tl.constexpr(Statistics._fields.index("intersection"))
PROBABILITY = tl.constexpr(Statistics._fields.index("probability"))
FOREGROUND = tl.constexpr(Statistics._fields.index("foreground"))
POSITIVE = tl.constexpr(Statistics._fields.index("foreground_ce"))
NEGATIVE = tl.constexpr(Statistics._fields.index("background_ce"))
VALID = tl.constexpr(Statistics._fields.index("valid"))


class Terms(NamedTuple):
    """What a pixel adds to the statistics of a class, or the statistics' gradients."""

    intersection: Any
    probability: Any
    positive: Any
    negative: Any


class Common(NamedTuple):
    """What the classes of a pixel have in common."""

    largest: Any
    inverse: Any
    pull: Any
    rest: Any


def common_parts(gamma: float) -> int:
    """Return how many parts of :class:`Common` are kept: the last one only with gamma."""
    return len(Common._fields) - (gamma == 0)


FOCAL_PARTS = tl.constexpr(common_parts(1.0))
ENTROPY_PARTS = tl.constexpr(common_parts(0.0))


@triton.jit
def log_of_one_plus(x):
    """Return log(1 + x) of [LANES] x >= 0, by its series where ``1 + x`` would round."""
    if x.dtype == tl.float64:
        small: tl.constexpr = 1e-4
    else:
        small: tl.constexpr = 1e-2
    series = x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)))
    return tl.where(x < small, series, tl.log(1.0 + x))


@triton.jit
def sigmoid_and_complement(logit):
    """Return p and 1 - p, neither by a subtraction, which would cancel."""
    power = tl.exp(-tl.abs(logit))
    larger = 1.0 / (1.0 + power)
    smaller = power * larger
    positive = logit >= 0
    return tl.where(positive, larger, smaller), tl.where(positive, smaller, larger)


@triton.jit
def no_classes(LANES: tl.constexpr, DTYPE: tl.constexpr):
    """Return (largest, total) of softmax before its first class."""
    return tl.full([LANES], float("-inf"), DTYPE), tl.zeros([LANES], DTYPE)


@triton.jit
def add_class(largest, total, logit):
    """Return (largest, total) with one more class, and two factors.

    The first factor is what the sums so far shrink by, the second the exp of the new class.
    """
    most = tl.maximum(largest, logit)
    # Where both are infinite, take exp(0): total_of_all decides what follows from that.
    factor = tl.where(largest == most, 1.0, tl.exp(largest - most))
    power = tl.where(logit == most, 1.0, tl.exp(logit - most))
    return most, total * factor + power, factor, power


@triton.jit
def total_of_all(largest, total):
    """Return the sum of ``exp(logit - largest)``: NaN where the largest is infinite."""
    return total + (largest - largest)


@triton.jit
def rest_with_class(rest, largest, total, logit, factor, power):
    """Return the sum of all exponentials but the largest's, with one more class.

    ``largest`` and ``total`` are those before it, ``factor`` and ``power`` from add_class.
    """
    return tl.where(logit > largest, total * factor, rest * factor + power)


@triton.jit
def rest_of_all(logits, largest, CLASSES: tl.constexpr):
    """Return the sum of exp(logit - largest) of a tuple of logits, without one that is largest."""
    rest = largest - largest - 1.0
    for k in tl.static_range(CLASSES):
        rest += tl.where(logits[k] == largest, 1.0, 0.0)
    for k in tl.static_range(CLASSES):
        rest += tl.where(logits[k] == largest, 0.0, tl.exp(logits[k] - largest))
    return rest


@triton.jit
def softmax_of_all(logits, CLASSES: tl.constexpr):
    """Return (largest, sum of exp(logit - largest)) of a tuple of logits."""
    largest = logits[0]
    for k in tl.static_range(1, CLASSES):
        largest = tl.maximum(largest, logits[k])
    total = tl.exp(logits[0] - largest)
    for k in tl.static_range(1, CLASSES):
        total += tl.exp(logits[k] - largest)
    return largest, total


@triton.jit
def finite_entropy(entropy):
    """Return a cross entropy that can be multiplied by a probability of 0."""
    if entropy.dtype == tl.float64:
        most: tl.constexpr = 1.7976931348623157e308
    else:
        most: tl.constexpr = 3.4028234663852886e38
    return tl.where(entropy > most, most, entropy)


@triton.jit
def focal_of_softmax(logit, largest, inverse, rest, GAMMA: tl.constexpr):
    """Return a class's modulated cross entropy, and what its gradient is multiplied by.

    ``1 - p`` is no difference from 1 where p is near 1 (rules/focal.py).
    """
    if logit.dtype == tl.float64:
        tiny: tl.constexpr = 2.2250738585072014e-308
    else:
        tiny: tl.constexpr = 1.1754943508222875e-38
    below = logit - largest
    probability = tl.exp(below) * inverse
    complement = tl.where(logit == largest, rest * inverse, 1.0 - probability)
    complement = tl.where(complement < tiny, tiny, complement)
    entropy = log_of_one_plus(rest) - below
    if GAMMA == 2.0:
        power = complement * complement
    else:
        power = tl.exp(GAMMA * tl.log(complement))
    slope = power + GAMMA * probability * finite_entropy(entropy) * (power / complement)
    return power * entropy, slope


@triton.jit
def focal_of_sigmoid(logit, foreground, GAMMA: tl.constexpr):
    """Return a class's modulated cross entropy, and the derivative of it by minus the margin.

    The margin is the logit in the foreground, minus the logit in the background.
    """
    margin = tl.where(foreground, logit, -logit)
    probability, complement = sigmoid_and_complement(margin)
    more = log_of_one_plus(tl.exp(-tl.abs(margin)))
    entropy = tl.maximum(-margin, 0.0) + more
    if GAMMA == 2.0:
        power = complement * complement
    else:
        power = tl.exp(-GAMMA * (tl.maximum(margin, 0.0) + more))
    slope = power * (complement + GAMMA * probability * finite_entropy(entropy))
    return power * entropy, slope


@triton.jit
def terms_of_class(
    logit, foreground, largest, total, rest, valid, SOFTMAX: tl.constexpr, GAMMA: tl.constexpr
):
    """Return the :class:`Terms` that a pixel adds to the statistics of a class.

    At an invalid pixel ``foreground`` may be anything. Without GAMMA, ``rest`` is not read.
    """
    if SOFTMAX:
        below = logit - largest
        probability = tl.exp(below) / total
        if GAMMA == 0:
            positive = tl.log(total) - below
        else:
            positive, _ = focal_of_softmax(logit, largest, 1.0 / total, rest, GAMMA)
        negative = tl.zeros_like(logit)
    else:
        probability, _ = sigmoid_and_complement(logit)
        if GAMMA == 0:
            more = log_of_one_plus(tl.exp(-tl.abs(logit)))
            positive = tl.maximum(-logit, 0.0) + more
            negative = tl.maximum(logit, 0.0) + more
        else:
            positive, _ = focal_of_sigmoid(logit, foreground, GAMMA)
            negative = positive
        negative = tl.where(valid & (foreground == 0), negative, 0.0)
    # Values are chosen, not multiplied, since those of an invalid pixel may be infinite.
    inside = valid & foreground
    return Terms(
        tl.where(inside, probability, 0.0),
        tl.where(valid, probability, 0.0),
        tl.where(inside, positive, 0.0),
        negative,
    )


@triton.jit
def store_statistics(
    partials,  # pointer to the program's entry of field 0 of the class
    field,  # stride from field to field
    terms,  # [LANES] each
    foreground,  # [LANES] numbers of pixels, as is valid
    valid,
):
    """Store what a program adds to a class's statistics: the sums over its lanes."""
    DTYPE: tl.constexpr = partials.dtype.element_ty
    tl.store(partials + INTERSECTION * field, tl.sum(terms.intersection, 0))
    tl.store(partials + PROBABILITY * field, tl.sum(terms.probability, 0))
    tl.store(partials + FOREGROUND * field, tl.sum(foreground, 0).to(DTYPE))
    tl.store(partials + POSITIVE * field, tl.sum(terms.positive, 0))
    tl.store(partials + NEGATIVE * field, tl.sum(terms.negative, 0))
    tl.store(partials + VALID * field, tl.sum(valid, 0).to(DTYPE))


@triton.jit
def load_gradients(
    statistics_gradient,  # [2, STATISTICS, B, C], contiguous
    term,  # 0: penalized logits, 1: unpenalized ones
    image,
    channel,
    images,
    channels,
    DTYPE: tl.constexpr,
):
    """Return the gradients of an image's and class's statistics, as :class:`Terms` of scalars."""
    field = images * channels
    at = statistics_gradient + term * STATISTICS * field + image * channels + channel
    there = channel < channels
    return Terms(
        tl.load(at + INTERSECTION * field, mask=there, other=0).to(DTYPE),
        tl.load(at + PROBABILITY * field, mask=there, other=0).to(DTYPE),
        tl.load(at + POSITIVE * field, mask=there, other=0).to(DTYPE),
        tl.load(at + NEGATIVE * field, mask=there, other=0).to(DTYPE),
    )


@triton.jit
def terms_at(values, AT: tl.constexpr):
    """Return four values of a tuple as :class:`Terms`; triton 3.6 keeps no names within tuples."""
    return Terms(values[AT], values[AT + 1], values[AT + 2], values[AT + 3])


@triton.jit
def load_common(common, field, inside, zero, SOFTMAX: tl.constexpr, GAMMA: tl.constexpr):
    """Load the pixels' :class:`Common`, ``field`` apart; sigmoid has none, and reads nothing."""
    result = Common(zero, zero, zero, zero)
    if SOFTMAX:
        rest = zero
        if GAMMA != 0:
            rest = tl.load(common + 3 * field, mask=inside, other=0)
        result = Common(
            tl.load(common, mask=inside, other=0),
            tl.load(common + field, mask=inside, other=0),
            tl.load(common + 2 * field, mask=inside, other=0),
            rest,
        )
    return result


@triton.jit
def gradient_of_probability(foreground, gradients):
    """Return a, the loss's derivative by the pixel's p; ``gradients`` of load_gradients."""
    return gradients.probability + tl.where(foreground, gradients.intersection, 0.0)


@triton.jit
def gradient_of_logit(
    logit, foreground, gradients, common, SOFTMAX: tl.constexpr, GAMMA: tl.constexpr
):
    """Return the loss's derivative by a valid pixel's logit of a class."""
    of_probability = gradient_of_probability(foreground, gradients)
    of_positive = tl.where(foreground, gradients.positive, 0.0)
    if SOFTMAX:
        probability = tl.exp(logit - common.largest) * common.inverse
        if GAMMA != 0:
            _, slope = focal_of_softmax(logit, common.largest, common.inverse, common.rest, GAMMA)
            of_positive = tl.where(foreground, of_positive * slope, 0.0)
        result = probability * (of_probability + common.pull) - of_positive
    else:
        probability, complement = sigmoid_and_complement(logit)
        if GAMMA == 0:
            of_negative = tl.where(foreground, 0.0, gradients.negative)
            result = probability * (complement * of_probability + of_negative)
            result -= complement * of_positive
        else:
            _, slope = focal_of_sigmoid(logit, foreground, GAMMA)
            result = probability * complement * of_probability
            result += slope * tl.where(foreground, -gradients.positive, gradients.negative)
    return result
