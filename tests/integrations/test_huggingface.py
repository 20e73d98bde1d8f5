"""transformers' SegFormer and Mask2Former with SCNP, small and with random weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    Mask2FormerConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    Trainer,
    TrainingArguments,
)
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from scnp_kernels.integrations.huggingface import semantic_head_loss
from tests.integrations.expected import loss_and_gradient, one_hot_of, penalized
from tests.integrations.recipes import run_recipe

PAGE = Path(__file__).parents[2] / "docs" / "huggingface.md"
IGNORE = 255  # transformers' default, and semantic_head_loss's


def segformer(classes: int) -> SegformerForSemanticSegmentation:
    config = SegformerConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[16, 32, 64, 64], decoder_hidden_size=32
    )
    config.num_labels = classes
    return SegformerForSemanticSegmentation(config)


def images_and_labels(classes: int) -> tuple[Tensor, Tensor]:
    """Blocks of labels, some of them ignored."""
    labels = torch.randint(0, classes, (2, 8, 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    labels[:, :10] = IGNORE
    return torch.randn(2, 3, 64, 64), labels


def test_but_for_scnp_it_is_segformers_own_loss() -> None:
    """A window of 1 changes no logit."""
    images, labels = images_and_labels(classes=4)
    output = segformer(4)(pixel_values=images, labels=labels)
    assert output.logits.shape == (2, 4, 16, 16)
    torch.testing.assert_close(semantic_head_loss(output.logits, labels, 1), output.loss)


@pytest.mark.parametrize("plain_weight", [0.0, 1.0])
def test_segformer(plain_weight: float) -> None:
    images, labels = images_and_labels(classes=4)
    logits = segformer(4)(pixel_values=images).logits.detach().requires_grad_()
    upsampled = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    worst = penalized(upsampled, one_hot_of(labels, 4), 3, (labels != IGNORE)[:, None])
    expected = F.cross_entropy(worst, labels, ignore_index=IGNORE)
    expected = expected + plain_weight * F.cross_entropy(upsampled, labels, ignore_index=IGNORE)
    actual = semantic_head_loss(logits, labels, plain_weight=plain_weight)
    torch.testing.assert_close(
        loss_and_gradient(actual, [logits]), loss_and_gradient(expected, [logits])
    )


def test_segformer_with_one_channel() -> None:
    """``num_labels=1``: binary cross entropy over labelled pixels, not a softmax of one class."""
    images, labels = images_and_labels(classes=2)
    logits = segformer(1)(pixel_values=images).logits.detach().requires_grad_()
    upsampled = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    valid = labels != IGNORE
    worst = penalized(upsampled, (labels == 1)[:, None].float(), 3, valid[:, None])
    expected = F.binary_cross_entropy_with_logits(worst[:, 0][valid], labels[valid].float())
    torch.testing.assert_close(
        loss_and_gradient(semantic_head_loss(logits, labels), [logits]),
        loss_and_gradient(expected, [logits]),
    )
    nothing = semantic_head_loss(logits, torch.full_like(labels, IGNORE))
    assert [x.abs().max() for x in loss_and_gradient(nothing, [logits])] == [0, 0]


class SCNPTrainer(Trainer):  # type: ignore
    def compute_loss(self, model, inputs, return_outputs=False, **_):  # type: ignore
        outputs = model(**inputs)  # with labels: the plain loss, which evaluation keeps
        if model.training:
            outputs.loss = semantic_head_loss(outputs.logits, inputs["labels"])
        return (outputs.loss, outputs) if return_outputs else outputs.loss


def test_the_trainer_of_the_docs(tmp_path: Path) -> None:
    assert inspect.getsource(SCNPTrainer).replace("  # type: ignore", "") in PAGE.read_text()
    images, labels = images_and_labels(classes=2)
    data: Any = [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, labels, strict=True)
    ]
    model = segformer(2)
    plain = model.eval()(pixel_values=images, labels=labels).loss.item()
    upsampled = F.interpolate(model(pixel_values=images).logits, labels.shape[1:], mode="bilinear")
    worst = penalized(upsampled, one_hot_of(labels, 2), 3, (labels != IGNORE)[:, None])
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, use_cpu=True, report_to="none", logging_steps=1
    )
    model.config.hidden_dropout_prob = 0.0
    trainer = SCNPTrainer(model, arguments, train_dataset=data, eval_dataset=data)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-5)
    inputs = {"pixel_values": images, "labels": labels}
    model.train()
    for module in model.modules():  # so that training computes what evaluation does
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.eval()
    loss = trainer.compute_loss(model, inputs)
    expected = F.cross_entropy(worst, labels, ignore_index=IGNORE)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] > 0


def test_mask2former() -> None:
    """The masks' losses on the listing of the matched masks; in evaluation the parent's."""
    loss_class = run_recipe("huggingface_mask2former.py", run_name="recipe")["SCNPMask2FormerLoss"]
    config = Mask2FormerConfig(num_labels=2, train_num_points=64)
    weights = {"loss_mask": 1.0, "loss_dice": 1.0}
    ours, theirs = loss_class(config, weights), Mask2FormerLoss(config, weights)
    queries = torch.randn(2, 5, 8, 8).requires_grad_()
    # Images of different sizes and numbers of objects, as transformers takes them.
    masks = [(torch.rand(2, 32, 32) < 0.5).float(), (torch.rand(1, 24, 32) < 0.5).float()]
    indices = [
        (torch.tensor([3, 1]), torch.tensor([0, 1])),
        (torch.tensor([4]), torch.tensor([0])),
    ]

    def losses(loss: Any, *arguments: Any) -> list[Tensor]:
        torch.manual_seed(1)  # of the points where the masks are compared
        result = loss.loss_masks(*arguments, 3)
        return [result["loss_mask"], result["loss_dice"]]

    for penalizes in (True, False):
        ours.train(penalizes)
        actual = losses(ours, queries, masks, indices)
        matched = torch.stack([queries[0, 3], queries[0, 1], queries[1, 4]])[:, None]
        wanted = torch.zeros(3, 1, 32, 32)
        wanted[0, 0], wanted[1, 0], wanted[2, 0, :24] = masks[0][0], masks[0][1], masks[1][0]
        if penalizes:
            upsampled = F.interpolate(matched, (32, 32), mode="bilinear")
            matched = penalized(upsampled, wanted)
        each = [(torch.tensor([0]), torch.tensor([0]))] * 3
        expected = losses(theirs, matched, list(wanted), each)
        torch.testing.assert_close(actual, expected)
        torch.testing.assert_close(
            loss_and_gradient(actual[0] + 2 * actual[1], [queries]),
            loss_and_gradient(expected[0] + 2 * expected[1], [queries]),
        )


def test_mask2former_without_objects() -> None:
    loss_class = run_recipe("huggingface_mask2former.py", run_name="recipe")["SCNPMask2FormerLoss"]
    loss = loss_class(Mask2FormerConfig(train_num_points=64), {"loss_mask": 1.0}).train()
    none = torch.zeros(0, dtype=torch.int64)
    queries = torch.randn(1, 5, 8, 8).requires_grad_()
    result = loss.loss_masks(queries, [torch.zeros(0, 32, 32)], [(none, none)], 1)
    assert result["loss_mask"] == 0
