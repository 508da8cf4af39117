"""Parses and compiles the merchandisers' rules."""
