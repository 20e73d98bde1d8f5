"""Erosion and dilation of other libraries: OpenCV's, kornia's and serron's, all optional.

kornia's and serron's have gradients, and take the place of pooling in the paper's listing. OpenCV's
have none and read no labels: they write two planes for each one, and are timed as they are.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import torch
import typing_extensions
from torch import Tensor

from benchmarks.kernels.cases import KORNIA, OPENCV, SERRON
from benchmarks.kernels.peers import Peer, on_masked

# The module that each needs, and the package that has it.
_PACKAGES = {
    OPENCV: ("cv2", "opencv-python-headless"),
    KORNIA: ("kornia", "kornia"),
    SERRON: ("serron", "serron"),
}


def missing(name: str) -> str | None:
    """None, or which package a peer of this name lacks."""
    if name not in _PACKAGES:
        return None
    module, package = _PACKAGES[name]
    return None if find_spec(module) else f"the package {package} is not installed"


def kornia_listing() -> Peer:
    """The listing on kornia's erosion and dilation."""
    from kornia.morphology import dilation, erosion

    return on_masked(
        lambda values, kernel_size: erosion(values, torch.ones(kernel_size, kernel_size)),
        lambda values, kernel_size: dilation(values, torch.ones(kernel_size, kernel_size)),
    )


def serron_listing() -> Peer:
    """The listing on serron's erosion and dilation."""
    # serron asks for Python 3.12, of which it uses this alone: a mark that does nothing.
    if not hasattr(typing, "override"):
        typing.override = typing_extensions.override  # type: ignore[attr-defined]
    from serron import dilation, erosion
    from serron.structuring_element import square

    return on_masked(
        lambda values, kernel_size: erosion(values, square(kernel_size)),
        lambda values, kernel_size: dilation(values, square(kernel_size)),
    )


def opencv_planes() -> Callable[[Tensor, int], Tensor]:
    """Both of OpenCV on every plane of [B, C, height, width]: [2, B, C, height, width].

    OpenCV filters a plane on one thread; the planes are shared among as many as torch has.
    """
    import cv2

    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(torch.get_num_threads())

    def erode_and_dilate(logits: Tensor, kernel_size: int) -> Tensor:
        result = torch.empty((2, *logits.shape))
        kernel = np.ones((kernel_size, kernel_size), np.uint8)
        planes = logits.detach().flatten(0, 1).numpy()

        def filtered(index: int) -> None:
            for function, target in zip((cv2.erode, cv2.dilate), result, strict=True):
                function(planes[index], kernel, dst=target.flatten(0, 1)[index].numpy())

        list(pool.map(filtered, range(len(planes))))
        return result

    return erode_and_dilate
