"""A mask keeps its shape after a lossy codec, and labels that it blurred are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.measure import label

from benchmarks.common import levels
from benchmarks.common.images import (
    DataError,
    read_labels,
    read_mask,
)
from tests.tools.images.files import LABELS, Array, lossy


def rings(height: int, width: int) -> Array:
    y, x = np.indices((height, width))
    return np.asarray(np.hypot(y - height / 2, x - width / 2) % 16 < 6)


def lines() -> Array:
    """Curved lines of one pixel, and some of three."""
    random = np.random.default_rng(0)
    mask = np.zeros((128, 128), np.bool_)
    for _ in range(6):
        place, angle = random.integers(0, 128, 2).astype(float), random.random() * 6.28
        for _ in range(150):
            y, x = place.astype(int)
            if 0 <= y < 128 and 0 <= x < 128:
                mask[y, x] = True
            angle += random.normal(0, 0.2)
            place += (np.sin(angle), np.cos(angle))
    mask[:, :40] = ndimage.binary_dilation(mask[:, :40])
    return mask


SHAPES = {"bars": np.pad(LABELS > 0, 20), "rings": rings(96, 120), "lines": lines()}
CODECS: list[tuple[str, dict[str, Any]]] = [
    *(("JPEG", {"quality": quality}) for quality in (50, 75, 95)),
    *(("WEBP", {"quality": quality}) for quality in (20, 50, 80, 100)),
    ("AVIF", {"quality": 50}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("codec", "options"), CODECS)
@pytest.mark.parametrize("kept_as", ["own", "png", "tif", "tif of floats"])
def test_a_mask_is_as_thick_after_a_lossy_codec(
    shape: str, codec: str, options: dict[str, Any], kept_as: str, tmp_path: Path
) -> None:
    truth = SHAPES[shape]
    pixels = truth.astype(np.uint8) * 255
    file = tmp_path / f"mask.{'png' if kept_as == 'png' else 'tif'}"
    if kept_as == "own":
        file = tmp_path / f"mask.{codec.lower()}"
        Image.fromarray(pixels).save(file, codec, **options)
    elif kept_as == "tif of floats":
        tifffile.imwrite(file, lossy(pixels, codec, **options).astype(np.float32) / 255)
    else:
        Image.fromarray(lossy(pixels, codec, **options)).save(file)
    mask = read_mask(file)
    assert (mask == truth).mean() > 0.999
    assert label(mask, return_num=True)[1] == label(truth, return_num=True)[1]


def test_the_codecs_do_leave_small_numbers() -> None:
    # Without the half-way threshold the masks above would be other masks.
    for shape in SHAPES.values():
        changed = lossy(shape.astype(np.uint8) * 255, "JPEG", quality=75) > 0
        assert changed.sum() > 1.2 * shape.sum()


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000", "jpegxl"])
def test_lossy_codecs_in_a_tiff(compression: str, tmp_path: Path) -> None:
    file = tmp_path / "mask.tif"
    pixels = SHAPES["rings"].astype(np.uint8) * 255
    level = {"jpeg": 75, "webp": 60, "jpeg2000": 45, "jpegxl": 70}[compression]
    if compression == "webp":
        pixels = np.repeat(pixels[..., None], 3, -1)
    tifffile.imwrite(file, pixels, compression=compression, compressionargs={"level": level})
    assert (read_mask(file) == SHAPES["rings"]).mean() > 0.995
    with pytest.raises(DataError, match=r"mask\.tif: is a .* in TIFF, which changes labels"):
        read_labels(file, 256)


@pytest.mark.parametrize("truth", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_a_smoothly_enlarged_mask_is_not_thickened(
    truth: Array, factor: float, tmp_path: Path
) -> None:
    picture = Image.fromarray(truth.astype(np.uint8) * 255)
    size = (int(picture.width * factor), int(picture.height * factor))
    enlarged = picture.resize(size, Image.Resampling.BILINEAR)
    enlarged.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert abs(mask.mean() / truth.mean() - 1) < 0.3
    assert (np.asarray(enlarged) > 0).mean() > 1.05 * mask.mean()


@pytest.mark.parametrize("levels_", [(128, 255), (100, 200), (85, 170, 255), (200, 255)])
@pytest.mark.parametrize(
    ("codec", "options"), [CODECS[0], CODECS[1], CODECS[2], CODECS[5]], ids=lambda value: str(value)
)
@pytest.mark.parametrize("extension", ["own", "png"])
def test_several_levels_after_a_lossy_codec_are_refused(
    levels_: tuple[int, ...], codec: str, options: dict[str, Any], extension: str, tmp_path: Path
) -> None:
    pixels = np.zeros((120, 160), np.uint8)
    for index, level in enumerate(levels_):
        pixels[10 + 30 * index : 30 + 30 * index, 5:140] = level
    Image.fromarray(pixels).save(tmp_path / "exact.png")
    assert np.array_equal(read_mask(tmp_path / "exact.png"), pixels > 0)
    file = tmp_path / f"mask.{codec.lower() if extension == 'own' else 'png'}"
    if extension == "own":
        Image.fromarray(pixels).save(file, codec, **options)
    else:
        Image.fromarray(lossy(pixels, codec, **options)).save(file)
    with pytest.raises(DataError, match=r"mask\.\w+: holds shades between background"):
        read_mask(file)


@pytest.mark.parametrize("level", [85, 100, 120, 140])
@pytest.mark.parametrize("radius", [3, 8])
@pytest.mark.parametrize(("codec", "options"), [CODECS[1], CODECS[2], CODECS[5]], ids=str)
def test_a_dimmer_object_is_not_lost_without_a_word(
    level: int, radius: int, codec: str, options: dict[str, Any], tmp_path: Path
) -> None:
    y, x = np.indices((256, 256))
    pixels = np.where((np.hypot(y % 80 - 40, x % 80 - 40) < 28) & (x < 160), 255, 0)
    pixels[np.hypot(y - 128, x - 215) <= radius] = level
    file = tmp_path / "mask.png"
    Image.fromarray(lossy(pixels.astype(np.uint8), codec, **options)).save(file)
    with pytest.raises(DataError, match=r"mask\.png: holds shades between background"):
        read_mask(file)


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("value", [1, 2, 20])
def test_a_mask_too_dark_for_its_lossy_codec_is_refused(
    value: int, quality: int, tmp_path: Path
) -> None:
    file = tmp_path / "mask.jpg"
    Image.fromarray(SHAPES["rings"].astype(np.uint8) * value).save(file, quality=quality)
    with pytest.raises(DataError, match=r"mask\.jpg: went through a lossy codec .* up to \d+"):
        read_mask(file)


@pytest.mark.parametrize("codec", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_labels_of_a_lossy_codec_are_refused(codec: str, tmp_path: Path) -> None:
    file = tmp_path / f"labels.{codec.lower()}"
    Image.fromarray(LABELS * 100).save(file, codec)
    with pytest.raises(DataError, match=r"labels\.\w+: is an? .*, which changes labels"):
        read_labels(file, 256)


def test_labels_of_a_png_made_of_a_jpeg_are_refused(tmp_path: Path) -> None:
    for labels in (LABELS * 100, LABELS * 10):
        Image.fromarray(lossy(labels, "JPEG", quality=75)).save(tmp_path / "labels.png")
        with pytest.raises(DataError, match=r"labels\.png: holds labels between those"):
            read_labels(tmp_path / "labels.png", 256)


def test_a_lossless_webp_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(LABELS[..., None], 3, -1))
    picture.save(tmp_path / "labels.webp", lossless=True)
    assert np.array_equal(read_labels(tmp_path / "labels.webp", 3), LABELS)


def exact_masks() -> dict[str, Array]:
    """Masks of many numbers, none of which is a shade."""
    random = np.random.default_rng(1)
    cells = label(rings(96, 120))
    blocks = random.integers(0, 60000, (24, 30)).repeat(4, 0).repeat(4, 1)
    blocks[:8] = 0
    specks = np.where(random.random((100, 100)) < 0.02, random.integers(1, 60000, (100, 100)), 0)
    void = np.where(ndimage.binary_dilation(rings(96, 120)), 255, 0) - 254 * rings(96, 120)
    thin = np.where(lines(), np.where(np.indices((128, 128))[1] < 64, 128, 255), 0)
    return {"cells": cells * 40, "blocks": blocks, "specks": specks, "void": void, "thin": thin}


@pytest.mark.parametrize("name", exact_masks())
def test_instances_and_classes_are_no_shades(name: str, tmp_path: Path) -> None:
    stored = exact_masks()[name]
    tifffile.imwrite(tmp_path / "mask.tif", stored.astype(np.uint16))
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), stored != 0)


def test_labels_of_any_pattern_are_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 5, (48, 64))
    for labels in (random, np.indices((48, 64))[1] % 5, np.indices((48, 64))[1] // 16):
        tifffile.imwrite(tmp_path / "labels.tif", labels)
        assert np.array_equal(read_labels(tmp_path / "labels.tif", 5), labels)


def test_shades_are_told_from_regions_in_volumes() -> None:
    volume = np.zeros((6, 48, 64))
    volume[1:5] = ndimage.zoom(SHAPES["bars"][20:-20, 20:-20].astype(float), 1, order=1)
    blurred = ndimage.uniform_filter(volume, (1, 3, 3))
    mask = levels.foreground(Path("volume"), blurred[..., None])
    assert np.array_equal(mask[2], blurred[2] > 0.5)
    assert mask.sum() < (blurred > 0).sum()
