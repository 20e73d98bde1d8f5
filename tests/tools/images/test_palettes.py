"""The labels of a palette are its indices; an image shows its colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.common.images import (
    DataError,
    read_colour,
    read_labels,
    read_mask,
)
from tests.tools.images.files import LABELS, MASK, Array


def with_palette(colours: list[list[int]], indices: Array = LABELS) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(
        [part for colour in colours for part in colour] + [0] * (768 - 3 * len(colours))
    )
    return picture


VOC = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]


@pytest.mark.parametrize("extension", ["png", "tif", "gif", "bmp"])
def test_the_labels_of_a_palette_are_its_indices(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"labels.{extension}"
    with_palette(VOC).save(file)
    assert np.array_equal(read_labels(file, 3), LABELS)
    assert np.array_equal(read_mask(file), LABELS > 0)


def test_the_colours_of_a_label_are_for_the_eye(tmp_path: Path) -> None:
    with_palette([[120, 120, 120], [180, 120, 120], [6, 230, 230]]).save(tmp_path / "ade.png")
    assert np.array_equal(read_labels(tmp_path / "ade.png", 3), LABELS)
    tifffile.imwrite(
        tmp_path / "deep.tif",
        LABELS.astype(np.uint16),
        photometric="palette",
        colormap=np.random.default_rng(0).integers(300, 65535, (3, 65536)).astype(np.uint16),
    )
    assert np.array_equal(read_labels(tmp_path / "deep.tif", 3), LABELS)


@pytest.mark.parametrize(
    "colours",
    [
        [[0, 0, 100], [255, 0, 0], [0, 255, 0]],
        [[255, 255, 255], [255, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 255, 0]],
    ],
    ids=["blue background", "black foreground", "black class"],
)
def test_a_palette_that_disagrees_on_the_background_is_refused(
    colours: list[list[int]], tmp_path: Path
) -> None:
    with_palette(colours).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: its palette and its numbers disagree"):
        read_mask(tmp_path / "mask.png")


def test_a_palette_that_numbers_its_greys_otherwise_is_refused(tmp_path: Path) -> None:
    for colours in ([[1] * 3, [2] * 3, [0] * 3], [[0] * 3, [2] * 3, [1] * 3]):
        with_palette(colours).save(tmp_path / "labels.png")
        with pytest.raises(DataError, match=r"labels\.png: its palette and its numbers name"):
            read_labels(tmp_path / "labels.png", 3)


def test_a_transparent_entry_is_background(tmp_path: Path) -> None:
    with_palette([[255] * 3, [255, 0, 0]], MASK).save(tmp_path / "mask.png", transparency=0)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), MASK)


def test_an_image_shows_its_colours(tmp_path: Path) -> None:
    with_palette(VOC).save(tmp_path / "image.png")
    image = read_colour(tmp_path / "image.png")
    assert np.array_equal(image, np.array(VOC, np.float32)[LABELS] / np.float32(255))
