"""transformers: Mask2Former, with SCNP on the masks that were matched to an object."""

import torch
from synthetic import curves
from torch import Tensor
from torch.nn import functional as F
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from scnp_kernels import scnp


class SCNPMask2FormerLoss(Mask2FormerLoss):
    """In training, mask losses on penalized logits at the masks' size; the rest is untouched."""

    def loss_masks(self, masks_queries_logits, mask_labels, indices, num_masks):  # type: ignore
        targets = self._pad_images_to_max_in_batch(mask_labels)[0]
        targets = targets[self._get_targets_permutation_indices(indices)].float()[:, None]
        if self.training and len(targets):  # [N, 1, H, W], one mask per matched query
            logits = masks_queries_logits[self._get_predictions_permutation_indices(indices)]
            size, first = targets.shape[2:], torch.zeros(1, dtype=torch.int64)
            logits = F.interpolate(logits[:, None].float(), size, mode="bilinear")
            masks_queries_logits, mask_labels = scnp(logits, targets, kernel_size=3), list(targets)
            indices = [(first, first)] * len(targets)
        return super().loss_masks(masks_queries_logits, mask_labels, indices, num_masks)


def objects(labels: Tensor) -> dict[str, list[Tensor]]:
    """Mask2Former's labels of label maps: background and curve, a mask of each."""
    masks = [torch.stack([image == 0, image == 1]).float() for image in labels]  # [2, 64, 64]
    return {"mask_labels": masks, "class_labels": [torch.tensor([0, 1])] * len(labels)}


def train(steps: int = 16) -> tuple[list[float], float]:
    """Training losses, and the plain loss on other images."""
    torch.manual_seed(0)
    swin = SwinConfig(depths=[1] * 4, embed_dim=16, num_heads=[1] * 4, out_indices=[1, 2, 3, 4])
    small = dict.fromkeys(("hidden_dim", "feature_size", "mask_feature_size"), 32)
    small |= {"encoder_layers": 1, "decoder_layers": 3, "num_queries": 8, "train_num_points": 512}
    config = Mask2FormerConfig(backbone_config=swin, num_labels=2, **small)
    model = Mask2FormerForUniversalSegmentation(config).train()
    model.criterion = SCNPMask2FormerLoss(config, model.weight_dict)  # the line in your script
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = curves(2)
    losses = []
    for _ in range(steps):
        loss = model(pixel_values=images, **objects(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    images, labels = curves(2, seed=1)
    with torch.no_grad():
        return losses, model.eval()(pixel_values=images, **objects(labels)).loss.item()  # plain


if __name__ == "__main__":
    losses, validation = train()
    print(f"training loss {losses[0]:.3f} -> {losses[-1]:.3f}, validation {validation:.3f}")
