"""The metrics against brute force and other programs."""
