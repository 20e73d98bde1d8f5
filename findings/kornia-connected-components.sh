#!/bin/sh
# kornia 0.9.0: kornia.contrib.connected_components cuts a line of more than 101 pixels into pieces.
#
# It spreads the largest label by max pooling, 100 times unless told otherwise (num_iterations), and
# does not say that the labels had not settled by then. On torch 2.13.0, a straight line one pixel
# wide gives:
#
#     length 101: 1 piece; 102: 2; 150: 50; 300: 200; 300 with num_iterations=300: 1
#
# Exits 0 while it does.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 kornia==0.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import kornia
import torch


def pieces(length: int, **options: int) -> int:
    image = torch.zeros(1, 1, 8, 400)
    image[..., 4, 10 : 10 + length] = 1
    return len(kornia.contrib.connected_components(image, **options).unique()) - 1


seen = {length: pieces(length) for length in (101, 102, 150, 300)}
enough = pieces(300, num_iterations=300)
print(f"kornia {kornia.__version__}: pieces of one line by its length: {seen}; in 300 steps: {enough}")
assert seen == {101: 1, 102: 2, 150: 50, 300: 200}
assert enough == 1
PYTHON
