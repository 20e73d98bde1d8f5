"""Promise: whatever is passed, the documented result comes back, or one error that names why not.

Calls are put together at random from good, odd and impossible arguments. A judge that knows the
contract, and nothing of the package, says which arguments are at fault. Where there are some, one
TypeError or ValueError must name one of them; where there are none, brute force has the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scnp_kernels import SCNP, SCNPDiceCELoss, SCNPLoss, scnp, scnp_dice_ce_loss
from tests import generators as g
from tests.hypothesis_profiles import times
from tests.stress.drawn_calls import BAD_FLAGS, Call, calls, quietly
from tests.stress.judge import check_error, faults, judge, outcome_of


@times(5)
@given(call=calls())
def test_every_call_gives_the_result_or_one_error(backend: str, call: Call) -> None:
    judge(call, lambda: scnp(
        call.logits, call.target, call.kernel_size, ignore_index=call.ignore_index,
        mask=call.mask, gate=call.gate, validate=call.validate, backend=backend,
    ))  # fmt: skip


@given(call=calls())
def test_modules_judge_alike(backend: str, call: Call) -> None:
    """Whether they complain when they are made or when they are called."""

    def as_module() -> Tensor:
        module = SCNP(
            call.kernel_size,
            ignore_index=call.ignore_index,
            validate=call.validate,
            backend=backend,
        )
        result: Tensor = module(call.logits, call.target, call.mask, call.gate)
        return result

    def around_a_loss() -> Tensor:
        module = SCNPLoss(
            lambda logits, _target: logits,
            call.kernel_size,
            ignore_index=call.ignore_index,
            validate=call.validate,
            backend=backend,
        )
        result: Tensor = module(call.logits, call.target, mask=call.mask, gate=call.gate)
        return result

    assert judge(call, as_module) == judge(call, around_a_loss)


# The combined loss: more arguments, each a number, a flag, a word or weights.

WEIGHTS = (0, 1, 0.5, 2.0, 1e-3, np.float32(1), np.int64(2))
BAD_WEIGHTS: tuple[Any, ...] = (
    -1, math.nan, math.inf, -math.inf, "1", None, True, 1j, [1.0], 10**400, -(10**400),
    torch.tensor(1.0), np.float32(-1), np.float64("nan"), np.bool_(True), object(),
)  # fmt: skip
# What weighs the loss of penalized or of plain logits may be a tensor, too.
TERM_WEIGHTS: tuple[Any, ...] = (*WEIGHTS, torch.tensor(1.0), torch.tensor(0.5))
BAD_TERM_WEIGHTS: tuple[Any, ...] = (
    *(weight for weight in BAD_WEIGHTS if not isinstance(weight, torch.Tensor)),
    torch.ones(2), torch.tensor(True), torch.tensor(1j),
)  # fmt: skip
BAD_ACTIVATIONS: tuple[Any, ...] = (
    "relu",
    "",
    None,
    1,
    ["softmax"],
    torch.ones(2),
    np.ones(3),
    object(),
)
BAD_CLASS_WEIGHTS: tuple[Any, ...] = (
    [1.0], [1.0] * 7, 3.0, "abc", {1: 2}, [[1.0] * 3], [-1.0, 1.0, 1.0], [math.nan, 1.0, 1.0],
    [math.inf, 1.0, 1.0], torch.tensor([1.0, -1.0, 1.0]), torch.tensor([1.0, math.nan, 1.0]),
    torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.complex64),
    torch.ones(3).to_sparse(), torch.ones(3, device="meta"), object(), [None] * 3, ["1"] * 3,
    quietly(lambda: torch.quantize_per_tensor(torch.ones(3), 0.5, 0, torch.qint8)),
    quietly(lambda: torch.nested.nested_tensor([torch.ones(3)])),
)  # fmt: skip


@st.composite
def loss_options(draw: st.DrawFn) -> tuple[dict[str, Any], set[str]]:
    """Options of the combined loss for three classes, and those of them that are at fault."""
    options: dict[str, Any] = {}
    at_fault = set()
    pools: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
        "activation": (("softmax", "sigmoid"), BAD_ACTIVATIONS),
        "include_background": ((True, False), BAD_FLAGS),
        "batch_dice": ((True, False), BAD_FLAGS),
        "distributed": ((None, False), (*BAD_FLAGS, True)),
        "smooth": (WEIGHTS, BAD_WEIGHTS),
        "class_weights": ((None, [1, 2, 3], (0.5, 0.0, 1.0), torch.ones(3)), BAD_CLASS_WEIGHTS),
        "ce_weight": (WEIGHTS, BAD_WEIGHTS),
        "dice_weight": (WEIGHTS, BAD_WEIGHTS),
        "scnp_weight": (TERM_WEIGHTS, BAD_TERM_WEIGHTS),
        "plain_weight": (TERM_WEIGHTS, BAD_TERM_WEIGHTS),
    }
    for name, (good, bad) in pools.items():
        is_bad = not draw(st.integers(0, 25))
        options[name] = draw(st.sampled_from(bad if is_bad else good))
        if is_bad:
            at_fault.add(name)
    for one, other in (("ce_weight", "dice_weight"), ("scnp_weight", "plain_weight")):
        if not {one, other} & at_fault and options[one] == options[other] == 0:
            at_fault |= {one, other}
    return options, at_fault


@given(made=loss_options(), as_module=st.booleans(), seed=st.integers(0, 2**16))
def test_the_combined_loss_gives_a_number_or_one_error(
    backend: str, made: tuple[dict[str, Any], set[str]], as_module: bool, seed: int
) -> None:
    options, at_fault = made
    generator = g.seeded(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator).requires_grad_()
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    call: Callable[[], Tensor] = partial(
        scnp_dice_ce_loss, logits, target, **options, backend=backend
    )
    if as_module:

        def call() -> Tensor:
            loss: Tensor = SCNPDiceCELoss(**options, backend=backend)(logits, target)
            return loss

    loss = outcome_of(call)
    if isinstance(loss, Exception):
        check_error(loss, at_fault)
        return
    assert not at_fault, f"taken in spite of {at_fault}"
    assert loss.shape == ()
    assert loss.isfinite()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "bad", ["", "CPU", "gpu", None, 1, ["cpu"], b"cpu", object()], ids=lambda bad: repr(bad)[:8]
)
def test_a_backend_that_is_none_is_named(bad: Any) -> None:
    logits, target = torch.zeros(1, 1, 3), torch.zeros(1, 3)
    for function in (scnp, scnp_dice_ce_loss):
        check_error(
            _as_error(outcome_of(partial(function, logits, target, backend=bad))), {"backend"}
        )


def _as_error(outcome: Tensor | Exception) -> Exception:
    assert isinstance(outcome, Exception)
    return outcome


def test_the_judge_lets_good_calls_pass() -> None:
    """A strategy that only makes bad calls, or a judge that refuses all, would prove nothing."""
    counts = {True: 0, False: 0}

    @times(3)
    @given(call=calls())
    def draw(call: Call) -> None:
        counts[not faults(call)] += 1

    draw()
    assert counts[True] > 60
    assert counts[False] > 60
