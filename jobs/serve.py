"""Feast's own feature server over our store, behind a guard: `python -m jobs serve`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from jobs.guard import Guard, Limits
from jobs.online import OnlineStore

SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class ServeConfig:
    """Where it listens, and with how many processes."""

    host: str = "127.0.0.1"
    port: int = 6566
    workers: int = 1
    token: str | None = field(default=None, repr=False)
    """What a request gives as `Authorization: Bearer ..`; None: none is asked for, on loopback alone."""
    key: Path | None = None
    """TLS key and certificate, both or none."""
    certificate: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UserError(f"NIGHTRAIL_TOKEN is shorter than {SHORTEST_TOKEN} characters; make one with "
                            "`openssl rand -hex 32`")  # fmt: skip
        if self.token is None and not loopback(self.host):
            raise UserError(f"--host {self.host} is not loopback, and anybody who reaches it could ask; set "
                            "NIGHTRAIL_TOKEN, or stay on 127.0.0.1")  # fmt: skip
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
