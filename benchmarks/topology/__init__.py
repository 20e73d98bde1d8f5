"""The paper's comparison: losses with and without SCNP, on images of your own."""

import os

# Workers beside each other: waiting threads sleep instead of spinning. OpenMP reads this once,
# when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
