"""The specification in pure PyTorch, for users: :func:`scnp_kernels.scnp` on the reference backend.

The reference runs on any device and shares no code with the compiled kernels; it is written to be
read in :mod:`scnp_kernels.backends.reference`.
"""

from __future__ import annotations

from torch import Tensor

from .functional import scnp as any_backend
from .rules.arguments import KernelSize


def scnp(
    logits: Tensor,
    target: Tensor,
    kernel_size: KernelSize = 3,
    *,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
    validate: bool | None = None,
) -> Tensor:
    """:func:`scnp_kernels.scnp` on the reference backend: same arguments, result and gradients.

    >>> import torch
    >>> logits = torch.tensor([[[0.9, 0.2, -0.4, 0.8]]])  # [B=1, C=1, W=4]
    >>> target = torch.tensor([[1, 1, 0, 0]])             # [B=1, W=4]
    >>> scnp(logits, target, kernel_size=3)
    tensor([[[0.2000, 0.2000, 0.8000, 0.8000]]])
    """
    return any_backend(
        logits,
        target,
        kernel_size,
        ignore_index=ignore_index,
        mask=mask,
        gate=gate,
        validate=validate,
        backend="reference",
    )
