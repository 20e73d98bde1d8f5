"""Promise: the backward pass keeps the winners only, 1 or 2 bytes per logit, or nothing at all."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from scnp_kernels import scnp
from tests import generators as g
from tests.cases import DTYPES, Case, Sample

PLAIN = (
    Case("label_map", "", (2, 3, 7, 9)),
    Case("masks", "", (2, 3, 7, 9), target=g.masks()),
    Case("1d", "", (2, 3, 17)),
    Case("3d", "", (1, 2, 4, 5, 6)),
    Case("channels_last", "", (2, 3, 7, 9), layout=g.channels_last),
    Case("expanded", "", (2, 3, 7, 9), layout=g.one_for_all),
    Case("ignored", "", (2, 3, 7, 9), target=g.labels(ignored=9), ignore_index=9,
         mask=g.valid_pixels()),
)  # fmt: skip
by_name = pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def _saved(backend: str, sample: Sample, logits: Tensor, kernel_size: int = 3) -> list[Tensor]:
    """Every tensor that autograd keeps."""
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    kwargs = sample.kwargs | {"kernel_size": kernel_size}
    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        scnp(logits, sample.target, **kwargs, backend=backend)
    return saved


def _bytes(tensors: list[Tensor]) -> int:
    """What the tensors hold on to: whole storages, each counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}
    return sum(storage.nbytes() for storage in storages.values())


@by_name
@by_dtype
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_one_byte_per_logit(backend: str, case: Case, dtype: torch.dtype, kernel_size: int) -> None:
    logits = case.make(dtype).logits.detach().requires_grad_()
    saved = _saved(backend, case.make(dtype), logits, kernel_size)
    assert _bytes(saved) == logits.numel()


@pytest.mark.parametrize(
    ("shape", "kernel_size", "bytes_per_logit"),
    [
        ((1, 2, 300), 255, 1),
        ((1, 2, 300), 257, 2),
        ((1, 2, 9, 11), 15, 1),
        ((1, 2, 9, 11), 17, 2),
        ((1, 2, 4, 5, 6), 7, 2),
        ((1, 2, 4, 5), 181, 2),  # 32,761 taps
        ((1, 2, 4, 5), 183, 1),  # 33,489 taps, of which an image of 4x5 pixels can hold 7x9
    ],
    ids=str,
)
@by_dtype
def test_wide_windows(
    backend: str,
    shape: tuple[int, ...],
    kernel_size: int,
    bytes_per_logit: int,
    dtype: torch.dtype,
) -> None:
    """2 bytes per logit from 256 taps on."""
    sample = Case("", "", shape).make(dtype)
    logits = sample.logits.detach().requires_grad_()
    assert _bytes(_saved(backend, sample, logits, kernel_size)) == bytes_per_logit * logits.numel()


@by_name
def test_nothing_without_gradients(backend: str, case: Case) -> None:
    sample = case.make(torch.float32)
    assert _saved(backend, sample, sample.logits.detach()) == []
    with torch.no_grad():
        assert _saved(backend, sample, sample.logits.detach().requires_grad_()) == []
        assert not scnp(
            sample.logits.detach().requires_grad_(),
            sample.target,
            **sample.kwargs,
            backend=backend,
        ).requires_grad
    with torch.inference_mode():
        assert _saved(backend, sample, sample.logits) == []


@by_name
def test_arguments_and_result_are_let_go(backend: str, case: Case) -> None:
    """Kept neither by autograd nor past it: only the graph stays alive here."""
    sample = case.make(torch.float32)
    leaf = sample.logits.detach().requires_grad_()
    logits = leaf + 0
    target, mask = sample.target.clone(), sample.kwargs["mask"]
    mask = None if mask is None else mask.clone()
    kwargs = sample.kwargs.copy()
    kwargs["mask"] = mask
    gate = kwargs.pop("gate", None)
    gate = None if gate is None else gate.clone()
    kwargs["gate"] = gate
    penalized = scnp(logits, target, **kwargs, backend=backend)
    graph = penalized.grad_fn
    tensors = (logits, target, penalized, mask, gate)
    given = [weakref.ref(t) for t in tensors if t is not None]
    del logits, target, penalized, mask, gate, kwargs, tensors
    assert graph is not None
    assert [ref() for ref in given] == [None] * len(given)


@by_name
def test_backward_of_backward_keeps_winners_only(backend: str, case: Case) -> None:
    sample = case.make(torch.float32)
    logits = sample.logits.detach().requires_grad_()
    incoming = sample.incoming.detach().requires_grad_()
    penalized = scnp(logits, sample.target, **sample.kwargs, backend=backend)
    saved: list[Tensor] = []

    def catch(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        torch.autograd.grad(penalized, logits, incoming, create_graph=True)
    assert {tensor.dtype for tensor in saved} == {torch.uint8}
    assert _bytes(saved) == logits.numel()


def test_graph_is_freed_by_backward(backend: str) -> None:
    """The winners go with the graph."""
    sample = PLAIN[0].make(torch.float32)
    logits = sample.logits.detach().requires_grad_()
    saved: list[weakref.ref[Tensor]] = []

    def catch(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        saved.append(weakref.ref(copy))
        return copy

    with torch.autograd.graph.saved_tensors_hooks(catch, lambda tensor: tensor):
        penalized = scnp(logits, sample.target, backend=backend)
    assert [ref() is not None for ref in saved] == [True]
    penalized.sum().backward()
    assert [ref() is not None for ref in saved] == [False]
