"""Detectron2: its DeepLabV3+ head with SCNP in the loss. Choose it in the configuration:

cfg.MODEL.SEM_SEG_HEAD.NAME = "SCNPDeepLabV3PlusHead"  # or "PaperDeepLabV3PlusHead"
"""

from typing import Any

from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.projects.deeplab import DeepLabV3PlusHead
from torch import Tensor

from scnp_kernels import SCNPDiceCELoss
from scnp_kernels.integrations.detectron2 import semantic_head_loss


@SEM_SEG_HEADS_REGISTRY.register()
class SCNPDeepLabV3PlusHead(DeepLabV3PlusHead):
    """Everything else, and the whole of inference, is the parent's."""

    kernel_size = 3  # the window, in pixels of the image
    plain_weight = 0.0  # 1 for the paper's joint loss

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        loss = semantic_head_loss(
            predictions,  # [B, C, H / stride, W / stride]
            targets,  # [B, H, W], the ignore value in the padding
            self.kernel_size,
            ignore_value=self.ignore_value,
            plain_weight=self.plain_weight,
            loss=self.loss,  # cross entropy or hard pixel mining, as LOSS_TYPE says
        )
        return {"loss_sem_seg": loss * self.loss_weight}


@SEM_SEG_HEADS_REGISTRY.register()
class PaperDeepLabV3PlusHead(SCNPDeepLabV3PlusHead):
    """With the loss of the paper's code, whatever LOSS_TYPE says: Dice + cross entropy."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.loss = SCNPDiceCELoss(  # plain here: semantic_head_loss penalizes
            scnp_weight=0.0, plain_weight=1.0, ignore_index=self.ignore_value
        )
