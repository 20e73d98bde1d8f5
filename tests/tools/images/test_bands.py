"""Images of more bands than three are kept whole."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.common.images import (
    DataError,
    read_bands,
    read_colour,
    read_labels,
    read_mask,
)
from benchmarks.topology.__main__ import main as topology
from tests.tools.images.files import MASK, layer, png
from tests.topology_data import write_images


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [4, 5])
def test_more_bands_than_three_are_kept(
    bands: int, dtype: str, planar: str, tmp_path: Path
) -> None:
    file = tmp_path / "image.tif"
    stored = np.random.default_rng(0).integers(1, 200, (bands, 20, 30)).astype(dtype)
    photometric = "rgb" if bands == 4 else "minisblack"
    tifffile.imwrite(
        file,
        stored if planar == "separate" else np.moveaxis(stored, 0, -1),
        photometric=photometric,
        planarconfig=planar,
        extrasamples=["unspecified"] * (bands - (3 if bands == 4 else 1)),
    )
    image = read_bands(file)
    assert image.shape == (20, 30, bands)
    scale = 255 if dtype == "uint8" else stored.max()
    np.testing.assert_allclose(np.moveaxis(image, -1, 0), stored / scale, rtol=1e-6)
    with pytest.raises(DataError, match=rf"image\.tif: has {bands} bands, takes 1 or 3"):
        read_colour(file)
    with pytest.raises(DataError, match=rf"image\.tif: has {bands} bands"):
        read_mask(file)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("extension", ["tif", "png"])
def test_infrared_that_is_tagged_as_alpha_is_kept(
    dtype: str, extension: str, tmp_path: Path
) -> None:
    file = tmp_path / f"image.{extension}"
    random = np.random.default_rng(0)
    scale = 1 if (dtype, extension) == ("float32", "tif") else 200
    stored = (random.random((20, 30, 4)) * scale).astype(dtype)
    if extension == "tif":
        tifffile.imwrite(file, stored, photometric="rgb", extrasamples=["unassalpha"])
    elif dtype == "uint8":
        Image.fromarray(stored).save(file)
    else:
        png(file, stored.astype(np.uint16), 16)
    assert read_bands(file).shape == (20, 30, 4)
    with pytest.raises(DataError, match=r"image\.\w+: has 4 bands, takes 1 or 3"):
        read_colour(file)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_bands_keep_their_order_beside_one_that_is_tagged_as_alpha(
    photometric: Literal["rgb", "minisblack"], tmp_path: Path
) -> None:
    file = tmp_path / "image.tif"
    stored = np.random.default_rng(0).integers(1, 60000, (20, 30, 5)).astype(np.uint16)
    others = ["unspecified"] * (1 if photometric == "rgb" else 3)
    tifffile.imwrite(
        file, stored, photometric=photometric, planarconfig="contig",
        extrasamples=["unassalpha", *others],
    )  # fmt: skip
    np.testing.assert_allclose(read_bands(file), stored / stored.max(), rtol=1e-6)


def test_infrared_that_is_tagged_as_alpha_makes_no_mask(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for bands in (2, 4):
        stored = random.integers(1, 60000, (20, 30, bands)).astype(np.uint16)
        png(tmp_path / "mask.png", stored, 16)
        for read in (read_mask, lambda file: read_labels(file, 3)):
            with pytest.raises(DataError, match=rf"mask\.png: has {bands} bands"):
                read(tmp_path / "mask.png")
    # Half-transparent where something is, and something is nearly everywhere.
    layer([9] * 3, [9] * 3, ~MASK * 100).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), ~MASK)
    assert read_bands(tmp_path / "mask.png").shape == (48, 64, 3)


@pytest.mark.parametrize(("photometric", "name"), [("separated", "CMYK"), ("cielab", r"L\*a\*b\*")])
def test_coded_colours_of_sixteen_bits_are_refused_with_what_to_do(
    photometric: str, name: str, tmp_path: Path
) -> None:
    stored = np.zeros((48, 64, 4 if photometric == "separated" else 3), np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", stored, photometric=photometric)
    with pytest.raises(DataError, match=rf"is in {name} of uint16; takes grey, or red, green"):
        read_bands(tmp_path / "image.tif")


def test_topology_trains_on_five_bands(tmp_path: Path) -> None:
    data = write_images(tmp_path / "bands")
    for split in ("train", "val", "test"):
        for index in range(2):
            file = data / split / "images" / f"{index}.jpg"
            grey = np.asarray(Image.open(file).convert("L"))
            file.unlink()
            tifffile.imwrite(
                file.with_suffix(".tif"),
                np.stack([grey // n for n in range(1, 6)]),
                photometric="minisblack",
                planarconfig="separate",
                extrasamples=["unspecified"] * 4,
            )
    options = ["--crop-size", "32", "--features", "2x2x2x2x2x2", "--iterations", "1"]
    common = ["--out", str(tmp_path), "--one-process", "--seeds", "1", "--scnp", "off"]
    assert topology(["run", "--data", str(data), *common, *options]) == 0
