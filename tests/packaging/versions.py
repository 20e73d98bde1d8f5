"""One wheel per Python, held to the contract beside several versions of torch.

    python -m tests.packaging.versions PYTHON=REQUIREMENTS ...
    python -m tests.packaging.versions "python3.12=torch==2.11.0 triton==3.6.0" ...

For each: an environment, deleted afterwards, with these requirements and the wheel, which is built
where there is no torch and once per Python; ``pip check``, ``python -m scnp_kernels`` with its
self-test, and the contract's tests on what was installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.wheels import CHECKOUT, build_wheel, find_python, run

# The contract, its derivatives and torch.compile; what needs neither other packages nor the build.
TESTS = (
    "contract/test_forward",
    "contract/test_backward",
    "stress/test_raw_operators",
    "contract/test_derivatives",
    "contract/test_compile",
    "contract/test_errors",
    "contract/test_layouts",
    "contract/test_target",
    "stress/test_threads_and_processes",
    "contract/test_memory",
)
TOOLS = ("pytest", "hypothesis", "setuptools")  # torch.compile asks for setuptools here and there


def check(interpreter: Path, requirements: Sequence[str], wheel: Path, folder: Path) -> str:
    """Install the wheel beside them and hold it to the contract; a line of what was run."""
    run(interpreter, "-m", "venv", folder / "environment")
    python = folder / "environment" / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet", "--no-cache-dir")
    # torch first and alone, so that the rest takes it as it is.
    run(*install, *requirements)
    constraints = folder / "constraints"
    constraints.write_text(run(python, "-m", "pip", "freeze"))
    run(*install, "--constraint", constraints, "numpy", *TOOLS, wheel)
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
    files = [tests / "tests" / f"{name}.py" for name in TESTS]
    lines = run(*pytest, *options, *files, cwd=tests).splitlines()
    ran = next(line for line in reversed(lines) if " passed" in line)
    ask = "import scnp_kernels as s, torch; print(s.__file__, torch.__version__)"
    location, torch_version = run(python, "-c", ask, cwd=tests).split()
    assert str(CHECKOUT) not in location, location
    return f"{wheel.name}, torch {torch_version}: {ran.strip('= ')}"


def main(arguments: Sequence[str]) -> None:
    """Check every combination, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("combinations", nargs="+", metavar="PYTHON=REQUIREMENTS")
    wheels: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as built:
        for combination in parser.parse_args(arguments).combinations:
            name, requirements = combination.split("=", 1)
            python = find_python(name)
            if python is None:
                raise SystemExit(f"FAILED: {name} was not found on PATH, nor by pyenv")
            if name not in wheels:
                wheels[name] = build_wheel(python, Path(built) / name)
            with tempfile.TemporaryDirectory() as folder:
                print(check(python, requirements.split(), wheels[name], Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
