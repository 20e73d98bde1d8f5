"""Promise: DTensors go in and come out, placed as the logits are, or one error says why not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
from torch.distributed.tensor.placement_types import Placement

from scnp_kernels import scnp
from tests import fresh_process
from tests.distributed.group import Group
from tests.distributed.pieces import assert_local, of_map, place
from tests.generators import seeded


def _mesh(*shape: int) -> DeviceMesh:
    """All processes in a line, or on a mesh of this shape."""
    return init_device_mesh("cpu", shape or (torch.distributed.get_world_size(),))


def _sample(shape: Sequence[int], classes: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with ties, a label map and an incoming gradient."""
    generator = seeded(3)
    logits = torch.randint(-3, 4, tuple(shape), generator=generator).float()
    labels = torch.randint(0, classes or shape[1], (shape[0], *shape[2:]), generator=generator)
    return logits, labels, torch.randn(tuple(shape), generator=generator)


def _assert_equals_whole(
    mesh: DeviceMesh,
    placements: Sequence[Placement],
    shape: Sequence[int],
    kernel_size: int | tuple[int, ...],
    target_placements: Sequence[Placement] | None = None,
) -> None:
    """Forward and backward of the sharded op against those of one process."""
    logits, labels, incoming = _sample(shape)
    whole = logits.requires_grad_()
    expected = scnp(whole, labels, kernel_size)
    (expected_gradient,) = torch.autograd.grad(expected, whole, incoming)
    sharded = place(logits.detach(), mesh, placements).requires_grad_()
    if target_placements is None:
        target_placements = of_map(placements, logits, labels)
    target = place(labels, mesh, target_placements)
    penalized = scnp(sharded, target, kernel_size)
    (gradient,) = torch.autograd.grad(penalized, sharded, place(incoming, mesh, placements))
    assert_local(penalized.detach(), expected.detach(), placements)
    assert_local(gradient, expected_gradient, placements)


def check_no_communication() -> None:
    mesh = _mesh()
    for placement in (Shard(0), Shard(1), Replicate()):
        with CommDebugMode() as communication:
            _assert_equals_whole(mesh, [placement], (4, 5, 9, 7), 3)
        assert communication.get_total_counts() == 0, placement
    # Nor along an axis where the window is one pixel wide.
    with CommDebugMode() as communication:
        _assert_equals_whole(mesh, [Shard(2)], (2, 3, 6, 5, 7), (1, 3, 3))
    assert communication.get_total_counts() == 0


def test_batch_and_channels_need_no_communication(group: Group) -> None:
    group.run(check_no_communication)


def check_halo_is_exchanged_once_each_way() -> None:
    with CommDebugMode() as communication:
        _assert_equals_whole(_mesh(), [Shard(3)], (2, 3, 9, 11), 5)
    assert communication.get_total_counts() == 2
    counts = communication.get_comm_counts()
    assert [str(kind) for kind in counts] == ["c10d.alltoall_base_"]


def test_space_needs_one_exchange_each_way(group: Group) -> None:
    group.run(check_halo_is_exchanged_once_each_way)


def check_channel_shards_read_their_own_classes() -> None:
    """Labels that the first shard's class numbers would read otherwise."""
    mesh = _mesh()
    generator = seeded(0)
    logits = torch.randn(1, 6, 8, 8, generator=generator)
    for label in range(6):
        labels = torch.full((1, 8, 8), label)
        labels[:, ::2] = 5 - label
        target = place(labels, mesh, [Replicate()])
        penalized = scnp(place(logits, mesh, [Shard(1)]), target)
        assert_local(penalized, scnp(logits, labels), [Shard(1)])


def test_channel_shards_read_their_own_classes(group: Group) -> None:
    group.run(check_channel_shards_read_their_own_classes)


def check_thin_shards() -> None:
    """One slice to a shard, or none, and halos of up to thirty."""
    mesh, size = _mesh(), torch.distributed.get_world_size()
    for length in (1, size - 1, size, size + 1, 2 * size + 1):
        for kernel_size in (3, 7, 61):
            _assert_equals_whole(mesh, [Shard(2)], (1, 2, length), kernel_size)
            _assert_equals_whole(mesh, [Shard(3)], (2, 2, 3, length), (3, kernel_size))


def test_shards_thinner_than_the_halo(group: Group) -> None:
    group.run(check_thin_shards)


def check_meshes_of_two_dimensions() -> None:
    mesh = _mesh(2, 2)
    shape = (3, 5, 5, 7, 6)
    axes: list[Placement] = [Replicate(), *(Shard(axis) for axis in range(5))]
    for first in axes:
        for second in axes:
            if first != second:
                _assert_equals_whole(mesh, [first, second], shape, (5, 3, 3))
    _assert_equals_whole(mesh, [Shard(0), Shard(0)], shape, 3)


def test_meshes_of_two_dimensions(four: Group) -> None:
    four.run(check_meshes_of_two_dimensions)


def check_meshes_that_count_otherwise() -> None:
    """The order of the mesh is not that of the ranks; and some ranks are not in the mesh."""
    backwards = list(reversed(range(torch.distributed.get_world_size())))
    for axis in range(4):
        _assert_equals_whole(DeviceMesh("cpu", backwards), [Shard(axis)], (3, 3, 9, 7), 5)
    part = DeviceMesh("cpu", [0, 2, 3])
    logits, labels, _ = _sample((2, 2, 7, 8))
    sharded = distribute_tensor(logits, part, [Shard(2)], src_data_rank=None)
    target = distribute_tensor(labels, part, [Shard(1)], src_data_rank=None)
    penalized = scnp(sharded, target)
    if part.get_coordinate() is not None:
        assert_local(penalized, scnp(logits, labels), [Shard(2)])
    else:
        assert isinstance(penalized, DTensor)
        assert penalized.to_local().numel() == 0


def test_meshes_that_count_otherwise(four: Group) -> None:
    four.run(check_meshes_that_count_otherwise)


def check_target_is_brought_along() -> None:
    mesh = _mesh()
    for of_target in (Replicate(), Shard(0), Shard(1), Shard(2)):
        for of_logits in (Replicate(), Shard(0), Shard(1), Shard(2), Shard(3)):
            _assert_equals_whole(mesh, [of_logits], (3, 4, 7, 6), 3, [of_target])


def test_a_target_elsewhere_is_brought_to_the_logits(group: Group) -> None:
    group.run(check_target_is_brought_along)


def check_gradient_penalty() -> None:
    """A loss on the gradient: backward, and backward of the backward, through the exchange.

    No shard is empty: DTensor.from_local itself loses the graph of an empty one.
    """
    mesh = _mesh()
    logits, labels, _ = _sample((4, 4, 7, 8))
    for axis in range(4):
        placements = [Shard(axis)]
        gradients = []
        for z, target in (
            (logits.clone(), labels),
            (
                place(logits, mesh, placements),
                place(labels, mesh, of_map(placements, logits, labels)),
            ),
        ):
            z.requires_grad_()
            energy = (scnp(z, target, (5, 3)) ** 3).sum()
            (first,) = torch.autograd.grad(energy, z, create_graph=True)
            (second,) = torch.autograd.grad((first**2).sum(), z)
            gradients.append(second)
        expected, actual = gradients
        assert isinstance(actual, DTensor)
        torch.testing.assert_close(actual.full_tensor(), expected)


def test_gradients_of_gradients(group: Group) -> None:
    group.run(check_gradient_penalty)


def check_errors() -> None:
    mesh, size = _mesh(), torch.distributed.get_world_size()
    logits, labels, _ = _sample((4, 4, 8, 8))
    sharded, target = place(logits, mesh, [Shard(0)]), place(labels, mesh, [Shard(0)])
    with pytest.raises(TypeError, match="target: got Tensor beside a DTensor, takes a DTensor"):
        scnp(sharded, labels)
    with pytest.raises(TypeError, match="logits: got Tensor beside a DTensor"):
        scnp(logits, target)
    with pytest.raises(TypeError, match="mask: got Tensor beside a DTensor"):
        scnp(sharded, target, mask=labels > 0)
    partial = DTensor.from_local(logits, mesh, [Partial()])
    with pytest.raises(ValueError, match=r"logits: got the placement Partial\(sum\) on mesh dimen"):
        scnp(partial, target)
    with pytest.raises(ValueError, match=r"target: got the placement Partial\(sum\)"):
        scnp(sharded, DTensor.from_local(labels, mesh, [Partial()]))
    other = DeviceMesh("cpu", list(reversed(range(size))))
    with pytest.raises(ValueError, match=r"target: got a DTensor on DeviceMesh.*takes the mesh of"):
        scnp(sharded, place(labels, other, [Shard(0)]))
    with pytest.raises(ValueError, match="target: got shape"):  # the whole shapes are compared
        scnp(sharded, place(labels[:, :4], mesh, [Shard(0)]))
    uneven = torch.zeros(4, 4, 1 + 2 * mesh.get_rank(), 8)  # not as torch.chunk cuts
    odd = DTensor.from_local(uneven, mesh, [Shard(2)], shape=logits.shape, stride=logits.stride())
    with pytest.raises(ValueError, match=r"got a DTensor of shape .* whose local tensor is"):
        scnp(odd, place(labels, mesh, [Shard(1)]))
    part = DTensor.from_local(
        logits[:, :, :2], mesh, [Replicate()], shape=logits.shape, stride=logits.stride()
    )
    with pytest.raises(ValueError, match=r"got a DTensor of shape .* whose local tensor is"):
        scnp(part, target)
    with pytest.raises(ValueError, match="takes integers in"):
        scnp(sharded, place(labels + 7, mesh, [Shard(0)]))
    if size == 4:
        square = _mesh(2, 2)
        twice = place(logits, square, [Shard(2), Shard(2)])
        with pytest.raises(ValueError, match="axis 2 sharded by 2 mesh dimensions"):
            scnp(twice, place(labels, square, [Replicate(), Replicate()]))


def test_what_cannot_be_taken_is_one_error(group: Group) -> None:
    group.run(check_errors)


def check_compiled() -> None:
    mesh = _mesh()
    logits, labels, incoming = _sample((4, 4, 8, 6))
    for axis, whole_graph in ((0, True), (1, True), (2, False)):
        torch._dynamo.reset()  # placements would turn into dynamic sizes
        compiled = torch.compile(
            lambda z, y: scnp(z, y, 3) * 2, fullgraph=whole_graph, backend="aot_eager"
        )
        placements = [Shard(axis)]
        sharded = place(logits, mesh, placements).requires_grad_()
        result = compiled(sharded, place(labels, mesh, of_map(placements, logits, labels)))
        (gradient,) = torch.autograd.grad(result, sharded, place(incoming, mesh, placements))
        whole = logits.clone().requires_grad_()
        expected = scnp(whole, labels, 3) * 2
        (expected_gradient,) = torch.autograd.grad(expected, whole, incoming)
        assert_local(result.detach(), expected.detach(), placements)
        assert_local(gradient, expected_gradient, placements)


def test_compiled(two: Group) -> None:
    """In one graph where nothing is exchanged."""
    two.run(check_compiled)


def test_importing_the_package_does_not_import_dtensors() -> None:
    code = (
        "import sys, torch; before = 'torch.distributed.tensor' in sys.modules; "
        "import scnp_kernels; scnp_kernels.scnp(torch.zeros(1, 1, 3), torch.zeros(1, 3)); "
        "assert before or 'torch.distributed.tensor' not in sys.modules"
    )
    result = fresh_process.run(code)
    assert result.returncode == 0, result.stderr
