"""A small U-Net trained with and without SCNP: does the topology of its segmentations improve?"""

import os

# Waiting threads sleep instead of spinning: beside other work on two cores, spinning ones slowed
# the training about threefold. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
