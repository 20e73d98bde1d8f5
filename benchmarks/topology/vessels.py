"""`vessels`: write a data set of vessel trees, grown by a program, in 3D or in 2D."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from benchmarks.common.errors import UsageError
from benchmarks.common.files import new_folder, write_text
from benchmarks.common.tables import by
from benchmarks.topology.npz_files import write_npz
from benchmarks.topology.options import natural, positive, sides

SHAPE = (48, 64, 64)
COUNTS = {"train": 10, "val": 4, "test": 10}
SPACING = (1.0, 1.0, 1.0)
LEAST_SIDES = {2: 96, 3: 32}  # by dimensions: in smaller images trees fill half of the plane
MOST_FOREGROUND = 0.7  # of a split: more are no structures in a background
LARGEST_SCALE = 4  # the balls that draw a vessel still overlap

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
SPOT_BLUR = 0.9  # voxels

Vector = npt.NDArray[np.float64]  # depth, row, column; in 2D row, column
Volume = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

README = """# Vessel trees in {dimensions}D, grown by a program

{counts}, each of {shape} {unit}s ({axes}), seed {seed}. Nothing here was measured: a
figure on these {subject}s says how a method fares on thin branching structures with an exact truth,
and nothing about a scanner. Written by `python -m benchmarks.topology vessels`.

Files: `{{train,val,test}}/ID.npz` with {files}.

How {a_subject} comes about, every random number from its seed, split and index:

1. **Growth.** Two trees enter through two {faces}, with a radius of {root} {unit}s. A
   vessel runs for {segment} of its radii and bends at random on the way; near the border it is
   turned back inwards. Then it forks in two. The cubes of the branches' radii add up to the cube of
   their parent's (Murray's law); the larger branch gets 50 to 80 % of it, and turns less than the
   smaller. A branch whose radius would be below {thinnest} {unit}s is not grown.
{scaled}2. **Truth.** All {unit}s whose centre is within a vessel's radius of its axis, and those of
   the axis itself. {pieces}
3. **{gaps_title}** {gaps}
4. **Scan.** {bright} The
   image is blurred (Gaussian of {blur} {unit}s); a slow shading, a texture and a grain are added.
"""
SCALED = """   The trees are then drawn {scale:g} times as large, gaps and all, and the middle is
   kept: as many {unit}s as above.
"""
PIECES = "Every tree is one piece ({neighbours} neighbours); trees may touch."
CROSSINGS = "Branches cross in the plane, and enclose holes."
PIECES_OF_MIDDLE = "In the middle that is kept, a tree may fall into several pieces."
GAPS_OF = """About every {gaps:.0f} {unit}s along a vessel its contrast with the tissue falls to
   {dim:.0%}, for a few {unit}s. The truth runs on there: this is where networks break vessels."""
FAINTER = "Vessels are bright, thin ones less so"
SPOTTED = "; there are bright spots that are no vessels"
NO_GAPS = """All along, and thin or thick, vessels are drawn in the same brightness. (The blur
   still takes more from thin ones.)"""


@dataclass(frozen=True)
class Recipe:
    """What a volume, or an image, shows: its sides, and how its trees are drawn."""

    shape: tuple[int, ...]
    scale: float = 1.0  # of the trees; what of them does not fit is left out around the middle
    even: bool = False  # without dim gaps, fainter thin vessels and bright spots


@dataclass(frozen=True)
class Vessel:
    """A vessel from one fork to the next: its axis, and the vessel that it branched from."""

    axis: Vector  # [points, dimensions], STEP apart
    radius: float
    parent: int | None  # its number in the tree; None for the root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `vessels`."""
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="to write: {train,val,test}/ID.npz and a README")
    add("--seed", type=natural, default=0, help="of all volumes (0)")
    add(
        "--shape",
        type=sides,
        default=SHAPE,
        metavar="DxHxW",
        help="of each (48x64x64); HxW writes images",
    )
    add(
        "--counts",
        type=_counts,
        default=tuple(COUNTS.values()),
        metavar="N,N,N",
        help="volumes to train, to validate and to test on (10,4,10)",
    )
    add(
        "--scale",
        type=_scale,
        default=1.0,
        metavar="X",
        help="draw the trees X times as large, and keep the middle: thicker vessels (1)",
    )
    add("--even", action="store_true", help="without dim gaps, fainter vessels and bright spots")


def run(options: argparse.Namespace) -> None:
    """Write the data set, whole; refuses a folder that holds something."""
    folder: Path = options.folder
    if min(options.shape) < LEAST_SIDES.get(len(options.shape), math.inf):
        raise UsageError(
            f"--shape: got {by(options.shape)}, takes three sides of {LEAST_SIDES[3]} voxels or "
            f"more, such as 48x64x64, or two of {LEAST_SIDES[2]} pixels or more, such as 128x128"
        )
    counts = dict(zip(COUNTS, options.counts, strict=True))
    with new_folder(folder) as temporary:
        write(temporary, options.seed, Recipe(options.shape, options.scale, options.even), counts)
    print(f"Wrote {folder}: {_listed(counts)} {'volumes' if len(options.shape) == 3 else 'images'}")


def write(folder: Path, seed: int, recipe: Recipe, counts: dict[str, int]) -> None:
    """The volumes and their README; equal arguments write equal bytes."""
    for number, (split, count) in enumerate(counts.items()):
        (folder / split).mkdir()
        share = 0.0
        for index in range(count):
            image, truth = volume((seed, number, index), recipe)
            share += truth.mean() / count
            name, mask = f"{split}_{index:02d}", truth.astype(np.uint8)
            write_npz(folder / split / f"{name}.npz", name, image, mask, SPACING)
        if not 0 < share < MOST_FOREGROUND:
            raise UsageError(
                f"--scale: got {recipe.scale:g} with a --shape of {by(recipe.shape)}, of which "
                f"vessels would fill {share:.0%} in {split}; takes a smaller scale or larger shape"
            )
    write_text(folder / "README.md", _readme(seed, recipe, counts))


def volume(seed: Sequence[int], recipe: Recipe) -> tuple[Bytes, Mask]:
    """An image of ``recipe.shape`` and its truth: every vessel, dim or not, and nothing else."""
    random = np.random.default_rng(seed)
    faces = random.permutation(2 * len(recipe.shape))[:2]
    vessels = [vessel for face in faces for vessel in tree(random, recipe.shape, int(face))]
    brightness = np.zeros(recipe.shape, np.float32)
    truth = np.zeros(recipe.shape, np.bool_)
    for vessel in vessels:
        contrast = np.ones(len(vessel.axis)) if recipe.even else _contrast(random, vessel)
        _draw(_scaled(vessel, recipe), contrast, brightness, truth)
    return _scan(random, brightness, 0 if recipe.even else brightness.size // SPOTS), truth


def _readme(seed: int, recipe: Recipe, counts: dict[str, int]) -> str:
    solid = len(recipe.shape) == 3
    unit = "voxel" if solid else "pixel"
    pieces = PIECES.format(neighbours=26 if solid else 8)
    spotted = SPOTTED if math.prod(recipe.shape) >= SPOTS else ""
    gaps = GAPS_OF.format(gaps=GAPS, dim=1 - DIM, unit=unit)
    return README.format(
        dimensions=len(recipe.shape),
        counts=_listed(counts),
        shape=" x ".join(map(str, recipe.shape)),
        unit=unit,
        axes="depth x height x width" if solid else "height x width",
        seed=seed,
        subject="volume" if solid else "image",
        a_subject="a volume" if solid else "an image",
        files="`image` (uint8), `mask` (uint8, 1 in vessels) and `spacing`\n(voxels are cubes)"
        if solid
        else "`images` (uint8, one image), `masks` (uint8, 1 in\nvessels) and `ids`",
        faces="faces of the volume" if solid else "sides of the image",
        root=_range(ROOT_RADII),
        segment=_range(SEGMENT),
        thinnest=THINNEST,
        scaled="" if recipe.scale == 1 else SCALED.format(scale=recipe.scale, unit=unit),
        pieces=(pieces if recipe.scale == 1 else PIECES_OF_MIDDLE)
        + ("" if solid else f"\n   {CROSSINGS}"),
        gaps_title="No gaps." if recipe.even else "Dim gaps.",
        gaps=NO_GAPS if recipe.even else gaps,
        bright="Vessels are bright." if recipe.even else f"{FAINTER}{spotted}.",
        blur=BLUR,
    )


def tree(random: np.random.Generator, shape: Sequence[int], face: int) -> list[Vessel]:
    """A vessel that enters through a face (two per axis: 0 to 5), with all its branches."""
    axis, far = divmod(face, 2)
    size = np.array(shape, np.float64)
    start = size * random.uniform(0.3, 0.7, len(size))
    start[axis] = size[axis] - 1 if far else 0.0
    heading = np.zeros(len(size))
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
    """The axis of one vessel, [points, dimensions], and where it heads in the end."""
    points = [start]
    for _ in range(math.ceil(random.uniform(*SEGMENT) * radius / STEP)):
        heading = heading + random.normal(0, BEND, len(size))
        inwards = (points[-1] < MARGIN).astype(float) - (points[-1] > size - 1 - MARGIN)
        heading = heading + INWARDS * inwards
        heading /= np.linalg.norm(heading)
        points.append(np.clip(points[-1] + STEP * heading, 0, size - 1))
    return np.array(points), heading


def _turned(random: np.random.Generator, heading: Vector, angle: float) -> Vector:
    """The heading, turned by an angle to a random side."""
    if len(heading) == 2:
        side = np.array([-heading[1], heading[0]]) * random.choice([-1.0, 1.0])
    else:
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


def _scaled(vessel: Vessel, recipe: Recipe) -> Vessel:
    """The vessel as it is drawn: so many times larger around the middle of the volume."""
    middle = (np.array(recipe.shape) - 1) / 2
    around = recipe.scale * (vessel.axis - middle) + middle
    axis = vessel.axis if recipe.scale == 1 else around
    return replace(vessel, axis=axis, radius=recipe.scale * vessel.radius)


def _draw(vessel: Vessel, contrast: Vector, brightness: Volume, truth: Mask) -> None:
    """Draw the balls of a vessel: soft-edged into ``brightness``, hard-edged into ``truth``."""
    reach = math.ceil(vessel.radius) + 1
    for point, bright in zip(vessel.axis, contrast, strict=True):
        nearest = np.rint(point).astype(int)
        if (nearest + reach < 0).any() or (nearest - reach >= truth.shape).any():
            continue
        low = np.maximum(nearest - reach, 0)
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, nearest + reach + 1, strict=True))
        places = np.indices(brightness[window].shape).astype(np.float64)
        offsets = places + (low - point).reshape(-1, *[1] * truth.ndim)
        distance = np.sqrt((offsets**2).sum(0))
        soft = bright * np.clip(vessel.radius + 0.5 - distance, 0, 1)
        brightness[window] = np.maximum(brightness[window], soft)
        truth[window] |= distance <= vessel.radius
        if (nearest >= 0).all() and (nearest < truth.shape).all():
            truth[tuple(nearest)] = True


def _scan(random: np.random.Generator, brightness: Volume, spot_count: int) -> Bytes:
    """The image of the vessels: among bright spots, blurred, shaded, with texture and grain."""
    shape = brightness.shape
    spots = np.zeros(shape)
    # In a plane blurring takes less from a point than in space; the spots' peaks are to be alike.
    peak = (math.sqrt(2 * math.pi) * SPOT_BLUR) ** (len(shape) - 3)
    for _ in range(spot_count):
        place = tuple(int(random.integers(side)) for side in shape)
        spots[place] = random.uniform(4, 12) * peak
    bright = np.maximum(brightness, np.minimum(gaussian_filter(spots, SPOT_BLUR), 0.8))
    image = TISSUE + (VESSEL - TISSUE) * gaussian_filter(bright, BLUR)
    for deviation, width in ((SHADING, 12.0), (TEXTURE, 1.5), (GRAIN, 0.0)):
        noise = gaussian_filter(random.standard_normal(shape), width, mode="wrap")
        image = image + deviation * (noise - noise.mean()) / noise.std()
    scanned: Bytes = np.rint(255 * np.clip(image / 1.25, 0, 1)).astype(np.uint8)
    return scanned


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(positive(part) for part in text.split(","))
    if len(counts) != len(COUNTS):
        raise argparse.ArgumentTypeError(f"got {text!r}, takes three numbers, such as 10,4,10")
    return counts


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 1 <= scale <= LARGEST_SCALE:
        raise argparse.ArgumentTypeError(f"got {text!r}, takes a number from 1 to {LARGEST_SCALE}")
    return scale


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"
