"""What the measures take: arrays or tensors read as masks, and their options checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Image = npt.ArrayLike | Tensor  # a mask or a label map [*spatial]
Mask = npt.NDArray[np.bool_]
Spacing = float | Sequence[float]

SPATIAL = (2, 3)  # numbers of axes
SHOWN = 5  # labels that an error lists


def read_mask(
    name: str, image: Image, label: int | None = None, field_of_view: Image | None = None
) -> Mask:
    """The mask [*spatial] of an image, or of one label of it; False outside the field of view.

    Raises TypeError and ValueError that begin with the argument's name.
    """
    values = _array(name, image)
    if values.ndim not in SPATIAL:
        raise ValueError(
            f"{name}: got shape {values.shape}, takes one image [*spatial] of 2 or 3 axes, "
            "without batch and channels"
        )
    if field_of_view is None:
        return _mask(name, values, label)
    seen = read_mask("field_of_view", field_of_view)
    if seen.shape != values.shape:
        raise ValueError(
            f"field_of_view: got shape {seen.shape}, takes that of {name}, {values.shape}"
        )
    # What the values outside mean is nobody's concern: often an "ignore" label stands there.
    return _mask(name, np.where(seen, values, np.zeros((), values.dtype)), label) & seen


def read_pair(
    prediction: Image, truth: Image, label: int | None, field_of_view: Image | None
) -> tuple[Mask, Mask]:
    """The masks of a prediction and a truth of the same shape."""
    predicted = read_mask("prediction", prediction, label, field_of_view)
    true = read_mask("truth", truth, label, field_of_view)
    if predicted.shape != true.shape:
        raise ValueError(
            f"prediction: got shape {predicted.shape}, takes that of truth, {true.shape}"
        )
    return predicted, true


def read_spacing(spacing: Spacing | None, dimensions: int) -> tuple[float, ...]:
    """The side of a pixel along every axis; 1 where nothing is said."""
    if spacing is None:
        return (1.0,) * dimensions
    takes = f"takes a number above 0, or {dimensions} of them, one per axis"
    try:
        sides = np.asarray(spacing, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"spacing: got {spacing!r}, {takes}") from None
    if sides.shape not in ((), (dimensions,)) or not (np.isfinite(sides) & (sides > 0)).all():
        raise ValueError(f"spacing: got {spacing!r}, {takes}")
    return tuple(np.broadcast_to(sides, dimensions).tolist())


def read_whole_number(name: str, value: int, *, least: int | None = None) -> int:
    """An integer, numpy's too, but no bool."""
    takes = "takes a whole number" + ("" if least is None else f" of {least} or more")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: got {value!r}, {takes}") from None
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: got {value!r}, {takes}")
    if number < (-math.inf if least is None else least):
        raise ValueError(f"{name}: got {value!r}, {takes}")
    return number


def _array(name: str, image: Image) -> npt.NDArray[np.generic]:
    """The values as numpy's, of a kind that can hold labels."""
    try:
        if isinstance(image, Tensor):
            tensor = image.detach().cpu()
            half = tensor.dtype == torch.bfloat16  # which numpy lacks
            values = (tensor.float() if half else tensor).numpy()
        else:
            values = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(image).__name__
        raise TypeError(
            f"{name}: got a {kind} that does not become an array ({error}), "
            "takes a numpy array or a dense tensor"
        ) from None
    if values.dtype.kind not in "buif":
        raise TypeError(
            f"{name}: got dtype {values.dtype}, takes bool, integers or floats that hold labels"
        )
    return values


def _mask(name: str, values: npt.NDArray[np.generic], label: int | None) -> Mask:
    if values.dtype.kind == "f":
        numbers = values.astype(np.float64)
        fractions = numbers[~np.isfinite(numbers) | (numbers != np.floor(numbers))]
        if fractions.size:
            raise ValueError(
                f"{name}: got {fractions[0]:g}, takes a mask (0 and 1) or whole labels; "
                "threshold probabilities first"
            )
    if label is not None:
        mask: Mask = values == read_whole_number("label", label)
        return mask
    foreground: Mask = values == 1
    if not (foreground | (values == 0)).all():
        labels = np.unique(values)
        shown = ", ".join(f"{number:g}" for number in labels[:SHOWN].tolist())
        more = ", …" if labels.size > SHOWN else ""
        raise ValueError(
            f"{name}: got the labels {shown}{more}, takes a mask (bool, or 0 and 1), or a label "
            "map with label= for the class to measure; leave ignored pixels out by field_of_view="
        )
    return foreground
