"""Files are turned as viewers turn them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from benchmarks.common.images import (
    read_colour,
    read_mask,
)
from tests.tools.images.files import MASK, png

# What EXIF's numbers say to do before showing; all of Pillow's own.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("extension", ["png", "tif", "webp", "jpg", "deep png"])
def test_files_are_turned_as_viewers_turn_them(
    extension: str, orientation: int, tmp_path: Path
) -> None:
    file = tmp_path / f"mask.{extension.split()[-1]}"
    stored = Image.fromarray(MASK.astype(np.uint8) * 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    if extension == "tif":
        tag = (274, "H", 1, orientation, True)
        tifffile.imwrite(file, np.asarray(stored), extratags=[tag])
    elif extension == "deep png":
        png(file, np.asarray(stored).astype(np.uint16)[..., None], 16)
        content = file.read_bytes()
        data = exif.tobytes().removeprefix(b"Exif\0\0")
        body = b"eXIf" + data
        chunk = struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
        file.write_bytes(content[:33] + chunk + content[33:])
    elif extension == "webp":
        stored.convert("RGB").save(file, lossless=True, exif=exif)
    else:
        stored.save(file, exif=exif)
    turn = TURNS[orientation]
    expected = stored if turn is None else stored.transpose(turn)
    assert np.array_equal(read_mask(file), np.asarray(expected) > 0)
    np.testing.assert_allclose(read_colour(file)[..., 0], np.asarray(expected) / 255, atol=0.2)
