"""Nights under a real scheduler: scheduled, by hand, with a killed step, wrong input, a failed gate and a backfill."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from jobs.lake.lake import Lake
from jobs.lake.locks import lock_owners
from jobs.nights.airflow import DAG
from jobs.run import Run
from jobs.sample_shop import SIZES, write_shop
from jobs.steps import STEPS
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import RECOMMENDED_FOR_YOU
from tests.support.airflow_server import Airflow, running, wait_for
from tests.support.repository import REPOSITORY


def live(root: Path) -> date | None:
    """The night that analysts see."""
    lake = Lake(root)
    nights = (
        {row["as_of"] for row in lake.arrow(PUBLISHED, ("as_of",)).to_pylist()} if lake.exists(PUBLISHED) else {None}
    )
    assert len(nights) == 1
    return nights.pop()


def shop_up_to(today: date, folder: Path) -> Path:
    """Raw files of a tiny shop whose last day is yesterday."""
    monday = today - timedelta(days=today.weekday() + 35)
    size = dataclasses.replace(SIZES["tiny"], first_day=monday, days=(today - monday).days)
    write_shop(folder, size, lambda *_: None, folder.with_name("truth"))
    return folder


def repeat_a_product(root: Path, as_of: date) -> None:
    """Stage a night's customer lists with one product twice, as a bug might."""
    lake = Lake(root)
    rows = lake.arrow(RECOMMENDED_FOR_YOU, as_of=as_of).to_pylist()
    whole = next(row for row in rows if row["product_ids"])
    whole["product_ids"][-1] = whole["product_ids"][0]
    lake.replace_rows(RECOMMENDED_FOR_YOU, rows, Run(as_of, rows[0]["run_id"], datetime.now(UTC)))


@pytest.mark.soak
def test_nights_under_a_real_scheduler(source: Path, tmp_path: Path) -> None:
    # Airflow starts the last night that is due as soon as it reads the DAG.
    at = datetime.now(UTC) - timedelta(minutes=2)
    today = at.date()
    raw, root, alerts = shop_up_to(today, tmp_path / "raw"), tmp_path / "lake", tmp_path / "alerts"
    late = next((raw / "events").glob(f"{today - timedelta(days=1)}*"))
    shutil.move(late, tmp_path / late.name)
    settings = {
        "SCHEDULE": f"{at.minute} {at.hour} * * *",
        "RETRY_SECONDS": "2",
        "WAIT": "0.5",
        "ACCEPT": "customers,recommended_for_you_rows",  # nights before the live one had fewer customers
        "ALERT_COMMAND": f"cat >> {alerts}",
    }
    with running(root, source, raw, signal.SIGTERM, **settings) as airflow:
        wait_for("Airflow to read the DAG", airflow.ready)
        run = scheduled_without_its_last_file(airflow, today)
        shutil.move(tmp_path / late.name, late)
        assert airflow.ended(run) == "success"
        assert airflow.tasks(run)["ingest"]["try_number"] == 1
        assert "rows written online" in airflow.xcom(run, "publish", "return_value")
        assert live(root) == today
        by_hand_with_a_killed_step(airflow, today - timedelta(days=6))
        assert not alerts.exists(), "a file that came late, or a retry that helped, is nothing to be told of"
        a_failed_gate(airflow, alerts, run, today)
        backfill_of_two_nights(airflow, today)
        assert live(root) == today


@pytest.mark.soak
@pytest.mark.parametrize(("stop", "code", "step", "engine", "options"), [
    (signal.SIGTERM, 143, "train", "sail", []), (signal.SIGINT, 130, "lists", "sail", []),
    (signal.SIGHUP, 129, "ingest", "spark", []), (signal.SIGTERM, 143, "train", "sail", ["--airflow"]),
    (signal.SIGHUP, 129, "ingest", "spark", ["--airflow"]),
])  # fmt: skip
def test_a_night_that_is_stopped_leaves_no_process_and_no_lock(
    stop: signal.Signals, code: int, step: str, engine: str, options: list[str], source: Path, raw: Path, tmp_path: Path
) -> None:
    if engine == "spark" and not shutil.which("java"):
        pytest.skip("the engine spark needs Java")
    root = tmp_path / "lake"
    command = [sys.executable, "-m", "jobs", "night", "--as-of", str(SIZES["tiny"].as_of), "--root", str(root)]
    command += ["--source", str(source), "--raw", str(raw), "--config", "quick", "--engine", engine, *options]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        night = psutil.Process(process.pid)
        assert process.stdout is not None
        assert next((line for line in process.stdout if line.startswith(f"{step} ")), ""), "the step began"
        if engine == "spark":
            wait_for("the server", lambda: any("SparkConnectServer" in line for line in lines_of(night)), every=0.2)
        time.sleep(1)
        started = night.children(recursive=True)
        process.send_signal(stop)
        assert process.wait(15) == code
        assert "nothing is half done: the same command goes on" in process.stdout.read()
    assert started and [one for one in started if one.is_running()] == []
    assert lock_owners(root) == []


def lines_of(process: psutil.Process) -> list[str]:
    """The command lines of the processes below one."""
    below = [one for one in process.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    return [" ".join(one.cmdline()) for one in below]


def by_hand_with_a_killed_step(airflow: Airflow, night: date) -> None:
    """A night by hand whose sequences are killed once: they are tried again and it ends well, in its pools."""
    run = airflow.trigger(night.isoformat())
    airflow.kill_step("sequences")
    assert airflow.ended(run) == "success"
    tasks = airflow.tasks(run)
    assert {step: task["state"] for step, task in tasks.items()} == dict.fromkeys(STEPS, "success")
    assert [step for step, task in tasks.items() if task["try_number"] > 1] == ["sequences"]
    assert (tasks["sequences"]["pool"], tasks["train"]["pool"]) == ("nightrail_spark", "nightrail_gpu")
    assert airflow.xcom(run, "publish", "return_value").count("staged, not published") == 1


def scheduled_without_its_last_file(airflow: Airflow, night: date) -> str:
    """The scheduled run waits for its last file, holds no worker meanwhile, and says what it waits for."""
    run: str = wait_for("the scheduled run", lambda: airflow.runs("scheduled"))[0]["dag_run_id"]
    wait_for("the first look", lambda: airflow.tasks(run)["ingest"]["state"] == "up_for_reschedule")
    assert airflow.xcom(run, "ingest", "stopped").startswith(f"there is no raw file for {night - timedelta(days=1)}")
    assert live(airflow.root) is None
    return run


def a_failed_gate(airflow: Airflow, alerts: Path, run: str, night: date) -> None:
    """A night that turned bad is stopped by its gate, not retried, and Airflow shows figure and limit."""
    repeat_a_product(airflow.root, night)
    airflow.clear(run, only_failed=False, task_ids=["gate"], include_downstream=True)
    assert airflow.ended(run) == "failed"
    gate = airflow.tasks(run)["gate"]
    assert (gate["state"], gate["try_number"]) == ("failed", 2), "the second time that it ran, not a retry"
    why = airflow.xcom(run, "gate", "stopped")
    assert "recommended_for_you_repeats is 1, must be at most 0" in why and why.endswith("(exit code 3)")
    told = wait_for("the alert", lambda: alerts.exists() and alerts.read_text("utf-8"))
    assert told.startswith(f"nightrail: alert: the night {night} stopped at gate: GateFailed: ")
    assert told.count("\n") == 1


def backfill_of_two_nights(airflow: Airflow, today: date) -> None:
    """Two nights of the past, by one command: both are staged, neither is published."""
    nights = [today - timedelta(days=5), today - timedelta(days=4)]
    window = ("--from-date", nights[0].isoformat(), "--to-date", (nights[1] + timedelta(days=1)).isoformat())
    airflow.command("backfill", "create", "--dag-id", DAG, "--max-active-runs", "1", *window)
    runs = wait_for("the backfill's runs", lambda: airflow.runs("backfill"))
    assert len(runs) == 2
    assert {airflow.ended(run["dag_run_id"]) for run in runs} == {"success"}
    staged = airflow.xcom(runs[0]["dag_run_id"], "publish", "return_value")
    assert "staged, not published" in staged
    assert set(nights) <= set(Lake(airflow.root).nights(RECOMMENDED_FOR_YOU))
