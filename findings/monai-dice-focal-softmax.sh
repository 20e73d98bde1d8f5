#!/bin/sh
# MONAI 1.6.1: DiceFocalLoss(softmax=True) takes Dice of softmax, but the focal loss of sigmoid.
#
# The options of the activation (sigmoid, softmax, other_act) go to the Dice part alone. The focal
# part is FocalLoss without use_softmax, which treats each class as a yes-or-no question, and
# DiceFocalLoss has no option that changes it. GeneralizedDiceFocalLoss does the same.
# DiceCELoss(softmax=True), its sister, takes the cross entropy of softmax.
#
# Seen, on torch 2.13.0: the focal part of either is 0.3554, FocalLoss with softmax 0.3097, with
# sigmoid 0.3554. Exits 0 while it is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps monai==1.6.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from monai.losses import DiceFocalLoss, DiceLoss, FocalLoss, GeneralizedDiceFocalLoss, GeneralizedDiceLoss

torch.manual_seed(0)
logits = torch.randn(2, 3, 8, 8, dtype=torch.float64)
labels = torch.randint(0, 3, (2, 1, 8, 8))
of_softmax = FocalLoss(to_onehot_y=True, use_softmax=True)(logits, labels).item()
of_sigmoid = FocalLoss(to_onehot_y=True, use_softmax=False)(logits, labels).item()
print(f"FocalLoss: softmax {of_softmax:.4f}, sigmoid {of_sigmoid:.4f}")
for both, dice in ((DiceFocalLoss, DiceLoss), (GeneralizedDiceFocalLoss, GeneralizedDiceLoss)):
    options = {"to_onehot_y": True, "softmax": True}
    focal = (both(**options)(logits, labels) - dice(**options)(logits, labels)).item()
    print(f"the focal part of {both.__name__}(softmax=True): {focal:.4f}")
    assert abs(focal - of_sigmoid) < 1e-6 < abs(focal - of_softmax)
PYTHON
