"""The contract's case list on every backend that should run on this GPU, against the oracle.

Then what only a GPU can show: CUDA graphs, no synchronisation, no memory but the results',
torch.compile, opcheck, and more elements than 32 bits count.
"""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from benchmarks.gpu import device
from benchmarks.gpu.device import DEVICE, backend_of
from scnp_kernels import scnp
from tests.calls import Outcome, assert_same, forward_backward
from tests.cases import CASES, DTYPES, Case, Sample, expected
from tests.generators import seeded
from tests.gpu.suite.on_device import KERNELS, NAMES, sample_on_gpu
from tests.gpu.suite.references import kept
from tests.oracle import brute_force_gather, brute_force_gradient


@pytest.fixture(autouse=True)
def poisoned_memory() -> None:
    """Not here: torch's deterministic mode fills memory by kernels that CUDA graphs would keep."""


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", DTYPES, ids=_name_of)
def test_case(name: str, case: Case, dtype: torch.dtype) -> None:
    sample, wanted = case.make(dtype), expected(case, dtype)
    outcome = forward_backward(backend_of(name), sample_on_gpu(sample))
    penalized, winners, gradient = (tensor.cpu() for tensor in outcome)
    assert_same(penalized, wanted.penalized)
    assert_same(gradient, brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size))
    if case.winners_are_numbered:
        assert_same(winners.long(), wanted.winners)
        values = torch.randn(case.shape, generator=seeded(1), dtype=torch.float64).to(dtype)
        gathered = torch.ops.scnp_kernels.gather(
            values.to(DEVICE), outcome.winners, list(case.window), backend_of(name)
        )
        assert_same(gathered.cpu(), brute_force_gather(values, wanted.winners, case.kernel_size))


def _random(shape: tuple[int, ...], dtype: torch.dtype) -> Sample:
    return Case("", "", shape).make(dtype)


LARGE = {"1d": (2, 3, 70_001), "2d": (2, 3, 301, 517), "3d": (1, 2, 45, 67, 131)}
if device.REHEARSAL:  # of many blocks to nobody
    LARGE = {"1d": (2, 3, 701), "2d": (2, 3, 31, 57), "3d": (1, 2, 9, 13, 21)}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("shape", "kernel_size", "dtype"),
    [
        pytest.param(shape, size, dtype, id=f"{dimensions}-{size}-{_name_of(dtype)}")
        for dimensions, shape in LARGE.items()
        for size in (3, 5, 7, 9)
        for dtype in DTYPES
        # The reference looks at 729 neighbours of every voxel there, for many seconds a dtype.
        if size < 9 or dimensions != "3d" or dtype == torch.float32
    ],
)
def test_many_programs(
    name: str, shape: tuple[int, ...], kernel_size: int, dtype: torch.dtype
) -> None:
    """Images of many blocks, against the reference on the CPU."""
    sample = _random(shape, dtype)
    sample.kwargs["kernel_size"] = kernel_size
    wanted = kept(
        f"many programs {shape} {kernel_size} {dtype}",
        lambda: forward_backward("reference", sample),
    )
    outcome = forward_backward(backend_of(name), sample_on_gpu(sample))
    for got, right in zip(outcome, wanted, strict=True):
        assert_same(got.cpu(), right)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(2, 3, 257, 131), (1, 2, 19, 37, 67)], ids=["2d", "3d"])
def test_same_bits_every_time(name: str, shape: tuple[int, ...]) -> None:
    sample = sample_on_gpu(_random(shape, torch.float32))
    first = forward_backward(backend_of(name), sample)
    for _ in range(10):
        again = forward_backward(backend_of(name), sample)
        for got, wanted in zip(again, first, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("name", KERNELS)
def test_nothing_waits_for_the_gpu(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 65, 67), torch.float32))
    forward_backward(backend_of(name), sample)  # compiles
    with device.nothing_waits():
        forward_backward(backend_of(name), sample)


@pytest.mark.parametrize("name", KERNELS)
def test_memory_is_that_of_the_results(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 256, 256), torch.float32))
    forward_backward(backend_of(name), sample)
    gc.collect()
    device.reset_peak()
    before = device.requested_bytes()
    outcome: Outcome = forward_backward(backend_of(name), sample)
    results = sum(tensor.untyped_storage().nbytes() for tensor in outcome)
    asked_for = device.peak_of_requested_bytes() - before
    assert asked_for == (0 if device.REHEARSAL else results)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(2, 3, 65, 67), (1, 2, 9, 21, 33)], ids=["2d", "3d"])
def test_graph(name: str, shape: tuple[int, ...]) -> None:
    """Captured once, replayed on other logits and another target."""
    sample = sample_on_gpu(_random(shape, torch.float32))
    logits = sample.logits.detach().requires_grad_()

    def both_passes() -> tuple[Tensor, Tensor]:
        penalized = scnp(logits, sample.target, 3, backend=backend_of(name))
        (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
        return penalized.detach(), gradient

    (penalized, gradient), replay = device.captured(both_passes)
    other = Case("", "", shape).make(torch.float32, seed=1)
    with torch.no_grad():
        logits.copy_(other.logits)
    sample.target.copy_(other.target)
    sample.incoming.copy_(other.incoming)
    replay()
    wanted = forward_backward("reference", other)
    assert_same(penalized.cpu(), wanted.penalized)
    assert_same(gradient.cpu(), wanted.gradient)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compile(name: str, dynamic: bool) -> None:
    torch._dynamo.reset()
    backend = backend_of(name)

    def function(logits: Tensor, target: Tensor) -> Tensor:
        return 3 * scnp(2 * logits, target, 3, backend=backend)

    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend=device.COMPILER)
    for shape in ((2, 3, 8, 10), (3, 4, 11, 12), (4, 2, 20, 9)):
        sample = sample_on_gpu(_random(shape, torch.float32))
        logits = sample.logits.detach().requires_grad_()
        values = []
        for either in (compiled, function):
            penalized = either(logits, sample.target)
            (gradient,) = torch.autograd.grad(penalized, logits, sample.incoming)
            values.append((penalized.detach(), gradient))
        for got, wanted in zip(*values, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kernel_size", [3, 17])
def test_opcheck(name: str, kernel_size: int) -> None:
    sample = sample_on_gpu(_random((2, 3, 6, 5), torch.float32))
    window = [kernel_size, kernel_size]
    arguments = (sample.target, None, None, window, False, 0, 3, None, False, backend_of(name))
    operators = torch.ops.scnp_kernels
    logits = sample.logits.detach().requires_grad_()
    opcheck(operators.forward.default, (logits, *arguments))
    winners = operators.forward(logits, *arguments)[1]
    for operator in (operators.scatter.default, operators.gather.default):
        opcheck(operator, (sample.incoming.requires_grad_(), winners, window, backend_of(name)))


@pytest.mark.parametrize("name", KERNELS)
def test_validate_finds_wrong_labels(name: str) -> None:
    sample = sample_on_gpu(_random((2, 3, 6, 5), torch.float32))
    sample.target[1, 2, 3] = 7
    scnp(sample.logits, sample.target, validate=False, backend=backend_of(name))
    with pytest.raises(ValueError, match=r"target: got a label map that holds 7"):
        scnp(sample.logits, sample.target, validate=True, backend=backend_of(name))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kernel_size", [3, 9])
def test_more_elements_than_32_bits_count(name: str, kernel_size: int) -> None:
    side = 2**8 if device.REHEARSAL else 2**15
    shape = (1, 2, side + 3, side + 5)  # 2**31 + 2**19 logits
    needed = 22 * 2**30
    free = device.free_bytes()
    if free < needed:
        pytest.skip(f"needs {needed >> 30} GiB of GPU memory, {free >> 30} GiB are free")
    logits = torch.randn(shape, device=DEVICE, dtype=torch.float16).requires_grad_()
    target = (torch.rand(shape[0], *shape[2:], device=DEVICE) < 0.5).to(torch.uint8)
    penalized = scnp(logits, target, kernel_size, backend=backend_of(name))
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
