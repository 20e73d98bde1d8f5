#!/bin/sh
# oneDNN 3.12.0 (in torch 2.13.0): in bfloat16, the weight gradient of a 3D convolution is wrong
# where the volume is flatter than its kernel, as at the lowest level of a U-Net of 32-voxel crops.
#
# On CPUs with AVX-512 and without AMX (and on all of AVX-512, where oneDNN is held to it, as here):
# with a kernel of 3 and a padding of 1 this concerns volumes 2 voxels deep, with 5 and 2 those 2, 3
# and 4 deep. Deeper ones are right, so are those 1 deep, 2D, float16 and float32. The gradient then
# holds what lay in memory: NaN, 1e17 times the right one, or, where that was zeros, the right one.
# On one thread it is always so; with several it depends on how the work is split: 2 volumes of 64
# channels were wrong on 1 to 32 threads, of 32 channels on 1 to 8, one volume of 16 channels on 1.
# Forward pass and input gradient are right, so a training may run for many iterations and fail at
# some later one, or not learn.
#
# Seen, on an AMD EPYC (Zen 5), one thread, as relative error of the weight gradient, the largest of
# 10 tries: 0.002 for volumes 1, 3 and 4 deep, NaN or 1e27 for those 2 deep, 1e-7 for these in
# float32; 0.002 for images of 2 rows; with a kernel of 5, 0.002 for volumes 5 deep, infinite for
# those 4 deep. Exits 0 while it is so; needs a CPU with AVX-512.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 "$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
from torch.nn.functional import conv2d, conv3d

if torch.backends.cpu.get_cpu_capability() != "AVX512":
    sys.exit("this finding is of CPUs with AVX-512")
torch.manual_seed(0)
torch.set_num_threads(1)


def relative_error(sides, dtype, kernel=3):
    """Of the weight gradient: the largest of ten tries, NaN above all."""
    errors = []
    convolution = conv3d if len(sides) == 3 else conv2d
    for _ in range(10):
        features = torch.randn(2, 32, *sides, dtype=dtype)
        from_above = torch.randn(2, 32, *sides, dtype=dtype)
        gradients = []
        for of in (dtype, torch.float64):
            weight = torch.zeros(32, 32, *[kernel] * len(sides), dtype=of, requires_grad=True)
            output = convolution(features.to(of), weight, padding=kernel // 2)
            output.backward(from_above.to(of))
            gradients.append(weight.grad.double())
        error = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
        errors.append(float("nan") if error.isnan() else error.item())
    return max(errors, key=lambda error: (error != error, error))


bfloat16 = {depth: relative_error((depth, 8, 8), torch.bfloat16) for depth in (1, 2, 3, 4)}
for depth, error in bfloat16.items():
    print(f"bfloat16, {depth} voxels deep: {error:.3g}")
float32 = relative_error((2, 8, 8), torch.float32)
flat_image = relative_error((2, 8), torch.bfloat16)
print(f"float32, 2 voxels deep: {float32:.3g}")
print(f"bfloat16, an image of 2 x 8: {flat_image:.3g}")
wide = {depth: relative_error((depth, 8, 8), torch.bfloat16, kernel=5) for depth in (4, 5)}
for depth, error in wide.items():
    print(f"bfloat16, kernel 5, {depth} voxels deep: {error:.3g}")
assert max(bfloat16[depth] for depth in (1, 3, 4)) < 0.01
assert not bfloat16[2] < 10
assert not wide[4] < 10
assert wide[5] < 0.01
assert max(float32, flat_image) < 0.01
PYTHON
