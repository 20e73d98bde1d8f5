"""NIfTI (.nii, .nii.gz), by nibabel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.errors import DataError
from benchmarks.common.tables import by
from benchmarks.common.volumes.volume import Array, Volume, known_spacing, library

DIFFERENT = 0.01  # relative, between the voxel sizes of the header and of the affine


def read(file: Path, labels: bool) -> Volume:
    """The array transposed to [depth, height, width], with the header's voxel sizes.

    Not with the affine's diagonal, which is another thing where the volume lies obliquely.
    """
    nibabel = library("nibabel", file)
    picture = nibabel.load(file)
    stored = _labels(file, picture.dataobj) if labels else np.asanyarray(picture.dataobj)
    shape = stored.shape
    while stored.ndim > 3 and stored.shape[-1] == 1:
        stored = stored[..., 0]
    if stored.ndim != 3:
        raise DataError(f"{file}: has the shape {shape}, takes three axes")
    header = picture.header
    with nibabel.openers.ImageOpener(file) as opened:  # as stored: nibabel makes 1 of 0, unknown
        unchanged = type(header).from_fileobj(opened, check=False)
    sizes = [abs(float(size)) for size in unchanged["pixdim"][1:4]]
    _warn_of_other_sizes(file, picture, sizes, nibabel)
    unit = {"mm": "mm", "micron": "µm", "meter": "m"}.get(header.get_xyzt_units()[0])
    return Volume(stored.transpose(2, 1, 0), known_spacing(sizes[::-1]), unit)


def _labels(file: Path, stored: Any) -> Array:
    """Labels without the rounding of a scale; never through floats where there is no scale."""
    unscaled: Array = stored.get_unscaled()
    slope, intercept = float(stored.slope), float(stored.inter)
    if (slope, intercept) == (1.0, 0.0):
        return unscaled
    values = unscaled.astype(np.float64) * slope + intercept
    rounded = np.rint(values)
    # Labels that a program scaled to fill the integers come back as 0.996 instead of 1.
    near = abs(slope) / 2 if abs(slope) <= 1 else 0.0
    if (np.abs(values - rounded) > near).any():
        raise DataError(
            f"{file}: is scaled by {slope:g}, and its values are no whole numbers; takes labels "
            "saved without a scale"
        )
    return rounded.astype(np.int64)


def _warn_of_other_sizes(file: Path, picture: Any, sizes: list[float], nibabel: Any) -> None:
    header = picture.header
    if not (header["sform_code"] > 0 or header["qform_code"] > 0):
        return  # the affine was made of the sizes
    of_affine = nibabel.affines.voxel_sizes(picture.affine)
    if all(sizes) and not np.allclose(of_affine, sizes, rtol=DIFFERENT):
        warnings.warn(
            f"{file}: voxels of {by(sizes, ' x ')} by the header's pixdim, which is taken, but of "
            f"{by(of_affine, ' x ')} by its affine",
            stacklevel=2,
        )
