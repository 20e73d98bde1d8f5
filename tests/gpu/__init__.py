"""The GPU kernels: checked without a GPU, and on one. `make test` runs the report's tests alone."""
