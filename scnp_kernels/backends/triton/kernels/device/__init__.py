"""Functions that the kernels call on the device, by subject; none of them is launched itself."""
