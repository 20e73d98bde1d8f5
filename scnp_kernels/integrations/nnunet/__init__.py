"""SCNP for nnU-Net v2: trainers that wrap whatever loss nnU-Net builds.

``python -m scnp_kernels.integrations.nnunet`` prints the line that lets nnU-Net find them, the
command ``scnp_trainer_path`` their folder alone.
Importing this package does not import nnU-Net; only the files in ``trainers`` do.
"""

from pathlib import Path

# Holds only trainers: nnU-Net imports every module in the folders that it searches.
TRAINERS = Path(__file__).parent / "trainers"


def print_trainers_folder() -> None:
    """Print the folder that belongs into nnU-Net's variable ``nnUNet_extTrainer``."""
    print(TRAINERS)
