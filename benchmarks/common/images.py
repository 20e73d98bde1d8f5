"""Read folders of images with masks, and say clearly which file is at fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

LAYOUT = "{train,val,test}/{images,masks}/ID.*"

FloatImage = npt.NDArray[np.float32]
BoolMask = npt.NDArray[np.bool_]


class DataError(Exception):
    """The dataset cannot be used; the message names the file or folder and says why."""


def image_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Every image of ``folder/images`` with its mask of ``folder/masks``, sorted by name.

    An image and its mask share their name up to the extension. Raises DataError where a folder is
    missing or empty, or one of a pair is missing.
    """
    images = _files_by_identifier(folder / "images")
    masks = _files_by_identifier(folder / "masks")
    for identifier, image in images.items():
        if identifier not in masks:
            raise DataError(f"{image}: has no mask; expected {folder / 'masks' / identifier}.*")
    for identifier, mask in masks.items():
        if identifier not in images:
            raise DataError(f"{mask}: has no image; expected {folder / 'images' / identifier}.*")
    return [(images[name], masks[name]) for name in sorted(images)]


def read_numbers(file: Path) -> npt.NDArray[np.generic]:
    """Pixels as the file stores them, [height, width] or [height, width, channel], without alpha.

    Palettes and other coded colours come as RGB. Raises DataError.
    """
    try:
        with Image.open(file) as picture:
            images = getattr(picture, "n_frames", 1)
            if images > 1 and picture.format != "MPO":  # whose others are previews
                raise DataError(f"{file}: holds {images} images, takes one (volumes are npz files)")
            coded = picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
            pixels: npt.NDArray[np.generic] = np.asarray(
                picture.convert("RGB") if coded else picture
            )
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds, by format and by where the damage is
        raise DataError(f"{file}: cannot be read as an image ({error})") from error
    return pixels[:, :, :-1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else pixels


def read_colour(file: Path) -> FloatImage:
    """The image as [height, width, 3], between 0 and 1; grey becomes colour. Raises DataError."""
    pixels = read_numbers(file)
    largest = 255.0 if pixels.dtype == np.uint8 else float(np.max(pixels))
    scaled = pixels.astype(np.float32) / np.float32(max(largest, 1e-6))
    planes = scaled[:, :, np.newaxis] if scaled.ndim == 2 else scaled
    return np.broadcast_to(planes, (*planes.shape[:2], 3)).copy()


def read_mask(file: Path) -> BoolMask:
    """True wherever the mask is not zero, [height, width]. Raises DataError.

    In a JPEG, wherever it is brighter than half of its brightest pixel: compression leaves small
    numbers beside every border.
    """
    pixels = read_numbers(file)
    planes = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    least = int(planes.max(initial=0)) / 2 if _is_jpeg(file) else 0
    bright = planes.astype(np.float64) > least if least else planes != 0
    foreground: BoolMask = np.asarray(bright.any(axis=2), np.bool_)
    return foreground


def read_labels(file: Path, classes: int) -> npt.NDArray[np.uint8]:
    """The mask's values as labels from 0 to ``classes - 1``, [height, width]. Raises DataError."""
    pixels = read_numbers(file)
    if _is_jpeg(file):
        raise DataError(f"{file}: is a JPEG, which changes labels near borders; takes PNG or TIFF")
    if pixels.ndim == 3 and (pixels == pixels[:, :, :1]).all():
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "bui":
        raise DataError(f"{file}: is in colour or not of whole numbers; takes one label per pixel")
    if pixels.size and (int(pixels.min()) < 0 or int(pixels.max()) >= classes):
        raise DataError(
            f"{file}: labels up to {int(pixels.max())}, takes labels from 0 to {classes - 1}"
        )
    return pixels.astype(np.uint8)


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


def _is_jpeg(file: Path) -> bool:
    with Image.open(file) as picture:
        return picture.format in ("JPEG", "MPO")


def _files_by_identifier(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --data takes a folder with {LAYOUT}")
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in _readable_extensions():
            continue
        if file.stem in files:
            raise DataError(f"{file}: shares its name with {files[file.stem]}; keep one of them")
        files[file.stem] = file
    if not files:
        raise DataError(f"{folder}: holds no image file (.png, .jpg, .tif, ...)")
    return files


def _readable_extensions() -> set[str]:
    formats = Image.registered_extensions()
    return {extension for extension, name in formats.items() if name in Image.OPEN}
