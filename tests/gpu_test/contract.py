"""The contract's case list on every backend that runs on this GPU, against the oracle on the CPU.

Then what only a GPU can show: CUDA graphs, no synchronisation, no memory but the results',
torch.compile, opcheck, and more elements than 32 bits count.
"""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

import scnp_kernels
from scnp_kernels import scnp
from scnp_kernels.backends import registry as backend_registry
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import CASES, DTYPES, Case, Sample, expected
from tests.generators import seeded
from tests.oracle import brute_force_gather, brute_force_gradient

DEVICE = torch.device("cuda")
AVAILABLE = [
    name
    for name in ("triton", "cuda", "reference")
    if scnp_kernels.backends()[name].startswith(backend_registry.OK)
]
KERNELS = [name for name in AVAILABLE if name != "reference"]


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: torch's deterministic mode fills memory by kernels that CUDA graphs would keep."""


def on_gpu(tensor: Tensor) -> Tensor:
    """The tensor with its strides and offset: ``Tensor.to`` would straighten them."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage(), 0, (count,), (1,))
    moved: Tensor = memory.to(DEVICE)
    return moved.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def sample_on_gpu(sample: Sample) -> Sample:
    kwargs = sample.kwargs.copy()
    if kwargs["mask"] is not None:
        kwargs["mask"] = on_gpu(kwargs["mask"])
    return Sample(on_gpu(sample.logits), on_gpu(sample.target), kwargs, on_gpu(sample.incoming))


def test_a_gpu_runs_the_kernels() -> None:
    """Else the rest would prove nothing of them."""
    assert torch.cuda.is_available()
    assert "triton" in KERNELS, scnp_kernels.backends()["triton"]
    assert backend_registry.choose("auto", DEVICE).name == "triton"


@pytest.mark.parametrize("name", AVAILABLE)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(name: str, case: Case) -> None:
    for dtype in DTYPES:
        sample, wanted = case.make(dtype), expected(case, dtype)
        outcome = forward_backward(name, sample_on_gpu(sample))
        penalized, winners, gradient = (tensor.cpu() for tensor in outcome)
        assert_same(penalized, wanted.penalized)
        assert_same(
            gradient, brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size)
        )
        if case.winners_are_numbered:
            assert_same(winners.long(), wanted.winners)
            values = torch.randn(case.shape, generator=seeded(1), dtype=torch.float64).to(dtype)
            gathered = torch.ops.scnp_kernels.gather(
                values.to(DEVICE), outcome.winners, list(case.window), name
            )
            assert_same(
                gathered.cpu(), brute_force_gather(values, wanted.winners, case.kernel_size)
            )


def _random(shape: tuple[int, ...], dtype: torch.dtype) -> Sample:
    return Case("", "", shape).make(dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "shape", [(2, 3, 70_001), (2, 3, 301, 517), (1, 2, 45, 67, 131)], ids=["1d", "2d", "3d"]
)
@pytest.mark.parametrize("kernel_size", [3, 5, 7, 9])
def test_many_programs(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, kernel_size: int
) -> None:
    """Images of many blocks, against the reference on the CPU."""
    sample = _random(shape, dtype)
    sample.kwargs["kernel_size"] = kernel_size
    wanted = forward_backward("reference", sample)
    outcome = forward_backward(name, sample_on_gpu(sample))
    for got, right in zip(outcome, wanted, strict=True):
        assert_same(got.cpu(), right)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(2, 3, 257, 131), (1, 2, 19, 37, 67)], ids=["2d", "3d"])
def test_same_bits_every_time(name: str, shape: tuple[int, ...]) -> None:
    sample = sample_on_gpu(_random(shape, torch.float32))
    first = forward_backward(name, sample)
    for _ in range(10):
        for got, wanted in zip(forward_backward(name, sample), first, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_waits_for_the_gpu(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 65, 67), torch.float32))
    forward_backward(name, sample)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        forward_backward(name, sample)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", KERNELS)
def test_only_results_are_allocated(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 256, 256), torch.float32))
    forward_backward(name, sample)
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    outcome: Outcome = forward_backward(name, sample)
    results = sum(tensor.untyped_storage().nbytes() for tensor in outcome)
    assert torch.cuda.max_memory_allocated() - before == results


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(2, 3, 65, 67), (1, 2, 9, 21, 33)], ids=["2d", "3d"])
def test_cuda_graph(name: str, shape: tuple[int, ...]) -> None:
    """Captured once, replayed on other logits and another target."""
    sample = sample_on_gpu(_random(shape, torch.float32))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        forward_backward(name, sample)  # compiles, outside of the capture
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    logits = sample.logits.detach().requires_grad_()
    with torch.cuda.graph(graph):
        penalized = scnp(logits, sample.target, 3, backend=name)
        (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
    other = Case("", "", shape).make(torch.float32, seed=1)
    with torch.no_grad():
        logits.copy_(other.logits)
    sample.target.copy_(other.target)
    sample.incoming.copy_(other.incoming)
    graph.replay()
    wanted = forward_backward("reference", other)
    assert_same(penalized.detach().cpu(), wanted.penalized)
    assert_same(gradient.cpu(), wanted.gradient)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda z, y: 3 * scnp(2 * z, y, 3, backend=name), fullgraph=True, dynamic=dynamic
    )
    for shape in ((2, 3, 8, 10), (3, 4, 11, 12), (4, 2, 20, 9)):
        sample = sample_on_gpu(_random(shape, torch.float32))
        logits = sample.logits.detach().requires_grad_()
        values = []
        for function in (compiled, lambda z, y: 3 * scnp(2 * z, y, 3, backend=name)):
            penalized = function(logits, sample.target)
            (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
            values.append((penalized.detach(), gradient))
        for got, wanted in zip(*values, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kernel_size", [3, 17])
def test_opcheck(name: str, kernel_size: int) -> None:
    sample = sample_on_gpu(_random((2, 3, 6, 5), torch.float32))
    window = [kernel_size, kernel_size]
    arguments = (sample.target, None, window, False, 0, 3, None, False, name)
    operators = torch.ops.scnp_kernels
    logits = sample.logits.detach().requires_grad_()
    opcheck(operators.forward.default, (logits, *arguments))
    winners = operators.forward(logits, *arguments)[1]
    for operator in (operators.scatter.default, operators.gather.default):
        opcheck(operator, (sample.incoming.requires_grad_(), winners, window, name))


@pytest.mark.parametrize("name", KERNELS)
def test_validate_finds_wrong_labels(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 6, 5), torch.float32))
    sample.target[1, 2, 3] = 7
    scnp(sample.logits, sample.target, backend=name)
    with pytest.raises(ValueError, match=r"target: got a label map that holds 7"):
        scnp(sample.logits, sample.target, validate=True, backend=name)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kernel_size", [3, 9])
def test_more_elements_than_32_bits_count(name: str, kernel_size: int) -> None:
    shape = (1, 2, 2**15 + 3, 2**15 + 5)  # 2**31 + 2**19 logits
    needed = 22 * 2**30
    free, _ = torch.cuda.mem_get_info()
    if free < needed:
        pytest.skip(f"needs {needed >> 30} GiB of GPU memory, {free >> 30} GiB are free")
    logits = torch.randn(shape, device=DEVICE, dtype=torch.float16).requires_grad_()
    target = (torch.rand(shape[0], *shape[2:], device=DEVICE) < 0.5).to(torch.uint8)
    penalized = scnp(logits, target, kernel_size, backend=name)
    (gradient,) = torch.autograd.grad(penalized, logits, torch.ones_like(penalized))
    # The image's last corner, beyond 2**31: its pixels see what lies within half a window.
    inside, seen = 64, 64 + kernel_size
    part = logits.detach()[..., -seen:, -seen:].cpu().requires_grad_()
    wanted = scnp(part, target[..., -seen:, -seen:].cpu(), kernel_size, backend="reference")
    corner = (..., slice(-inside, None), slice(-inside, None))
    assert_same(penalized.detach()[corner].cpu(), wanted.detach()[corner])
    (wanted_gradient,) = torch.autograd.grad(wanted, part, torch.ones_like(wanted))
    inner = (..., slice(-inside + kernel_size, None), slice(-inside + kernel_size, None))
    assert_same(gradient[inner].cpu(), wanted_gradient[inner])
