"""The generated vessel trees: reproducible, in one piece, of Murray's radii, and trainable."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, label

from benchmarks.topology import vessels
from benchmarks.topology.__main__ import main
from benchmarks.topology.datasets import is_volumetric, read_data_set
from benchmarks.topology.records import finished_runs
from tests.topology_data import command, failing, run_arguments

SHAPE = (32, 40, 36)
T = TypeVar("T")


def pairs(things: Sequence[T]) -> list[tuple[T, T]]:
    """The first and the second, the third and the fourth, and so on."""
    return list(zip(things[::2], things[1::2], strict=True))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_a_seed_always_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        options = ("--seed", seed, "--shape", "32x40x36", "--counts", "2,1,1")
        command("vessels", tmp_path / name, *options)
    one, again, other = (digests(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert sorted(one) == sorted(other)
    assert len(one) == 5
    assert not set(one.values()) & set(other.values())
    assert len(set(one.values())) == 5  # no volume is another's copy


@pytest.mark.parametrize("seed", range(12))
def test_radii_follow_murrays_law_at_forks(seed: int) -> None:
    grown = vessels.tree(np.random.default_rng(seed), vessels.SHAPE, seed % 6)
    branches: dict[int, list[float]] = defaultdict(list)
    for vessel in grown:
        if vessel.parent is not None:
            branches[vessel.parent].append(vessel.radius)
            assert np.array_equal(vessel.axis[0], grown[vessel.parent].axis[-1])
    whole = [number for number, radii in branches.items() if len(radii) == 2]
    assert whole
    for number in whole:
        cubes = sum(radius**3 for radius in branches[number])
        assert cubes == pytest.approx(grown[number].radius ** 3)
    for number in set(branches) - set(whole):  # the other one was too thin to be grown
        (radius,) = branches[number]
        assert 0 < grown[number].radius ** 3 - radius**3 < vessels.THINNEST**3
    assert min(vessel.radius for vessel in grown) >= vessels.THINNEST
    assert sum(vessel.parent is None for vessel in grown) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_tree_is_one_piece_inside_the_volume(seed: int) -> None:
    random = np.random.default_rng(seed)
    grown = vessels.tree(random, SHAPE, seed)
    brightness, truth = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.bool_)
    for vessel in grown:
        assert (vessel.axis >= 0).all()
        assert (vessel.axis <= np.array(SHAPE) - 1).all()
        vessels._draw(vessel, np.ones(len(vessel.axis)), brightness, truth)
    assert label(truth, np.ones((3, 3, 3)))[1] == 1
    assert (brightness[truth] > 0).all()
    axis, far = divmod(seed, 2)
    assert np.take(truth, -1 if far else 0, axis).any()  # it enters through its face


@pytest.mark.parametrize("seed", range(4))
def test_a_scan_is_dim_in_gaps_and_noisy(seed: int) -> None:
    image, truth = vessels.volume((seed,), vessels.Recipe(vessels.SHAPE))
    assert image.dtype == np.uint8
    assert label(truth, np.ones((3, 3, 3)))[1] <= 2
    assert 0.01 < truth.mean() < 0.12
    inside, outside = image[truth].astype(float), image[~truth].astype(float)
    assert outside.std() < inside.mean() - outside.mean() < 4 * outside.std()
    assert (inside < outside.mean()).mean() > 0.01  # some vessels cannot be seen
    assert (image == 255).mean() < 0.02
    vessel = max(
        vessels.tree(np.random.default_rng(seed), vessels.SHAPE, 0), key=lambda v: len(v.axis)
    )
    random = np.random.default_rng(0)
    contrasts = [vessels._contrast(random, vessel) for _ in range(50)]
    assert max(map(np.max, contrasts)) <= 1
    least = min(map(np.min, contrasts))
    assert least < 0.75 * max(map(np.max, contrasts))


@pytest.mark.parametrize("shape", [(96, 104), (32, 40, 36)])
def test_even_vessels_are_the_same_ones_without_gaps_and_spots(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(_random: object, brightness: vessels.Volume, spots: int) -> vessels.Volume:
        drawn.append((brightness, spots))
        return brightness

    drawn: list[tuple[vessels.Volume, int]] = []
    monkeypatch.setattr(vessels, "_scan", keep)
    for seed in range(8):
        _, truth = vessels.volume((seed,), vessels.Recipe(shape))
        _, same_truth = vessels.volume((seed,), vessels.Recipe(shape, even=True))
        assert np.array_equal(truth, same_truth)
        (uneven, spots), (even, no_spots) = drawn[-2:]
        assert spots == truth.size // vessels.SPOTS
        assert no_spots == 0
        random = np.random.default_rng((seed,))
        for face in random.permutation(2 * len(shape))[:2]:
            for vessel in vessels.tree(random, shape, int(face)):
                places = tuple(np.rint(vessel.axis).astype(int).T)
                assert (even[places] > 0.99 if vessel.radius > 1.4 else even[places] > 0.5).all()
        assert uneven[truth].mean() < 0.95 * even[truth].mean()
    thick_parts = [(even > 0.99) & (uneven < 0.5) for (uneven, _), (even, _) in pairs(drawn)]
    assert max(part.sum() for part in thick_parts) > 5  # gaps


@pytest.mark.parametrize("shape", [(96, 104), (32, 40, 36)])
def test_a_scale_of_two_draws_the_same_trees_twice_as_thick(shape: tuple[int, ...]) -> None:
    for seed in range(4):
        once = vessels.volume((seed,), vessels.Recipe(shape, even=True))[1]
        twice = vessels.volume((seed,), vessels.Recipe(shape, 2, even=True))[1]
        assert twice.shape == shape
        middle = tuple(slice(side // 4, side - side // 4) for side in shape)
        reduced = twice
        for axis in range(len(shape)):  # a block of two voxels each way, as one
            reduced = reduced.reshape(
                *reduced.shape[:axis], reduced.shape[axis] // 2, 2, *reduced.shape[axis + 1 :]
            ).max(axis + 1)
        agreement = (reduced & once[middle]).sum() / once[middle].sum()
        assert agreement > 0.95
        thickness = distance_transform_edt(twice).max() / distance_transform_edt(once[middle]).max()
        assert 1.3 < thickness < 2.7


def test_images_are_written_as_the_benchmark_reads_them(tmp_path: Path) -> None:
    command("vessels", tmp_path / "trees", "--shape", "96x112", "--counts", "2,1,2", "--even")
    assert not is_volumetric(tmp_path / "trees")
    data = read_data_set(tmp_path / "trees", ["test"], (32, 32))
    assert [len(samples) for samples in data.splits.values()] == [2, 1, 2]
    assert data.train[0].truth.shape == (96, 112)
    assert [sample.name for sample in data.splits["test"]] == ["test_00", "test_01"]
    text = (tmp_path / "trees" / "README.md").read_text()
    assert "2 train, 1 val, 2 test, each of 96 x 112 pixels" in text
    assert "No gaps." in text
    assert "bright spots" not in text
    assert "enclose holes" in text
    assert "voxel" not in text


def test_the_benchmark_reads_and_trains_them(tmp_path: Path) -> None:
    command("vessels", tmp_path / "trees", "--shape", "32x40x36", "--counts", "2,1,2")
    assert is_volumetric(tmp_path / "trees")
    data = read_data_set(tmp_path / "trees", ["test"], (32, 32, 32))
    assert [len(samples) for samples in data.splits.values()] == [2, 1, 2]
    assert data.train[0].spacing == (1.0, 1.0, 1.0)
    assert data.train[0].truth.shape == SHAPE
    options = ("--scnp", "off", "--seeds", 1, "--iterations", 1)
    command(*run_arguments(tmp_path / "trees", tmp_path / "out", *options))
    assert len(finished_runs(tmp_path / "out" / "trees")) == 1
    text = (tmp_path / "trees" / "README.md").read_text()
    assert "2 train, 1 val, 2 test, each of 32 x 40 x 36 voxels" in text
    assert "{" not in text.replace("{train,val,test}", "")


@pytest.mark.parametrize("scale", ["0.5", "5", "thick"])
def test_a_scale_is_a_number_from_1_to_4(scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vessels", "trees", "--scale", scale])
    assert f"--scale: got '{scale}', takes a number from 1 to 4" in capsys.readouterr().err


def test_a_seed_is_no_negative_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["vessels", "trees", "--seed", "-1"])
    assert "--seed: got '-1', takes a whole number of at least 0" in capsys.readouterr().err


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photo.jpg").write_text("")
    assert "holds photo.jpg; takes a new or empty folder" in failing(capsys, "vessels", tmp_path)
    for shape in ("16x64x64", "64x64", "128"):
        words = f"--shape: got {shape}, takes three sides of 32 voxels or more"
        assert words in failing(capsys, "vessels", tmp_path / "new", "--shape", shape)
    full = ("--shape", "32x32x32", "--scale", 4, "--counts", "2,1,1", "--seed", 0)
    words = "--scale: got 4 with a --shape of 32x32x32, of which vessels would fill"
    assert words in failing(capsys, "vessels", tmp_path / "new", *full)
    assert not (tmp_path / "new").exists()
    (tmp_path / "photo.jpg").unlink()
    (tmp_path / "train" / "images").mkdir(parents=True)  # somebody's data set
    assert "holds train; takes a new or empty folder" in failing(capsys, "vessels", tmp_path)
    (tmp_path / "file").write_text("")
    assert "file: is a file" in failing(capsys, "vessels", tmp_path / "file")
