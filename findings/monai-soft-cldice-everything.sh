#!/bin/sh
# MONAI 1.6.1: SoftclDiceLoss calls a prediction of nothing but foreground perfect.
#
# The soft skeleton of an image of ones is empty: every erosion leaves it as it is, so nothing is
# ever taken off. An empty skeleton lies inside every truth (precision 1), and the truth's skeleton
# lies inside the prediction (sensitivity 1). SoftDiceclDiceLoss, half Dice, gives the same prediction
# less than half the loss of finding nothing, and trainings on images with few structures can end
# there.
#
# Seen, on torch 2.13.0, for a bar of 4 rows in an image of 64: SoftclDiceLoss 0.0000 for the truth
# itself, 0.0000 for everything, 0.3299 for half of the bar, 0.9846 for nothing. SoftDiceclDiceLoss:
# 0.0000, 0.4411, 0.3312, 0.9904. Exits 0 while it is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps monai==1.6.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from monai.losses import SoftclDiceLoss, SoftDiceclDiceLoss

truth = torch.zeros(1, 1, 64, 64)
truth[:, :, 30:34] = 1
half = truth.clone()
half[..., 32:] = 0
predictions = {
    "the truth": truth,
    "everything": torch.ones_like(truth),
    "half of the bar": half,
    "nothing": torch.zeros_like(truth),
}
alone = {name: SoftclDiceLoss()(truth, found).item() for name, found in predictions.items()}
for name, found in predictions.items():
    with_dice = SoftDiceclDiceLoss()(truth, found).item()
    print(f"{name}: SoftclDiceLoss {alone[name]:.4f}, SoftDiceclDiceLoss {with_dice:.4f}")
assert alone["everything"] == alone["the truth"] < 1e-4
assert alone["half of the bar"] > 0.3
assert alone["nothing"] > 0.9
PYTHON
