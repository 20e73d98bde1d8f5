"""The package as its sdist installs it, on several versions of Python and torch.

    python -m tests.versions [--environments FOLDER] PYTHON=TORCH ...
    python -m tests.versions python3.11=torch==2.13.0 python3.13=torch==2.14.1

For each: an environment (made when there is none), the sdist compiled against its torch from its
own files alone, ``pip check``, ``python -m scnp_kernels`` with its self-test, and the contract's
tests on what was installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
# The contract, its derivatives and torch.compile; what needs neither other packages nor the build.
TESTS = ("forward", "backward", "derivatives", "compile", "errors", "layouts", "target")
BUILD_TOOLS = ("setuptools>=77", "wheel", "ninja", "numpy", "build", "pytest", "hypothesis")


def run(*command: str | Path, cwd: Path = CHECKOUT, **variables: str) -> str:
    """Its output, shown when it fails, and only then."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        print(result.stdout)
        raise SystemExit(f"FAILED: {' '.join(str(part) for part in command)}")
    return result.stdout


def environment(folder: Path, interpreter: str, torch: str) -> Path:
    """The Python of an environment with this torch, made when there is none."""
    name = f"{Path(interpreter).name}-{torch.replace('==', '-')}"
    python = folder / name / "bin" / "python"
    if not python.exists():
        run(interpreter, "-m", "venv", folder / name)
        # torch first and alone, so that the rest takes it as it is.
        run(python, "-m", "pip", "install", "--quiet", torch)
        run(python, "-m", "pip", "install", "--quiet", *BUILD_TOOLS)
    return python


def check(python: Path, folder: Path) -> str:
    """Install the sdist in the environment and hold it to the contract; a line of what was run."""
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "*.so", "__pycache__", "build", "*.egg-info", "tests")
    shutil.copytree(CHECKOUT, source, ignore=ignored)
    build = (python, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, source)
    run(*build, cwd=folder, SCNP_BUILD="none")
    (sdist,) = folder.glob("*.tar.gz")
    # Without an index: nothing may be fetched.
    install = (python, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation")
    run(*install, "--force-reinstall", "--no-deps", sdist, cwd=folder, SCNP_BUILD="cpu")
    run(python, "-m", "pip", "check")
    tests = folder / "away"
    shutil.copytree(
        CHECKOUT / "tests", tests / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    report = run(python, "-m", "scnp_kernels", cwd=tests)
    if "cpu        ok" not in report:
        raise SystemExit(f"FAILED: the cpu backend does not run\n{report}")
    pytest = (python, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tests)
    options = ("-o", "pythonpath=.", "--import-mode=importlib", "-p", "no:cacheprovider")
    files = [tests / "tests" / f"test_{name}.py" for name in TESTS]
    ran = run(*pytest, *options, *files, cwd=tests).strip().splitlines()[-1]
    ask = "import scnp_kernels as s, torch; print(s.__file__, torch.__version__)"
    location, torch_version = run(python, "-c", ask, cwd=tests).split()
    assert str(CHECKOUT) not in location, location
    python_version = run(python, "-c", "import platform; print(platform.python_version())").strip()
    return f"Python {python_version}, torch {torch_version}: {ran.strip('= ')}"


def main(arguments: Sequence[str]) -> None:
    """Check every combination, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environments", type=Path, default=CHECKOUT / "build" / "versions")
    parser.add_argument("combinations", nargs="+", metavar="PYTHON=TORCH")
    options = parser.parse_args(arguments)
    for combination in options.combinations:
        interpreter, torch = combination.split("=", 1)
        python = environment(options.environments.absolute(), interpreter, torch)
        with tempfile.TemporaryDirectory() as folder:
            print(check(python, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
