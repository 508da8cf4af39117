"""Real Redis servers on loopback, each in a folder of its own, ended with the block: one, one with TLS, a cluster."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
    options: tuple[str, ...] = ()
    """Further arguments of the server."""
    tls: bool = False
    """Whether its port takes TLS alone, with the certificate in its folder."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address."""
        scheme = "rediss" if self.tls else "redis"
        password = quote(self.password, safe="")
        return f"{scheme}://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"

    @property
    def certificate(self) -> Path:
        """Of the server and of its authority."""
        return self.folder / "cert.pem"

    def client(self) -> Any:
        """A redis-py client."""
        return redis.Redis.from_url(self.url, **({"ssl_ca_certs": str(self.certificate)} if self.tls else {}))

    def start(self) -> None:
        """Start it and wait until it answers."""
        # A Unix domain socket's path is short, so the folder is a short one.
        command = ["redis-server", "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--appendonly", "no",
                   "--daemonize", "no", "--unixsocket", str(self.folder / "s"), *self.options]  # fmt: skip
        command += ["--port", "0", "--tls-port", str(self.port)] if self.tls else ["--port", str(self.port)]
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
def running_redis(
    password: str = "", options: tuple[str, ...] = (), tls: bool = False, like: RedisServer | None = None
) -> Iterator[RedisServer]:
    """A server on a free port of loopback; with TLS it has the certificate of `like`, or one of its own."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    server = RedisServer(folder, _free_port(), password, options, tls)
    if tls:
        key, authority = folder / "key.pem", str(server.certificate)
        if like:
            for file in (key, server.certificate):
                shutil.copy(like.folder / file.name, file)
        else:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key),
                            "-out", authority, "-days", "2", "-subj", "/CN=redis", "-addext",
                            "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)  # fmt: skip
        server.options += ("--tls-cert-file", authority, "--tls-key-file", str(key), "--tls-ca-cert-file", authority,
                           "--tls-auth-clients", "no")  # fmt: skip
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_redis_cluster(nodes: int = 3, tls: bool = False) -> Iterator[list[RedisServer]]:
    """The nodes of a Redis Cluster without replicas, which share all slots, and with TLS one certificate."""
    with ExitStack() as running:
        options = ("--cluster-enabled", "yes", "--cluster-require-full-coverage", "yes")
        options += ("--tls-cluster", "yes", "--tls-replication", "yes") if tls else ()
        servers: list[RedisServer] = []
        for _ in range(nodes):
            like = servers[0] if servers else None
            servers.append(running.enter_context(running_redis(options=options, tls=tls, like=like)))
        secure = ["--tls", "--cacert", str(servers[0].certificate)] if tls else []
        create = ["redis-cli", *secure, "--cluster", "create", *(f"127.0.0.1:{server.port}" for server in servers)]
        subprocess.run([*create, "--cluster-yes"], check=True, capture_output=True, timeout=60)
        deadline = time.monotonic() + 30
        while not all(server.client().cluster("info")["cluster_state"] == "ok" for server in servers):
            if time.monotonic() > deadline:
                raise RuntimeError("the Redis Cluster did not form within 30 s")
            time.sleep(0.1)
        yield servers


def _free_port() -> int:
    """A port that is free, as is the one 10,000 higher, on which the nodes of a cluster talk."""
    while True:
        with socket.socket() as probe, socket.socket() as bus:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
            if port > 55_000:
                continue
            try:
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            return port
