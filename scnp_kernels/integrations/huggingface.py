"""The loss of SegFormer and its like in transformers (docs/huggingface.md). Needs torch alone."""

from .semantic_head import semantic_head_loss

__all__ = ["semantic_head_loss"]
