#!/bin/sh
# MONAI 1.6.1: FocalLoss(use_softmax=True, include_background=False) leaves the background's logit
# out of the softmax, not only out of the sum.
#
# The class 0 is cut off the logits before softmax is taken, so the probabilities are those of the
# other classes among themselves: the background's logit has gradient 0 and can be anything, and
# nothing in the loss teaches foreground from background. DiceLoss and TverskyLoss with the same
# option take softmax over all classes first, and leave the class 0 out afterwards.
#
# Seen, on torch 2.13.0: the background's logit raised by 10 everywhere, FocalLoss stays what it was;
# DiceLoss goes from 0.6724 to 0.9998. Exits 0 while it is so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps monai==1.6.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss

torch.manual_seed(0)
logits = torch.randn(2, 3, 8, 8, dtype=torch.float64)
labels = torch.randint(0, 3, (2, 1, 8, 8))
raised = logits.clone()
raised[:, 0] += 10
raised.requires_grad_()
options = {"to_onehot_y": True, "include_background": False}
for loss, sees_background in (
    (FocalLoss(use_softmax=True, **options), False),
    (DiceLoss(softmax=True, **options), True),
    (TverskyLoss(softmax=True, **options), True),
):
    before, after = loss(logits, labels), loss(raised, labels)
    (gradient,) = torch.autograd.grad(after, raised)
    most = gradient[:, 0].abs().max().item()
    print(f"{type(loss).__name__}: {before.item():.4f} -> {after.item():.4f}, "
          f"gradient of the background's logit at most {most:.1e}")
    assert (most > 0) is sees_background
    assert (abs(before.item() - after.item()) > 1e-3) is sees_background
PYTHON
