"""Volumes of fewer slices than a training crop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.topology.__main__ import main as topology
from benchmarks.topology.configuration import DEFAULTS, Configuration
from benchmarks.topology.crops import Crops
from benchmarks.topology.datasets import read_split
from tests.tools.volumes.files import write_bars
from tests.topology_data import failing


def thin_configuration() -> Configuration:
    settings = {**vars(DEFAULTS[3]), "crop": (16, 32, 32), "features": (2,) * 6, "iterations": 1}
    return Configuration(**settings)


def test_thin_stacks_are_padded_by_their_border_slices(tmp_path: Path) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    samples = read_split(data, "train", (16, 32, 32))
    sample = samples[0]
    # An image that is its label tells whether both are padded alike.
    sample.image[:] = sample.truth
    random = np.random.default_rng(0)
    fronts = set()
    for _ in range(8):
        images, labels = Crops(samples, thin_configuration()).draw(random)
        assert images.shape == (2, 1, 16, 32, 32)
        assert torch.equal(images[:, 0].long(), labels)
        for label_map in labels:
            plates = [bool(plane.any()) for plane in label_map]
            places = [place for place, found in enumerate(plates) if found]
            fronts.add(places[0] if places else None)
            assert len(places) in (0, 2)
            assert not places or places[1] - places[0] == 5
    assert len(fronts) > 3  # in front and behind, by chance


def test_the_crop_that_is_advised_for_a_thin_stack_can_be_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_bars(tmp_path / "bars", "nii.gz")
    common = ("run", "--data", data, "--out", tmp_path, "--one-process", "--seeds", 1)
    toy = ("--features", "2x2x2x2x2x2", "--scnp", "off", "--iterations", 1)
    error = failing(capsys, *common, *toy, "--crop-size", 64)
    assert "has the size 10 x 48 x 48, smaller than the training crops of 64 x 64 x 64" in error
    assert error.endswith("--crop-size 16x48x48 fits")
    arguments = [str(a) for a in (*common, *toy, "--crop-size", "16x48x48")]
    assert topology(arguments) == 0
