"""Turn the docstrings' roles, such as ``:func:`scnp_kernels.scnp```, into links of the site."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod):`~?([\w.]+)`")
PACKAGE, METRICS = "scnp_kernels", "scnp_kernels.metrics"


class SphinxRoles(griffe.Extension):
    """Editors and ``help()`` show roles as they are; Markdown knows none."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was read."""
        if obj.docstring is not None:
            home = METRICS if obj.path.startswith(METRICS) else PACKAGE
            obj.docstring.value = ROLE.sub(partial(link, home), obj.docstring.value)


def link(home: str, match: re.Match[str]) -> str:
    """Return a link to a name that the API page has, else the name as code."""
    name = match[1] if "." in match[1] else f"{home}.{match[1]}"
    is_public = name.rpartition(".")[0] in (PACKAGE, METRICS) and not match[0].startswith(":mod")
    return f"[`{match[1]}`][{name}]" if is_public else f"`{match[1]}`"
