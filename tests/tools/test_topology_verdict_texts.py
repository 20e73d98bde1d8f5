"""Promise: the verdict's report and sentences say what its tables say, of the data at hand."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.html import page, table
from benchmarks.topology.__main__ import main
from benchmarks.topology.comparisons import BASELINE, Verdict, overall, sentence
from benchmarks.topology.configuration import RunKey
from benchmarks.topology.losses import MODES
from benchmarks.topology.postprocessing import Postprocessing, candidates
from benchmarks.topology.results import Method, read_results
from benchmarks.topology.verdict import judge
from benchmarks.topology.verdict_tables import block, primary_notes, primary_rows, rules
from tests.topology_data import (
    REFEREES_COMPARED,
    REFEREES_OPTIONS,
    command,
    figures_of,
    is_picture,
    predicted_runs,
    rows_of,
    write_referees_case,
)

SIDES = {"val": 8, "test": 8, "test_long": 24}  # of volumes, on cubes of 8
ON, JOINT = Method("ce_dice", "on", (3,)), Method("ce_dice", "joint", (3,))

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_the_sentence_follows_from_the_table(
    judged_case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (judged_case / "lines" / "verdict-test.md").read_text()
    first = text.split("\n\n")[0]
    assert first.startswith(
        "lines, test (8 images), beside the plain baseline: significantly fewer topological "
        "mistakes with CE+Dice, SCNP, w = 3 (-60 %"
    )
    table_rows = {row["method"]: row for row in rows_of(judged_case / "lines" / "verdict-test.csv")}
    other = table_rows["clDice, SCNP, w = 3"]
    assert float(other["p (Holm)"]) >= 0.05
    assert "no significant difference with" in first
    assert other["method"] in first.split("no significant difference with")[1]
    command(
        "verdict", "--data", judged_case.parent / "lines", "--out", judged_case, *REFEREES_OPTIONS
    )
    written = capsys.readouterr().out.splitlines()
    assert written[-1] == str(judged_case / "report.html")
    assert "fewer topological mistakes than the same loss without on 1 of 1 test set" in written[-2]
    assert "(lines test)" in written[-2]


def test_the_report_is_one_file_with_the_verdict_first(judged_case: Path) -> None:
    text = (judged_case / "report.html").read_text()
    body = text[text.index("<body>") :]
    assert body.index('class="verdict"') < body.index("<img") < body.index("<table")
    assert 'class="warning"' not in body
    for source in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert source.startswith("data:")
    pictures = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    assert len(pictures) == 3  # the chart, the picture, the curves
    assert all(b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    for row in rows_of(judged_case / "lines" / "verdict-test.csv"):
        assert row["p (Holm)"] in text
    assert is_picture(judged_case / "verdict.png")
    assert is_picture(judged_case / "lines" / "verdict-picture.png")


def test_what_other_commands_wrote_is_in_the_report(judged_case: Path, tmp_path: Path) -> None:
    out = shutil.copytree(judged_case, tmp_path / "out")
    command("benchmark", out)
    command("verdict", "--data", judged_case.parent / "lines", "--out", out, *REFEREES_OPTIONS)
    text = (out / "report.html").read_text()
    assert "Every loss, without post-processing: benchmark-test" in text
    assert text.count("data:image/png") == 4


def test_the_summary_links_the_verdict(judged_case: Path, tmp_path: Path) -> None:
    out = shutil.copytree(judged_case, tmp_path / "out")
    command("summary", out)
    text = (out / "README.md").read_text()
    links = re.findall(r"\]\((lines/[^)]*)\)", text)
    assert links == ["lines/verdict-test.md", "lines/scores-test.md"]
    assert all((out / link).is_file() for link in links)
    for link in links:
        (out / link).unlink()
    command("summary", out)
    assert "With post-processing" not in (out / "README.md").read_text()


def test_a_page_of_the_documentation_takes_the_verdict(judged_case: Path, tmp_path: Path) -> None:
    front = tmp_path / "page.md"
    front.write_text(
        "# Page\n<!-- benchmark:verdict begin -->outdated<!-- benchmark:verdict end -->\n"
    )
    command(
        "verdict",
        "--data",
        judged_case.parent / "lines",
        "--out",
        judged_case,
        *REFEREES_OPTIONS,
        "--readme",
        front,
    )
    text = front.read_text()
    assert "outdated" not in text
    assert "without on 1 of 1 test set (lines test)" in text
    table_ = (judged_case / "lines" / "verdict-test.md").read_text()
    for row in table_.splitlines():
        if row.startswith("|"):
            assert row in text


@pytest.mark.parametrize(
    ("collapsed", "told"),
    [
        ({("on", 1): 0.1}, "not compared, since trainings collapsed: CE+Dice, SCNP, w = 3"),
        ({("off", 0): 0.9}, "no verdict, since CE+Dice, plain itself collapsed."),
        (
            {(mode, seed): 0.1 for mode in MODES for seed in (0, 1)},
            "no verdict, since CE+Dice, plain itself collapsed.",
        ),
    ],
    ids=["one", "baseline", "all"],
)
def test_collapse_comes_first_and_last_and_has_no_p(
    collapsed: dict[tuple[str, int], float],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = figures_of(monkeypatch)
    data, out = write_referees_case(tmp_path, 6, collapsed)
    command("verdict", "--data", data, "--out", out, *REFEREES_OPTIONS)
    written = capsys.readouterr()
    warning = read_results(out / "lines").warning
    assert f"{len(collapsed)} of {2 * (REFEREES_COMPARED + 1)} trainings collapsed" in warning
    assert written.err.splitlines()[-1] == warning
    body = (out / "report.html").read_text().split("</h1>")[1].lstrip()
    assert body.startswith('<p class="warning">')
    assert body.index("trainings collapsed, which is a failure") < body.index('class="verdict"')
    assert "(0 images)" not in (out / "lines" / "verdict-test.md").read_text()
    for name in ("verdict-test.md", "scores-test.md"):
        assert (out / "lines" / name).read_text().startswith(warning)
    assert told in (out / "lines" / "verdict-test.md").read_text()
    rows = {row["method"]: row for row in rows_of(out / "lines" / "verdict-test.csv")}
    for mode, method in (("off", BASELINE), ("on", ON), ("joint", JOINT)):
        own = [seed for (m, seed) in collapsed if m == mode]
        if own or "no verdict" in told:
            assert rows[method.title]["p"] == rows[method.title]["p (Holm)"] == ""
        if own:
            assert f"{len(own)} of 2 seeds found" in rows[method.title]["seeds"]
        if len(own) == 2:
            assert rows[method.title]["Betti-matching error"] == ""
    for figure in drawn:
        assert warning[:40] in " ".join(figure.get_suptitle().split())


def test_few_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_referees_case(tmp_path, 4)
    command("verdict", "--data", data, "--out", out, *REFEREES_OPTIONS)
    text = (out / "lines" / "verdict-test.md").read_text()
    assert (
        f"with 4 images and {REFEREES_COMPARED} comparisons the smallest of them needs a p below "
        f"{0.05 / REFEREES_COMPARED:.2g}, and none can be below 0.12." in text
    )
    printed = capsys.readouterr().out
    assert "too few images for a significant difference on lines test" in printed
    assert "no significant difference" not in printed
    assert "**" not in "".join(
        row["Betti-matching error"] for row in rows_of(out / "lines" / "verdict-test.csv")
    )


def test_a_page_shows_text_as_text() -> None:
    text = page("<b>", [table([{"a<b": "**x** & _y_ of z_0_1"}])])
    assert "<h1>&lt;b&gt;</h1>" in text
    assert "<th>a&lt;b</th>" in text
    assert "<td><strong>x</strong> &amp; <em>y</em> of z_0_1</td>" in text


def test_the_one_sentence_hides_no_mode_that_is_significantly_worse(tmp_path: Path) -> None:
    """SCNP alone mends what joint breaks: the data set counts as both."""
    data, out = write_referees_case(tmp_path, images=16)
    runs = out / "lines" / "runs"
    for seed in (0, 1):  # clDice breaks three lines, the baseline as many or two
        for name in ("predictions.npz", "probabilities.npz"):
            shutil.copy(
                runs / f"cldice-off-seed{seed}" / name, runs / f"ce_dice-joint-w3-seed{seed}" / name
            )
    command("verdict", "--data", data, "--out", out, *REFEREES_OPTIONS)
    rows = {row["method"]: row for row in rows_of(out / "lines" / "verdict-test.csv")}
    assert rows[ON.title]["Betti-matching error"].startswith("**")
    assert rows[JOINT.title]["Betti-matching error"].startswith("_")
    text = (out / "report.html").read_text()
    assert "without on 1 of 1 test set (lines test); significantly more on lines test." in text


def test_a_method_of_other_seeds_is_not_said_to_have_collapsed(tmp_path: Path) -> None:
    data, out = write_referees_case(tmp_path)
    runs = out / "lines" / "runs"
    for run in runs.glob("cldice-on-*"):
        shutil.rmtree(run)
    (kept,) = runs.glob("cldice-off-seed1")
    shutil.rmtree(runs / "cldice-off-seed0")
    record = json.loads((kept / "run.json").read_text())
    record["seed"] = 7
    (kept / "run.json").write_text(json.dumps(record))
    kept.rename(runs / "cldice-off-seed7")
    options = ("--one-process", "--losses", "ce_dice", "--seeds", 2)
    command("verdict", "--data", data, "--out", out, *options)
    told = (out / "lines" / "verdict-test.md").read_text()
    assert "not compared, since they share no seed with the baseline: clDice, plain" in told
    assert "collapsed:" not in told


def verdict_of(
    out: Path, name: str, shape: tuple[int, ...], count: int = 2, **settings: object
) -> Verdict:
    """Of stripes that a plain run breaks, and one on SCNP does not."""
    truth = np.zeros(shape, np.uint8)
    truth[..., 2:4] = 1
    broken = np.where(truth == 1, 0.9, 0.1)
    broken[3:5] = 0.1
    names = [*(f"test/{n}" for n in range(count)), "val/0"]
    runs = {
        RunKey("ce_dice", "off", (1,), 0): dict.fromkeys(names, broken),
        RunKey("ce_dice", "on", (3,), 0): dict.fromkeys(names, np.where(truth == 1, 0.9, 0.1)),
    }
    predicted_runs(out / name, dict.fromkeys(names, truth), runs, **settings)
    (verdict,) = judge(read_results(out / name), (3,), 1)
    return verdict


@pytest.mark.parametrize(
    ("tile", "told", "over"),
    [(0, "2 volumes", "volumes"), (4, "16 cubes", "cubes")],
    ids=["whole", "cubes"],
)
def test_volumes_are_called_volumes_or_cubes(
    tmp_path: Path, tile: int, told: str, over: str
) -> None:
    verdict = verdict_of(tmp_path, "stripes", (8, 8, 8), tile=tile)
    first = sentence(verdict)
    assert first.startswith(f"stripes, test ({told}), beside the plain baseline: ")
    assert f"with {told} and 1 comparisons" in first or verdict.images > 6
    assert f"paired permutation tests over {over}, corrected" in overall([verdict])
    notes = primary_notes([verdict])
    assert "on the validation volumes: a threshold" in notes
    assert f"Means over sound seeds and {over}." in notes
    for text in (first, overall([verdict]), notes, block([verdict])):
        assert "image" not in text
    for name in ("benchmark", "summary"):
        command(name, tmp_path)
    for file in ("stripes/benchmark-test.md", "README.md"):
        text = (tmp_path / file).read_text()
        assert over in text
        assert "image" not in text
    told_of_cubes = (
        "Cubes of one volume share" in (tmp_path / "stripes/benchmark-test.md").read_text()
    )
    assert told_of_cubes == ("Cubes of one volume share" in notes) == (over == "cubes")
    pieces = Postprocessing(smallest=8)
    choice = replace(verdict.choices[BASELINE], postprocessing=pieces)
    row, *_ = primary_rows(replace(verdict, choices={BASELINE: choice}))
    assert row["post-processing"] == "no piece below 8 voxels"
    filled = verdict_of(tmp_path, "filled", (8, 8, 8), tile=8)  # one cube is a whole volume
    assert sentence(filled).startswith("filled, test (2 volumes), ")
    of_one = verdict_of(tmp_path, "single", (8, 8, 8), count=1, tile=0)
    assert sentence(of_one).startswith("single, test (1 volume), ")
    both = overall([verdict, verdict_of(tmp_path, "plane", (8, 8))])
    assert f"over {over} or images, corrected" in both
    three = overall([verdict, filled, verdict_of(tmp_path, "square", (8, 8))])
    assert ("over cubes, volumes or images, corrected" in three) == (over == "cubes")


def test_a_split_of_whole_volumes_has_no_cubes_because_another_is_cut(tmp_path: Path) -> None:
    truth = {f"{split}/0": np.zeros((side, 8, 8), np.uint8) for split, side in SIDES.items()}
    for mask in truth.values():
        mask[..., 2:4] = 1
    maps = {key: np.where(mask == 1, 0.9, 0.1) for key, mask in truth.items()}
    runs = {RunKey("ce_dice", mode, (w,), 0): maps for mode, w in (("off", 1), ("on", 3))}
    folder = predicted_runs(tmp_path / "stripes", truth, runs, tile=8, tests=["test", "test_long"])
    whole, cut = judge(read_results(folder), (3,), 1)
    assert sentence(whole).startswith("stripes, test (1 volume), ")
    assert sentence(cut).startswith("stripes, test_long (3 cubes), ")
    assert "Cubes of one volume" not in primary_notes([whole])
    assert "Cubes of one volume" in primary_notes([whole, cut])
    command("benchmark", tmp_path)
    pages = [(tmp_path / f"stripes/benchmark-{name}.md").read_text() for name in list(SIDES)[1:]]
    assert ["cube" in page for page in pages] == [False, True]
    assert ["1 volume," in pages[0], "3 cubes," in pages[1]] == [True, True]


@pytest.mark.parametrize("classes", [2, 3])
def test_a_threshold_is_told_where_it_is_searched_for(tmp_path: Path, classes: int) -> None:
    verdict = verdict_of(tmp_path, "stripes", (8, 8), classes=classes)
    told = rules([verdict])
    cuts = any(candidate.cuts for candidate in candidates(classes))
    assert ("search of post-processing on the validation images: a threshold" in told) == cuts
    assert ("no threshold, since the most probable of several classes stays" in told) != cuts
    assert all(words in told for words in ("a closing", "a smallest piece"))
    for method in verdict.methods:
        assert "threshold" not in verdict.choices[method].postprocessing.title
        assert verdict.choices[method].tried == len(candidates(classes))
    beside = rules([verdict, verdict_of(tmp_path, "others", (8, 8), classes=5 - classes)])
    assert "a threshold" in beside
    assert "not where there are several foreground classes" in beside


def test_the_help_says_how_many_windows_a_command_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for name, several in (("verdict", False), ("run", True)):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        lines = capsys.readouterr().out.splitlines()
        (line,) = [line for line in lines if "window's side" in line]
        assert ("comma-separated for several" in line) == several
