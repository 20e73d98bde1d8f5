"""The report that ``make gpu-test`` and ``make bench DEVICE=cuda`` share, a section each."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import scnp_kernels


def machine() -> list[str]:
    """The GPU and the programs, as lines of Markdown."""
    lines = [
        f"- scnp_kernels {scnp_kernels.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.platform()}"
    ]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        lines.append(
            f"- GPU {index}: {facts.name}, {facts.multi_processor_count} multiprocessors, "
            f"{facts.total_memory >> 30} GiB"
        )
    lines += [f"- backend {name}: {state}" for name, state in scnp_kernels.backends().items()]
    return lines


def replace_section(path: Path, title: str, lines: list[str]) -> None:
    """Write a section of the report anew; the others stay."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = [f"## {part}".rstrip() for part in text.split("## ")[1:]]
    kept = [section for section in sections if not section.startswith(title)]
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [*kept, "\n".join([title, "", *lines])]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
