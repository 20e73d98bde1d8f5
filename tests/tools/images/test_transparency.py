"""What is transparent in a mask is background."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.common.images import (
    DataError,
    read_bands,
    read_labels,
    read_mask,
)
from tests.tools.images.files import LABELS, MASK, layer, png

ALPHA = MASK * 255


@pytest.mark.parametrize(
    "picture",
    [
        layer([255, 0, 0], [255, 255, 255], ALPHA),
        layer([255, 0, 0], [255, 0, 0], ALPHA),
        layer([255, 0, 0], [255, 0, 0], ALPHA // 2),  # half transparent, to see through it
        Image.fromarray(np.dstack((np.full_like(LABELS, 255), ALPHA.astype(np.uint8)))),
        layer([9, 9, 9], [0, 0, 0], np.full_like(MASK, 255, np.uint8)),
        layer([9, 9, 9], [0, 0, 0], np.full_like(MASK, 90, np.uint8)),
    ],
    ids=["white paper", "one colour", "overlay", "LA", "opaque", "equally transparent"],
)
@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
def test_what_is_transparent_is_background(
    picture: Image.Image, extension: str, tmp_path: Path
) -> None:
    file = tmp_path / f"mask.{extension}"
    if extension == "webp":
        picture.convert("RGBA").save(file, lossless=True, exact=True)
    else:
        picture.save(file)
    assert np.array_equal(read_mask(file), MASK)


def test_an_empty_transparent_layer_is_an_empty_mask(tmp_path: Path) -> None:
    layer([255] * 3, [255] * 3, np.zeros_like(LABELS)).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png").any()


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (layer([0, 0, 0], [0, 0, 0], ALPHA), "black or transparent everywhere"),
        (layer([255, 0, 0], [0, 0, 0], np.zeros_like(LABELS)), "transparent everywhere"),
    ],
)
def test_transparency_that_leaves_nothing_is_refused(
    picture: Image.Image, reason: str, tmp_path: Path
) -> None:
    picture.save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png: is {reason}"):
        read_mask(tmp_path / "mask.png")


def test_one_transparent_colour(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    white_paper = np.where(MASK, 7, 255).astype(np.uint8)
    Image.fromarray(white_paper).save(file, transparency=255)
    assert np.array_equal(read_mask(file), MASK)
    assert np.array_equal(read_labels(file, 8), MASK * 7)
    Image.fromarray(np.repeat(white_paper[..., None], 3, -1)).save(file, transparency=(255,) * 3)
    assert np.array_equal(read_mask(file), MASK)
    png(file, np.where(MASK, 300, 65535)[..., None], 16, key=struct.pack(">H", 65535))
    assert np.array_equal(read_mask(file), MASK)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_grey_of_any_depth(depth: int, tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    paper = 2**depth - 1
    for ink in (1, 2) if depth > 1 else ():
        png(file, np.where(MASK, ink, paper)[..., None], depth, key=struct.pack(">H", paper))
        assert np.array_equal(read_mask(file), MASK)
        assert np.array_equal(read_labels(file, 3), MASK * ink)
    png(file, np.where(MASK, paper, 0)[..., None], depth, key=struct.pack(">H", 0))
    assert np.array_equal(read_mask(file), MASK)
    png(file, np.where(MASK, 0, paper)[..., None], depth, key=struct.pack(">H", paper))
    with pytest.raises(DataError, match=r"mask\.png: is black or transparent everywhere"):
        read_mask(file)


def test_the_fourth_byte_of_a_bitmap_is_alpha_where_it_says_something(tmp_path: Path) -> None:
    file = tmp_path / "mask.bmp"
    for height in (48, 47):
        alpha = ALPHA.astype(np.uint8)[:height]
        white = np.full((height, 64, 3), 255, np.uint8)
        Image.fromarray(np.dstack((white, alpha))).save(file)
        assert np.array_equal(read_mask(file), MASK[:height])
        assert read_bands(file).shape == (height, 64, 3)
        for nothing in (0, 255):  # bytes that most programs leave unset
            drawn = np.dstack((*[alpha] * 3, np.full_like(alpha, nothing)))
            Image.fromarray(drawn).save(file)
            assert np.array_equal(read_mask(file), MASK[:height])


def test_alpha_is_no_band_of_an_image(tmp_path: Path) -> None:
    layer([90, 10, 0], [20, 30, 40], ALPHA).save(tmp_path / "image.png")
    assert read_bands(tmp_path / "image.png").shape == (48, 64, 3)
