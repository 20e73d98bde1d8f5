#!/bin/sh
# Pillow writes the alpha channel into a BMP file, and does not read it back.
#
# Versions: Pillow 13.0.0, numpy 2.4.6 (Python 3.11).
# Behaviour: an RGBA picture is saved as a bitmap of 32 bits per pixel with its alpha in the fourth
#   byte, and opened again as RGB, without a word: a mask painted in white on a transparent layer
#   comes back white everywhere. As PNG, TIFF and TGA it comes back as it was.
# Output seen:
#   bmp: bytes [255, 0], opened as RGB, alpha gone
#   png: opened as RGBA, alpha [255, 0]
#   tiff: opened as RGBA, alpha [255, 0]
#   tga: opened as RGBA, alpha [255, 0]
# Exits 0 while that is so, and 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'EOF'
import io
import sys

import numpy as np
from PIL import Image

layer = Image.fromarray(np.array([[[255, 255, 255, 255], [255, 255, 255, 0]]], np.uint8))
as_described = True
for kind in ("bmp", "png", "tiff", "tga"):
    content = io.BytesIO()
    layer.save(content, kind)
    picture = Image.open(content)
    pixels = np.asarray(picture)
    if kind == "bmp":
        written = list(content.getvalue()[-8:][3::4])
        print(f"bmp: bytes {written}, opened as {picture.mode}, alpha gone")
        as_described &= written == [255, 0] and picture.mode == "RGB"
    else:
        print(f"{kind}: opened as {picture.mode}, alpha {pixels[0, :, 3].tolist()}")
        as_described &= pixels[0, :, 3].tolist() == [255, 0]
sys.exit(not as_described)
EOF
