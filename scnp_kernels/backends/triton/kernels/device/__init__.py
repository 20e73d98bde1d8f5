"""Functions that the kernels call on the device."""
