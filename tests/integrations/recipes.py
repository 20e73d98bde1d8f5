"""Runs the files of ``examples/`` as a user does."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_recipe(name: str, run_name: str = "__main__") -> dict[str, Any]:
    """Run a recipe; gives its names. As for a script, its folder is the first place of imports."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return runpy.run_path(str(EXAMPLES / name), run_name=run_name)
    finally:
        sys.path.remove(str(EXAMPLES))
