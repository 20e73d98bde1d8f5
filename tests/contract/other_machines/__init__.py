"""The CPU kernels on machines that are not here: compiled for them, and run by an emulator."""
