"""Promise: the private operators, reached directly, refuse nonsense and never leave memory.

They are no entrance, but ``torch.ops`` is open to everybody, and what is in a graph or a file may
have been tampered with.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scnp_kernels import ops
from scnp_kernels.backends.native import loader as native
from scnp_kernels.rules.dice_ce import STATISTICS
from scnp_kernels.rules.window import MOST_TAPS_INT16, MOST_TAPS_UINT8
from tests.calls import assert_same
from tests.generators import seeded

LOGITS = torch.randn(2, 3, 4, 5, generator=seeded(0))
TARGET = torch.randint(0, 3, (2, 4, 5), generator=seeded(1))
MASK = torch.ones(2, 4, 5, dtype=torch.bool)
WINNERS = torch.full((2, 3, 4, 5), 4, dtype=torch.uint8)
# What torch raises by itself where it refuses to reach a kernel.
REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError)


def _forward(backend: str, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "logits": LOGITS,
        "target": TARGET,
        "mask": None,
        "gate": None,
        "kernel_size": [3, 3],
        "target_is_masks": False,
        "first_class": 0,
        "label_count": 3,
        "ignore_index": None,
        "validate": True,
    }
    return ops.forward(*(arguments | changes).values(), backend)


def _linear(name: str, backend: str, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"values": LOGITS, "winners": WINNERS, "kernel_size": [3, 3]}
    return getattr(ops, name)(*(arguments | changes).values(), backend)


FORWARD_NONSENSE: list[tuple[str, dict[str, Any], str]] = [
    ("one_window_short", {"kernel_size": [3]}, "kernel_size: got 1 values"),
    ("no_window", {"kernel_size": []}, "kernel_size: got 0 values"),
    ("even_window", {"kernel_size": [3, 2]}, "kernel_size: got 2, takes odd positive"),
    ("negative_window", {"kernel_size": [-3, 3]}, "kernel_size: got -3, takes odd positive"),
    ("window_too_large", {"kernel_size": [65537, 65537]}, "kernel_size: got .*, takes windows of"),
    ("window_overflows", {"kernel_size": [2**62 + 1, 5]}, "kernel_size: got .*, takes windows of"),
    ("window_wraps", {"kernel_size": [2**62 + 1, 2**62 + 1]}, "kernel_size: .*takes windows of"),
    ("map_as_masks", {"target_is_masks": True}, "target: got shape"),
    ("masks_as_map", {"target": LOGITS > 0}, "target: got shape"),
    ("class_beyond", {"first_class": 2**63 - 1}, r"first_class: got .*, takes 0 to 2\*\*53"),
    ("class_below", {"first_class": -1}, "first_class: got -1"),
    ("labels_beyond", {"label_count": 2**63 - 1}, "label_count: got .*, takes 0 to"),
    ("labels_below", {"label_count": -1}, "label_count: got -1"),
    ("integer_logits", {"logits": LOGITS.int()}, "logits: got int32, takes float16"),
    ("two_axes", {"logits": LOGITS[0, 0], "target": TARGET[0]}, "logits: got 2 axes"),
    ("no_axes", {"logits": LOGITS[0, 0, 0, 0]}, "logits: got 0 axes"),
    ("six_axes", {"logits": LOGITS[None, None]}, "logits: got 6 axes"),
    ("complex_target", {"target": TARGET.to(torch.complex64)}, "target: got torch.complex64"),
    ("integer_mask", {"mask": TARGET}, "mask: got int64, takes bool"),
    ("short_mask", {"mask": MASK[:1]}, "mask: got shape"),
    ("wide_mask", {"mask": MASK.unsqueeze(1)}, "mask: got shape"),
    ("integer_gate", {"gate": TARGET}, "gate: got int64, takes bool"),
    ("short_gate", {"gate": MASK[:1]}, "gate: got shape"),
    ("wide_gate", {"gate": MASK.unsqueeze(1)}, "gate: got shape"),
    ("sparse_gate", {"gate": MASK.to_sparse()}, "gate: got a torch.sparse_coo tensor"),
    ("sparse_logits", {"logits": LOGITS.to_sparse()}, "logits: got a torch.sparse_coo tensor"),
    ("sparse_target", {"target": TARGET.to_sparse()}, "target: got a torch.sparse_coo tensor"),
]


@pytest.mark.parametrize(
    ("changes", "message"), [pytest.param(*rest, id=name) for name, *rest in FORWARD_NONSENSE]
)
def test_the_kernels_refuse_nonsense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(REFUSALS, match=message):
        _forward("cpu", **changes)
    penalized, winners = _forward("cpu")
    assert penalized.shape == winners.shape == LOGITS.shape


LINEAR_NONSENSE: list[tuple[str, dict[str, Any], str]] = [
    ("fewer_winners", {"winners": WINNERS[:1]}, "winners: got shape"),
    ("winners_dtype", {"winners": WINNERS.long()}, "winners: got int64, takes uint8"),
    ("winners_of_wide_windows", {"kernel_size": [17, 17]}, "winners: got uint8, takes int16"),
    ("one_window_short", {"kernel_size": [3]}, "kernel_size: got 1 values"),
    ("even_window", {"kernel_size": [2, 3]}, "kernel_size: got 2, takes odd positive"),
    ("window_too_large", {"kernel_size": [65537, 65537]}, "kernel_size: got .*, takes windows of"),
    ("window_wraps", {"kernel_size": [2**62 + 1, 2**62 + 1]}, "kernel_size: .*takes windows of"),
    ("integer_values", {"values": LOGITS.int()}, "got int32, takes float16"),
    ("fewer_axes", {"values": LOGITS[0], "winners": WINNERS[0]}, "kernel_size: got 2 values"),
    ("sparse_values", {"values": LOGITS.to_sparse()}, "got a torch.sparse_coo tensor"),
]


@pytest.mark.parametrize("name", ["scatter", "gather"])
@pytest.mark.parametrize(
    ("changes", "message"), [pytest.param(*rest, id=name) for name, *rest in LINEAR_NONSENSE]
)
def test_the_linear_kernels_refuse_nonsense(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(REFUSALS, match=message):
        _linear(name, "cpu", **changes)


def _released(tensor: Tensor, kept: int = 0) -> Tensor:
    """A tensor whose storage was given back, as by frameworks that gather parameters."""
    copy = tensor.clone()
    copy.untyped_storage().resize_(kept)
    return copy


@pytest.mark.parametrize("kept", [0, 16])
@pytest.mark.parametrize("name", ["logits", "target", "mask", "gate"])
def test_a_storage_that_was_given_back_is_told(name: str, kept: int) -> None:
    """Torch's own operators read through the null pointer."""
    released = _released(
        {"logits": LOGITS, "target": TARGET, "mask": MASK, "gate": MASK}[name], kept
    )
    with pytest.raises(ValueError, match=rf"{name}: got .* whose storage holds {kept} bytes"):
        _forward("cpu", **{name: released})


@pytest.mark.parametrize("operation", ["scatter", "gather"])
@pytest.mark.parametrize("name", ["values", "winners"])
def test_a_storage_given_back_before_the_backward_pass_is_told(operation: str, name: str) -> None:
    released = _released({"values": LOGITS, "winners": WINNERS}[name])
    with pytest.raises(ValueError, match="whose storage holds 0 bytes"):
        _linear(operation, "cpu", **{name: released})


def test_a_view_into_a_storage_that_was_cut_is_told() -> None:
    """Every second element of the last row: what counts is where the last one lies."""
    whole = torch.randn(2, 3, 8, 5)
    view = whole[:, :, 1::2]
    needed = 4 * (view.storage_offset() + 1 + sum(
        (size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True)
    ))  # fmt: skip
    whole.untyped_storage().resize_(int(needed))
    _forward("cpu", logits=view)
    whole.untyped_storage().resize_(int(needed - 1))
    with pytest.raises(ValueError, match="logits: got a tensor of shape"):
        _forward("cpu", logits=view)


@st.composite
def tampered(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int]]:
    """Values, winners of any bits, and a window."""
    spatial = [draw(st.integers(1, 5)) for _ in range(draw(st.integers(1, 3)))]
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *spatial)
    sizes = {1: (1, 3, 31, 257, 40_001), 2: (1, 3, 17, 201), 3: (1, 3, 7, 35)}[len(spatial)]
    window = [draw(st.sampled_from(sizes)) for _ in spatial]
    taps = math.prod(window)
    dtype = torch.uint8 if taps <= 255 else torch.int16 if taps <= 32_767 else torch.int32
    limits = torch.iinfo(dtype)
    generator = seeded(draw(st.integers(0, 2**16)))
    near = torch.randint(-2, taps + 2, shape, generator=generator)
    anywhere = torch.randint(limits.min, limits.max, shape, generator=generator)
    winners = (near if draw(st.booleans()) else anywhere).to(dtype)
    values = torch.randint(-9, 9, shape, generator=generator).to(
        draw(st.sampled_from((torch.float16, torch.bfloat16, torch.float32, torch.float64)))
    )
    return values, winners, window


@given(made=tampered())
def test_tampered_winners_stay_inside(backend: str, made: tuple[Tensor, Tensor, list[int]]) -> None:
    """Nothing is read or written out of bounds, and what leads outside adds to nobody."""
    values, winners, window = made
    if backend == "reference" and math.prod(window) > 2000:
        window = [min(size, 5) for size in window]  # tap by tap in Python
        winners = winners.to(torch.uint8)
    scattered = ops.scatter(values, winners, window, backend)
    gathered = ops.gather(values, winners, window, backend)
    assert scattered.shape == gathered.shape == values.shape
    assert_same(scattered.double().sum(), _sum_of_inner(values, winners, window))


def _sum_of_inner(values: Tensor, winners: Tensor, window: list[int]) -> Tensor:
    """The values whose winner is a pixel of the image."""
    spatial = values.shape[2:]
    strides = [math.prod(window[axis + 1 :]) for axis in range(len(window))]
    taps = winners.long() % 256 if winners.dtype == torch.uint8 else winners.long()
    inside = (taps >= 0) & (taps < math.prod(window))
    for axis, (size, side, stride) in enumerate(zip(spatial, window, strides, strict=True)):
        at = torch.arange(size).view([-1 if a == axis else 1 for a in range(len(spatial))])
        there = at + taps // stride % side - side // 2
        inside &= (there >= 0) & (there < size)
    return torch.where(inside, values.double(), 0).sum()


def _negated_lazily(tensor: Tensor) -> Tensor:
    """The same values, whose memory holds their negatives: an address does not tell."""
    view = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
    assert view.is_neg()
    assert torch.equal(view, tensor)
    return view


def test_values_that_are_negated_lazily(backend: str) -> None:
    penalized, winners = _forward(backend)
    lazy = _forward(backend, logits=_negated_lazily(LOGITS))
    assert_same(lazy[0], penalized)
    assert_same(lazy[1], winners)
    for name in ("scatter", "gather"):
        wanted = _linear(name, backend, winners=winners)
        assert_same(_linear(name, backend, values=_negated_lazily(LOGITS), winners=winners), wanted)


MALFORMED: list[tuple[str, Any]] = [
    ("no_tuple", None),
    ("too_short", (0, 11, (2, 3, 4, 5), (60, 20, 5, 1), 0)),
    ("dtype_below", (0, -1, (2, 3, 4, 5), (60, 20, 5, 1), 0, 480)),
    ("dtype_beyond", (0, 13, (2, 3, 4, 5), (60, 20, 5, 1), 0, 480)),
    ("fewer_strides", (0, 11, (2, 3, 4, 5), (60, 20, 5), 0, 480)),
    ("sizes_of_a_list", (0, 11, [2, 3, 4, 5], (60, 20, 5, 1), 0, 480)),
    ("axes_beyond", (0, 11, (1,) * 65, (1,) * 65, 0, 4)),
    ("no_numbers", (0, 11, ("2", 3, 4, 5), (60, 20, 5, 1), 0, 480)),
    ("no_address", ("0", 11, (2, 3, 4, 5), (60, 20, 5, 1), 0, 480)),
    ("number_beyond", (0, 11, (2**64, 3, 4, 5), (60, 20, 5, 1), 0, 480)),
]


@pytest.mark.parametrize("facts", [pytest.param(facts, id=name) for name, facts in MALFORMED])
def test_the_module_refuses_facts_of_no_tensor(facts: Any) -> None:
    """Before it looks at the address."""
    assert native.load() is None
    good = (LOGITS.data_ptr(), 11, LOGITS.shape, LOGITS.stride(), 0, LOGITS.nbytes)
    with pytest.raises((TypeError, OverflowError)):
        native.kernels.scatter(facts, good, [3, 3], good, 1)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native.kernels.scatter(good, good, [3, 3], 1)


def test_numbers_that_bind_both_languages() -> None:
    """What rules/ says without the module is what the module was compiled with."""
    assert native.load() is None
    kernels = native.kernels
    assert kernels.most_taps == (MOST_TAPS_UINT8, MOST_TAPS_INT16)
    assert kernels.dice_ce_statistics == STATISTICS
