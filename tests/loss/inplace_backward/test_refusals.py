"""Where ``inplace_backward=True`` would spoil somebody's gradient it is refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from scnp_kernels import scnp_dice_ce_loss
from scnp_kernels.rules import overwriting
from tests.loss.inplace_backward.calls import call, head, inputs, refuses


def test_what_is_no_flag() -> None:
    leaf, labels = inputs()
    with pytest.raises(TypeError, match=r"^inplace_backward: got 1, takes True or False"):
        scnp_dice_ce_loss(head(leaf), labels, inplace_backward=1)  # type: ignore[call-overload]


def test_leaves_and_their_views() -> None:
    leaf, labels = inputs()
    with refuses(ValueError, "a leaf "):
        call(leaf, labels)
    with refuses(ValueError, "a view of a leaf "):
        call(leaf.view(leaf.shape), labels)
    with refuses(ValueError, "a view of a leaf "):
        call(leaf.transpose(2, 3)[..., 1:].transpose(2, 3), labels[:, 1:])


def test_memory_that_stands_for_several_elements() -> None:
    leaf, labels = inputs()
    with refuses(ValueError, "strides"):
        call(head(leaf)[:, :1].expand(leaf.shape), labels)
    with refuses(ValueError, "strides"):
        call(head(leaf).as_strided((2, 3, 10, 10), (200, 20, 2, 1)), labels[:, :10, :10])


@pytest.mark.parametrize(
    "producer",
    [
        torch.sigmoid,
        torch.tanh,
        torch.relu,
        torch.exp,
        lambda z: z.softmax(1),
        lambda z: z.log_softmax(1),
        lambda z: torch.sigmoid(z)[:, :3],
        lambda z: torch.sigmoid(z).view_as(z),
        lambda z: SavesItsResult.apply(z),
    ],
)
def test_a_producer_that_saved_its_result(producer: Callable[[Tensor], Tensor]) -> None:
    leaf, labels = inputs()
    with refuses(ValueError, "saved for its own backward pass"):
        call(producer(leaf), labels)


class SavesItsResult(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        result = z.exp()
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        result: Tensor = gradient * ctx.saved_tensors[0]
        return result


@pytest.mark.parametrize("producer", [torch.sigmoid, lambda z: SavesItsResult.apply(z)])
def test_what_is_not_seen_at_the_call_is_seen_by_autograd(
    producer: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version counter, which is raised before the producer takes what it saved."""
    monkeypatch.setattr("scnp_kernels.rules.overwriting._held_by", lambda _: ())
    leaf, labels = inputs()
    loss = call(producer(leaf), labels)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    assert leaf.grad is None


@pytest.mark.parametrize("first", [True, False])
def test_another_loss_that_saved_the_logits(first: bool) -> None:
    """If it comes first in the backward pass all is well; if it comes later, autograd refuses."""
    leaf, labels = inputs()
    logits = head(leaf)
    (expected,) = torch.autograd.grad(
        scnp_dice_ce_loss(logits, labels) + logits.square().mean(), leaf
    )
    logits = head(leaf)
    if first:  # what is computed last is differentiated first
        loss = call(logits, labels)
        total = loss + logits.square().mean()
        torch.testing.assert_close(torch.autograd.grad(total, leaf)[0], expected)
    else:
        other = logits.square().mean()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            (other + call(logits, labels)).backward()


def test_a_loss_that_needs_no_logits_beside_it() -> None:
    leaf, labels = inputs()
    logits = head(leaf)
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(logits, labels) + logits.sum(), leaf)
    logits = head(leaf)
    other = logits.sum()
    (gradient,) = torch.autograd.grad(other + call(logits, labels), leaf)
    torch.testing.assert_close(gradient, expected)


def test_two_losses_in_place() -> None:
    leaf, labels = inputs()
    logits = head(leaf)
    total = call(logits, labels) + call(logits, labels)
    with refuses(RuntimeError, "changed since the loss was called"):
        total.backward()


def test_logits_that_were_changed() -> None:
    leaf, labels = inputs()
    logits = head(leaf)
    loss = call(logits, labels)
    with torch.no_grad():
        logits.zero_()
    with refuses(RuntimeError, "changed since the loss was called"):
        loss.backward()


def test_a_second_backward_pass() -> None:
    leaf, labels = inputs()
    loss = call(head(leaf), labels)
    loss.backward(retain_graph=True)
    with refuses(RuntimeError, "a second backward pass"):
        loss.backward()
    loss = call(head(leaf), labels)
    loss.backward()
    with pytest.raises(RuntimeError, match="second"):
        loss.backward()


def test_derivatives_of_the_gradient() -> None:
    leaf, labels = inputs()
    with refuses(RuntimeError, "create_graph"):
        torch.autograd.grad(call(head(leaf), labels), leaf, create_graph=True)
    loss = call(head(leaf), labels)
    with refuses(RuntimeError, "several at once"):
        torch.autograd.grad(loss, leaf, torch.ones(2), is_grads_batched=True)


def test_hooks() -> None:
    leaf, labels = inputs()

    def with_hook(logits: Tensor) -> None:
        logits.register_hook(lambda gradient: gradient * logits)

    for register in (with_hook, Tensor.retain_grad):
        logits = head(leaf)
        register(logits)
        with refuses(ValueError, "with a hook"):
            call(logits, labels)
        logits = head(leaf)
        loss = call(logits, labels)
        register(logits)
        with refuses(ValueError, "with a hook"):
            loss.backward()
        logits = head(leaf)
        loss = call(logits, labels)
        register(logits)
        del logits  # the hook lives on
        with refuses(ValueError, "with a hook"):
            loss.backward()


def test_hooks_of_masks_per_channel() -> None:
    leaf, _ = inputs((2, 3, 9, 11))
    masks = torch.ones(leaf.shape, dtype=torch.bool)
    logits = head(leaf)
    loss = call(logits, masks, mask=masks, activation="sigmoid")
    logits.retain_grad()
    with refuses(ValueError, "with a hook"):
        loss.backward()


def test_a_hook_of_what_the_logits_are_a_view_of() -> None:
    leaf, labels = inputs()
    base = head(leaf)
    base.register_hook(lambda gradient: gradient * (base.detach().abs() < 1))
    with refuses(ValueError, "a view of a tensor with one"):
        call(base[:, :, :], labels)


def test_memory_of_a_leaf_behind_a_function() -> None:
    class Detached(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            return x.detach()

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            return gradient

    leaf, labels = inputs()
    with refuses(ValueError, "a leaf's memory"):
        call(Detached.apply(leaf), labels)


@pytest.mark.parametrize("last", ["norm", "norm and softmax"])
def test_a_checkpoint_is_not_computed_again_by_looking(last: str) -> None:
    """Its running statistics would move on, and it costs a forward pass."""
    tracked = []
    for in_place in (False, True):
        torch.manual_seed(0)
        convolution, norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        end = nn.Identity() if last == "norm" else nn.Softmax(dim=1)
        network = nn.Sequential(convolution, norm, end)
        logits = checkpoint(network, torch.randn(2, 1, 9, 8), use_reentrant=False)
        labels = torch.randint(0, 3, (2, 9, 8))
        loss: Tensor = scnp_dice_ce_loss(logits, labels, inplace_backward=in_place)
        assert norm.num_batches_tracked == 1
        loss.backward()
        tracked.append((norm.num_batches_tracked, norm.running_mean, convolution.weight.grad))
    for one, other in zip(*tracked, strict=True):
        assert torch.equal(one, other)


def test_a_torch_that_does_not_tell_of_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those before 2.8."""
    monkeypatch.setattr(overwriting, "_top_hooks", None)
    leaf, labels = inputs()
    with refuses(ValueError, "saved-tensor hooks"):
        call(head(leaf), labels)


def test_hooks_of_saved_tensors() -> None:
    """Autograd compares no versions behind them."""
    leaf, labels = inputs()
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
        refuses(ValueError, "saved-tensor hooks"),
    ):
        call(head(leaf), labels)
    with refuses(ValueError, "saved-tensor hooks"):
        checkpoint(lambda z: call(head(z), labels), leaf, use_reentrant=False)


def test_a_head_behind_a_checkpoint() -> None:
    """It is computed again, into other memory: nothing is lost."""
    leaf, labels = inputs()
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(torch.sigmoid(leaf) * 2, labels), leaf)
    logits = checkpoint(lambda z: torch.sigmoid(z) * 2, leaf, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(call(logits, labels), leaf)[0], expected)


def test_transforms() -> None:
    leaf, labels = inputs()
    with refuses(ValueError, "torch.func"):
        torch.func.grad(lambda z: call(head(z), labels))(leaf.detach())
    with refuses(ValueError, "torch.func"):
        torch.func.vmap(lambda z: call(head(z), labels))(leaf.detach()[None])


def test_compiled() -> None:
    leaf, labels = inputs()

    def step(leaf: Tensor) -> Tensor:
        return call(head(leaf), labels)

    with pytest.raises(Exception, match=r"inplace_backward: got True under torch\.compile"):
        torch.compile(step, backend="eager", fullgraph=True)(leaf)
    with torch.no_grad():
        torch.compile(step, backend="eager", fullgraph=True)(leaf)


def test_where_a_compiled_step_may_end_its_graph() -> None:
    """There the loss runs as it does without, with all that it looks at."""
    leaf, labels = inputs()
    (expected,) = torch.autograd.grad(scnp_dice_ce_loss(head(leaf), labels), leaf)
    step = torch.compile(lambda z: call(head(z), labels), backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(step(leaf), leaf)[0], expected)
    saving = torch.compile(lambda z: call(torch.sigmoid(z), labels), backend="aot_eager")
    with refuses(ValueError, "saved for its own backward pass"):
        saving(leaf)


@pytest.mark.parametrize("last", [torch.sigmoid, head])
def test_a_compiled_network_before_it(last: Callable[[Tensor], Tensor]) -> None:
    """It keeps what it likes; whether that is its result is seen at the call."""
    leaf, labels = inputs()
    network = torch.compile(lambda z: last(z.square()), backend="aot_eager")
    logits = network(leaf)
    if last is torch.sigmoid:
        with refuses(ValueError, "saved for its own backward pass"):
            call(logits, labels)
    else:
        (expected,) = torch.autograd.grad(scnp_dice_ce_loss(head(leaf.square()), labels), leaf)
        torch.testing.assert_close(torch.autograd.grad(call(logits, labels), leaf)[0], expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"backend": "reference"}, 'the backend "reference"'), ({}, "with C = 251 classes")],
)
def test_backends_that_cannot(options: dict[str, Any], words: str) -> None:
    leaf, labels = inputs((1, 251, 4, 5))
    with refuses(ValueError, words):
        call(head(leaf), labels, **options)


def test_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode() as mode:
        leaf, labels = (mode.from_tensor(value) for value in inputs())
        with refuses(TypeError, "FakeTensor"):
            call(F.relu(leaf), labels)
