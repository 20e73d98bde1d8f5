"""Run the contract on this machine's GPU; write one report that can be pasted into an issue.

python -m tests.gpu_test --report build/gpu_report.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.gpu_test.report import machine, replace_section

ROOT = Path(__file__).resolve().parents[2]
TITLE = "## make gpu-test"
FILES = ("tests/gpu_test/contract.py", "tests/gpu_test/fused_loss.py")


def main() -> int:
    """Returns pytest's status."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_test")
    parser.add_argument("--report", type=Path, required=True)
    options = parser.parse_args()
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib -q -ra"]
    result = subprocess.run(
        [*command, "-p", "no:cacheprovider", *FILES],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(result.stdout)
    summary = result.stdout[-4000:].strip().splitlines()[-40:]
    state = "passed" if result.returncode == 0 else "FAILED"
    lines = [*machine(), "", f"**{state}**", "", "```", *summary, "```"]
    replace_section(options.report, TITLE, lines)
    print(f"Wrote {options.report}")
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
