"""Finds the nearest products to a vector."""
