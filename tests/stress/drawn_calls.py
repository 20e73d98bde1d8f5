"""Calls of ``scnp`` that are put together at random from good, odd and impossible arguments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tests import generators as g

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
STRANGE_DTYPES = (torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.bits8)
MASKS = (torch.bool, *INTEGERS, *WIDE_UNSIGNED, *FLOATS)
NOT_TENSORS: tuple[Any, ...] = (
    None,
    1,
    2.5,
    "target",
    [[1.0]],
    {},
    np.zeros((2, 3, 4)),
    object(),
    torch,
    Tensor,
)
# The share of calls with nothing wrong should not vanish: most draws are good.
MOSTLY = 12


class Subclass(Tensor):
    """A tensor of another class, as frameworks make them."""


# Forms of a tensor: the same values otherwise stored. `None` where the form does not exist.


def _overlapping(tensor: Tensor) -> Tensor:
    """Every element of the last axis shares its memory with others."""
    flat = tensor.flatten()
    return flat.as_strided(tensor.shape, [1] * tensor.dim()) if flat.numel() else tensor


def _expanded(tensor: Tensor) -> Tensor:
    return g.one_for_all(tensor) if tensor.numel() else tensor


def _negated_view(tensor: Tensor) -> Tensor:
    """The negative bit: torch negates when somebody reads."""
    if tensor.dtype not in (torch.float32, torch.float64):
        return tensor
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    return view


def _requiring_gradient(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor


def _zero_tensor(tensor: Tensor) -> Tensor:
    return torch._efficientzerotensor(tensor.shape, dtype=tensor.dtype)


GOOD_FORMS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda tensor: tensor,
    _overlapping,
    _expanded,
    _negated_view,
    _requiring_gradient,
    _zero_tensor,
    lambda tensor: tensor.as_subclass(Subclass),
    lambda tensor: torch.nn.Parameter(tensor, requires_grad=False),
    lambda tensor: tensor.mT.contiguous().mT if tensor.dim() > 1 else tensor,
)


def quietly(make: Callable[[], Any]) -> Any:
    """Torch warns of tensors that it is about to give up, or has just begun with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


BAD_FORMS: tuple[Callable[[Tensor], Any], ...] = (
    lambda tensor: tensor.to_sparse(),
    lambda tensor: tensor.float().reshape(-1, 1).to_sparse_csr(),
    lambda tensor: tensor.float().to_mkldnn(),
    lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.5, 0, torch.qint8),
    lambda tensor: torch.nested.nested_tensor([tensor.float(), tensor.float()]),
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor.tolist(),
    lambda tensor: tensor.numpy(),
)


class Call(NamedTuple):
    """The arguments of ``scnp`` less the backend."""

    logits: Any
    target: Any
    kernel_size: Any
    ignore_index: Any
    mask: Any
    gate: Any
    validate: Any


@st.composite
def _bent(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape, mostly as it is; else with axes lost, added, swapped, emptied or of other size."""
    if draw(st.integers(0, MOSTLY)):
        return shape
    axis = draw(st.integers(0, len(shape) - 1))
    return draw(
        st.sampled_from(
            (
                (),
                shape[:axis] + shape[axis + 1 :],
                (*shape[:axis], 1, *shape[axis:]),
                (*shape[:axis], 0, *shape[axis + 1 :]),
                (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :]),
                tuple(reversed(shape)),
                (1,) * (6 - len(shape)) + shape,
                (2,) * 6,
            )
        )
    )


@st.composite
def _tensors(
    draw: st.DrawFn, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...], values: list[float]
) -> Any:
    """A tensor of this kind, mostly; now and then in another form, or none at all."""
    if not draw(st.integers(0, 2 * MOSTLY)):
        return draw(st.sampled_from(NOT_TENSORS))
    strange = not draw(st.integers(0, MOSTLY))
    dtype = draw(st.sampled_from(STRANGE_DTYPES if strange else dtypes))
    generator = g.seeded(draw(st.integers(0, 2**16)))
    index = torch.randint(0, len(values), draw(_bent(shape)), generator=generator)
    chosen = torch.tensor(values, dtype=torch.float64)[index]
    if dtype == torch.bits8:
        return chosen.to(torch.uint8).view(dtype)
    tensor = chosen.to(dtype) if dtype.is_floating_point else chosen.long().to(dtype)
    bad = not draw(st.integers(0, MOSTLY))
    form = draw(st.sampled_from(BAD_FORMS if bad else GOOD_FORMS))
    try:
        return quietly(lambda: form(tensor))
    except (RuntimeError, TypeError, ValueError, IndexError):  # torch has no such tensor
        return tensor


KERNEL_SIZES: tuple[Any, ...] = (
    3,
    3,
    3,
    1,
    5,
    7,
    np.int64(3),
    np.array(3),
    31,
    10**6 + 1,
    2**62 + 1,
    10**30 + 1,
)
BAD_KERNEL_SIZES: tuple[Any, ...] = (
    0, 2, -3, 10**30, 3.0, math.nan, math.inf, "3", b"\x03\x03", True, None, (), [], {3}, {3: 3},
    (3, None), (3, 3, 3, 3), (3, 2), (3, -1), ("3", 3), (True, 3), ((3,), 3), torch.tensor(3),
    torch.tensor([3, 3]), np.array([3, 3]), object(), iter([3, 3]), int, range(0),
)  # fmt: skip
IGNORED: tuple[Any, ...] = (
    None,
    None,
    None,
    2,
    255,
    -1,
    -100,
    np.int8(-1),
    2**40,
    2**63,
    -(2**63),
    2**64,
    10**400,
)
BAD_IGNORED: tuple[Any, ...] = (
    1.0,
    math.nan,
    "255",
    True,
    [255],
    torch.tensor(255),
    object(),
    b"\xff",
    1j,
)
FLAGS = (None, None, True, False)
BAD_FLAGS: tuple[Any, ...] = (0, 1, "yes", 1.0, torch.tensor(True), np.bool_(True), object())


@st.composite
def _mostly(draw: st.DrawFn, good: tuple[Any, ...], bad: tuple[Any, ...]) -> Any:
    return draw(st.sampled_from(good if draw(st.integers(0, MOSTLY)) else bad))


@st.composite
def _windows(draw: st.DrawFn, dimensions: int) -> Any:
    if draw(st.booleans()):
        return draw(_mostly(KERNEL_SIZES, BAD_KERNEL_SIZES))
    length = draw(_mostly((dimensions,), (1, 2, 3, 4)))
    sizes = [draw(st.sampled_from((1, 3, 5))) for _ in range(length)]
    return tuple(sizes) if draw(st.booleans()) else sizes


@st.composite
def calls(draw: st.DrawFn) -> Call:
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    spatial = tuple(draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3))))
    shape = (batch, channels, *spatial)
    logit_values = [0.5, -1.5, 2.0, *draw(st.sampled_from(((), (math.nan, math.inf, -math.inf))))]
    logits = draw(_tensors(shape, FLOATS, logit_values))
    as_masks = draw(st.booleans())
    target_shape = shape if as_masks else draw(st.sampled_from(((batch, *spatial),
                                                                (batch, 1, *spatial))))  # fmt: skip
    good = [0.0, 1.0] if as_masks or channels == 1 else [float(k) for k in range(channels)]
    ignored = draw(_mostly(IGNORED if channels == 1 or not as_masks else (None,), BAD_IGNORED))
    if isinstance(ignored, int) and not isinstance(ignored, bool) and draw(st.booleans()):
        good = [*good, float(max(-(2.0**63), min(float(2**62), ignored)))]
    bad = [-1.0, 3.0, 0.5, 255.0, 1e30, -1e300, math.nan, math.inf, -math.inf, 2.0**62]
    values = good if draw(st.integers(0, 3)) else [*good * 4, draw(st.sampled_from(bad))]
    dtypes = MASKS if draw(st.booleans()) else (*INTEGERS, *FLOATS)
    target = draw(_tensors(target_shape, dtypes, values))
    mask = None
    if draw(st.booleans()):
        mask_shape = draw(st.sampled_from(((batch, *spatial), (batch, 1, *spatial))))
        mask = draw(_tensors(mask_shape, (torch.bool,) * 8 + (torch.uint8, torch.float32), [0, 1]))
    gate = None
    if not draw(st.integers(0, 7)):
        gate_shape = draw(st.sampled_from(((batch, *spatial), (batch, 1, *spatial))))
        gate = draw(_tensors(gate_shape, (torch.bool,) * 8 + (torch.uint8, torch.float32), [0, 1]))
    window = draw(_windows(len(spatial)))
    validate = draw(_mostly(FLAGS, BAD_FLAGS))
    return Call(logits, target, window, ignored, mask, gate, validate)
