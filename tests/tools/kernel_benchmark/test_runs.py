"""Promise: a run measures everything, and its tables, bars and pictures say what it measured."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.common import readme, tables
from benchmarks.kernels import bars, program, results
from benchmarks.kernels import tables as kernel_tables
from benchmarks.kernels.cases import OPENCV, OURS, groups
from benchmarks.kernels.implementations import implementations
from benchmarks.kernels.pictures import PICTURES
from benchmarks.kernels.results import BACKWARD, BOTH, FORWARD, RECORDING
from tests.tools.kernel_benchmark.toys import OPTIONS, PAGE, TOYS


def test_a_run_measures_everything(out: Path) -> None:
    with (out / results.CSV_NAME).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = {
        (group.name, "x".join(map(str, case.shape)), str(case.kernel_size), name)
        for group in groups(TOYS)
        for case, names in group.members
        for name in names
    }
    found = {tuple(r[k] for k in ("group", "shape", "kernel_size", "implementation")) for r in rows}
    assert wanted <= found
    assert {row["phase"] for row in rows} == {FORWARD, RECORDING, BACKWARD, BOTH}
    for row in rows:
        assert int(row["rounds"]) >= 2
        assert float(row["median_ms"]) > 0
        assert float(row["ratio_to_copy"]) > 0
        if row["implementation"] in implementations():
            assert float(row["gb_per_s"]) > 0
            assert float(row["saved_bytes_per_logit"]) > 0
            assert int(row["bytes_moved_at_least"]) > 0


def test_every_file_is_there_and_every_bar_judged(out: Path) -> None:
    names = {results.JSON_NAME, results.CSV_NAME, program.TABLES_NAME, *PICTURES}
    assert {file.name for file in out.iterdir()} == {*names, "page.md"}
    for name in PICTURES:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    facts = json.loads((out / results.JSON_NAME).read_text(encoding="utf-8"))["facts"]
    assert facts["threads"] == "1"
    assert all(facts.values())
    run = results.read_results(out)
    for capability, count in (("avx512", 27), ("avx2", 28)):
        facts = {"CPU capability of the kernels": capability}
        verdicts = bars.verdicts(results.Results(facts, run.records))
        assert len(verdicts) == count
        assert all(verdict.reached is not None for verdict in verdicts)


def test_each_instruction_set_has_bars_of_its_own(out: Path) -> None:
    run = results.read_results(out)
    limits = {}
    for capability in ("avx512", "avx2"):
        facts = {"CPU capability of the kernels": capability}
        verdicts = bars.verdicts(results.Results(facts, run.records))
        limits[capability] = {verdict.bar: verdict.limit for verdict in verdicts}
    fast, slow = limits["avx512"], limits["avx2"]
    differ = {bar: (fast.get(bar), limit) for bar, limit in slow.items() if fast.get(bar) != limit}
    plain = "SCNPDiceCELoss against plain Dice+CE, the faster of eager and compiled"
    assert differ == {
        "2D, against the listing": ("≥ 25x", "≥ 30x"),
        "2D, against the listing compiled": ("≥ 7x", "≥ 12x"),
        "3D, against the listing": ("≥ 45x", "≥ 55x"),
        "3D, against the listing compiled": ("≥ 40x", "≥ 60x"),
        f"2D, {plain}": ("≤ 0.5x", "≤ 0.25x"),
        f"3D, {plain}": ("≤ 0.3x", "≤ 0.15x"),
        "2D, against allocating and filling the three results": (None, "≤ 1.5x"),
    }
    assert set(fast) <= set(slow)


def test_threads_and_classes_in_their_tables(out: Path) -> None:
    run = results.read_results(out)
    for record in run.records:
        if record.group in ("threads", "many classes"):
            # Half the time with twice the threads; as much for each logit.
            time = 8.0 / record.threads if record.threads else 2.0 * record.logits
            record.times = {phase: [time] * len(record.rounds) for phase in record.times}
    verdicts = {verdict.bar: verdict for verdict in bars.verdicts(run)}
    curves = kernel_tables.threads_table(run)
    assert (
        "| 1x2x12x10 | **scnp cpu** | 0.008 (0.008 to 0.008) | 0.004 (0.004 to 0.004), 2x |"
        in curves
    )
    assert "| 1x2x5x6x7 | **SCNPDiceCELoss** |" in curves
    for name in (OURS, "SCNPDiceCELoss"):
        verdict = verdicts[f"{name}, speed-up from one thread to two, 2D; 3D"]
        assert (verdict.measured, verdict.reached) == ("2x (2x); 2x (2x)", True)
    classes = kernel_tables.classes_table(run)
    assert classes.count("| 2000 | 1x |") == 4
    verdict = verdicts["3D, SCNPDiceCELoss of 117 classes against 2, time per logit"]
    assert (verdict.measured, verdict.reached) == ("1x (1x)", True)
    for record in run.in_group("many classes", "SCNPDiceCELoss"):
        if record.shape[1] == 117:
            record.times = {p: [1.5 * t for t in times] for p, times in record.times.items()}
    verdicts = {verdict.bar: verdict for verdict in bars.verdicts(run)}
    assert not verdicts["3D, SCNPDiceCELoss of 117 classes against 2, time per logit"].reached


def test_peers_and_windows_in_their_tables(out: Path) -> None:
    run = results.read_results(out)
    peers_table = kernel_tables.peers_table(run)
    assert peers_table.count("| listing |") == 3
    assert f"| 1x2x12x10, w = 3 | {OPENCV} |" in peers_table
    assert "reads no labels, has no gradient" in peers_table
    assert "1x3x4x5x6, w = 3, channels_last | listing |" in peers_table
    windows = kernel_tables.windows_table(run).splitlines()
    assert len(windows) == 2 + 5
    assert windows[-1].endswith("| - | - |")  # the listing is too slow for w = 11
    assert "w = 3" in windows[2]


def test_the_report_can_be_made_again(out: Path) -> None:
    page = (out / "page.md").read_text(encoding="utf-8")
    assert "| 2D, against the listing |" in page
    assert "(./latency_by_window.png)" in page
    assert "old" not in page
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".png"}
    options = ["--report-only", "--out", str(out), "--readme", str(out / "page.md")]
    assert program.main(options) == 0
    for name, content in before.items():
        assert (out / name).read_bytes() == content


def test_a_report_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--report-only", "--out", str(tmp_path)]) == 1
    assert results.JSON_NAME in capsys.readouterr().err


def test_each_instruction_set_has_a_run_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ("2D", "3D", "loss 2D", "loss 3D")
    few = tuple(group for group in groups(TOYS) if group.name in told)
    page = tmp_path / "page.md"
    names = ("headline", "machine", "latency", "latency-avx2", "loss-portable")
    edges = [f"<!-- benchmark:{name} {edge} -->" for name in names for edge in ("begin", "end")]
    page.write_text("\n".join(edges), encoding="utf-8")
    monkeypatch.setattr(program, "groups", lambda _: few)
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(program, "PAGES", (page,))
    assert program.main(OPTIONS) == 0
    (stored,) = results.stored_runs(tmp_path).values()
    assert (tmp_path / stored.capability / results.JSON_NAME).exists()
    shutil.rmtree(tmp_path / stored.capability)
    for capability, factor in (("avx2", 3), ("avx512", 1)):
        facts = {**stored.facts, "CPU capability of the kernels": capability}
        facts["CPU capability of torch"] = "AVX512"
        times = [{p: [factor * t for t in ts] for p, ts in r.times.items()} for r in stored.records]
        records = [replace(r, times=t) for r, t in zip(stored.records, times, strict=True)]
        results.write_results(tmp_path / capability, results.Results(facts, records))
    assert program.main(["--report-only"]) == 0
    text = page.read_text(encoding="utf-8")
    columns = ", AVX512 | compared with, AVX512 | this package, AVX2 | compared with, AVX2 |"
    assert f"| forward + backward, float32 | this package{columns}" in text
    assert f"<sub>AVX512: {stored.facts['CPU']}, 1 threads" in text
    assert f"AVX2: {stored.facts['CPU']} (torch with AVX512), 1 threads" in text
    assert "|  | AVX512 | AVX2 |" in text
    assert "No whole run of the kernels for PORTABLE is stored yet." in text
    of_fast, of_slow = (run.find("2D", OURS) for run in results.stored_runs(tmp_path).values())
    for run in (of_fast, of_slow):
        low, high = run.quartiles(BOTH)
        assert text.count(tables.between(run.milliseconds(BOTH), low, high)) >= 1


def test_replacing_blocks() -> None:
    once = readme.replace_blocks(PAGE, {"bars": "new \\1", "machine": "has no markers"})
    assert "new \\1" in once
    assert "no markers" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert readme.replace_blocks(once, {"bars": "new \\1"}) == once
    assert readme.replace_blocks(once, {"bars": ""}) == readme.replace_blocks(PAGE, {"bars": ""})
