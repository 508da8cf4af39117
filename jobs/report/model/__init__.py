"""Writes the page that explains the night's models."""
