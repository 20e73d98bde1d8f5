"""Promise: every version stands in one place; where prose or a tool repeats it, it is the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scnp_kernels
from scnp_kernels.backends.triton.availability import OLDEST as OLDEST_TRITON

CHECKOUT = Path(__file__).parents[2]
TEXTS = {
    name: (CHECKOUT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml"),
        *("docs/install.md", "docs/gpu.md", "docs/reliability.md"),
    )
}
PYPROJECT, MAKEFILE = TEXTS["pyproject.toml"], TEXTS["Makefile"]


def found(pattern: str, text: str) -> list[str]:
    matches = re.findall(pattern, text, re.MULTILINE)
    assert matches, f"nothing fits {pattern}"
    return [str(match) for match in matches]


def minor(version: str) -> tuple[int, ...]:
    """Return a version's first two numbers."""
    return tuple(map(int, version.split(".")[:2]))


# The places that state them.
OLDEST_PYTHON = found(r'^requires-python = ">=([\d.]+)"', PYPROJECT)[0]
OLDEST_TORCH = found(r'^dependencies = \["torch>=([\d.]+)"\]', PYPROJECT)[0]
PYTHONS = found(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
TRIED = dict(re.findall(r"(python3\.\d+)=torch==([\d.]+)", MAKEFILE))
TRIED_TORCHES = found(r"python3\.\d+=torch==([\d.]+)", MAKEFILE)


def test_the_changelog_ends_with_this_version() -> None:
    newest = found(r"^## ([\d.]+) \(20\d\d-\d\d-\d\d\)$", TEXTS["CHANGELOG.md"])[0]
    assert newest == scnp_kernels.__version__
    assert "version:" not in TEXTS["CITATION.cff"].replace("cff-version:", "")


def test_pythons() -> None:
    assert PYTHONS[0] == OLDEST_PYTHON
    assert found(r'^target-version = "py(\d+)"', PYPROJECT) == [OLDEST_PYTHON.replace(".", "")]
    wheels = found(r'"cp(3\d+)-manylinux', PYPROJECT)
    assert wheels == [version.replace(".", "") for version in PYTHONS]
    assert set(TRIED) == {f"python{version}" for version in PYTHONS}
    assert f"{PYTHONS[0]} to {PYTHONS[-1]}; torch {OLDEST_TORCH} and" in TEXTS["README.md"]
    assert f"Python {PYTHONS[0]} and torch {OLDEST_TORCH}, or later" in TEXTS["docs/install.md"]
    workflows = "".join(file.read_text() for file in (CHECKOUT / ".github/workflows").glob("*.yml"))
    assert set(found(r'"(3\.\d+)"', workflows)) <= set(PYTHONS)


def test_torches() -> None:
    assert min(map(minor, TRIED_TORCHES)) == minor(OLDEST_TORCH)
    assert found(r"^TORCH \?= torch==([\d.]+)$", MAKEFILE)[0] in TRIED_TORCHES
    assert found(r"^CUDA_TORCH \?= torch==([\d.]+)", MAKEFILE)[0] in TRIED_TORCHES
    sentence = found(r"by default torch ([\d., and]+) on Python", TEXTS["docs/reliability.md"])[0]
    assert re.findall(r"[\d.]+", sentence) == TRIED_TORCHES
    for name in ("README.md", "docs/install.md"):
        assert f"pip install torch  # whichever build you need; {OLDEST_TORCH} or" in TEXTS[name]


def test_tritons() -> None:
    oldest = ".".join(map(str, OLDEST_TRITON))
    assert minor(found(r"^OLDEST_TRITON := triton==([\d.]+)$", MAKEFILE)[0]) == OLDEST_TRITON
    newest = ".".join(found(r"^NEWEST_TRITON := triton==([\d.]+)$", MAKEFILE)[0].split(".")[:2])
    assert f"({newest} and {oldest})" in TEXTS["docs/gpu.md"]
    assert f"`make gpu-check` ({oldest}, {newest})" in TEXTS["docs/reliability.md"]
    for name in ("README.md", "docs/install.md"):
        assert f"{oldest} or later" in TEXTS[name]


def test_what_the_tests_build_with_is_what_users_build_with() -> None:
    """The build's requirements stand in pyproject.toml, where the Makefile reads them."""
    requirements = found(r"^requires = \[(.*)\]$", PYPROJECT)[0]
    assert requirements in found(r"^test = \[(.*)\]$", PYPROJECT)[0]
    assert "pybind11>=" not in MAKEFILE
    assert "setuptools>=" not in MAKEFILE


@pytest.mark.parametrize("framework", ["nnunetv2", "monai", "instanseg-torch"])
def test_a_framework_is_asked_for_as_it_is_tested(framework: str) -> None:
    tested = found(rf'"{framework}==([\d.]+?)(?:\.\*)?"', PYPROJECT)
    assert found(rf'"{framework}>=([\d.]+)"', PYPROJECT) == tested


def test_the_readme_cites_what_the_citation_file_does() -> None:
    citation, readme = TEXTS["CITATION.cff"], TEXTS["README.md"]
    families = found(r"family-names: (.*)$", citation)
    given = found(r"given-names: (.*)$", citation)
    authors = " and ".join(map(", ".join, zip(families, given, strict=True)))
    assert found(r"^  author +=\s\{(.*)\},$", readme) == [authors]
    assert found(r"^  title +=\s\{(.*)\},$", readme) == found(r'^  title: "(.*)"$', citation)
    assert found(r"arXiv:([\d.]+)\}", readme) == found(r"value: arXiv:([\d.]+)$", citation)
