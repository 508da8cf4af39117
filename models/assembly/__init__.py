"""Assembles lists from candidates under rules."""
