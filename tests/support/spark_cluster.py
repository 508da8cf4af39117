"""A real Spark cluster on loopback: a standalone master, two workers and a Spark Connect server, each a process.

Started from pyspark's own scripts, ended with the block. Everything listens on 127.0.0.1; a worker can be killed in
the middle, with its executor, as if its machine had gone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyspark

from jobs.lake.engine import LOCAL_SPARK, LocalServer, connect_server, free_port
from tests.support.repository import REPOSITORY

WAIT_SECONDS = 300.0
SETTINGS = LOCAL_SPARK | {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.executor.cores": "1",
    # Which task ran where is read from the driver's REST interface, which is a part of its UI.
    "spark.ui.enabled": "true",
    "spark.eventLog.enabled": "false",
    "spark.pyspark.python": sys.executable,
}


@dataclass
class SparkCluster:
    """The cluster's processes."""

    folder: Path
    """Logs, and the workers' scratch."""
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    """Of the Connect server, which is the driver."""
    port: int = field(default_factory=free_port)
    ui: int = field(default_factory=free_port)
    """Port of the master's web UI."""
    driver_ui: int = field(default_factory=free_port)
    connect: int = field(default_factory=free_port)
    """Port of the Connect server."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)
    """By name: master, worker-0, worker-1."""
    server: LocalServer | None = field(default=None, repr=False)
    remote: str = ""
    """What SPARK_REMOTE has to be."""

    def start(self, workers: int = 2) -> None:
        """Start everything and wait until it answers."""
        self._start("master", "master.Master", "--host", "127.0.0.1", "--port", str(self.port), "--webui-port",
                    str(self.ui))  # fmt: skip
        wait_for("the master", lambda: self.alive_workers() is not None)
        for number in range(workers):
            self.start_worker(number)
        wait_for("the workers", lambda: self.alive_workers() == workers)
        self.start_server()

    def start_worker(self, number: int) -> None:
        """Start a worker of one core, for the first time or again."""
        self._start(f"worker-{number}", "worker.Worker", f"spark://127.0.0.1:{self.port}", "--host", "127.0.0.1",
                    "--cores", "1", "--memory", "2g", "--webui-port", "0", "--work-dir",
                    str(self.folder / f"work-{number}"))  # fmt: skip

    def start_server(self) -> None:
        """Start the Connect server, for the first time or again at its address."""
        settings = self.settings | {"spark.ui.port": str(self.driver_ui)}
        self.server, self.remote = connect_server(
            f"spark://127.0.0.1:{self.port}", settings, self.folder / "connect.log", self.environment(), self.connect
        )

    def kill_worker(self, number: int) -> list[int]:
        """SIGKILL a worker and all that it started; returns the ids of the processes."""
        worker = psutil.Process(self.processes[f"worker-{number}"].pid)
        gone = [worker, *worker.children(recursive=True)]
        for process in gone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.processes.pop(f"worker-{number}").wait()
        return [process.pid for process in gone]

    def kill_server(self) -> None:
        """SIGKILL the Connect server, which is the driver: its sessions are gone."""
        assert self.server is not None
        self.server.process.kill()
        self.server.process.wait()

    def alive_workers(self) -> int | None:
        """How many the master knows; None where it does not answer."""
        with suppress(OSError):
            known: int = _json(f"http://127.0.0.1:{self.ui}/json/")["aliveworkers"]
            return known
        return None

    def stages(self) -> list[dict[str, Any]]:
        """What the driver says of every stage that ran, newest first, with its tasks by executor."""
        return self.ask("stages?details=true")

    def executors(self) -> list[dict[str, Any]]:
        """The executors, those that are gone included, without the driver."""
        return [one for one in self.ask("allexecutors") if one["id"] != "driver"]

    def worker_of(self, executor: str) -> int:
        """The worker that runs an executor; raises IndexError where none does."""
        logs = list(self.folder.glob(f"work-*/app-*/{executor}"))
        return int(logs[0].parents[1].name.removeprefix("work-"))

    def ask(self, what: str) -> Any:
        """An answer of the driver's REST interface."""
        base = f"http://127.0.0.1:{self.driver_ui}/api/v1/applications"
        return _json(f"{base}/{_json(base)[0]['id']}/{what}")

    def stop(self) -> None:
        """End every process."""
        if self.server is not None:
            self.server.stop()
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def environment(self) -> dict[str, str]:
        """That of the daemons: their addresses, and what executors' Python needs to import this repository."""
        return os.environ | {
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(REPOSITORY),
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def _start(self, name: str, role: str, *arguments: str) -> None:
        script = Path(pyspark.__file__).parent / "bin" / "spark-class"
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(script), f"org.apache.spark.deploy.{role}", *arguments],
                env=self.environment() | {"SPARK_DAEMON_MEMORY": "256m"}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
            )  # fmt: skip


@contextmanager
def running_cluster(folder: Path | None = None, workers: int = 2, **settings: str) -> Iterator[SparkCluster]:
    """A cluster with its logs in `folder`, or in one that goes with it; `settings` are further ones of Spark's."""
    place = folder or Path(tempfile.mkdtemp(prefix="spark-cluster-"))
    place.mkdir(parents=True, exist_ok=True)
    cluster = SparkCluster(place, SETTINGS | settings)
    try:
        cluster.start(workers)
        yield cluster
    finally:
        cluster.stop()
        if folder is None:
            shutil.rmtree(place, ignore_errors=True)


def wait_for(what: str, holds: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """The first true answer of `holds`; AssertionError where there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def _json(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer)
