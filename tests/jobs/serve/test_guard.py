"""What stands before the feature server: the token, what is let through, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from jobs.errors import UserError
from jobs.serve.feast_server import READS
from jobs.serve.guard import Guard, Limits, ServeConfig

TOKEN = "a-token-of-some-length"
READ = "/get-online-features"


async def slow_echo(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, waits as many seconds as it says, and answers."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await asyncio.sleep(float(body or b"0"))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def asked(*requests: tuple[str, str, dict[str, Any]], token: str | None = None, **limits: Any) -> list[int]:
    """Statuses of requests that are made at the same time."""
    guard = Guard(slow_echo, token, lambda: False, lambda: b"metrics", Limits(**limits), READS)

    async def go() -> list[int]:
        transport = httpx.ASGITransport(app=guard)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://guard") as client:
            answers = await asyncio.gather(*(client.request(m, path, **more) for m, path, more in requests))
        return [answer.status_code for answer in answers]

    return asyncio.run(go())


def bearing(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


def test_without_the_token_only_an_orchestrator_is_answered() -> None:
    assert asked(
        ("POST", READ, {}), ("POST", READ, bearing("another")), ("POST", READ, bearing(TOKEN)), ("GET", "/metrics", {}),
        ("GET", "/metrics", bearing(TOKEN)), ("GET", "/health", {}), ("GET", "/ready", {}), ("GET", "/nothing", {}),
        token=TOKEN,
    ) == [401, 401, 200, 401, 200, 200, 503, 401]  # fmt: skip


def test_nothing_but_reads_is_let_through() -> None:
    changing = ("/push", "/write-to-online-store", "/materialize", "/materialize-incremental", "/chat", "/search")
    assert asked(*(("POST", path, {}) for path in changing), ("GET", "/docs", {})) == [404] * 7


def test_large_slow_and_too_many_requests_are_refused() -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b"0" * 10

    assert asked(("POST", READ, {"content": b"0" * 101}), body_bytes=100) == [413]
    assert asked(("POST", READ, {"content": chunks()}), body_bytes=100) == [413]
    assert asked(("POST", READ, {"content": b"5"}), seconds=0.1) == [504]
    many = [("POST", READ, {"content": b"0.2"})] * 5
    assert sorted(asked(*many, at_once=3)) == [200, 200, 200, 503, 503]


def test_outside_loopback_a_token_is_demanded() -> None:
    for host in ("0.0.0.0", "::", "10.1.2.3", "shop.example"):
        with pytest.raises(UserError, match="set NIGHTRAIL_TOKEN, or stay on 127.0.0.1"):
            ServeConfig(host=host)
        assert "a-token" not in repr(ServeConfig(host=host, token=TOKEN))
    for host in ("127.0.0.1", "::1", "localhost"):
        assert ServeConfig(host=host).token is None
    with pytest.raises(UserError, match="shorter than 16 characters"):
        ServeConfig(token="short")
