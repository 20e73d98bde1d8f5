"""Builds with sanitizers, proves that they bite, and runs the suite on the sanitized kernels."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.stress.sanitize.build import CHECKOUT, build, runtimes

# What runs the kernels in this process. Left out: tests of compilers, installations, benchmarks and
# documents, and those that compile graphs, which reach the same kernels by the same operators.
WHOLE_CONTRACT = (
    "contract/test_forward",
    "contract/test_backward",
    "contract/test_special_values",
    "contract/test_target",
    "contract/test_layouts",
    "contract/test_widths",
    "contract/test_empty",
    "contract/test_determinism",
    "loss/test_modules",
    "contract/test_mixed_precision",
    "loss/test_fused_dice_ce",
    "loss/inplace_backward/test_bits",
    "loss/inplace_backward/test_every_loss",
    "loss/inplace_backward/test_memory",
    "loss/inplace_backward/test_refusals",
)
# Those that reach the kernels through a compiler, or in processes of their own; and what forks a
# process that has threads: twice in many runs such a worker gave no answer under
# AddressSanitizer, and never without it. `make test` runs them.
LEFT_OUT = ("reference", "one_graph", "every_instruction_set", "whole_process", "fork")
RANDOM = (
    "stress/test_malformed_calls",
    "stress/test_raw_operators",
    "stress/test_threads_and_processes",
    "contract/test_errors",
    "contract/test_derivatives",
    "loss/test_losses",
    "contract/test_algebra",
)


class Run(NamedTuple):
    """Test files on one instruction set; "" is the machine's best."""

    capability: str
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.files[0]} and others, {self.capability or 'best'} instruction set"


# The lower instruction sets compile from the same sources: for them the case list is enough, and
# every width where registers are narrower.
RUNS = (
    Run("", RANDOM),
    Run("", WHOLE_CONTRACT),
    Run("avx2", ("contract/test_forward", "contract/test_backward", "contract/test_widths")),
    Run("portable", ("contract/test_forward", "contract/test_backward")),
)
AT_ONCE = 2
LINES_OF_A_FAILURE = 150

CANARIES = {
    "read_behind_the_end(7)": "heap-buffer-overflow",
    "write_after_release(7)": "heap-use-after-free",
    "overflow(1)": "signed integer overflow",
    "convert_out_of_range(ctypes.c_double(1e300))": "outside the range of representable values",
    "load_misaligned(bytes(32))": "misaligned address",
}


def _environment(folder: Path, reports: str, **changes: str) -> dict[str, str]:
    """AddressSanitizer reports to files, which pytest's output cannot swallow."""
    common = f"log_path={folder / reports}:print_stacktrace=1:halt_on_error=1"
    # Python frees nothing at its end, which is not a leak of ours; and tests ask for more memory
    # than there is, to see the error.
    address = f"{common}:detect_leaks=0:allocator_may_return_null=1:strict_init_order=1"
    return {
        **os.environ,
        "LD_PRELOAD": runtimes(),
        "ASAN_OPTIONS": address,
        "UBSAN_OPTIONS": common,
        "PYTHONPATH": str(folder / "package"),
        **changes,
    }


def _take_reports(folder: Path, reports: str) -> str:
    """What was reported under this name since the last call."""
    text = ""
    for report in sorted(folder.glob(f"{reports}.*")):
        text += report.read_text(encoding="utf-8", errors="replace")
        report.unlink()
    return text


def check_canaries(folder: Path) -> None:
    """Raise SystemExit unless every planted mistake is caught."""
    for call, words in CANARIES.items():
        code = f"import ctypes; ctypes.CDLL({str(folder / 'canary.so')!r}).{call}"
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=_environment(folder, "report-canary"),
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        report = _take_reports(folder, "report-canary") + result.stderr
        if result.returncode == 0 or words not in report:
            raise SystemExit(f"canary {call}: not caught ({result.returncode})\n{report}")
        print(f"canary {call}: caught, {words}", flush=True)


def run_suite(folder: Path, run: Run, options: list[str]) -> bool:
    """Run test files on the sanitized kernels; print what came of it."""
    files = [f"tests/{name}.py" for name in run.files]
    # The reference has no C++ of ours in it.
    chosen = " and ".join(f"not {name}" for name in LEFT_OUT)
    command = [sys.executable, "-m", "pytest", "-v", "-k", chosen, *files, *options]
    command += ["-o", f"pythonpath={folder / 'package'} {CHECKOUT}", "-p", "no:cacheprovider"]
    # UBSan ends the process with a report on the stream that pytest would otherwise keep.
    command += ["--capture=sys"]
    reports = f"report-{RUNS.index(run) if run in RUNS else 'chosen'}"
    _take_reports(folder, reports)
    changes = {"SCNP_CPU_CAPABILITY": run.capability} if run.capability else {}
    result = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=_environment(folder, reports, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    report = _take_reports(folder, reports)
    good = result.returncode == 0 and not report
    # The last line of a process that was ended names the test in which it was.
    lines = result.stdout.splitlines()[-1 if good else -LINES_OF_A_FAILURE :]
    print("\n".join((f"\n== {run.name}", *lines, report)), flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=CHECKOUT / "build" / "sanitize")
    parser.add_argument("files", nargs="*", help="as contract/test_forward; default: all")
    arguments, options = parser.parse_known_args()
    folder = arguments.folder.resolve()
    started = time.monotonic()
    build(folder)
    built = time.monotonic()
    check_canaries(folder)
    runs = (Run("", tuple(arguments.files)),) if arguments.files else RUNS
    with ThreadPoolExecutor(AT_ONCE) as pool:
        good = all([*pool.map(lambda run: run_suite(folder, run, options), runs)])
    print(
        f"sanitize: {'nothing found' if good else 'FAILED'}; built in {built - started:.0f} s, "
        f"ran for {time.monotonic() - built:.0f} s"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
