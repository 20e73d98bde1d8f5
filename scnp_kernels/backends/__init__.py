"""Who computes: the registry chooses one of the backends in this folder."""
