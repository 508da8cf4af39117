"""Feast definitions: what services may ask for online."""
