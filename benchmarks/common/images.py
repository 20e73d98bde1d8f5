"""Read folders of images with masks, and say clearly which file is at fault."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.common.errors import DataError
from benchmarks.common.image_files import read_stored
from benchmarks.common.masks import BoolMask, Truth, read_labels, read_mask, read_truth
from benchmarks.common.volumes import identifier, is_readable

__all__ = [
    "LAYOUT",
    "LAYOUT_3D",
    "BoolMask",
    "DataError",
    "FloatImage",
    "Truth",
    "check_foreground",
    "check_same_size",
    "identifier",
    "image_pairs",
    "read_bands",
    "read_colour",
    "read_labels",
    "read_mask",
    "read_truth",
]

LAYOUT = "{train,val,test}/{images,masks}/ID.*"
LAYOUT_3D = (
    "{train,val,test}/{images,masks}/ID.* (.nii.gz, .mha, .nrrd, .tif stacks, .mrc, .h5, .zarr), "
    "or {train,val,test}.npz or {train,val,test}/ID.npz with an image and a mask array"
)

FloatImage = npt.NDArray[np.float32]


def image_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image of ``folder/images`` with its mask of ``folder/masks``, sorted by name.

    Of volumes too. An image and its mask share their name up to the extension. Raises DataError
    where a folder is missing or empty, or one of a pair is missing.
    """
    images = _files_by_identifier(folder / "images")
    masks = _files_by_identifier(folder / "masks")
    for name, image in images.items():
        if name not in masks:
            like = max(masks, key=lambda mask: _words_in_common(name, mask))
            hint = f"; {masks[like].name}, if it is its mask, needs the image's name"
            raise DataError(
                f"{image}: has no mask; expected {folder / 'masks' / name}.*"
                + (hint if _words_in_common(name, like) and like not in images else "")
            )
    for name, mask in masks.items():
        if name not in images:
            raise DataError(f"{mask}: has no image; expected {folder / 'images' / name}.*")
    return [(images[name], masks[name]) for name in sorted(images)]


def read_bands(file: Path) -> FloatImage:
    """The image as [height, width, bands], between 0 and 1, without alpha. Raises DataError.

    Grey becomes colour (three equal bands); more bands than three are kept. Up to 8 bits are
    divided by their largest number, deeper ones by the largest in the image; where some are
    negative, the smallest becomes 0.
    """
    stored = read_stored(file)
    values = stored.bands
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{file}: holds values that are not finite; takes numbers everywhere")
    if not values.size:
        raise DataError(f"{file}: holds no pixel")
    # Deep numbers need 64 bits before they are scaled; of others an image may be large.
    deep = values.dtype.itemsize > 4
    scaled: npt.NDArray[np.floating] = values.astype(np.float64 if deep else np.float32)
    smallest, largest = 0.0, stored.full_scale
    if stored.palette is not None:
        largest = 255.0
    elif largest is None:
        smallest, largest = min(0.0, float(values.min())), float(values.max())
    np.subtract(scaled, smallest, out=scaled)
    np.divide(scaled, max(largest - smallest, float(np.finfo(np.float32).tiny)), out=scaled)
    planes = scaled.astype(np.float32, copy=False)
    return np.repeat(planes, 3, axis=2) if planes.shape[2] == 1 else planes


def read_colour(file: Path) -> FloatImage:
    """As read_bands, of an image in grey or in three colours. Raises DataError."""
    planes = read_bands(file)
    if planes.shape[2] != 3:
        raise DataError(
            f"{file}: has {planes.shape[2]} bands, takes 1 or 3 (`benchmarks.topology run` takes "
            "any number)"
        )
    return planes


def check_foreground(
    place: Path, truths: Iterable[npt.NDArray[np.generic]], needed: bool = False, classes: int = 2
) -> str:
    """How much of a split's masks is foreground, as a sentence. Raises DataError.

    Masks without a single background pixel say that background and foreground were swapped, or
    that their files mean something else; with more than two ``classes``, masks of one label only.
    ``needed``: so do masks without foreground, to train on.
    """
    pixels = 0
    counts = np.zeros(classes, np.int64)
    for truth in truths:
        pixels += truth.size
        counts += np.bincount(truth.reshape(-1).astype(np.uint8, copy=False), minlength=classes)
    foreground = pixels - int(counts[0])
    if needed and not foreground:
        raise DataError(f"{place}: no mask has a foreground (nonzero) pixel")
    if counts[1:].max() == pixels:
        raise DataError(
            f"{place}: no mask has a background (zero) pixel"
            + (f": all are of the label {int(counts.argmax())}" if classes > 2 else "")
        )
    return f"{place}: {100 * foreground / pixels:.3g} % of the pixels are foreground"


def check_same_size(
    image_file: Path, image: FloatImage, mask_file: Path, mask: npt.NDArray[np.generic]
) -> None:
    """Raises DataError unless the mask has the height and width of its image."""
    height, width = image.shape[:2]
    if mask.shape != (height, width):
        raise DataError(
            f"{mask_file}: is {mask.shape[1]} x {mask.shape[0]} pixels (width x height), "
            f"but its image {image_file} is {width} x {height}"
        )


def _words_in_common(image: str, mask: str) -> int:
    """How many words two names begin with alike: 2 of Image_01L and Image_01L_1stHO."""
    pairs = zip(*(re.split(r"[^0-9A-Za-z]+", name) for name in (image, mask)), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _files_by_identifier(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; --data takes a folder with {LAYOUT}; of volumes {LAYOUT_3D}"
        )
    files: dict[str, Path] = {}
    formats = Image.registered_extensions()
    of_images = {extension for extension, name in formats.items() if name in Image.OPEN}
    for file in sorted(folder.iterdir()):
        is_known = file.suffix.lower() in of_images or is_readable(file)
        if file.name.startswith(".") or not is_known:
            continue
        name = identifier(file)
        if name in files:
            raise DataError(f"{file}: shares its name with {files[name]}; keep one of them")
        files[name] = file
    if not files:
        raise DataError(
            f"{folder}: holds no image file (.png, .jpg, .tif, ...) and no volume "
            "(.nii.gz, .mha, .nrrd, .tif, .mrc, .h5, .zarr; or npz files, see the README)"
        )
    return files
