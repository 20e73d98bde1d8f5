"""What a training with SCNP adds to nnU-Net's checkpoints. Needs torch alone.

"scnp"          the options of the training, so that going on with others can be noticed
"trainer_name"  the wrapped trainer's, with which anybody can predict without this package
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

KEY = "scnp"

Settings = dict[str, Any]


def add_to_checkpoint(file: str, settings: Settings, trainer_name: str) -> None:
    """Add the settings to a checkpoint that nnU-Net has just written, and name the trainer.

    The file is replaced as a whole: whoever reads it finds the old one or the new one.
    """
    checkpoint = _load(file, mmap=False)  # a mapped file cannot be replaced on every system
    checkpoint[KEY] = settings
    checkpoint["trainer_name"] = trainer_name
    unfinished = Path(f"{file}.unfinished")
    try:
        torch.save(checkpoint, unfinished)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def settings_in(checkpoint: str | dict[str, Any]) -> Settings | None:
    """The settings that a checkpoint was written with; None if it was written without SCNP."""
    if isinstance(checkpoint, str):
        checkpoint = _load(checkpoint, mmap=True)  # no tensor is looked at
    settings: Settings | None = checkpoint.get(KEY)
    return settings


def mismatch(before: Settings | None, now: Settings) -> str | None:
    """What a training that goes on would do otherwise than before; None if nothing.

    Example:
        >>> before = {"windows": [[5, 5]], "plain_weight": 0.0}
        >>> mismatch(before, {"windows": [[3, 3]], "plain_weight": 0.0})
        'windows were [[5, 5]] and are [[3, 3]]'
    """
    if before is None:
        return "the checkpoint was trained without SCNP"
    different = [
        f"{name} were {before.get(name)} and are {now[name]}"
        for name in ("windows", "plain_weight")
        if before.get(name) != now[name]
    ]
    return "; ".join(different) or None


def _load(file: str, *, mmap: bool) -> dict[str, Any]:
    """nnU-Net's own file, trusted as nnU-Net does."""
    checkpoint: dict[str, Any] = torch.load(file, map_location="cpu", mmap=mmap, weights_only=False)
    return checkpoint
