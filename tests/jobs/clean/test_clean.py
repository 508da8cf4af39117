"""Retention, compaction and vacuum: what must stay stays, what goes goes, and nothing happens twice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from jobs.clean.retention import DATED, RECORDS, Retention, RetentionConfig
from jobs.clean.step import CleanConfig, UpkeepConfig, execute, planned
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.live import live_table, publication, publications
from jobs.lake.rows import arrow_schema
from jobs.tables.impressions import IMPRESSIONS
from jobs.tables.records import MODELS, PUBLISHED, RUNS
from jobs.tables.shop import ALL, CUSTOMER_SEQUENCES, EVENTS, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from tests.support.nights_lake import add_night, changing, nth, row, run_of, written
from tests.support.repository import REPOSITORY
from tests.support.tables import assert_same_rows

THREE = CleanConfig(RetentionConfig(keep_nights=3, keep_models=1, keep_to_roll_back=1))
LAST = 8


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Nine nights, the last one live. Copy it before changing it."""
    return written(tmp_path_factory.mktemp("nine") / "lake")


@pytest.fixture
def lake(nine: Lake, tmp_path: Path) -> Lake:
    """The same, free to be cleaned."""
    return Lake(Path(shutil.copytree(nine.root, tmp_path / "lake")))


@pytest.fixture(scope="module")
def undisturbed(nine: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The nine nights after the last one cleaned up."""
    lake = Lake(Path(shutil.copytree(nine.root, tmp_path_factory.mktemp("undisturbed") / "lake")))
    execute(lake, run_of(LAST), THREE)
    return lake


@pytest.fixture
def cleaned(undisturbed: Lake, tmp_path: Path) -> Lake:
    """The same, free to be changed."""
    return Lake(Path(shutil.copytree(undisturbed.root, tmp_path / "lake")))


def nights_read(lake: Lake, nights: list[date], tables: tuple[Table, ...] = DATED) -> dict[tuple[str, date], pa.Table]:
    """Every night of every table as a reader gets it."""
    return {(table.name, night): lake.arrow(table, as_of=night) for table in tables for night in nights}


def versions(lake: Lake) -> dict[str, int]:
    """Delta version of every table that is there."""
    return {table.name: lake.version(table) for table in ALL if lake.exists(table)}


def dated(lake: Lake, folder: str) -> list[str]:
    """Nights of a dated directory."""
    return sorted(path.name.removeprefix("as_of=") for path in (lake.root / folder).iterdir())


def test_kept_nights_read_as_before_and_the_others_are_gone(nine: Lake, undisturbed: Lake) -> None:
    kept = [nth(6), nth(7), nth(8)]
    assert nights_read(undisturbed, kept) == nights_read(nine, kept)
    for table in (*RECORDS, EVENTS, MODELS):
        assert undisturbed.arrow(table) == nine.arrow(table)
    for table in DATED:
        # Night 5 is the last complete one of the tables of changes, so the kept nights need it.
        assert undisturbed.nights(table) == ([nth(5), *kept] if changing(table) else kept), table.name
    for folder in ("indexes", "reports"):
        assert dated(undisturbed, folder) == [str(night) for night in kept]


def test_a_chain_of_changes_stays_back_to_its_complete_night(lake: Lake) -> None:
    config = CleanConfig(RetentionConfig(keep_nights=5, keep_to_roll_back=1))
    before = nights_read(lake, [nth(4)])
    execute(lake, run_of(LAST), config)
    assert nights_read(lake, [nth(4)]) == before
    assert lake.nights(CUSTOMER_SEQUENCES)[0] == nth(0)
    assert lake.nights(YOU_MIGHT_ALSO_LIKE)[0] == nth(4)


def test_the_live_night_and_one_to_roll_back_to_stay_however_old(lake: Lake) -> None:
    live = lake.arrow(PUBLISHED)
    rows = live.set_column(live.schema.get_field_index("as_of"), "as_of", pa.array([nth(1)] * len(live), pa.date32()))
    lake.overwrite(PUBLISHED, rows)
    for place in range(4, 9):  # staged, and never through their gates
        lake.delta(next(t for t in RECORDS if t.name == "gates")).delete(f"as_of = '{nth(place)}'")
    before = nights_read(lake, [nth(1), nth(3)])
    execute(lake, run_of(LAST), THREE)
    assert nights_read(lake, [nth(1), nth(3)]) == before
    assert dated(lake, "indexes") == [str(nth(place)) for place in (1, 3, 6, 7, 8)]


def test_an_old_night_that_was_just_backfilled_does_not_clean_itself_or_a_later_one_away(cleaned: Lake) -> None:
    lake = cleaned
    before = dated(lake, "reports")
    for folder in ("indexes", "reports"):
        assert str(nth(2)) not in dated(lake, folder)
    shutil.rmtree(lake.root / "models" / "amf-2", ignore_errors=True)
    add_night(lake, 2)
    execute(lake, run_of(2), THREE)
    assert dated(lake, "reports") == [str(nth(2)), *before]
    execute(lake, run_of(LAST), THREE)
    assert dated(lake, "reports") == before


def test_models_go_unless_a_kept_night_uses_them(lake: Lake) -> None:
    (lake.root / "models" / ".amf-9.half").mkdir()
    execute(lake, run_of(LAST), CleanConfig(RetentionConfig(keep_nights=1, keep_models=2, keep_to_roll_back=1)))
    assert sorted(path.name for path in (lake.root / "models").iterdir()) == ["amf-7", "amf-8"]
    (lake.root / "models" / "by-hand").mkdir()
    execute(lake, run_of(LAST), CleanConfig(RetentionConfig(keep_nights=1, keep_models=1, keep_to_roll_back=1)))
    assert sorted(path.name for path in (lake.root / "models").iterdir()) == ["amf-8", "by-hand"]


def test_records_go_when_they_are_old_but_not_those_of_a_kept_night(lake: Lake) -> None:
    config = CleanConfig(RetentionConfig(keep_nights=3, keep_to_roll_back=1, keep_records_days=1))
    execute(lake, run_of(LAST), config)
    assert {table.name: lake.nights(table) for table in RECORDS if lake.exists(table)} == {
        name: [nth(6), nth(7), nth(8)] for name in ("rejected", "inputs", "gates", "runs")
    }


def test_events_go_only_where_somebody_says_so(lake: Lake) -> None:
    later = nth(LAST + 362)
    for days in (120, 121):
        shown = {"impression_id": f"{days}", "shown_date": later - timedelta(days=days)}
        lake.replace_rows(IMPRESSIONS, [shown], run_of(LAST), where=f"impression_id = '{days}'")
    execute(lake, replace(run_of(LAST), as_of=later), CleanConfig(RetentionConfig(events_days=366)))
    days = sorted(set(lake.arrow(EVENTS, ("event_date",))["event_date"].to_pylist()))
    assert (later - days[0]).days == 366 and days[-1] == nth(7)
    assert lake.arrow(IMPRESSIONS, ("impression_id",)).to_pylist() == [{"impression_id": "120"}]
    with pytest.raises(UserError, match="events_days = 30"):
        RetentionConfig(events_days=30)


def test_cleaning_again_does_nothing(undisturbed: Lake) -> None:
    after = versions(undisturbed)
    counts = execute(undisturbed, run_of(LAST), THREE)
    assert versions(undisturbed) == after
    assert counts.rows_in == 0
    assert "removed: 0 rows, 0 directories, 0 models; 0 files fewer by compaction, 0 old files" in counts.note


def test_what_would_go_is_listed_and_stays(lake: Lake) -> None:
    before, files = versions(lake), sorted(lake.root.rglob("*"))
    lines = list(planned(lake, run_of(LAST), THREE))
    assert versions(lake) == before and sorted(lake.root.rglob("*")) == files
    assert lines[0] == f"kept: 3 nights, {nth(6)} to {nth(8)}"
    assert f"rows: 18 of you_might_also_like, of 6 nights, {nth(0)} to {nth(5)}" in lines
    assert f"directory: reports/as_of={nth(0)}, 0.0 MB" in lines
    counts = execute(lake, run_of(LAST), THREE)
    assert counts.rows_in > 0 and "3 nights kept" in counts.note
    assert counts.rows_in == sum(int(line.split()[1]) for line in lines if line.startswith("rows: "))


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from jobs.clean.step import execute
from jobs.lake.lake import Lake
from tests.support.nights_lake import run_of
from tests.jobs.clean.test_clean import LAST, THREE
left = [int(sys.argv[2])]
def progress(*_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
execute(Lake(Path(sys.argv[1])), replace(run_of(LAST), progress=progress), THREE)
"""


@pytest.mark.parametrize("call", [3, 20])
def test_killed_anywhere_it_is_run_again(call: int, nine: Lake, undisturbed: Lake, lake: Lake) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(lake.root), str(call)], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    kept = [nth(6), nth(7), nth(8)]
    assert nights_read(lake, kept) == nights_read(nine, kept), "kept nights read as before, also half-way"
    execute(lake, run_of(LAST), THREE)
    for table in (*DATED, *RECORDS, EVENTS):
        if nine.exists(table):
            assert_same_rows(lake.arrow(table), undisturbed.arrow(table), (table.name, "undisturbed"))
    assert dated(lake, "indexes") == dated(undisturbed, "indexes")


# --- files


def crowd(lake: Lake, files: int) -> None:
    """One partition of events with that many files."""
    rows = lake.arrow(EVENTS).to_pylist()
    for n in range(files):
        event = {k: v for k, v in rows[0].items() if k not in ("as_of", "run_id")} | {"event_id": f"late-{n}"}
        lake.replace_rows(EVENTS, [event], run_of(LAST), where=f"event_id = 'late-{n}'")


def files_of(lake: Lake, table: Table) -> int:
    """Data files on disk."""
    return len(list(lake.path(table).rglob("*.parquet")))


def test_crowded_partitions_become_one_file_with_the_same_rows(lake: Lake) -> None:
    crowd(lake, 9)
    before, rows, version = files_of(lake, EVENTS), lake.arrow(EVENTS), lake.version(EVENTS)
    paths = DeltaTable(str(lake.path(EVENTS))).file_uris()
    counts = execute(lake, run_of(LAST), THREE)
    assert lake.arrow(EVENTS) == rows
    now = DeltaTable(str(lake.path(EVENTS))).file_uris()
    assert len(now) <= len(paths) - 9
    assert int(re.search(r"(\d+) files fewer", counts.note)[1]) >= 9  # type: ignore[index]
    # Who reads the version of before goes on reading it.
    assert files_of(lake, EVENTS) > before
    old = DeltaTable(str(lake.path(EVENTS)), version=version).to_pyarrow_table()
    assert old.num_rows == rows.num_rows


def age(lake: Lake, table: Table, hours: float) -> None:
    """Let everything that was removed from a table have been removed so many hours ago."""
    for file in (lake.path(table) / "_delta_log").glob("*.json"):
        text = file.read_text("utf-8")
        for found in set(re.findall(r'"deletionTimestamp":(\d+)', text)):
            text = text.replace(found, str(int(found) - int(hours * 3_600_000)))
        file.write_text(text, "utf-8")


def test_old_files_are_vacuumed_after_their_hours_and_half_written_ones_too(cleaned: Lake) -> None:
    lake = cleaned
    orphans = [lake.path(RUNS) / f"part-00000-{n}.snappy.parquet" for n in ("young", "old")]
    for orphan in orphans:
        orphan.write_bytes(b"half")
    os.utime(orphans[1], (time.time() - 200 * 3_600,) * 2)
    lake.delta(PUBLISHED).delete(f"surface = '{YOU_MIGHT_ALSO_LIKE.name}'")  # nobody is told to read its old version
    before = files_of(lake, YOU_MIGHT_ALSO_LIKE)
    age(lake, YOU_MIGHT_ALSO_LIKE, 160)
    execute(lake, run_of(LAST), THREE)
    assert files_of(lake, YOU_MIGHT_ALSO_LIKE) == before
    assert [orphan.exists() for orphan in orphans] == [True, False]
    age(lake, YOU_MIGHT_ALSO_LIKE, 10)
    assert any("obsolete ones of you_might_also_like" in line for line in planned(lake, run_of(LAST), THREE))
    execute(lake, run_of(LAST), THREE)
    assert files_of(lake, YOU_MIGHT_ALSO_LIKE) == 3
    assert lake.nights(YOU_MIGHT_ALSO_LIKE) == [nth(6), nth(7), nth(8)]


def test_published_rows_outlive_their_hours_where_the_night_was_made_again(lake: Lake) -> None:
    live = publication(lake)
    before = {table: live_table(lake.root, table.name) for table in (RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE)}
    rows = [row(YOU_MIGHT_ALSO_LIKE, "staged again", product_ids=["staged again"])]
    lake.replace_rows(YOU_MIGHT_ALSO_LIKE, rows, run_of(LAST))
    for _ in range(2):
        execute(lake, run_of(LAST), THREE)
        for table in before:
            age(lake, table, 1_000)
    for table, published in before.items():
        assert live_table(lake.root, table.name).equals(published)
    now = publication(lake)
    assert live and now and now.versions[RECOMMENDED_FOR_YOU.name] > live.versions[RECOMMENDED_FOR_YOU.name]
    assert now.versions[YOU_MIGHT_ALSO_LIKE.name] == live.versions[YOU_MIGHT_ALSO_LIKE.name]
    assert files_of(lake, RECOMMENDED_FOR_YOU) < files_of(lake, YOU_MIGHT_ALSO_LIKE), "versions of the former keep up"


def test_a_publication_goes_with_its_night(lake: Lake) -> None:
    rows = lake.arrow(PUBLISHED).to_pylist()
    past = [{"as_of": nth(night), "live": False, "published_at": run_of(night).started_at} for night in (2, 7)]
    older = [one | changed for one in rows for changed in past]
    lake.overwrite(PUBLISHED, pa.Table.from_pylist([*older, *rows], schema=arrow_schema(PUBLISHED)))
    execute(lake, run_of(LAST), THREE)
    assert [(one.night, one.live) for one in publications(lake)] == [(nth(7), False), (nth(8), True)]


def test_logs_are_summed_up(lake: Lake) -> None:
    execute(lake, run_of(LAST), CleanConfig(upkeep=UpkeepConfig(checkpoint_commits=2)))
    last = json.loads((lake.path(RUNS) / "_delta_log" / "_last_checkpoint").read_text("utf-8"))
    assert last["version"] == lake.version(RUNS)


@pytest.mark.parametrize("wrong", [{"vacuum_hours": 0}, {"compact_files": 1}, {"checkpoint_commits": 0}])
def test_files_are_never_taken_from_under_their_readers(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))} = "):
        UpkeepConfig(**wrong)  # type: ignore[arg-type]


def test_nothing_is_kept_of_an_empty_lake(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    assert Retention(lake, nth(0), RetentionConfig()).kept == set()
    assert execute(lake, run_of(0), CleanConfig()).rows_in == 0
