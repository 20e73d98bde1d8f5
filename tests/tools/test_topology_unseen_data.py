"""Data that nobody here has seen: every usual kind of file, any size, any damage."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from benchmarks.common.images import DataError, read_labels, read_mask
from benchmarks.topology.datasets import read_split
from benchmarks.topology.records import configuration_of, finished_runs, truths
from tests.topology_data import command, failing, save, write_volumes

FEATURES = ("--features", "2x2x2x2x2x2", "--one-process", "--seeds", 1, "--scnp", "on")
Pixels = npt.NDArray[np.float64]


def rings(height: int, width: int) -> Pixels:
    """Bright rings on dark ground, between 0 and 1, thick enough to survive a JPEG."""
    y, x = np.indices((height, width))
    rings: Pixels = (np.hypot(y - height / 2, x - width / 2) % 16 < 6).astype(np.float64)
    return rings


def write(file: Path, pixels: Pixels, mode: str) -> None:
    """An image of values between 0 and 1 as a file of this kind."""
    file.parent.mkdir(parents=True, exist_ok=True)
    grey = Image.fromarray((pixels * 255).astype(np.uint8))
    if mode == "I;16":
        Image.fromarray((pixels * 40000).astype(np.uint16)).save(file)
    elif mode == "F":
        Image.fromarray(pixels.astype(np.float32)).save(file)
    else:
        grey.convert(mode).save(file)


# Of images: the file's extension, how it stores pixels, and the size.
KINDS = [
    ("jpg", "RGB", (70, 101)),
    ("png", "L", (97, 64)),
    ("png", "I;16", (33, 250)),
    ("tif", "I;16", (51, 53)),
    ("tif", "F", (64, 64)),
    ("png", "RGBA", (49, 81)),
    ("png", "P", (60, 47)),
    ("bmp", "RGB", (40, 40)),
]


def write_all_kinds(root: Path) -> Path:
    for split in ("train", "val", "test"):
        for index, (extension, mode, (height, width)) in enumerate(KINDS):
            truth = rings(height, width)
            noise = np.random.default_rng(index).random(truth.shape)
            image = root / split / "images" / f"{index}.{extension}"
            write(image, 0.7 * truth + 0.3 * noise, mode)
            extension, mode = (("png", "1"), ("jpg", "L"), ("tif", "L"), ("jpg", "RGB"))[index % 4]
            write(root / split / "masks" / f"{index}.{extension}", truth, mode)
    return root


def test_every_kind_of_image_and_any_size_trains_without_an_option(tmp_path: Path) -> None:
    data = write_all_kinds(tmp_path / "unseen")
    arguments = ("run", "--data", data, "--out", tmp_path, *FEATURES, "--iterations", 2)
    command(*arguments)
    command(*arguments)  # the crops that were found to fit are the same settings again
    folder = tmp_path / "unseen"
    # The smallest training images are 33 pixels high and 40 wide.
    assert configuration_of(folder).crop == (32, 32)
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as text:
        assert [row["image"] for row in csv.DictReader(text)] == [str(i) for i in range(len(KINDS))]
    (record,) = finished_runs(folder)
    for index, (_, _, size) in enumerate(KINDS):
        truth = truths(folder)[f"test/{index}"]
        assert record.predictions({})[f"test/{index}"].shape == truth.shape == size
        assert (truth == rings(*size)).mean() > 0.99
    for report in ("benchmark", "convergence", "summary"):
        command(report, tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("quality", [40, 75, 95])
def test_a_mask_in_jpeg_is_as_thick_as_it_was(quality: int, mode: str, tmp_path: Path) -> None:
    # Compression leaves small numbers beside every border: they are no foreground.
    truth = rings(61, 83)
    file = tmp_path / "mask.jpg"
    Image.fromarray((truth * 255).astype(np.uint8)).convert(mode).save(file, quality=quality)
    assert np.count_nonzero(np.asarray(Image.open(file).convert("L"))) > 1.1 * truth.sum()
    assert (read_mask(file) == truth).mean() > 0.995


def test_an_empty_mask_in_jpeg_stays_empty(tmp_path: Path) -> None:
    save(tmp_path / "mask.jpg", np.zeros((20, 20)))
    assert not read_mask(tmp_path / "mask.jpg").any()


def test_labels_in_jpeg_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "mask.jpg", np.zeros((20, 20)))
    with pytest.raises(DataError, match=r"mask\.jpg: is a JPEG, which changes labels"):
        read_labels(tmp_path / "mask.jpg", classes=3)


@pytest.mark.parametrize("extension", ["tif", "gif"])
def test_files_of_several_images_are_refused(extension: str, tmp_path: Path) -> None:
    # Reading the first alone would train on a part of the data, and say nothing.
    for folder in ("images", "masks"):
        save(tmp_path / "val" / folder / "0.png", rings(20, 20) * 255)
    file = tmp_path / "val" / "images" / f"1.{extension}"
    pages = [Image.fromarray((rings(20, 20) * 255).astype(np.uint8) // n) for n in (1, 2, 3)]
    pages[0].save(file, save_all=True, append_images=pages[1:])
    save(tmp_path / "val" / "masks" / "1.png", rings(20, 20) * 255)
    fault = fault_of(tmp_path)
    assert fault is not None
    assert fault.startswith(f"{file}: holds 3 images, takes one")


def test_thin_volumes_train_without_an_option(tmp_path: Path) -> None:
    data = tmp_path / "thin"
    for number, split in enumerate(("train", "val", "test")):
        random = np.random.default_rng(number)
        mask = random.random((19, 45, 38 + number)) < 0.5
        (data / split).mkdir(parents=True)
        np.savez(data / split / "volume.npz", image=mask + random.random(mask.shape), mask=mask)
    command("run", "--data", data, "--out", tmp_path, *FEATURES, "--iterations", 1)
    assert configuration_of(tmp_path / "thin").crop == (16, 32, 32)


@pytest.mark.parametrize(
    ("sides", "crop"),
    [
        ((35, 50, 31), (32, 32, 32)),  # one slice is missing: half the crop would be a pity
        ((24, 40, 36), (32, 32, 32)),
        ((23, 40, 36), (16, 32, 32)),
        ((5, 24, 90), (16, 32, 32)),
    ],
)
def test_volumes_that_lack_a_few_slices_are_padded(
    sides: tuple[int, ...],
    crop: tuple[int, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "small"
    for split in ("train", "val", "test"):
        (data / split).mkdir(parents=True)
        for name, shape in (("a", sides), ("b", (40, 50, 45))):
            mask = np.random.default_rng(0).random(shape) < 0.5
            np.savez(data / split / f"{name}.npz", image=mask.astype(np.float32), mask=mask)
    command("run", "--data", data, "--out", tmp_path, *FEATURES, "--iterations", 1)
    assert configuration_of(tmp_path / "small").crop == crop
    said = capfd.readouterr().err
    padded = any(own < side for own, side in zip(sides, crop, strict=True))
    assert ("1 of 2 training volumes are smaller than the crops" in said) == padded
    # The same crop, given, is taken; another out of reach is refused with one that fits.
    given = "x".join(map(str, crop))
    more = (*FEATURES, "--iterations", 1, "--crop-size")
    command("run", "--data", data, "--out", tmp_path / "again", *more, given)
    error = failing(capfd, "run", "--data", data, "--out", tmp_path / "large", *more, 64)
    fitting = (np.maximum(16, (np.array(sides) + 8) // 16 * 16)).tolist()
    assert f"--crop-size {'x'.join(str(min(64, side)) for side in fitting)} fits" in error


def test_the_crops_given_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_all_kinds(tmp_path / "unseen")
    error = failing(capsys, "run", "--data", data, "--out", tmp_path, "--crop-size", 64)
    assert f"{data / 'train' / 'images' / '2.png'}: has the size 33 x 250" in error
    assert "--crop-size" in error


def test_images_too_small_for_the_network_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_all_kinds(tmp_path / "unseen")
    for folder in ("images", "masks"):
        save(data / "train" / folder / "8.png", np.ones((15, 90)))
    error = failing(capsys, "run", "--data", data, "--out", tmp_path)
    assert f"{data / 'train' / 'images' / '8.png'}: has the size 15 x 90" in error
    assert "16" in error


def test_one_value_per_channel_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Batch normalisation cannot train on it.
    data = write_all_kinds(tmp_path / "unseen")
    options = ("--crop-size", 16, "--batch-size", 1)
    error = failing(capsys, "run", "--data", data, "--out", tmp_path, *options)
    assert "--crop-size: got 16x16" in error
    assert "--batch-size 1" in error


def damaged_at(content: bytes, place: int) -> bytes:
    return content[:place] + bytes(byte ^ 0x5A for byte in content[place : place + 40]) + content[
        place + 40 :
    ]  # fmt: skip


def fault_of(data: Path) -> str | None:
    """What is said about the validation split, if anything."""
    try:
        read_split(data, "val")
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("compressed", [True, False])
def test_any_damage_to_a_volume_is_told_by_its_file(compressed: bool, tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "plates")
    file = data / "val.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    read_split(data, "val")
    whole = file.read_bytes()
    refused = 0
    for place in np.linspace(0, len(whole) - 40, 60).astype(int):
        file.write_bytes(damaged_at(whole, place))
        fault = fault_of(data)
        assert fault is None or fault.startswith(f"{file}: ")
        refused += fault is not None
    assert refused > 50  # some bytes of an archive mean nothing


def test_an_array_that_is_no_archive_is_told_by_its_file(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "plates")
    with (data / "val.npz").open("wb") as file:
        np.save(file, np.ones((40, 40, 40)))
    with pytest.raises(DataError, match=r"val\.npz: cannot be read as an npz file"):
        read_split(data, "val")


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged files
@pytest.mark.parametrize("extension", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_any_damage_to_an_image_is_told_by_its_file(extension: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        save(tmp_path / "val" / folder / f"0.{extension}", rings(50, 50) * 255)
    for folder in ("images", "masks"):
        file = tmp_path / "val" / folder / f"0.{extension}"
        whole = file.read_bytes()
        for place in np.linspace(0, max(0, len(whole) - 40), 60).astype(int):
            file.write_bytes(damaged_at(whole, place))
            fault = fault_of(tmp_path)  # some damage gives other pixels, which nobody can see
            assert fault is None or str(file) in fault
        file.write_bytes(whole)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("Image_01L.jpg", "Image_01L_1stHO.png"),
        ("im0001.ppm", "im0001.ah.ppm"),
        ("21_training.tif", "21_manual1.gif"),
        ("sample_SEM.png", "sample_SEM_seg-axonmyelin-manual.png"),
        ("case_0000.nii.gz", "case.nii.gz"),
    ],
)
def test_names_of_public_data_sets_that_differ_are_told_side_by_side(
    image: str, mask: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, name in (("images", image), ("masks", mask)):
        file = tmp_path / "data" / "train" / folder / name
        file.parent.mkdir(parents=True)
        file.touch()
        (file.parent / "z.png").touch()
    error = failing(capsys, "run", "--data", tmp_path / "data", "--out", tmp_path)
    assert f"{tmp_path / 'data' / 'train' / 'images' / image}: has no mask; expected " in error
    assert f"{mask}, if it is its mask, needs the image's name" in error


def test_a_name_without_any_like_it_has_no_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "data" / "train" / "images" / "8.png", np.ones((40, 40)))
    save(tmp_path / "data" / "train" / "masks" / "other.png", np.ones((40, 40)))
    error = failing(capsys, "run", "--data", tmp_path / "data", "--out", tmp_path)
    assert error.endswith(f"{tmp_path / 'data' / 'train' / 'masks' / '8'}.*")
