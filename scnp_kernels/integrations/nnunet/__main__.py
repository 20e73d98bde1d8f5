"""``python -m scnp_kernels.integrations.nnunet``: how nnU-Net finds the trainers.

Prints the line to put into the shell. ``--copy`` puts the file with the trainers where nnU-Net
before 2.8, which has no such variable, looks for them.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from pathlib import Path

from . import TRAINERS


def export_line() -> str:
    """Sets nnUNet_extTrainer, and keeps the folders that it already holds."""
    separator = os.pathsep
    rest = f'"${{nnUNet_extTrainer:+{separator}$nnUNet_extTrainer}}"'
    return f"export nnUNet_extTrainer={shlex.quote(str(TRAINERS))}{rest}"


def copy_trainers(folder: Path) -> list[Path]:
    """Copy the trainers' files into a folder; returns the copies."""
    return [
        Path(shutil.copy(file, folder))
        for file in sorted(TRAINERS.glob("*.py"))
        if file.name != "__init__.py"
    ]


def folder_in_nnunet() -> Path:
    """Where an nnU-Net without the variable looks for trainers.

    Raises:
        SystemExit: nnU-Net is not installed, or reads the variable.
    """
    try:
        import nnunetv2
        from nnunetv2 import paths
    except ImportError as error:
        raise SystemExit(f"nnU-Net v2 is not installed here ({error})") from None
    if hasattr(paths, "nnUNet_extTrainer"):
        raise SystemExit(
            "The nnU-Net installed here reads nnUNet_extTrainer; a copy would hide later versions. "
            f"Use this instead:\n{export_line()}"
        )
    return Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer" / "variants" / "loss"


def main() -> None:
    """Print the line for the shell, or copy the trainers into nnU-Net with ``--copy``."""
    parser = argparse.ArgumentParser(
        prog="python -m scnp_kernels.integrations.nnunet",
        description="Prints the line that lets nnU-Net (2.8 and later) find the SCNP trainers.",
    )
    parser.add_argument(
        "--copy",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="for nnU-Net below 2.8: copy the trainers into FOLDER (default: the installed "
        "nnU-Net's own folder of trainers)",
    )
    arguments = parser.parse_args()
    if arguments.copy is None:
        print(export_line())
        return
    folder = Path(arguments.copy) if arguments.copy else folder_in_nnunet()
    if not folder.is_dir():
        raise SystemExit(f"--copy: got {folder}, takes a folder that exists")
    for copied in copy_trainers(folder):
        print(f"copied {copied}")


if __name__ == "__main__":
    main()
