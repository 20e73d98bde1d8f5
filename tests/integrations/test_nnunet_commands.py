"""nnU-Net for real, through its own commands: plan, preprocess, train, predict; on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK

from tests.integrations.nnunet_datasets import DATASETS, SHAPE, write_datasets
from tests.integrations.recipes import EXAMPLES

SMOKE_TRAINERS = Path(__file__).parent / "nnunet_trainers"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nnunet")


@pytest.fixture(scope="module")
def run(work: Path) -> Run:
    """Runs a command line, with nnU-Net's variables set and the smoke trainers to be found."""
    checkout = str(Path(__file__).parents[2])
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SCNP_")},
        "nnUNet_raw": str(work / "raw"),
        "nnUNet_preprocessed": str(work / "preprocessed"),
        "nnUNet_results": str(work / "results"),
        "nnUNet_def_n_proc": "1",
        "nnUNet_extTrainer": str(SMOKE_TRAINERS),
        "PYTHONPATH": os.pathsep.join([checkout, os.environ.get("PYTHONPATH", "")]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }

    def run_command(*command: str, **variables: str) -> str:
        result = subprocess.run(
            command,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    return run_command


@pytest.fixture(scope="module")
def planned(work: Path, run: Run) -> Path:
    """All data sets, planned and preprocessed."""
    write_datasets(work / "raw")
    # Its planner sets torch's threads to nnUNet_n_proc_DA, so that 0 is for training only.
    command = "nnUNetv2_plan_and_preprocess -d 901 902 903 -c 2d 3d_fullres -npfp 1 -np 1 1"
    run(*command.split(), nnUNet_n_proc_DA="1")
    return work


@pytest.mark.parametrize(
    ("dataset", "configuration", "trainer", "windows"),
    [
        ("Dataset901_plain", "2d", "SmokeSCNP", "((3, 3), (3, 3), (3, 3))"),
        ("Dataset902_ignore", "2d", "SmokeJoint", "((3, 3), (3, 3), (3, 3))"),
        ("Dataset903_regions", "2d", "SmokeSCNP", "((3, 3), (3, 3), (3, 3))"),
        # 5 x 1 x 1 mm, pooled in the plane: 5 x 2 x 2, then 5 x 4 x 4
        ("Dataset901_plain", "3d_fullres", "SmokeFused", "((1, 3, 3), (3, 3, 3), (3, 3, 3))"),
    ],
)
def test_train_and_predict(
    planned: Path, run: Run, dataset: str, configuration: str, trainer: str, windows: str
) -> None:
    output = planned / "predictions" / f"{dataset}_{configuration}"
    run(
        "sh",
        str(EXAMPLES / "nnunet.sh"),
        DATASET=dataset,
        CONFIGURATION=configuration,
        TRAINER=trainer,
        DEVICE="cpu",
        INPUT=str(planned / "raw" / dataset / "imagesTs"),
        OUTPUT=str(output),
        nnUNet_n_proc_DA="0",
    )
    fold = planned / "results" / dataset / f"{trainer}__nnUNetPlans__{configuration}" / "fold_0"
    assert (fold / "checkpoint_final.pth").exists()
    assert (fold / "validation" / "summary.json").exists()
    _check_record(json.loads((fold / "record.json").read_text()), dataset, windows)

    (prediction,) = output.glob("*.nii.gz")
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(prediction)))
    assert labels.shape == SHAPE
    assert set(labels.flatten().tolist()) <= {0, 1, 2}


def _check_record(record: dict[str, Any], dataset: str, windows: str) -> None:
    """What the smoke trainer saw while it trained."""
    assert len(record["losses"]) == 2
    assert record["validation_penalizes"] is False
    assert f"windows={windows}" in record["loss"]
    assert record["largest_gradient_elsewhere"] > 0
    assert record["largest_gradient_at_ignored_voxels"] == 0
    assert (record["ignored_voxels"] > 0) == ("ignore" in DATASETS[dataset]["labels"])
