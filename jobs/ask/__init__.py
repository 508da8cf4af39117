"""Answers questions about a night without changing it."""
