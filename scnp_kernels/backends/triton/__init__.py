"""The GPU kernels, in Triton: forward, scatter and gather for 1, 2 and 3 spatial axes.

An image is always seen as three axes, as in csrc/contract/geometry.h:

    1D  [W]        ->  [1, 1, W]
    2D  [H, W]     ->  [H, 1, W]
    3D  [D, H, W]  ->  [D, H, W]

The way through this folder:

    operators.py       tensors in, one launch each, tensors out: what the registry calls
    dice_ce.py         the same for the fused loss's sums and their gradient
    launching.py       what launches have in common
    launch_table.py    who marches, how large a program is, how many there are (no triton needed)
    images.py          strides and offsets of tensors seen as three axes (no triton needed)
    march_forward.py   Eq. 1, marching along the outer axis
    march_scatter.py   Eq. 2, likewise
    plain.py           both for windows too large to march, one pixel after the other; gather
    march_sums.py      Dice + cross entropy's sums of few classes, marching like march_forward.py
    march_gradient.py  their gradient, marching like march_scatter.py
    plain_gradient.py  the same for windows too large to march
    pixel_dice_ce.py   blocks of pixels: sums of any number of classes, what these have in common
    class_terms.py     probabilities, terms of the sums and gradients at one pixel
    winners.py         logits at winners
    keys.py            floats as integers that keep their order
    pixels.py          what a target says of a pixel
    places.py          which part of the image a program works on

Importing this package imports nothing of triton: the registry asks :mod:`.availability` first.
"""
