"""Removes one customer from every store."""
