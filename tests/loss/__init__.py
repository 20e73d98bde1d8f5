"""The losses and modules: values and gradients against MONAI, torch and the paper's own code."""
