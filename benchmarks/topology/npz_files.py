"""Data sets in npz files: one volume in each, or a stack of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.common.images import LAYOUT_3D, DataError
from benchmarks.common.volumes import Volume
from benchmarks.common.volumes.volume import known_spacing

IMAGE, IMAGES = "image", "images"  # of a volume; of a stack
MASK_KEYS = ("mask", "interior", "label")  # of a volume; those of a stack end in s
SPACING_KEY = "spacing"  # depth, height, width
IDS_KEY = "ids"

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class StackedImage:
    """One image of a stack."""

    name: str
    image: Array  # [channels, height, width]
    mask: Array  # [height, width]


def holds_npz(path: Path, split: str) -> bool:
    """Whether a split of a data set lies in npz files."""
    return (path / f"{split}.npz").exists() or bool(_in_folder(path / split))


def npz_files(path: Path, split: str) -> list[Path]:
    """Those of a split. Raises DataError where there is none."""
    single = path / f"{split}.npz"
    files = [single] if single.exists() else _in_folder(path / split)
    if not files:
        raise DataError(f"{single}: no such file; --data takes a folder with {LAYOUT_3D}")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Without hidden files: those are some program's, or half written."""
    return sorted(file for file in folder.glob("*.npz") if not file.name.startswith("."))


def read_npz(file: Path, mask_key: str | None) -> tuple[Volume, Volume]:
    """A volume and its mask. Raises DataError."""
    arrays = _arrays(file)
    key, image, mask = _pair(file, arrays, IMAGE, MASK_KEYS if mask_key is None else (mask_key,))
    shape = image.shape if image.ndim == 3 else image.shape[1:]
    if image.ndim not in (3, 4) or mask.ndim != 3 or shape != mask.shape or not mask.size:
        raise DataError(
            f"{file}: image has the shape {image.shape} and {key} {mask.shape}; takes "
            "[depth, height, width] for both (image may have channels in front)"
        )
    spacing = None
    if SPACING_KEY in arrays:
        spacing = known_spacing(np.atleast_1d(arrays[SPACING_KEY]).tolist())
        if spacing is None:
            raise DataError(
                f"{file}: {SPACING_KEY} takes three numbers above 0: depth, height, "
                "width of a voxel"
            )
    return Volume(image, spacing), Volume(mask, spacing)


def write_npz(
    file: Path, name: str, image: Array, mask: Array, spacing: Sequence[float] | None = None
) -> None:
    """A file as they are read here: a volume, or a stack of the one image ``name``.

    Of an image [height, width] or [height, width, channels], or a volume [depth, height, width] or
    [channels, depth, height, width], whose name is its file's.
    """
    if mask.ndim == 2:
        np.savez(file, images=image[None], masks=mask[None], ids=[name])
    elif spacing is None:
        np.savez(file, image=image, mask=mask)
    else:
        np.savez(file, image=image, mask=mask, spacing=spacing)


def is_stack(file: Path) -> bool:
    """Whether an npz file holds a stack of images, and no volume. Raises DataError."""
    with _reading(file), np.load(file, allow_pickle=False) as archive:
        return IMAGES in archive.files and IMAGE not in archive.files


def read_stack(file: Path, mask_key: str | None) -> list[StackedImage]:
    """The images of a stack: ``images`` [N, height, width] (or [N, height, width, channels]).

    With ``masks`` [N, height, width], or their bits as ``np.packbits(masks, axis=-1)`` packs them,
    and perhaps ``ids`` [N]. Raises DataError.
    """
    arrays = _arrays(file)
    keys = tuple(f"{key}s" for key in MASK_KEYS) if mask_key is None else (mask_key,)
    key, images, masks = _pair(file, arrays, IMAGES, keys)
    shape, width = images.shape[:3], images.shape[2] if images.ndim > 2 else 0
    if masks.dtype == np.uint8 and masks.shape == (*shape[:2], -(-width // 8)):
        masks = np.unpackbits(masks.view(np.uint8), axis=-1, count=width)
    if images.ndim not in (3, 4) or masks.shape != shape or not masks.size:
        raise DataError(
            f"{file}: images has the shape {images.shape} and {key} {arrays[key].shape}; takes "
            "[images, height, width] for both (images may have channels at the end; the bits of "
            "masks may be packed along the width)"
        )
    return [
        StackedImage(name, image, mask)
        for (name, image), mask in zip(_named(file, arrays), masks, strict=True)
    ]


def read_stacked_image(file: Path, name: str) -> Array | None:
    """One image of a stack, [channels, height, width]; None where it is not there."""
    return dict(_named(file, _arrays(file))).get(name)


def _named(file: Path, arrays: Mapping[str, Array]) -> list[tuple[str, Array]]:
    """Every image of a stack [channels, height, width] with its name."""
    images = arrays[IMAGES]
    alone = [file.stem] if len(images) == 1 else np.arange(len(images))
    names = [str(name) for name in arrays.get(IDS_KEY, alone)]
    if len(names) != len(images) or len(set(names)) != len(names):
        raise DataError(f"{file}: {IDS_KEY} takes a name for each of {len(images)} images")
    planes = images[..., np.newaxis] if images.ndim == 3 else images
    return [(name, np.moveaxis(image, -1, 0)) for name, image in zip(names, planes, strict=True)]


def _arrays(file: Path) -> dict[str, Array]:
    with _reading(file), np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # many kinds, by where the damage is
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read as an npz file ({reason})") from error


def _pair(
    file: Path, arrays: Mapping[str, Array], image_key: str, mask_keys: Sequence[str]
) -> tuple[str, Array, Array]:
    """The name of the masks, the image and the masks: both of numbers, the masks finite."""
    key = next((key for key in mask_keys if key in arrays), None)
    if image_key not in arrays or key is None:
        raise DataError(
            f"{file}: holds {', '.join(sorted(arrays)) or 'nothing'}; takes an array called "
            f"{image_key} and one called {' or '.join(mask_keys)} (see --mask-key)"
        )
    for name in (image_key, key):
        if arrays[name].dtype.kind not in "buif":
            raise DataError(f"{file}: {name} holds {arrays[name].dtype}, takes numbers")
    if not np.isfinite(arrays[key]).all():
        raise DataError(f"{file}: {key} holds values that are not finite")
    return key, arrays[image_key], arrays[key]
