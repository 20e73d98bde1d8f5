"""Loads the compiled kernels, the module ``_C`` that installation made, or says why there are none.

The module asks for OpenMP's library by its plain name. Torch is imported before it, so that the
name finds the library that torch has loaded, and with it torch's pool of threads.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import torch

OK = "ok"
_PACKAGE = Path(__file__).parents[2]
_IS_CHECKOUT = (_PACKAGE.parent / "csrc").exists()
_WHAT = f"-e {_PACKAGE.parent}" if _IS_CHECKOUT else "--force-reinstall ., in its checkout"
_COMPILE_ANEW = f"pip install --no-deps {_WHAT}"

kernels: Any = None  # the module, once it is loaded
_reason: str | None = None  # why it cannot be


def load() -> str | None:
    """Load the kernels, once per process. None when they are there, else the reason.

    Raises:
        ValueError: ``SCNP_CPU_CAPABILITY`` asks for what this machine or this build has not.
    """
    global kernels, _reason
    if kernels is None and _reason is None:
        try:
            module = _import_module()
        except ImportError as error:
            _reason = _why_not(error)
        else:
            module.cpu_capability()  # raises where it cannot choose
            kernels = module
    return _reason


def _import_module() -> Any:
    """Return the module ``_C`` of this very package, never one that lies elsewhere on the path."""
    spec = PathFinder.find_spec("scnp_kernels._C", [str(_PACKAGE)])
    if spec is None or spec.loader is None:
        raise ImportError("there is no module _C")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[spec.name] = module
    return module


def load_cuda() -> str | None:
    """As :func:`load`, and the reason where there are no CUDA kernels, or none that can run."""
    reason = load()
    if reason is not None:
        return reason
    built = kernels.build_record["cuda"]
    if built is None:
        return (
            "the kernels were compiled without their CUDA part (reinstall scnp_kernels with "
            f"SCNP_BUILD=cuda, which says what is missing: {_COMPILE_ANEW})"
        )
    driver = kernels.cuda_driver_version()  # as 12040, for CUDA 12.4
    if driver // 1000 < int(built.split(".")[0]):
        knows = f"CUDA {driver // 1000}.{driver % 1000 // 10}" if driver else "none: it is missing"
        return (
            f"the CUDA kernels were compiled with CUDA {built}, but this machine's driver knows "
            f"{knows} (update it, or reinstall with an older toolkit: {_COMPILE_ANEW})"
        )
    return None


def cuda_status() -> str:
    """``"ok"``, or the reason why the CUDA kernels cannot run on this machine's GPU."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return load_cuda() or OK


def build_record() -> dict[str, Any] | None:
    """What the kernels were built with, and what they chose on this machine; None without any."""
    if load() is not None:
        return None
    return {
        **kernels.build_record,
        "capability": kernels.cpu_capability(),
        "file": kernels.__file__,
    }


def _why_not(error: ImportError) -> str:
    found = [file.name for file in sorted(_PACKAGE.glob("_C*")) if file.suffix in (".so", ".pyd")]
    if found:
        return f"{', '.join(found)} does not load: {error} (to build it anew: {_COMPILE_ANEW})"
    place = "at installation"
    if _IS_CHECKOUT:
        # Python looks into the current folder first: it hides what was installed from it.
        place = f"in the checkout {_PACKAGE.parent}, from where scnp_kernels is imported"
    return f"no kernels were compiled {place} (to compile them: {_COMPILE_ANEW})"
