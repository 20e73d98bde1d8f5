"""What a number in an image file means: its dtype, its depth, its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import io as skimage_io

from benchmarks.common.images import (
    DataError,
    read_bands,
    read_colour,
    read_labels,
    read_mask,
)
from tests.tools.images.files import LABELS, MASK, Array, png


@pytest.mark.filterwarnings("ignore:.*is a boolean image")
@pytest.mark.parametrize("write", [tifffile.imwrite, skimage_io.imsave])
def test_a_boolean_array_is_read_as_it_was_written(
    write: Callable[..., None], tmp_path: Path
) -> None:
    write(tmp_path / "mask.tif", MASK)
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), MASK)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("value", [1, 200])
def test_white_is_zero_is_how_to_show_it(dtype: str, value: int, tmp_path: Path) -> None:
    file = tmp_path / "mask.tif"
    tifffile.imwrite(file, (MASK * value).astype(dtype), photometric="miniswhite")
    assert np.array_equal(read_mask(file), MASK)
    assert np.array_equal(read_labels(file, 201), MASK * value)
    assert read_colour(file)[MASK].min() > read_colour(file)[~MASK].max()


@pytest.mark.parametrize(
    "dtype", ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_of_number_in_a_tiff(
    dtype: str, order: Literal["<", ">"], tmp_path: Path
) -> None:
    file = tmp_path / "mask.tif"
    stored = LABELS > 0 if dtype == "bool" else LABELS.astype(order + dtype)
    tifffile.imwrite(file, stored, byteorder=order)
    assert np.array_equal(read_mask(file), LABELS > 0)
    assert np.array_equal(read_labels(file, 3), stored)
    assert read_bands(file).shape == (48, 64, 3)
    assert np.array_equal(read_bands(file)[..., 0] > 0, LABELS > 0)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "lzma"])
def test_compressed_tiffs(compression: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.tif"
    tifffile.imwrite(file, LABELS, compression=compression, tile=(16, 16))
    assert np.array_equal(read_labels(file, 3), LABELS)


def test_numbers_that_32_bits_cannot_hold_are_told_apart(tmp_path: Path) -> None:
    stored = np.where(MASK, 2**40 + 1, 0)
    tifffile.imwrite(tmp_path / "mask.tif", stored)
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), MASK)
    tifffile.imwrite(tmp_path / "image.tif", np.where(MASK, 1e300, -1e300))
    assert set(np.unique(read_colour(tmp_path / "image.tif"))) == {0.0, 1.0}


def test_grey_of_two_bits_is_not_stretched(tmp_path: Path) -> None:
    for depth in (1, 2, 4, 8):
        file = tmp_path / f"{depth}.png"
        stored = LABELS if depth > 1 else MASK.astype(np.uint8)
        png(file, stored[..., None], depth)
        assert np.array_equal(read_labels(file, 3), stored)
        assert read_colour(file).max() == np.float32(stored.max() / (2**depth - 1))


def test_a_grey_map_whose_maximum_is_small_is_refused_where_it_would_be_stretched(
    tmp_path: Path,
) -> None:
    (tmp_path / "labels.pgm").write_bytes(b"P5 64 48 2\n" + LABELS.tobytes())
    with pytest.raises(DataError, match=r"labels\.pgm: has the largest value 2"):
        read_labels(tmp_path / "labels.pgm", 3)
    (tmp_path / "labels.pgm").write_bytes(b"P5 64 48 255\n" + LABELS.tobytes())
    assert np.array_equal(read_labels(tmp_path / "labels.pgm", 3), LABELS)


def write_deep(file: Path, kind: str, grey: Array) -> None:
    """16 bits per sample in a kind of file that Pillow cuts to 8."""
    colour = np.repeat(grey.astype(np.uint16)[..., None], 3, axis=2)
    opaque = np.full((*grey.shape, 1), 65535, np.uint16)
    if kind == "png":
        png(file, colour, 16)
    elif kind == "png alpha":
        png(file, np.concatenate((colour, opaque), -1), 16)
    elif kind == "png grey alpha":
        png(file, np.concatenate((colour[..., :1], opaque), -1), 16)
    elif kind == "tif":
        tifffile.imwrite(file, colour, photometric="rgb")
    elif kind == "tif planar":
        planes = np.moveaxis(colour, -1, 0)
        tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate")
    elif kind == "tif alpha":
        both = np.concatenate((colour, opaque), -1)
        tifffile.imwrite(file, both, photometric="rgb", extrasamples=["unassalpha"])
    elif kind == "tif grey alpha":
        both = np.concatenate((colour[..., :1], opaque), -1)
        tifffile.imwrite(
            file, both, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
        )
    elif kind == "jp2":
        file.write_bytes(imagecodecs.jpeg2k_encode(colour, level=0, reversible=True))


DEEP = ["png", "png alpha", "png grey alpha", "tif", "tif planar", "tif alpha", "tif grey alpha"]


@pytest.mark.parametrize("kind", [*DEEP, "jp2"])
def test_sixteen_bits_per_colour_keep_their_depth(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"deep.{kind.split()[0]}"
    for value in (1, 255, 65535):
        write_deep(file, kind, MASK * value)
        assert np.array_equal(read_mask(file), MASK)
    ramp = np.indices((48, 64))[1] * 60 + 7  # 12 bits
    write_deep(file, kind, ramp)
    image = read_colour(file)
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(image[..., 1], ramp / ramp.max(), rtol=1e-6)


def test_sixteen_bits_of_labels(tmp_path: Path) -> None:
    for kind in DEEP:
        file = tmp_path / f"deep.{kind.split()[0]}"
        write_deep(file, kind, LABELS)
        assert np.array_equal(read_labels(file, 3), LABELS)


def test_depth_that_a_format_loses_is_refused(tmp_path: Path) -> None:
    content = b"P6 64 48 65535\n" + np.repeat(LABELS[..., None], 3, -1).astype(">u2").tobytes()
    (tmp_path / "mask.ppm").write_bytes(content)
    with pytest.raises(DataError, match=r"mask\.ppm: has the largest value 65535"):
        read_mask(tmp_path / "mask.ppm")


@pytest.mark.filterwarnings("error")
def test_an_image_larger_than_pillows_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # 3072 pixels are six times as many
    for extension in ("png", "tif", "jpg"):
        file = tmp_path / f"mask.{extension}"
        Image.fromarray(MASK.astype(np.uint8) * 255).save(file)
        assert np.array_equal(read_mask(file), MASK)
        assert read_colour(file).shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 500
