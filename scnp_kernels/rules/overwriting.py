"""Whether logits may be overwritten by their gradient (``inplace_backward``).

They may where nobody reads them after the backward pass of the loss. Whoever saved them for a
backward pass of its own is noticed by autograd: their version counter is raised before anything is
written, so that autograd refuses to hand out what it saved. What autograd would not notice is
refused here, most of it when the loss is called.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_WAY_OUT = "; takes inplace_backward=False there"
# Torch tells of hooks on saved tensors from 2.8 on.
_top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


def check_overwritable(logits: Tensor) -> None:
    """Raise unless logits of a call that wants a gradient may be overwritten by it.

    Raises:
        TypeError: They are no ordinary tensor.
        ValueError: Somebody else needs their values, or their memory holds one value for several.
    """
    check_not_compiled()
    if torch._C._are_functorch_transforms_active():
        raise ValueError(
            "inplace_backward: got True under torch.func or vmap, which may read the logits again"
            f"{_WAY_OUT}"
        )
    if torch._C._dispatch_keys(logits).has(torch._C.DispatchKey.Python):
        raise TypeError(
            f"inplace_backward: got logits that are a {type(logits).__name__}, whose memory is not "
            f"its own{_WAY_OUT}"
        )
    if logits.is_leaf or (logits._base is not None and logits._base.is_leaf):
        what = "a leaf" if logits.is_leaf else "a view of a leaf"
        raise ValueError(
            f"inplace_backward: got logits that are {what} (a parameter or an input), whose values "
            f"are somebody else's{_WAY_OUT}, or logits.clone()"
        )
    if logits.is_neg() or _overlaps_itself(logits):
        raise ValueError(
            f"inplace_backward: got logits with strides {logits.stride()} for shape "
            f"{tuple(logits.shape)}, or negated in passing, whose elements have no memory of their "
            f"own{_WAY_OUT}, or logits.clone()"
        )
    check_hooks(logits)
    if _top_hooks is None:
        raise ValueError(
            f"inplace_backward: got True with torch {torch.__version__}, which does not tell "
            f"whether there are saved-tensor hooks{_WAY_OUT}, or torch 2.8 and later"
        )
    if _top_hooks(False) is not None:
        raise ValueError(
            "inplace_backward: got True under saved-tensor hooks (checkpointing, save_on_cpu), "
            f"behind which autograd does not see that logits are overwritten{_WAY_OUT}"
        )
    for node in _producers(logits):
        if any(_share_memory(logits, held) for held in _held_by(node)):
            raise ValueError(
                f"inplace_backward: got logits that {node.name()} saved for its own backward "
                f"pass, or that are a leaf's memory{_WAY_OUT}; a loss takes logits as a "
                "network's last convolution gives them, without softmax or sigmoid"
            )


def check_not_compiled() -> None:
    """Raise ValueError where torch.compile traces.

    Where whole graphs are not asked for, it takes that for the end of a graph, and calls again.
    """
    if torch.compiler.is_compiling():
        raise ValueError(
            "inplace_backward: got True under torch.compile, whose graphs do not see what is "
            f"overwritten{_WAY_OUT}, or a loss outside of what is compiled"
        )


def check_hooks(logits: Tensor) -> None:
    """Raise ValueError if a hook waits for the gradient of logits, or they are to retain it."""
    base = logits._base
    if logits._backward_hooks or logits.retains_grad or (base is not None and base._backward_hooks):
        raise ValueError(
            "inplace_backward: got logits with a hook (register_hook, retain_grad; FSDP registers "
            "one, too), or a view of a tensor with one, which may read them when their gradient "
            f"is there{_WAY_OUT}"
        )


def _overlaps_itself(tensor: Tensor) -> bool:
    """Return whether strides let an element stand for several, or may do so."""
    reached = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < reached:
                return True
            reached = stride * (size - 1) + reached
    return False


def _producers(logits: Tensor) -> Iterator[torch.autograd.graph.Node]:
    """Return what computed the logits, and what computed the tensor that they are a view of."""
    for tensor in (logits, logits._base):
        if tensor is not None and tensor.grad_fn is not None:
            yield tensor.grad_fn


def _held_by(node: torch.autograd.graph.Node) -> Iterator[Tensor]:
    """Return the results that a node keeps for its backward pass, and its leaves.

    Kept tensors are looked at as they are kept, which older torches do not allow: behind a
    checkpoint, to ask for one is to compute it again.
    """
    for name in dir(node):
        if name == "_raw_saved_tensors" or name.startswith(("_raw_saved_result", "_raw_saved_out")):
            try:
                saved = getattr(node, name)
                kept = saved if isinstance(saved, (tuple, list)) else (saved,)
                values = [getattr(one, "data", None) for one in kept]
            except RuntimeError:  # freed by a backward pass before this one, or changed since
                continue
            yield from (value for value in values if isinstance(value, Tensor))
    for argument, _ in node.next_functions:
        leaf = getattr(argument, "variable", None)
        if isinstance(leaf, Tensor):
            yield leaf


def _share_memory(one: Tensor, other: Tensor) -> bool:
    if one.numel() == 0 or other.numel() == 0:
        return False
    try:
        return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # no memory at all
        return False
