"""Lightning: training_step on penalized logits, validation_step on plain ones, in bfloat16."""

import lightning
import torch
from synthetic import IGNORE, curves
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from scnp_kernels import SCNPLoss


class Segmentation(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        first = nn.Conv2d(3, 16, 5, padding=2)
        second = nn.Conv2d(16, 16, 5, padding=2)
        self.network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(16, 2, 1))
        self.plain = nn.CrossEntropyLoss(ignore_index=IGNORE)
        self.criterion = SCNPLoss(self.plain, kernel_size=3, ignore_index=IGNORE)
        self.losses: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
        images, labels = batch  # [B, 3, H, W], [B, H, W]
        # Warm-up: from the plain loss to SCNP's within 5 steps. Tensors compile nothing again.
        ramp = torch.tensor(min(1.0, self.global_step / 5), device=self.device)
        weights = {"scnp_weight": ramp, "plain_weight": 1 - ramp}
        logits = self.network(images)
        loss, terms = self.criterion(logits, labels, **weights, return_terms=True)
        self.log_dict({f"train/{name}": term for name, term in terms.items()})
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
        images, labels = batch
        self.log("validation", self.plain(self.network(images), labels))  # no SCNP

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def train(epochs: int = 20) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    lightning.seed_everything(0)
    module = Segmentation()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, precision="bf16-mixed", max_epochs=epochs, **quiet
    )
    training = DataLoader(TensorDataset(*curves(4)), batch_size=4)
    trainer.fit(module, training, DataLoader(TensorDataset(*curves(4, seed=1)), batch_size=4))
    return module.losses, trainer.callback_metrics["validation"].item()


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
