"""What needs more memory than a test may take: `make test-large`."""
