"""Promise: nothing is cut off in a picture, and its texts do not lie on each other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from benchmarks.topology import qualitative
from benchmarks.topology.comparisons import BASELINE
from benchmarks.topology.postprocessing import Postprocessing
from benchmarks.topology.results import Method, read_results
from tests.topology_data import figures_of, write_referees_case

METHODS = [BASELINE, Method("ce_dice", "on", (3,)), Method("ce_dice", "joint", (3,))]
ROOM = 3  # pixels around every text
LONGEST = Postprocessing(0.3, 0.7, radius=1, smallest=128)


@pytest.mark.parametrize("collapsed", [{}, {("joint", 0): 0.9}], ids=["sound", "with a warning"])
@pytest.mark.parametrize("treatment", [None, LONGEST], ids=["as predicted", "post-processed"])
def test_the_texts_of_a_picture_lie_inside_it_and_apart(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    collapsed: dict[tuple[str, int], float],
    treatment: Postprocessing | None,
) -> None:
    _, out = write_referees_case(tmp_path, 2, collapsed)
    results = read_results(out / "lines")
    drawn = figures_of(monkeypatch)

    def pixels_of(_split: str, _name: str) -> np.ndarray:
        return np.zeros((1, 64, 64), np.float32)

    qualitative.draw(results, METHODS, 0, None, pixels_of, tmp_path / "a.png", treatment=treatment)
    (figure,) = drawn
    figure.set_dpi(qualitative.DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    shown = {
        text: text.get_window_extent(renderer).padded(ROOM)
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip()
    }
    assert len(shown) > 8
    for text, place in shown.items():
        assert 0 <= place.y0 < place.y1 <= figure.bbox.height, text.get_text()
        for axes in figure.axes:
            inside = text in axes.findobj(Text) and axes.get_legend() is not None
            assert inside or not place.overlaps(axes.bbox), text.get_text()
    for (one, of_one), (other, of_other) in combinations(shown.items(), 2):
        assert not of_one.overlaps(of_other), (one.get_text(), other.get_text())
