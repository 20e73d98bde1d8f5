#!/bin/sh
# skimage.morphology.skeletonize of a 3D tube whose axis runs between voxels (an even number of voxels
# across, here along an axis of the volume) is empty, for every thickness from 2 to 8. With the axis on
# a voxel the tube keeps its middle line, and so does a bar of even width in 2D. clDice by its formula
# with these skeletons is therefore 0/0 for a perfect prediction of such a vessel, and leaves the vessel
# out where another one is beside it.
#
# Seen with scikit-image 0.26.0 and numpy 2.4.6 on Linux x86-64, Python 3.11, for tubes of 34 slices:
#     diameter, voxels across   voxels of the skeleton
#     axis between voxels:  2: 0    4: 0    6: 0    8: 0
#     axis on a voxel:      3: 34   5: 32   7: 32   9: 30
#     in 2D, bars of 34 by  2: 34   4: 31   6: 31   8: 29
# Exits with 0 while the first row is 0 and the others are not, and with 1 when that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check scikit-image==0.26.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import skimage
from skimage.morphology import skeletonize

print("scikit-image", skimage.__version__)


def skeleton_of_a_tube(across):
    """Voxels of the skeleton of a round tube with so many voxels across, inside a larger volume."""
    offset = np.arange(16) - (7.5 if across % 2 == 0 else 8)
    disk = offset[:, None] ** 2 + offset**2 <= (across / 2) ** 2
    assert disk.any(axis=1).sum() == across
    tube = np.zeros((40, 16, 16), bool)
    tube[3:-3] = disk
    return int(skeletonize(tube).sum())


def skeleton_of_a_bar(across):
    bar = np.zeros((16, 40), bool)
    bar[4 : 4 + across, 3:-3] = True
    return int(skeletonize(bar).sum())


between = {across: skeleton_of_a_tube(across) for across in (2, 4, 6, 8)}
on_a_voxel = {across: skeleton_of_a_tube(across) for across in (3, 5, 7, 9)}
flat = {across: skeleton_of_a_bar(across) for across in (2, 4, 6, 8)}
print("axis between voxels:", between)
print("axis on a voxel:", on_a_voxel)
print("in 2D:", flat)
surprising = not any(between.values()) and all(on_a_voxel.values()) and all(flat.values())
raise SystemExit(not surprising)
PYTHON
