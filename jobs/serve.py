"""Feast's own feature server over our store, behind a guard: `python -m jobs serve`."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from jobs.errors import UserError
from jobs.publish.store import OnlineStore
from jobs.settings import Settings

# What stands before Feast's app: who may ask, what, how much at once and for how long. Plain ASGI, one a worker.

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

READS = {("POST", "/get-online-features"), ("GET", "/health")}
"""What of Feast's app is served. Its pushes, materialisations, chat and the rest change or cost something."""
OPEN = ("/health", "/ready")
"""What an orchestrator may ask without the token."""


@dataclass(frozen=True)
class Limits:
    """Of each worker."""

    body_bytes: int = 256 << 10
    """Of a request; a page of 500 candidates takes 20 KB."""
    at_once: int = 64
    """Requests; more are sent away at once, since waiting would make all of them late."""
    seconds: float = 2.0
    """For an answer."""


class _TooLargeError(Exception):
    pass


class Guard:
    """An ASGI app round another one."""

    def __init__(
        self, app: App, token: str | None, ready: Callable[[], bool], metrics: Callable[[], bytes], limits: Limits
    ) -> None:
        """`token` None: anybody may ask. `ready` says whether something is published; `metrics` is Prometheus text."""
        self.app, self.ready, self.metrics, self.limits = app, ready, metrics, limits
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._running = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        if path not in OPEN and not self._may(headers):
            await _answer(send, 401, b"give Authorization: Bearer TOKEN", (b"www-authenticate", b"Bearer"))
        elif path == "/ready":
            ready = await asyncio.to_thread(self.ready)
            await _answer(
                send, 200 if ready else 503, b"ready" if ready else b"nothing is published, or the store is away"
            )
        elif path == "/metrics":
            text = await asyncio.to_thread(self.metrics)
            await _answer(send, 200, text, (b"content-type", b"text/plain; version=0.0.4"))
        elif (scope["method"], path) not in READS:
            await _answer(send, 404, b"this server reads: POST /get-online-features, GET /health, /ready, /metrics")
        elif int(headers.get(b"content-length", b"0")) > self.limits.body_bytes:
            await _answer(send, 413, b"the request is too large")
        elif self._running >= self.limits.at_once and path not in OPEN:
            await _answer(send, 503, b"too many requests at once", (b"retry-after", b"1"))
        else:
            await self._pass_on(scope, receive, send)

    def _may(self, headers: dict[bytes, bytes]) -> bool:
        given = headers.get(b"authorization", b"")
        return self._expected is None or hmac.compare_digest(given, self._expected)

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        begun, read = False, 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limits.body_bytes:  # sent in chunks, without a length
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self._running += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, counted, noted)
        except TimeoutError:
            if not begun:
                await _answer(send, 504, b"the answer took too long")
        except _TooLargeError:
            if not begun:
                await _answer(send, 413, b"the request is too large")
        finally:
            self._running -= 1


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    sent = {b"content-type": b"text/plain; charset=utf-8", b"content-length": str(len(body)).encode(), **dict(headers)}
    await send({"type": "http.response.start", "status": status, "headers": list(sent.items())})
    await send({"type": "http.response.body", "body": body})


SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class ServeConfig(Settings):
    """Where it listens, and with how many processes."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 6566
    workers: PositiveInt = 1
    token: str | None = field(default=None, repr=False)
    """What a request gives as `Authorization: Bearer ..`; None: none is asked for, on loopback alone."""
    key: Path | None = None
    """TLS key and certificate, both or none."""
    certificate: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UserError(f"NIGHTRAIL_TOKEN is shorter than {SHORTEST_TOKEN} characters; make one with "
                            "`openssl rand -hex 32`")  # fmt: skip
        if self.token is None and not loopback(self.host):
            raise UserError(f"--host {self.host} is not loopback, and anybody who reaches it could ask; set "
                            "NIGHTRAIL_TOKEN, or stay on 127.0.0.1")  # fmt: skip
        if (self.key is None) != (self.certificate is None):
            raise UserError("give both --tls-key and --tls-cert, or neither")


def loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(store: OnlineStore, config: ServeConfig) -> None:
    """Serve until the process is told to end; raises UserError where nothing was ever registered."""
    from feast import metrics
    from feast.feature_server import FeastServeApplication
    from feast.permissions.security_manager import no_security_manager

    from feature_repo.served import OWNER

    if not any(found.owner == OWNER for found in store.store.list_feature_services()):
        raise UserError(f"{store.root} has no feature services; publish a night there first")
    no_security_manager()  # type: ignore[no-untyped-call]
    # Feast would serve its metrics on every interface and to anybody; the guard gives them on this server's own.
    metrics._config = metrics._MetricsFlags(enabled=True, resource=True, request=True, online_features=True)
    options = {
        "bind": f"{config.host}:{config.port}",
        "workers": config.workers,
        "registry_ttl_sec": 60,
        # A worker that leaked memory for a day is replaced; one that hangs is killed.
        "max_requests": 500_000, "max_requests_jitter": 50_000, "timeout": 30, "graceful_timeout": 20,
        "keyfile": config.key and str(config.key), "certfile": config.certificate and str(config.certificate),
        "loglevel": "warning", "proc_name": "nightrail-serve",
    }  # fmt: skip
    server = FeastServeApplication(store=store.store, metrics_enabled=True, **options)
    server._app = Guard(server._app, config.token, lambda: _published(store), _metrics, config.limits)
    server.run()


def _published(store: OnlineStore) -> bool:
    try:
        return bool(store.live().seq)
    except UserError:
        return False


def _metrics() -> bytes:
    """All workers' metrics as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry: Any = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
