"""Floats as integers that keep their order, so that one integer comparison decides everything.

    logit (foreground: negated)      key

    no candidate                     lowest integer   below everything: a real -inf still beats it
    -inf ... -0 = +0 ... +inf        -magnitude ... 0 ... +magnitude
    NaN                              highest integer  beats everything; among NaNs the first stays

Foreground takes the minimum: its logits change sign first, and then both classes take the maximum.
float16 and bfloat16 keep their own 16 bits, in the upper half of an int32: nothing is rounded.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def infinity_bits(DTYPE: tl.constexpr):
    """Return the bits of +inf, where :func:`ordered_key` puts them."""
    if DTYPE == tl.float64:
        bits: tl.constexpr = 0x7FF0000000000000
    elif DTYPE == tl.float16:
        bits: tl.constexpr = 0x7C000000
    else:
        bits: tl.constexpr = 0x7F800000
    return bits


@triton.jit
def highest_key(DTYPE: tl.constexpr):
    """Return the key of NaN."""
    if DTYPE == tl.float64:
        key: tl.constexpr = 0x7FFFFFFFFFFFFFFF
    else:
        key: tl.constexpr = 0x7FFFFFFF
    return key


@triton.jit
def no_candidate(LANES: tl.constexpr, DTYPE: tl.constexpr):
    """Return [LANES] keys below that of every logit of ``DTYPE``."""
    if DTYPE == tl.float64:
        return tl.full([LANES], -0x8000000000000000, tl.int64)
    else:
        return tl.full([LANES], -0x80000000, tl.int32)


@triton.jit
def ordered_key(logit, foreground):
    """Convert [LANES] logits to keys: the larger the key, the worse the logit for its class."""
    if logit.dtype == tl.float64:
        bits = logit.to(tl.int64, bitcast=True)
    elif logit.dtype == tl.float32:
        bits = logit.to(tl.int32, bitcast=True)
    else:
        bits = logit.to(tl.int16, bitcast=True).to(tl.int32) << 16
    highest: tl.constexpr = highest_key(logit.dtype)
    magnitude = bits & highest
    ordered = tl.where((bits < 0) != foreground, -magnitude, magnitude)
    return tl.where(magnitude > infinity_bits(logit.dtype), highest, ordered)


@triton.jit
def logit_of_key(key, foreground, DTYPE: tl.constexpr):
    """Invert :func:`ordered_key`, but for the sign of zero and the bits of NaN."""
    if DTYPE == tl.float64:
        sign: tl.constexpr = -0x8000000000000000
    else:
        sign: tl.constexpr = -0x80000000
    bits = tl.where((key < 0) != foreground, tl.abs(key) | sign, tl.abs(key))
    if DTYPE == tl.float64:
        logit = bits.to(tl.float64, bitcast=True)
    elif DTYPE == tl.float32:
        logit = bits.to(tl.float32, bitcast=True)
    else:
        logit = (bits >> 16).to(tl.int16).to(DTYPE, bitcast=True)
    return logit


@triton.jit
def first_best(best, best_tap, key, tap):
    """Return the better of two candidates; the former stays when they are equal."""
    better = key > best
    return tl.where(better, key, best), tl.where(better, tap, best_tap)
