"""MetaImage (.mha, .mhd), by SimpleITK."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.errors import DataError
from benchmarks.common.volumes.volume import Volume, known_spacing, library

SPACING_KEYS = ("elementspacing", "elementsize")
LONGEST_HEADER = 1 << 16  # bytes


def read(file: Path, labels: bool) -> Volume:
    """The array [depth, height, width] and its spacing, unless the header has none."""
    simple_itk = library("SimpleITK", file)
    picture = simple_itk.ReadImage(str(file))
    if picture.GetNumberOfComponentsPerPixel() != 1:
        what = "labels are single numbers" if labels else "takes one"
        components = picture.GetNumberOfComponentsPerPixel()
        raise DataError(f"{file}: has {components} numbers per voxel; {what}")
    array = simple_itk.GetArrayFromImage(picture)
    spacing = picture.GetSpacing()[::-1]
    if array.ndim == 4 and array.shape[0] == 1:
        array, spacing = array[0], spacing[1:]
    if array.ndim != 3:
        raise DataError(f"{file}: has the shape {array.shape}, takes three axes")
    # SimpleITK reads a missing spacing as 1.
    return Volume(array, known_spacing(spacing) if _tells_spacing(file) else None)


def _tells_spacing(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(LONGEST_HEADER)
    keys = [line.split(b"=")[0].strip().lower().decode("latin-1") for line in start.split(b"\n")]
    last = keys.index("elementdatafile") if "elementdatafile" in keys else len(keys)
    return any(key in SPACING_KEYS for key in keys[:last])
