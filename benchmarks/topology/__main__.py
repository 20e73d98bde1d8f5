"""The topology benchmark: does SCNP improve segmentations, with which loss and window?

    python -m benchmarks.topology run --data FOLDER --losses ce_dice --scnp off,on,joint
    python -m benchmarks.topology benchmark topology_output

Every command and option: python -m benchmarks.topology --help, and README.md beside this file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from benchmarks.common.errors import DataError, UsageError
from benchmarks.topology import (
    ablation,
    benchmark,
    coarsen,
    convergence,
    cost,
    counts,
    qualitative,
    run_command,
    sensitivity,
    summary,
    thickness,
    verdict,
    vessels,
)
from benchmarks.topology.options import add_results_arguments, reports, warnings

COMMANDS: dict[str, ModuleType] = {
    "run": run_command,
    "benchmark": benchmark,
    "ablation": ablation,
    "counts": counts,
    "convergence": convergence,
    "sensitivity": sensitivity,
    "qualitative": qualitative,
    "cost": cost,
    "thickness": thickness,
    "summary": summary,
    "verdict": verdict,
    "vessels": vessels,
    "coarsen": coarsen,
}
OF_DATA = (
    run_command,
    cost,
    thickness,
    verdict,
    vessels,
    coarsen,
)  # the others report finished runs

RESUMING = (run_command, verdict)  # what these have finished, they do not do again


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns 0, or 1 after one line on stderr that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.topology",
        description=(__doc__ or "").split("\n")[0],
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").strip().split("\n")[0]
        sub = commands.add_parser(name, help=summary, description=summary)
        if module not in OF_DATA:
            add_results_arguments(sub)
        if hasattr(module, "add_arguments"):  # options of its own
            module.add_arguments(sub)
    options = parser.parse_args(arguments)
    module = COMMANDS[options.command]
    try:
        if module in OF_DATA:
            module.run(options)
        else:
            found = reports(options)
            module.run(options, found)
            if warnings(found):
                print(*warnings(found), file=sys.stderr)
    except (UsageError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        then = "goes on where it stopped" if module in RESUMING else "begins again"
        print(f"interrupted; the same command {then}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
