"""SCNP as modules: in front of a loss, or around it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from .backends.registry import check_backend
from .functional import scnp
from .rules.arguments import (
    LABEL_DTYPES,
    KernelSize,
    check_flag,
    check_ignore_index,
    check_kernel_size,
    check_not_both_zero,
    check_weight,
)
from .sharding import dtensor


class SCNP(nn.Module):
    """:func:`scnp_kernels.scnp` as a module, with the same arguments. It has no parameters.

    It penalizes whenever it is called, in ``train()`` and ``eval()`` alike.

    Example:
        >>> import torch
        >>> logits = torch.randn(2, 3, 8, 8, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 8, 8))               # [B, H, W]
        >>> loss = nn.functional.cross_entropy(SCNP(kernel_size=3)(logits, target), target)
        >>> loss.backward()
    """

    def __init__(
        self,
        kernel_size: KernelSize = 3,
        *,
        ignore_index: int | None = None,
        validate: bool | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        check_flag("validate", validate, or_none=True)
        check_backend(backend)
        self.kernel_size = kernel_size
        self.ignore_index = check_ignore_index(ignore_index)
        self.validate = validate
        self.backend = backend

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        """Return the penalized logits; shapes as in :func:`scnp_kernels.scnp`."""
        return scnp(
            logits,
            target,
            self.kernel_size,
            ignore_index=self.ignore_index,
            mask=mask,
            gate=gate,
            validate=self.validate,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, ignore_index={self.ignore_index}, "
            f"validate={self.validate}, backend={self.backend!r}"
        )


class SCNPLoss(nn.Module):
    """Any ``loss(logits, target, ...)`` on penalized logits, or the paper's joint loss.

        scnp_weight * loss(scnp(logits), target) + plain_weight * loss(logits, target)

    Args:
        loss: A module or function of ``(logits, target, *args, **kwargs)`` that takes logits (it
            applies softmax or sigmoid itself) and returns a tensor.
        kernel_size: SCNP's window in pixels, odd, or one odd number per spatial axis.
        scnp_weight: Weight of the loss on penalized logits; finite and not negative.
        plain_weight: Weight of the loss on the plain logits; ``1.0`` is the paper's joint loss.
            What has weight 0 is not computed.
        ignore_index: The label of pixels that SCNP leaves out; give the loss its own.
        validate: Check that the target holds permitted values only, as in
            :func:`scnp_kernels.scnp`.
        backend: ``"auto"``, or one of :func:`scnp_kernels.backends` by name.

    Raises:
        TypeError: ``loss`` is not callable, or an argument has the wrong type.
        ValueError: A weight is negative, not finite, or both are 0.

    Example:
        >>> import torch
        >>> criterion = SCNPLoss(nn.CrossEntropyLoss(), kernel_size=3, plain_weight=1.0)
        >>> logits = torch.randn(2, 3, 8, 8, requires_grad=True)  # [B, C, H, W]
        >>> target = torch.randint(0, 3, (2, 8, 8))               # [B, H, W]
        >>> criterion(logits, target).backward()
    """

    def __init__(
        self,
        loss: Callable[..., Tensor],
        kernel_size: KernelSize = 3,
        *,
        scnp_weight: float = 1.0,
        plain_weight: float = 0.0,
        ignore_index: int | None = None,
        validate: bool | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if not callable(loss):
            raise TypeError(
                f"loss: got {type(loss).__name__}, takes a module or function of (logits, target)"
            )
        self.loss = loss
        self.scnp_weight = check_weight("scnp_weight", scnp_weight)
        self.plain_weight = check_weight("plain_weight", plain_weight)
        check_not_both_zero("scnp_weight", self.scnp_weight, "plain_weight", self.plain_weight)
        self.scnp = SCNP(kernel_size, ignore_index=ignore_index, validate=validate, backend=backend)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *args: Any,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the weighted loss. ``args`` and ``kwargs`` go to the loss.

        ``mask`` and ``gate``, as :func:`scnp_kernels.scnp` takes them, go to SCNP only: the loss on
        plain logits sees neither. The loss is given integer label maps as int64, which torch's own
        losses ask for.
        """
        self._warn_of_shards(logits)
        labels = _as_class_indices(target, logits)
        terms = []
        if self.scnp_weight != 0:
            penalized = self.scnp(logits, target, mask, gate)
            terms.append(_weighted(self.scnp_weight, self.loss(penalized, labels, *args, **kwargs)))
        if self.plain_weight != 0:
            terms.append(_weighted(self.plain_weight, self.loss(logits, labels, *args, **kwargs)))
        return terms[0] if len(terms) == 1 else terms[0] + terms[1]

    def _warn_of_shards(self, logits: Tensor) -> None:
        """Warn where torch averages over shards what it should average over valid pixels."""
        loss = self.loss
        if not isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss)) or loss.reduction != "mean":
            return
        if self.scnp.ignore_index is not None and dtensor.averages_over_shards(logits):
            warnings.warn(
                f"SCNPLoss: {type(loss).__name__} with ignored pixels on a sharded DTensor: torch "
                "reports the mean of the shards' means, whatever their numbers of valid pixels "
                "(pytorch#185167); the gradient is right. SCNPDiceCELoss(dice_weight=0) reports "
                "the mean over all valid pixels",
                RuntimeWarning,
                stacklevel=3,
            )

    def extra_repr(self) -> str:
        return f"scnp_weight={self.scnp_weight}, plain_weight={self.plain_weight}"


def _as_class_indices(target: Tensor, logits: Tensor) -> Tensor:
    """Return a label map of a narrow integer dtype as int64, every other target as it is."""
    if not (isinstance(target, Tensor) and isinstance(logits, Tensor)):
        return target  # of which SCNP says what it takes
    is_label_map = target.dtype in LABEL_DTYPES and target.shape != logits.shape
    return target.long() if is_label_map else target


def _weighted(weight: float, loss: Tensor) -> Tensor:
    return loss if weight == 1 else weight * loss
