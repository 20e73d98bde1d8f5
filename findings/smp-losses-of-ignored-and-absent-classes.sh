#!/bin/sh
# segmentation-models-pytorch 0.6.0: what its losses make of ignored pixels and of absent classes.
#
# 1. SoftCrossEntropyLoss and SoftBCEWithLogitsLoss with ignore_index set the loss of ignored pixels
#    to 0 and then take the mean over all pixels: half an image ignored is half the loss. torch's
#    cross entropy, and the library's own DiceLoss, leave them out of the mean.
# 2. DiceLoss and JaccardLoss multiply the loss of a class by whether the target contains it. A batch
#    without foreground has loss 0 and gradient 0, whatever foreground the network predicts.
#
# On torch 2.13.0. Exits 0 while it is so. (The package's losses are imported by themselves: its
# encoders need torchvision, and so a torch of several gigabytes.)
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    segmentation-models-pytorch==0.6.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import sysconfig

sys.path.insert(0, sysconfig.get_path("purelib") + "/segmentation_models_pytorch")
import losses
import torch

torch.manual_seed(0)
logits = torch.randn(2, 3, 8, 8)
labels = torch.randint(0, 3, (2, 8, 8))
labels[:, :4] = 255
masks = torch.randint(0, 2, (2, 3, 8, 8)).float()
masks[:, :, :4] = 255
for name, loss, target, expected in (
    ("SoftCrossEntropyLoss", losses.SoftCrossEntropyLoss(ignore_index=255, smooth_factor=0.0), labels, 0.5),
    ("SoftBCEWithLogitsLoss", losses.SoftBCEWithLogitsLoss(ignore_index=255), masks, 0.5),
    ("DiceLoss", losses.DiceLoss("multiclass", ignore_index=255), labels, 1.0),
    ("torch's CrossEntropyLoss", torch.nn.CrossEntropyLoss(ignore_index=255), labels, 1.0),
):
    ratio = (loss(logits, target) / loss(logits[:, :, 4:], target[..., 4:, :])).item()
    print(f"{name}: half of the image ignored, {ratio:.3f} of the loss of the other half")
    assert abs(ratio - expected) < 1e-5

confident = torch.full((2, 1, 8, 8), 9.0).requires_grad_()  # foreground everywhere
for name in ("DiceLoss", "JaccardLoss"):
    loss = getattr(losses, name)("binary")(confident, torch.zeros(2, 1, 8, 8))
    (gradient,) = torch.autograd.grad(loss, confident)
    print(f"{name} of a batch without foreground: {loss.item()}, gradient {gradient.abs().max().item()}")
    assert loss == 0 and gradient.eq(0).all()
PYTHON
