"""What `python -m jobs status` says: states, figures, what is live and what can be gone back to."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from rich.console import Console

from jobs.checks import Outcomes
from jobs.cli.status import show
from jobs.lake import locks
from jobs.lake.lake import Lake
from jobs.nights.status import status_of
from jobs.tables.records import GATES, RUNS
from tests.support.command_line import jobs
from tests.support.nights_lake import nth, run_of, written
from tests.support.repository import REPOSITORY
from tests.support.toy_shop import HOSTILE

NOW = run_of(4).started_at + timedelta(hours=10)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Four nights, the third one live."""
    return written(tmp_path_factory.mktemp("four") / "lake", nights=4, live=2)


@pytest.fixture
def lake(four: Lake, tmp_path: Path) -> Lake:
    """The same, free to be changed."""
    return Lake(Path(shutil.copytree(four.root, tmp_path / "lake")))


def said(lake: Lake, nights: int = 14) -> str:
    """The status as plain text."""
    console = Console(file=io.StringIO(), width=200, color_system=None)
    show(status_of(lake, nights, NOW), "Online store: as said.", console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def record(lake: Lake, place: int, step: str, **given: object) -> None:
    """A step's row in the ledger."""
    run = run_of(place)
    row = {"step": step, "started_at": run.started_at} | given
    lake.replace_rows(RUNS, [row], run, where=f"run_id = '{run.run_id}' AND step = '{step}'")


def test_what_is_live_how_old_it_is_and_what_can_be_gone_back_to(four: Lake) -> None:
    found = status_of(four, 14, NOW)
    assert (found.live, found.hours_old) == (nth(2), 60.0)
    assert [one.night for one in found.back] == [nth(3), nth(1), nth(0)]
    lines = said(four).splitlines()
    assert lines[0] == f"Live: the night of {nth(2)} since {nth(2)} 02:00 UTC; it knows nothing of the last 60 hours"
    assert lines[1] == "Online store: as said."
    assert lines[2] == f"Can be rolled back to: {nth(3)}, staged; {nth(1)}, staged; {nth(0)}, staged"
    assert lines[3] == "No process writes to the lake."


def test_a_line_a_night_newest_first(four: Lake) -> None:
    nights = [night.as_of for night in status_of(four, 3, NOW).nights]
    assert nights == [nth(3), nth(2), nth(1)]
    live = next(line for line in said(four, 3).splitlines() if line.startswith(f"{nth(2)} live"))
    assert live.split()[2:5] == ["5.0", "6.0", "7.0"] and "amf-2" in live


def test_failed_killed_and_running_steps_are_told_apart(lake: Lake) -> None:
    record(lake, 3, "gate", status="failed", note=f"GateError: {HOSTILE} [bold]", seconds=3.0)
    record(lake, 3, "publish", status="running")
    states = {name: step.state for name, step in status_of(lake, 1, NOW).nights[0].steps.items()}
    assert (states["lists"], states["gate"], states["publish"]) == ("done", "failed", "killed")
    with locks.writing(lake.root, locks.here("publish", str(nth(3)), "2026-04-04 02:00:00 UTC")):
        assert status_of(lake, 1, NOW).nights[0].steps["publish"].state == "running"
        assert f"Writing to the lake: publish of {nth(3)}, process " in said(lake)
    text = said(lake)
    assert "killed" in text and HOSTILE in text and "[bold]" in text


def test_gates_that_failed_and_gates_that_were_let_pass(lake: Lake) -> None:
    outcomes = (("a_full", True, False), ("b_churn", True, True), ("c_rows", False, False))
    gates = [
        {"gate": name, "value": 0.1, "rule": "at least 0.9", "passed": passed, "accepted": accepted}
        for name, passed, accepted in outcomes
    ]
    lake.replace_rows(GATES, gates, run_of(3))
    night = status_of(lake, 1, NOW).nights[0]
    assert night.gates == Outcomes(3, ("c_rows",), ("b_churn",))
    assert "1 of 3 passed; failed: c_rows; accepted: b_churn" in " ".join(said(lake).split())


def test_a_lake_from_before_the_ledger_had_seconds_is_read_and_left_as_it_is(lake: Lake) -> None:
    rows = lake.arrow(RUNS).drop_columns(["seconds", "versions"])
    shutil.rmtree(lake.path(RUNS))
    from deltalake import write_deltalake

    write_deltalake(str(lake.path(RUNS)), rows)
    assert status_of(lake, 1, NOW).nights[0].steps["ingest"].seconds == 5.0
    assert lake.version(RUNS) == 0


def test_an_empty_lake_has_a_status(tmp_path: Path) -> None:
    assert said(Lake(tmp_path)).splitlines() == [
        "Nothing is live yet.",
        "Online store: as said.",
        "Can be rolled back to: nothing",
        "No process writes to the lake.",
        "The ledger has no night yet.",
    ]
    (tmp_path / "tables").mkdir()
    assert "NIGHTRAIL_ROOT names another" in jobs(tmp_path, "status").stdout
    assert [path.name for path in tmp_path.rglob("*")] == ["tables"], "who only looks leaves nothing behind"


def test_it_starts_neither_spark_nor_torch(four: Lake) -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\nfrom jobs.lake.lake import Lake\n"
        "from jobs.nights.status import status_of\nstatus_of(Lake(Path(sys.argv[1])), 14, datetime.now(UTC))\n"
        "print([m for m in ('torch', 'feast', 'pysail', 'matplotlib', 'numba', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(four.root)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
