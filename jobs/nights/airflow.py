"""Runs the DAG of a night with Airflow's own runner, and a local Airflow with scheduler and UI."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from rich.console import Console

from jobs.errors import UserError
from jobs.lake.locks import LockOwner, one_airflow
from jobs.nights.night import NightPlan
from jobs.steps import GPU_POOL, SPARK_POOL

DAG = "nightly_recommendations"
POOLS = {SPARK_POOL: "Steps that run on Spark", GPU_POOL: "Training, encoding and lists"}
"""Airflow pools with their descriptions, of one slot each: one step of a kind at a time, of whichever night."""
WORKERS = 4
"""Processes of the local Airflow that wait for tasks; a night has one task at a time."""


def dag_of_a_night(plan: NightPlan, inherited: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The command that runs the DAG for one night, each step in a process of its own, and its environment."""
    # Nothing is waited for: a person looks on.
    environment = _environment(plan, inherited) | {"NIGHTRAIL_WAIT": "0"}
    return ["bash", "-c", f"airflow db migrate && exec airflow dags test {DAG} {plan.as_of}"], environment


def run_airflow(plan: NightPlan, port: int, owner: LockOwner, inherited: dict[str, str]) -> None:
    """Run Airflow's parts on loopback until interrupted; prints the UI's address and the file of its password.

    Not `airflow standalone`, whose scheduler and triggerer serve their logs on every network address. Raises UserError
    for a taken port, BusyError where an Airflow of the lake runs already.
    """
    if _answers(port):
        raise UserError(f"port {port} of 127.0.0.1 is taken, by another Airflow perhaps; end that, or give --port")
    when = inherited.get("NIGHTRAIL_SCHEDULE", "none" if plan.sample else "0 2 * * *")
    environment = _environment(plan, inherited) | {
        "AIRFLOW__CORE__PARALLELISM": str(WORKERS),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # On a busy machine tasks fail before they begin with the default of 5 s.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "NIGHTRAIL_POOLS": "1",
        "NIGHTRAIL_SCHEDULE": when,
    }
    log, home = plan.work / "logs" / "airflow.log", Path(environment["AIRFLOW_HOME"])
    with one_airflow(plan.work, owner) as lock:
        for folder in (log.parent, home):
            folder.mkdir(parents=True, exist_ok=True)
        Console().print(_introduction(plan, port, when, home), soft_wrap=True, highlight=False)
        with log.open("a", encoding="utf-8") as sink:
            _call(["airflow", "db", "migrate"], environment, sink, log)
            pools = home / "pools.json"
            pools.write_text(
                json.dumps(
                    {name: {"slots": 1, "description": text, "include_deferred": False} for name, text in POOLS.items()}
                )
            )
            _call(["airflow", "pools", "import", str(pools)], environment, sink, log)
            # The umask keeps the generated password from other users of the machine.
            parts = [_part(["api-server"], environment, sink, lock, umask=0o077)]
            # A task gets its work from the server: it fails where the server does not answer yet.
            while not _answers(port) and parts[0].poll() is None:
                time.sleep(0.5)
            for part in (["dag-processor"], ["scheduler", "--skip-serve-logs"], ["triggerer", "--skip-serve-logs"]):
                parts.append(_part(part, environment, sink, lock))
            while all(part.poll() is None for part in parts):
                time.sleep(1)
    raise UserError(f"a part of Airflow stopped; its output is in {log}")


def _environment(plan: NightPlan, inherited: dict[str, str]) -> dict[str, str]:
    # Airflow's parts start each other by the name `airflow`.
    path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
    return plan.environment(inherited) | {
        "PATH": path,
        "AIRFLOW_HOME": str(plan.work / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(plan.repository / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": str(plan.sample),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _introduction(plan: NightPlan, port: int, when: str, home: Path) -> str:
    begin = (
        "It starts paused, because the sample shop gets no new files by itself: unpause it (the switch beside its name "
        f"in the UI), and trigger it with the parameter as_of, such as {plan.as_of}. `python -m jobs sample` writes "
        "the sample's files."
        if plan.sample
        else "The last night that is due starts at once. A night needs the raw files of the day before, and waits for "
        "them. Trigger the DAG with the parameter as_of for any other night."
    )
    runs = "by hand only" if when == "none" else f"at {when} (cron, UTC)"
    return (
        f"Airflow starts on http://127.0.0.1:{port} (Ctrl-C stops it). User admin; its password is in "
        f"{home / 'simple_auth_manager_passwords.json.generated'}.\nThe DAG {DAG} runs {runs}, for {plan.raw} into "
        f"{plan.root}. {begin}"
    )


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _part(
    arguments: list[str], environment: dict[str, str], sink: TextIO, lock: int, umask: int = -1
) -> subprocess.Popen[bytes]:
    """Start one of Airflow's processes, which holds the lock as well, should it outlive this process."""
    return subprocess.Popen(
        _python_tool(["airflow", *arguments]),
        env=environment,
        stdout=sink,
        stderr=subprocess.STDOUT,
        umask=umask,
        pass_fds=(lock,),
    )


def _call(command: list[str], environment: dict[str, str], sink: TextIO, log: Path) -> None:
    done = subprocess.run(_python_tool(command), env=environment, stdout=sink, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise UserError(f"`{' '.join(command)}` failed with exit code {done.returncode}; its output is in {log}")


def _python_tool(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]
