"""Several nights at once: as if run one by one, going on where it stopped, catching up over a gap."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.config import quick
from jobs.errors import UserError
from jobs.ingest.figures import VERSION
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.nights.backfill import nights_between, run_nights
from jobs.nights.progress import StepLines
from jobs.steps import STEPS
from jobs.tables.records import INPUTS, RUNS
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS, POLICY
from tests.night.test_night_again import contents, differing
from tests.support.nights import FIRST, LakeFactory, Shop
from tests.support.repository import REPOSITORY

THREE = nights_between(FIRST - timedelta(days=2), FIRST)
SHORT = ("ingest", "sequences")
NewShop = Callable[[str], Shop]


@pytest.fixture(scope="module")
def own_raw(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny shop's raw files, to be added to."""
    return Path(shutil.copytree(raw, tmp_path_factory.mktemp("own_raw") / "raw"))


@pytest.fixture(scope="module")
def new_shop(
    own_raw: Path,
    source: Path,
    sail_engine: Engine,
    lake_factory: LakeFactory,
    tmp_path_factory: pytest.TempPathFactory,
) -> NewShop:
    """new_shop(name): an empty lake for the tiny shop, with one small candidate."""
    folder = tmp_path_factory.mktemp("backfill")
    config = quick(source, own_raw)
    config = replace(config, train=replace(config.train, candidates={"amf": {"epochs": 1}}))
    return lambda name: Shop(lake_factory(sail_engine, folder / name), config)


@pytest.fixture(scope="module")
def one_by_one(new_shop: NewShop) -> Shop:
    """Three nights up to their sequences, run by hand."""
    shop = new_shop("one_by_one")
    for night in THREE:
        shop.steps(SHORT, night)
    return shop


def backfilled(shop: Shop, nights: list[date], again: bool = False, stop_at: tuple[date, str] | None = None,
               steps: tuple[str, ...] = SHORT) -> tuple[list[tuple[date, str]], str]:  # fmt: skip
    """(what ran, what was said) of a backfill; it fails at `stop_at`."""
    ran: list[tuple[date, str]] = []
    said = io.StringIO()

    def run(night: date, step: str) -> None:
        if (night, step) == stop_at:
            raise UserError("the raw file is damaged")
        shop.step(step, night)
        ran.append((night, step))

    run_nights(shop.lake, nights, steps, shop.config, again, run, StepLines("backfill", lambda: 0.0, said))
    return ran, said.getvalue()


def test_a_backfill_stops_goes_on_and_equals_nights_run_one_by_one(new_shop: NewShop, one_by_one: Shop) -> None:
    shop = new_shop("backfilled")
    with pytest.raises(UserError) as stopped:
        backfilled(shop, THREE, stop_at=(THREE[1], "sequences"))
    assert f"stopped at the night {THREE[1]}, step sequences, with 1 of 3 nights done" in str(stopped.value)
    assert (
        f"the raw file is damaged. Put that right and give the same command again: it goes on with {THREE[1]}"
        in str(stopped.value)
    )
    ran, said = backfilled(shop, THREE)
    assert ran == [(night, step) for night in THREE[1:] for step in SHORT]
    assert f"1 of 3 nights are done already, {THREE[0]} to {THREE[0]}" in said and "nights 2/2" in said
    assert differing(contents(one_by_one), contents(shop)) == []


def test_nights_that_are_done_are_skipped_unless_something_changed(new_shop: NewShop, one_by_one: Shop,
                                                                  own_raw: Path, tmp_path: Path) -> None:  # fmt: skip
    shop = one_by_one.copy(tmp_path)
    before = contents(shop)
    assert backfilled(shop, THREE)[0] == []
    # A step run again by hand leaves what follows from it to be run, and every night behind it.
    shop.step("ingest", THREE[1])
    assert backfilled(shop, THREE)[0][0] == (THREE[1], "ingest")
    other = Shop(shop.lake, replace(shop.config, sequences=replace(shop.config.sequences, max_length=50)))
    assert len(backfilled(other, THREE[:1])[0]) == 2, "other settings are another run"
    assert len(backfilled(shop, THREE[:1], again=True)[0]) == 2
    after = contents(shop)
    for tables in (before, after):  # the run under other settings wrote its own run_id into events in between
        rows = tables[INPUTS.name]
        tables[INPUTS.name] = rows.filter(pc.not_equal(rows["figure"], VERSION))
    assert differing(before, after) == [], "all of it, run again, gives equal tables"
    late = own_raw / "events" / f"{THREE[0] - timedelta(days=9)}-late.csv.gz"
    shutil.copy(next((own_raw / "events").glob(f"{THREE[0] - timedelta(days=9)}*")), late)
    try:
        with pytest.raises(UserError, match="step ingest, with 0 of 1 nights done"):
            backfilled(shop, THREE[:1], stop_at=(THREE[0], "ingest"))
    finally:
        late.unlink()


def test_new_rules_are_a_reason_to_make_the_lists_again(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    assert backfilled(shop, [FIRST], steps=STEPS)[0] == []
    rule = {"rule_id": "r", "kind": "exclude", "attribute": "brand", "value": "x", "as_of": FIRST, "run_id": "x"}
    shop.lake.overwrite(POLICY, pa.Table.from_pylist([rule], schema=arrow_schema(POLICY)))
    with pytest.raises(UserError, match="step ingest, with 0 of 1 nights done"):
        backfilled(shop, [FIRST], stop_at=(FIRST, "ingest"), steps=STEPS)


def test_a_gap_of_missed_days_is_caught_up_by_the_next_night(new_shop: NewShop, one_by_one: Shop) -> None:
    shop = new_shop("gap")
    for night in (THREE[0], THREE[2]):
        shop.steps(SHORT, night)
    own = [name for name in EVENTS.names if name not in ("as_of", "run_id")]
    assert shop.lake.arrow(EVENTS, own).equals(one_by_one.lake.arrow(EVENTS, own))
    known = [name for name in CUSTOMER_SEQUENCES.names if name not in ("as_of", "run_id", "since", "events_version")]
    caught_up, daily = (s.lake.arrow(CUSTOMER_SEQUENCES, known, THREE[2]) for s in (shop, one_by_one))
    assert caught_up.equals(daily)


def test_a_killed_step_stays_in_the_ledger_as_running(one_by_one: Shop, tmp_path: Path) -> None:
    shop = one_by_one.copy(tmp_path)

    class Killed(BaseException):
        pass

    def progress(*_: object) -> None:
        raise Killed

    run = replace(shop.run_of(THREE[2]), progress=progress)
    from jobs.nights.ledger import run_step

    with pytest.raises(Killed):
        run_step("ingest", shop.lake, run, shop.config, "test", lambda: run.started_at)
    row = next(row for row in shop.rows(RUNS, THREE[2]) if row["step"] == "ingest")
    assert (row["status"], row["ended_at"], row["rows_out"]) == ("running", None, None)
    assert backfilled(shop, THREE)[0][0] == (THREE[2], "ingest"), "a night with a killed step is not done"


def test_the_ledger_has_seconds_and_the_versions_before_the_step(one_by_one: Shop) -> None:
    first, *_, last = (row for night in THREE for row in one_by_one.rows(RUNS, night) if row["step"] == "ingest")
    assert "events" not in json.loads(first["versions"])
    assert json.loads(last["versions"])["events"] < one_by_one.lake.version(EVENTS)
    assert all(row["seconds"] > 0 and row["memory_mb"] > 0 for row in (first, last))


def test_a_range_the_wrong_way_round_is_a_mistake() -> None:
    with pytest.raises(UserError, match="exchange them"):
        nights_between(FIRST, FIRST - timedelta(days=1))


# --- minutes


@pytest.mark.soak
def test_whole_nights_backfilled_equal_those_run_one_by_one(new_shop: NewShop) -> None:
    one, other = new_shop("whole_one"), new_shop("whole_other")
    for night in THREE:
        one.steps(STEPS, night)
    backfilled(other, THREE, steps=STEPS)
    assert differing(contents(one), contents(other)) == []
    assert backfilled(other, THREE, steps=STEPS)[0] == []


@pytest.mark.soak
def test_thirty_days_in_one_command(new_shop: NewShop, own_raw: Path) -> None:
    shop = new_shop("thirty")
    days = sorted({date.fromisoformat(path.name[:10]) for path in (own_raw / "events").iterdir()})
    first = days[0] + timedelta(days=1)
    for path in own_raw.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))
    nights = nights_between(first, FIRST)[-30:]
    ran, said = backfilled(shop, nights)
    assert len(ran) == 2 * len(nights) and len(nights) >= 25
    assert f"nights {len(nights)}/{len(nights)}" in said
    assert shop.lake.nights(CUSTOMER_SEQUENCES) == nights


@pytest.mark.soak
def test_a_backfill_that_is_killed_goes_on_where_it_was(own_raw: Path, source: Path, new_shop: NewShop) -> None:
    root = new_shop("killed").lake.root
    command = [
        sys.executable, "-m", "jobs", "backfill", "--from", str(THREE[0]), "--to", str(THREE[-1]), "--config", "quick",
        "--step", "ingest", "--step", "sequences", "--root", str(root), "--source", str(source), "--raw", str(own_raw),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        next(line for line in first.stdout if f"ingest: started for {THREE[1]}" in line)
        first.kill()
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=True)
    assert f"1 of 3 nights are done already, {THREE[0]} to {THREE[0]}" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "nightrail: backfill: done: 2 nights run, 1 were done already"
    config = quick(source, own_raw)
    shop, undisturbed = Shop(Lake(root), config), Shop(new_shop("undisturbed").lake, config)
    backfilled(undisturbed, THREE)
    assert differing(contents(undisturbed), contents(shop)) == []
