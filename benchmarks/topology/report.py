"""report.html: the verdict in one file, with every table and picture that the folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import html
from benchmarks.common.files import read_csv, write_text
from benchmarks.common.tables import by
from benchmarks.topology.comparisons import Verdict, sentence
from benchmarks.topology.verdict_tables import SECONDARY_NOTES, primary_notes

REPORT, CHART, PICTURE = "report.html", "verdict.png", "verdict-picture.png"
# Of the other commands, as far as they have written them, by what they are called.
TABLES = {
    "benchmark": "Every loss, without post-processing",
    "sensitivity": "Windows",
    "convergence": "Convergence",
    "thickness": "Thickness",
    "counts": "Pieces and holes, predicted and true",
}


def write_report(
    target: Path,
    overall: str,
    verdicts: Sequence[Verdict],
    folders: Sequence[Path],
) -> Path:
    """Write it to ``target``; ``folders`` hold the data sets' tables and pictures.

    Collapsed trainings come first, then the verdict.
    """
    warnings = dict.fromkeys(verdict.results.warning for verdict in verdicts)
    parts = [html.paragraph(warning, "warning") for warning in warnings if warning]
    parts.append(html.paragraph(overall, "verdict"))
    parts.append(html.picture(target / CHART, "Topological mistakes beside the plain loss."))
    notes = (primary_notes(verdicts), SECONDARY_NOTES)
    parts += [html.paragraph(note, "small") for note in notes]
    for folder in folders:
        of_data = [verdict for verdict in verdicts if verdict.results.name == folder.name]
        parts += _data_set(folder, of_data)
    file = target / REPORT
    write_text(file, html.page("Does SCNP help?", parts))
    return file


def _data_set(folder: Path, verdicts: Sequence[Verdict]) -> list[str]:
    results = verdicts[0].results
    parts = [
        html.heading(results.name),
        html.paragraph(
            f"{results.configuration.iterations} iterations per training, "
            f"w = {by(verdicts[0].window)}.",
            "small",
        ),
    ]
    for verdict in verdicts:
        parts += [html.heading(verdict.split, 3), html.paragraph(sentence(verdict))]
        parts.append(html.table(read_csv(folder / f"verdict-{verdict.split}.csv")))
        scores = html.table(read_csv(folder / f"scores-{verdict.split}.csv"))
        parts.append(html.folded("Every measure, by both connectivities", [scores]))
    caption = f"{results.name}: image, truth, and predictions with their mistakes circled. "
    if verdicts[0].usual_image is not None:
        caption += "The image is the one where SCNP changes their number by the median."
    parts.append(html.picture(folder / PICTURE, caption))
    shown = {PICTURE}
    for name, title in TABLES.items():
        for file in sorted(folder.glob(f"{name}*.csv")):
            drawn = file.with_suffix(".png")
            inside = [html.table(read_csv(file))]
            if drawn.exists():
                inside.append(html.picture(drawn, f"{results.name}: {drawn.stem}"))
                shown.add(drawn.name)
            parts.append(html.folded(f"{title}: {file.stem}", inside))
    for file in sorted(folder.glob("*.png")):
        if file.name not in shown:
            parts.append(html.picture(file, f"{results.name}: {file.stem}"))
    return parts
