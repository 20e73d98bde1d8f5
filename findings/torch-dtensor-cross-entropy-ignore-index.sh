#!/bin/sh
# torch 2.13.0: cross_entropy with ignore_index on DTensors returns the mean of the shards' means.
#
# Logits sharded on the batch over two processes, which hold unequally many labelled pixels. The value
# is Partial(avg) of the local means, instead of the mean over all labelled pixels; the gradient is
# right. (pytorch#185167 tells the same of class weights. torch 2.14.1 returns the right value.) Seen:
#
#     whole 1.4367, shards 1.4092 with placement P(avg), gradients equal
#
# Exits 0 while it does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat >"$folder/ranks.py" <<'PYTHON'
import sys

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn


def run(rank: int, meeting: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    torch.manual_seed(0)
    logits, labels = torch.randn(4, 3, 8, 8), torch.randint(0, 3, (4, 8, 8))
    labels[:2, :6] = 255  # most of what the first process holds
    loss = nn.CrossEntropyLoss(ignore_index=255)
    whole = logits.clone().requires_grad_()
    expected = loss(whole, labels)
    shards = distribute_tensor(logits, mesh, [Shard(0)]).requires_grad_()
    value = loss(shards, distribute_tensor(labels, mesh, [Shard(0)]))
    (gradient,) = torch.autograd.grad(value, shards)
    (expected_gradient,) = torch.autograd.grad(expected, whole)
    same = torch.allclose(gradient.full_tensor(), expected_gradient, atol=1e-6)
    reported = value.full_tensor().item()
    if rank == 0:
        print(
            f"torch {torch.__version__}: whole {expected.item():.4f}, shards {reported:.4f} with "
            f"placement {value.placements[0]}, gradients {'equal' if same else 'differ'}"
        )
    distributed.destroy_process_group()
    assert same
    assert abs(reported - expected.item()) > 0.02


if __name__ == "__main__":
    spawn(run, (sys.argv[1],), 2)
PYTHON
"$folder/venv/bin/python" "$folder/ranks.py" "$folder/meeting"
