"""nnU-Net for real, through its own commands: plan, preprocess, train, predict; on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

import scnp_kernels
from scnp_kernels.integrations.nnunet import TRAINERS
from tests.integrations.nnunet_datasets import (
    DATASETS,
    LINE_COLUMNS,
    LINES,
    LINES_SPACING_IN_PLANE,
    SHAPE,
    write_datasets,
)
from tests.integrations.recipes import EXAMPLES

SMOKE_TRAINERS = Path(__file__).parent / "nnunet_trainers"
Run = Callable[..., str]
TRAIN_2D = ["nnUNetv2_train", "901", "2d", "0", "-device", "cpu", "-tr"]


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
def written(work: Path) -> Path:
    write_datasets(work / "raw")
    return work


@pytest.fixture(scope="module")
def planned(written: Path, run: Run) -> Path:
    """All data sets but the lines, planned and preprocessed."""
    # Its planner sets torch's threads to nnUNet_n_proc_DA, so that 0 is for training only.
    command = "nnUNetv2_plan_and_preprocess -d 901 902 903 -c 2d 3d_fullres -npfp 1 -np 1 1"
    run(*command.split(), nnUNet_n_proc_DA="1")
    return written


@pytest.mark.parametrize(
    ("dataset", "configuration", "trainer", "windows"),
    [
        ("Dataset901_plain", "2d", "SmokeSCNP", "((3, 3), (3, 3), (3, 3))"),
        ("Dataset902_ignore", "2d", "SmokeJoint", "((3, 3), (3, 3), (3, 3))"),
        ("Dataset903_regions", "2d", "SmokeSCNP", "((3, 3), (3, 3), (3, 3))"),
        # 5 x 1 x 1 mm, pooled in the plane: 5 x 2 x 2, then 5 x 4 x 4
        ("Dataset901_plain", "3d_fullres", "SmokeFused", "((1, 3, 3), (3, 3, 3), (3, 3, 3))"),
        # As the paper's code, which knows no spacing.
        ("Dataset902_ignore", "3d_fullres", "SmokePaper", "((3, 3, 3), (3, 3, 3), (3, 3, 3))"),
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


@pytest.fixture(scope="module")
def trained_with_a_window_of_five(planned: Path, run: Run) -> Path:
    """The folder of a training whose window came from a variable."""
    said = run(
        *TRAIN_2D,
        "SmokeSCNP",
        SCNP_KERNEL_SIZE="5",
        nnUNet_n_proc_DA="0",
    )
    assert "SCNP: SmokeSCNP_w5, windows=((5, 5), (5, 5), (5, 5))" in said
    return planned / "results" / "Dataset901_plain" / "SmokeSCNP_w5__nnUNetPlans__2d"


def test_a_variable_makes_another_folder(trained_with_a_window_of_five: Path) -> None:
    """And the checkpoint holds the options, and names a trainer that plain nnU-Net has."""
    file = trained_with_a_window_of_five / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(file, weights_only=False)
    assert checkpoint["scnp"] == {
        "trainer": "SmokeSCNP_w5",
        "windows": [[5, 5], [5, 5], [5, 5]],
        "plain_weight": 0.0,
        "version": scnp_kernels.__version__,
    }
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert not list(file.parent.glob("*.unfinished"))


WITHOUT_SCNP = """
import sys
sys.modules["scnp_kernels"] = None  # importing it is an error
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
predict_entry_point()
"""


@pytest.mark.usefixtures("trained_with_a_window_of_five")
def test_plain_nnunet_predicts_with_the_model(planned: Path, run: Run, tmp_path: Path) -> None:
    """Without this package and its trainers; the model travels as nnU-Net's own archive."""
    archive = tmp_path / "model.zip"
    command = f"nnUNetv2_export_model_to_zip -d 901 -c 2d -tr SmokeSCNP_w5 -f 0 -o {archive}"
    run(*command.split())
    elsewhere = {
        "nnUNet_results": str(tmp_path / "results"),
        "nnUNet_extTrainer": "",
        "PYTHONPATH": "",
    }
    run("nnUNetv2_install_pretrained_model_from_zip", str(archive), **elsewhere)
    images = planned / "raw" / "Dataset901_plain" / "imagesTs"
    arguments = f"-d 901 -c 2d -f 0 -tr SmokeSCNP_w5 -device cpu -i {images} -o {tmp_path / 'out'}"
    run(sys.executable, "-c", WITHOUT_SCNP, *arguments.split(), **elsewhere)
    (prediction,) = (tmp_path / "out").glob("*.nii.gz")
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(prediction)))
    assert labels.shape == SHAPE


@pytest.mark.usefixtures("planned")
def test_going_on_with_other_windows_is_told(run: Run) -> None:
    command = [*TRAIN_2D, "SmokeEdited"]
    begun = run(*command, nnUNet_n_proc_DA="0")
    assert "WARNING: SCNP" not in begun
    same = run(*command, "--c", nnUNet_n_proc_DA="0")
    assert "WARNING: SCNP" not in same
    other = run(*command, "--c", nnUNet_n_proc_DA="0", SMOKE_EDITED_TO="5")
    assert "windows were [[3, 3], [3, 3], [3, 3]] and are [[5, 5], [5, 5], [5, 5]]" in other
    # The variable makes another folder, which holds nothing to go on from.
    assert "Starting a new training" in run(
        *command, "--c", nnUNet_n_proc_DA="0", SCNP_KERNEL_SIZE="7"
    )


def test_a_trainer_of_segforge(planned: Path, run: Run) -> None:
    """Its network stays its own, and so the checkpoint names the trainer that builds it."""
    said = run(*TRAIN_2D, "SmokeSegForge", nnUNet_n_proc_DA="0")
    assert "SCNP: SmokeSegForge, windows=((3, 3),)" in said
    folder = planned / "results" / "Dataset901_plain" / "SmokeSegForge__nnUNetPlans__2d"
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "UNetTrainer"
    assert checkpoint["scnp"]["windows"] == [[3, 3]]


def test_a_command_prints_the_folder_of_the_trainers(run: Run) -> None:
    """As `nnUNet_extTrainer` takes it."""
    assert run("scnp_trainer_path").strip() == str(TRAINERS)


@pytest.fixture(scope="module")
def planned_lines(written: Path, run: Run) -> Path:
    """The folder of the preprocessed lines of one voxel."""
    command = "nnUNetv2_plan_and_preprocess -d 904 -c 2d -npfp 1 -np 1"
    run(*command.split(), nnUNet_n_proc_DA="1")
    return written / "preprocessed" / LINES


def test_resampling_erases_or_doubles_lines_of_one_voxel(planned_lines: Path) -> None:
    """By their column, before any loss: as docs/nnunet.md says."""
    folder = planned_lines / "nnUNetPlans_2d"
    widths = {}
    for index, side in enumerate(LINES_SPACING_IN_PLANE):
        _, labels, _, _ = infer_dataset_class(str(folder))(str(folder)).load_case(f"case_{index}")
        row = np.asarray(labels)[0, 0, labels.shape[2] // 2] > 0
        runs = np.diff(np.flatnonzero(np.diff(np.pad(row.astype(int), 1))))[::2]
        widths[side] = sorted(runs.tolist())
    lines = len(LINE_COLUMNS)
    assert widths[1.0] == [1] * lines
    assert widths[0.5] == [1] * (lines // 2)  # the other half is gone
    assert widths[1.5] == [1] * (lines // 2) + [2] * (lines // 2)


def test_deep_supervision_loses_lines_of_one_voxel(planned_lines: Path, run: Run) -> None:
    """Half of them at scale 1/2, three quarters at 1/4: what a window per scale is for."""
    cases = [f"case_{index}" for index in range(len(LINES_SPACING_IN_PLANE))]
    split = {"train": cases[1:], "val": cases[:1]}  # validate on one whose spacing is the plan's
    (planned_lines / "splits_final.json").write_text(json.dumps([split] * 5))
    said = run(
        *f"nnUNetv2_train {LINES} 2d 0 -tr SmokeLines -device cpu".split(),
        SCNP_KERNEL_SIZE_PER_SCALE="3;1;1;1",
        nnUNet_n_proc_DA="0",
    )
    assert "windows=((3, 3), (1, 1), (1, 1), (1, 1))" in said
    results = planned_lines.parents[1] / "results" / LINES
    fold = results / "SmokeLines_w3-1-1-1__nnUNetPlans__2d" / "fold_0"
    columns = json.loads((fold / "record.json").read_text())["columns"]
    lines = len(LINE_COLUMNS)
    assert columns[:3] == [lines, lines // 2, lines // 4]
