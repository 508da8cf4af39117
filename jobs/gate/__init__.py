"""Checks the staged night before it may be published."""
