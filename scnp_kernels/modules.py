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
)
from .rules.weights import Weight, check_term_weights, is_computed, weighted_sum
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
        scnp_weight: Weight of the loss on penalized logits; finite and not negative. A tensor
            without axes may be another one at every call of a compiled step, which is not compiled
            again; what it weighs is always computed, even if it holds 0. Its value is not checked,
            and it gets its gradient if it requires one.
        plain_weight: Weight of the loss on the plain logits, likewise; ``1.0`` is the paper's joint
            loss. What has the number 0 as its weight is not computed.
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
        scnp_weight: Weight = 1.0,
        plain_weight: Weight = 0.0,
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
        weights = check_term_weights(scnp_weight, plain_weight)
        self.scnp_weight, self.plain_weight = weights["scnp_weight"], weights["plain_weight"]
        self.scnp = SCNP(kernel_size, ignore_index=ignore_index, validate=validate, backend=backend)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *args: Any,
        mask: Tensor | None = None,
        gate: Tensor | None = None,
        scnp_weight: Weight | None = None,
        plain_weight: Weight | None = None,
        return_terms: bool = False,
        **kwargs: Any,
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted loss.

        The loss is given integer label maps as int64, which torch's own losses ask for.

        Args:
            logits: ``[B, C, *spatial]``.
            target: A label map, or masks of the shape of ``logits``.
            *args: Go to the loss.
            mask: Bool, False where pixels are invalid; goes to SCNP only.
            gate: Bool, False where pixels keep their own logit; likewise.
            scnp_weight: In this call, in the place of the attribute; None: the attribute.
            plain_weight: Likewise.
            return_terms: Return also the losses that are computed, detached and before they are
                weighed: a dict with ``"scnp"`` and ``"plain"``.
            **kwargs: Go to the loss.
        """
        self._warn_of_shards(logits)
        weights = check_term_weights(
            self.scnp_weight if scnp_weight is None else scnp_weight,
            self.plain_weight if plain_weight is None else plain_weight,
        )
        labels = _as_class_indices(target, logits)
        terms = {}
        if is_computed(weights["scnp_weight"]):
            terms["scnp"] = self.loss(
                self.scnp(logits, target, mask, gate), labels, *args, **kwargs
            )
        if is_computed(weights["plain_weight"]):
            terms["plain"] = self.loss(logits, labels, *args, **kwargs)
        total = weighted_sum([(weights[f"{name}_weight"], loss) for name, loss in terms.items()])
        if not return_terms:
            return total
        return total, {name: loss.detach() for name, loss in terms.items()}

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
    given = (target, logits)
    if not all(isinstance(value, Tensor) and not value.is_nested for value in given):
        return target  # of which SCNP says what it takes; nested tensors have no shape to compare
    is_label_map = target.dtype in LABEL_DTYPES and target.shape != logits.shape
    return target.long() if is_label_map else target
