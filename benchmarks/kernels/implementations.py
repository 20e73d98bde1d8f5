"""Everything that can be measured, by name: peers, our backends, and two baselines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import scnp_kernels  # what earlier versions lack is looked up where it is measured
from benchmarks.harness.case import Case
from benchmarks.harness.subject import Forward, SubjectError
from benchmarks.kernels import library_peers, loss_peers, peers
from benchmarks.kernels.cases import (
    COPY,
    DICE_CE,
    DICE_CE_COMPILED,
    DICE_CE_MONAI,
    FILL,
    FUSED,
    FUSED_FOCAL,
    FUSED_JOINT,
    FUSED_PLAIN,
    FUSED_TVERSKY,
    KORNIA,
    LISTING,
    LISTING_COMPILED,
    LISTING_DICE_CE,
    LISTING_DICE_CE_COMPILED,
    OPENCV,
    OURS,
    OURS_GATED,
    SCNP_DICE_CE,
    SEPARABLE_COMPILED,
    SERRON,
    SHIFTED_COMPILED,
)
from scnp_kernels import SCNPLoss, backends, scnp, scnp_dice_ce_loss

OURS_PREFIX = "scnp "  # followed by the name of a backend
BASELINES = (COPY, FILL)  # memory traffic only: no result to check, nothing to differentiate
MOST_SHIFTS = 25  # comparisons that are written out one by one: more compile for minutes
MOST_TAPS_OF_LARGE = 27  # pooling over more is too slow on a large 3D image
LARGE = 10_000_000  # logits


class NotAvailableError(SubjectError):
    """What was asked for cannot run here; the message says why."""


def our_backends() -> tuple[str, ...]:
    """The backends that can run on the CPU here, each as the name of an implementation."""
    states = backends()
    on_cpu = [name for name in ("cpu", "reference") if states[name].startswith("ok")]
    return tuple(f"{OURS_PREFIX}{name}" for name in on_cpu)


def implementations() -> tuple[str, ...]:
    """Peers and our backends: all that compute SCNP."""
    compiled = (LISTING_COMPILED, SEPARABLE_COMPILED, SHIFTED_COMPILED)
    installed = [name for name in (SERRON, KORNIA) if library_peers.missing(name) is None]
    return (LISTING, *compiled, *installed, *our_backends())


def why_not(implementation: str, case: Case) -> str | None:
    """None, or why this is not worth measuring on this case."""
    if implementation in (SERRON, KORNIA) and case.dimensions != 2:
        return "takes images of two axes"
    if implementation == SHIFTED_COMPILED:
        limit = MOST_SHIFTS + 2 * (case.dimensions == 3)
        if case.taps > limit:
            return f"{case.taps} comparisons take minutes to compile"
    if not implementation.startswith(OURS_PREFIX) and case.threads is not None:
        return "the peers are compiled for the threads of the run"
    if case.logits >= LARGE and case.taps > MOST_TAPS_OF_LARGE and case.dimensions == 3:
        ours = implementation.startswith(OURS_PREFIX) and "reference" not in implementation
        return None if ours else "too slow on so large an image; a smaller one has it"
    return None


def build(implementation: str, case: Case) -> Forward:
    """What runs the implementation on a buffer of the case: one forward pass.

    Raises:
        NotAvailableError: It is one of our backends, or of a library, and cannot run here.
    """
    kernel_size = case.kernel_size
    lacking = library_peers.missing(implementation)
    if lacking is not None:
        raise NotAvailableError(f"{implementation}: {lacking}")
    if implementation == COPY:
        return lambda buffer: peers.copy_of_the_logits(buffer.destination, buffer.logits.detach())
    if implementation == FILL:
        winners = case.winners_dtype
        return lambda buffer: peers.allocate_and_fill(buffer.logits.detach(), winners)[0]
    if implementation == OPENCV:
        planes = library_peers.opencv_planes()
        return lambda buffer: planes(buffer.logits, kernel_size)
    if case.of_loss:
        loss = _loss(implementation, kernel_size)
        return lambda buffer: loss(buffer.logits, buffer.labels)
    if implementation == OURS_GATED:
        ours = OURS.removeprefix(OURS_PREFIX)
        return lambda buffer: scnp(
            buffer.logits, buffer.target(case.target), kernel_size, gate=buffer.gate, backend=ours
        )
    if implementation.startswith(OURS_PREFIX):
        backend = implementation.removeprefix(OURS_PREFIX)
        if implementation not in our_backends():
            raise NotAvailableError(f"{implementation}: {backends()[backend]}")
        return lambda buffer: scnp(
            buffer.logits, buffer.target(case.target), kernel_size, backend=backend
        )
    return build_peer(implementation, kernel_size)


def build_peer(implementation: str, kernel_size: int, compiler: str = peers.INDUCTOR) -> Forward:
    """What runs one of the peers on a buffer: one forward pass."""
    makers: dict[str, Callable[[str], peers.Peer]] = {
        LISTING: lambda _: peers.listing,
        LISTING_COMPILED: peers.compiled_listing,
        SEPARABLE_COMPILED: peers.compiled_separable,
        SERRON: lambda _: library_peers.serron_listing(),
        KORNIA: lambda _: library_peers.kornia_listing(),
        SHIFTED_COMPILED: peers.compiled_shifted_comparisons,
    }
    peer = makers[implementation](compiler)
    return lambda buffer: peer(buffer.logits, buffer.one_hot(), kernel_size)


def _loss(implementation: str, kernel_size: int) -> loss_peers.Loss:
    def ours(scnp_weight: float, plain_weight: float) -> loss_peers.Loss:
        return partial(
            scnp_dice_ce_loss,
            kernel_size=kernel_size,
            scnp_weight=scnp_weight,
            plain_weight=plain_weight,
            backend="cpu",
        )

    makers: dict[str, Callable[[], loss_peers.Loss]] = {
        DICE_CE: lambda: loss_peers.dice_ce,
        DICE_CE_COMPILED: lambda: peers.compiled(loss_peers.dice_ce),
        DICE_CE_MONAI: loss_peers.monai_dice_ce,
        LISTING_DICE_CE: lambda: partial(loss_peers.listing_dice_ce, kernel_size=kernel_size),
        LISTING_DICE_CE_COMPILED: lambda: partial(
            peers.compiled(loss_peers.listing_dice_ce), kernel_size=kernel_size
        ),
        SCNP_DICE_CE: lambda: SCNPLoss(loss_peers.dice_ce, kernel_size, backend="cpu"),
        FUSED: lambda: ours(1, 0),
        FUSED_JOINT: lambda: ours(1, 1),
        FUSED_PLAIN: lambda: ours(0, 1),
        FUSED_TVERSKY: lambda: scnp_kernels.SCNPTverskyLoss(
            kernel_size, alpha=0.3, beta=0.7, backend="cpu"
        ),
        FUSED_FOCAL: lambda: scnp_kernels.SCNPFocalLoss(kernel_size, gamma=2.0, backend="cpu"),
    }
    return makers[implementation]()
