"""The topology benchmark's runs: every loss, killed and resumed, and nothing on faulty data."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.common.images import DataError, read_labels
from benchmarks.topology import datasets, losses, runner, scoring, training
from benchmarks.topology.configuration import DEFAULTS, Configuration, RunKey, grid
from benchmarks.topology.network import build_network
from benchmarks.topology.records import finished_runs, truths
from tests import fresh_process
from tests.topology_data import (
    SIDE,
    command,
    failing,
    run_arguments,
    save,
    without_trainings,
    write_images,
    write_volumes,
)

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900  # seconds: a busy machine may start a process slowly
Rows = list[dict[str, str]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "bars")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return write_volumes(tmp_path / "plates")


def rows_of(file: Path) -> Rows:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_every_loss_and_mode_runs_once_for_every_image(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though at first one run fails, which does not take the others with it."""
    options = ("--losses", "all", "--seeds", 1, "--iterations", 3)
    out = tmp_path / "out" / "bars"
    damaged = out / "runs" / "ce-off-seed0" / runner.CHECKPOINT
    damaged.parent.mkdir(parents=True)
    damaged.write_text("no checkpoint")
    error = failing(capsys, *run_arguments(images, tmp_path / "out", *options, workers=2))
    grid_size = len(losses.LOSSES) * len(losses.MODES)
    assert f"1 of {grid_size} runs failed: ce-off-seed0" in error
    assert str(damaged) in error
    assert len(finished_runs(out)) == grid_size - 1
    damaged.unlink()
    arguments = run_arguments(images, tmp_path / "out", *options)
    command(*arguments)
    rows = rows_of(out / "scores.csv")
    expected = {
        (loss, mode, "" if mode == "off" else "3", "0", "test", image)
        for loss in losses.LOSSES
        for mode in losses.MODES
        for image in "01"
    }
    keys = ("loss", "scnp", "kernel_size", "seed", "split", "image")
    assert Counter(tuple(row[key] for key in keys) for row in rows) == Counter(expected)
    assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    description = json.loads((out / "configuration.json").read_text())
    assert description["configuration"]["iterations"] == 3
    assert description["machine"]["torch"] == torch.__version__
    assert description["libraries"]["monai"] == version("monai")
    before = {file: file.stat().st_mtime_ns for file in out.glob("runs/*/*")}
    command(*arguments)  # everything is there already
    assert {file: file.stat().st_mtime_ns for file in out.glob("runs/*/*")} == before
    assert rows_of(out / "scores.csv") == rows


def test_volumes_are_scored_on_cubes(volumes: Path, tmp_path: Path) -> None:
    command(
        *run_arguments(
            volumes, tmp_path / "out", "--scnp", "on", "--kernel-size", "1x3x3", "--seeds", 1
        ),
        *("--iterations", 2, "--tile", 20),
    )
    out = tmp_path / "out" / "plates"
    rows = rows_of(out / "scores.csv")
    places = [(row, column) for row in (0, 16) for column in (0, 20)]
    cubes = [f"test[{depth},{row},{column}]" for depth in (0, 16) for row, column in places]
    assert [row["image"] for row in rows] == cubes
    assert {row["kernel_size"] for row in rows} == {"1x3x3"}
    (record,) = finished_runs(out)
    truth = truths(out)["test/test"]
    prediction = record.predictions(truths(out))["test/test"]
    assert prediction.shape == truth.shape == (SIDE, SIDE, SIDE + 8)
    part = (slice(0, 16), slice(0, 16), slice(20, 40))
    expected = scoring.MEASURES["dice"](prediction[part] == 1, truth[part] == 1, 6)
    assert float(rows[1]["dice"]) == pytest.approx(expected, abs=1e-5)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def children_of(process: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_run_goes_on_where_it_stopped(images: Path, tmp_path: Path) -> None:
    def arguments(out: str, workers: int | None = None) -> list[str]:
        grid_options = ("--losses", "ce", "--scnp", "off,on,joint", "--seeds", 1)
        length = ("--iterations", 60, "--validations", 20)
        return run_arguments(images, tmp_path / out, *grid_options, *length, workers=workers)

    command(*arguments("whole"))
    out = tmp_path / "killed" / "bars"
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.topology", *arguments("killed", workers=1)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = out / "runs" / "ce-on-w3-seed0" / runner.CHECKPOINT
    wait_until(checkpoint.exists, PATIENCE)
    workers = children_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), PATIENCE)
    assert [record.key.mode for record in finished_runs(out)] == ["off"]
    stopped_at = torch.load(checkpoint, weights_only=True)["iteration"]
    assert 0 < stopped_at < 60
    finished = out / "runs" / "ce-off-seed0" / "run.json"
    before = finished.stat().st_mtime_ns
    command(*arguments("killed"))
    assert finished.stat().st_mtime_ns == before  # was not done again
    assert not checkpoint.exists()
    for name in ("scores.csv", "curves.csv"):
        killed, whole = (rows_of(tmp_path / o / "bars" / name) for o in ("killed", "whole"))
        for row in killed + whole:
            row.pop("seconds", None)
        assert killed == whole


def test_other_settings_in_the_same_folder_are_refused(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = run_arguments(images, out, "--losses", "ce", "--scnp", "off", "--seeds", 1)
    command(*arguments, "--iterations", 2)
    error = failing(capsys, *arguments, "--iterations", 3)
    assert "iterations 2 and 3" in error
    file = out / "bars" / "configuration.json"
    command("run", "--data", images, "--out", out, "--losses", "ce", "--scnp", "off", "--seeds", 1,
            "--configuration", file, "--one-process")  # fmt: skip


def test_other_masks_of_the_same_name_are_refused(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_trainings(monkeypatch)
    arguments = run_arguments(images, tmp_path / "out", "--iterations", 2)
    command(*arguments)
    command(*arguments)
    save(images / "test" / "masks" / "1.png", np.ones((SIDE, SIDE)))
    assert "other images or masks" in failing(capsys, *arguments)


def test_one_interrupt_ends_everything(images: Path, tmp_path: Path) -> None:
    arguments = run_arguments(images, tmp_path, "--losses", "ce,dice", workers=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.topology", *arguments, "--iterations", "100000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A test suite in a shell's background passes on that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until((tmp_path / "bars" / "runs" / "ce-off-seed0" / ".lock").exists, PATIENCE)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "goes on where it stopped" in error
    assert "Traceback" not in error
    assert [folder.name for folder in (tmp_path / "bars" / "runs").iterdir()] == ["ce-off-seed0"]


def test_two_programs_in_one_folder_are_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(runner, "PATIENCE", 0.1)
    with runner.only_one(tmp_path / "out" / "bars" / ".lock"):
        error = failing(capsys, *run_arguments(images, tmp_path / "out"))
    assert "another process is at work" in error


WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name in ("fcntl", "resource"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for name in ("fcntl", "resource"):
    sys.modules.pop(name, None)
from benchmarks.topology import runner
from benchmarks.topology.__main__ import main
runner.PATIENCE = 0.1
sys.exit(main(sys.argv[1:]))
"""


def test_a_system_without_fcntl_and_resource(images: Path, tmp_path: Path) -> None:
    def on_it(*arguments: object) -> subprocess.CompletedProcess[str]:
        return fresh_process.run(WITHOUT, *map(str, arguments), imported="torch,monai,skimage")

    run = run_arguments(images, tmp_path, "--seeds", 1, "--scnp", "off", "--iterations", 1)
    done = on_it(*run)
    assert done.returncode == 0, done.stderr
    (record,) = finished_runs(tmp_path / "bars")
    assert record.peak_mebibytes is None
    for arguments in (("thickness", images), ("benchmark", tmp_path), run):
        assert on_it(*arguments).returncode == 0
    with runner.only_one(tmp_path / "bars" / ".lock"):  # whose file says that somebody is there
        refused = on_it(*run)
    assert refused.returncode == 1
    assert "another process is at work" in refused.stderr


def test_labels_of_several_classes(images: Path) -> None:
    for file in images.glob("*/masks/*.png"):
        labels = np.zeros((SIDE, SIDE))
        labels[:10], labels[20:] = 1, 2
        save(file, labels)
    data = datasets.read_data_set(images, ["test"], (SIDE, SIDE), classes=3)
    assert np.unique(data.train[0].truth).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="labels up to 2, takes labels from 0 to 1"):
        read_labels(images / "train" / "masks" / "0.png", classes=2)


def test_the_first_seed_comes_first() -> None:
    keys = grid(["ce", "dice"], ["off", "on"], [(3,), (5,)], range(2))
    assert [key.identifier for key in keys[:6]] == [
        "ce-off-seed0",
        "ce-on-w3-seed0",
        "ce-on-w5-seed0",
        "dice-off-seed0",
        "dice-on-w3-seed0",
        "dice-on-w5-seed0",
    ]
    assert len(keys) == len(set(keys)) == 12
    assert RunKey("ce", "on", (1, 3, 3), 4).identifier == "ce-on-w1x3x3-seed4"


@pytest.mark.parametrize("shape", [(50, 100, 205), (20, 76, 51), (48, 64, 64)], ids=str)
def test_cubes_cover_a_volume_once(shape: tuple[int, ...]) -> None:
    covered = np.zeros(shape, np.int64)
    places = []
    for place, part in scoring.parts(shape, 50):
        covered[part] += 1
        assert all(side < 76 for side in covered[part].shape)
        places.append(place)
    assert (covered == 1).all()
    assert len(set(places)) == len(places)
    assert (places == [""]) == (shape == (48, 64, 64))  # a single cube is the volume


def test_cubes_of_earlier_versions_are_refused(
    volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They overlapped, which makes a p-value too small."""
    command(*run_arguments(volumes, tmp_path / "out", "--scnp", "off", "--seeds", 1),
            *("--iterations", 1, "--tile", 20))  # fmt: skip
    file = tmp_path / "out" / "plates" / "runs" / "ce_dice-off-seed0" / "scores.csv"
    file.write_text(file.read_text().replace("test[0,0,20]", "test[0,0,10]"))
    said = failing(capsys, "benchmark", tmp_path / "out")
    assert f"{file}: scores test test[0,0,10], which is no volume or cube" in said
    assert "delete" in said


def test_images_and_whole_volumes_are_not_cut() -> None:
    for shape, tile in (((200, 300), 50), ((100, 100, 100), 0)):
        (one,) = scoring.parts(shape, tile)
        assert one == ("", tuple(slice(0, side) for side in shape))


def test_large_images_are_segmented_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration(**{**vars(DEFAULTS[2]), "crop": (32, 32)})
    network = build_network(0, 2, 3, 2, (2, 2, 2, 2, 2, 2))
    image = np.random.default_rng(0).random((3, 137, 261), np.float32)
    monkeypatch.setattr(training, "WHOLE_AT_ONCE", 1000)
    labels = training.segment(network, image, configuration, torch.device("cpu"))
    assert labels.shape == (137, 261)
    assert network.training
