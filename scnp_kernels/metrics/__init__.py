"""Measures of a segmentation's overlap, topology, centrelines and shapes, in 2D and 3D.

Needs more than the loss does: ``pip install "scnp_kernels[metrics]"``.

All take one image [*spatial], as a numpy array or a tensor on any device: a mask (bool, or 0 and
1), or a label map with ``label=`` for the class to measure.

>>> import numpy as np
>>> from scnp_kernels.metrics import betti_errors, dice
>>> truth = np.ones((1, 7), bool)
>>> prediction = truth.copy()
>>> prediction[0, 3] = False
>>> round(dice(prediction, truth), 3), betti_errors(prediction, truth)  # one gap: one piece more
(0.923, (1, 0))
"""

try:
    from .matching import betti_matching_error
    from .overlap import cldice, dice
    from .shape import roundness_error
    from .topology import betti_errors, betti_numbers
except ModuleNotFoundError as error:
    missing = (error.name or "").partition(".")[0]
    if missing not in ("cripser", "numpy", "scipy", "skimage"):
        raise
    raise ModuleNotFoundError(
        f'scnp_kernels.metrics needs {missing}: pip install "scnp_kernels[metrics]"', name=missing
    ) from None

__all__ = [
    "betti_errors",
    "betti_matching_error",
    "betti_numbers",
    "cldice",
    "dice",
    "roundness_error",
]
