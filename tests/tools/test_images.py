"""What a file of an image or a mask means is kept between the file and the array."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage import io as skimage_io
from skimage.measure import label

from benchmarks.common import levels
from benchmarks.common.images import (
    DataError,
    check_foreground,
    read_bands,
    read_colour,
    read_labels,
    read_mask,
)
from benchmarks.demo.__main__ import PRESET
from benchmarks.demo.__main__ import main as demo
from benchmarks.topology.__main__ import main as topology
from tests.topology_data import failing, save, write_images

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


# --- the stored numbers -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is a boolean image")
@pytest.mark.parametrize("write", [tifffile.imwrite, skimage_io.imsave])
def test_a_boolean_array_is_read_as_it_was_written(
    write: Callable[..., None], tmp_path: Path
) -> None:
    write(tmp_path / "mask.tif", MASK)
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), MASK)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
@pytest.mark.parametrize("value", [1, 200])
def test_white_is_zero_is_how_to_show_it(dtype: str, value: int, tmp_path: Path) -> None:
    file = tmp_path / "mask.tif"
    tifffile.imwrite(file, (MASK * value).astype(dtype), photometric="miniswhite")
    assert np.array_equal(read_mask(file), MASK)
    assert np.array_equal(read_labels(file, 201), MASK * value)
    assert read_colour(file)[MASK].min() > read_colour(file)[~MASK].max()


@pytest.mark.parametrize(
    "dtype", ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_of_number_in_a_tiff(
    dtype: str, order: Literal["<", ">"], tmp_path: Path
) -> None:
    file = tmp_path / "mask.tif"
    stored = LABELS > 0 if dtype == "bool" else LABELS.astype(order + dtype)
    tifffile.imwrite(file, stored, byteorder=order)
    assert np.array_equal(read_mask(file), LABELS > 0)
    assert np.array_equal(read_labels(file, 3), stored)
    assert read_bands(file).shape == (48, 64, 3)
    assert np.array_equal(read_bands(file)[..., 0] > 0, LABELS > 0)


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits", "zstd", "lzma"])
def test_compressed_tiffs(compression: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.tif"
    tifffile.imwrite(file, LABELS, compression=compression, tile=(16, 16))
    assert np.array_equal(read_labels(file, 3), LABELS)


def test_numbers_that_32_bits_cannot_hold_are_told_apart(tmp_path: Path) -> None:
    stored = np.where(MASK, 2**40 + 1, 0)
    tifffile.imwrite(tmp_path / "mask.tif", stored)
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), MASK)
    tifffile.imwrite(tmp_path / "image.tif", np.where(MASK, 1e300, -1e300))
    assert set(np.unique(read_colour(tmp_path / "image.tif"))) == {0.0, 1.0}


def test_grey_of_two_bits_is_not_stretched(tmp_path: Path) -> None:
    for depth in (1, 2, 4, 8):
        file = tmp_path / f"{depth}.png"
        stored = LABELS if depth > 1 else MASK.astype(np.uint8)
        png(file, stored[..., None], depth)
        assert np.array_equal(read_labels(file, 3), stored)
        assert read_colour(file).max() == np.float32(stored.max() / (2**depth - 1))


def test_a_grey_map_whose_maximum_is_small_is_refused_where_it_would_be_stretched(
    tmp_path: Path,
) -> None:
    (tmp_path / "labels.pgm").write_bytes(b"P5 64 48 2\n" + LABELS.tobytes())
    with pytest.raises(DataError, match=r"labels\.pgm: has the largest value 2"):
        read_labels(tmp_path / "labels.pgm", 3)
    (tmp_path / "labels.pgm").write_bytes(b"P5 64 48 255\n" + LABELS.tobytes())
    assert np.array_equal(read_labels(tmp_path / "labels.pgm", 3), LABELS)


# --- depth ------------------------------------------------------------------------------------


def write_deep(file: Path, kind: str, grey: Array) -> None:
    """16 bits per sample in a kind of file that Pillow cuts to 8."""
    colour = np.repeat(grey.astype(np.uint16)[..., None], 3, axis=2)
    opaque = np.full((*grey.shape, 1), 65535, np.uint16)
    if kind == "png":
        png(file, colour, 16)
    elif kind == "png alpha":
        png(file, np.concatenate((colour, opaque), -1), 16)
    elif kind == "png grey alpha":
        png(file, np.concatenate((colour[..., :1], opaque), -1), 16)
    elif kind == "tif":
        tifffile.imwrite(file, colour, photometric="rgb")
    elif kind == "tif planar":
        planes = np.moveaxis(colour, -1, 0)
        tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate")
    elif kind == "tif alpha":
        both = np.concatenate((colour, opaque), -1)
        tifffile.imwrite(file, both, photometric="rgb", extrasamples=["unassalpha"])
    elif kind == "tif grey alpha":
        both = np.concatenate((colour[..., :1], opaque), -1)
        tifffile.imwrite(
            file, both, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
        )
    elif kind == "jp2":
        file.write_bytes(imagecodecs.jpeg2k_encode(colour, level=0, reversible=True))


DEEP = ["png", "png alpha", "png grey alpha", "tif", "tif planar", "tif alpha", "tif grey alpha"]


@pytest.mark.parametrize("kind", [*DEEP, "jp2"])
def test_sixteen_bits_per_colour_keep_their_depth(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"deep.{kind.split()[0]}"
    for value in (1, 255, 65535):
        write_deep(file, kind, MASK * value)
        assert np.array_equal(read_mask(file), MASK)
    ramp = np.indices((48, 64))[1] * 60 + 7  # 12 bits
    write_deep(file, kind, ramp)
    image = read_colour(file)
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(image[..., 1], ramp / ramp.max(), rtol=1e-6)


def test_sixteen_bits_of_labels(tmp_path: Path) -> None:
    for kind in DEEP:
        file = tmp_path / f"deep.{kind.split()[0]}"
        write_deep(file, kind, LABELS)
        assert np.array_equal(read_labels(file, 3), LABELS)


def test_depth_that_a_format_loses_is_refused(tmp_path: Path) -> None:
    content = b"P6 64 48 65535\n" + np.repeat(LABELS[..., None], 3, -1).astype(">u2").tobytes()
    (tmp_path / "mask.ppm").write_bytes(content)
    with pytest.raises(DataError, match=r"mask\.ppm: has the largest value 65535"):
        read_mask(tmp_path / "mask.ppm")


# --- transparency -----------------------------------------------------------------------------


def layer(inside: list[int], outside: list[int], alpha: Array) -> Image.Image:
    colours = np.where(MASK[..., None], np.array(inside, np.uint8), np.array(outside, np.uint8))
    return Image.fromarray(np.dstack((colours, alpha.astype(np.uint8))))


ALPHA = MASK * 255


@pytest.mark.parametrize(
    "picture",
    [
        layer([255, 0, 0], [255, 255, 255], ALPHA),
        layer([255, 0, 0], [255, 0, 0], ALPHA),
        layer([255, 0, 0], [255, 0, 0], ALPHA // 2),  # half transparent, to see through it
        Image.fromarray(np.dstack((np.full_like(LABELS, 255), ALPHA.astype(np.uint8)))),
        layer([9, 9, 9], [0, 0, 0], np.full_like(MASK, 255, np.uint8)),
        layer([9, 9, 9], [0, 0, 0], np.full_like(MASK, 90, np.uint8)),
    ],
    ids=["white paper", "one colour", "overlay", "LA", "opaque", "equally transparent"],
)
@pytest.mark.parametrize("extension", ["png", "tif", "webp"])
def test_what_is_transparent_is_background(
    picture: Image.Image, extension: str, tmp_path: Path
) -> None:
    file = tmp_path / f"mask.{extension}"
    if extension == "webp":
        picture.convert("RGBA").save(file, lossless=True, exact=True)
    else:
        picture.save(file)
    assert np.array_equal(read_mask(file), MASK)


def test_an_empty_transparent_layer_is_an_empty_mask(tmp_path: Path) -> None:
    layer([255] * 3, [255] * 3, np.zeros_like(LABELS)).save(tmp_path / "mask.png")
    assert not read_mask(tmp_path / "mask.png").any()


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (layer([0, 0, 0], [0, 0, 0], ALPHA), "black or transparent everywhere"),
        (layer([255, 0, 0], [0, 0, 0], np.zeros_like(LABELS)), "transparent everywhere"),
    ],
)
def test_transparency_that_leaves_nothing_is_refused(
    picture: Image.Image, reason: str, tmp_path: Path
) -> None:
    picture.save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=rf"mask\.png: is {reason}"):
        read_mask(tmp_path / "mask.png")


def test_one_transparent_colour(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    white_paper = np.where(MASK, 7, 255).astype(np.uint8)
    Image.fromarray(white_paper).save(file, transparency=255)
    assert np.array_equal(read_mask(file), MASK)
    assert np.array_equal(read_labels(file, 8), MASK * 7)
    Image.fromarray(np.repeat(white_paper[..., None], 3, -1)).save(file, transparency=(255,) * 3)
    assert np.array_equal(read_mask(file), MASK)
    png(file, np.where(MASK, 300, 65535)[..., None], 16, key=struct.pack(">H", 65535))
    assert np.array_equal(read_mask(file), MASK)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_one_transparent_grey_of_any_depth(depth: int, tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    paper = 2**depth - 1
    for ink in (1, 2) if depth > 1 else ():
        png(file, np.where(MASK, ink, paper)[..., None], depth, key=struct.pack(">H", paper))
        assert np.array_equal(read_mask(file), MASK)
        assert np.array_equal(read_labels(file, 3), MASK * ink)
    png(file, np.where(MASK, paper, 0)[..., None], depth, key=struct.pack(">H", 0))
    assert np.array_equal(read_mask(file), MASK)
    png(file, np.where(MASK, 0, paper)[..., None], depth, key=struct.pack(">H", paper))
    with pytest.raises(DataError, match=r"mask\.png: is black or transparent everywhere"):
        read_mask(file)


def test_the_fourth_byte_of_a_bitmap_is_alpha_where_it_says_something(tmp_path: Path) -> None:
    file = tmp_path / "mask.bmp"
    for height in (48, 47):
        alpha = ALPHA.astype(np.uint8)[:height]
        white = np.full((height, 64, 3), 255, np.uint8)
        Image.fromarray(np.dstack((white, alpha))).save(file)
        assert np.array_equal(read_mask(file), MASK[:height])
        assert read_bands(file).shape == (height, 64, 3)
        for nothing in (0, 255):  # bytes that most programs leave unset
            drawn = np.dstack((*[alpha] * 3, np.full_like(alpha, nothing)))
            Image.fromarray(drawn).save(file)
            assert np.array_equal(read_mask(file), MASK[:height])


def test_alpha_is_no_band_of_an_image(tmp_path: Path) -> None:
    layer([90, 10, 0], [20, 30, 40], ALPHA).save(tmp_path / "image.png")
    assert read_bands(tmp_path / "image.png").shape == (48, 64, 3)


# --- palettes ---------------------------------------------------------------------------------


def with_palette(colours: list[list[int]], indices: Array = LABELS) -> Image.Image:
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(
        [part for colour in colours for part in colour] + [0] * (768 - 3 * len(colours))
    )
    return picture


VOC = [[0, 0, 0], [128, 0, 0], [0, 128, 0]]


@pytest.mark.parametrize("extension", ["png", "tif", "gif", "bmp"])
def test_the_labels_of_a_palette_are_its_indices(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"labels.{extension}"
    with_palette(VOC).save(file)
    assert np.array_equal(read_labels(file, 3), LABELS)
    assert np.array_equal(read_mask(file), LABELS > 0)


def test_the_colours_of_a_label_are_for_the_eye(tmp_path: Path) -> None:
    with_palette([[120, 120, 120], [180, 120, 120], [6, 230, 230]]).save(tmp_path / "ade.png")
    assert np.array_equal(read_labels(tmp_path / "ade.png", 3), LABELS)
    tifffile.imwrite(
        tmp_path / "deep.tif",
        LABELS.astype(np.uint16),
        photometric="palette",
        colormap=np.random.default_rng(0).integers(300, 65535, (3, 65536)).astype(np.uint16),
    )
    assert np.array_equal(read_labels(tmp_path / "deep.tif", 3), LABELS)


@pytest.mark.parametrize(
    "colours",
    [
        [[0, 0, 100], [255, 0, 0], [0, 255, 0]],
        [[255, 255, 255], [255, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 255, 0]],
    ],
    ids=["blue background", "black foreground", "black class"],
)
def test_a_palette_that_disagrees_on_the_background_is_refused(
    colours: list[list[int]], tmp_path: Path
) -> None:
    with_palette(colours).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: its palette and its numbers disagree"):
        read_mask(tmp_path / "mask.png")


def test_a_palette_that_numbers_its_greys_otherwise_is_refused(tmp_path: Path) -> None:
    for colours in ([[1] * 3, [2] * 3, [0] * 3], [[0] * 3, [2] * 3, [1] * 3]):
        with_palette(colours).save(tmp_path / "labels.png")
        with pytest.raises(DataError, match=r"labels\.png: its palette and its numbers name"):
            read_labels(tmp_path / "labels.png", 3)


def test_a_transparent_entry_is_background(tmp_path: Path) -> None:
    with_palette([[255] * 3, [255, 0, 0]], MASK).save(tmp_path / "mask.png", transparency=0)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), MASK)


def test_an_image_shows_its_colours(tmp_path: Path) -> None:
    with_palette(VOC).save(tmp_path / "image.png")
    image = read_colour(tmp_path / "image.png")
    assert np.array_equal(image, np.array(VOC, np.float32)[LABELS] / np.float32(255))


# --- orientation ------------------------------------------------------------------------------

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


# --- lossy codecs -----------------------------------------------------------------------------


def rings(height: int, width: int) -> Array:
    y, x = np.indices((height, width))
    return np.asarray(np.hypot(y - height / 2, x - width / 2) % 16 < 6)


def lines() -> Array:
    """Curved lines of one pixel, and some of three."""
    random = np.random.default_rng(0)
    mask = np.zeros((128, 128), np.bool_)
    for _ in range(6):
        place, angle = random.integers(0, 128, 2).astype(float), random.random() * 6.28
        for _ in range(150):
            y, x = place.astype(int)
            if 0 <= y < 128 and 0 <= x < 128:
                mask[y, x] = True
            angle += random.normal(0, 0.2)
            place += (np.sin(angle), np.cos(angle))
    mask[:, :40] = ndimage.binary_dilation(mask[:, :40])
    return mask


SHAPES = {"bars": np.pad(LABELS > 0, 20), "rings": rings(96, 120), "lines": lines()}
CODECS: list[tuple[str, dict[str, Any]]] = [
    *(("JPEG", {"quality": quality}) for quality in (50, 75, 95)),
    *(("WEBP", {"quality": quality}) for quality in (20, 50, 80, 100)),
    ("AVIF", {"quality": 50}),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("codec", "options"), CODECS)
@pytest.mark.parametrize("kept_as", ["own", "png", "tif", "tif of floats"])
def test_a_mask_is_as_thick_after_a_lossy_codec(
    shape: str, codec: str, options: dict[str, Any], kept_as: str, tmp_path: Path
) -> None:
    truth = SHAPES[shape]
    pixels = truth.astype(np.uint8) * 255
    file = tmp_path / f"mask.{'png' if kept_as == 'png' else 'tif'}"
    if kept_as == "own":
        file = tmp_path / f"mask.{codec.lower()}"
        Image.fromarray(pixels).save(file, codec, **options)
    elif kept_as == "tif of floats":
        tifffile.imwrite(file, lossy(pixels, codec, **options).astype(np.float32) / 255)
    else:
        Image.fromarray(lossy(pixels, codec, **options)).save(file)
    mask = read_mask(file)
    assert (mask == truth).mean() > 0.999
    assert label(mask, return_num=True)[1] == label(truth, return_num=True)[1]


def test_the_codecs_do_leave_small_numbers() -> None:
    # Without the half-way threshold the masks above would be other masks.
    for shape in SHAPES.values():
        changed = lossy(shape.astype(np.uint8) * 255, "JPEG", quality=75) > 0
        assert changed.sum() > 1.2 * shape.sum()


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000", "jpegxl"])
def test_lossy_codecs_in_a_tiff(compression: str, tmp_path: Path) -> None:
    file = tmp_path / "mask.tif"
    pixels = SHAPES["rings"].astype(np.uint8) * 255
    level = {"jpeg": 75, "webp": 60, "jpeg2000": 45, "jpegxl": 70}[compression]
    if compression == "webp":
        pixels = np.repeat(pixels[..., None], 3, -1)
    tifffile.imwrite(file, pixels, compression=compression, compressionargs={"level": level})
    assert (read_mask(file) == SHAPES["rings"]).mean() > 0.995
    with pytest.raises(DataError, match=r"mask\.tif: is a .* in TIFF, which changes labels"):
        read_labels(file, 256)


@pytest.mark.parametrize("truth", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("factor", [1.5, 2, 3])
def test_a_smoothly_enlarged_mask_is_not_thickened(
    truth: Array, factor: float, tmp_path: Path
) -> None:
    picture = Image.fromarray(truth.astype(np.uint8) * 255)
    size = (int(picture.width * factor), int(picture.height * factor))
    enlarged = picture.resize(size, Image.Resampling.BILINEAR)
    enlarged.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert abs(mask.mean() / truth.mean() - 1) < 0.3
    assert (np.asarray(enlarged) > 0).mean() > 1.05 * mask.mean()


@pytest.mark.parametrize("levels_", [(128, 255), (100, 200), (85, 170, 255), (200, 255)])
@pytest.mark.parametrize(
    ("codec", "options"), [CODECS[0], CODECS[1], CODECS[2], CODECS[5]], ids=lambda value: str(value)
)
@pytest.mark.parametrize("extension", ["own", "png"])
def test_several_levels_after_a_lossy_codec_are_refused(
    levels_: tuple[int, ...], codec: str, options: dict[str, Any], extension: str, tmp_path: Path
) -> None:
    pixels = np.zeros((120, 160), np.uint8)
    for index, level in enumerate(levels_):
        pixels[10 + 30 * index : 30 + 30 * index, 5:140] = level
    Image.fromarray(pixels).save(tmp_path / "exact.png")
    assert np.array_equal(read_mask(tmp_path / "exact.png"), pixels > 0)
    file = tmp_path / f"mask.{codec.lower() if extension == 'own' else 'png'}"
    if extension == "own":
        Image.fromarray(pixels).save(file, codec, **options)
    else:
        Image.fromarray(lossy(pixels, codec, **options)).save(file)
    with pytest.raises(DataError, match=r"mask\.\w+: holds shades between background"):
        read_mask(file)


@pytest.mark.parametrize("level", [85, 100, 120, 140])
@pytest.mark.parametrize("radius", [3, 8])
@pytest.mark.parametrize(("codec", "options"), [CODECS[1], CODECS[2], CODECS[5]], ids=str)
def test_a_dimmer_object_is_not_lost_without_a_word(
    level: int, radius: int, codec: str, options: dict[str, Any], tmp_path: Path
) -> None:
    y, x = np.indices((256, 256))
    pixels = np.where((np.hypot(y % 80 - 40, x % 80 - 40) < 28) & (x < 160), 255, 0)
    pixels[np.hypot(y - 128, x - 215) <= radius] = level
    file = tmp_path / "mask.png"
    Image.fromarray(lossy(pixels.astype(np.uint8), codec, **options)).save(file)
    with pytest.raises(DataError, match=r"mask\.png: holds shades between background"):
        read_mask(file)


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("value", [1, 2, 20])
def test_a_mask_too_dark_for_its_lossy_codec_is_refused(
    value: int, quality: int, tmp_path: Path
) -> None:
    file = tmp_path / "mask.jpg"
    Image.fromarray(SHAPES["rings"].astype(np.uint8) * value).save(file, quality=quality)
    with pytest.raises(DataError, match=r"mask\.jpg: went through a lossy codec .* up to \d+"):
        read_mask(file)


@pytest.mark.parametrize("codec", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
def test_labels_of_a_lossy_codec_are_refused(codec: str, tmp_path: Path) -> None:
    file = tmp_path / f"labels.{codec.lower()}"
    Image.fromarray(LABELS * 100).save(file, codec)
    with pytest.raises(DataError, match=r"labels\.\w+: is an? .*, which changes labels"):
        read_labels(file, 256)


def test_labels_of_a_png_made_of_a_jpeg_are_refused(tmp_path: Path) -> None:
    for labels in (LABELS * 100, LABELS * 10):
        Image.fromarray(lossy(labels, "JPEG", quality=75)).save(tmp_path / "labels.png")
        with pytest.raises(DataError, match=r"labels\.png: holds labels between those"):
            read_labels(tmp_path / "labels.png", 256)


def test_a_lossless_webp_is_read(tmp_path: Path) -> None:
    picture = Image.fromarray(np.repeat(LABELS[..., None], 3, -1))
    picture.save(tmp_path / "labels.webp", lossless=True)
    assert np.array_equal(read_labels(tmp_path / "labels.webp", 3), LABELS)


def exact_masks() -> dict[str, Array]:
    """Masks of many numbers, none of which is a shade."""
    random = np.random.default_rng(1)
    cells = label(rings(96, 120))
    blocks = random.integers(0, 60000, (24, 30)).repeat(4, 0).repeat(4, 1)
    blocks[:8] = 0
    specks = np.where(random.random((100, 100)) < 0.02, random.integers(1, 60000, (100, 100)), 0)
    void = np.where(ndimage.binary_dilation(rings(96, 120)), 255, 0) - 254 * rings(96, 120)
    thin = np.where(lines(), np.where(np.indices((128, 128))[1] < 64, 128, 255), 0)
    return {"cells": cells * 40, "blocks": blocks, "specks": specks, "void": void, "thin": thin}


@pytest.mark.parametrize("name", exact_masks())
def test_instances_and_classes_are_no_shades(name: str, tmp_path: Path) -> None:
    stored = exact_masks()[name]
    tifffile.imwrite(tmp_path / "mask.tif", stored.astype(np.uint16))
    assert np.array_equal(read_mask(tmp_path / "mask.tif"), stored != 0)


def test_labels_of_any_pattern_are_read(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 5, (48, 64))
    for labels in (random, np.indices((48, 64))[1] % 5, np.indices((48, 64))[1] // 16):
        tifffile.imwrite(tmp_path / "labels.tif", labels)
        assert np.array_equal(read_labels(tmp_path / "labels.tif", 5), labels)


def test_shades_are_told_from_regions_in_volumes() -> None:
    volume = np.zeros((6, 48, 64))
    volume[1:5] = ndimage.zoom(SHAPES["bars"][20:-20, 20:-20].astype(float), 1, order=1)
    blurred = ndimage.uniform_filter(volume, (1, 3, 3))
    mask = levels.foreground(Path("volume"), blurred[..., None])
    assert np.array_equal(mask[2], blurred[2] > 0.5)
    assert mask.sum() < (blurred > 0).sum()


# --- bands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [4, 5])
def test_more_bands_than_three_are_kept(
    bands: int, dtype: str, planar: str, tmp_path: Path
) -> None:
    file = tmp_path / "image.tif"
    stored = np.random.default_rng(0).integers(1, 200, (bands, 20, 30)).astype(dtype)
    photometric = "rgb" if bands == 4 else "minisblack"
    tifffile.imwrite(
        file,
        stored if planar == "separate" else np.moveaxis(stored, 0, -1),
        photometric=photometric,
        planarconfig=planar,
        extrasamples=["unspecified"] * (bands - (3 if bands == 4 else 1)),
    )
    image = read_bands(file)
    assert image.shape == (20, 30, bands)
    scale = 255 if dtype == "uint8" else stored.max()
    np.testing.assert_allclose(np.moveaxis(image, -1, 0), stored / scale, rtol=1e-6)
    with pytest.raises(DataError, match=rf"image\.tif: has {bands} bands, takes 1 or 3"):
        read_colour(file)
    with pytest.raises(DataError, match=rf"image\.tif: has {bands} bands"):
        read_mask(file)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("extension", ["tif", "png"])
def test_infrared_that_is_tagged_as_alpha_is_kept(
    dtype: str, extension: str, tmp_path: Path
) -> None:
    file = tmp_path / f"image.{extension}"
    random = np.random.default_rng(0)
    scale = 1 if (dtype, extension) == ("float32", "tif") else 200
    stored = (random.random((20, 30, 4)) * scale).astype(dtype)
    if extension == "tif":
        tifffile.imwrite(file, stored, photometric="rgb", extrasamples=["unassalpha"])
    elif dtype == "uint8":
        Image.fromarray(stored).save(file)
    else:
        png(file, stored.astype(np.uint16), 16)
    assert read_bands(file).shape == (20, 30, 4)
    with pytest.raises(DataError, match=r"image\.\w+: has 4 bands, takes 1 or 3"):
        read_colour(file)


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_bands_keep_their_order_beside_one_that_is_tagged_as_alpha(
    photometric: Literal["rgb", "minisblack"], tmp_path: Path
) -> None:
    file = tmp_path / "image.tif"
    stored = np.random.default_rng(0).integers(1, 60000, (20, 30, 5)).astype(np.uint16)
    others = ["unspecified"] * (1 if photometric == "rgb" else 3)
    tifffile.imwrite(
        file, stored, photometric=photometric, planarconfig="contig",
        extrasamples=["unassalpha", *others],
    )  # fmt: skip
    np.testing.assert_allclose(read_bands(file), stored / stored.max(), rtol=1e-6)


def test_infrared_that_is_tagged_as_alpha_makes_no_mask(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for bands in (2, 4):
        stored = random.integers(1, 60000, (20, 30, bands)).astype(np.uint16)
        png(tmp_path / "mask.png", stored, 16)
        for read in (read_mask, lambda file: read_labels(file, 3)):
            with pytest.raises(DataError, match=rf"mask\.png: has {bands} bands"):
                read(tmp_path / "mask.png")
    # Half-transparent where something is, and something is nearly everywhere.
    layer([9] * 3, [9] * 3, ~MASK * 100).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), ~MASK)
    assert read_bands(tmp_path / "mask.png").shape == (48, 64, 3)


@pytest.mark.parametrize(("photometric", "name"), [("separated", "CMYK"), ("cielab", r"L\*a\*b\*")])
def test_coded_colours_of_sixteen_bits_are_refused_with_what_to_do(
    photometric: str, name: str, tmp_path: Path
) -> None:
    stored = np.zeros((48, 64, 4 if photometric == "separated" else 3), np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", stored, photometric=photometric)
    with pytest.raises(DataError, match=rf"is in {name} of uint16; takes grey, or red, green"):
        read_bands(tmp_path / "image.tif")


def test_topology_trains_on_five_bands(tmp_path: Path) -> None:
    data = write_images(tmp_path / "bands")
    for split in ("train", "val", "test"):
        for index in range(2):
            file = data / split / "images" / f"{index}.jpg"
            grey = np.asarray(Image.open(file).convert("L"))
            file.unlink()
            tifffile.imwrite(
                file.with_suffix(".tif"),
                np.stack([grey // n for n in range(1, 6)]),
                photometric="minisblack",
                planarconfig="separate",
                extrasamples=["unspecified"] * 4,
            )
    options = ["--crop-size", "32", "--features", "2x2x2x2x2x2", "--iterations", "1"]
    common = ["--out", str(tmp_path), "--one-process", "--seeds", "1", "--scnp", "off"]
    assert topology(["run", "--data", str(data), *common, *options]) == 0


# --- values that are not finite, and other nets -----------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    tifffile.imwrite(file, np.where(MASK, 1, value).astype(np.float32))
    for read in (read_bands, read_colour, read_mask, lambda file: read_labels(file, 3)):
        with pytest.raises(DataError, match=r"image\.tif: holds values that are not finite"):
            read(file)
    for infrared in (np.where(MASK, 1, value), np.full(MASK.shape, value)):  # tagged as alpha
        stored = np.stack([*[MASK] * 3, infrared], axis=-1).astype(np.float32)
        tifffile.imwrite(file, stored, photometric="rgb", extrasamples=["unassalpha"])
        with pytest.raises(DataError, match=r"image\.tif: holds values that are not finite"):
            read_bands(file)


@pytest.mark.parametrize("command", ["demo", "run"])
def test_a_nan_is_found_before_training(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    image[:2] = np.nan
    (data / "train" / "images" / "0.jpg").unlink()
    tifffile.imwrite(data / "train" / "images" / "0.tif", image)
    if command == "run":
        error = failing(capsys, "run", "--data", data, "--out", tmp_path)
    else:
        assert demo(["--data", str(data), "--crop-size", "32", "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
    assert f"{data / 'train' / 'images' / '0.tif'}: holds values that are not finite" in error


def test_the_demo_stops_at_a_loss_that_is_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data")
    diverging = replace(PRESET, learning_rate=float("inf"))
    monkeypatch.setattr("benchmarks.demo.__main__.PRESET", diverging)
    out = tmp_path / "out"
    options = ["--crop-size", "32", "--iterations", "20", "--out", str(out)]
    assert demo(["--data", str(data), *options]) == 1
    captured = capsys.readouterr()
    assert "error: ce_dice-off-seed0: the loss is nan at iteration " in captured.err
    assert "Compared with" not in captured.out
    assert list(out.iterdir()) == []


def test_nothing_to_measure_is_an_error_of_thickness(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for index in range(2):
        save(data / "val" / "masks" / f"{index}.png", np.zeros((32, 32)))
    error = failing(capsys, "thickness", data, "--split", "val")
    assert error.endswith(f"{data / 'val'}: no mask has a foreground (nonzero) pixel")


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("command", ["demo", "run", "thickness"])
def test_masks_without_background_are_an_error(
    command: str, split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for index in range(2):
        save(data / split / "masks" / f"{index}.png", np.full((32, 32), 255))
    if command == "demo":
        assert demo(["--data", str(data), "--crop-size", "32", "--out", str(tmp_path)]) == 1
        error = capsys.readouterr().err
    elif command == "run":
        error = failing(capsys, "run", "--data", data, "--out", tmp_path)
    else:
        error = failing(capsys, "thickness", data, "--split", split)
    assert f"error: {data / split}" in error
    assert "no mask has a background (zero) pixel" in error


def test_one_mask_without_background_among_others_is_fine() -> None:
    masks = [np.ones((4, 4), np.uint8), np.zeros((4, 4), np.uint8)]
    assert check_foreground(Path("train"), masks) == "train: 50 % of the pixels are foreground"
    with pytest.raises(DataError, match="all are of the label 2"):
        check_foreground(Path("train"), [np.full((4, 4), 2, np.uint8)], classes=3)
    assert "100 %" in check_foreground(Path("train"), [np.array([[1, 2]], np.uint8)], classes=3)


def test_the_share_of_foreground_is_told_once_per_split(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "data")
    for split in ("train", "val", "test"):
        for index in range(2):
            mask = np.zeros((32, 32))
            mask[:8] = 1
            save(data / split / "masks" / f"{index}.png", mask)
    toy = ["--crop-size", "32", "--iterations", "1"]
    assert demo(["--data", str(data), "--out", str(tmp_path / "demo"), *toy]) == 0
    said = capfd.readouterr().out
    small = ["--features", "2x2x2x2x2x2", "--seeds", "1", "--scnp", "off", "--workers", "1"]
    run = ["run", "--data", str(data), "--out", str(tmp_path / "out"), *small, *toy]
    assert topology(run) == 0
    for text in (said, capfd.readouterr().err):
        for split in ("train", "val", "test"):
            lines_ = [line for line in text.splitlines() if f"{data / split}" in line]
            assert len(lines_) == 1
            assert lines_[0].endswith(": 25 % of the pixels are foreground")


# --- large images -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_an_image_larger_than_pillows_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # 3072 pixels are six times as many
    for extension in ("png", "tif", "jpg"):
        file = tmp_path / f"mask.{extension}"
        Image.fromarray(MASK.astype(np.uint8) * 255).save(file)
        assert np.array_equal(read_mask(file), MASK)
        assert read_colour(file).shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 500
