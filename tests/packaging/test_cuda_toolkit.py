"""Promise: CUDA kernels are compiled where there is a toolkit, GPU or not; else it is said why not.

With toolkits made of a script that answers as nvcc does.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scnp_kernels.backends.native import build, cuda_toolkit


def _toolkit(folder: Path, version: str, architectures: str = "75 80 86 90 100 120") -> Path:
    """A folder that looks like a CUDA toolkit."""
    (folder / "bin").mkdir(parents=True)
    (folder / "include").mkdir()
    (folder / "include" / "cuda_runtime_api.h").touch()
    (folder / "lib64").mkdir()
    (folder / "lib64" / "libcudart_static.a").touch()
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
        assert cuda_toolkit.toolkit().version == "13.0"


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
    with pytest.raises(ValueError, match=r"no CUDA toolkit was found .* set CUDA_HOME"):
        cuda_toolkit.toolkit()


def test_what_a_toolkit_lacks_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    toolkit = _toolkit(tmp_path / "toolkit", "13.0")
    monkeypatch.setenv("CUDA_HOME", str(toolkit))
    runtime = toolkit / "lib64" / "libcudart_static.a"
    assert cuda_toolkit.toolkit().static_runtime == runtime
    elsewhere = toolkit / "targets" / "x86_64-linux" / "lib" / runtime.name
    elsewhere.parent.mkdir(parents=True)
    runtime.rename(elsewhere)
    assert cuda_toolkit.toolkit().static_runtime == elsewhere
    elsewhere.unlink()
    with pytest.raises(ValueError, match=r"has no libcudart_static\.a"):
        cuda_toolkit.toolkit()
    (toolkit / "bin" / "nvcc").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ValueError, match="does not tell its version"):
        cuda_toolkit.toolkit()


def test_architectures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable, else what this nvcc knows."""
    new = _toolkit(tmp_path / "new", "13.0")
    old = _toolkit(tmp_path / "old", "12.4", "50 60 70 75 80 86 89 90")
    monkeypatch.setenv("CUDA_HOME", str(new))
    wanted = ["7.5", "8.0", "8.6", "9.0", "10.0", "12.0+PTX"]
    assert cuda_toolkit.toolkit().architectures == wanted
    monkeypatch.setenv("CUDA_HOME", str(old))
    assert cuda_toolkit.toolkit().architectures == ["7.5", "8.0", "8.6", "9.0+PTX"]
    for text in ("8.0;9.0a+PTX", "8.0 9.0a+PTX"):
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", text)
        assert cuda_toolkit.toolkit().architectures == ["8.0", "9.0a+PTX"]
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "Ampere")
    with pytest.raises(ValueError, match="TORCH_CUDA_ARCH_LIST: got 'Ampere', takes the likes of"):
        cuda_toolkit.toolkit()


def test_nvcc_is_told_of_them() -> None:
    flags = build.nvcc_flags(["8.0", "9.0a+PTX"])
    assert [flag for flag in flags if "gencode" in flag] == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_90a,code=compute_90a",
    ]
