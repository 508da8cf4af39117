"""Stores the online rows in Redis as plain strings, read by one MGET and written by MSET.

A hash per key would take more memory: a value above 64 bytes turns it into a table with an overhead of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from feature_repo.online.backend import Merged, Renew, StoreBusyError, StoreSettingsError

AT_ONCE = 256
"""Keys of one MSET: Redis answers no other client while it works on one."""
LOCK_SECONDS = 30
"""Seconds for which a killed writer keeps others out."""


TYPES: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("ssl", "ssl_check_hostname"), lambda value: value.lower() in ("true", "1", "yes")),
    **dict.fromkeys(("db", "max_connections"), int),
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), float),
}
"""Options of redis-py that are not text -> their parser."""


def redis_client(
    connection: str,
    timeout: float = 1,
    connect_timeout: float = 1,
    retries: int = 3,
    cluster: bool = False,
    **options: Any,
) -> Any:
    """A redis-py client that pools its connections and retries requests that a restart or fail-over breaks.

    `connection` is a URL (redis://, rediss:// for TLS, unix://) or host:port[,password=..][,ssl=true][,db=0]; times
    are seconds. Raises StoreSettingsError, whose message leaves the connection out: it may hold a password.
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
        url = "://" in connection
        if url:
            redis.ConnectionPool.from_url(connection)  # which reads it and connects to nothing yet
        settings |= {"url": connection} if url else _pairs(connection)
        if cluster:
            return LazyCluster(settings)
        return redis.Redis.from_url(**settings) if url else redis.Redis(**settings)
    except (ValueError, TypeError):
        raise StoreSettingsError(
            "the connection to Redis cannot be read; give redis://[:password@]host:port/0 (rediss:// for TLS, special "
            "characters of the password percent-encoded) or host:port,password=..,ssl=true"
        ) from None


def _pairs(connection: str) -> dict[str, Any]:
    """The arguments for redis-py in host:port,name=value,.."""
    first, *rest = connection.split(",")
    host, _, port = first.rpartition(":")
    found: dict[str, Any] = {"host": host, "port": int(port)}
    for pair in rest:
        name, _, value = pair.partition("=")
        found[name] = TYPES.get(name, str)(value)
    return found


class LazyCluster:
    """A Redis Cluster's client that looks for the nodes when it is first asked: a service may start while they are
    away.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._made: redis.RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = redis.RedisCluster(**self._settings)
        return getattr(self._made, name)

    def close(self) -> None:
        """Close connections, where there are any."""
        if self._made is not None:
            self._made.close()


class RedisBackend:
    """A Backend over a redis-py client."""

    away: tuple[type[Exception], ...] = (RedisError, RedisClusterException, OSError)
    beside = False

    def __init__(self, client: Any, prefix: bytes = b"n", lock_seconds: float = LOCK_SECONDS) -> None:
        self.client, self.prefix, self.lock_seconds = client, prefix, lock_seconds
        self._cluster = isinstance(client, LazyCluster)

    def get(self, keys: Sequence[bytes], upto: int | None = None) -> list[bytes | None]:
        """See Backend. One MGET reads one instant; a cluster's keys are on several servers."""
        if not keys:
            return []
        if not self._cluster:
            return list(self.client.mget(keys))
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

    def fold(self, agreed: int, abandoned: Collection[int]) -> None:
        """See Backend. There are no records beside values."""

    def drop(self, keys: Sequence[bytes]) -> None:
        """See Backend."""
        with self.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.unlink(key)
            pipe.execute()

    def scrub(self) -> None:
        """See Backend. Unlinked values leave memory at once; Redis rewrites its files by its own rules."""

    def scan(self, start: bytes) -> Iterator[list[bytes]]:
        """See Backend."""
        plain = b"".join(b"\\" + bytes((c,)) if bytes((c,)) in b"*?[]^-\\" else bytes((c,)) for c in start)
        keys = iter(self.client.scan_iter(match=plain + b"*", count=5_000))
        while some := list(islice(keys, 5_000)):
            yield some

    @contextmanager
    def writing(self) -> Iterator[Renew]:
        """See Backend. The lock of a killed writer expires after `lock_seconds`."""
        lock = self.client.lock(self.prefix + b"!lock", timeout=self.lock_seconds)
        if not lock.acquire(blocking_timeout=self.lock_seconds + 5):
            raise StoreBusyError("another process is writing to the online store; retry when it has ended")

        def renew() -> None:
            try:
                lock.reacquire()
            except LockError:
                raise StoreBusyError("another process took over the online store while this one paused") from None

        try:
            yield renew
        finally:
            # The lock expires by itself; an earlier error is the one to show.
            with suppress(LockError, RedisConnectionError, RedisTimeoutError):
                lock.release()

    def close(self) -> None:
        """See Backend."""
        self.client.close()
