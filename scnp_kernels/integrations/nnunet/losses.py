"""What the trainers put around nnU-Net's loss, and the paper's own loss. Needs torch alone.

nnU-Net gives its loss one output of the network per scale, finest first (or a single tensor without
deep supervision), and the target at each scale:

    labels     [b, 1, *spatial] integers; ignored voxels hold the highest label
    regions    [b, C, *spatial] bool, overlapping; with ignored voxels [b, C + 1, *spatial], where
               the last channel is True at ignored voxels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ...functional import scnp
from ...losses import SCNPDiceCELoss
from ...rules.weights import check_weight, check_weights, weighted_sum
from .windows import Window

Outputs = Tensor | Sequence[Tensor]


class TermsOfEpoch:
    """The means of a loss's parts over the steps of an epoch, for the log.

    Each is added up where it lies, so that nothing waits for a GPU before the epoch ends.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}

    def add(self, terms: dict[str, Tensor]) -> None:
        """Add the parts of one step, scalars."""
        for name, value in terms.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._steps[name] = self._steps.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin another epoch."""
        means = {name: total.item() / self._steps[name] for name, total in self._sums.items()}
        self._sums, self._steps = {}, {}
        return means


class PenalizedOutputs(nn.Module):
    """nnU-Net's whole loss on penalized outputs, each scale with its own window.

        scnp_weight * loss(scnp(outputs), targets) + plain_weight * loss(outputs, targets)

    ``scnp_weight`` is 1. It and ``plain_weight`` are attributes that a trainer may change from
    epoch to epoch. ``terms`` keeps the means of both losses, for the log.

    In ``eval()`` it is the loss alone, unpenalised. Ignored voxels lend their logits to nobody and
    their gradient is what the loss gives them: exactly zero.

    Args:
        loss: The loss that nnU-Net built, deep supervision included.
        windows: One window per scale.
        ignore_label: The label of ignored voxels; None if there is none.
        regions: Whether targets are overlapping regions.
        plain_weight: Weight of the loss on plain outputs; finite and not negative.

    Example:
        >>> import torch
        >>> loss = PenalizedOutputs(nn.CrossEntropyLoss(), [(3, 3)])
        >>> outputs = torch.zeros(2, 3, 8, 8)                           # [b, C, H, W]
        >>> target = torch.zeros(2, 8, 8, dtype=torch.int64)            # [b, H, W]
        >>> loss(outputs, target)
        tensor(1.0986)
    """

    def __init__(
        self,
        loss: Callable[[Outputs, Outputs], Tensor],
        windows: Sequence[Window],
        *,
        ignore_label: int | None = None,
        regions: bool = False,
        plain_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.windows = tuple(windows)
        self.ignore_label = ignore_label
        self.regions = regions
        self.scnp_weight = 1.0
        self.plain_weight = check_weight("plain_weight", plain_weight)
        self.terms = TermsOfEpoch()
        # nnU-Net leaves out the scales of weight 0, and so does this.
        weights = getattr(loss, "weight_factors", None) or (1.0,) * len(self.windows)
        self.used = tuple(weight != 0 for weight in weights)

    def forward(self, outputs: Outputs, targets: Outputs) -> Tensor:
        """The loss; ``outputs`` and ``targets`` as nnU-Net gives them."""
        if not self.training:
            return self.loss(outputs, targets)
        weights = {"scnp": self.scnp_weight, "plain": self.plain_weight}
        check_weights({f"{name}_weight": weight for name, weight in weights.items()})
        terms = {}
        if self.scnp_weight != 0:
            terms["scnp"] = self.loss(self._penalize(outputs, targets), targets)
        if self.plain_weight != 0:
            terms["plain"] = self.loss(outputs, targets)
        self.terms.add(terms)
        return weighted_sum([(weights[name], loss) for name, loss in terms.items()])

    def _penalize(self, outputs: Outputs, targets: Outputs) -> Outputs:
        if isinstance(outputs, Tensor):
            assert isinstance(targets, Tensor)
            return self._penalize_scale(outputs, targets, self.windows[0])
        scales = zip(outputs, targets, self.windows, self.used, strict=True)
        return [
            self._penalize_scale(output, target, window) if used else output
            for output, target, window, used in scales
        ]

    def _penalize_scale(self, output: Tensor, target: Tensor, window: Window) -> Tensor:
        if not self.regions:
            return scnp(output, target, window, ignore_index=self.ignore_label)
        if self.ignore_label is None:
            return scnp(output, target, window)
        regions, ignored = target[:, :-1], target[:, -1:]  # [b, C, *spatial], [b, 1, *spatial]
        return scnp(output, regions, window, mask=ignored == 0)

    def extra_repr(self) -> str:
        return (
            f"windows={self.windows}, ignore_label={self.ignore_label}, regions={self.regions}, "
            f"plain_weight={self.plain_weight}"
        )


class PaperDiceCELoss(SCNPDiceCELoss):
    """The paper's cross entropy plus Dice loss, on softmax: :class:`SCNPDiceCELoss` without SCNP.

        CE   = mean over pixels of -log p(target)
        Dice = 1 - mean over images and classes of
               (2 * sum(p * y) + 1e-5) / (sum(p) + sum(y) + 1e-5)

    Sums run over the pixels of one image, and the background is a class like the others: nnU-Net's
    own Dice leaves it out. The paper's code counts -Dice, which is smaller by the constant 1. It
    has no ignored pixels; here they are left out of every sum.

    Args:
        ignore_label: The label of ignored pixels; None if there is none.

    Example:
        >>> import torch
        >>> logits = torch.zeros(1, 2, 2, 2)                            # [b, C, H, W]
        >>> target = torch.tensor([[[[0, 0], [1, 1]]]])                 # [b, 1, H, W]
        >>> PaperDiceCELoss()(logits, target)                           # log(2) + 1 - 1/2
        tensor(1.1931)
    """

    def __init__(self, ignore_label: int | None = None) -> None:
        super().__init__(scnp_weight=0.0, plain_weight=1.0, ignore_index=ignore_label)
