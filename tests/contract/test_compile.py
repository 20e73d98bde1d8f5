"""Promise: the operator is whole under torch.compile, torch.export, fake tensors and opcheck."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch.library import opcheck

from scnp_kernels import (
    SCNP,
    SCNPDiceCELoss,
    SCNPFocalLoss,
    SCNPLoss,
    SCNPTverskyLoss,
    scnp,
    scnp_dice_ce_loss,
    scnp_focal_loss,
    scnp_tversky_loss,
)

OPERATORS = torch.ops.scnp_kernels
# Batch, classes, height and width: no two sizes of the first call are equal, since torch.compile
# takes equal sizes for one and the same.
SHAPES = [(2, 3, 8, 10), (3, 4, 11, 12), (4, 2, 20, 9), (5, 6, 33, 7)]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def _case(shape: tuple[int, ...], form: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits [B, C, H, W], target, and a mask where the form has one."""
    generator = torch.Generator().manual_seed(sum(shape))
    batch, channels, *spatial = shape
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    if form == "masks":
        return logits, torch.rand(shape, generator=generator) > 0.5, None
    labels = torch.randint(0, channels, (batch, *spatial), generator=generator)
    if form == "label map":
        return logits, labels, None
    return logits, labels, torch.rand(batch, *spatial, generator=generator) > 0.3


def _penalized_twice(logits: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """A graph with something to fuse before and after."""
    return scnp(logits * 2, target, kernel_size=3, mask=mask) * 3


def _value_and_gradient(
    function: Any, logits: Tensor, target: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    result = function(logits, target, mask)
    (gradient,) = torch.autograd.grad(result, logits, torch.cos(result.detach()))
    return result.detach(), gradient


@pytest.mark.parametrize(
    ("form", "backend"),
    [("label map", "inductor"), ("masks", "aot_eager"), ("label map and mask", "aot_eager")],
)
def test_one_graph_serves_every_shape_when_dynamic(form: str, backend: str) -> None:
    """Whole; for the forms of a target beside the first, what inductor makes of it is not asked."""
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(_penalized_twice, fullgraph=True, dynamic=True, backend=counter)
    for shape in SHAPES:
        case = _case(shape, form)
        value, gradient = _value_and_gradient(compiled, *case)
        expected, expected_gradient = _value_and_gradient(_penalized_twice, *case)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient, expected_gradient)
    assert counter.frame_count == 1


def test_by_default_one_recompilation_makes_it_dynamic() -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(_penalized_twice, fullgraph=True, backend=counter)
    for shape in SHAPES:
        compiled(*_case(shape, "label map"))
    assert counter.frame_count == 2


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_compiled_result_is_the_eager_result(dimensions: int) -> None:
    shape = (2, 3, 9, 8, 7)[: 2 + dimensions]
    logits, target, _ = _case(shape, "label map")

    def penalized(logits: Tensor, target: Tensor, _mask: None) -> Tensor:
        return scnp(logits, target, kernel_size=3)

    compiled = torch.compile(penalized, fullgraph=True)
    expected = _value_and_gradient(penalized, logits, target, None)
    for got, wanted in zip(
        _value_and_gradient(compiled, logits, target, None), expected, strict=True
    ):
        assert torch.equal(got, wanted)


def test_loss_module_compiles_whole() -> None:
    criterion = SCNPLoss(nn.CrossEntropyLoss(), kernel_size=5, plain_weight=1.0)
    logits, target, _ = _case((2, 3, 12, 10), "label map")
    compiled = torch.compile(criterion, fullgraph=True)
    torch.testing.assert_close(compiled(logits, target), criterion(logits, target))


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(
    "loss",
    [
        SCNPDiceCELoss(3, activation="sigmoid"),
        SCNPTverskyLoss(3, activation="sigmoid"),
        SCNPFocalLoss(3, activation="sigmoid"),
        scnp_dice_ce_loss,
        scnp_tversky_loss,
        scnp_focal_loss,
    ],
)
def test_fused_losses_compile_whole(loss: Any, classes: int) -> None:
    options = {} if isinstance(loss, nn.Module) else {"activation": "sigmoid"}
    logits, _, _ = _case((2, classes, 12, 10), "masks")
    target = torch.randint(0, max(2, classes), (2, 12, 10))
    gradients = []
    for compute in (loss, torch.compile(loss, fullgraph=True, backend="aot_eager")):
        leaf = logits.detach().requires_grad_()
        compute(leaf, target, **options).backward()
        gradients.append(leaf.grad)
    assert gradients[0] is not None
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0])


def test_labels_out_of_range_raise_inside_a_compiled_graph() -> None:
    logits, target, _ = _case((2, 3, 8, 10), "label map")
    compiled = torch.compile(lambda z, t: scnp(z, t), fullgraph=True)
    compiled(logits, target)
    with pytest.raises(ValueError, match=r"target: got a label map that holds 9"):
        compiled(logits, target.masked_fill(target == 1, 9))


def test_export_with_dynamic_axes() -> None:
    logits, target, _ = _case((2, 3, 8, 10), "label map")
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    program = torch.export.export(
        SCNP(kernel_size=5),
        (logits.detach(), target),
        dynamic_shapes=(
            {0: batch, 2: height, 3: width},
            {0: batch, 1: height, 2: width},
        ),
    )
    operators = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert OPERATORS.forward.default in operators
    other_logits, other_target, _ = _case((4, 3, 21, 6), "label map")
    assert torch.equal(
        program.module()(other_logits.detach(), other_target), scnp(other_logits, other_target, 5)
    )


def test_fake_tensors_have_the_real_shapes_dtypes_and_strides() -> None:
    logits = torch.randn(2, 3, 6, 5).to(memory_format=torch.channels_last)
    target = torch.randint(0, 3, (2, 6, 5))
    for kernel_size in ([3, 3], [17, 17]):
        arguments = (target, None, None, kernel_size, False, 0, 3, None, True, "auto")
        real = OPERATORS.forward(logits, *arguments)
        meta = OPERATORS.forward(logits.to("meta"), target.to("meta"), *arguments[1:])
        for got, wanted in zip(meta, real, strict=True):
            assert (got.shape, got.dtype, got.stride()) == (
                wanted.shape,
                wanted.dtype,
                wanted.stride(),
            )


def _operator_arguments(form: str, kernel_size: list[int], requires_grad: bool) -> tuple[Any, ...]:
    logits, target, mask = _case((2, 3, 6, 5), form)
    logits = logits.detach().requires_grad_(requires_grad)
    return (logits, target, mask, None, kernel_size, form == "masks", 0, 3, None, True)


@pytest.mark.parametrize("form", ["label map", "masks", "label map and mask"])
@pytest.mark.parametrize("kernel_size", [[3, 3], [17, 17]])
def test_opcheck_forward(form: str, kernel_size: list[int]) -> None:
    arguments = _operator_arguments(form, kernel_size, requires_grad=True)
    for backend in ("cpu", "reference"):
        opcheck(OPERATORS.forward.default, (*arguments, backend))


@pytest.mark.parametrize("name", ["scatter", "gather"])
@pytest.mark.parametrize("kernel_size", [[3, 3], [17, 17]])
def test_opcheck_scatter_and_gather(name: str, kernel_size: list[int]) -> None:
    arguments = _operator_arguments("label map", kernel_size, requires_grad=False)
    winners = OPERATORS.forward(*arguments, "auto")[1]
    values = torch.randn(2, 3, 6, 5)
    for backend in ("cpu", "reference"):
        opcheck(
            getattr(OPERATORS, name).default,
            (values.clone().requires_grad_(), winners, kernel_size, backend),
        )


def test_raw_operators_differentiate_by_themselves() -> None:
    """Whoever meets the raw operators in a graph gets the derivatives of scnp()."""
    arguments = _operator_arguments("label map", [3, 3], requires_grad=True)
    logits, target = arguments[:2]
    weights = torch.randn(2, 3, 6, 5)
    (raw,) = torch.autograd.grad((OPERATORS.forward(*arguments, "auto")[0] * weights).sum(), logits)
    (public,) = torch.autograd.grad((scnp(logits, target) * weights).sum(), logits)
    assert torch.equal(raw, public)
    winners = OPERATORS.forward(*arguments, "auto")[1]
    for name, transpose in (("scatter", "gather"), ("gather", "scatter")):
        values = torch.randn(2, 3, 6, 5, requires_grad=True)
        result = getattr(OPERATORS, name)(values, winners, [3, 3], "auto")
        (gradient,) = torch.autograd.grad(result, values, weights)
        assert torch.equal(
            gradient, getattr(OPERATORS, transpose)(weights, winners, [3, 3], "auto")
        )


def test_compiled_autograd_runs_the_same_backward() -> None:
    """The backward pass is traced, too, where a compiler of the backward pass is asked for."""
    logits = torch.randn(2, 3, 8, 10)
    target = torch.randint(0, 3, (2, 8, 10))
    weights = torch.randn(2, 3, 8, 10)

    def gradient(compiled: bool) -> Tensor:
        leaf = logits.clone().requires_grad_()
        loss = (scnp(leaf, target) * weights).sum()
        if compiled:
            compiler = CompileCounterWithBackend("eager")
            with torch._dynamo.compiled_autograd._enable(
                torch.compile(backend=compiler, fullgraph=True)
            ):
                loss.backward()
            assert compiler.frame_count == 1
        else:
            loss.backward()
        assert leaf.grad is not None
        return leaf.grad

    assert torch.equal(gradient(compiled=True), gradient(compiled=False))


def _penalized(logits: Tensor, target: Tensor) -> Tensor:
    return scnp(logits, target, 3)


def _plainly_too(logits: Tensor, target: Tensor) -> Tensor:
    return scnp_dice_ce_loss(logits, target, 3, plain_weight=0.5)


@pytest.mark.parametrize("function", [_penalized, _plainly_too, scnp_focal_loss])
@pytest.mark.parametrize(("axes", "shared"), [((0, 0), False), ((2, 1), False), ((1, None), True)])
def test_a_compiled_vmap_runs_every_operator_once(
    function: Any,
    axes: tuple[int, int | None],
    shared: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Forward and backward, for all that is mapped; torch would else warn, and run it on each."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 2, 3, 8, 9, generator=generator)
    labels = torch.randint(0, 3, (5, 2, 8, 9), generator=generator)
    leaf = logits.clone().requires_grad_()
    mapped = leaf.movedim(0, axes[0])
    target = labels[0] if axes[1] is None else labels.movedim(0, axes[1])
    calls: list[str] = []

    def noted(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        calls.extend(str(node.target) for node in graph.graph.nodes if "scnp" in str(node.target))
        return make_boxed_func(graph.forward)

    compiled = torch.compile(
        torch.vmap(function, in_dims=axes), fullgraph=True, backend=aot_autograd(fw_compiler=noted)
    )
    result = compiled(mapped, target)
    weights = torch.randn(result.shape, generator=generator)
    (result * weights).sum().backward()
    assert len(calls) == len(set(calls)) == 2  # of the forward pass and of the backward one
    assert "batching rule" not in capfd.readouterr().err

    alone = logits.clone().requires_grad_()
    one_by_one = torch.stack(
        [function(alone[i], labels[0 if shared else i]) for i in range(len(alone))]
    )
    (one_by_one * weights).sum().backward()
    assert torch.equal(result, one_by_one)
    torch.testing.assert_close(leaf.grad, alone.grad)


def test_vmap_of_raw_operators_is_that_of_one_after_the_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With mapped axes anywhere, and nowhere."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(4, 2, 3, 8, 9, generator=generator)
    labels = torch.randint(0, 3, (4, 2, 8, 9), generator=generator)
    mask = torch.rand(2, 8, 9, generator=generator) > 0.2
    image = ([3, 3], False, 0, 3, None, True)
    wanted = (True, True, True, 0.0, "auto")

    def same(operator: Any, values: tuple[Tensor, ...], axes: tuple[int | None, ...]) -> Any:
        moved = [v if a is None else v.movedim(0, a) for v, a in zip(values, axes, strict=True)]
        results = torch.vmap(operator, in_dims=axes)(*moved)
        for index in range(4):
            own = [v if a is None else v[index] for v, a in zip(values, axes, strict=True)]
            alone = operator(*own)
            if isinstance(alone, Tensor):
                assert torch.equal(results[index], alone)
            else:
                assert all(
                    torch.equal(result[index], value)
                    for result, value in zip(results, alone, strict=True)
                )
        return results

    def forward(z: Tensor, y: Tensor, m: Tensor) -> Any:
        return OPERATORS.forward(z, y, m, None, *image, "auto")

    def statistics(z: Tensor, y: Tensor, m: Tensor) -> Any:
        return OPERATORS.dice_ce_forward(z, y, m, None, *image, *wanted)

    def gradient(g: Tensor, w: Tensor, z: Tensor, y: Tensor, m: Tensor) -> Any:
        return OPERATORS.dice_ce_backward(g, w, z, y, m, None, *image, *wanted)

    _, winners = same(forward, (logits, labels, mask), (3, 1, None))
    for name in ("scatter", "gather"):
        operator = getattr(OPERATORS, name)
        same(lambda v, w, op=operator: op(v, w, [3, 3], "auto"), (logits, winners), (1, 4))
        same(lambda v, w, op=operator: op(v, w, [3, 3], "auto"), (logits[0], winners), (None, 0))
    sums, winners = same(statistics, (logits, labels, mask), (0, 2, None))
    values = (torch.randn(sums.shape, generator=generator), winners, logits, labels, mask)
    same(gradient, values, (3, 0, 1, 0, None))
    same(gradient, (values[0][0], *values[1:]), (None, 0, 0, 0, None))
    assert "batching rule" not in capfd.readouterr().err
