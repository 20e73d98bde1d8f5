"""Data sets at a lower resolution: means of blocks, majorities of labels, nothing else changed."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common.errors import DataError
from benchmarks.topology import coarsen
from benchmarks.topology.__main__ import main
from benchmarks.topology.coarsen import coarser
from benchmarks.topology.datasets import Sample, read_data_set, read_split
from benchmarks.topology.records import finished_runs
from tests.topology_data import command, failing, run_arguments

RANDOM = np.random.default_rng(0)


def sample(shape: tuple[int, ...], classes: int, channels: int = 2) -> Sample:
    return Sample(
        "one",
        RANDOM.standard_normal((channels, *shape)).astype(np.float32),
        RANDOM.integers(0, classes, shape, dtype=np.uint8),
        (4.0, 1.5, 2.0) if len(shape) == 3 else None,
        "micrometer" if len(shape) == 3 else None,
    )


@pytest.mark.parametrize("shape", [(6, 8), (7, 11), (6, 9, 8), (7, 7, 7)], ids=str)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("classes", [2, 4])
def test_blocks_become_pixels(shape: tuple[int, ...], factor: int, classes: int) -> None:
    fine = sample(shape, classes)
    sides = (factor, *[2] * (len(shape) - 1))
    coarse = coarser(fine, sides)
    assert coarse.truth.dtype == np.uint8
    assert coarse.truth.shape == tuple(side // of for side, of in zip(shape, sides, strict=True))
    for place in product(*map(range, coarse.truth.shape)):
        block = tuple(slice(of * at, of * at + of) for at, of in zip(place, sides, strict=True))
        for channel in range(2):
            mean = fine.image[channel][block].mean(dtype=np.float64)
            assert coarse.image[channel][place] == pytest.approx(mean, abs=1e-6)
        counts = Counter(fine.truth[block].ravel().tolist())
        most = max(counts.values())
        # Of equally many pixels the foreground wins, of its classes the first.
        winner = min((label for label in counts if counts[label] == most), key=lambda n: n or 256)
        assert coarse.truth[place] == winner


def test_voxels_keep_their_place_in_the_world() -> None:
    coarse = coarser(sample((8, 8, 8), 2), (1, 2, 3))
    assert (coarse.spacing, coarse.unit) == ((4.0, 3.0, 6.0), "micrometer")
    assert coarser(sample((8, 8), 2), (2, 2)).spacing is None


def test_a_structure_is_half_as_thick() -> None:
    truth = np.zeros((32, 32), np.uint8)
    truth[8:12] = 1
    coarse = coarser(Sample("bar", truth[None].astype(np.float32), truth), (2, 2))
    assert np.flatnonzero(coarse.truth[:, 3]).tolist() == [4, 5]


def test_what_became_of_the_truth_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((1, 30, 30), np.uint8)
    mask[0, 2:6, 3:27] = 1
    mask[0, 7:11, 3:27] = 1  # behind a gap of one pixel, which closes
    (tmp_path / "fine").mkdir()
    for split in ("train", "val", "test"):
        np.savez(tmp_path / "fine" / f"{split}.npz", images=mask, masks=mask)
    command("coarsen", tmp_path / "fine", tmp_path / "coarse")
    said = capsys.readouterr().out
    assert "train: 21.3 % foreground in 2.0 pieces before, " in said
    assert " foreground in 1.0 pieces after" in said


def written_images(folder: Path, counts: dict[str, int]) -> None:
    """A stack of images per split, of three channels."""
    for split, count in counts.items():
        folder.mkdir(exist_ok=True)
        np.savez(
            folder / f"{split}.npz",
            images=RANDOM.integers(0, 256, (count, 64, 66, 3), dtype=np.uint8),
            masks=RANDOM.integers(0, 3, (count, 64, 66), dtype=np.uint8),
            ids=[f"{split} {number}" for number in range(count)],
        )


def test_what_is_written_is_read_and_trained_on(tmp_path: Path) -> None:
    written_images(tmp_path / "fine", {"train": 2, "val": 1, "test": 1, "test_far": 1})
    splits = ("--tests", "test,test_far", "--classes", 3)
    command("coarsen", tmp_path / "fine", tmp_path / "coarse", *splits)
    for split in ("train", "val", "test", "test_far"):
        fine, coarse = (
            read_split(tmp_path / name, split, classes=3) for name in ("fine", "coarse")
        )
        assert [one.name for one in coarse] == [one.name for one in fine]
        for one, other in zip(fine, coarse, strict=True):
            expected = coarser(one, (2, 2))
            assert np.array_equal(other.truth, expected.truth)
            spread = expected.image.std((1, 2), keepdims=True)
            centred = expected.image - expected.image.mean((1, 2), keepdims=True)
            np.testing.assert_allclose(other.image, centred / spread, atol=1e-4)
    options = ("--scnp", "off", "--seeds", 1, "--iterations", 1, "--classes", 3)
    command(*run_arguments(tmp_path / "coarse", tmp_path / "out", *options))
    assert len(finished_runs(tmp_path / "out" / "coarse")) == 1
    text = (tmp_path / "coarse" / "README.md").read_text()
    assert "2 x 2" in text
    assert "fine" in text


def test_volumes_are_written_with_their_spacing(tmp_path: Path) -> None:
    command("vessels", tmp_path / "fine", "--shape", "32x40x36", "--counts", "1,1,1")
    command("coarsen", tmp_path / "fine", tmp_path / "coarse")
    data = read_data_set(tmp_path / "coarse", ["test"], (16, 16, 16))
    assert data.train[0].truth.shape == (16, 20, 18)
    assert data.train[0].spacing == (2.0, 2.0, 2.0)


def test_thick_slices_keep_their_thickness(tmp_path: Path) -> None:
    command("vessels", tmp_path / "fine", "--shape", "32x40x36", "--counts", "1,1,1")
    command("coarsen", tmp_path / "fine", tmp_path / "coarse", "--factor", "1x2x2")
    (train,) = read_split(tmp_path / "coarse", "train")
    assert train.truth.shape == (32, 20, 18)
    assert train.spacing == (1.0, 2.0, 2.0)
    assert "each block of 1 x 2 x 2 pixels" in (tmp_path / "coarse" / "README.md").read_text()


def test_a_number_that_is_no_label_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written_images(tmp_path / "fine", {"train": 1, "val": 1, "test": 1})
    mask = np.zeros((1, 64, 66), np.uint8)
    mask[0, 8:40] = 1
    mask[0, 50:60, :40] = 255  # a stray number: with three classes it is none
    np.savez(tmp_path / "fine" / "val.npz", images=mask, masks=mask)
    refused = failing(capsys, "coarsen", tmp_path / "fine", tmp_path / "new", "--classes", 3)
    assert "255" in refused
    assert "val" in refused
    assert not (tmp_path / "new").exists()


def test_what_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written_images(tmp_path / "fine", {"train": 1, "val": 1, "test": 1})
    full = tmp_path / "full"
    full.mkdir()
    (full / "photo.jpg").write_text("")
    assert "holds photo.jpg; takes a new or empty folder" in failing(
        capsys, "coarsen", tmp_path / "fine", full
    )
    new = tmp_path / "new"
    with pytest.raises(SystemExit):
        main(["coarsen", "fine", "new", "--factor", "2x"])
    assert "--factor: got '2x', takes whole numbers of at least 1" in capsys.readouterr().err
    for factor in ("1", "1x1", "2x2x2"):
        words = f"--factor: got {factor}, takes a number of 2 or more, or 2 joined by x"
        assert words in failing(capsys, "coarsen", tmp_path / "fine", new, "--factor", factor)
    assert "--factor: got 65, but" in failing(
        capsys, "coarsen", tmp_path / "fine", new, "--factor", 65
    )
    assert "no such folder" in failing(capsys, "coarsen", tmp_path / "none", new)
    assert not new.exists()


def test_masks_that_would_not_be_read_again_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(path: Path, split: str, **options: object) -> list[Sample]:
        if path != tmp_path / "fine" and split == "val":
            raise DataError("/gone/0000.npz: looks like a lossy image")
        return read_split(path, split, **options)  # type: ignore[arg-type]

    written_images(tmp_path / "fine", {"train": 1, "val": 1, "test": 1})
    monkeypatch.setattr(coarsen, "read_split", read)
    assert (
        "--factor: got 2, after which the masks of val cannot be used (looks like a lossy image); "
        "takes smaller blocks, such as 1x2 instead of 2"
    ) in failing(capsys, "coarsen", tmp_path / "fine", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fine"]


def test_structures_that_vanish_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((1, 66, 66), np.uint8)
    mask[0, ::9, ::9] = 1
    (tmp_path / "fine").mkdir()
    for split in ("train", "val", "test"):
        np.savez(tmp_path / "fine" / f"{split}.npz", images=mask, masks=mask)
    said = failing(capsys, "coarsen", tmp_path / "fine", tmp_path / "new", "--factor", 3)
    assert (
        "--factor: got 3, after which the masks of train cannot be used (no mask has a foreground"
    ) in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("split", ["a/b", "..", "/tmp"])
def test_a_split_is_a_folder_of_the_data_set(
    split: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ("coarsen", "fine", "coarse", "--tests"),
        ("run", "--data", "fine", "--tests"),
        ("thickness", "fine", "--split"),
    ):
        with pytest.raises(SystemExit):
            main([*arguments, split])
        words = f"{arguments[-1]}: got '{split}', takes names of folders in the data set's"
        assert words in capsys.readouterr().err


def test_a_data_set_is_never_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fine = tmp_path / "fine"
    written_images(fine, {"train": 1, "val": 1, "test": 1})
    before = {file.name: file.read_bytes() for file in fine.iterdir()}
    refused = failing(capsys, "coarsen", fine, fine)
    assert "takes a new or empty folder" in refused
    assert {file.name: file.read_bytes() for file in fine.iterdir()} == before
    command("coarsen", fine, tmp_path / "coarse")
    assert "holds " in failing(capsys, "coarsen", fine, tmp_path / "coarse")


def test_a_fault_half_way_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written_images(tmp_path / "fine", {"train": 1, "val": 1})
    assert "fine/test/images: no such" in failing(
        capsys, "coarsen", tmp_path / "fine", tmp_path / "coarse"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["fine"]
    command("coarsen", tmp_path / "fine", tmp_path / "coarse", "--tests", "val")
    assert sorted(file.name for file in (tmp_path / "coarse").glob("*/*")) == ["0000.npz"] * 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["coarse", "fine"]


def test_an_empty_folder_is_filled_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may stand in it, or have mounted it."""
    written_images(tmp_path / "fine", {"train": 1, "val": 1, "test": 1})
    empty = tmp_path / "empty"
    empty.mkdir()
    before = empty.stat().st_ino
    monkeypatch.chdir(empty)
    command("coarsen", tmp_path / "fine", ".")
    assert empty.stat().st_ino == before
    assert sorted(file.name for file in Path().iterdir()) == ["README.md", "test", "train", "val"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "fine"]
