"""The store in Redis: plain strings, read by one MGET and written by MSET.

A hash per key would cost more: a value above 64 bytes turns it into a table with an overhead of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from feature_repo.online.backend import Merged, Renew, StoreBusyError, StoreSettingsError

AT_ONCE = 256
"""Keys of one MSET: the server answers nobody else while it works on one."""
LOCK_SECONDS = 30
"""How long a writer that was killed keeps others out."""


def redis_client(
    connection: str, timeout: float = 1.0, connect_timeout: float = 1.0, retries: int = 3, cluster: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """A redis-py client that pools its connections and retries what a restart or fail-over breaks.

    `connection` is a URL (redis://, rediss:// for TLS, unix://) or host:port[,password=..][,ssl=true][,db=0]; times
    are seconds. Raises StoreSettingsError, which does not repeat what was given: it may hold a password.
    """
    settings: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": connect_timeout,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.02, cap=0.5), retries),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    } | options
    try:
        if "://" not in connection:
            settings |= _pairs(connection)
            return redis.RedisCluster(**settings) if cluster else redis.Redis(**settings)
        made = redis.RedisCluster if cluster else redis.Redis
        return made.from_url(connection, **settings)
    except (ValueError, TypeError):
        raise StoreSettingsError(
            "the connection to Redis cannot be read; give redis://[:password@]host:port/0 (rediss:// for TLS, special "
            "characters of the password percent-encoded) or host:port,password=..,ssl=true"
        ) from None


def _pairs(connection: str) -> dict[str, Any]:
    """host:port,name=value,.. as redis-py's arguments."""
    first, *rest = connection.split(",")
    host, _, port = first.rpartition(":")
    found: dict[str, Any] = {"host": host, "port": int(port)}
    for pair in rest:
        name, _, value = pair.partition("=")
        if name in ("ssl", "ssl_check_hostname"):
            found[name] = value.lower() in ("true", "1", "yes")
        elif name in ("db", "socket_timeout", "socket_connect_timeout", "max_connections"):
            found[name] = int(value) if name in ("db", "max_connections") else float(value)
        else:
            found[name] = value
    return found


class RedisBackend:
    """`Backend` over a redis-py client."""

    away: tuple[type[Exception], ...] = (RedisError, OSError)
    beside = False

    def __init__(self, client: Any, prefix: bytes = b"n", lock_seconds: float = LOCK_SECONDS) -> None:
        self.client, self.prefix, self.lock_seconds = client, prefix, lock_seconds
        self._cluster = isinstance(client, redis.RedisCluster)

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """See Backend. One MGET is one instant; in a cluster keys lie on several servers."""
        if not keys:
            return []
        if not self._cluster:
            found: list[bytes | None] = self.client.mget(keys)
            return found
        first = self.client.get(keys[0])
        return [first, *(self.client.mget_nonatomic(keys[1:]) if len(keys) > 1 else [])]

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """See Backend."""
        if self._cluster:
            self.client.mset_nonatomic(dict(items))
            return
        left = iter(items.items())
        with self.client.pipeline(transaction=False) as pipe:
            while some := dict(islice(left, AT_ONCE)):
                pipe.mset(some)
            pipe.execute()

    def add(
        self, seq: int, items: Mapping[bytes, bytes], merged: Merged, chains: Mapping[bytes, bytes | None] | None = None
    ) -> None:
        """See Backend."""
        if chains is None:
            chains = dict(zip(items, self.get(list(items)), strict=True))
        self.put({key: merged(chains[key], record) for key, record in items.items()})

    def fold(self, agreed: int, given_up: Collection[int]) -> None:
        """See Backend. Nothing lies beside."""

    def drop(self, keys: Sequence[bytes]) -> None:
        """See Backend."""
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.unlink(key)
            pipe.execute()

    def scrub(self) -> None:
        """See Backend. What is unlinked is gone from memory; its files are written anew by Redis's own rules."""

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        """See Backend."""
        plain = b"".join(b"\\" + bytes((c,)) if bytes((c,)) in b"*?[]^-\\" else bytes((c,)) for c in start)
        keys = iter(self.client.scan_iter(match=plain + b"*", count=5_000))
        while some := list(islice(keys, 5_000)):
            yield some

    @contextmanager
    def writing(self) -> Iterator[Renew]:
        """See Backend. The right runs out some seconds after a writer that was killed."""
        lock = self.client.lock(self.prefix + b"!lock", timeout=self.lock_seconds)
        if not lock.acquire(blocking_timeout=self.lock_seconds + 5):
            raise StoreBusyError("another process is writing to the online store; try again when it is done")

        def renew() -> None:
            try:
                lock.reacquire()
            except LockError:
                raise StoreBusyError("another process took over the online store while this one waited") from None

        try:
            yield renew
        finally:
            # It runs out by itself; what went wrong before is the error to see.
            with suppress(LockError, RedisConnectionError, RedisTimeoutError):
                lock.release()

    def close(self) -> None:
        """See Backend."""
        self.client.close()
