#!/bin/sh
# Pillow stretches the values of a PGM file to 255.
#
# Versions: Pillow 13.0.0, numpy 2.4.6 (Python 3.11).
# Behaviour: a PGM file states its largest value (maxval). Where that is not 255, Pillow multiplies
#   what it reads: labels 0, 1, 2 of a file with maxval 2 come as 0, 128, 255, and 16-bit files with
#   another maxval than 65535 likewise. Image.open gives no hint of it: the mode is "L" and
#   `info` is empty. Colours of 16 bits (PPM) are cut to 8, so that 255 of 65535 becomes 1.
# Output seen:
#   maxval 2: [0, 1, 2] read as [0, 128, 255], mode L, info {}
#   maxval 1000: [0, 1, 1000] read as [0, 66, 65535], mode I, info {}
#   maxval 255: [0, 1, 2] read as [0, 1, 2], mode L, info {}
#   colours of maxval 65535: [0, 100, 255] read as [0, 0, 1], mode RGB
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


def read(content):
    picture = Image.open(io.BytesIO(content))
    return np.asarray(picture).reshape(-1).tolist(), picture.mode, picture.info


def grey(values, maxval):
    kind = ">u2" if maxval > 255 else "u1"
    content = f"P5 {len(values)} 1 {maxval}\n".encode() + np.array(values, kind).tobytes()
    found, mode, info = read(content)
    print(f"maxval {maxval}: {values} read as {found}, mode {mode}, info {info}")
    return found


small = grey([0, 1, 2], 2)
deep = grey([0, 1, 1000], 1000)
plain = grey([0, 1, 2], 255)
colours, mode, _ = read(b"P6 1 1 65535\n" + np.array([0, 100, 255], ">u2").tobytes())
print(f"colours of maxval 65535: [0, 100, 255] read as {colours}, mode {mode}")
as_described = (
    small == [0, 128, 255]
    and deep == [0, 66, 65535]
    and plain == [0, 1, 2]
    and colours == [0, 0, 1]
)
sys.exit(not as_described)
EOF
