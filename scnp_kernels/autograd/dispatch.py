"""When an operator needs its derivative, and how a Function becomes that of a raw operator.

``scnp()`` applies a Function, which ``torch.func`` and ``torch.compile`` can transform. The same
Function is registered for the raw operator under the ``Autograd`` key, so that whoever meets the
operator in a graph differentiates by the same formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.autograd.function import _SingleLevelFunction
from torch.nn import Parameter

from .. import ops


def needs_derivative(*inputs: Tensor) -> bool:
    """Return whether a derivative with respect to any of the inputs may be asked for."""
    if torch.is_grad_enabled() and any(value.requires_grad for value in inputs):
        return True
    # In forward mode the Function is applied too, since it raises the error that says so.
    return forward_ad._current_level >= 0


def is_transformed() -> bool:
    """Return whether ``torch.compile`` traces, or ``torch.func`` transforms, what runs now."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


# The dispatch keys of an ordinary tensor in memory: no view of negated values, no subclass.
_ORDINARY = torch._C._dispatch_keys(torch.empty(0, device="cpu"))


def _is_only_called(arguments: tuple[Any, ...]) -> bool:
    """Return whether torch's dispatcher would do nothing with a call but hand it on."""
    if (
        torch._C._len_torch_dispatch_stack() != 0
        or torch._C._len_torch_function_stack() != 0
        or torch._C._autograd._profiler_enabled()
    ):
        return False
    for argument in arguments:
        kind = type(argument)
        if kind is Tensor or kind is Parameter:
            if torch._C._dispatch_keys(argument) != _ORDINARY:
                return False
        elif kind is tuple:  # the kernel_size: behind it no schema has a tensor
            break
        elif argument is not None and isinstance(argument, Tensor):
            return False
    return True


def run(operator: Any, *arguments: Any) -> Any:
    """Run a raw operator without its derivative: a Function has one, or none is wanted.

    Tracers see the operator called, since they cannot trace the guard; their Functions run forward
    without gradients, so that the operator does not look for its derivative there either. Where
    torch's dispatcher would only hand the call on, which takes as long as the kernel of a small
    image, the operator's body is called at once.
    """
    if is_transformed():
        return operator(*arguments)
    with torch._C._AutoDispatchBelowAutograd():
        if _is_only_called(arguments):
            return ops.BODIES[operator](*arguments)
        return operator(*arguments)


def apply(function: type[Function], *arguments: Any) -> Any:
    """Return ``function.apply(*arguments)``, in a third of the time where nothing is transformed.

    torch inspects the signature of ``forward`` at each call, which costs as much as the kernel of a
    small image; all arguments are given here, so that there is nothing to look up.
    """
    if is_transformed():
        return function.apply(*arguments)
    eagerly: Any = super(_SingleLevelFunction, function)
    return eagerly.apply(*arguments)


def differentiates(
    operator: Any, inputs: int, apply_to: Callable[..., Any]
) -> Callable[[type[Function]], type[Function]]:
    """Make the decorated Function the derivative of a raw operator.

    Args:
        operator: The overload.
        inputs: How many of its first arguments it is differentiable in.
        apply_to: Applies the Function to the operator's arguments.
    """

    def kernel(keyset: Any, *arguments: Any) -> Any:
        if needs_derivative(*arguments[:inputs]):
            return apply_to(*arguments)
        with torch._C._AutoDispatchBelowAutograd():
            return operator.redispatch(keyset & torch._C._after_autograd_keyset, *arguments)

    def register(function: type[Function]) -> type[Function]:
        name = operator.name().removeprefix(f"{ops.NAMESPACE}::").removesuffix(".default")
        ops.library.impl(name, kernel, "Autograd", with_keyset=True)
        return function

    return register
