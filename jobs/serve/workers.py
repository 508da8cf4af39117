"""Runs the API in processes that share a port and end together."""

from __future__ import annotations

import gc
import shutil
import socket
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from jobs.errors import UserError
from jobs.publish.store import OnlineStore
from jobs.serve.api import Api
from jobs.serve.guard import Guard, ServeConfig
from jobs.serve.metrics import Requests, metrics_of_all


class _Processes(BaseApplication):  # type: ignore[misc]
    """gunicorn with uvicorn's workers, as Feast runs its own server."""

    def __init__(self, store: OnlineStore, config: ServeConfig, metrics: Path) -> None:
        self.store, self.config, self.metrics = store, config, metrics
        super().__init__()

    def load_config(self) -> None:
        config = self.config
        settings = {
            "bind": f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}",
            "workers": config.workers,
            "worker_class": "uvicorn_worker.UvicornWorker",
            "keepalive": 75,  # seconds; longer than load balancers keep idle connections, so that they close first
            "timeout": 30,  # seconds until a hanging process is replaced
            "graceful_timeout": 20,
            "keyfile": config.key and str(config.key),
            "certfile": config.certificate and str(config.certificate),
            "loglevel": "warning",
            "proc_name": "nightrail-serve",
            "child_exit": _ended,
            "on_exit": partial(_cleaned, self.metrics),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The app of one process, made after the fork: connections and threads are its own."""
        api = Api(self.store.service_client(), Requests())
        gc.freeze()  # what every process has is never searched for garbage again
        return Guard(api, self.config.token, api.ready, metrics_of_all, self.config.limits)


def _ended(_: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _cleaned(metrics: Path, _: Any) -> None:
    shutil.rmtree(metrics, ignore_errors=True)


def serve_api(store: OnlineStore, config: ServeConfig, metrics: Path) -> None:
    """Serve until the process is told to end; `metrics` is the folder in which the processes add up.

    Raises UserError where the address cannot be used, or the store's settings cannot be read.
    """
    store.service_client().close()
    try:
        family, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(f"cannot serve on {config.host}:{config.port}: {error.strerror}; give another --port") from None
    _Processes(store, config, metrics).run()
