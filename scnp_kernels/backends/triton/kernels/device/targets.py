"""What a target says of a pixel: is it valid, and does it belong to the channel's class?

Labels and ``ignore_index`` compare as mathematical integers. Python decides beforehand what the
target is, and drops an ``ignore_index`` that its dtype cannot hold.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def comparable(value):
    """[LANES] of a target's dtype -> of a dtype in which integers compare exactly."""
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
    """Does the :func:`comparable` value equal the integer ``label``, a scalar?"""
    return value == label.to(value.dtype)


@triton.jit
def is_in_mask(value):
    """A mask's value as it was loaded, read as ``> 0.5``."""
    if value.dtype.is_floating():
        inside = comparable(value) > 0.5
    else:
        inside = value > 0
    return inside


@triton.jit
def load_target(
    target,  # pointer to the pixels' image or, of masks, the channel's image
    target_at,  # [LANES] offsets
    mask,
    mask_at,
    inside,  # [LANES] bool: in the image
    ignore_index,
    HAS_IGNORE_INDEX: tl.constexpr,
    HAS_MASK: tl.constexpr,
):
    """The target's value at each lane, and whether the pixel is in the image and valid."""
    value = tl.load(target + target_at, mask=inside, other=0)
    usable = inside
    if HAS_IGNORE_INDEX:
        usable = usable & (equals_label(comparable(value), ignore_index) == 0)
    if HAS_MASK:
        usable = usable & (tl.load(mask + mask_at, mask=inside, other=0) != 0)
    return value, usable


@triton.jit
def is_foreground(value, label, TARGET_IS_MASKS: tl.constexpr):
    """Does the pixel belong to the class ``label``, a scalar that masks do not need?"""
    if TARGET_IS_MASKS:
        foreground = is_in_mask(value)
    else:
        foreground = equals_label(comparable(value), label)
    return foreground
