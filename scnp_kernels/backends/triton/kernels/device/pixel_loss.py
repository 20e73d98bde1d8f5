"""Dice + cross entropy at one pixel: its probabilities, what the sums take of them, the gradient.

Softmax needs of all the classes of a pixel only what they have in common:

    largest    the largest logit m, subtracted so that nothing overflows
    inverse    1 / sum of exp(logit - m)
    pull       sum of y * dE - sum of p * a          (dice_ce.gradient_of_sums)

so that ``p = exp(logit - largest) * inverse``. Not the logarithm of the sum: added to a large m, it
would lose what distinguishes the classes. Sigmoid's classes have nothing in common.

Computed in float32, or float64 for float64 logits. Special values go the way that PyTorch's softmax
sends them: a NaN or +inf, or -inf in every class, makes all classes of the pixel NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def log_of_one_plus(x):
    """[LANES] in [0, 1]; small ones by their series, where ``1 + x`` would round them away."""
    if x.dtype == tl.float64:
        small: tl.constexpr = 1e-4
    else:
        small: tl.constexpr = 1e-2
    series = x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)))
    return tl.where(x < small, series, tl.log(1.0 + x))


@triton.jit
def sigmoid_and_complement(logit):
    """p and 1 - p, neither by a subtraction."""
    power = tl.exp(-tl.abs(logit))
    larger = 1.0 / (1.0 + power)
    smaller = power * larger
    positive = logit >= 0
    return tl.where(positive, larger, smaller), tl.where(positive, smaller, larger)


@triton.jit
def no_classes(LANES: tl.constexpr, DTYPE: tl.constexpr):
    """(largest, total) of softmax before its first class."""
    return tl.full([LANES], float("-inf"), DTYPE), tl.zeros([LANES], DTYPE)


@triton.jit
def add_class(largest, total, logit):
    """One more class: (largest, total, the factor for what was summed before, its own exp)."""
    most = tl.maximum(largest, logit)
    # exp(0) where both are infinite: what follows from that is decided by total_of_all.
    factor = tl.where(largest == most, 1.0, tl.exp(largest - most))
    power = tl.where(logit == most, 1.0, tl.exp(logit - most))
    return most, total * factor + power, factor, power


@triton.jit
def total_of_all(largest, total):
    """The sum of ``exp(logit - largest)``: NaN where the largest is infinite."""
    return total + (largest - largest)


@triton.jit
def softmax_of_all(logits, CLASSES: tl.constexpr):
    """(largest, sum of exp(logit - largest)) of a tuple of logits."""
    largest = logits[0]
    for k in tl.static_range(1, CLASSES):
        largest = tl.maximum(largest, logits[k])
    total = tl.exp(logits[0] - largest)
    for k in tl.static_range(1, CLASSES):
        total += tl.exp(logits[k] - largest)
    return largest, total


@triton.jit
def terms_of_class(logit, foreground, largest, total, valid, SOFTMAX: tl.constexpr):
    """What a pixel adds to the sums of a class: (intersection, probability, positive, negative).

    ``foreground`` of an invalid pixel may be anything.
    """
    if SOFTMAX:
        below = logit - largest
        probability = tl.exp(below) / total
        positive = tl.log(total) - below
        negative = tl.zeros_like(logit)
    else:
        probability, _ = sigmoid_and_complement(logit)
        more = log_of_one_plus(tl.exp(-tl.abs(logit)))
        positive = tl.maximum(-logit, 0.0) + more
        negative = tl.where(valid & (foreground == 0), tl.maximum(logit, 0.0) + more, 0.0)
    # Chosen, not multiplied: what stands at an invalid pixel may be infinite.
    inside = valid & foreground
    return (
        tl.where(inside, probability, 0.0),
        tl.where(valid, probability, 0.0),
        tl.where(inside, positive, 0.0),
        negative,
    )


@triton.jit
def load_sums_gradient(
    sums_gradient,  # [2, 6, B, C], contiguous
    term,  # 0: of the penalized logits, 1: of the plain ones
    image,
    channel,
    images,
    channels,
    DTYPE: tl.constexpr,
):
    """Scalars: of (intersection, probability, positive, negative) of an image and class."""
    field = images * channels
    at = sums_gradient + term * 6 * field + image * channels + channel
    there = channel < channels
    return (
        tl.load(at, mask=there, other=0).to(DTYPE),
        tl.load(at + field, mask=there, other=0).to(DTYPE),
        tl.load(at + 3 * field, mask=there, other=0).to(DTYPE),
        tl.load(at + 4 * field, mask=there, other=0).to(DTYPE),
    )


@triton.jit
def gradient_of_probability(foreground, gradients):
    """a: what an increase of the pixel's p changes; ``gradients`` of load_sums_gradient."""
    return gradients[1] + tl.where(foreground, gradients[0], 0.0)


@triton.jit
def gradient_of_logit(logit, foreground, gradients, common, SOFTMAX: tl.constexpr):
    """What a valid pixel sends to its logit of a class; ``common``: (largest, inverse, pull)."""
    of_probability = gradient_of_probability(foreground, gradients)
    of_positive = tl.where(foreground, gradients[2], 0.0)
    if SOFTMAX:
        probability = tl.exp(logit - common[0]) * common[1]
        result = probability * (of_probability + common[2]) - of_positive
    else:
        probability, complement = sigmoid_and_complement(logit)
        of_negative = tl.where(foreground, 0.0, gradients[3])
        result = probability * (complement * of_probability + of_negative)
        result -= complement * of_positive
    return result
