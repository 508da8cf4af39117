"""Reads and writes the lake: Delta tables, files, engines and locks."""
