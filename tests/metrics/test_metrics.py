"""Promise: what the metrics take and refuse, Dice, roundness, and when they are imported."""

from __future__ import annotations

import ast
from collections.abc import Callable
from math import pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric
from scipy import ndimage

import scnp_kernels.metrics as metrics
from scnp_kernels.metrics import (
    betti_errors,
    betti_matching_error,
    betti_numbers,
    cldice,
    dice,
    roundness_error,
)
from scnp_kernels.metrics.shape import roundness
from tests.fresh_process import run
from tests.integrations.recipes import run_recipe

Mask = np.ndarray[Any, np.dtype[np.bool_]]

OF_PAIRS: list[Callable[..., Any]] = [
    betti_errors,
    betti_matching_error,
    cldice,
    dice,
    roundness_error,
]
DTYPES = [
    *(
        np.dtype(name)
        for name in ("bool", "uint8", "int16", "int64", "uint64", "float16", "float64")
    ),
    *(torch.bool, torch.uint8, torch.int32, torch.bfloat16, torch.float32),
]


def mask(*rows: str) -> Mask:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


TRUTH = mask("#####....", ".........", "..###..##")
PREDICTION = mask("##.##....", ".......#.", "..###....")


def test_the_names() -> None:
    assert metrics.__all__ == sorted(function.__name__ for function in [*OF_PAIRS, betti_numbers])


@pytest.mark.parametrize("package", ["cripser", "scipy", "skimage"])
def test_without_the_extra_one_line_names_it(package: str) -> None:
    result = run(f"import sys; sys.modules[{package!r}] = None; import scnp_kernels.metrics")
    assert result.returncode == 1
    expected = f'scnp_kernels.metrics needs {package}: pip install "scnp_kernels[metrics]"'
    assert result.stderr.splitlines()[-1] == f"ModuleNotFoundError: {expected}"
    assert "During handling" not in result.stderr


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    result = run("import sys; sys.modules['math'] = None; import scnp_kernels.metrics")
    assert result.returncode == 1
    assert "scnp_kernels[metrics]" not in result.stderr


def test_the_package_alone_imports_nothing_of_the_extra() -> None:
    names = ("scnp_kernels.metrics", "skimage", "scipy", "cripser")
    result = run(f"import sys, scnp_kernels; print([n for n in {names!r} if n in sys.modules])")
    assert result.stdout.strip() == "[]", result.stderr


def test_the_metrics_import_nothing_else_of_the_package() -> None:
    assert metrics.__file__
    for file in Path(metrics.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, file
                assert not (node.module or "").startswith("scnp_kernels"), file
            if isinstance(node, ast.Import):
                assert not any(name.name.startswith("scnp_kernels") for name in node.names), file


@pytest.mark.parametrize("function", OF_PAIRS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_kind_of_mask_gives_the_same(
    function: Callable[..., Any], dtype: np.dtype[Any] | torch.dtype
) -> None:
    def converted(image: Mask) -> Any:
        if isinstance(dtype, torch.dtype):
            return torch.from_numpy(image).to(dtype)
        return image.astype(dtype)

    expected = function(PREDICTION, TRUTH)
    assert function(converted(PREDICTION), converted(TRUTH)) == expected
    assert function(converted(PREDICTION), TRUTH) == expected
    assert type(expected) in (int, float, tuple)


@pytest.mark.parametrize("function", OF_PAIRS, ids=lambda function: function.__name__)
def test_tensors_of_any_layout(function: Callable[..., Any]) -> None:
    truth = torch.from_numpy(TRUTH).float().requires_grad_()
    prediction = torch.from_numpy(PREDICTION.T.copy()).T
    assert function(prediction, truth) == function(PREDICTION, TRUTH)
    assert function(PREDICTION.tolist(), TRUTH[::-1][::-1]) == function(PREDICTION, TRUTH)


@pytest.mark.parametrize("function", OF_PAIRS, ids=lambda function: function.__name__)
def test_a_label_is_measured_as_its_mask(function: Callable[..., Any]) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(-1, 4, (12, 14))
    prediction = np.where(random.random(truth.shape) < 0.2, 1, truth)
    for label in (-1, 0, np.int8(2), 3, 7):
        expected = function(prediction == label, truth == label)
        assert function(prediction, truth, label=label) == expected
        tensors = torch.from_numpy(prediction), torch.from_numpy(truth).float()
        assert function(*tensors, label=label) == expected


@pytest.mark.parametrize("function", OF_PAIRS, ids=lambda function: function.__name__)
def test_what_lies_outside_the_field_of_view_is_background(function: Callable[..., Any]) -> None:
    random = np.random.default_rng(1)
    for shape in ((9, 10), (5, 6, 7)):
        truth = random.random(shape) < 0.4
        prediction = truth ^ (random.random(shape) < 0.1)
        seen = np.zeros(shape, np.bool_)
        seen[tuple(slice(1, side - 1) for side in shape)] = True
        expected = function(prediction & seen, truth & seen)
        assert function(prediction, truth, field_of_view=seen) == expected
        ignored = np.where(seen, truth, 255)
        for view in (ignored != 255, seen.astype(np.uint8), torch.from_numpy(seen)):
            assert function(prediction, ignored, field_of_view=view) == expected
        unseen = np.where(seen, truth, np.nan)
        assert function(prediction, unseen, field_of_view=seen) == expected


@pytest.mark.parametrize("function", OF_PAIRS, ids=lambda function: function.__name__)
def test_images_without_pixels_are_empty_masks(function: Callable[..., Any]) -> None:
    for shape in ((0, 4), (3, 0, 4)):
        nothing, empty = np.zeros(shape), np.zeros([4] * len(shape))
        assert function(nothing, nothing) == function(empty, empty)
        assert function(nothing, nothing, smallest_component=3) == function(empty, empty)


def test_inputs_are_left_as_they_are() -> None:
    truth, prediction = TRUTH.copy(), PREDICTION.copy()
    for function in OF_PAIRS:
        function(prediction, truth, field_of_view=truth | prediction, smallest_component=2)
    assert (truth == TRUTH).all()
    assert (prediction == PREDICTION).all()


FOUR_AXES = np.zeros((2, 1, 8, 8))
FIVE_LABELS = np.arange(9).reshape(3, 3)
SPARSE, META = torch.eye(3).to_sparse(), torch.ones(3, 3, device="meta")


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (FOUR_AXES, FOUR_AXES, r"prediction: got shape \(2, 1, 8, 8\), takes one image"),
        (np.ones(4), np.ones(4), r"prediction: got shape \(4,\), takes one image"),
        (TRUTH, TRUTH[:, :4], r"prediction: got shape \(3, 9\), takes that of truth, \(3, 4\)"),
        (2 * TRUTH, TRUTH, r"prediction: got the labels 0, 2, takes a mask .* label="),
        (TRUTH, 255 * TRUTH, r"truth: got the labels 0, 255, takes .*field_of_view="),
        (FIVE_LABELS, FIVE_LABELS, r"prediction: got the labels 0, 1, 2, 3, 4, …, "),
        (0.3 * TRUTH, TRUTH, r"prediction: got 0\.3, takes .*threshold probabilities first"),
        (TRUTH, np.full((3, 9), np.nan), r"truth: got nan, takes a mask"),
        (TRUTH + 0j, TRUTH, r"prediction: got dtype complex128, takes bool"),
        ("mask", TRUTH, r"prediction: got dtype <U4, takes bool"),
        (TRUTH, None, r"truth: got dtype object, takes bool"),
        (TRUTH, [[1], [1, 2]], r"truth: got a list that does not become an array"),
        (SPARSE, TRUTH, r"prediction: got a Tensor that does not become an array"),
        (META, TRUTH, r"prediction: got a Tensor that does not become an array"),
    ],
)
def test_images_that_are_not_taken(prediction: Any, truth: Any, words: str) -> None:
    wrong_kind = "dtype" in words or "become" in words
    for function in OF_PAIRS:
        with pytest.raises(TypeError if wrong_kind else ValueError, match="^" + words):
            function(prediction, truth)


NO_VIEW = {"field_of_view": TRUTH[:2]}
LABELS_AS_VIEW = {"field_of_view": 3 * TRUTH}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"connectivity": 6}, ValueError, r"connectivity: got 6 in 2D, takes 4, 8$"),
        ({"connectivity": 8.0}, TypeError, r"connectivity: got 8\.0, takes a whole number"),
        ({"connectivity": True}, TypeError, r"connectivity: got True, takes a whole number"),
        ({"smallest_component": -1}, ValueError, r"smallest_component: got -1, takes .* 0 or more"),
        ({"smallest_component": 2.5}, TypeError, r"smallest_component: got 2\.5, takes a whole"),
        ({"label": "vessel"}, TypeError, r"label: got 'vessel', takes a whole number"),
        ({"label": True}, TypeError, r"label: got True, takes a whole number"),
        (NO_VIEW, ValueError, r"field_of_view: got shape \(2, 9\), takes that of"),
        (LABELS_AS_VIEW, ValueError, r"field_of_view: got the labels 0, 3, takes a mask"),
    ],
)
def test_options_that_are_not_taken(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    for function in OF_PAIRS:
        with pytest.raises(error, match="^" + words):
            function(PREDICTION, TRUTH, **options)
    with pytest.raises(error, match="^" + words):
        betti_numbers(TRUTH, **options)


@pytest.mark.parametrize("spacing", [0, -1, (1, 2, 3), (1,), (1, np.inf), np.nan, [[1, 2]]])
def test_spacings_that_are_not_taken(spacing: Any) -> None:
    of_space: list[Callable[..., Any]] = [cldice, roundness_error]
    for function in of_space:
        with pytest.raises(ValueError, match=r"^spacing: got .*, takes a number above 0, or 2 of"):
            function(PREDICTION, TRUTH, spacing=spacing)
        with pytest.raises(TypeError, match=r"^spacing: got 'mm', takes a number above 0"):
            function(PREDICTION, TRUTH, spacing="mm")


def test_the_recipe_finds_the_gap_and_the_speck(capsys: pytest.CaptureFixture[str]) -> None:
    run_recipe("measure.py")
    printed = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert printed["Betti-0 error"] == printed["Betti matching error"] == "2.000"
    assert printed["Betti-0 error, pieces of 5 pixels or more"] == "1.000"
    assert printed["Betti-1 error"] == "0.000"
    assert 0.9 < float(printed["Dice"]) < 1


def test_dice_equals_brute_force() -> None:
    random = np.random.default_rng(0)
    for index in range(300):
        shape = tuple(random.integers(1, 6, 2 + index % 2))
        prediction, truth = random.random((2, *shape)) < random.uniform(0, 1)
        pairs = list(zip(prediction.flat, truth.flat, strict=True))
        total = sum(int(p) + int(t) for p, t in pairs)
        expected = 2 * sum(bool(p and t) for p, t in pairs) / total if total else 1.0
        assert dice(prediction, truth) == expected


def test_dice_of_what_is_large_enough() -> None:
    line, speck = mask("####...", "......."), mask(".......", ".....##")
    assert dice(line | speck, line) == 8 / 10
    assert dice(line | speck, line, smallest_component=3) == 1
    corner = mask("##.....", "..##...")
    assert dice(corner, line, smallest_component=3) == 4 / 8
    assert dice(corner, line, smallest_component=3, connectivity=4) == 0


def test_how_other_libraries_differ() -> None:
    truth, alarm = np.zeros((4, 4)), np.eye(4)
    assert dice(alarm, truth) == 0
    batch = [torch.from_numpy(np.stack([image, alarm]))[:, None] for image in (alarm, truth)]
    # The mean of a perfect prediction and a false alarm.
    for ignore_empty, expected in ((True, 1.0), (False, 0.5)):
        monai = DiceMetric(ignore_empty=ignore_empty)
        monai(*batch)
        mean = monai.aggregate()
        assert isinstance(mean, torch.Tensor)
        assert float(mean) == expected
    assert ndimage.label(alarm)[1] == betti_numbers(alarm, connectivity=4)[0] == 4
    assert betti_numbers(alarm)[0] == 1


def ball(radius: int, dimensions: int) -> Mask:
    axes = np.indices((2 * radius + 5,) * dimensions) - radius - 2
    inside: Mask = (axes**2).sum(axis=0) < (radius + 0.5) ** 2
    return inside


ONE = (1.0, 1.0)


def test_roundness_of_few_pixels() -> None:
    # The outline of one pixel is a square on its corner, of area 1/2 and side 1/sqrt(2).
    assert roundness(mask("#"), ONE) == pytest.approx(4 * pi * 0.5 / (4 / sqrt(2)) ** 2)
    # Of three in a row: area 2.5, two sides of 2 and four slanted ones.
    perimeter = 2 * 2 + 4 / sqrt(2)
    assert roundness(mask("###"), ONE) == pytest.approx(4 * pi * 2.5 / perimeter**2)
    # A hole adds to the outline, and its pixel's area is not the piece's.
    area, perimeter = 8.5 - 0.5, 4 * 2 + 4 / sqrt(2) + 4 / sqrt(2)
    ring = mask("###", "#.#", "###")
    assert roundness(ring, ONE) == pytest.approx(4 * pi * area / perimeter**2)
    # One voxel: an octahedron.
    voxel = np.ones((1, 1, 1), np.bool_)
    assert roundness(voxel, (1.0, 1.0, 1.0)) == pytest.approx(0.8456, abs=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_roundness_orders_shapes(dimensions: int) -> None:
    one = (1.0,) * dimensions
    box = np.ones((4,) * (dimensions - 1) + (20,), np.bool_)
    cube = np.ones((20,) * dimensions, np.bool_)
    disc = roundness(ball(20 // dimensions, dimensions), one)
    assert 0.85 < disc < 1
    assert roundness(box, one) < roundness(cube, one) < disc


@pytest.mark.parametrize("dimensions", [2, 3])
def test_roundness_is_of_the_shape_in_space(dimensions: int) -> None:
    # Discs flattened by the grid: every second row of one twice as large.
    large = ball(16, dimensions)
    flat = large[::2]
    in_space = (2.0,) + (1.0,) * (dimensions - 1)
    empty = np.zeros_like(flat)
    round_ = roundness_error(flat, empty, spacing=in_space)
    assert round_ == pytest.approx(roundness_error(large, np.zeros_like(large)), abs=0.07)
    assert roundness_error(flat, empty) < round_ - 0.04
    scaled = [0.1 * side for side in in_space]
    assert roundness_error(flat, empty, spacing=scaled) == pytest.approx(round_, abs=1e-5)


def test_roundness_error() -> None:
    two = np.zeros((20, 40), np.bool_)
    two[5:15, 5:15] = two[5:15, 25:35] = True
    merged = two.copy()
    merged[9:11] = True
    square = roundness(np.ones((10, 10), np.bool_), ONE)
    assert roundness_error(two, two) == 0
    expected = square - roundness(merged, ONE)
    assert roundness_error(merged, two) == pytest.approx(expected)
    assert expected > 0.3
    empty = np.zeros_like(two)
    assert roundness_error(empty, two) == pytest.approx(square)
    assert roundness_error(empty, empty) == 0
    speck = two.copy()
    speck[0, 0:3] = True
    assert roundness_error(speck, two) > 0.01
    assert roundness_error(speck, two, smallest_component=4) == 0


def test_cells_that_meet_at_a_corner_are_two() -> None:
    corner = mask("##..", "##..", "..##", "..##")
    one_square = roundness(np.ones((2, 2), np.bool_), ONE)
    assert roundness_error(corner, np.zeros_like(corner)) == pytest.approx(one_square)
    together = roundness(corner, ONE)
    with_corners = roundness_error(corner, np.zeros_like(corner), connectivity=8)
    assert with_corners == pytest.approx(together)
    assert together < one_square
