"""Read a dataset from a folder, and refuse a faulty one before any training starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.demo.samples import BoolMask, FloatImage, Sample, Splits

SPLITS = ("train", "val", "test")
LAYOUT = "{train,val,test}/{images,masks}/ID.*"


class DataError(Exception):
    """The dataset cannot be used; the message names the file or folder and says why."""


def read_folder(path: Path, smallest_side: int) -> Splits:
    """The dataset in `path`, laid out as {train,val,test}/{images,masks}/ID.* .

    Masks count every nonzero pixel as foreground. Every image must be at least `smallest_side`
    pixels high and wide, because training crops of that side out of it. Raises DataError.
    """
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; --data takes a folder with {LAYOUT}")
    train, val, test = (_read_split(path / split, smallest_side) for split in SPLITS)
    if not any(sample.truth.any() for sample in train):
        raise DataError(f"{path / 'train' / 'masks'}: no mask has a foreground (nonzero) pixel")
    return Splits(path.resolve().name, train, val, test)


def _read_split(folder: Path, smallest_side: int) -> list[Sample]:
    images = _files_by_identifier(folder / "images")
    masks = _files_by_identifier(folder / "masks")
    for identifier, image in images.items():
        if identifier not in masks:
            raise DataError(f"{image}: has no mask; expected {folder / 'masks' / identifier}.*")
    for identifier, mask in masks.items():
        if identifier not in images:
            raise DataError(f"{mask}: has no image; expected {folder / 'images' / identifier}.*")
    return [_read_sample(images[name], masks[name], smallest_side) for name in sorted(images)]


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


def _read_sample(image_file: Path, mask_file: Path, smallest_side: int) -> Sample:
    image = _as_colour(_read_pixels(image_file))
    truth = _as_mask(_read_pixels(mask_file))
    height, width = image.shape[:2]
    if truth.shape != (height, width):
        raise DataError(
            f"{mask_file}: is {truth.shape[1]} x {truth.shape[0]} pixels (width x height), "
            f"but its image {image_file} is {width} x {height}"
        )
    if min(height, width) < smallest_side:
        raise DataError(
            f"{image_file}: is {width} x {height} pixels (width x height), smaller than the "
            f"training crops of {smallest_side} x {smallest_side}; see --crop-size"
        )
    return Sample(image_file.stem, image, truth)


def _read_pixels(file: Path) -> npt.NDArray[np.float32]:
    """Pixels as [height, width] or [height, width, channel], between 0 and 1, without alpha."""
    try:
        with Image.open(file) as picture:
            coded = picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
            pixels = np.asarray(picture.convert("RGB") if coded else picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read as an image ({error})") from error
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
    largest = np.iinfo(pixels.dtype).max if pixels.dtype == np.uint8 else pixels.max()
    scaled: npt.NDArray[np.float32] = pixels.astype(np.float32) / max(float(largest), 1e-6)
    return scaled


def _as_colour(pixels: npt.NDArray[np.float32]) -> FloatImage:
    planes = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    colour: FloatImage = np.broadcast_to(planes, (*planes.shape[:2], 3)).copy()
    return colour


def _as_mask(pixels: npt.NDArray[np.float32]) -> BoolMask:
    planes = pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels
    foreground: BoolMask = (planes != 0).any(axis=2)
    return foreground
