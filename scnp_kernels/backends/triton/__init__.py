"""The GPU kernels, in Triton, for images of 1, 2 and 3 spatial axes.

Every image is seen as three axes, as in csrc/contract/geometry.h:

    1D  [W]        ->  [1, 1, W]
    2D  [H, W]     ->  [H, 1, W]
    3D  [D, H, W]  ->  [D, H, W]

Kernels come in two kinds. A march keeps what it has read of the last planes in registers; its code
is unrolled, and grows with the window. For larger windows (``any_window``) every pixel walks over
its neighbours in loops. The way through this folder:

    operators.py       forward, scatter, gather: tensors in, one launch each, tensors out
    dice_ce.py         the fused loss's statistics and their gradient; like operators.py, what the
                       registry calls
    launching.py       what all launches need
    launch_table.py    which windows march, how large a program is, how many there are
    images.py          strides and offsets of tensors seen as three axes
    availability.py    why the kernels cannot run here

    kernels/           what is launched, a kernel a file, named by operation and kind
      forward_march.py                 Eq. 1
      forward_any_window.py
      scatter_march.py                 Eq. 2
      scatter_any_window.py
      gather.py                        the transpose of Eq. 2
      dice_ce_forward_march.py         winners and statistics in one pass, for few classes
      dice_ce_forward_pixels.py        statistics from the winners, for any number of classes
      dice_ce_backward_pixels.py       what the classes of a pixel have in common, for the next two;
                                       the gradient of unpenalized logits
      dice_ce_backward_march.py        the gradient, sent to the winners
      dice_ce_backward_any_window.py

    kernels/device/    what kernels share
      keys.py          floats as integers that keep their order
      targets.py       what a target says of a pixel
      tiles.py         which part of the image a marching program works on
      views.py         how a marching program reaches its pixels in a tensor
      windows.py       the first best of a window, plane by plane
      pixels.py        pixels one after the other, for kernels that do not march
      winners.py       the pixel that a winner's number points to
      pixel_loss.py    Dice + cross entropy at one pixel
      numbers.py       the dtype that values are added up in

Importing this package, availability.py, images.py or launch_table.py imports nothing of triton: the
registry asks :mod:`.availability` first.
"""
