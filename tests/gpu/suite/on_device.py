"""How these tests bring inputs to the GPU, and which backends they ask for."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from benchmarks.gpu.device import BACKENDS, DEVICE
from tests.cases import Sample

# Those that should be there, whether or not they are: one that is missing fails its tests.
NAMES = tuple(os.environ.get("SCNP_GPU_BACKENDS", ",".join(BACKENDS)).split(","))
KERNELS = tuple(name for name in NAMES if name != "reference")
FUSED = tuple(name for name in NAMES if name == "triton")


def on_gpu(tensor: Tensor) -> Tensor:
    """The tensor with its strides and offset: ``Tensor.to`` would straighten them."""
    count = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage(), 0, (count,), (1,))
    moved: Tensor = memory.to(DEVICE)
    return moved.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def sample_on_gpu(sample: Sample) -> Sample:
    """All tensors of a sample, likewise."""
    kwargs = sample.kwargs.copy()
    if kwargs["mask"] is not None:
        kwargs["mask"] = on_gpu(kwargs["mask"])
    gate = kwargs.get("gate")
    if gate is not None:
        kwargs["gate"] = on_gpu(gate)
    return Sample(on_gpu(sample.logits), on_gpu(sample.target), kwargs, on_gpu(sample.incoming))
