"""Three data sets in nnU-Net's raw format, tiny: plain labels, an ignore label, regions.

Thick slices (5 x 1 x 1 mm), so that the plan's spacing is anisotropic. Two bright tubes per image,
one inside the other.
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


def _write(array: np.ndarray, file: Path) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    SimpleITK.WriteImage(image, str(file))
