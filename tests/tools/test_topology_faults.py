"""What the topology benchmark refuses: one line that names the file or option at fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.topology import losses, training
from benchmarks.topology.__main__ import main
from benchmarks.topology.configuration import DEFAULTS, Configuration
from benchmarks.topology.datasets import read_data_set
from benchmarks.topology.records import (
    CONFIGURATION,
    CURVE,
    PREDICTIONS,
    RUN,
    SCORES,
    TRUTH,
    truths,
)
from benchmarks.topology.training import TrainingError
from tests.topology_data import (
    SIDE,
    failing,
    made_up_runs,
    run_arguments,
    save,
    write_images,
    write_volumes,
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "bars")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return write_volumes(tmp_path / "plates")


def remove_mask(root: Path) -> Path:
    (root / "test" / "masks" / "1.png").unlink()
    return root / "test" / "images" / "1.jpg"


def unreadable_image(root: Path) -> Path:
    file = root / "val" / "images" / "0.jpg"
    file.write_bytes(file.read_bytes()[:200])
    return file


def empty_folder(root: Path) -> Path:
    for file in (root / "train" / "images").iterdir():
        file.unlink()
    return root / "train" / "images"


def other_size(root: Path) -> Path:
    save(root / "val" / "masks" / "0.png", np.ones((SIDE, SIDE + 1)))
    return root / "val" / "masks" / "0.png"


def no_test_split(root: Path) -> Path:
    (root / "test").rename(root / "tests")
    return root / "test" / "images"


def small_image(root: Path) -> Path:
    save(root / "train" / "images" / "0.jpg", np.ones((SIDE, SIDE - 1)))
    save(root / "train" / "masks" / "0.png", np.ones((SIDE, SIDE - 1)))
    return root / "train" / "images" / "0.jpg"


def no_folder(root: Path) -> Path:
    root.rename(root.with_name("elsewhere"))
    return root


@pytest.mark.parametrize(
    "damage",
    [
        remove_mask,
        unreadable_image,
        empty_folder,
        other_size,
        no_test_split,
        small_image,
        no_folder,
    ],
)
def test_faulty_images_are_named_before_training(
    images: Path,
    tmp_path: Path,
    damage: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    culprit = damage(images)
    monkeypatch.setattr("benchmarks.topology.run_command.run_all", None)  # training would raise
    assert str(culprit) in failing(capsys, *run_arguments(images, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def other_shape(root: Path) -> str:
    np.savez(root / "val.npz", image=np.ones((40, 40, 40)), interior=np.ones((40, 40, 41)))
    return "val.npz: image has the shape (40, 40, 40) and interior (40, 40, 41)"


def flat_volume(root: Path) -> str:
    np.savez(root / "test.npz", image=np.ones((40, 40)), interior=np.ones((40, 40)))
    return "test.npz: image has the shape (40, 40)"


def small_volume(root: Path) -> str:
    np.savez(root / "train.npz", image=np.ones((40, 40, 8)), interior=np.ones((40, 40, 8)))
    return "train.npz: has the size 40 x 40 x 8"


def no_mask_array(root: Path) -> str:
    np.savez(root / "train.npz", image=np.ones((40, 40, 40)))
    return "train.npz: holds image"


def not_finite(root: Path) -> str:
    np.savez(root / "val.npz", image=np.full((40, 40, 40), np.nan), mask=np.ones((40, 40, 40)))
    return "val.npz: image holds values that are not finite"


def unreadable_volume(root: Path) -> str:
    (root / "test.npz").write_bytes(b"no archive")
    return "test.npz: cannot be read"


def no_volume(root: Path) -> str:
    (root / "val.npz").unlink()
    return "val.npz: no such file"


@pytest.mark.parametrize(
    "damage",
    [
        other_shape,
        flat_volume,
        small_volume,
        no_mask_array,
        not_finite,
        unreadable_volume,
        no_volume,
    ],
)
def test_faulty_volumes_are_named_before_training(
    volumes: Path,
    tmp_path: Path,
    damage: Callable[[Path], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = damage(volumes)
    monkeypatch.setattr("benchmarks.topology.run_command.run_all", None)  # training would raise
    assert str(volumes / expected) in failing(capsys, *run_arguments(volumes, tmp_path / "out"))


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--crop-size", "40", "multiple of 16"),
        ("--connectivity", "6", "4 or 8"),
        ("--classes", "1", "2 or more"),
        ("--features", "8x8", "takes 6"),
        ("--kernel-size", "3x3x3", "or 2 of them"),
        ("--device", "nowhere", "does not work here"),
        ("--configuration", "missing.json", "no configuration"),
    ],
)
def test_wrong_options_are_named(
    images: Path,
    tmp_path: Path,
    option: str,
    value: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = failing(capsys, *run_arguments(images, tmp_path / "out", option, value))
    assert reason in error


@pytest.mark.parametrize(
    ("option", "value"),
    [("--losses", "hinge"), ("--scnp", "maybe"), ("--kernel-size", "4"), ("--seeds", "0")],
)
def test_wrong_words_are_named(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--data", ".", option, value])
    error = capsys.readouterr().err
    assert option in error
    assert value in error


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def overwrite_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = bytes(len(content) // 3)
    file.write_bytes(content)


def hold_something_else(file: Path) -> None:
    """What reads well and is not what it should be."""
    if file.suffix == ".json":
        file.write_text("[1, 2]")
    elif file.suffix == ".csv":
        file.write_text("a,b\n1,2\n")
    elif file.suffix == ".npz":
        np.savez(file, unknown=np.zeros(3))
    else:
        torch.save({"network": {"weights": torch.zeros(3)}}, file)


def remove(file: Path) -> None:
    file.unlink()


Damage = Callable[[Path], None]
DAMAGES: list[Damage] = [cut, empty, overwrite_the_middle, hold_something_else]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named(damage: Damage, images: Path, tmp_path: Path) -> None:
    settings = {**vars(DEFAULTS[2]), "crop": (SIDE, SIDE), "features": (2,) * 6, "iterations": 2}
    configuration = Configuration(**{**settings, "validations": 2})
    data = read_data_set(images, ["test"], configuration.crop)
    checkpoint = tmp_path / "checkpoint.pt"

    def stop_after_the_first(_: int) -> None:
        if checkpoint.exists():
            raise KeyboardInterrupt

    def train(on_iteration: Callable[[int], None]) -> training.Progress:
        loss = losses.penalized(losses.LOSSES["ce"](2, 2), "off", 3)
        cpu = torch.device("cpu")
        return training.train(loss, data, configuration, 0, cpu, checkpoint, on_iteration)

    with pytest.raises(KeyboardInterrupt):
        train(stop_after_the_first)
    assert torch.load(checkpoint, weights_only=True)["iteration"] == 1
    damage(checkpoint)
    with pytest.raises(TrainingError) as error:
        train(lambda _: None)
    assert str(error.value).startswith(f"{checkpoint}: cannot be read (")
    assert "delete it" in str(error.value)
    assert "\n" not in str(error.value)
    checkpoint.unlink()
    assert train(lambda _: None).iteration == 2


RUNS_FILES: list[tuple[str, tuple[str, ...]]] = [
    (SCORES, ("benchmark",)),
    (SCORES, ("summary",)),
    (CURVE, ("convergence",)),
    (PREDICTIONS, ("qualitative", "--data", "made_up")),
    (RUN, ("benchmark",)),
    (RUN, ("run",)),
]


@pytest.mark.parametrize(
    ("name", "reader", "damage"),
    [
        (name, reader, damage)
        for name, reader in RUNS_FILES
        for damage in (*DAMAGES, remove)
        if (name, damage) != (RUN, remove)  # makes the run unfinished, and it is done again
    ],
)
def test_a_damaged_result_is_named(
    name: str,
    reader: tuple[str, ...],
    damage: Damage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made_up_runs(
        tmp_path, {("off", 0): [3.0, 2.0], ("on", 0): [1.0, 2.0]}, crop=[SIDE] * 2
    )
    culprit = folder / "runs" / "ce_dice-on-w3-seed0" / name
    damage(culprit)
    if reader == ("run",):
        error = failing(capsys, *repeated_run(folder, tmp_path))
    else:
        error = failing(capsys, reader[0], tmp_path, *reader[1:])
    assert error.startswith(f"error: {culprit}: ")
    assert f"delete {culprit.parent} and give the same `run` again" in error


def repeated_run(folder: Path, out: Path) -> list[str]:
    """`run` with the settings and the data of made-up runs."""
    data = write_images(out / "data" / folder.name)
    configuration = folder / CONFIGURATION
    return ["run", "--data", str(data), "--out", str(out), "--configuration", str(configuration)]


def test_a_run_with_images_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [3.0, 2.0], ("on", 0): [1.0, 2.0]})
    culprit = folder / "runs" / "ce_dice-off-seed0" / SCORES
    culprit.write_text("\n".join(culprit.read_text().splitlines()[:-1]) + "\n")
    error = failing(capsys, "benchmark", tmp_path)
    assert error.startswith(f"error: {culprit}: lacks test image 1")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_truths_are_named_and_written_anew(
    damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = made_up_runs(tmp_path, {("off", 0): [3.0], ("on", 0): [1.0]}, crop=[SIDE] * 2)
    damage(folder / TRUTH)
    error = failing(capsys, "qualitative", tmp_path, "--data", "made_up")
    assert error.startswith(f"error: {folder / TRUTH}: ")
    assert "delete it and give the same `run` again" in error
    (folder / TRUTH).unlink()
    monkeypatch.setattr("benchmarks.topology.run_command.run_all", lambda *_: [])
    assert main(repeated_run(folder, tmp_path)) == 0
    assert sorted(truths(folder)) == ["test/0", "test/1"]


@pytest.mark.parametrize(
    ("setting", "value", "takes"),
    [
        ("iterations", "300", "a whole number"),
        ("crop", 32, "a list of whole numbers"),
        ("features", [8, "x"], "a list of whole numbers"),
        ("learning_rate", None, "a number"),
        ("tests", ["test", 3], "a list of names of folders"),
        ("measures", ["beauty"], "dice"),
        ("spatial_dimensions", 4, "2 or 3"),
        ("iterations", 0, "1 or more"),
    ],
)
def test_wrong_settings_of_a_configuration_are_named(
    setting: str, value: object, takes: str, images: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"configuration": {**DEFAULTS[2].to_json(), setting: value}}))
    error = failing(capsys, "run", "--data", images, "--out", tmp_path, "--configuration", file)
    assert error.startswith(f"error: {file}: {setting}: got {json.dumps(value)}, takes ")
    assert takes in error


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_configuration_is_named(
    damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_up_runs(tmp_path, {("off", 0): [3.0], ("on", 0): [1.0]})
    damage(folder / CONFIGURATION)
    error = failing(capsys, "benchmark", tmp_path)
    assert error.startswith(f"error: {folder / CONFIGURATION}: is no configuration")
