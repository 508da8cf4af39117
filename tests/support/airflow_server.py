"""A real Airflow, started by `python -m jobs airflow`, and its REST interface as a test asks it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from jobs.nights.airflow import DAG
from tests.support.repository import REPOSITORY

WAIT = float(os.environ.get("NIGHTRAIL_SOAK_WAIT", "300"))
"""Seconds that one thing is waited for."""


def wait_for(what: str, found: Callable[[], Any], seconds: float = WAIT, every: float = 0.5) -> Any:
    """The first true answer; fails by name when there is none in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError):  # the server does not answer, or not yet with that
            if answer := found():
                return answer
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


@dataclass
class Airflow:
    """The running server."""

    root: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[str]
    _token: str = field(default="")

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str = "") -> Any:
        """The JSON answer of the REST interface; `body` is posted."""
        if not self._token and path != "/auth/token":
            passwords = json.loads(
                (self.root / "airflow" / "simple_auth_manager_passwords.json.generated").read_text("utf-8")
            )
            login = {"username": "admin", "password": passwords["admin"]}
            self._token = self.ask("/auth/token", login)["access_token"]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
            method=method or None,
        )
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.load(answer)

    def dag(self, path: str = "", body: dict[str, Any] | None = None) -> Any:
        """`ask` below the DAG."""
        return self.ask(f"/api/v2/dags/{DAG}{path}", body)

    def ready(self) -> bool:
        """Whether the server answers and has read the DAG."""
        assert self.process.poll() is None, "Airflow stopped"
        with suppress(OSError, KeyError, ValueError):
            return not self.dag()["is_paused"]
        return False

    def trigger(self, as_of: str) -> str:
        """Trigger a night by hand; returns the run's id."""
        run: str = self.dag("/dagRuns", {"logical_date": None, "conf": {"as_of": as_of}})["dag_run_id"]
        return run

    def runs(self, kind: str) -> list[dict[str, Any]]:
        """Runs of a kind: manual, scheduled or backfill."""
        found: list[dict[str, Any]] = self.dag(f"/dagRuns?run_type={kind}&limit=50")["dag_runs"]
        return found

    def ended(self, run: str) -> str:
        """success or failed, waited for."""

        def state() -> str:
            now: str = self.dag(f"/dagRuns/{run}")["state"]
            return now if now in ("success", "failed") else ""

        reached: str = wait_for(f"the end of {run}", state)
        return reached

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        """Step -> its task instance."""
        found = self.dag(f"/dagRuns/{run}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def xcom(self, run: str, step: str, key: str) -> str:
        """What a step left to be seen."""
        value: str = self.dag(f"/dagRuns/{run}/taskInstances/{step}/xcomEntries/{key}")["value"]
        return value

    def clear(self, run: str, **what: Any) -> None:
        """Have tasks of a run run again."""
        self.dag("/clearTaskInstances", {"dag_run_id": run, "dry_run": False, "reset_dag_runs": True} | what)

    def command(self, *arguments: str) -> str:
        """Output of Airflow's own command line."""
        airflow = str(Path(sys.executable).with_name("airflow"))
        done = subprocess.run([airflow, *arguments], env=self.environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    def kill_step(self, step: str) -> int:
        """Kill the process of a step of this lake as `kill -9` does, once it is there; returns its number."""

        def process() -> int:
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    words = (folder / "cmdline").read_bytes().split(b"\0")
                    ours = f"NIGHTRAIL_ROOT={self.root}".encode() in (folder / "environ").read_bytes().split(b"\0")
                    if ours and words[1:4] == [b"-m", b"jobs", step.encode()]:
                        return int(folder.name)
            return 0

        number: int = wait_for(f"the process of {step}", process, every=0.05)
        os.kill(number, signal.SIGKILL)
        return number


@contextmanager
def running(
    root: Path, source: Path, raw: Path, stop: signal.Signals = signal.SIGINT, **settings: str
) -> Iterator[Airflow]:
    """Airflow with the DAG on a lake, stopped as Ctrl-C does; no process of it is left then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "NIGHTRAIL"))}
    clean |= {f"NIGHTRAIL_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "jobs", "airflow", "--port", str(port), "--root", str(root), "--source",
               str(source), "--raw", str(raw), "--config", "quick"]  # fmt: skip
    mine = clean | {
        "AIRFLOW_HOME": str(root / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    with subprocess.Popen(command, env=clean, cwd=REPOSITORY, text=True) as process:
        try:
            yield Airflow(root, port, mine, process)
        finally:
            started = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(stop)
            assert process.wait(60) == 0
            assert [one for one in started if one.is_running()] == []
