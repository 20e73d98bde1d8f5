"""A small U-Net trained with and without SCNP: does the topology of its segmentations improve?"""

import benchmarks.topology  # noqa: F401  # says how OpenMP's threads wait, before torch is there
