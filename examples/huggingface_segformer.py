"""transformers: SegFormer, whose logits have a quarter of the image's size."""

import torch
from synthetic import IGNORE, curves
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from scnp_kernels.integrations.huggingface import semantic_head_loss


def train(steps: int = 15) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    config = SegformerConfig(  # yours: SegformerForSemanticSegmentation.from_pretrained(...)
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 64, 64], decoder_hidden_size=64, num_labels=2
    )
    model = SegformerForSemanticSegmentation(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    images, labels = curves(4)  # [4, 3, 64, 64], [4, 64, 64]

    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixel_values=images).logits  # [4, 2, 16, 16]; no labels, so no loss
            loss = semantic_head_loss(logits, labels, kernel_size=3, ignore_value=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    images, labels = curves(4, seed=1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        validation = model.eval()(pixel_values=images, labels=labels).loss.item()  # its own: plain
    return losses, validation


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
