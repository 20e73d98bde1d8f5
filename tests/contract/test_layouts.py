"""Promise: any strides go in; the result and the gradient come out in the logits' memory format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scnp_kernels import scnp
from tests import generators as g
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import DTYPES, LAYOUTS, Case, Sample

by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
DENSE = [
    (g.as_made, torch.contiguous_format),
    (g.channels_last, torch.channels_last),
    (g.channels_last, torch.channels_last_3d),
]


def _contiguous(sample: Sample) -> Sample:
    kwargs = sample.kwargs.copy()
    mask, gate = kwargs["mask"], kwargs.get("gate")
    kwargs["mask"] = None if mask is None else mask.contiguous()
    kwargs["gate"] = None if gate is None else gate.contiguous()
    return Sample(
        sample.logits.contiguous(), sample.target.contiguous(), kwargs, sample.incoming.contiguous()
    )


@pytest.mark.parametrize("case", LAYOUTS, ids=lambda case: case.name)
@by_dtype
def test_layout_changes_nothing(backend: str, case: Case, dtype: torch.dtype) -> None:
    sample = case.make(dtype)
    laid_out = forward_backward(backend, sample)
    contiguous = forward_backward(backend, _contiguous(sample))
    for actual, wanted in zip(laid_out, contiguous, strict=True):
        assert_same(actual, wanted)


def _formats(outcome: Outcome, memory_format: torch.memory_format) -> list[bool]:
    return [tensor.is_contiguous(memory_format=memory_format) for tensor in outcome]


@by_dtype
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (2, 3, 4, 5, 6)], ids=["2d", "3d"])
@pytest.mark.parametrize("incoming", [g.as_made, g.channels_last, g.reversed_axes, g.one_for_all])
def test_memory_format_is_kept(
    backend: str, shape: tuple[int, ...], incoming: g.Layout, dtype: torch.dtype
) -> None:
    """Whatever the layout of the incoming gradient: the gradient follows the logits."""
    channels_last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    case = Case("", "", shape, layout=g.channels_last, incoming_layout=incoming)
    outcome = forward_backward(backend, case.make(dtype))
    assert _formats(outcome, channels_last) == [True] * 3
    assert _formats(outcome, torch.contiguous_format) == [False] * 3
    case = Case("", "", shape, incoming_layout=incoming)
    outcome = forward_backward(backend, case.make(dtype))
    assert _formats(outcome, torch.contiguous_format) == [True] * 3
    assert _formats(outcome, channels_last) == [False] * 3


@pytest.mark.parametrize("layout", [g.as_made, g.channels_last, g.reversed_axes])
@pytest.mark.parametrize("shape", [(2, 3, 17), (2, 3, 7, 9), (2, 3, 4, 5, 6)])
def test_dense_strides_are_kept(backend: str, layout: g.Layout, shape: tuple[int, ...]) -> None:
    """Not only the formats that have a name."""
    sample = Case("", "", shape, layout=layout).make(torch.float32)
    for tensor in forward_backward(backend, sample):
        assert tensor.stride() == sample.logits.stride()


@pytest.mark.parametrize("layout", [g.every_second, g.repeated(-1), g.one_for_all])
def test_results_are_dense(backend: str, layout: g.Layout) -> None:
    """Logits with holes or repetitions give results without."""
    sample = Case("", "", (2, 3, 7, 9), layout=layout).make(torch.float32)
    for tensor in forward_backward(backend, sample):
        storage = tensor.untyped_storage().nbytes()
        assert storage == tensor.numel() * tensor.element_size()


def test_result_is_a_copy(backend: str) -> None:
    """Even where SCNP changes nothing."""
    logits = torch.randn(1, 2, 5, 5)
    penalized = scnp(logits, torch.zeros(1, 5, 5, dtype=torch.long), 1, backend=backend)
    assert penalized.data_ptr() != logits.data_ptr()


def test_sum_sends_an_expanded_gradient(backend: str) -> None:
    sample = Case("", "", (2, 3, 7, 9)).make(torch.float32)
    ones = sample._replace(incoming=torch.ones(sample.logits.shape))
    logits = sample.logits.detach().requires_grad_()
    scnp(logits, sample.target, backend=backend).sum().backward()
    assert logits.grad is not None
    assert_same(logits.grad, forward_backward(backend, ones).gradient)


def test_offsets_beyond_32_bits(backend: str, tmp_path: Path) -> None:
    """Two images, more than 2**31 elements apart, in files that take no space."""
    far = 2**31 + 3
    count = 2 * 3 * 7
    case = Case("", "", (2, 2, 3, 7), mask=g.valid_pixels(), gate=g.valid_pixels(),
                target=g.labels(torch.uint8))  # fmt: skip
    near = case.make(torch.float16)
    mask, gate = near.kwargs["mask"], near.kwargs.get("gate")
    assert mask is not None
    assert gate is not None

    def spread(tensor: torch.Tensor, name: str) -> torch.Tensor:
        sparse = torch.from_file(
            str(tmp_path / name), shared=True, size=far + count, dtype=tensor.dtype
        )
        apart = sparse.as_strided(tensor.shape, (far, *tensor.stride()[1:]))
        return apart.copy_(tensor)

    kwargs = near.kwargs.copy()
    kwargs["mask"] = spread(mask, "mask")
    kwargs["gate"] = spread(gate, "gate")
    apart = Sample(
        spread(near.logits, "logits"),
        spread(near.target, "target"),
        kwargs,
        spread(near.incoming, "incoming"),
    )
    for actual, wanted in zip(
        forward_backward(backend, apart), forward_backward(backend, near), strict=True
    ):
        assert_same(actual, wanted)
