"""Promise: CUDA kernels are compiled where torch and nvcc fit each other, GPU or not; else why not.

With toolkits made of a script that answers as nvcc does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scnp_kernels.backends.native import cuda_toolkit


def _toolkit(folder: Path, version: str, architectures: str = "75 80 86 90 100 120") -> Path:
    """A folder that looks like a CUDA toolkit."""
    (folder / "bin").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "include" / "cuda_runtime_api.h").touch()
    names = "\n".join(f"compute_{number}" for number in architectures.split())
    nvcc = folder / "bin" / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        f'--version) echo "Cuda compilation tools, release {version}, V{version}.1";;\n'
        f'--list-gpu-arch) echo "{names}";;\n'
        "esac\n"
    )
    nvcc.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _no_toolkit_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}/nothing:/usr/bin:/bin")


def test_a_variable_names_the_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "13.0")
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.setenv(variable, str(toolkit))
        assert cuda_toolkit.find_toolkit() == toolkit
        assert cuda_toolkit.reason_against("13.0") is None


def test_nvcc_on_path_leads_to_the_toolkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "13.0")
    monkeypatch.setenv("PATH", f"{toolkit / 'bin'}:/usr/bin:/bin")
    assert cuda_toolkit.find_toolkit() == toolkit
    link = tmp_path / "bin" / "nvcc"
    link.parent.mkdir()
    link.symlink_to(toolkit / "bin" / "nvcc")
    monkeypatch.setenv("PATH", f"{link.parent}:/usr/bin:/bin")
    assert cuda_toolkit.find_toolkit() == toolkit


def test_a_named_folder_without_nvcc_is_not_given_way_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "13.0")
    monkeypatch.setenv("PATH", f"{toolkit / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "elsewhere"))
    assert cuda_toolkit.find_toolkit() is None
    reason = cuda_toolkit.reason_against("13.0")
    assert reason is not None
    assert "no CUDA toolkit was found" in reason
    assert "CUDA_HOME" in reason


def test_the_first_numbers_must_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "12.4")
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert cuda_toolkit.reason_against("12.8") is None
    reason = cuda_toolkit.reason_against("13.0")
    assert reason is not None
    assert f"nvcc is of CUDA 12.4 ({toolkit}), but this torch was built for CUDA 13.0" in reason
    assert "set CUDA_HOME to a toolkit of CUDA 13" in reason


def test_a_torch_without_cuda_needs_no_toolkit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_HOME", str(_toolkit(tmp_path / "toolkit", "13.0")))
    assert "this torch is built without CUDA" in (cuda_toolkit.reason_against(None) or "")


def test_an_nvcc_that_does_not_run_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "13.0")
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    assert "does not tell its version" in (cuda_toolkit.reason_against("13.0") or "")


def test_architectures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable, else the visible GPUs (torch's own choice), else what this nvcc knows."""
    new = _toolkit(tmp_path / "new", "13.0")
    old = _toolkit(tmp_path / "old", "12.4", "50 60 70 75 80 86 89 90")
    assert cuda_toolkit.environment(new, gpus_visible=False) == {
        "CUDA_HOME": str(new),
        "TORCH_CUDA_ARCH_LIST": "7.5;8.0;8.6;9.0;10.0;12.0+PTX",
    }
    assert cuda_toolkit.default_architectures(old) == "7.5;8.0;8.6;9.0+PTX"
    assert cuda_toolkit.environment(new, gpus_visible=True) == {"CUDA_HOME": str(new)}
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0")
    assert cuda_toolkit.environment(new, gpus_visible=False) == {"CUDA_HOME": str(new)}
