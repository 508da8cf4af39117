"""Stores whole nights as versions of one packed row per key, in Redis or SQLite; reading needs no Feast."""
