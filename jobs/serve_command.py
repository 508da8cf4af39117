"""`python -m jobs serve`: Feast's feature server with our services, on loopback or behind a token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.command import LAKE, Root, lake_at, online_store, secret


def add_serve(app: typer.Typer) -> None:
    """Register the command of this module."""
    app.command()(serve)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 6566,
    workers: Annotated[int, typer.Option(help="Processes; one a core.")] = 1,
    tls_key: Annotated[Path | None, typer.Option(help="TLS key file.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate file.")] = None,
    root: Root = LAKE,
) -> None:
    """Serve the feature services over HTTP; stop it with Ctrl-C. NIGHTRAIL_TOKEN is what requests must bear."""
    from jobs.serve import ServeConfig
    from jobs.serve import serve as run

    config = ServeConfig(host, port, workers, secret("NIGHTRAIL_TOKEN"), tls_key, tls_cert)
    store = online_store(lake_at(root, "sail"))
    scheme, guarded = ("http", "https")[tls_key is not None], "with a token" if config.token else "without a token"
    typer.echo(f"serving on {scheme}://{host}:{port} {guarded}: POST /get-online-features, GET /health /ready /metrics")
    run(store, config)
