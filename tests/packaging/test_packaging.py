"""Promise: it installs with and without torch, compiler and network, and says what it did."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import scnp_kernels
from scnp_kernels.backends.native import build
from scnp_kernels.backends.native import loader as native
from tests import fresh_process

CHECKOUT = Path(__file__).parents[2]
CSRC = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "csrc").rglob("*.*")}
PENALIZE = (
    "import torch, scnp_kernels as s; "
    "print(s.__file__); "
    "print(s.scnp(torch.tensor([[[0.9, 0.2]]]), torch.tensor([[1, 1]])).tolist()); "
    "print(s.backends()['cpu'])"
)

# In a compiler's command: they can undo what this package asks for.
USER_FLAGS = "-DOF_THE_USER=1 -O1"
USER_FLAGS_COME_LAST = re.compile(rf" -O3 .* {USER_FLAGS}\b(?!.* -O3)")


# Every Python of these tests starts with it: no name is looked up, nobody is connected to. Whoever
# tries is told so, and written down, in case the error is swallowed.
NO_NETWORK = """
import os, socket

def refuse(what):
    with open(os.environ["NETWORK_ATTEMPTS"], "a") as attempts:
        attempts.write(f"{what}\\n")
    raise OSError(f"no network here: {what}")

def connect(self, address, plain=socket.socket.connect):
    return plain(self, address) if self.family == socket.AF_UNIX else refuse(address)

socket.socket.connect = connect
socket.getaddrinfo = lambda *arguments, **options: refuse(arguments)
"""


def _environment(**changes: str) -> dict[str, str]:
    cleared = ("SCNP_", "CXX", "LDFLAGS", "FORCE_CUDA", "CUDA_", "TORCH_CUDA_", "MAX_JOBS")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(cleared)}
    return {**kept, **changes}


def _try(*command: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables and without a network; it may fail."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sitecustomize.py").write_text(NO_NETWORK)
        attempts = Path(folder) / "attempts"
        environment = _environment(**changes)
        path = [folder, environment.get("PYTHONPATH", "")]
        result = subprocess.run(
            command,
            cwd=cwd,
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join(filter(None, path)),
                "NETWORK_ATTEMPTS": str(attempts),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        assert not attempts.exists(), attempts.read_text()
    return result


def _penalize(folder: Path, site: Path | None = None, **changes: str) -> tuple[int, str]:
    """The status and the output of PENALIZE, with the package in ``site`` and without a network."""
    attempts = folder / "attempts"
    result = fresh_process.run(
        f"{NO_NETWORK}\n{PENALIZE}",
        folder=folder,
        PYTHONPATH=str(site or ""),
        NETWORK_ATTEMPTS=str(attempts),
        **changes,
    )
    assert not attempts.exists(), attempts.read_text()
    return result.returncode, result.stderr + result.stdout


def _run(*command: str, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables; it must succeed."""
    result = _try(*command, cwd=cwd, **changes)
    assert result.returncode == 0, result.stdout
    return result


def _copy_checkout(folder: Path) -> Path:
    """What an installation reads, so that builds leave nothing in the checkout."""
    shutil.copytree(
        CHECKOUT,
        folder,
        ignore=shutil.ignore_patterns(".*", "*.so", "__pycache__", "build", "*.egg-info", "tests"),
    )
    return folder


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, what it unpacks to, and the pure wheel that was built from that."""
    folder = tmp_path_factory.mktemp("distributions")
    source = _copy_checkout(folder / "source")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder))
    result = _run(*command, "--sdist", str(source), cwd=folder, SCNP_BUILD="none")
    assert "PURE-PYTHON BUILD" in result.stdout
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    _run(*command, "--wheel", str(_unpacked(folder)), cwd=folder, SCNP_BUILD="none")
    return folder


def _unpacked(distributions: Path) -> Path:
    (unpacked,) = (distributions / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pure-Python wheel unpacked as an installer would, away from the checkout."""
    folder = tmp_path_factory.mktemp("site")
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


# A compiler that remembers: an object of the checkout's own build stands for what it was made of,
# if every file that it was made of is the same here. Anything else is compiled.
REMEMBERS = """
import json, pathlib, shutil, subprocess, sys
objects, here, words = json.load(open({known!r})), pathlib.Path({source!r}), sys.argv[1:]
if "-c" in words:
    unit = pathlib.Path(words[words.index("-c") + 1]).resolve()
    made, of = objects.get(str(unit.relative_to(here)), ("", []))
    files = [(pathlib.Path({checkout!r}, name), here / name) for name in of]
    if files and all(b.is_file() and a.read_bytes() == b.read_bytes() for a, b in files):
        out, dependencies = (words[words.index(option) + 1] for option in ("-o", "-MF"))
        shutil.copy(made, out)
        listed = " ".join(str(b) for _, b in files)
        pathlib.Path(dependencies).write_text(out + ": " + listed + chr(10))
        sys.exit()
sys.exit(subprocess.call([*{compiler!r}, *words]))
"""


def _kernels_of_the_checkout(ninja: str) -> dict[str, tuple[str, list[str]]]:
    """The object of every kernel's source, and the files of ``csrc`` that it was made of."""
    folder = CHECKOUT / "build" / "native"
    if not (folder / "build.ninja").exists():  # as where the package came as a wheel
        return {}
    listed = subprocess.run(
        [ninja, "-C", str(folder), "-t", "deps"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for name, lines in re.findall(
        r"^(cpu/\S+)\.o: .*\(VALID\)\n((?:    .*\n)*)", listed, re.MULTILINE
    ):
        files = [str((folder / line.strip()).resolve()) for line in lines.splitlines()]
        root = f"{CHECKOUT}/"
        found[f"csrc/{name}"] = (
            str(folder / f"{name}.o"),
            [file.removeprefix(root) for file in files if file.startswith(root)],
        )
    return found


@pytest.fixture(scope="module")
def compiled(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, compiled as installers do it, where there is no torch and no network.

    The kernels take a minute: whatever the checkout's own build has made of the same files is not
    compiled again (`make wheels` compiles all of it where there is no torch). The binding is, a
    fifth of the time without the optimiser.
    """
    source = tmp_path_factory.mktemp("compiled") / "source"
    shutil.copytree(_unpacked(distributions), source)
    (source.parent / "torch.py").write_text("raise ImportError('there is no torch here')")
    known = source.parent / "known.json"
    known.write_text(json.dumps(_kernels_of_the_checkout(_ninja())))
    compiler = source.parent / "remembers.py"
    names = {"known": str(known), "source": str(source.resolve()), "checkout": str(CHECKOUT)}
    compiler.write_text(REMEMBERS.format(**names, compiler=build.compiler()))
    assert "compiling the CPU kernels" in _build(source).stdout
    return source


def _ninja() -> str:
    """The same ninja as setup.py's: another version remembers commands in another way."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    return shutil.which("ninja", path=path) or "ninja"


def _build(source: Path) -> subprocess.CompletedProcess[str]:
    changes = {"SCNP_BUILD": "cpu", "CXXFLAGS": "-O0", "PYTHONPATH": str(source.parent)}
    changes["CXX"] = f"{sys.executable} -S -E {source.parent / 'remembers.py'}"
    command = (sys.executable, "setup.py", "--verbose", "bdist_wheel", "--dist-dir", "dist")
    return _run(*command, cwd=source, **changes)


def _no_tools(folder: Path) -> str:
    """A PATH where there is no compiler."""
    folder.mkdir(exist_ok=True)
    return str(folder)


def test_sdist_and_wheel_hold_everything_and_nothing_else(distributions: Path) -> None:
    unpacked = _unpacked(distributions)
    assert {str(p.relative_to(unpacked)) for p in (unpacked / "csrc").rglob("*.*")} == CSRC
    (wheel,) = distributions.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    package = {name for name in names if name.startswith("scnp_kernels/")}
    python = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "scnp_kernels").rglob("*.py")}
    assert package == {*python, "scnp_kernels/py.typed"}
    assert [n for n in names if n not in package and ".dist-info/" not in n] == []
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_sdist_compiles_without_torch_and_network(compiled: Path, tmp_path: Path) -> None:
    (wheel,) = (compiled / "dist").glob("*.whl")
    assert "-none-any" not in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    status, output = _penalize(tmp_path, tmp_path / "site")
    assert status == 0, output
    assert str(tmp_path / "site") in output
    assert "[[[0.20000000298023224, 0.20000000298023224]]]" in output
    assert output.strip().endswith("ok")


def test_only_what_changed_is_compiled_anew(compiled: Path) -> None:
    assert "ninja: no work to do" in _build(compiled).stdout
    (compiled / "csrc" / "python" / "recycled_results.h").touch()
    assert _would_build(compiled) == {"python/module.cpp", "python/recycled_results.cpp"}


def _would_build(compiled: Path, file: str = "build.ninja") -> set[str]:
    """What ninja would compile, of csrc."""
    command = (_ninja(), "-n", "-v", "-f", file)
    output = _run(*command, cwd=compiled / "build" / "native").stdout
    return set(re.findall(r"-c \S+/csrc/(\S+)", output))


def test_the_kernels_objects_serve_every_python(compiled: Path) -> None:
    """For another Python's module, ninja would compile nothing but the binding."""
    folder = compiled / "build" / "native"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LDFLAGS", raising=False)
        patch.setenv("CXX", f"{sys.executable} -S -E {compiled.parent / 'remembers.py'}")
        patch.setenv("CXXFLAGS", "-O0")
        text = build.ninja_file(compiled / "csrc", "_C.another.so", ["/another/include"])
    (folder / "another.ninja").write_text(text)
    binding = {p.name for p in (compiled / "csrc" / "python").glob("*.cpp") if "cuda" not in p.name}
    assert _would_build(compiled, "another.ninja") == {f"python/{name}" for name in binding}


def _read_module(option: str) -> str:
    """What readelf says of the module under test."""
    file = (native.build_record() or {})["file"]
    return subprocess.run(
        ["readelf", "--wide", option, file], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="modules are ELF files on Linux")
def test_the_module_needs_no_torch_and_the_plain_openmp() -> None:
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", _read_module("--dynamic")))
    assert "libgomp.so.1" in needed
    assert needed <= {
        "libgomp.so.1", "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6",
        "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
    }  # fmt: skip
    symbols = _read_module("--dyn-syms").splitlines()
    undefined = [line.split()[-1] for line in symbols if " UND " in line]
    assert any(name.startswith("PyTuple_") for name in undefined)
    foreign = ("c10", "torch", "ATen", "THP", "cuda", "cu")
    assert [
        name for name in undefined if re.match(rf"_?_?Z?N?K?\d*({'|'.join(foreign)})", name)
    ] == []
    exported = [
        line.split()[-1]
        for line in symbols
        if re.search(r" (GLOBAL|WEAK) +DEFAULT +\d+ ", line) and "scnp" in line
    ]
    assert exported == []


@pytest.mark.parametrize("file", ["module.cpp", "tensors.cpp"])
def test_it_compiles_without_openmp(file: str) -> None:
    """As on macOS, where the kernels then run on one thread; and without a warning."""
    import pybind11

    flags = [flag for flag in build.compile_flags() if flag != "-fopenmp"]
    includes = [sysconfig.get_path("include"), pybind11.get_include()]
    command = [*build.compiler(), *flags, "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    command += [word for folder in includes for word in ("-isystem", folder)]
    command.append(str(CHECKOUT / "csrc" / "python" / file))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_import_is_light(installed: Path, tmp_path: Path) -> None:
    """Importing adds the package's own modules, and none that takes long: counted, not timed."""
    code = (
        "import sys, torch; before = set(sys.modules); import scnp_kernels; "
        "print(sorted(set(sys.modules) - before))"
    )
    result = _run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    added = ast.literal_eval(result.stdout.strip().splitlines()[-1])
    assert "scnp_kernels.functional" in added
    others = {name.split(".")[0] for name in added} - {"scnp_kernels"}
    assert others.isdisjoint({"triton", "setuptools", "ninja", "numpy", "scipy", "skimage"})
    assert len([name for name in added if not name.startswith("scnp_kernels")]) < 20
    assert not [name for name in added if name.startswith("scnp_kernels.metrics")]


def test_without_kernels_the_reference_runs_and_the_reason_is_told(
    installed: Path, tmp_path: Path
) -> None:
    status, output = _penalize(tmp_path, installed)
    assert status == 0, output
    assert str(installed) in output
    assert output.count("RuntimeWarning: scnp_kernels runs on its reference backend") == 1
    assert "[[[0.20000000298023224, 0.20000000298023224]]]" in output
    assert "no kernels were compiled at installation" in output
    assert "pip install --no-deps --force-reinstall ., in its checkout" in output


def test_a_backend_asked_for_by_name_raises_where_it_cannot_run(
    installed: Path, tmp_path: Path
) -> None:
    status, output = _penalize(tmp_path, installed, SCNP_BACKEND="cpu")
    assert status == 1
    assert "RuntimeError: SCNP_BACKEND='cpu' cannot run here: no kernels" in output


def test_a_module_that_does_not_load_is_explained(installed: Path, tmp_path: Path) -> None:
    """Of another machine, say, or cut short: the reference runs."""
    shutil.copytree(installed, tmp_path / "site")
    (name,) = [file.name for file in Path(scnp_kernels.__file__).parent.glob("_C*.so")]
    (tmp_path / "site" / "scnp_kernels" / name).write_bytes(b"something else")
    status, output = _penalize(tmp_path, tmp_path / "site")
    assert status == 0, output
    assert "runs on its reference backend" in output
    assert f"{name} does not load: " in output


def test_a_checkout_without_kernels_hides_an_installation_and_says_so(tmp_path: Path) -> None:
    """As in ``pip install .`` and then Python in the same folder."""
    checkout = _copy_checkout(tmp_path / "checkout")
    result = _run(sys.executable, "-m", "scnp_kernels", cwd=checkout)
    told = f"no kernels were compiled in the checkout {checkout}, from where scnp_kernels is imp"
    assert told in result.stdout
    assert f"pip install --no-deps -e {checkout})" in result.stdout


def test_the_network_is_really_cut(tmp_path: Path) -> None:
    """What the other tests of this file rely on."""
    for code in ("socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo('a.b', 80)"):
        with pytest.raises(AssertionError, match=r"127\.0\.0\.1|a\.b"):
            _try(sys.executable, "-c", f"import socket; {code}", cwd=tmp_path)


# Makes empty files, at once; or as "compiler" is told.
COMPILER = """#!/bin/sh
case " $* " in *" -c "*) {when_compiling} ;; esac
while [ $# -gt 1 ]; do
  case "$1" in -o) : >"$2" ;; -MF) : >"$2" ;; esac
  shift
done
"""


def _compiler(folder: Path, when_compiling: str) -> str:
    compiler = folder / "stand-in-c++"
    compiler.write_text(COMPILER.replace("{when_compiling}", when_compiling))
    compiler.chmod(0o755)
    return str(compiler)


BROKEN = 'echo "this compiler is broken" >&2; exit 1'


def test_a_build_asked_for_by_name_stops_with_the_compilers_words(tmp_path: Path) -> None:
    source = _copy_checkout(tmp_path / "source")
    result = _try(
        sys.executable,
        "setup.py",
        "build_ext",
        cwd=source,
        SCNP_BUILD="cpu",
        CXX=_compiler(tmp_path, BROKEN),
        CXXFLAGS=USER_FLAGS,
    )
    assert result.returncode != 0
    assert "this compiler is broken" in result.stdout
    assert "scnp_kernels: the kernels do not compile" in result.stdout
    assert USER_FLAGS_COME_LAST.search(result.stdout)


def test_an_automatic_build_goes_on_without_kernels_and_says_so(tmp_path: Path) -> None:
    source = _copy_checkout(tmp_path / "source")
    compiler = _compiler(tmp_path, BROKEN)
    result = _run(sys.executable, "setup.py", "build", cwd=source, CXX=compiler)
    assert "COMPILING FAILED, going on without compiled kernels" in result.stdout
    assert list((source / "build").rglob("_C*.so")) == []


def test_a_compiler_may_speak_in_any_encoding(tmp_path: Path) -> None:
    source = _copy_checkout(tmp_path / "source")
    compiler = _compiler(tmp_path, r"printf 'Gr\374\337e \377\n' >&2")
    changes = {"CXX": compiler, "SCNP_BUILD": "cpu"}
    result = _run(sys.executable, "setup.py", "build", cwd=source, **changes)
    assert "Gr\ufffd\ufffde" in result.stdout
    assert len(list((source / "build").rglob("lib*/scnp_kernels/_C*.so"))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells processes of their parent's end")
@pytest.mark.parametrize("killed", ["setup.py", "its parent"])
def test_a_killed_build_leaves_no_compiler_behind(tmp_path: Path, killed: str) -> None:
    source = _copy_checkout(tmp_path / "source")
    compiler = _compiler(tmp_path, f'echo $$ >>"{tmp_path}/compilers"; sleep 600 & wait')
    command = [sys.executable, "setup.py", "build_ext"]
    if killed == "its parent":
        command = [sys.executable, "-c", f"import subprocess; subprocess.run({command})"]
    process = subprocess.Popen(
        command,
        cwd=source,
        env=_environment(CXX=compiler, SCNP_BUILD="cpu", MAX_JOBS="2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        compilers = _wait_for(lambda: (tmp_path / "compilers").read_text().split(), length=2)
    finally:
        process.kill()
        process.wait()
    _wait_for(lambda: [pid for pid in compilers if Path(f"/proc/{pid}").exists()], length=0)


def _wait_for(values: Callable[[], list[str]], length: int) -> list[str]:
    deadline = time.monotonic() + 300  # only a failure needs them
    while True:
        with contextlib.suppress(FileNotFoundError):
            found = values()
            if len(found) == length:
                return found
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"SCNP_BUILD": "everything"},
            "SCNP_BUILD: got 'everything', takes auto, none, cpu, cuda",
        ),
        (
            {"SCNP_BUILD": "cuda", "CUDA_HOME": "/nowhere"},
            "SCNP_BUILD=cuda cannot be done: no CUDA toolkit was found",
        ),
        (
            {"FORCE_CUDA": "1", "CUDA_HOME": "/nowhere"},
            "SCNP_BUILD=cuda cannot be done: no CUDA toolkit was found",
        ),
        (
            {"FORCE_CUDA": "1", "SCNP_BUILD": "cpu"},
            "FORCE_CUDA: got '1' beside SCNP_BUILD=cpu; takes one of them",
        ),
        (
            {"SCNP_BUILD": "cpu", "CXX": "no-such-compiler"},
            "SCNP_BUILD=cpu cannot be done: there is no C++ compiler 'no-such-compiler'",
        ),
    ],
    ids=str,
)
def test_a_build_that_cannot_be_done_is_refused(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    source = _copy_checkout(tmp_path / "source")
    result = _try(sys.executable, "setup.py", "--name", cwd=source, **changes)
    assert result.returncode != 0
    assert message in result.stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "without the CUDA kernels: there is no torch with CUDA here"),
        ({"CXX": "no-such-compiler"}, "PURE-PYTHON BUILD, no compiled kernels: there is no C++"),
        ({"SCNP_BUILD": "none"}, "PURE-PYTHON BUILD, no compiled kernels: SCNP_BUILD=none"),
    ],
    ids=str,
)
def test_a_build_says_what_it_leaves_out(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    """Here beside a CPU build of torch."""
    source = _copy_checkout(tmp_path / "source")
    assert message in _run(sys.executable, "setup.py", "--name", cwd=source, **changes).stdout


def test_the_report_shows_versions_backends_and_self_test(tmp_path: Path) -> None:
    result = _run(sys.executable, "-m", "scnp_kernels", cwd=tmp_path)
    for line in ("scnp_kernels", "torch", "SCNP_BACKEND", "triton", "reference  ok", "Self-test"):
        assert line in result.stdout


def test_an_unknown_backend_variable_is_refused(tmp_path: Path) -> None:
    _, output = _penalize(tmp_path, SCNP_BACKEND="fastest")
    assert "SCNP_BACKEND: got 'fastest', takes \"auto\"" in output
