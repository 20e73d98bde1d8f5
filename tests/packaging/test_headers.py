"""Promise: every C++ header can be read, and compiled, alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.packaging import headers


@pytest.fixture
def csrc(tmp_path: Path) -> Path:
    copy = tmp_path / "csrc"
    shutil.copytree(headers.CSRC, copy)
    return copy


def test_headers_of_every_kind_compile_alone(csrc: Path) -> None:
    kinds = ["contract/calls.h", "cpu/vector/lanes-inl.h", "cpu/vector/registers-inl.h"]
    assert headers.failures([csrc / header for header in kinds]) == []


@pytest.mark.parametrize(
    ("header", "include"),
    [
        ("contract/calls.h", '#include "geometry.h"\n'),
        ("cpu/vector/math-inl.h", '#include "lanes-inl.h"\n'),
        ("cpu/penalize/blocks-inl.h", '#include "candidates-inl.h"\n'),
    ],
)
def test_an_include_that_is_missing_is_found(csrc: Path, header: str, include: str) -> None:
    text = (csrc / header).read_text()
    assert text.count(include) == 1
    (csrc / header).write_text(text.replace(include, ""))
    failures = headers.failures([csrc / header])
    assert failures
    assert all("does not compile alone: include what it uses" in failure for failure in failures)
    assert all(header in failure for failure in failures)


def test_code_that_the_portable_target_does_not_see_is_compiled_too(csrc: Path) -> None:
    header = csrc / "cpu" / "penalize" / "choose_path-inl.h"
    text = header.read_text()
    include = '#include "window3-inl.h"\n'
    assert include in text
    header.write_text(text.replace(include, ""))
    failures = headers.failures([header])
    assert ["-DSCNP_TARGET=avx2" in failure for failure in failures] == [True, False]
    assert ["-DSCNP_TARGET=avx512" in failure for failure in failures] == [False, True]


def test_a_file_that_is_compiled_per_target_begins_with_the_prologue(csrc: Path) -> None:
    header = csrc / "cpu" / "memory" / "streaming-inl.h"
    header.write_text(header.read_text().replace('#include "../targets/prologue.h"\n', "", 1))
    failures = headers.failures([header])
    assert failures[0].endswith("takes targets/prologue.h (or prologue_registers.h)")
