"""Estimates what came of lists that were shown: uplifts with intervals, and lists that nobody has seen yet."""
