"""The loss of Detectron2's semantic heads (docs/detectron2.md). Needs torch alone."""

from .semantic_head import semantic_head_loss

__all__ = ["semantic_head_loss"]
