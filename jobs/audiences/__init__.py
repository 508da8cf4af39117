"""Finds what each customer turns to, and whom to write to about what."""
