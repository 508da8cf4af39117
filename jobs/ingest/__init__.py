"""Turns raw files into events, catalogue, availability and rejected rows."""
