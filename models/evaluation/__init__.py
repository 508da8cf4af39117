"""Measures the quality of recommendations."""
