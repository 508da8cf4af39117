"""Writes the night's HTML pages."""
