"""The online store: whole nights as versions, one packed row per key, in Redis or SQLite.

Reading needs the standard library, NumPy and, for Redis, redis-py: no Feast.
"""
