"""Fits models, searches vectors and computes metrics on arrays alone, without storage, clock or environment."""
