"""Finds the compiled kernels: built at installation, or compiled on first use, or the reason.

    prebuilt `_C` beside this file, built for the running torch
    and of the sources that lie here now                  ->  load it
    else a cached one, compiled on an earlier first use   ->  load it
    else compiler, ninja and Python.h                     ->  compile, cache, load
    else                                                  ->  the reasons of each step

Loading registers the kernels with torch's dispatcher; nothing else of the module is used.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from typing import Any

import torch

from . import first_use as jit
from .build import build_choice, sources_digest

OK = "ok"
_PACKAGE = Path(__file__).parents[2]
_RECORD_MARKER = b"scnp_kernels build record: "

_lock = threading.Lock()
_loaded: dict[str, Any] | None = None  # the build record of what was loaded
_reason: str | None = None  # why nothing could be


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # A process that forks while a thread of it is loading would hand on a lock that nobody opens.
    os.register_at_fork(after_in_child=_renew_lock)


def load() -> str | None:
    """Load the kernels, compiling them if need be. None when they are there, else the reason.

    Tried once per process: a failure is remembered, not repeated at every call.
    """
    global _loaded, _reason
    if _loaded is not None or _reason is not None:
        return _reason
    with _lock:
        if _loaded is None and _reason is None:
            try:
                _loaded = _load_or_compile()
            except _UnavailableError as unavailable:
                _reason = str(unavailable)
    return _reason


def status() -> str:
    """``"ok"``, ``"ok"`` with a remark, or the reason; compiles nothing."""
    if _loaded is not None:
        return OK
    if _reason is not None:
        return _reason
    file, reason = _find_prebuilt()
    if file is not None:
        return OK
    try:
        _require_permission(reason)
        if _find_cached() is not None:
            return OK
        jit.require_toolchain()
    except (_UnavailableError, jit.CannotCompileError, ValueError) as error:
        return f"{reason}; {error}" if reason not in str(error) else str(error)
    return f"{OK} (not compiled yet, compiles on first use: {reason})"


def load_cuda() -> str | None:
    """As :func:`load`, and the reason where what was loaded has no CUDA kernels."""
    reason = load()
    return reason if reason is not None else _reason_without_cuda(_loaded)


def cuda_status() -> str:
    """As :func:`status`, of the CUDA kernels on this machine's GPU; compiles nothing."""
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    state = status()
    if not state.startswith(OK):
        return state
    return _reason_without_cuda(build_record()) or state


def _reason_without_cuda(record: dict[str, Any] | None) -> str | None:
    """None if the kernels of this record have a CUDA part (or will have: None on first use)."""
    if record is None:
        reason = jit.reason_against_cuda()
        return None if reason is None else f"the CUDA kernels cannot be compiled: {reason}"
    if "cuda" in record["backends"]:
        return None
    return (
        "the kernels were compiled without their CUDA part (reinstall scnp_kernels with "
        f"SCNP_BUILD=cuda, which says what is missing: {_reinstall()})"
    )


def build_record() -> dict[str, Any] | None:
    """What the kernels that are or would be loaded were built with; None if there are none."""
    if _loaded is not None:
        return _loaded
    file, _ = _find_prebuilt()
    if file is None:
        try:
            file = _find_cached()
        except (jit.CannotCompileError, ValueError):
            return None
    return None if file is None else read_build_record(file)


def read_build_record(binary: Path) -> dict[str, Any] | None:
    """The record inside a binary, read without loading it; None if it holds none."""
    try:
        with (
            binary.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            at = data.find(_RECORD_MARKER + b"{")
            if at < 0:
                return None
            begin = at + len(_RECORD_MARKER)
            record: dict[str, Any] = json.loads(data[begin : data.find(b"\0", begin)])
    except (OSError, ValueError):  # it is gone, empty or cut short
        return None
    if not isinstance(record, dict) or not {"torch", "backends"} <= record.keys():
        return None
    return {**record, "file": str(binary)}


class _UnavailableError(Exception):
    """There are no kernels to load; the message says why."""


def _load_or_compile() -> dict[str, Any]:
    file, reason = _find_prebuilt()
    if file is not None:
        return _load_file(file)
    try:
        _require_permission(reason)
        file = _find_cached()
        if file is None:
            file = jit.compile_binary(because=reason)
    except (jit.CannotCompileError, ValueError) as error:
        raise _UnavailableError(f"{reason}; {error}") from error
    return _load_file(file)


def _find_cached() -> Path | None:
    """What an earlier first use compiled; None also for a damaged file, which is then replaced."""
    file = jit.cached_binary()
    return file if file is not None and _mismatch(file) is None else None


def _require_permission(reason: str) -> None:
    if build_choice() == "none":
        raise _UnavailableError(f"{reason}; SCNP_BUILD=none forbids compiling on first use")


def _find_prebuilt() -> tuple[Path | None, str]:
    """The module built at installation, if it fits the running torch; else why there is none."""
    for suffix in EXTENSION_SUFFIXES:
        file = _PACKAGE / f"_C{suffix}"
        if not file.exists():
            continue
        mismatch = _mismatch(file)
        return (file, "") if mismatch is None else (None, mismatch)
    checkout = _checkout()
    if checkout is None:
        return None, "no kernels were compiled at installation"
    # Python looks into the current folder first: the checkout hides what was installed from it.
    return None, (
        f"no kernels were compiled in the checkout {checkout}, from where scnp_kernels is imported "
        f"(leave it for an installation elsewhere, or compile them here: {_reinstall()})"
    )


def _mismatch(file: Path) -> str | None:
    record = read_build_record(file)
    if record is None:
        return f"{file.name} is not a build of scnp_kernels"
    running = torch.__version__.split("+")[0]
    if record["torch"] != running:
        return (
            f"{file.name} was built for torch {record['torch']}, but torch {running} is running "
            f"(reinstall scnp_kernels to rebuild it: {_reinstall()})"
        )
    if "cuda" in record["backends"]:
        # torch's builds for different CUDA have one version, and different libraries.
        running_cuda = torch.version.cuda or "none"
        if record["cuda"].split(".")[0] != running_cuda.split(".")[0]:
            return (
                f"{file.name} was built for CUDA {record['cuda']}, but this torch was built for "
                f"CUDA {running_cuda} (reinstall scnp_kernels to rebuild it: {_reinstall()})"
            )
    try:
        csrc = jit.source_directory()
    except jit.CannotCompileError:
        return None  # no sources here that it could differ from
    if record.get("sources") != sources_digest(csrc):
        # A checkout whose sources have changed since: it may lack operators, or compute otherwise.
        return (
            f"{file.name} is out of date: it was not built from the sources in {csrc} "
            f"(reinstall scnp_kernels to rebuild it: {_reinstall()})"
        )
    return None


def _checkout() -> Path | None:
    """The checkout that this package is imported from; None for an installation."""
    parent = _PACKAGE.parent
    return parent if (parent / "setup.py").exists() and (parent / "csrc").exists() else None


def _reinstall() -> str:
    """The command that compiles the kernels anew."""
    checkout = _checkout()
    if checkout is not None:
        return f"pip install --no-build-isolation --no-deps -e {checkout}"
    return "pip install --no-build-isolation --force-reinstall --no-deps ., in its checkout"


def _load_file(file: Path) -> dict[str, Any]:
    record = read_build_record(file)
    name = "scnp_kernels._C"
    loader = ExtensionFileLoader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except (ImportError, OSError) as error:
        raise _UnavailableError(
            f"{file} does not load: {error} (remove it to have it built anew)"
        ) from error
    sys.modules[name] = module
    # Which of its instruction sets it chose on this machine: known once it is loaded.
    return {**(record or {}), "capability": module.cpu_capability()}
