"""Promise: SCNP and SCNPLoss are the function and its composition, and compute nothing twice."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scnp_kernels import SCNP, SCNPDiceCELoss, SCNPLoss, scnp
from tests import generators as g
from tests.calls import assert_same
from tests.cases import Case

PLANE = Case("", "", (2, 3, 7, 9), 5, target=g.labels(ignored=255), ignore_index=255)


class Operators(TorchDispatchMode):
    """Counts the calls of the package's operators."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "scnp_kernels":
            self.calls.append(func._schema.name.split("::")[1])
        return func(*args, **(kwargs or {}))


class Recorder(nn.Module):
    """A loss that remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def forward(self, logits: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.calls.append(((logits, target, *args), kwargs))
        return logits.square().mean()


def squares(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that can be pickled."""
    return (logits - target.unsqueeze(1)).square().mean()


@pytest.fixture
def logits() -> Tensor:
    return g.normal((2, 3, 7, 9), g.seeded(0)).float().requires_grad_()


@pytest.fixture
def target() -> Tensor:
    return g.labels()((2, 3, 7, 9), g.seeded(1))


@pytest.fixture
def operators() -> Iterator[Operators]:
    with Operators() as counted:
        yield counted


def _gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits, retain_graph=True)[0]


def test_scnp_module_is_the_function(backend: str) -> None:
    sample = PLANE.make(torch.float32)
    mask = g.valid_pixels()(PLANE.shape, g.seeded(2))
    module = SCNP(5, ignore_index=255, backend=backend)
    for given in (None, mask):
        wanted = scnp(
            sample.logits, sample.target, 5, ignore_index=255, mask=given, backend=backend
        )
        assert_same(module(sample.logits, sample.target, given), wanted)
        assert_same(module(sample.logits, sample.target, mask=given), wanted)


def test_default_window_is_three(backend: str, logits: Tensor, target: Tensor) -> None:
    assert_same(SCNP(backend=backend)(logits, target), scnp(logits, target, 3, backend=backend))
    assert_same(scnp(logits, target, backend=backend), scnp(logits, target, 3, backend=backend))
    criterion = SCNPLoss(F.cross_entropy, backend=backend)
    assert_same(criterion(logits, target), F.cross_entropy(scnp(logits, target, 3), target))


def test_scnp_module_validates_as_told(backend: str, logits: Tensor, target: Tensor) -> None:
    wrong = target + 3
    for validate in (None, True):
        with pytest.raises(ValueError, match="target: got a label map"):
            SCNP(validate=validate, backend=backend)(logits, wrong)
    assert SCNP(validate=False, backend=backend)(logits, wrong).shape == logits.shape
    loss = SCNPLoss(lambda z, _: z.sum(), validate=False, backend=backend)
    assert loss(logits, wrong).isfinite()


def test_loss_says_that_nested_tensors_are_none_of_its(backend: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them a prototype
        nested = torch.nested.nested_tensor([torch.ones(1, 3), torch.ones(1, 4)])
    criterion = SCNPLoss(nn.CrossEntropyLoss(), backend=backend)
    with pytest.raises(TypeError, match="logits: got a nested tensor"):
        criterion(nested, torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(TypeError, match="target: got a nested tensor"):
        criterion(torch.zeros(2, 1, 3), nested)


def test_loss_is_the_composition(backend: str, logits: Tensor, target: Tensor) -> None:
    criterion = SCNPLoss(nn.CrossEntropyLoss(), 5, backend=backend)
    wanted = F.cross_entropy(scnp(logits, target, 5, backend=backend), target)
    assert_same(criterion(logits, target), wanted)
    assert_same(_gradient(criterion(logits, target), logits), _gradient(wanted, logits))


@pytest.mark.parametrize(
    ("scnp_weight", "plain_weight"),
    [(1.0, 0.0), (1.0, 1.0), (0.5, 2.0), (0.25, 0.0), (0.0, 1.0), (0.0, 3.0), (1, 2)],
)
def test_weights(
    backend: str, logits: Tensor, target: Tensor, scnp_weight: float, plain_weight: float
) -> None:
    """``plain_weight=1`` is the paper's joint loss."""
    criterion = SCNPLoss(
        nn.CrossEntropyLoss(),
        5,
        scnp_weight=scnp_weight,
        plain_weight=plain_weight,
        backend=backend,
    )
    penalized = F.cross_entropy(scnp(logits, target, 5, backend=backend), target)
    plain = F.cross_entropy(logits, target)
    wanted = scnp_weight * penalized + plain_weight * plain
    torch.testing.assert_close(criterion(logits, target), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        _gradient(criterion(logits, target), logits), _gradient(wanted, logits)
    )


@pytest.mark.parametrize(
    ("weights", "losses", "forwards"),
    [((1.0, 0.0), 1, 1), ((1.0, 1.0), 2, 1), ((0.0, 1.0), 1, 0), ((2.0, 0.5), 2, 1)],
)
def test_nothing_is_computed_twice(
    backend: str,
    logits: Tensor,
    target: Tensor,
    operators: Operators,
    weights: tuple[float, float],
    losses: int,
    forwards: int,
) -> None:
    """And what has weight 0 is not computed at all."""
    recorder = Recorder()
    criterion = SCNPLoss(recorder, scnp_weight=weights[0], plain_weight=weights[1], backend=backend)
    value = criterion(logits, target)
    assert len(recorder.calls) == losses
    assert operators.calls.count("forward") == forwards
    value.backward()
    assert operators.calls.count("forward") == forwards
    assert operators.calls.count("scatter") == forwards
    assert operators.calls.count("gather") == 0


def test_loss_sees_penalized_then_plain_logits(
    backend: str, logits: Tensor, target: Tensor
) -> None:
    recorder = Recorder()
    SCNPLoss(recorder, 5, plain_weight=1.0, backend=backend)(logits, target)
    (first, _), (second, _) = recorder.calls
    assert_same(first[0], scnp(logits, target, 5, backend=backend))
    assert second[0] is logits
    assert first[1] is target
    assert second[1] is target


def test_arguments_pass_through(backend: str, logits: Tensor, target: Tensor) -> None:
    """To both calls of the loss, all but the mask, which SCNP alone reads."""
    recorder = Recorder()
    weight = torch.ones(3)
    mask = g.valid_pixels()((2, 3, 7, 9), g.seeded(2))
    criterion = SCNPLoss(recorder, plain_weight=1.0, backend=backend)
    criterion(logits, target, weight, "more", mask=mask, smoothing=0.1)
    assert len(recorder.calls) == 2
    for arguments, keywords in recorder.calls:
        assert arguments[1:] == (target, weight, "more")
        assert keywords == {"smoothing": 0.1}
    assert_same(recorder.calls[0][0][0], scnp(logits, target, mask=mask, backend=backend))


def test_ignore_index_is_scnps(backend: str, logits: Tensor) -> None:
    """The loss has its own."""
    target = g.labels(ignored=255)((2, 3, 7, 9), g.seeded(1))
    criterion = SCNPLoss(nn.CrossEntropyLoss(ignore_index=255), ignore_index=255, backend=backend)
    penalized = scnp(logits, target, ignore_index=255, backend=backend)
    wanted = F.cross_entropy(penalized, target, ignore_index=255)
    assert_same(criterion(logits, target), wanted)
    assert_same(_gradient(criterion(logits, target), logits), _gradient(wanted, logits))


@pytest.mark.parametrize("channels", [1, 3])
def test_binary_losses(backend: str, channels: int) -> None:
    shape = (2, channels, 7, 9)
    logits = g.normal(shape, g.seeded(0)).float().requires_grad_()
    masks = g.masks(torch.float32)(shape, g.seeded(1))
    criterion = SCNPLoss(nn.BCEWithLogitsLoss(), plain_weight=1.0, backend=backend)
    wanted = F.binary_cross_entropy_with_logits(
        scnp(logits, masks, backend=backend), masks
    ) + F.binary_cross_entropy_with_logits(logits, masks)
    assert_same(criterion(logits, masks), wanted)


def test_loss_without_reduction(backend: str, logits: Tensor, target: Tensor) -> None:
    criterion = SCNPLoss(nn.CrossEntropyLoss(reduction="none"), plain_weight=2.0, backend=backend)
    wanted = F.cross_entropy(
        scnp(logits, target, backend=backend), target, reduction="none"
    ) + 2 * F.cross_entropy(logits, target, reduction="none")
    assert_same(criterion(logits, target), wanted)


def test_train_and_eval_are_alike(backend: str, logits: Tensor, target: Tensor) -> None:
    """SCNP applies whenever it is called."""
    module, criterion = SCNP(backend=backend), SCNPLoss(F.cross_entropy, backend=backend)
    wanted, wanted_loss = module.train()(logits, target), criterion.train()(logits, target)
    assert not torch.equal(wanted, logits)
    assert_same(module.eval()(logits, target), wanted)
    assert_same(criterion.eval()(logits, target), wanted_loss)


def _clones(module: nn.Module) -> list[nn.Module]:
    saved = io.BytesIO()
    torch.save(module, saved)
    saved.seek(0)
    loaded: nn.Module = torch.load(saved, weights_only=False)
    return [copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded]


@pytest.mark.parametrize(
    "make",
    [
        lambda backend: SCNP((5, 3), backend=backend),
        lambda backend: SCNPLoss(nn.CrossEntropyLoss(), 5, plain_weight=0.5, backend=backend),
        lambda backend: SCNPLoss(squares, 5, scnp_weight=2.0, backend=backend),
        lambda backend: SCNPDiceCELoss(5, class_weights=[1, 2, 3], plain_weight=1, backend=backend),
    ],
    ids=["SCNP", "SCNPLoss", "SCNPLoss_of_function", "SCNPDiceCELoss"],
)
def test_copies_are_equal(
    backend: str, logits: Tensor, target: Tensor, make: Callable[[str], nn.Module]
) -> None:
    module = make(backend)
    for clone in _clones(module):
        assert repr(clone) == repr(module)
        assert_same(clone(logits, target), module(logits, target))


def test_no_state(backend: str) -> None:
    module = SCNP(backend=backend)
    criterion = SCNPLoss(nn.CrossEntropyLoss(), backend=backend)
    for stateless in (module, criterion):
        assert stateless.state_dict() == {}
        assert list(stateless.parameters()) == []
        assert list(stateless.buffers()) == []
        stateless.load_state_dict({})


def test_state_of_the_loss_is_kept(backend: str) -> None:
    """Its weights move and are saved with the criterion."""
    criterion = SCNPLoss(nn.CrossEntropyLoss(weight=torch.ones(3)), backend=backend)
    assert list(criterion.state_dict()) == ["loss.weight"]
    assert criterion.double().state_dict()["loss.weight"].dtype == torch.float64


def test_repr() -> None:
    assert repr(SCNP((1, 3, 3), ignore_index=255, validate=False, backend="cpu")) == (
        "SCNP(kernel_size=(1, 3, 3), ignore_index=255, validate=False, backend='cpu')"
    )
    assert repr(SCNP()) == "SCNP(kernel_size=3, ignore_index=None, validate=None, backend='auto')"
    assert repr(SCNPLoss(nn.CrossEntropyLoss(), plain_weight=1)) == (
        "SCNPLoss(\n"
        "  scnp_weight=1.0, plain_weight=1.0\n"
        "  (loss): CrossEntropyLoss()\n"
        "  (scnp): SCNP(kernel_size=3, ignore_index=None, validate=None, backend='auto')\n"
        ")"
    )


def test_trains_a_network(backend: str) -> None:
    """One step of gradient descent lowers the loss, and every parameter took part."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1)
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image, target = torch.randn(2, 1, 9, 11), g.blobs((2, 3, 9, 11), g.seeded(0))
    criterion = SCNPLoss(nn.CrossEntropyLoss(), plain_weight=1.0, backend=backend)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    before = criterion(network(image), target)
    before.backward()
    assert all(p.grad is not None and p.grad.count_nonzero() for p in network.parameters())
    optimizer.step()
    assert criterion(network(image), target) < before


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_dtype_reach_torchs_losses(dtype: torch.dtype) -> None:
    """torch's cross entropy takes int64 labels, and images hold narrower ones."""
    logits = torch.randn(2, 3, 7, 9, requires_grad=True)
    target = torch.randint(0, 3, (2, 7, 9))
    criterion = SCNPLoss(torch.nn.CrossEntropyLoss(), plain_weight=1.0)
    assert torch.equal(criterion(logits, target.to(dtype)), criterion(logits, target))
