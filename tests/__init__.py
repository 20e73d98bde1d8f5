"""One oracle and one case list for all tests; a folder per layer, in it a file per promise."""
