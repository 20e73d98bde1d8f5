"""Derivatives: each formula once."""
