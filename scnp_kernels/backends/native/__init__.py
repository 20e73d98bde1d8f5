"""The compiled module: how it is built, found and loaded."""
