"""triton's interpreter, less the work that it repeats for every call between kernels' functions."""

from __future__ import annotations

import dataclasses
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


class _NothingToUndo:
    def restore(self) -> None:
        pass


def install() -> None:
    """Remap triton's language once per launch instead of at every nested call.

    The interpreter's overflow checks are left out too: whether offsets fit into 32 bits is checked
    at the launch (``images.py``).
    """
    remap = interpreter._patch_lang
    remapped: set[frozenset[str]] = set()

    def remap_once(function: Any) -> Any:
        # Functions see the language by one module or another; each is remapped by itself.
        seen = frozenset(
            name for name, value in function.__globals__.items() if value is tl or value is tl.core
        )
        if seen in remapped:
            return _NothingToUndo()
        remapped.add(seen)
        scope = remap(function)
        undo = scope.restore

        def restore() -> None:
            remapped.discard(seen)
            undo()

        scope.restore = restore
        return scope

    interpreter._patch_lang = remap_once
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
