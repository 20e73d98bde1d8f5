"""Stacks in TIFF files (plain, ImageJ, OME, nnU-Net), by tifffile.

Not by SimpleITK, which drops the spacing across slices, and takes three slices for one in colour.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from benchmarks.common.errors import DataError
from benchmarks.common.volumes.volume import Array, Spacing, Volume, known_spacing, squeezed

REDUCED = 1  # bit of NewSubfileType
NO_UNIT = 1  # of ResolutionUnit
MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}


def read(file: Path, labels: bool) -> Volume:
    """The stack [depth, height, width] and its spacing; a mixed stack is refused."""
    import tifffile

    with tifffile.TiffFile(file) as tiff:
        array, axes = _stack(file, tiff)
        array = _arranged(file, array, axes, labels)
        spacing, unit = _nnunet_spacing(file), None
        if spacing is None and tiff.is_ome:
            spacing, unit = _ome_spacing(tiff.ome_metadata or ""), "µm"
        elif spacing is None and tiff.is_imagej:
            spacing, unit = _imagej_spacing(tiff)
        return Volume(array, spacing, unit if spacing else None)


def is_stack(file: Path) -> bool:
    """Whether a TIFF file holds more than one image of full size; not, if it cannot be read."""
    import tifffile

    try:
        with tifffile.TiffFile(file) as tiff:
            first = tiff.series[0]
            whole = [s for s in tiff.series if not _is_reduced(s)]
            axes = [n for n, side in zip(first.axes, first.shape, strict=True) if side > 1]
            return len(whole) > 1 or any(axis not in "YXS" for axis in axes)
    except Exception:  # of a damaged file the reader tells
        return False


def _is_reduced(series: Any) -> bool:
    return bool(getattr(series.keyframe, "subfiletype", 0) & REDUCED)


def _stack(file: Path, tiff: Any) -> tuple[Array, str]:
    series = [one for one in tiff.series if not _is_reduced(one)]
    if len(series) == 1:
        return series[0].asarray(), series[0].axes
    kinds = {(one.shape, one.dtype, one.axes) for one in series}
    if len(kinds) != 1 or series[0].axes not in ("YX", "YXS"):
        shapes = sorted({str(one.shape) for one in series})
        raise DataError(f"{file}: holds images of several shapes, {', '.join(shapes)}; takes one")
    # Written page by page: every page is a series of its own, and the first alone would be read.
    return np.stack([one.asarray() for one in series]), "Z" + series[0].axes


def _arranged(file: Path, array: Array, axes: str, labels: bool) -> Array:
    """[depth, height, width], of images perhaps with channels in front."""
    shape, named = array.shape, axes
    array, axes = squeezed(array, axes, "YX")
    if "S" in axes and (labels or len(axes) == 3):
        raise DataError(
            f"{file}: has the shape {shape} and the axes {named}: colours, where slices are "
            "expected; write stacks with photometric='minisblack'"
        )
    if "S" in axes or ("C" in axes and len(axes) == 4 and not labels):
        channel = axes.index("S" if "S" in axes else "C")
        array = np.moveaxis(array, channel, 0)
        axes = "C" + axes[:channel] + axes[channel + 1 :]
        rest = axes[1:]
    else:
        rest = axes
    if len(rest) != 3 or rest[1:] != "YX":
        raise DataError(
            f"{file}: has the shape {shape} and the axes {named}; takes a stack of slices"
        )
    return array


def _nnunet_spacing(file: Path) -> Spacing | None:
    """What nnU-Net keeps beside its TIFF files; of images without the channel's number."""
    name = file.name.split(".")[0]
    for beside in (name, re.sub(r"_\d{4}$", "", name)):
        described = file.with_name(f"{beside}.json")
        if described.is_file():
            try:
                return known_spacing(json.loads(described.read_text(encoding="utf-8"))["spacing"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{described}: holds no spacing that can be read") from error
    return None


def _ome_spacing(xml: str) -> Spacing | None:
    for element in ElementTree.fromstring(xml.encode()).iter():
        if element.tag.rsplit("}", 1)[-1] == "Pixels":
            lengths = []
            for axis in "ZYX":
                length = element.get(f"PhysicalSize{axis}")
                unit = MICROMETRES.get(element.get(f"PhysicalSize{axis}Unit", "µm"))
                if length is None or unit is None:
                    return None
                lengths.append(float(length) * unit)
            return known_spacing(lengths)
    return None


def _imagej_spacing(tiff: Any) -> tuple[Spacing | None, str | None]:
    described = tiff.imagej_metadata or {}
    tags = tiff.pages[0].tags
    if "spacing" not in described or "XResolution" not in tags or "YResolution" not in tags:
        return None, None
    across, down = (tags[name].value for name in ("XResolution", "YResolution"))
    unit_tag = tags.get("ResolutionUnit")
    no_unit = unit_tag is None or int(unit_tag.value) == NO_UNIT
    if no_unit and across[0] == across[1] and down[0] == down[1]:
        return None, None  # what is written where nobody said anything
    if not (across[0] and down[0]):
        return None, None
    lengths = (described["spacing"], down[1] / down[0], across[1] / across[0])
    unit = str(described.get("unit", "")).replace("\\u00B5", "µ").replace("micron", "µm")
    return known_spacing(lengths), unit or None
