"""`python -m jobs serve` as a process, and a client of its API with the methods of `Recommendations`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import psutil
from pydantic import TypeAdapter

from feature_repo.client import BagPage, ListPage, Page, ProductPage, Ranking
from tests.support.repository import REPOSITORY

KINDS = {kind: TypeAdapter(kind) for kind in (ProductPage, ListPage, BagPage, Ranking, Page)}


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Served:
    """A server that runs."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    """What it wrote to stderr."""
    seconds: float
    """Processor seconds from its start to its first answer: other work on the machine does not count."""

    def worker(self) -> psutil.Process:
        """Its first worker."""
        return psutil.Process(self.process.pid).children()[0]


@contextmanager
def served(root: Path, *options: str, **environment: str) -> Iterator[Served]:
    """The server of the lake at `root` until the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "jobs", "serve", "--port", str(port), "--root", str(root), *options]
    bare = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTRAIL")}
    with tempfile.TemporaryDirectory() as folder:
        log, start = Path(folder) / "log", time.monotonic()
        with log.open("wb") as errors:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=bare | environment, stderr=errors,
                                       stdout=subprocess.DEVNULL)  # fmt: skip
        try:
            shop = HttpShop(url := f"http://127.0.0.1:{port}")
            while True:
                try:
                    shop.raw("GET", "/health")
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() - start < 180, log.read_text()
                    time.sleep(0.05)
            whole = psutil.Process(process.pid)
            times = [one.cpu_times() for one in (whole, *whole.children())]
            yield Served(url, process, log, sum(one.user + one.system for one in times))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


class HttpShop:
    """Answers over one connection that is kept open, with as little work as can be; for one thread."""

    def __init__(self, url: str, timeout: float = 20.0) -> None:
        self.where, self.timeout = (urlsplit(url).hostname or "", urlsplit(url).port or 80), timeout
        self._socket: socket.socket | None = None

    def raw(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of a request; raises OSError where there is no answer."""
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
        try:
            if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
                self.close()  # the server has closed it while it was idle
            if self._socket is None:
                self._socket = socket.create_connection(self.where, self.timeout)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(head.encode() + body)
            return self._answer(self._socket)
        except OSError:
            self.close()
            raise

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        data, end = b"", -1
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += (part := connection.recv(1 << 16))
            if not part:
                raise ConnectionError("closed without an answer")
        head = data[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(data) < end + 4 + length:
            data += (part := connection.recv(1 << 16))
            if not part:
                raise ConnectionError("closed within an answer")
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), data[end + 4 :]

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ok(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The answer to a request; raises RuntimeError for a status other than 200."""
        status, text = self.raw(method, path, body)
        if status != 200:
            raise RuntimeError(f"{status}: {text.decode()}")
        return text

    def _page(self, kind: Any, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        return KINDS[kind].validate_json(self.ok(method, path, b"" if body is None else json.dumps(body).encode()))

    def product_page(
        self, product_id: str, market: str, variant: str = "default", recent: Sequence[Happened] = ()
    ) -> ProductPage:
        """See Recommendations."""
        if recent:
            body = {"market": market, "variant": variant} | happened(recent)
            return self._page(ProductPage, "POST", f"/products/{quote(product_id, safe='')}", body)
        return self._page(ProductPage, "GET", f"/products/{address(product_id, market=market, variant=variant)}")

    def home(self, customer_id: str | None, market: str, recent: Sequence[Happened] = ()) -> ListPage:
        """See Recommendations."""
        if not recent:
            return self._page(ListPage, "GET", f"/customers/{address(str(customer_id), market=market)}")
        return self._page(ListPage, "POST", "/home", {"customer_id": customer_id, "market": market} | happened(recent))

    def category_page(self, market: str, category: str = "*", variant: str = "default") -> ListPage:
        """See Recommendations."""
        return self._page(ListPage, "GET", f"/categories/{address(category, market=market, variant=variant)}")

    def bag(self, product_ids: Sequence[str], market: str, variant: str = "default", places: int = 24) -> BagPage:
        """See Recommendations."""
        body = {"product_ids": list(product_ids), "market": market, "variant": variant, "places": places}
        return self._page(BagPage, "POST", "/bags", body)

    def page(self, market: str, lists: Sequence[tuple[str, str]], variant: str = "default", places: int = 12) -> Page:
        """See Recommendations."""
        asked = [{"touch_point": name, "owner": owner} for name, owner in lists]
        body = {"market": market, "lists": asked, "variant": variant, "places": places}
        return self._page(Page, "POST", "/pages", body)

    def rank(
        self,
        customer_id: str | None,
        product_ids: Sequence[str],
        market: str,
        category: str | None = None,
        recent: Sequence[Happened] = (),
    ) -> Ranking:
        """See Recommendations."""
        body = {"customer_id": customer_id, "product_ids": list(product_ids), "market": market, "category": category}
        return self._page(Ranking, "POST", "/rank", body | happened(recent))


Happened = tuple[str, str, int]
"""(product, event, Unix seconds)"""


def happened(recent: Sequence[Happened]) -> dict[str, Any]:
    """The events as a request has them; nothing for none."""
    events = [{"product_id": product, "event": kind, "at": at} for product, kind, at in recent]
    return {"recent": events} if events else {}


def address(name: str, **query: str) -> str:
    """A path's last part and its query."""
    return f"{quote(name, safe='')}?{urlencode({k: v for k, v in query.items() if v != 'default'})}"
