"""Serves Feast's feature services over HTTP, behind a guard that checks the token and limits requests."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feature_repo.served import OWNER
from jobs.errors import UserError
from jobs.publish.store import OnlineStore

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
READS = {("POST", "/get-online-features"), ("GET", "/health")}
"""Requests that reach Feast's app; its pushes, materialisations, chat and the rest change or cost something."""
OPEN = ("/health", "/ready")
"""Paths that an orchestrator may request without the token."""
SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Limits:
    """Limits of each worker process."""

    body_bytes: int = 256 << 10
    """Bytes of a request; a page of 500 candidates takes 20 KB."""
    at_once: int = 64
    """Concurrent requests; more are refused at once, since waiting would delay all of them."""
    seconds: float = 2.0
    """Seconds for an answer."""


@dataclass(frozen=True)
class ServeConfig:
    """Address, number of processes and protection of the server."""

    host: str = "127.0.0.1"
    port: int = 6566
    workers: int = 1
    token: str | None = field(default=None, repr=False)
    """Token that requests give as `Authorization: Bearer ..`; None, on loopback only: requests need none."""
    key: Path | None = None
    """TLS key and certificate, both or none."""
    certificate: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UserError(
                f"NIGHTRAIL_TOKEN is shorter than {SHORTEST_TOKEN} characters; make one with `openssl rand -hex 32`"
            )
        if self.token is None and not loopback(self.host):
            raise UserError(
                f"--host {self.host} is not loopback, so that other machines could read without a token; set "
                "NIGHTRAIL_TOKEN, or stay on 127.0.0.1"
            )
        if (self.key is None) != (self.certificate is None):
            raise UserError("give both --tls-key and --tls-cert, or neither")
        if self.workers < 1 or not 0 < self.port < 65536:
            raise UserError(f"--workers {self.workers} --port {self.port}: use at least 1, and a port up to 65535")


def loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _TooLargeError(Exception):
    pass


class Guard:
    """An ASGI app around another one."""

    def __init__(
        self, app: App, token: str | None, ready: Callable[[], bool], metrics: Callable[[], bytes], limits: Limits
    ) -> None:
        """`token` None: requests need none. `ready`: whether a night is live; `metrics` is Prometheus text."""
        self.app, self.ready, self.metrics, self.limits = app, ready, metrics, limits
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._running = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        given = headers.get(b"authorization", b"")
        allowed = self._expected is None or hmac.compare_digest(given, self._expected)
        if path not in OPEN and not allowed:
            await _answer(send, 401, b"give Authorization: Bearer TOKEN", (b"www-authenticate", b"Bearer"))
        elif path == "/ready":
            ready = await asyncio.to_thread(self.ready)
            await _answer(send, *((200, b"ready") if ready else (503, b"no night is live, or the store is away")))
        elif path == "/metrics":
            text = await asyncio.to_thread(self.metrics)
            await _answer(send, 200, text, (b"content-type", b"text/plain; version=0.0.4"))
        elif (scope["method"], path) not in READS:
            await _answer(send, 404, b"this server has POST /get-online-features, GET /health, /ready, /metrics")
        elif int(headers.get(b"content-length", b"0")) > self.limits.body_bytes:
            await _answer(send, 413, b"the request is too large")
        elif self._running >= self.limits.at_once and path not in OPEN:
            await _answer(send, 503, b"too many requests at once", (b"retry-after", b"1"))
        else:
            await self._limited(scope, receive, send)

    async def _limited(self, scope: Message, receive: Receive, send: Send) -> None:
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


def serve(store: OnlineStore, config: ServeConfig) -> None:
    """Serve until the process is told to end; raises UserError where no service was ever registered."""
    from feast import metrics
    from feast.feature_server import FeastServeApplication
    from feast.permissions.security_manager import no_security_manager

    if not any(found.owner == OWNER for found in store.store.list_feature_services()):
        raise UserError(f"{store.root} has no feature services; publish a night there first")
    no_security_manager()  # type: ignore[no-untyped-call]
    # Feast's own metrics server listens on every interface without a token; the guard serves them on this port.
    metrics._config = metrics._MetricsFlags(enabled=True, resource=True, request=True, online_features=True)
    server = FeastServeApplication(
        store=store.store,
        metrics_enabled=True,
        bind=f"{config.host}:{config.port}",
        workers=config.workers,
        registry_ttl_sec=60,
        max_requests=500_000,  # replaces a worker before a slow memory leak matters
        max_requests_jitter=50_000,
        timeout=30,  # seconds until a hanging worker is killed
        graceful_timeout=20,
        keyfile=config.key and str(config.key),
        certfile=config.certificate and str(config.certificate),
        loglevel="warning",
        proc_name="nightrail-serve",
    )
    server._app = Guard(server._app, config.token, lambda: _published(store), _metrics, config.limits)
    server.run()


def _published(store: OnlineStore) -> bool:
    try:
        return bool(store.live().seq)
    except UserError:
        return False


def _metrics() -> bytes:
    """All workers' metrics as Prometheus text."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
