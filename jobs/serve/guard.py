"""Guards an HTTP server: checks the token, limits requests, and answers whether it is ready and its metrics."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import UserError

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
OPEN = ("/health", "/ready")
"""Paths that an orchestrator may request without the token."""
SHORTEST_TOKEN = 16
PLAIN = b"text/plain; charset=utf-8"


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
        self,
        app: App,
        token: str | None,
        ready: Callable[[], bool],
        metrics: Callable[[], bytes],
        limits: Limits,
        reads: Collection[tuple[str, str]] | None = None,
    ) -> None:
        """`token` None: requests need none. `ready`: whether a night is live; `metrics` is Prometheus text.

        `reads` are the (method, path) that reach `app`; None: all but those of the guard itself.
        """
        self.app, self.ready, self.metrics, self.limits, self.reads = app, ready, metrics, limits, reads
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
            await refuse(send, 401, "give Authorization: Bearer TOKEN", (b"www-authenticate", b"Bearer"))
        elif path == "/ready":
            ready = await asyncio.to_thread(self.ready)
            await (
                respond(send, 200, b"ready", PLAIN)
                if ready
                else refuse(send, 503, "no night is live, or the store is away")
            )
        elif path == "/metrics":
            text = await asyncio.to_thread(self.metrics)
            await respond(send, 200, text, b"text/plain; version=0.0.4")
        elif self.reads is not None and (scope["method"], path) not in self.reads:
            named = ", ".join(f"{method} {read}" for method, read in sorted(self.reads, reverse=True))
            await refuse(send, 404, f"this server has {named}, GET /ready, GET /metrics")
        elif int(headers.get(b"content-length", b"0")) > self.limits.body_bytes:
            await refuse(send, 413, "the request is too large")
        elif self._running >= self.limits.at_once and path not in OPEN:
            await refuse(send, 503, "too many requests at once", (b"retry-after", b"1"))
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
                await refuse(send, 504, "the answer took too long")
        except _TooLargeError:
            if not begun:
                await refuse(send, 413, "the request is too large")
        finally:
            self._running -= 1


async def refuse(send: Send, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer with an error: one line in JSON, as the API's own."""
    await respond(send, status, json.dumps({"error": reason}).encode(), b"application/json", *headers)


async def respond(send: Send, status: int, body: bytes, kind: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Answer with a whole body of the content type `kind`."""
    length = (b"content-length", str(len(body)).encode())
    started = {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), length, *headers]}
    await send(started)
    await send({"type": "http.response.body", "body": body})
