"""Loads the checked night into the online store and makes it live."""
