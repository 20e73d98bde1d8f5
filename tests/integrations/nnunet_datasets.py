"""Four data sets in nnU-Net's raw format, tiny: plain labels, an ignore label, regions; lines.

Thick slices (5 x 1 x 1 mm), so that the plan's spacing is anisotropic. Two bright tubes per image,
one inside the other; or, in the last, lines of a single voxel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

SHAPE = (8, 32, 32)  # z, y, x
SPACING = (1.0, 1.0, 5.0)  # x, y, z, as SimpleITK counts
IMAGES = 5
IGNORED = 3

DATASETS: dict[str, dict[str, Any]] = {
    "Dataset901_plain": {"labels": {"background": 0, "wall": 1, "lumen": 2}},
    "Dataset902_ignore": {"labels": {"background": 0, "wall": 1, "lumen": 2, "ignore": IGNORED}},
    # Overlapping: the vessel contains its lumen. Ignored voxels become the last channel.
    "Dataset903_regions": {
        "labels": {"background": 0, "vessel": [1, 2], "lumen": 2, "ignore": IGNORED},
        "regions_class_order": [1, 2],
    },
}

LINES = "Dataset904_lines"
LINES_SHAPE = (4, 64, 64)
# Every remainder by 4 equally often: what is left does not depend on where a patch begins.
LINE_COLUMNS = tuple(range(4, 44, 5))
LINES_SPACING_IN_PLANE = (1.0, 1.0, 1.0, 0.5, 1.5)  # of the images, in mm; the plan's is 1


def write_datasets(raw: Path) -> None:
    """Write all data sets, with training images, labels and one test image each."""
    for name, description in DATASETS.items():
        folder = raw / name
        for part in ("imagesTr", "labelsTr", "imagesTs"):
            (folder / part).mkdir(parents=True)
        for index in range(IMAGES + 1):
            image, labels = _vessel(np.random.default_rng(index))
            if "ignore" in description["labels"]:
                labels[:, :, 20:] = IGNORED
            part = "Tr" if index < IMAGES else "Ts"
            _write(image, folder / f"images{part}" / f"case_{index}_0000.nii.gz")
            if part == "Tr":
                _write(labels, folder / "labelsTr" / f"case_{index}.nii.gz")
        _describe(folder, description)
    _write_lines(raw / LINES)


def _write_lines(folder: Path) -> None:
    labels = np.zeros(LINES_SHAPE, np.uint8)
    labels[:, :, LINE_COLUMNS] = 1
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for index, side in enumerate(LINES_SPACING_IN_PLANE):
        noise = np.random.default_rng(index).normal(100, 20, LINES_SHAPE)
        spacing = (side, side, 5.0)  # x, y, z
        image = (noise + 100 * labels).astype(np.float32)
        _write(image, folder / "imagesTr" / f"case_{index}_0000.nii.gz", spacing)
        _write(labels, folder / "labelsTr" / f"case_{index}.nii.gz", spacing)
    _describe(folder, {"labels": {"background": 0, "line": 1}})


def _describe(folder: Path, description: dict[str, Any]) -> None:
    dataset = {
        "channel_names": {"0": "CT"},
        "numTraining": IMAGES,
        "file_ending": ".nii.gz",
        **description,
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))


def _vessel(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels, [z, y, x]."""
    z, y, x = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    row = 16 + 6 * np.sin(x / 5 + generator.uniform(0, 6)) + (z - 4) / 2
    distance = np.abs(y - row)
    labels = (distance < 4).astype(np.uint8) + (distance < 2).astype(np.uint8)
    image = 100.0 * labels + generator.normal(0, 20, SHAPE)
    return image.astype(np.float32), labels


def _write(array: np.ndarray, file: Path, spacing: tuple[float, float, float] = SPACING) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(file))
