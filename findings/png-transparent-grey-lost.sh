#!/bin/sh
# Pillow does not see the transparent value of a grey PNG of 2 or 4 bits.
#
# Versions: Pillow 13.0.0, numpy 2.4.6 (Python 3.11).
# Behaviour: a grey PNG may name one value that is transparent (its chunk tRNS), "in the range 0 to
#   2^bits - 1" (PNG specification, 11.3.2.1). Pillow stretches samples of 2 and 4 bits to 0 to 255,
#   but hands over the transparent value as it is stored, and compares both when it converts to
#   RGBA: a picture whose paper is transparent comes out opaque. The value 0 and depths of 8 bits
#   are right.
# Output seen:
#   2 bits, 3 is transparent: info 3, pixels [0, 85, 255], alpha [255, 255, 255]
#   4 bits, 15 is transparent: info 15, pixels [0, 17, 255], alpha [255, 255, 255]
#   8 bits, 255 is transparent: info 255, pixels [0, 1, 255], alpha [255, 255, 0]
# Exits 0 while that is so, and 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'EOF'
import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def alpha(bits):
    """Of three pixels, 0, 1 and the largest value, of which the last is transparent."""
    largest = 2**bits - 1
    row = "".join(f"{value:0{bits}b}" for value in (0, 1, largest)).ljust(24, "0")
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 1, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", largest))
        + chunk(b"IDAT", zlib.compress(b"\0" + int(row, 2).to_bytes(3, "big")[: -(-3 * bits // 8)]))
        + chunk(b"IEND", b"")
    )
    picture = Image.open(io.BytesIO(content))
    pixels = np.asarray(picture).reshape(-1).tolist()
    found = np.asarray(picture.convert("RGBA"))[0, :, 3].tolist()
    told = picture.info["transparency"]
    print(f"{bits} bits, {largest} is transparent: info {told}, pixels {pixels}, alpha {found}")
    return found


lost = [255, 255, 255]
sys.exit(not (alpha(2) == lost and alpha(4) == lost and alpha(8) == [255, 255, 0]))
EOF
