"""What ``help`` and editors show of the options that the fused losses take as ``**options``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from ..rules.loss_options import LossOptions

Entrance = TypeVar("Entrance", bound=Callable[..., Any])


def shows(options: type[LossOptions]) -> Callable[[Entrance], Entrance]:
    """Make ``inspect.signature`` and ``help`` show the options in the place of ``**options``."""

    def show(entrance: Entrance) -> Entrance:
        signature = inspect.signature(entrance)
        own = [
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        shown = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.type,
            )
            for field in fields(options)
            if field.name not in signature.parameters
        ]
        entrance.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=own + shown
        )
        # `typing.get_type_hints` could not read it: Unpack is there for type checkers alone.
        del entrance.__annotations__["options"]
        return entrance

    return show
