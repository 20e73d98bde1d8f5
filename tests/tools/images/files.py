"""Masks, and image files of any kind, that the tests of reading images share."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[Any]

MASK = np.zeros((48, 64), np.bool_)
MASK[10:20, 5:50] = True
LABELS = MASK.astype(np.uint8)
LABELS[30:40, 5:50] = 2


def png(file: Path, pixels: Array, depth: int, key: bytes = b"") -> None:
    """A PNG file of any depth, written without a library: [height, width, channels]."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, channels = pixels.shape
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in pixels]
    else:
        bits = np.unpackbits(pixels.reshape(height, -1, 1).astype(np.uint8), axis=2)[..., -depth:]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(height, -1)]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + (chunk(b"tRNS", key) if key else b"")
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def lossy(pixels: Array, codec: str, **options: Any) -> Array:
    """Grey pixels after a lossy codec."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, codec, **options)
    with Image.open(content) as picture:
        return np.asarray(picture.convert("L"))


def layer(inside: list[int], outside: list[int], alpha: Array) -> Image.Image:
    """An image of one colour inside MASK and another outside, with an alpha channel."""
    colours = np.where(MASK[..., None], np.array(inside, np.uint8), np.array(outside, np.uint8))
    return Image.fromarray(np.dstack((colours, alpha.astype(np.uint8))))
