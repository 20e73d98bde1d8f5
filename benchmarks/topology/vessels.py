"""`vessels`: write a data set of 3D vessel trees, grown by a program."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from benchmarks.common.errors import UsageError
from benchmarks.common.files import new_folder, write_text
from benchmarks.topology.options import positive, sides

SHAPE = (48, 64, 64)
COUNTS = {"train": 10, "val": 4, "test": 10}
SPACING = (1.0, 1.0, 1.0)

MURRAY = 3.0  # parent radius ** 3 = sum of the branches' radii ** 3
ROOT_RADII = (2.4, 3.2)  # voxels
THINNEST = 0.9  # radius at which a vessel is not drawn any more
SEGMENT = (7.0, 12.0)  # how long a vessel runs until it forks, in its radii
STEP = 0.5  # voxels between the balls that draw a vessel
BEND = 0.06  # radians of turning per step
LARGER_SHARE = (0.5, 0.8)  # of a fork's cubed radius that goes to its larger branch
MARGIN = 8.0  # voxels: nearer to the border a vessel turns back
INWARDS = 0.12  # by so much of a step

VESSEL, TISSUE, DIM = 1.0, 0.45, 0.55  # brightness; DIM: lost in a gap's middle
GAPS = 40.0  # voxels of vessel per gap
GAP_HALF = (1.5, 3.5)  # voxels: half of a gap's length
BLUR = 0.8  # voxels
SHADING, TEXTURE, GRAIN = 0.06, 0.05, 0.09  # deviations of noise 12, 1.5 and 0 voxels wide
SPOTS = 6_000  # voxels per bright spot that is no vessel

Vector = npt.NDArray[np.float64]  # depth, row, column
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

README = """# Vessel trees in 3D, grown by a program

{counts}, each of {shape} voxels (depth x height x width), seed {seed}. Nothing here was measured: a
figure on these volumes says how a method fares on thin branching structures with an exact truth,
and nothing about a scanner. Written by `python -m benchmarks.topology vessels`.

Files: `{{train,val,test}}/ID.npz` with `image` (uint8), `mask` (uint8, 1 in vessels) and `spacing`
(voxels are cubes).

How a volume comes about, every random number from its seed, split and index:

1. **Growth.** Two trees enter through two faces of the volume, with a radius of {root} voxels. A
   vessel runs for {segment} of its radii and bends at random on the way; near the border it is
   turned back inwards. Then it forks in two. The cubes of the branches' radii add up to the cube of
   their parent's (Murray's law); the larger branch gets 50 to 80 % of it, and turns less than the
   smaller. A branch whose radius would be below {thinnest} voxels is not grown.
2. **Truth.** All voxels whose centre is within a vessel's radius of its axis, and those of the axis
   itself. Every tree is one piece (26 neighbours); trees may touch.
3. **Dim gaps.** About every {gaps:.0f} voxels along a vessel its contrast with the tissue falls to
   {dim:.0%}, for a few voxels. The truth runs on there: this is where networks break vessels.
4. **Scan.** Vessels are bright, thin ones less so; there are bright spots that are no vessels. The
   image is blurred (Gaussian of {blur} voxels); a slow shading, a texture and a grain are added.
"""


@dataclass(frozen=True)
class Vessel:
    """A vessel from one fork to the next: its axis, and the vessel that it branched from."""

    axis: Vector  # [points, 3], STEP apart
    radius: float
    parent: int | None  # its number in the tree; None for the root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vessels`."""
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="to write: {train,val,test}/ID.npz and a README")
    add("--seed", type=int, default=0, help="of all volumes (0)")
    add("--shape", type=sides, default=SHAPE, metavar="DxHxW", help="of each (48x64x64)")
    add(
        "--counts",
        type=_counts,
        default=tuple(COUNTS.values()),
        metavar="N,N,N",
        help="volumes to train, to validate and to test on (10,4,10)",
    )


def run(options: argparse.Namespace) -> None:
    """Write the data set, whole; refuses a folder that holds something."""
    folder: Path = options.folder
    if len(options.shape) != 3 or min(options.shape) < 32:
        raise UsageError("--shape: takes three sides of 32 voxels or more, such as 48x64x64")
    counts = dict(zip(COUNTS, options.counts, strict=True))
    with new_folder(folder) as temporary:
        write(temporary, options.seed, options.shape, counts)
    print(f"Wrote {folder}: {_listed(counts)} volumes")


def write(folder: Path, seed: int, shape: Sequence[int], counts: dict[str, int]) -> None:
    """The volumes and their README; equal arguments write equal bytes."""
    for number, (split, count) in enumerate(counts.items()):
        for index in range(count):
            image, truth = volume((seed, number, index), shape)
            (folder / split).mkdir(exist_ok=True)
            file = folder / split / f"{split}_{index:02d}.npz"
            np.savez(file, image=image, mask=truth.astype(np.uint8), spacing=SPACING)
    write_text(
        folder / "README.md",
        README.format(
            counts=_listed(counts),
            shape=" x ".join(map(str, shape)),
            seed=seed,
            root=_range(ROOT_RADII),
            segment=_range(SEGMENT),
            thinnest=THINNEST,
            gaps=GAPS,
            dim=1 - DIM,
            blur=BLUR,
        ),
    )


def volume(seed: Sequence[int], shape: Sequence[int]) -> tuple[npt.NDArray[np.uint8], Mask]:
    """An image [depth, height, width] and its truth: every vessel, dim or not, and nothing else."""
    random = np.random.default_rng(seed)
    faces = random.permutation(6)[:2]
    vessels = [vessel for face in faces for vessel in tree(random, shape, int(face))]
    brightness = np.zeros(shape, np.float32)
    truth = np.zeros(shape, np.bool_)
    for vessel in vessels:
        _draw(vessel, _contrast(random, vessel), brightness, truth)
    return _scan(random, brightness), truth


def tree(random: np.random.Generator, shape: Sequence[int], face: int) -> list[Vessel]:
    """A vessel that enters through a face (0 to 5: two per axis), with all its branches."""
    axis, far = divmod(face, 2)
    size = np.array(shape, np.float64)
    start = size * random.uniform(0.3, 0.7, 3)
    start[axis] = size[axis] - 1 if far else 0.0
    heading = np.zeros(3)
    heading[axis] = -1.0 if far else 1.0
    radius = random.uniform(*ROOT_RADII)
    vessels: list[Vessel] = []
    waiting: list[tuple[Vector, Vector, float, int | None]] = [(start, heading, radius, None)]
    while waiting:
        start, heading, radius, parent = waiting.pop(0)
        points, heading = _grow(random, start, heading, radius, size)
        vessels.append(Vessel(points, radius, parent))
        for branch_radius, turn in _fork(random, radius):
            if branch_radius >= THINNEST:
                turned = _turned(random, heading, turn) if turn > 0 else heading
                waiting.append((points[-1], turned, branch_radius, len(vessels) - 1))
    return vessels


def _fork(random: np.random.Generator, radius: float) -> Iterator[tuple[float, float]]:
    """The radii of the two branches of a fork, and by how much each turns (radians)."""
    share = random.uniform(*LARGER_SHARE)
    for part in (share, 1 - share):
        yield radius * part ** (1 / MURRAY), (1 - part) * random.uniform(0.8, 1.4)


def _grow(
    random: np.random.Generator, start: Vector, heading: Vector, radius: float, size: Vector
) -> tuple[Vector, Vector]:
    """The axis of one vessel, [points, 3], and where it heads in the end."""
    points = [start]
    for _ in range(math.ceil(random.uniform(*SEGMENT) * radius / STEP)):
        heading = heading + random.normal(0, BEND, 3)
        inwards = (points[-1] < MARGIN).astype(float) - (points[-1] > size - 1 - MARGIN)
        heading = heading + INWARDS * inwards
        heading /= np.linalg.norm(heading)
        points.append(np.clip(points[-1] + STEP * heading, 0, size - 1))
    return np.array(points), heading


def _turned(random: np.random.Generator, heading: Vector, angle: float) -> Vector:
    """The heading, turned by an angle to a random side."""
    side = np.cross(heading, random.standard_normal(3))
    turned: Vector = math.cos(angle) * heading + math.sin(angle) * side / np.linalg.norm(side)
    return turned


def _contrast(random: np.random.Generator, vessel: Vessel) -> Vector:
    """Along the axis: 1 but for dim gaps, and less in thin vessels. [points]"""
    count = len(vessel.axis)
    contrast = np.full(count, min(1.0, 0.55 + 0.2 * vessel.radius))
    for _ in range(int(random.poisson(count * STEP / GAPS))):
        middle, half = random.uniform(0, count), random.uniform(*GAP_HALF) / STEP
        contrast *= 1 - DIM * np.exp(-(((np.arange(count) - middle) / half) ** 4))
    return contrast


def _draw(vessel: Vessel, contrast: Vector, brightness: Volume, truth: Mask) -> None:
    """Draw the balls of a vessel: soft-edged into ``brightness``, hard-edged into ``truth``."""
    reach = math.ceil(vessel.radius) + 1
    for point, bright in zip(vessel.axis, contrast, strict=True):
        nearest = np.rint(point).astype(int)
        low = np.maximum(nearest - reach, 0)
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, nearest + reach + 1, strict=True))
        places = np.indices(brightness[window].shape).astype(np.float64)
        offsets = places + (low - point)[:, None, None, None]
        distance = np.sqrt((offsets**2).sum(0))
        soft = bright * np.clip(vessel.radius + 0.5 - distance, 0, 1)
        brightness[window] = np.maximum(brightness[window], soft)
        truth[window] |= distance <= vessel.radius
        truth[tuple(nearest)] = True


def _scan(random: np.random.Generator, brightness: Volume) -> npt.NDArray[np.uint8]:
    """The image of the vessels: among bright spots, blurred, shaded, with texture and grain."""
    shape = brightness.shape
    spots = np.zeros(shape)
    for _ in range(brightness.size // SPOTS):
        place = tuple(int(random.integers(side)) for side in shape)
        spots[place] = random.uniform(4, 12)
    bright = np.maximum(brightness, np.minimum(gaussian_filter(spots, 0.9), 0.8))
    image = TISSUE + (VESSEL - TISSUE) * gaussian_filter(bright, BLUR)
    for deviation, width in ((SHADING, 12.0), (TEXTURE, 1.5), (GRAIN, 0.0)):
        noise = gaussian_filter(random.standard_normal(shape), width, mode="wrap")
        image = image + deviation * (noise - noise.mean()) / noise.std()
    scanned: npt.NDArray[np.uint8] = np.rint(255 * np.clip(image / 1.25, 0, 1)).astype(np.uint8)
    return scanned


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(positive(part) for part in text.split(","))
    if len(counts) != len(COUNTS):
        raise argparse.ArgumentTypeError(f"got {text!r}, takes three numbers, such as 10,4,10")
    return counts


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"
