"""Properties of random inputs: brute force once more, and what follows from Eq. 1 and Eq. 2.

The examples are the same at every run; `make fuzz` draws many more, and new ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scnp_kernels import scnp
from tests import generators as g
from tests.calls import assert_same, forward_backward
from tests.cases import DTYPES, INTEGERS, WIDE_UNSIGNED, Case, Sample, reading
from tests.hypothesis_profiles import QUICK
from tests.oracle import Expected, brute_force, brute_force_gather, brute_force_gradient, listing

LAYOUTS = (g.as_made, g.channels_last, g.every_second, g.reversed_axes, g.repeated(-1))
DIRECTIONS = (g.as_made, g.repeated(0), g.one_for_all, g.reversed_axes)
SPECIAL = (g.normal, g.tied, g.infinities, g.some_nan, g.extreme, g.signed_zeros)
FINITE = (g.normal, g.tied, g.distinct, g.constant)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """[B, C, *spatial] of up to three axes; small, for brute force."""
    longest = {1: 12, 2: 6, 3: 4}
    dimensions = draw(st.integers(1, 3))
    spatial = [draw(st.integers(1, longest[dimensions])) for _ in range(dimensions)]
    return draw(st.integers(1, 2)), draw(st.integers(1, 3)), *spatial


@st.composite
def cases(
    draw: st.DrawFn,
    logits: tuple[g.Logits, ...] = SPECIAL,
    label_maps: bool = True,
    invalid: bool = True,
    movable: bool = False,
) -> tuple[Case, torch.dtype, int]:
    """A case over everything that the contract lets vary, its dtype and seed.

    A ``movable`` one leaves out the dtypes that torch itself can neither index nor flip.
    """
    shape = draw(shapes())
    dimensions, channels = len(shape) - 2, shape[1]
    window = tuple(draw(st.sampled_from((1, 3, 3, 5, 7))) for _ in range(dimensions))
    is_map = label_maps and draw(st.booleans())
    ignored = draw(st.sampled_from((None, -1, 127))) if invalid else None
    map_dtypes = (*INTEGERS, *DTYPES, *((torch.bool,) if channels == 1 else ()))
    masks_dtypes = (torch.bool, *INTEGERS, *DTYPES, *(() if movable else WIDE_UNSIGNED))
    dtypes = map_dtypes if is_map else masks_dtypes
    dtype = draw(st.sampled_from(dtypes))
    if dtype == torch.bool or (not is_map and channels > 1):
        ignored = None
    if ignored == -1 and not (dtype.is_signed or dtype.is_floating_point):
        ignored = 127
    target = (
        g.labels(dtype, channel_axis=draw(st.booleans()), ignored=ignored)
        if is_map
        else g.masks(dtype, ignored=ignored)
    )
    case = Case(
        "random",
        "",
        shape,
        window,
        logits=draw(st.sampled_from(logits)),
        target=target,
        ignore_index=ignored,
        mask=g.valid_pixels() if invalid and draw(st.booleans()) else None,
        gate=g.valid_pixels(0.6) if not draw(st.integers(0, 3)) else None,
        layout=draw(st.sampled_from(LAYOUTS)),
        target_layout=draw(st.sampled_from(LAYOUTS)),
        incoming_layout=draw(st.sampled_from(DIRECTIONS)),
    )
    return case, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**16))


def _penalize(backend: str, sample: Sample) -> Tensor:
    return scnp(sample.logits, sample.target, **sample.kwargs, backend=backend)


def _brute_force(sample: Sample, case: Case) -> Expected:
    gate = sample.kwargs.get("gate")
    return brute_force(sample.logits, *reading(sample), case.kernel_size, gate)


def _integers(sample: Sample) -> Sample:
    """Incoming gradients whose sums are exact in any order."""
    return sample._replace(incoming=sample.incoming.mul(2).round().clamp(-8, 8))


def _map_images(sample: Sample, move: Callable[[Tensor], Tensor]) -> Sample:
    """The sample with a motion of the image applied to everything that has pixels."""
    kwargs = sample.kwargs.copy()
    mask, gate = kwargs["mask"], kwargs.get("gate")
    kwargs["mask"] = None if mask is None else move(mask)
    kwargs["gate"] = None if gate is None else move(gate)
    return Sample(move(sample.logits), move(sample.target), kwargs, move(sample.incoming))


@given(made=cases())
def test_equals_brute_force(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    outcome = forward_backward(backend, sample)
    wanted = _brute_force(sample, case)
    assert_same(outcome.penalized, wanted.penalized)
    assert_same(outcome.winners.long(), wanted.winners)
    gradient = brute_force_gradient(sample.incoming, wanted.winners, case.kernel_size)
    assert_same(outcome.gradient, gradient)


@given(made=cases(logits=(g.constant,)))
def test_constant_logits_stay(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    assert_same(_penalize(backend, sample), sample.logits)


@given(made=cases())
def test_window_of_one_is_the_identity(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    case, dtype, seed = made
    sample = replace(case, kernel_size=1).make(dtype, seed)
    outcome = forward_backward(backend, sample)
    assert_same(outcome.penalized, sample.logits)
    assert_same(outcome.gradient, sample.incoming)


@given(made=cases(logits=FINITE))
def test_foreground_never_rises_background_never_falls(
    backend: str, made: tuple[Case, torch.dtype, int]
) -> None:
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    foreground, valid = reading(sample)
    penalized = _penalize(backend, sample)
    assert (penalized <= sample.logits)[foreground & valid].all()
    assert (penalized >= sample.logits)[~foreground & valid].all()
    assert_same(penalized[~valid], sample.logits[~valid])


@given(made=cases(logits=FINITE))
def test_wider_windows_penalize_more(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    case, dtype, seed = made
    wider = replace(case, kernel_size=tuple(size + 2 for size in case.window))
    foreground, valid = reading(case.make(dtype, seed))
    narrow = _penalize(backend, case.make(dtype, seed))
    wide = _penalize(backend, wider.make(dtype, seed))
    assert (wide <= narrow)[foreground & valid].all()
    assert (wide >= narrow)[~foreground & valid].all()


@given(made=cases(logits=(g.distinct,), movable=True), data=st.data())
def test_flips_commute(
    backend: str, made: tuple[Case, torch.dtype, int], data: st.DataObject
) -> None:
    """Without ties; the gradient too, where its sums are exact."""
    case, _, seed = made
    sample = _integers(replace(case, layout=g.as_made).make(torch.float32, seed))
    axis = -data.draw(st.integers(1, len(case.shape) - 2))
    flipped = _map_images(sample, lambda tensor: tensor.flip(axis))
    outcome, of_flipped = forward_backward(backend, sample), forward_backward(backend, flipped)
    assert_same(of_flipped.penalized, outcome.penalized.flip(axis))
    assert_same(of_flipped.gradient, outcome.gradient.flip(axis))


@given(made=cases(logits=(g.distinct,), movable=True), data=st.data())
def test_transposes_commute(
    backend: str, made: tuple[Case, torch.dtype, int], data: st.DataObject
) -> None:
    case, _, seed = made
    sample = _integers(replace(case, layout=g.as_made).make(torch.float32, seed))
    dimensions = len(case.shape) - 2
    one, other = (data.draw(st.integers(0, dimensions - 1)) for _ in range(2))

    def swap(tensor: Tensor) -> Tensor:
        return tensor.transpose(one - dimensions, other - dimensions)

    window = list(case.window)
    window[one], window[other] = window[other], window[one]
    swapped = _map_images(sample, swap)
    swapped.kwargs["kernel_size"] = window
    outcome, of_swapped = forward_backward(backend, sample), forward_backward(backend, swapped)
    assert_same(of_swapped.penalized, swap(outcome.penalized))
    assert_same(of_swapped.gradient, swap(outcome.gradient))


@given(made=cases(label_maps=False, movable=True), order=st.permutations(range(3)))
def test_channels_are_independent(
    backend: str, made: tuple[Case, torch.dtype, int], order: list[int]
) -> None:
    """Permuted masks permute the result, value by value."""
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    order = [channel for channel in order if channel < case.shape[1]]
    permuted = Sample(
        sample.logits[:, order],
        sample.target[:, order],
        sample.kwargs,
        sample.incoming[:, order],
    )
    outcome, of_permuted = forward_backward(backend, sample), forward_backward(backend, permuted)
    for one, other in zip(outcome, of_permuted, strict=True):
        assert_same(other, one[:, order])


@given(made=cases(logits=SPECIAL, invalid=False), order=st.permutations(range(3)))
def test_relabelling_permutes_channels(
    backend: str, made: tuple[Case, torch.dtype, int], order: list[int]
) -> None:
    case, dtype, seed = made
    shape = (case.shape[0], 3, *case.shape[2:])
    sample = replace(case, shape=shape, target=g.labels()).make(dtype, seed)
    new_label = torch.empty(3, dtype=torch.long)
    new_label[torch.tensor(order)] = torch.arange(3)  # channel `order[k]` becomes channel k
    permuted = Sample(
        sample.logits[:, order],
        new_label[sample.target],
        sample.kwargs,
        sample.incoming[:, order],
    )
    outcome, of_permuted = forward_backward(backend, sample), forward_backward(backend, permuted)
    for one, other in zip(outcome, of_permuted, strict=True):
        assert_same(other, one[:, order])


@given(made=cases())
def test_images_are_independent(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    """Image by image is as good as the batch."""
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    outcome = forward_backward(backend, sample)
    for b in range(case.shape[0]):
        image = _map_images(sample, lambda tensor, b=b: tensor[b : b + 1])  # type: ignore[misc]
        for one, whole in zip(forward_backward(backend, image), outcome, strict=True):
            assert_same(one, whole[b : b + 1])


@given(made=cases(label_maps=False))
def test_complement_mirrors(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    """Foreground and background swap roles when logits change sign: winners are the same."""
    case, dtype, seed = made
    case = replace(case, target=g.masks(torch.bool), ignore_index=None)
    sample = case.make(dtype, seed)
    mirrored = sample._replace(logits=-sample.logits, target=~sample.target)
    outcome, of_mirrored = forward_backward(backend, sample), forward_backward(backend, mirrored)
    assert_same(of_mirrored.penalized, -outcome.penalized)
    assert_same(of_mirrored.winners, outcome.winners)
    assert_same(of_mirrored.gradient, outcome.gradient)


@given(made=cases())
def test_gradient_mass_is_conserved(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    """What comes in goes out: image by image, channel by channel."""
    case, _, seed = made
    sample = _integers(case.make(torch.float32, seed))
    spatial = tuple(range(2, len(case.shape)))
    gradient = forward_backward(backend, sample).gradient
    assert_same(gradient.sum(spatial), sample.incoming.sum(spatial))


@given(made=cases())
def test_gather_is_the_transpose_of_scatter(
    backend: str, made: tuple[Case, torch.dtype, int]
) -> None:
    """<gather(v), u> = <v, scatter(u)>, exactly, in integers."""
    case, _, seed = made
    sample = _integers(case.make(torch.float64, seed))
    logits = sample.logits.detach().requires_grad_()
    incoming = sample.incoming.detach().requires_grad_()
    values = g.uniform_integers(-9, 9, case.shape, g.seeded(seed)).double()
    (gradient,) = torch.autograd.grad(
        _penalize(backend, sample._replace(logits=logits)), logits, incoming, create_graph=True
    )
    (gathered,) = torch.autograd.grad(gradient, incoming, values)
    assert_same((gathered * incoming).sum(), (values * gradient).sum())
    winners = _brute_force(sample, case).winners
    assert_same(gathered, brute_force_gather(values, winners, case.kernel_size))


@given(made=cases(logits=FINITE))
def test_penalized_values_are_logits(backend: str, made: tuple[Case, torch.dtype, int]) -> None:
    """Nothing is computed: every value was there before, in the same image and channel."""
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    penalized = _penalize(backend, sample)
    images = (math.prod(case.shape[:2]), -1)
    for new, old in zip(penalized.reshape(images), sample.logits.reshape(images), strict=True):
        assert set(new.tolist()) <= set(old.tolist())


@given(made=cases(logits=FINITE))
def test_larger_logits_give_larger_results(
    backend: str, made: tuple[Case, torch.dtype, int]
) -> None:
    """Minima and maxima are monotone: no logit that rises makes a result fall."""
    case, dtype, seed = made
    sample = case.make(dtype, seed)
    raised = sample.logits + torch.rand(case.shape, generator=g.seeded(seed + 1)).to(dtype)
    larger = _penalize(backend, sample._replace(logits=raised))
    assert (larger >= _penalize(backend, sample)).all()


@given(made=cases(logits=(g.tied, g.distinct)), shift=st.integers(-64, 64))
def test_a_constant_passes_through(
    backend: str, made: tuple[Case, torch.dtype, int], shift: int
) -> None:
    """Added to every logit, it is added to every result, and moves no winner."""
    case, _, seed = made
    sample = case.make(torch.float32, seed)  # eighths of small integers: every sum is exact
    outcome = forward_backward(backend, sample)
    shifted = forward_backward(backend, sample._replace(logits=sample.logits + shift))
    assert_same(shifted.penalized, outcome.penalized + shift)
    assert_same(shifted.winners, outcome.winners)
    assert_same(shifted.gradient, outcome.gradient)


@given(made=cases(logits=(g.tied, g.distinct)))
def test_a_second_window_reaches_no_further_than_their_sum(
    backend: str, made: tuple[Case, torch.dtype, int]
) -> None:
    """Penalized twice is not worse than penalized once in a window as wide as both together.

    It need not be equal: between two same-class neighbours there may be a pixel of another class.
    """
    case, dtype, seed = made
    together = replace(case, kernel_size=tuple(2 * size - 1 for size in case.window))
    sample = case.make(dtype, seed)
    foreground, valid = reading(sample)
    twice = _penalize(backend, sample._replace(logits=_penalize(backend, sample)))
    at_once = _penalize(backend, together.make(dtype, seed))
    assert (twice >= at_once)[foreground & valid].all()
    assert (twice <= at_once)[~foreground & valid].all()


@st.composite
def large_cases(draw: st.DrawFn) -> tuple[Case, torch.dtype, int, int]:
    """Images that are cut into tiles, with a dtype, a seed and a number of threads."""
    spatial = draw(
        st.one_of(
            st.tuples(st.integers(1000, 2300)),
            st.tuples(st.integers(1, 90), st.integers(1, 12)),
            st.tuples(st.integers(1, 6), st.integers(500, 1300)),
            st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
            st.tuples(st.integers(1, 4), st.integers(30, 60), st.integers(30, 60)),
        )
    )
    window = tuple(draw(st.sampled_from((1, 3, 3, 5, 9))) for _ in spatial)
    target = g.labels() if draw(st.booleans()) else g.masks()
    case = Case(
        "large",
        "",
        (1, draw(st.integers(1, 3)), *spatial),
        window,
        logits=draw(st.sampled_from(FINITE)),
        target=target,
        layout=draw(st.sampled_from(LAYOUTS)),
        incoming_layout=draw(st.sampled_from(DIRECTIONS)),
    )
    dtype = draw(st.sampled_from((torch.float32, torch.float64)))
    return case, dtype, draw(st.integers(0, 2**16)), draw(st.integers(1, 3))


@given(made=large_cases())
def test_large_images_equal_the_listing(
    backend: str, made: tuple[Case, torch.dtype, int, int]
) -> None:
    case, dtype, seed, threads = made
    sample = case.make(dtype, seed)
    one_hot = reading(sample).foreground
    logits = sample.logits.detach().requires_grad_()
    wanted = listing(logits, one_hot, case.kernel_size)
    (gradient,) = torch.autograd.grad(wanted, logits, sample.incoming)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        outcome = forward_backward(backend, sample)
    finally:
        torch.set_num_threads(before)
    assert_same(outcome.penalized, wanted.detach())
    assert_same(outcome.gradient, gradient)


def test_examples_are_the_same_at_every_run(pytestconfig: pytest.Config) -> None:
    """A failure can be repeated; under `make fuzz`, by its seed."""
    assert settings.default is not None
    fuzzing = pytestconfig.getoption("--hypothesis-profile") == "fuzz"
    assert settings.default.derandomize is not fuzzing
    assert settings.default.max_examples >= QUICK


def test_every_kind_of_logits_is_drawn() -> None:
    """The strategy reaches what the properties claim to cover."""
    drawn: list[Case] = []

    @given(made=cases())
    def draw(made: tuple[Case, torch.dtype, int]) -> None:
        drawn.append(made[0])

    draw()
    assert {case.logits for case in drawn} == set(SPECIAL)
    assert {len(case.shape) for case in drawn} == {3, 4, 5}
    assert any(case.ignore_index is not None for case in drawn)
    assert any(case.mask is not None for case in drawn)
