"""Tests of the contract: one oracle and one case list, then a file per promise."""
