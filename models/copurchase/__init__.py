"""Finds products that are bought together."""
