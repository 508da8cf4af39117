"""A real Redis on loopback, in a folder of its own, ended with the block."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis

MISSING = "redis-server is not installed; on Debian: apt-get install redis-server"


@dataclass
class RedisServer:
    """A server that can be stopped and started again with its data."""

    folder: Path
    port: int
    password: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://{f':{quote(self.password)}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """A redis-py client."""
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        """Start it and wait until it answers."""
        # A Unix domain socket's path is short, so the folder is a short one.
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save",
                   "", "--appendonly", "no", "--daemonize", "no", "--unixsocket", str(self.folder / "s")]  # fmt: skip
        if self.password:
            command += ["--requirepass", self.password]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.client().ping()
                return
            except redis.exceptions.ConnectionError:
                time.sleep(0.05)
        raise RuntimeError("redis-server did not answer within 30 s")

    def stop(self, save: bool = False) -> None:
        """End it; `save` keeps its data for the next start."""
        if self.process is None:
            return
        if save:
            self.client().save()
        self.process.terminate()
        self.process.wait(20)
        self.process = None


@contextmanager
def running_redis(password: str = "") -> Iterator[RedisServer]:
    """A server on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    server = RedisServer(folder, port, password)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
