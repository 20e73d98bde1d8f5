"""Decode an image file to the numbers that it stores, and to what else it says of them.

Pillow, tifffile and imagecodecs decode. Pillow alone would not do: it inverts "white is zero",
cuts 16 bits per colour to 8, drops bands, and knows no 64-bit numbers.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from benchmarks.common.errors import DataError

Pixels = npt.NDArray[Any]

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # the tag of EXIF and TIFF
# What Pillow writes of a raw mode of 16 bits per sample: "RGB;16B".
SIXTEEN_BITS = re.compile(r";16[BLNS]")
DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")
# Coded colours, which only their conversion makes comparable: ink, luminance with chroma, L*a*b*.
CODED_MODES = ("CMYK", "YCbCr", "LAB", "HSV")
CODED_PHOTOMETRICS = {5: "CMYK", 6: "YCbCr", 8: "L*a*b*", 9: "L*a*b*"}
LOSSY_FORMATS = {"JPEG": "JPEG", "MPO": "JPEG", "JPEG2000": "JPEG 2000", "AVIF": "AVIF"}
# By TIFF's number of the compression: its name, and whether it always loses something.
LOSSY_COMPRESSIONS = {
    **dict.fromkeys((6, 7, 33007, 34892), ("JPEG in TIFF", True)),
    **dict.fromkeys((33003, 33004, 33005, 34712), ("JPEG 2000 in TIFF", False)),
    **dict.fromkeys((22610, 34934), ("JPEG XR in TIFF", False)),
    **dict.fromkeys((34887,), ("LERC in TIFF", False)),
    **dict.fromkeys((34927, 50001), ("WebP in TIFF", False)),
    **dict.fromkeys((50002, 52546), ("JPEG XL in TIFF", False)),
}
MOSTLY = 0.5  # share of pixels
REDUCED, TRANSPARENCY_MASK = 1, 4  # bits of TIFF's NewSubfileType


@dataclass(frozen=True)
class StoredImage:
    """The numbers of an image file, the right way up."""

    values: Pixels  # [height, width, bands]; of a palette the indices
    full_scale: float | None  # the largest value that up to 8 bits hold; None where deeper
    alpha: Pixels | None = None  # [height, width]
    alpha_place: int | None = None  # among the bands; None where it is the last
    palette: npt.NDArray[np.uint8] | None = None  # [entries, 4]: red, green, blue, alpha
    lossy_codec: str | None = None  # the codec's name, if it may have changed values
    surely_lossy: bool = False

    def turned(self, orientation: int) -> StoredImage:
        """As a viewer shows it, by the orientation tag (1 to 8) of EXIF and TIFF."""
        if orientation not in range(2, 9):
            return self
        alpha = None if self.alpha is None else _turned(self.alpha, orientation)
        return replace(self, values=_turned(self.values, orientation), alpha=alpha)

    @property
    def bands(self) -> Pixels:
        """[height, width, bands] of an image: a palette's colours instead of its indices.

        Alpha is no band, unless it cannot be alpha.
        """
        if self.palette is not None:
            return entries(self.palette, self.values[:, :, 0])[:, :, :3]
        if self.alpha is None or not self.alpha_is_a_band:
            return self.values
        place = self.values.shape[2] if self.alpha_place is None else self.alpha_place
        before, after = self.values[:, :, :place], self.values[:, :, place:]
        return np.concatenate((before, self.alpha[:, :, np.newaxis], after), axis=2)

    @property
    def alpha_is_a_band(self) -> bool:
        """Whether alpha looks like infrared beside colours, which programs tag as alpha.

        Most of it lies between transparent and opaque, and most of it is not of one value; or some
        of it is no number.
        """
        if self.alpha is None or self.palette is not None:
            return False
        if self.alpha.dtype.kind == "f" and not np.isfinite(self.alpha).all():
            return True
        opaque = np.iinfo(self.alpha.dtype).max if self.alpha.dtype.kind in "ui" else 1
        in_between = (self.alpha != 0) & (self.alpha != opaque)
        if in_between.mean() < MOSTLY:
            return False
        _, pixels = np.unique(self.alpha, return_counts=True)
        return bool(pixels.max() < MOSTLY * self.alpha.size)


def entries(palette: npt.NDArray[np.uint8], indices: Pixels) -> npt.NDArray[np.uint8]:
    """The palette's entry of every index, [..., 4]; black where it has none."""
    largest = int(indices.max(initial=0))
    whole = np.zeros((max(largest + 1, len(palette)), 4), np.uint8)
    whole[:, 3] = 255
    whole[: len(palette)] = palette
    return whole[indices]


def read_stored(file: Path) -> StoredImage:
    """What an image file stores. Raises DataError."""
    try:
        with file.open("rb") as opened:
            start = opened.read(32)
        return _read_tiff(file) if start[:4] in TIFF_SIGNATURES else _read_other(file, start)
    except DataError:
        raise
    except Exception as error:  # many kinds, by format and by where the damage is
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read as an image ({reason})") from error


def optional_module(name: str, needed_for: str, extra: str) -> ModuleType:
    """An imported module. Raises DataError that names the extra to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f'{needed_for}: needs {name}; pip install "scnp_kernels[{extra}]"'
        ) from error


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Pillow takes images of any size: whole slides and mosaics are no attack."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(file: Path) -> StoredImage:
    import tifffile  # here: it takes time, and few data sets need it

    with tifffile.TiffFile(file) as tiff:
        pages = [
            page
            for page in map(_whole_page, tiff.pages)
            if not page.subfiletype & (REDUCED | TRANSPARENCY_MASK)
        ]
        if not pages:
            raise DataError(f"{file}: holds no image of full size")
        page = pages[0]
        # ImageJ describes large stacks by a first page alone.
        images = max(len(pages), tiff.series[0].size // max(1, page.size))
        if images > 1:
            raise DataError(_several(file, images))
        codec, surely = LOSSY_COMPRESSIONS.get(int(page.compression), (None, False))
        if page.photometric in CODED_PHOTOMETRICS and codec is None:
            if page.dtype != np.uint8:
                coded = CODED_PHOTOMETRICS[page.photometric]
                raise DataError(
                    f"{file}: is in {coded} of {page.dtype}; takes grey, or red, green and blue"
                )
            return _from_pillow(file)
        values = page.asarray()
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        elif page.axes == "YX":
            values = values[:, :, np.newaxis]
        elif page.axes != "YXS":
            raise DataError(f"{file}: has the axes {page.axes}, takes one image")
        _check_numbers(file, values)
        palette = None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            palette = _tiff_palette(page.colormap)
        alpha, place = None, None
        marked = [place for place, kind in enumerate(page.extrasamples) if kind in (1, 2)]
        if marked:
            place = values.shape[2] - len(page.extrasamples) + marked[0]
            alpha, values = values[:, :, place], np.delete(values, place, axis=2)
        bits = page.bitspersample
        full_scale = _full_scale(values, bits if isinstance(bits, int) else 16)
        tag = page.tags.get(ORIENTATION)
        stored = StoredImage(values, full_scale, alpha, place, palette, codec, surely)
        return stored.turned(int(tag.value) if tag is not None else 1)


def _whole_page(page: Any) -> Any:
    """A page with its tags: pages of a stack may be read in part at first."""
    return page if hasattr(page, "subfiletype") else page.aspage()


def _tiff_palette(colormap: Pixels) -> npt.NDArray[np.uint8]:
    colours = np.moveaxis(colormap, 0, -1)
    # Some programs write 8 bits where the standard says 16.
    shift = 8 if colours.max(initial=0) > 255 else 0
    opaque = np.full((len(colours), 1), 255)
    return np.concatenate((colours >> shift, opaque), axis=1).astype(np.uint8)


def _read_other(file: Path, start: bytes) -> StoredImage:
    if start[:8] == PNG_SIGNATURE and start[24] == 16:
        return _from_imagecodecs(file, "png_decode")
    if start[:8] == PNG_SIGNATURE and start[24] in (2, 4) and start[25] == 0:
        return _from_pillow(file, grey_bits=start[24])
    return _from_pillow(file)


def _from_imagecodecs(file: Path, decoder: str) -> StoredImage:
    """Sixteen bits per sample of any colour, where Pillow keeps the upper eight."""
    imagecodecs = optional_module("imagecodecs", f"{file}: 16 bits per colour", "demo")
    values = np.asarray(getattr(imagecodecs, decoder)(file.read_bytes()))
    planes = values[:, :, np.newaxis] if values.ndim == 2 else values
    alpha = None
    if planes.shape[2] in (2, 4):
        alpha, planes = planes[:, :, -1], planes[:, :, :-1]
    with any_size(), Image.open(file) as picture:
        picture.load()  # an orientation may stand behind the pixels
        codec = LOSSY_FORMATS.get(picture.format or "")
        stored = StoredImage(planes, None, alpha, lossy_codec=codec)
        return stored.turned(_orientation(picture))


def _from_pillow(file: Path, grey_bits: int = 8) -> StoredImage:
    """What Pillow decodes; grey samples of 2 or 4 ``grey_bits``, which it stretches to 255."""
    with any_size(), Image.open(file) as picture:
        images = getattr(picture, "n_frames", 1)
        if images > 1 and picture.format != "MPO":  # whose others are previews
            raise DataError(_several(file, images))
        depth_lost = picture.mode not in DEEP_MODES and SIXTEEN_BITS.search(str(picture.tile))
        if picture.format == "PPM":
            _check_netpbm(file, picture)
        skipped = _skipped_alpha(file, picture)
        picture.load()
        codec, surely = LOSSY_FORMATS.get(picture.format or ""), False
        if picture.format in ("JPEG", "MPO"):
            surely = True
        elif picture.format == "WEBP" and not _is_lossless_webp(file):
            codec, surely = "lossy WebP", True
        elif picture.format == "JPEG2000" and picture.mode not in ("L", *DEEP_MODES):
            deep = _from_imagecodecs(file, "jpeg2k_decode")  # Pillow does not say how many bits
            if deep.values.dtype != np.uint8:
                return deep
        if depth_lost:
            raise DataError(
                f"{file}: has 16 bits per colour, of which 8 can be read in this format; takes "
                "PNG or TIFF"
            )
        orientation = _orientation(picture)
        values, alpha, palette = _planes(picture, 255 // (2**grey_bits - 1))
        _check_numbers(file, values)
        stored = StoredImage(
            values,
            _full_scale(values, grey_bits),
            skipped if alpha is None else alpha,
            palette=palette,
            lossy_codec=codec,
            surely_lossy=surely,
        )
        return stored.turned(orientation)


def _skipped_alpha(file: Path, picture: ImageFile) -> Pixels | None:
    """The fourth bytes of a bitmap's pixels, where they differ: as Pillow itself writes alpha."""
    for tile in picture.tile if picture.format == "BMP" else ():
        if tile.codec_name == "raw" and isinstance(tile.args, tuple) and tile.args[0] == "BGRX":
            width, height = picture.size
            stored = np.fromfile(file, np.uint8, width * height * 4, offset=tile.offset)
            alpha = stored.reshape(height, width, 4)[:: tile.args[2], :, 3]
            return None if (alpha == alpha[0, 0]).all() else alpha
    return None


def _planes(
    picture: Image.Image, stretched: int
) -> tuple[Pixels, Pixels | None, npt.NDArray[np.uint8] | None]:
    """Values [height, width, bands], alpha and palette of a picture; grey is as stored again."""
    if picture.mode in ("P", "PA"):
        stored = np.asarray(picture)
        picture.apply_transparency()
        colours = picture.getpalette("RGBA") or []
        palette = np.array(colours, np.uint8).reshape(-1, 4)
        if picture.mode == "PA":
            return stored[:, :, :1], stored[:, :, 1], palette
        return stored[:, :, np.newaxis], None, palette
    if picture.mode in CODED_MODES:
        picture = picture.convert("RGB")
    elif picture.mode in ("La", "RGBa"):  # colours multiplied by alpha
        picture = picture.convert(picture.mode.upper())
    stored = np.asarray(picture)
    planes = stored[:, :, np.newaxis] if stored.ndim == 2 else stored
    if picture.mode in ("LA", "RGBA"):
        return planes[:, :, :-1], planes[:, :, -1], None
    if picture.mode == "RGBX":
        return planes[:, :, :3], None, None
    transparent = picture.info.get("transparency")
    if stretched > 1:
        planes = planes // stretched
    if isinstance(transparent, (int, tuple)):  # one value or colour stands for "nothing here"
        seen = (planes != np.asarray(transparent).astype(planes.dtype)).any(axis=2)
        return planes, seen.astype(np.uint8) * 255, None
    return planes, None, None


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF says nothing; viewers go on too
        return 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _full_scale(values: Pixels, bits: int) -> float | None:
    if values.dtype == np.bool_:
        return 1.0
    return float(2 ** min(bits, 8) - 1) if values.dtype == np.uint8 else None


def _several(file: Path, images: int) -> str:
    return f"{file}: holds {images} images, takes one (the training images decide: 2D or volumes)"


def _check_numbers(file: Path, values: Pixels) -> None:
    if values.dtype.kind not in "buif":
        raise DataError(f"{file}: holds {values.dtype}, takes real numbers")


def _check_netpbm(file: Path, picture: ImageFile) -> None:
    """Raises DataError where Pillow would stretch the values that a PGM or PPM file holds."""
    for tile in picture.tile:
        if tile.codec_name in ("ppm", "ppm_plain"):
            largest = tile.args[-1] if isinstance(tile.args, tuple) else 255
            if picture.mode != "1" and largest != 255:
                raise DataError(
                    f"{file}: has the largest value {largest}, of which 255 can be read in this "
                    "format; takes PNG or TIFF"
                )


def _is_lossless_webp(file: Path) -> bool:
    """Whether the pixels lie in a chunk of lossless data, by the chunks of the file."""
    with file.open("rb") as opened:
        opened.seek(12)
        while len(header := opened.read(8)) == 8:
            if header[:4] in (b"VP8 ", b"VP8L"):
                return header[:4] == b"VP8L"
            length = int.from_bytes(header[4:], "little")
            opened.seek(length + length % 2, 1)
    return False
