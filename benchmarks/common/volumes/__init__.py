"""Read volumes of medicine and microscopy with their spacing, and label volumes exactly.

One module per family of formats, each importing its library when it is first used: they are
optional (``pip install "scnp_kernels[volumes]"``). Axes are never flipped or reoriented.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.common.errors import DataError
from benchmarks.common.volumes import containers, itk, mrc, nifti, nrrd_file, tiff_stack
from benchmarks.common.volumes.volume import Spacing, Volume, whole_numbers

__all__ = [
    "VOLUME_FORMATS",
    "Spacing",
    "Volume",
    "identifier",
    "is_volume",
    "read_volume",
    "read_volume_labels",
]

Reader = Callable[[Path, bool], Volume]

VOLUME_FORMATS = (
    "NIfTI, MHA, NRRD, TIFF stacks, MRC, HDF5, Zarr, or npz files with an image and a mask array"
)
READERS: dict[str, Reader] = {
    ".nii": nifti.read,
    ".nii.gz": nifti.read,
    ".mha": itk.read,
    ".mhd": itk.read,
    ".nrrd": nrrd_file.read,
    ".nhdr": nrrd_file.read,
    ".mrc": mrc.read,
    ".rec": mrc.read,
    ".h5": containers.read_hdf5,
    ".hdf5": containers.read_hdf5,
    ".zarr": containers.read_zarr,
}
STACKS = (".tif", ".tiff", ".btf", ".tf8")  # of one image, or of many
DOUBLE = (".nii.gz", ".ome.tif", ".ome.tiff", ".ome.btf", ".ome.zarr")


def read_volume(file: Path) -> Volume:
    """An image volume, [depth, height, width] or with channels in front. Raises DataError."""
    return _read(file, labels=False)


def read_volume_labels(file: Path) -> Volume:
    """A label volume, [depth, height, width], of whole numbers as stored. Raises DataError."""
    volume = _read(file, labels=True)
    if volume.array.ndim != 3:
        raise DataError(f"{file}: has the shape {volume.array.shape}, takes labels of three axes")
    return Volume(whole_numbers(file, volume.array), volume.spacing, volume.unit)


def is_volume(file: Path) -> bool:
    """Whether a file holds a volume, by its name; a TIFF, by its pages."""
    suffix = _suffix(file)
    return suffix in READERS or (suffix in STACKS and tiff_stack.is_stack(file))


def identifier(file: Path) -> str:
    """The file's name without its extension, be it double."""
    for ending in DOUBLE:
        if file.name.lower().endswith(ending):
            return file.name[: -len(ending)]
    return file.stem


def is_readable(file: Path) -> bool:
    """Whether a name's extension is one of volumes, or of what may be one."""
    return _suffix(file) in (*READERS, *STACKS)


def _suffix(file: Path) -> str:
    name = file.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else file.suffix.lower()


def _read(file: Path, labels: bool) -> Volume:
    reader = tiff_stack.read if _suffix(file) in STACKS else READERS.get(_suffix(file))
    if reader is None:
        raise DataError(f"{file}: is no volume that can be read; takes {VOLUME_FORMATS}")
    try:
        volume = reader(file, labels)
    except DataError:
        raise
    except Exception as error:  # many kinds, by format and by where the damage is
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{file}: cannot be read as a volume ({reason}); takes {VOLUME_FORMATS}"
        ) from error
    if volume.array.dtype.kind not in "buif":
        raise DataError(f"{file}: holds {volume.array.dtype}, takes real numbers")
    if volume.array.ndim not in (3, 4) or not volume.array.size:
        raise DataError(f"{file}: has the shape {volume.array.shape}, takes three axes")
    return volume
