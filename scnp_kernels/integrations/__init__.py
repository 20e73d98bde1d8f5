"""SCNP inside other frameworks. Each module needs its framework only where it says so.

``nnunet``      trainers for nnU-Net v2, found through its ``nnUNet_extTrainer`` variable
``instanseg``   names for InstanSeg's string-dispatched losses
``detectron2``, ``huggingface``   the loss of a semantic head (needs torch alone)

MONAI, segmentation-models-pytorch, torchvision, Lightning and kornia need nothing of their own:
:class:`scnp_kernels.SCNPLoss` wraps their losses.
"""
