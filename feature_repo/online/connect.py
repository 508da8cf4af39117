"""A reader of the online store from one line of text: `connect("redis://127.0.0.1:6379/0").read([..])`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feature_repo.online.backend import Backend
from feature_repo.online.reader import Reader

SQLITE = "sqlite://"


def backend_at(address: str, prefix: str = "n", **options: Any) -> Backend:
    """The place at `address`: sqlite:///ABSOLUTE/PATH, or a connection to Redis.

    `options` are those of `redis_client` (timeout, connect_timeout, retries, cluster, and redis-py's own). Raises
    StoreSettingsError for an address that cannot be read.
    """
    if address.startswith(SQLITE):
        from feature_repo.online.sqlite_backend import SqliteBackend

        return SqliteBackend(Path(address.removeprefix(SQLITE)), prefix.encode())
    from feature_repo.online.redis_backend import RedisBackend, redis_client

    return RedisBackend(redis_client(address, **options), prefix.encode())


def connect(address: str, prefix: str = "n", **options: Any) -> Reader:
    """A Reader of the store at `address`; see `backend_at`."""
    return Reader(backend_at(address, prefix, **options))
