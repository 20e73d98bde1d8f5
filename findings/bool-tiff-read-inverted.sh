#!/bin/sh
# A bool array written by tifffile is read inverted by Pillow.
#
# Versions: tifffile 2026.3.3, Pillow 13.0.0, numpy 2.4.6 (Python 3.11).
# Behaviour: tifffile.imwrite(file, bool_array) tags the image as "white is zero"
#   (PhotometricInterpretation 0) and stores True as 1. tifffile reads the stored numbers back;
#   Pillow applies the tag, so that every True becomes False. Neither says a word. A mask written by
#   one and read by the other has object and background swapped.
# Output seen:
#   photometric 0, stored True: 4 of 24
#   tifffile reads True: 4 of 24
#   Pillow reads True: 20 of 24
# Exits 0 while that is so, and 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
    tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'EOF'
import sys

import numpy as np
import tifffile
from PIL import Image

mask = np.zeros((4, 6), np.bool_)
mask[1:3, 2:4] = True
tifffile.imwrite("mask.tif", mask)
with tifffile.TiffFile("mask.tif") as tiff:
    photometric = int(tiff.pages[0].photometric)
by_tifffile = tifffile.imread("mask.tif").astype(bool)
by_pillow = np.asarray(Image.open("mask.tif")).astype(bool)
print(f"photometric {photometric}, stored True: {mask.sum()} of {mask.size}")
print(f"tifffile reads True: {by_tifffile.sum()} of {mask.size}")
print(f"Pillow reads True: {by_pillow.sum()} of {mask.size}")
as_described = (
    photometric == 0
    and np.array_equal(by_tifffile, mask)
    and np.array_equal(by_pillow, ~mask)
)
sys.exit(not as_described)
EOF
