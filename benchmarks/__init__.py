"""Programs that measure scnp_kernels: its speed, and what it does to segmentations."""
