"""``make gpu-check``: what can be proved of the GPU kernels without a GPU, rung by rung."""
