"""Deletes expired nights and compacts the tables."""
