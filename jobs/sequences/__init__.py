"""Builds each customer's sequence of recent events."""
