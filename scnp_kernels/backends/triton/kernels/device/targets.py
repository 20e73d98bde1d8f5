"""What a target says of a pixel: whether it is valid, and whether the channel's class holds it.

Labels and ``ignore_index`` compare as mathematical integers. The host decides beforehand what the
target is, and drops an ``ignore_index`` that its dtype cannot hold.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def comparable(value):
    """Convert [LANES] values of a target to a dtype in which integers compare exactly."""
    dtype: tl.constexpr = value.dtype
    if dtype.is_floating():
        if dtype.primitive_bitwidth < 32:
            value = value.to(tl.float32)
    elif dtype.primitive_bitwidth < 32 or dtype == tl.int32:
        value = value.to(tl.int32)
    else:
        value = value.to(tl.int64)
    return value


@triton.jit
def equals_label(value, label):
    """Return whether the :func:`comparable` value equals the integer ``label``, a scalar."""
    return value == label.to(value.dtype)


@triton.jit
def is_in_mask(value):
    """Return whether a mask's value, as it was loaded, is above 0.5."""
    if value.dtype.is_floating():
        inside = comparable(value) > 0.5
    else:
        inside = value > 0
    return inside


@triton.jit
def load_target(
    target,  # [LANES] pointers to the pixels or, where the target is masks, to the channel's
    mask,  # [LANES] pointers
    inside,  # [LANES] bool: is the pixel in the image?
    ignore_index,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """Return the target's value for each lane, and whether the pixel is in the image and valid."""
    value = tl.load(target, mask=inside, other=0)
    usable = inside
    if HAS_IGNORE_INDEX:
        usable = usable & (equals_label(comparable(value), ignore_index) == 0)
    if HAS_MASK:
        usable = usable & (tl.load(mask, mask=inside, other=0) != 0)
    return value, usable


@triton.jit
def is_foreground(value, label, TARGET_IS_MASKS: tl.constexpr):
    """Return whether the pixel belongs to the class ``label``, a scalar that masks do not need."""
    if TARGET_IS_MASKS:
        foreground = is_in_mask(value)
    else:
        foreground = equals_label(comparable(value), label)
    return foreground


@triton.jit
def foreground_of_class(
    target,  # [LANES] pointers into the channel's image
    inside,
    value,  # from load_target, for label maps
    label,
    TARGET_IS_MASKS: tl.constexpr,
):
    """Return whether the pixel belongs to the class, whose own mask is read if there are masks."""
    if TARGET_IS_MASKS:
        value = tl.load(target, mask=inside, other=0)
    return is_foreground(value, label, TARGET_IS_MASKS)
