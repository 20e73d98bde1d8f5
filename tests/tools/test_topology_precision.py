"""The number format that the topology benchmark trains in: the faster one, where it is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.topology import precision, training
from benchmarks.topology.configuration import DEFAULTS, Configuration
from benchmarks.topology.network import build_network
from benchmarks.topology.records import configuration_of, finished_runs
from tests.topology_data import (
    TOY_CONFIGURATION,
    command,
    failing,
    run_arguments,
    toy_data,
    write_images,
)

CPU = torch.device("cpu")


def test_logits_of_bfloat16_keep_the_digits_of_float32() -> None:
    network = build_network(0, 2, 1, 2, (4, 4, 4, 4, 4, 4))
    images = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    torch.testing.assert_close(logits, network(images), atol=0.1, rtol=0.1)


def gradients_wrong_at(
    sides: tuple[int, ...], on_threads: int = 1
) -> Callable[[Tensor, Tensor], Tensor]:
    """bfloat16's weight gradients of these sides hold NaN; all others are as torch computes them.

    In float32 always, so that the processor that runs this test does not matter, and on that many
    threads alone, as the real fault depends on them.
    """
    computed = precision._weight_gradient

    def gradient(features: Tensor, error: Tensor) -> Tensor:
        found = computed(features.float(), error.float())
        wrong = features.shape[2:] == sides and torch.get_num_threads() == on_threads
        if features.dtype == torch.bfloat16 and wrong:
            found[0, 0] = float("nan")
        return found

    return gradient


@pytest.mark.parametrize(
    ("crop", "wrong", "told"),
    [
        ((32, 32, 32), (2, 2, 2), True),
        ((16, 32, 32), (2, 4, 4), True),
        ((64, 64, 64), (2, 2, 2), False),  # its levels are 64, 32, 16, 8 and 4 deep
        ((32, 32), (2, 2), True),
        ((128, 128), (2, 2), False),
    ],
)
@pytest.mark.parametrize("on_threads", [1, 3, 4])
def test_wrong_gradients_of_bfloat16_are_seen(
    crop: tuple[int, ...],
    wrong: tuple[int, ...],
    told: bool,
    on_threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_weight_gradient", gradients_wrong_at(wrong, on_threads))
    configuration = replace(TOY_CONFIGURATION, crop=crop)
    threads = torch.get_num_threads()
    for pilots, seen in ((1, {1}), (3, {1, 3})):
        found = precision.sides_wrong_in_bfloat16(configuration, pilots)
        assert found == (wrong if told and on_threads in seen else None)
    assert torch.get_num_threads() == threads


def conv_gradients(configuration: Configuration, seed: int) -> Tensor:
    """Of a training's first batch on random noise: all weights of convolutions, as one vector."""
    dimensions = configuration.spatial_dimensions
    layout = training.fast_memory_format(dimensions, CPU)
    generator = torch.Generator().manual_seed(seed)
    shape = (configuration.batch_size, 1, *configuration.crop)
    images = torch.randn(shape, generator=generator).contiguous(memory_format=layout)
    network = build_network(seed, dimensions, 1, 2, configuration.features)
    network.to(memory_format=layout)  # type: ignore[call-overload]  # torch has it
    with torch.autocast("cpu", torch.bfloat16, enabled=configuration.precision == "bfloat16"):
        logits = network(images)
    nn.functional.cross_entropy(logits, (images[:, 0] > 0).long()).backward()
    weights = [p.grad.flatten() for p in network.parameters() if p.grad is not None and p.ndim > 2]
    return torch.cat(weights)


@pytest.mark.parametrize("crop", [(32, 32, 32), (16, 32, 32), (64, 64)])
def test_a_network_trains_right_in_bfloat16_or_that_is_told(crop: tuple[int, ...]) -> None:
    """On this processor, whatever it is."""
    configuration = replace(DEFAULTS[len(crop)], crop=crop)
    if precision.sides_wrong_in_bfloat16(configuration, 1) is not None:
        return  # told
    with training.on_threads(1):
        for seed in range(3):
            expected = conv_gradients(replace(configuration, precision="float32"), seed)
            found = conv_gradients(replace(configuration, precision="bfloat16"), seed)
            # Rounding, through batch normalisation of a few values, makes up to about 0.25.
            assert (found - expected).norm() < 0.7 * expected.norm()


class Timed:
    """In place of a training: an iteration takes so many seconds, by its precision."""

    clock = 0.0
    seconds_of: dict[str, float]

    def __init__(
        self, _loss: object, _data: object, configuration: Configuration, *_: object
    ) -> None:
        self.precision = configuration.precision

    def iterate(self, _done: float) -> None:
        """Let the time go by; an infinite one is a loss that is not finite."""
        seconds = self.seconds_of[self.precision]
        if not np.isfinite(seconds):
            raise training.TrainingError("the loss is nan at iteration 1")
        Timed.clock += seconds


@pytest.mark.parametrize(
    ("bfloat16", "chosen"), [(0.5, "bfloat16"), (0.95, "float32"), (7.0, "float32")]
)
def test_the_faster_precision_is_chosen(
    bfloat16: float, chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timed, "seconds_of", {"float32": 1.0, "bfloat16": bfloat16}, raising=False)
    monkeypatch.setattr(precision, "Training", Timed)
    monkeypatch.setattr(precision, "process_time", lambda: Timed.clock)
    monkeypatch.setattr(precision, "_weight_gradient", gradients_wrong_at((0, 0)))
    name, reason = precision.faster_precision(toy_data(tmp_path), TOY_CONFIGURATION, CPU, 1)
    assert name == chosen
    assert f"float32 1000 ms, bfloat16 {1e3 * bfloat16:.0f} ms: trains in {chosen}" in reason


def test_bfloat16_is_not_chosen_where_its_gradients_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "Training", Timed)
    monkeypatch.setattr(precision, "process_time", lambda: Timed.clock)
    monkeypatch.setattr(precision, "_weight_gradient", gradients_wrong_at((2, 2)))
    monkeypatch.setattr(Timed, "seconds_of", {"float32": 1.0, "bfloat16": 0.5}, raising=False)
    assert precision.faster_precision(toy_data(tmp_path), TOY_CONFIGURATION, CPU, 1) == (
        "float32",
        "gradients of 2x2 features are wrong in bfloat16 on this processor: trains in float32",
    )
    monkeypatch.setattr(Timed, "seconds_of", {"float32": 1.0, "bfloat16": np.inf})
    assert precision.faster_precision(toy_data(tmp_path / "again"), TOY_CONFIGURATION, CPU, 1) == (
        "float32",
        "bfloat16 cannot be tried here (the loss is nan at iteration 1): trains in float32",
    )


def test_a_training_in_wrong_gradients_is_refused_and_finished_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars")
    arguments = run_arguments(data, tmp_path / "out", "--scnp", "off", "--iterations", 2)
    arguments[arguments.index("float32")] = "bfloat16"
    without = [a for a in arguments if a not in ("--precision", "bfloat16")]
    right, wrong = gradients_wrong_at((0, 0)), gradients_wrong_at((2, 2))
    words = (
        "got bfloat16, but gradients of 2x2 features are wrong in bfloat16 on this processor; "
        "takes --precision float32 and, where runs in bfloat16 are there already, another --out"
    )
    monkeypatch.setattr(precision, "_weight_gradient", wrong)
    assert f"error: --precision: {words}" == failing(capsys, *arguments)
    assert not (tmp_path / "out" / "bars").exists()

    monkeypatch.setattr(precision, "_weight_gradient", right)
    command(*arguments, "--seeds", 1)  # as on another machine
    monkeypatch.setattr(precision, "_weight_gradient", wrong)
    command(*without, "--seeds", 1)
    stored = tmp_path / "out" / "bars" / "configuration.json"
    assert f"error: {stored}: {words}" == failing(capsys, *without, "--seeds", 2)
    given = tmp_path / "given.json"
    given.write_bytes(stored.read_bytes())
    options = ("--data", data, "--out", tmp_path / "new", "--configuration", given)
    assert f"error: {given}: {words}" == failing(
        capsys, "run", *options, "--scnp", "off", "--one-process"
    )
    assert len(finished_runs(tmp_path / "out" / "bars")) == 1


def test_a_folder_keeps_its_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_images(tmp_path / "bars")
    arguments = run_arguments(data, tmp_path / "out", "--scnp", "off", "--iterations", 2)
    arguments = [a for a in arguments if a not in ("--precision", "float32")]
    measured = iter([("bfloat16", "because")])  # a second time it would be none
    monkeypatch.setattr("benchmarks.topology.settings.faster_precision", lambda *_: next(measured))
    command(*arguments, "--seeds", 1)
    command(*arguments, "--seeds", 2)
    assert "bars: because" in capsys.readouterr().err
    folder = tmp_path / "out" / "bars"
    assert configuration_of(folder).precision == "bfloat16"
    assert len(finished_runs(folder)) == 2
