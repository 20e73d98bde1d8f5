"""What is tested here at all: the compiled kernels, on memory that is poisoned.

A backend asked for by name runs or raises; "auto" picks the best that works.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch

import scnp_kernels
from scnp_kernels import scnp
from scnp_kernels.backends import registry as backend_registry
from scnp_kernels.backends.native import loader as native
from scnp_kernels.backends.triton import availability as triton_availability
from tests import fresh_process
from tests.cases import CASES


def test_cpu_kernels_are_available() -> None:
    """Without them half of this suite would test nothing: fail, never skip."""
    assert native.load() is None
    assert scnp_kernels.backends()["cpu"] == "ok"


def test_build_under_test_is_known() -> None:
    """The package's own ``_C``, on torch's threads."""
    record = native.build_record()
    assert record is not None
    file = Path(record["file"])
    assert file.is_file()
    assert file.name.startswith("_C")
    assert file.parent == Path(scnp_kernels.__file__).parent
    assert record["capability"] in record["targets"]
    assert record["parallel"] == "openmp"
    assert "gcc" in record["compiler"] or "clang" in record["compiler"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_fresh_memory_is_poisoned(dtype: torch.dtype) -> None:
    like = torch.ones(2, 3, 4, 4).to(dtype=dtype, memory_format=torch.channels_last)
    assert torch.empty(3, dtype=dtype).isnan().all()
    assert torch.empty_like(like).isnan().all()
    assert torch.empty_like(like, dtype=torch.uint8).eq(255).all()
    assert torch.empty_like(like, dtype=torch.int16).eq(32_767).all()


def test_every_backend_is_listed() -> None:
    available = scnp_kernels.backends()
    assert list(available) == ["triton", "cuda", "cpu", "reference"]
    assert available["reference"] == "ok"
    assert all(available.values())


def test_importing_the_package_imports_no_triton() -> None:
    """Nor does asking for the backends: triton may be missing, and takes its time."""
    program = (
        "import sys, scnp_kernels; scnp_kernels.backends();"
        "assert not any(name.split('.')[0] == 'triton' for name in sys.modules)"
    )
    result = fresh_process.run(program)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """What is found out about triton once per process, forgotten before and after."""
    remembered = (triton_availability._version, triton_availability._driver_failure)
    for answer in remembered:
        answer.cache_clear()
    yield
    for answer in remembered:
        answer.cache_clear()


class _Driver:
    """What triton has in triton.runtime.driver.active."""

    def __init__(self, failure: Exception | None) -> None:
        self.active, self.failure = self, failure

    def get_current_target(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.mark.usefixtures("asked_anew")
def test_triton_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    version = triton_availability._version
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "not installed" in scnp_kernels.backends()["triton"]
    with pytest.raises(RuntimeError, match=r"backend='triton' cannot run here: triton is not inst"):
        backend_registry.choose("triton", cpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(metadata, "version", lambda _: "3.5.1")
    assert "triton 3.5 is too old, 3.6 or later" in scnp_kernels.backends()["triton"]
    version.cache_clear()
    monkeypatch.setattr(metadata, "version", lambda _: "3.10.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "torch sees no GPU" in scnp_kernels.backends()["triton"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    runtime = types.ModuleType("triton.runtime")
    monkeypatch.setitem(sys.modules, "triton", types.ModuleType("triton"))
    monkeypatch.setitem(sys.modules, "triton.runtime", runtime)
    failure = RuntimeError("Failed to find C compiler")
    monkeypatch.setattr(runtime, "driver", _Driver(failure), raising=False)
    assert "does not start: Failed to find C compiler" in scnp_kernels.backends()["triton"]
    triton_availability._driver_failure.cache_clear()
    monkeypatch.setattr(runtime, "driver", _Driver(None))
    assert scnp_kernels.backends()["triton"] == "ok"
    assert backend_registry.choose("auto", gpu).name == "triton"
    assert backend_registry.choose("auto", cpu).name == "cpu"
    with pytest.raises(RuntimeError, match=r"it takes tensors on a GPU, got cpu"):
        backend_registry.choose("triton", cpu)


def test_auto_takes_the_kernels() -> None:
    assert backend_registry.choose("auto", torch.device("cpu")).name == "cpu"


def test_auto_takes_the_cuda_kernels_where_triton_is_missing(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """And says nothing: they are fast."""
    device = torch.device("cuda", 0)
    why_not = backend_registry._why_not
    monkeypatch.setattr(
        backend_registry,
        "_why_not",
        lambda name, device: "not here" if name == "triton" else why_not(name, device),
    )
    monkeypatch.setattr(native, "load_cuda", lambda: None)
    assert backend_registry.choose("auto", device).name == "cuda"
    assert backend_registry.choose("cuda", device).name == "cuda"
    assert not recwarn.list
    monkeypatch.setattr(native, "load_cuda", lambda: "they were compiled for the CPU alone")
    monkeypatch.setattr(backend_registry, "_warned", set())
    with pytest.warns(RuntimeWarning, match="compiled for the CPU alone"):
        assert backend_registry.choose("auto", device).name == "reference"
    with pytest.raises(RuntimeError, match=r"'cuda' cannot run here: they were compiled for the"):
        backend_registry.choose("cuda", device)


def test_the_cuda_kernels_take_no_tensors_of_the_cpu() -> None:
    with pytest.raises(RuntimeError, match="takes tensors on a CUDA device, got cpu"):
        scnp(torch.randn(1, 2, 5), torch.zeros(1, 5, dtype=torch.long), backend="cuda")


def test_a_build_without_cuda_kernels_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would on a machine with a GPU and the CPU kernels alone."""
    assert scnp_kernels.backends()["cuda"] == "this torch is built without CUDA"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert scnp_kernels.backends()["cuda"] == "torch finds no CUDA device"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "were compiled without their CUDA part" in scnp_kernels.backends()["cuda"]
    assert "were compiled without their CUDA part" in (native.load_cuda() or "")


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (13000, None),
        (13010, None),
        (14000, None),
        (12080, "this machine's driver knows CUDA 12.8"),
        (0, "driver knows none: it is missing"),
    ],
)
def test_a_driver_too_old_for_the_cuda_kernels_is_told(
    monkeypatch: pytest.MonkeyPatch, driver: int, reason: str | None
) -> None:
    """Which launches would say in words about versions that nobody here chose."""
    kernels = types.SimpleNamespace(
        build_record={"cuda": "13.0"}, cuda_driver_version=lambda: driver
    )
    monkeypatch.setattr(native, "kernels", kernels)
    told = native.load_cuda()
    assert told is None if reason is None else reason in (told or "")


def test_auto_takes_the_reference_where_there_is_nothing_better() -> None:
    assert backend_registry.choose("auto", torch.device("meta")).name == "reference"


def test_auto_says_why_it_runs_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda: "the compiler is on holiday")
    monkeypatch.setattr(backend_registry, "_warned", set())
    logits, target = torch.randn(1, 2, 5), torch.zeros(1, 5, dtype=torch.long)
    with pytest.warns(RuntimeWarning, match=r"reference backend.*the compiler is on holiday"):
        scnp(logits, target)
    with pytest.raises(RuntimeError, match=r"backend='cpu' cannot run here: the compiler is on"):
        scnp(logits, target, backend="cpu")


def test_environment_decides_for_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCNP_BACKEND", "reference")
    assert backend_registry.choose("auto", torch.device("cpu")).name == "reference"
    assert backend_registry.choose("cpu", torch.device("cpu")).name == "cpu"


def test_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
