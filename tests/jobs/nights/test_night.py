"""A night's process of steps: what is shown of it, how it ends, and what it is told."""

from __future__ import annotations

import gc
import os
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.cli.common import NIGHT_TOKEN, Place
from jobs.errors import AwayError, BusyError, DamageError, EngineLostError, GateError, StepError, UserError
from jobs.lake.lake import Lake
from jobs.nights import memory
from jobs.nights.night import NightPlan, run_night
from jobs.steps import STEPS
from tests.support.command_line import jobs

NIGHT = date(2026, 4, 6)
FAILED = "nightrail: lists: stopped: disk full"
GATE = "nightrail: gate: stopped: rows is 1, must be at least 2"
ENDS: dict[str, tuple[type[UserError], str]] = {
    f"echo '{GATE}'; exit 3": (GateError, "Step gate stopped: rows is 1, must be at least 2"),
    f"echo '{FAILED}   [airflow.task] x'; echo 'Command exited with return code 6'; exit 1": (AwayError, "disk full"),
    "echo 'nightrail: gate: failed: KeyError: 7'; exit 1": (StepError, "Step gate failed: KeyError: 7"),
    "echo 'nightrail: gate: started'; echo 'no memory'; kill -9 $$": (
        StepError, "Step gate was killed by signal 9; the log's last lines:\n.*no memory"),
    "exit 0": (StepError, "Step gate; the log's last lines"),
}  # fmt: skip
ENDS |= {f"exit {kind.exit_code}": (kind, "Step gate") for kind in (UserError, BusyError, EngineLostError, DamageError)}
"""What the process of the steps does after `lists` or before it -> how the night ends."""


@pytest.mark.parametrize("script", ENDS)
def test_a_night_ends_as_its_step_did(script: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind, why = ENDS[script]
    done = STEPS[: STEPS.index("lists" if FAILED in script else "gate")]
    before = "".join(f"echo 'nightrail: {step}: done in 1.0 s, 9 MB'; echo of a library;" for step in done)
    plan = NightPlan(NIGHT, tmp_path, tmp_path, tmp_path, tmp_path, "sail", "quick", tmp_path)
    with pytest.raises(UserError, match=rf"(?s)the night 2026-04-06 stopped. .*{why}") as stopped:
        run_night(plan, "", Lake(tmp_path), ["bash", "-c", before + script], plan.environment({}))
    assert type(stopped.value) is kind
    shown = capsys.readouterr().out
    assert shown.count("done in 1.0 s") == len(done) and "of a library" not in shown
    assert (tmp_path / "logs" / f"night-{NIGHT}.log").read_text("utf-8").count("of a library") == len(done)


def test_the_process_that_a_night_starts_runs_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    ran: list[tuple[str, date, str, dict[str, Any]]] = []

    def run_in(self: Place, lake: Lake, step: str, night: date, settings: Any, token: str, **changes: Any) -> None:
        ran.append((step, night, token, changes))

    monkeypatch.setattr(Place, "run_in", run_in)
    monkeypatch.setattr(memory, "hand_back_memory", lambda: None)
    monkeypatch.setattr(subprocess, "Popen", started.append)
    where = ("--source", "jobs/sources/sample.sql", "--raw", str(tmp_path), "--as-of", str(NIGHT))
    told = {NIGHT_TOKEN: "this:night", "NIGHTRAIL_ALLOW_EMPTY_DAY": "1", "NIGHTRAIL_ACCEPT": "customers,input_age"}
    done = jobs(tmp_path, "night", *where, **told)
    assert done.returncode == 0, done.stderr
    assert [step for step, *_ in ran] == list(STEPS)
    assert "compile_loops()" in started[0][-1], "a first night compiles beside its training"
    assert {(night, token) for _, night, token, _ in ran} == {(NIGHT, "this:night")}
    changes = {"ingest": {"allow_empty_day": True, "accepted": ["input_age"]}, "gate": {"accepted": ["customers"]}}
    assert {step: given for step, *_, given in ran if given} == changes


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not forget a peak")
def test_a_step_has_a_peak_of_its_own() -> None:
    held = np.ones(60_000_000)
    while_held = memory.peak_memory_mb()
    del held
    memory.hand_back_memory()
    gc.unfreeze()  # of the other tests
    assert memory.peak_memory_mb() < while_held - 400
