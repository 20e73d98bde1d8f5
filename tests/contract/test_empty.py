"""Promise: any zero-sized axis returns an empty result, and the backward pass works."""

from __future__ import annotations

import pytest
import torch

from scnp_kernels import scnp
from tests.cases import DTYPES

SHAPES = [
    (*shape[:axis], 0, *shape[axis + 1 :])
    for shape in ((2, 3, 5), (2, 3, 4, 5), (2, 3, 3, 4, 5))
    for axis in range(len(shape))
] + [(2, 1, 4, 0), (0, 0, 0), (0, 0, 0, 0, 0), (2, 0, 0, 5)]
by_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


@by_shape
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("target_is", ["label_map", "label_map_with_channel", "masks"])
def test_empty(backend: str, shape: tuple[int, ...], dtype: torch.dtype, target_is: str) -> None:
    batch, _, *spatial = shape
    target = torch.zeros(batch, *spatial, dtype=torch.uint8)
    if target_is == "label_map_with_channel":
        target = target.unsqueeze(1)
    if target_is == "masks":
        target = torch.zeros(shape, dtype=torch.bool)
    logits = torch.zeros(shape, dtype=dtype, requires_grad=True)
    for kernel_size in (1, 3, 31, 201) if dtype == torch.float32 else (3, 201):
        penalized = scnp(logits, target, kernel_size, backend=backend)
        assert penalized.shape == shape
        assert penalized.dtype == dtype
        (gradient,) = torch.autograd.grad(penalized.sum(), logits)
        assert gradient.shape == shape
        assert gradient.dtype == dtype


@by_shape
def test_empty_with_mask_and_ignored(backend: str, shape: tuple[int, ...]) -> None:
    batch, _, *spatial = shape
    logits = torch.zeros(shape, requires_grad=True)
    target = torch.zeros(batch, *spatial, dtype=torch.long)
    mask = torch.ones(batch, *spatial, dtype=torch.bool)
    penalized = scnp(logits, target, ignore_index=-1, mask=mask, validate=True, backend=backend)
    penalized.sum().backward()
    assert penalized.shape == shape
    assert logits.grad is not None
    assert logits.grad.shape == shape


@by_shape
def test_empty_is_differentiable_twice(backend: str, shape: tuple[int, ...]) -> None:
    batch, _, *spatial = shape
    logits = torch.zeros(shape, requires_grad=True)
    incoming = torch.zeros(shape, requires_grad=True)
    penalized = scnp(logits, torch.zeros(batch, *spatial, dtype=torch.long), backend=backend)
    (gradient,) = torch.autograd.grad(penalized, logits, incoming, create_graph=True)
    (again,) = torch.autograd.grad(gradient, incoming, torch.zeros(shape))
    assert again.shape == shape


def test_empty_under_vmap(backend: str) -> None:
    """A mapped axis over empty images."""
    logits, target = torch.zeros(3, 2, 3, 0, 5), torch.zeros(3, 2, 0, 5).long()
    gradient = torch.func.grad(lambda z, y: scnp(z, y, backend=backend).sum())
    result = torch.func.vmap(lambda z, y: scnp(z, y, backend=backend))(logits, target)
    assert result.shape == logits.shape
    assert torch.func.vmap(gradient)(logits, target).shape == logits.shape


def test_empty_arguments_are_still_checked(backend: str) -> None:
    logits = torch.zeros(0, 3, 4, 5)
    with pytest.raises(ValueError, match="target: got shape"):
        scnp(logits, torch.zeros(0, 4, 6, dtype=torch.long), backend=backend)
    with pytest.raises(ValueError, match="kernel_size: got 2"):
        scnp(logits, torch.zeros(0, 4, 5, dtype=torch.long), 2, backend=backend)
