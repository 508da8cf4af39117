"""Which night `make night` runs where nobody says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.nights import airflow, night
from jobs.sample_shop import SIZES, write_days

SAMPLE = SIZES["sample"]


@pytest.mark.parametrize("further", [0, 2])
def test_the_night_is_the_one_after_the_samples_last_day(
    further: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[night.NightPlan] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(night, "run_night", lambda plan, *_: plans.append(plan))
    last = SAMPLE.days + further - 1
    write_days(Path("var/raw/sample"), SAMPLE, range(last, last + 1), lambda *_: None)
    done = CliRunner().invoke(app, ["night"])
    assert done.exit_code == 0, done.output
    assert [(plan.as_of, plan.sample) for plan in plans] == [(SAMPLE.date_of(SAMPLE.days + further), True)]


def test_only_the_samples_dag_starts_paused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[night.NightPlan] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(airflow, "run_airflow", lambda plan, *_: plans.append(plan))
    for options in ([], ["--raw", str(tmp_path), "--root", "own"]):
        done = CliRunner().invoke(app, ["airflow", *options])
        assert done.exit_code == 0, done.output
    assert [airflow.dag_of_a_night(plan, {})[1]["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] for plan in plans] == [
        "True",
        "False",
    ]
