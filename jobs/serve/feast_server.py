"""Serves Feast's feature services with Feast's own server, behind the guard."""

from __future__ import annotations

from feature_repo.served import OWNER
from jobs.errors import UserError
from jobs.publish.store import OnlineStore
from jobs.serve.guard import Guard, ServeConfig
from jobs.serve.metrics import metrics_of_all

READS = {("POST", "/get-online-features"), ("GET", "/health")}
"""Requests that reach Feast's app; its pushes, materialisations, chat and the rest change or cost something."""


def serve_feast(store: OnlineStore, config: ServeConfig) -> None:
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
    server._app = Guard(server._app, config.token, lambda: _published(store), metrics_of_all, config.limits, READS)
    server.run()


def _published(store: OnlineStore) -> bool:
    try:
        return bool(store.live().seq)
    except UserError:
        return False
