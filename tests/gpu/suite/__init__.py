"""The contract on a GPU, bit for bit: the tests of ``make gpu-day``'s stages a to d.

Left out of ``make test``. ``tests.gpu.day`` runs them; they also run by themselves, on a GPU, or on
the CPU as a rehearsal (``SCNP_REHEARSAL=reference``):

    python -m pytest -o addopts=--import-mode=importlib tests/gpu/suite/first_look.py -x
"""
