"""How the topology benchmark trains: its crops, its normalisation, its losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.common.errors import UsageError
from benchmarks.topology import datasets, training
from benchmarks.topology.__main__ import main
from benchmarks.topology.configuration import (
    DEFAULTS,
    read_configuration,
    write_json,
)
from benchmarks.topology.crops import Crops
from benchmarks.topology.datasets import Sample, standardise
from benchmarks.topology.losses import LOSSES, MODES, build_loss, penalized
from benchmarks.topology.network import build_network
from tests.oracle import listing
from tests.topology_data import (
    TOY_CONFIGURATION,
    command,
    run_arguments,
    toy_data,
    write_images,
    write_volumes,
)

CPU = torch.device("cpu")


def sample_of(truth: np.ndarray, name: str = "") -> Sample:
    """An image whose channels are its labels, so that a crop shows what it was cut with."""
    return Sample(name, np.stack([truth] * 3).astype(np.float32), truth.astype(np.uint8))


def of_one_pixel(label: int = 1) -> np.ndarray:
    truth = np.zeros((200, 300), np.uint8)
    truth[7, 290] = label
    return truth


@pytest.mark.parametrize(
    ("batch_size", "share", "least"),
    [(1, 1 / 3, 1), (2, 1 / 3, 1), (3, 1 / 3, 1), (8, 1 / 3, 3), (4, 1, 4)],
)
def test_a_share_of_every_batch_holds_foreground(batch_size: int, share: float, least: int) -> None:
    samples = [sample_of(np.zeros((200, 300))), sample_of(of_one_pixel())]
    configuration = replace(TOY_CONFIGURATION, batch_size=batch_size, foreground_share=share)
    crops, random = Crops(samples, configuration), np.random.default_rng(0)
    for _ in range(50):
        _, labels = crops.draw(random)
        held = labels.flatten(1).any(1)
        assert int(held.sum()) >= least
        assert held[:least].all()


def test_without_a_share_foreground_is_a_matter_of_luck() -> None:
    crops = Crops(
        [sample_of(of_one_pixel())], replace(TOY_CONFIGURATION, batch_size=50, foreground_share=0.0)
    )
    assert crops.draw(np.random.default_rng(0))[1].sum() < 10


def test_every_label_is_drawn_as_often_however_rare() -> None:
    truth = of_one_pixel(label=2)
    truth[100:, :200] = 1
    configuration = replace(TOY_CONFIGURATION, batch_size=300, foreground_share=1.0, classes=4)
    _, labels = Crops([sample_of(truth)], configuration).draw(np.random.default_rng(0))
    rare = labels.flatten(1).eq(2).any(1).float().mean()
    assert 0.4 < float(rare) < 0.6


def test_crops_around_foreground_take_all_pixels_of_large_structures_in_turn() -> None:
    truth = np.zeros((300, 300), np.uint8)
    truth[:, 100:200] = 1  # more than are remembered
    configuration = replace(TOY_CONFIGURATION, crop=(16, 16), batch_size=400, foreground_share=1.0)
    images, labels = Crops([sample_of(truth)], configuration).draw(np.random.default_rng(0))
    shares = labels.float().mean((1, 2))
    assert torch.equal(images[:, 0].long(), labels)
    assert shares.min() < 0.7  # also at the structure's border
    assert shares.gt(0.99).float().mean() > 0.5


def test_without_any_foreground_there_is_nothing_to_draw_around() -> None:
    with pytest.raises(ValueError, match="no training image has a foreground pixel"):
        Crops([sample_of(np.zeros((40, 40)))], TOY_CONFIGURATION)


@pytest.mark.parametrize("crop", [(32, 32), (16, 32)])
def test_crops_keep_image_and_label_together(crop: tuple[int, int]) -> None:
    truth = np.random.default_rng(0).random((40, 50)) < 0.3
    configuration = replace(TOY_CONFIGURATION, crop=crop, batch_size=16)
    images, labels = Crops([sample_of(truth)], configuration).draw(np.random.default_rng(1))
    assert images.shape == (16, 3, *crop)
    assert torch.equal(images[:, 1].long(), labels)
    assert len({tuple(label.flatten().tolist()) for label in labels}) > 8


def test_crops_of_volumes_thinner_than_they_are_repeat_the_border() -> None:
    truth = np.zeros((5, 40, 40), np.uint8)
    truth[4, 20, 20] = 1
    sample = Sample("", truth[np.newaxis].astype(np.float32), truth)
    configuration = replace(DEFAULTS[3], crop=(16, 16, 16), batch_size=12)
    images, labels = Crops([sample], configuration).draw(np.random.default_rng(0))
    assert torch.equal(images[:, 0].long(), labels)
    assert labels.shape == (12, 16, 16, 16)
    assert labels[:4].flatten(1).sum(1).min() >= 1


class Recorder(nn.Module):
    """A network of one weight that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        return torch.stack([images[:, 0], -images[:, 0]], 1) * self.weight


def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    network = Recorder()
    monkeypatch.setattr(training, "build_network", lambda *_: network)
    return network


@pytest.mark.parametrize("loss", ["ce", "ce_dice"])
def test_the_crops_of_a_seed_are_those_of_every_method(
    loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toy_data(tmp_path)

    def drawn(mode: str, seed: int) -> Tensor:
        network = recorded(monkeypatch)
        one = training.Training(build_loss(loss, 2, 2, mode), data, TOY_CONFIGURATION, seed, CPU)
        for iteration in range(3):
            one.iterate(iteration / 3)
        return torch.stack(network.seen)

    first = drawn("off", 0)
    for mode in MODES:
        assert torch.equal(drawn(mode, 0), first)
    assert not torch.equal(drawn("off", 1), first)


def test_prediction_normalises_as_training_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop as large as its image is, but for turns, what prediction is fed of this image."""
    root = write_images(tmp_path / "bars")
    for split in ("val", "test"):
        for file in root.glob("train/*/*"):
            (root / split / file.parent.name / file.name).write_bytes(file.read_bytes())
    data = datasets.read_data_set(root, ["test"], TOY_CONFIGURATION.crop)
    network = recorded(monkeypatch)
    one = training.Training(build_loss("ce", 2, 2, "off"), data, TOY_CONFIGURATION, 0, CPU)
    one.iterate(0.0)
    training.segment(network, data.tests["test"][0].image, TOY_CONFIGURATION, CPU)
    crops, (whole,) = network.seen[0], network.seen[1]
    turned = [
        torch.rot90(image, turns, (-2, -1))
        for image in (whole, whole.flip(-1))
        for turns in range(4)
    ]
    first, second = (sample.image for sample in data.train)
    assert np.array_equal(whole.numpy(), first)
    assert not np.array_equal(first, second)
    turned += [
        torch.rot90(torch.from_numpy(image), turns, (-2, -1))
        for image in (second, second[..., ::-1].copy())
        for turns in range(4)
    ]
    assert all(any(torch.equal(crop, image) for image in turned) for crop in crops)
    assert whole.mean().abs() < 1e-5
    assert (whole.std(unbiased=False) - 1).abs() < 1e-4


def test_standardised_channels() -> None:
    image = np.random.default_rng(0).random((3, 9, 9), np.float32) * 7 + 3
    image[2] = 4  # a constant channel
    standard = standardise(image)
    np.testing.assert_allclose(standard.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=(1, 2)), [1, 1, 0], atol=1e-5)
    dimmer = standardise(image * 0.01 - 5)
    np.testing.assert_allclose(dimmer, standard, atol=1e-3)
    for constant in (0.0, -3e38, 1e-30):
        assert np.array_equal(
            standardise(np.full((1, 4, 4), constant, np.float32)), np.zeros((1, 4, 4))
        )


def own_dice_ce(logits: Tensor, label_map: Tensor) -> Tensor:
    """MONAI's formula of Dice + cross entropy, written out: smoothed by 1e-5."""
    p = logits.softmax(1).flatten(2)
    y = nn.functional.one_hot(label_map, logits.shape[1]).movedim(-1, 1).flatten(2)
    dice = 1 - (2 * (p * y).sum(2) + 1e-5) / (p.sum(2) + y.sum(2) + 1e-5)
    return dice.mean() - (p.clamp_min(1e-30).log() * y).sum(1).mean()


@pytest.mark.parametrize("shape", [(2, 2, 12, 17), (1, 3, 8, 10, 9)])
@pytest.mark.parametrize("done", [0.0, 0.49, 0.5, 0.99])
@pytest.mark.parametrize("mode", MODES)
def test_the_modes_of_ce_dice(mode: str, done: float, shape: tuple[int, ...]) -> None:
    """The fused loss, and the one that is put together, against the listing and the formula."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    label_map = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    masks = nn.functional.one_hot(label_map, shape[1]).movedim(-1, 1).float()
    on_scnp = own_dice_ce(listing(logits, masks, 3), label_map)
    plain = own_dice_ce(logits, label_map)
    warm = plain if done < 0.5 else on_scnp
    wanted = {"off": plain, "on": on_scnp, "joint": plain + on_scnp, "warm_up": warm}[mode]
    (wanted_gradient,) = torch.autograd.grad(wanted, logits)
    dimensions = len(shape) - 2
    for loss in (
        build_loss("ce_dice", shape[1], dimensions, mode, 3),
        penalized(LOSSES["ce_dice"](shape[1], dimensions), mode, 3),
    ):
        value = loss(logits, label_map, done)
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(torch.autograd.grad(value, logits)[0], wanted_gradient)


def test_a_mode_that_is_none() -> None:
    for name in ("ce", "ce_dice"):
        with pytest.raises(ValueError, match="mode: got 'half', takes one of 'off', 'on', 'joint'"):
            build_loss(name, 2, 2, "half")


def test_a_warm_up_is_the_plain_training_until_it_sets_in(tmp_path: Path) -> None:
    data = toy_data(tmp_path)

    def losses_of(mode: str) -> list[float]:
        one = training.Training(build_loss("ce_dice", 2, 2, mode), data, TOY_CONFIGURATION, 0, CPU)
        return [one.iterate(iteration / 6) for iteration in range(6)]

    plain, warm, on = (losses_of(mode) for mode in ("off", "warm_up", "on"))
    assert warm[:3] == plain[:3]
    assert warm[3] > plain[3]
    assert warm[3:] != on[3:]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_network_computes_as_it_did_in_another_memory_format(dimensions: int) -> None:
    network = build_network(0, dimensions, 1, 2, (4, 4, 4, 4, 4, 4))
    images = torch.randn(2, 1, *(32,) * dimensions, generator=torch.Generator().manual_seed(0))
    wanted = network(images)
    memory_format = training.fast_memory_format(dimensions, CPU)
    again = build_network(0, dimensions, 1, 2, (4, 4, 4, 4, 4, 4))
    again.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch has it
    found = again(images.contiguous(memory_format=memory_format))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_a_run_says_where_the_time_of_a_step_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_volumes(tmp_path / "plates")
    command(
        *run_arguments(data, tmp_path / "out", "--scnp", "off", "--seeds", 1, "--iterations", 3)
    )
    line = next(li for li in capsys.readouterr().err.splitlines() if "ce_dice-off-seed0: " in li)
    shares = line.split(" ms per iteration: ")[1].rstrip(")").split(", ")
    assert [share.split()[0] for share in shares] == list(training.PARTS)
    assert 95 <= sum(int(share.split()[1].rstrip("%")) for share in shares) <= 105


def test_what_is_watched_is_small_however_large_the_images() -> None:
    samples = [sample_of(np.zeros((700, 900))) for _ in range(12)]
    watched = training._watched(samples)
    assert len(watched) == training.VALIDATION_IMAGES
    sizes = [sample.truth.size for sample in watched]
    assert 0.9 * training.VALIDATION_PIXELS < sum(sizes) <= training.VALIDATION_PIXELS
    assert training._watched(samples[:1])[0].truth.shape == (700, 900)


def test_folders_of_earlier_versions_keep_their_recipe() -> None:
    root = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "nine_losses"
    found = [read_configuration(file) for file in root.glob("*/configuration.json")]
    assert found
    for configuration in found:
        assert (configuration.foreground_share, configuration.precision) == (0.0, "float32")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("foreground_share", 1.5, "foreground_share: got 1.5, takes a number from 0 to 1"),
        ("precision", "float16", 'precision: got "float16", takes float32 or bfloat16'),
        ("tests", ["../other"], 'tests: got ["../other"], takes a list of names of folders'),
    ],
)
def test_settings_of_a_file_that_are_none(
    setting: str, value: object, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "configuration.json"
    write_json(file, {"configuration": {**TOY_CONFIGURATION.to_json(), setting: value}})
    with pytest.raises(UsageError) as error:
        read_configuration(file)
    assert words in str(error.value)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "1/0", "third", "nan"])
def test_shares_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--data", ".", "--foreground-share", text])
    assert "takes a number from 0 to 1" in capsys.readouterr().err
