"""Defines every table's name, key, columns and comments."""
