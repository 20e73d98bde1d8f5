"""Promise: how a target is read, which values it may hold, and what unchecked ones mean."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp
from tests import generators as g
from tests.calls import assert_same, forward_backward
from tests.cases import DTYPES, INTEGERS, WIDE_UNSIGNED, Arguments, Sample, reading
from tests.oracle import brute_force, brute_force_gradient

SHAPE = (2, 3, 4, 6)
BINARY_SHAPE = (2, 1, 4, 6)
by_label_dtype = pytest.mark.parametrize("dtype", [*INTEGERS, *DTYPES], ids=str)


def _sample(
    target: Tensor,
    shape: tuple[int, ...] = SHAPE,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
) -> Sample:
    kwargs: Arguments = {"kernel_size": 3, "ignore_index": ignore_index, "mask": mask}
    logits, incoming = g.normal(shape, g.seeded(3)).float(), g.normal(shape, g.seeded(4)).float()
    return Sample(logits, target, kwargs, incoming)


def _check_unchecked(backend: str, sample: Sample) -> None:
    """Without validation, both passes follow brute force."""
    outcome = forward_backward(backend, sample, validate=False)
    wanted = brute_force(sample.logits, *reading(sample), 3)
    assert_same(outcome.penalized, wanted.penalized)
    assert_same(outcome.winners.long(), wanted.winners)
    assert_same(outcome.gradient, brute_force_gradient(sample.incoming, wanted.winners, 3))


def _map_of(values: list[float], dtype: torch.dtype) -> Tensor:
    """A label map [2, 4, 6] that holds ordinary labels, and each of ``values`` several times."""
    label_map = torch.tensor([0, 1, 2, *values], dtype=dtype)
    index = torch.randint(0, label_map.numel(), (2, 4, 6), generator=g.seeded(5))
    return label_map[index]


def _extremes(dtype: torch.dtype) -> list[float]:
    """Values beyond three classes, and such as a conversion to bytes could take for one."""
    bytes_ = [3.0, 100.0, 127.0, *([] if dtype == torch.int8 else [250.0, 253.0, 254.0, 255.0])]
    wrapping = [] if dtype.itemsize == 1 else [256.0, 257.0, 258.0, 512.0]
    if dtype.is_floating_point:
        largest = torch.finfo(dtype).max
        special = [0.5, 1.5, -0.5, largest, -largest, math.inf, -math.inf, math.nan]
        values: list[float] = torch.tensor(
            [*bytes_, *wrapping, -1, -2, *special], dtype=dtype
        ).tolist()
        return values
    info = torch.iinfo(dtype)
    negative = [] if info.min == 0 else [-1, -2, -126, -127, -128]
    return [*map(int, (*bytes_, *wrapping, *negative)), info.min, info.max]


# The two readings


@pytest.mark.parametrize("dtype", [torch.bool, *INTEGERS, *DTYPES], ids=str)
@pytest.mark.parametrize("ignore_index", [None, 0, 1])
def test_binary_readings_coincide(
    backend: str, dtype: torch.dtype, ignore_index: int | None
) -> None:
    """C = 1: a label map [B, H, W], and a mask [B, 1, H, W]; foreground is 1 in both."""
    target = g.labels(dtype)(BINARY_SHAPE, g.seeded(0))
    as_map = forward_backward(backend, _sample(target, BINARY_SHAPE, ignore_index))
    as_masks = forward_backward(backend, _sample(target.unsqueeze(1), BINARY_SHAPE, ignore_index))
    for one, other in zip(as_map, as_masks, strict=True):
        assert_same(one, other)


@by_label_dtype
def test_label_map_is_its_masks(backend: str, dtype: torch.dtype) -> None:
    """Channel k's mask is ``target == k``."""
    target = g.labels(dtype)(SHAPE, g.seeded(0))
    masks = torch.stack([target == k for k in range(3)], 1)
    as_map = forward_backward(backend, _sample(target))
    as_masks = forward_backward(backend, _sample(masks))
    for one, other in zip(as_map, as_masks, strict=True):
        assert_same(one, other)


def test_foreground_is_one(backend: str) -> None:
    """The smaller of ones, the larger of zeros."""
    logits = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    target = torch.tensor([[1, 1, 0, 0]])
    wanted = torch.tensor([[[1.0, 1.0, 4.0, 4.0]]])
    assert_same(scnp(logits, target, backend=backend), wanted)
    assert_same(scnp(logits, target.unsqueeze(1), backend=backend), wanted)


def test_pixel_in_no_mask_is_background(backend: str) -> None:
    """Not ignored: it lends its logit to other background pixels, and takes theirs."""
    logits = torch.tensor([[[1.0, 5.0, 3.0], [1.0, 5.0, 3.0]]])
    masks = torch.tensor([[[1, 0, 0], [0, 0, 1]]])
    wanted = torch.tensor([[[1.0, 5.0, 5.0], [5.0, 5.0, 3.0]]])
    assert_same(scnp(logits, masks, backend=backend), wanted)


def test_overlapping_masks_are_independent(backend: str) -> None:
    """A channel sees its own mask only."""
    sample = _sample(g.masks()(SHAPE, g.seeded(0)))
    together = scnp(sample.logits, sample.target, backend=backend)
    for k in range(3):
        alone = scnp(sample.logits[:, k : k + 1], sample.target[:, k : k + 1], backend=backend)
        assert_same(together[:, k : k + 1], alone)


# ignore_index, as a mathematical integer


@pytest.mark.parametrize(
    ("dtype", "held", "ignore_index"),
    [
        (torch.uint8, 255, -1),
        (torch.int8, -1, 255),
        (torch.int8, -100, 156),
        (torch.int8, 1, 257),
        (torch.int16, -1, 65_535),
        (torch.int16, 0, 65_536),
        (torch.int32, -1, 2**32 - 1),
        (torch.int32, 0, 2**32),
        (torch.int64, -1, 2**64 - 1),
        (torch.int64, 0, 2**64),
        (torch.int64, -(2**63), 2**63),
        (torch.float16, 2048, 2049),
        (torch.bfloat16, 256, 257),
        (torch.float32, 2**24, 2**24 + 1),
        (torch.float64, 2**53, 2**53 + 1),
        (torch.float64, 2.0**63, 2**63 - 1),
        (torch.float16, math.inf, 2**17),
        (torch.float32, math.nan, -(2**63)),
    ],
    ids=str,
)
def test_other_integers_are_not_ignored(
    backend: str, dtype: torch.dtype, held: float, ignore_index: int
) -> None:
    """Not even where a conversion would make the two alike."""
    sample = _sample(_map_of([held], dtype), ignore_index=ignore_index)
    assert reading(sample).valid.all()
    _check_unchecked(backend, sample)


@pytest.mark.parametrize(
    ("dtype", "ignore_index"),
    [
        (torch.uint8, 255),
        (torch.int8, -128),
        (torch.int16, -100),
        (torch.int32, -(2**31)),
        (torch.int64, 2**63 - 1),
        (torch.int64, -(2**63)),
        (torch.float16, -1),
        (torch.float16, 2048),
        (torch.bfloat16, 256),
        (torch.float32, 2**24),
        (torch.float32, -(2**63)),
        (torch.float32, 2**40),
        (torch.float64, 2**53),
        (torch.float64, -(2**53) + 1),
        (torch.float32, 2**64),
        (torch.float64, 2**100),
    ],
    ids=str,
)
def test_same_integer_is_ignored(backend: str, dtype: torch.dtype, ignore_index: int) -> None:
    sample = _sample(_map_of([ignore_index], dtype), ignore_index=ignore_index)
    assert not reading(sample).valid.all()
    _check_unchecked(backend, sample)
    forward_backward(backend, sample, validate=True)


@pytest.mark.parametrize(
    ("dtype", "ignore_index"),
    [(torch.uint16, 65_535), (torch.uint32, 2**32 - 1), (torch.uint64, 2**63 - 1),
     (torch.uint64, 2**64 - 1)],
    ids=str,
)  # fmt: skip
def test_same_wide_unsigned_integer_is_ignored(
    backend: str, dtype: torch.dtype, ignore_index: int
) -> None:
    """Dtypes that only masks have: C = 1."""
    values = torch.tensor([0, 1, ignore_index], dtype=dtype)
    index = torch.randint(0, 3, BINARY_SHAPE, generator=g.seeded(5))
    sample = _sample(values.view(torch.uint8).view(3, -1)[index].view(dtype).squeeze(-1),
                     BINARY_SHAPE, ignore_index)  # fmt: skip
    assert not reading(sample).valid.all()
    _check_unchecked(backend, sample)
    forward_backward(backend, sample, validate=True)


# Unchecked values


@by_label_dtype
def test_unchecked_labels_out_of_range_are_background(backend: str, dtype: torch.dtype) -> None:
    """Of every channel, and memory out of bounds is never touched."""
    sample = _sample(_map_of(_extremes(dtype), dtype))
    foreground = reading(sample).foreground
    assert not foreground.any(1).all()
    _check_unchecked(backend, sample)


@by_label_dtype
def test_unchecked_labels_of_long_rows(backend: str, dtype: torch.dtype) -> None:
    """Rows that fill whole registers, with a rest behind them."""
    values = torch.tensor([0, 1, 2, *_extremes(dtype)], dtype=dtype)
    index = torch.randint(0, values.numel(), (1, 2, 75), generator=g.seeded(6))
    _check_unchecked(backend, _sample(values[index], (1, 3, 2, 75)))


@by_label_dtype
def test_unchecked_binary_labels_out_of_range_are_background(
    backend: str, dtype: torch.dtype
) -> None:
    _check_unchecked(backend, _sample(_map_of(_extremes(dtype), dtype), BINARY_SHAPE))


@pytest.mark.parametrize("dtype", [*INTEGERS, *WIDE_UNSIGNED, *DTYPES], ids=str)
@pytest.mark.parametrize("shape", [SHAPE, BINARY_SHAPE], ids=["classes", "binary"])
def test_unchecked_masks_read_above_a_half(
    backend: str, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    values: list[float] = [0, 1, *_extremes(dtype)]
    if dtype.is_floating_point:
        half = torch.tensor(0.5, dtype=dtype)
        infinity = torch.tensor(math.inf, dtype=dtype)
        values += [0.25, 0.75, half.nextafter(infinity).item(), half.nextafter(-infinity).item()]
    flat = [values[i % len(values)] for i in range(math.prod(shape))]
    _check_unchecked(backend, _sample(torch.tensor(flat, dtype=dtype).view(shape), shape))


# Checked values


def _wrong(dtype: torch.dtype, masks: bool) -> list[float]:
    permitted = (0, 1) if masks else (0, 1, 2)
    return [value for value in _extremes(dtype) if value not in permitted]


def _shown(value: float) -> str:
    """A number as messages show it; the sign of a NaN is nobody's business."""
    return "-?nan" if math.isnan(value) else re.escape(f"{value:g}")


@by_label_dtype
@pytest.mark.parametrize("validate", [None, True])
def test_labels_are_checked_on_the_cpu(
    backend: str, dtype: torch.dtype, validate: bool | None
) -> None:
    for value in _wrong(dtype, masks=False):
        label_map = torch.zeros(2, 4, 6, dtype=dtype)
        label_map[1, 3, 5] = torch.tensor(value, dtype=dtype)
        message = rf"target: got a label map that holds {_shown(value)}, takes integers in \[0, 3\)"
        with pytest.raises(ValueError, match=message):
            forward_backward(backend, _sample(label_map), validate=validate)
        with pytest.raises(ValueError, match="target: got a label map"):
            forward_backward(backend, _sample(label_map.unsqueeze(1)), validate=validate)
        with pytest.raises(ValueError, match=r"takes integers in \[0, 2\)"):
            forward_backward(backend, _sample(label_map, BINARY_SHAPE), validate=validate)


@by_label_dtype
def test_every_label_of_a_long_row_is_checked(backend: str, dtype: torch.dtype) -> None:
    wrong = _wrong(dtype, masks=False)
    for x in (0, 5, 31, 32, 50, 63, 64, 74):
        label_map = torch.zeros(1, 2, 75, dtype=dtype)
        label_map[0, 1, x] = torch.tensor(wrong[x % len(wrong)], dtype=dtype)
        with pytest.raises(ValueError, match="target: got a label map"):
            forward_backward(backend, _sample(label_map, (1, 3, 2, 75)), validate=True)
        ignored = _sample(label_map.fill_(7), (1, 3, 2, 75), ignore_index=7)
        forward_backward(backend, ignored, validate=True)


@pytest.mark.parametrize("dtype", [*INTEGERS, *WIDE_UNSIGNED, *DTYPES], ids=str)
@pytest.mark.parametrize("validate", [None, True])
def test_masks_are_checked_on_the_cpu(
    backend: str, dtype: torch.dtype, validate: bool | None
) -> None:
    for value in _wrong(dtype, masks=True):
        masks = torch.zeros(SHAPE, dtype=dtype)
        masks[1, 2, 3, 5] = torch.tensor(value, dtype=dtype)
        message = f"target: got a mask that holds {_shown(value)}, takes masks of 0 and 1"
        with pytest.raises(ValueError, match=message):
            forward_backward(backend, _sample(masks), validate=validate)
        with pytest.raises(ValueError, match="target: got a mask"):
            forward_backward(backend, _sample(masks[:, 2:], BINARY_SHAPE), validate=validate)


def test_binary_targets_permit_zero_and_one(backend: str) -> None:
    for target in (torch.full((2, 4, 6), 2), torch.full(BINARY_SHAPE, 2)):
        with pytest.raises(ValueError, match=r"target: got .* that holds 2, takes"):
            scnp(_sample(target, BINARY_SHAPE).logits, target, backend=backend)


def test_message_says_what_is_ignored(backend: str) -> None:
    sample = _sample(torch.full((2, 4, 6), 7))
    with pytest.raises(ValueError, match=r"holds 7, takes .*\(or set ignore_index\)"):
        scnp(sample.logits, sample.target, backend=backend)
    with pytest.raises(ValueError, match=r"holds 7, takes .* and ignore_index=255"):
        scnp(sample.logits, sample.target, ignore_index=255, backend=backend)
    binary = _sample(torch.full(BINARY_SHAPE, 7), BINARY_SHAPE)
    with pytest.raises(ValueError, match=r"holds 7, takes .*\(and ignore_index=255\)"):
        scnp(binary.logits, binary.target, ignore_index=255, backend=backend)


def test_first_wrong_value_is_named(backend: str) -> None:
    """In memory order, wherever the image is cut and however many threads look."""
    logits = torch.zeros(2, 3, 40, 600)
    label_map = torch.zeros(2, 40, 600, dtype=torch.int16)
    label_map[0, 7, 590], label_map[0, 9, 3], label_map[1, 0, 0] = 41, 42, 43
    masks = torch.zeros(2, 3, 40, 600, dtype=torch.int16)
    masks[0, 1, 9, 590], masks[0, 2, 0, 0], masks[1, 0, 0, 0] = 41, 42, 43
    for count in (1, 2):
        torch.set_num_threads(count)
        for target in (label_map, masks):
            with pytest.raises(ValueError, match="holds 41, "):
                scnp(logits, target, backend=backend)


def test_invalid_pixels_are_not_checked(backend: str) -> None:
    """What the target holds there is never read."""
    for make in (g.labels(torch.int16), g.masks(torch.int16)):
        values = make(SHAPE, g.seeded(0))
        mask = g.valid_pixels()(SHAPE, g.seeded(1))
        outside = ~mask if values.dim() == 3 else ~mask.unsqueeze(1).expand(SHAPE)
        garbage = torch.where(outside, 12_345, values).to(torch.int16)
        clean = forward_backward(backend, _sample(values, mask=mask), validate=True)
        dirty = forward_backward(backend, _sample(garbage, mask=mask), validate=True)
        for one, other in zip(clean, dirty, strict=True):
            assert_same(one, other)


def test_ignored_label_is_permitted(backend: str) -> None:
    label_map = _map_of([255], torch.uint8)
    forward_backward(backend, _sample(label_map, ignore_index=255), validate=True)
    with pytest.raises(ValueError, match="holds 255"):
        forward_backward(backend, _sample(label_map, ignore_index=254), validate=True)


def test_values_are_checked_under_vmap(backend: str) -> None:
    logits = torch.zeros(2, *SHAPE)
    target = torch.zeros(2, 2, 4, 6, dtype=torch.long)
    target[1, 1, 3, 5] = 3
    mapped = torch.func.vmap(lambda z, y: scnp(z, y, backend=backend))
    with pytest.raises(ValueError, match="target: got a label map that holds 3"):
        mapped(logits, target)


@pytest.mark.parametrize("validate", [None, False, True])
def test_permitted_values_pass_every_check(backend: str, validate: bool | None) -> None:
    """Checking changes errors, never results."""
    sample = _sample(g.labels()(SHAPE, g.seeded(0)))
    outcome = forward_backward(backend, sample, validate=validate)
    wanted = brute_force(sample.logits, *reading(sample), 3)
    assert_same(outcome.penalized, wanted.penalized)


def test_a_huge_ignore_index_does_not_ask_the_default_device() -> None:
    """Which may be one where looking at a value waits, or fails."""
    target = torch.tensor([[0.0, 2.0**70, 1.0]])
    logits = torch.randn(1, 2, 3)
    expected = scnp(logits, target, ignore_index=2**70)
    with torch.device("meta"):
        assert torch.equal(scnp(logits, target, ignore_index=2**70), expected)
