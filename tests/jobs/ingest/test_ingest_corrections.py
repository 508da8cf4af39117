"""Events that come late, again, otherwise or not any more; and an ingest that is cut short between two commits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.ingest import figures as figures
from jobs.ingest import step as ingest
from jobs.ingest.figures import COLUMNS
from jobs.lake.lake import Lake
from jobs.run import Counts
from jobs.tables.records import CORRECTED, INPUTS, REJECTED
from jobs.tables.shop import EVENTS
from jobs.tables.table import Table
from tests.conftest import lake_on, run_of
from tests.support.tables import INGESTED, assert_same_rows, snapshot, write_text

SELECT = """--! late_days = 5
--! max_rejected_share = 0.6
-- events
SELECT id AS event_id, who AS customer_id, what AS product_id, 'click' AS event_type, ts AS event_ts, price,
       CASE WHEN state = 'void' THEN 'void' END AS excluded
FROM events;
"""
FIRST = date(2026, 3, 2)


def night_of(number: int) -> date:
    """The night after a numbered day."""
    return FIRST + timedelta(days=number)


class Shop:
    """A drop zone with one file a day, whose rows a test writes as `id customer product day [price] [state]`."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake, self.folder, self.raw = lake, folder, folder / "raw"
        self.config = ingest.IngestConfig(write_text(folder / "shop.sql", SELECT), self.raw)

    def deliver(self, number: int, *rows: str, pad: int = 0) -> None:
        """The file of a day; `pad` empty lines give it another size."""
        lines = []
        for row in rows:
            words = row.split()
            event, who, what, day, price, state = words if len(words) == 6 else [*words, "1", "ok"]
            lines.append(f"{event},{who},{what},{night_of(int(day)) - timedelta(days=1)}T10:00:00Z,{price},{state}\n")
        name = f"{night_of(number) - timedelta(days=1)}.csv"
        write_text(self.raw / "events" / name, "id,who,what,ts,price,state\n" + "".join(lines) + "\n" * pad)

    def night(self, number: int) -> Counts:
        """Ingest the night after a day."""
        return ingest.execute(self.lake, run_of(night_of(number)), self.config)

    def rows(self, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of a table's rows in key order; nights as the number of their day."""
        found = self.lake.arrow(table, columns).to_pylist()
        plain = [tuple((v - FIRST).days if isinstance(v, date) else v for v in row.values()) for row in found]
        return sorted(plain, key=str)

    def figure(self, number: int, name: str, part: str = "all") -> float | None:
        """A figure of a night's input."""
        rows = self.lake.arrow(INPUTS, as_of=night_of(number)).to_pylist()
        return next((row["value"] for row in rows if (row["figure"], row["slice"]) == (name, part)), None)


@pytest.fixture
def shop(sail_lake: Lake, tmp_path: Path) -> Shop:
    """Two days, two nights: e1 and e2 on day 1, e3 on day 2."""
    made = Shop(sail_lake, tmp_path)
    made.deliver(1, "e1 C1 P1 1", "e2 C2 P2 1")
    made.night(1)
    made.deliver(2, "e3 C1 P3 2")
    made.night(2)
    return made


def correct(shop: Shop) -> Counts:
    """Day 1 is delivered again: e1 is as it was, e2 has another product, e4 is new; read with day 3."""
    shop.deliver(1, "e1 C1 P1 1", "e2 C2 P9 1", "e4 C4 P4 1")
    shop.deliver(3, "e5 C5 P5 3")
    return shop.night(3)


AFTER = [("e1", "P1", 1), ("e2", "P9", 3), ("e3", "P3", 2), ("e4", "P4", 3), ("e5", "P5", 3)]


def test_a_day_that_is_delivered_again_corrects_its_events(shop: Shop) -> None:
    counts = correct(shop)
    assert shop.rows(EVENTS, "event_id", "product_id", "as_of") == AFTER
    assert shop.rows(CORRECTED, "event_id", "product_id", "first_as_of", "as_of") == [("e2", "P2", 1, 3)]
    assert shop.rows(REJECTED, "reason") == [], "a re-delivered row is no fault"
    assert counts.note == "3 events from 2 new files; 1 corrected events; 1 rows belong to other nights"
    found = {name: shop.figure(3, name) for name in (figures.EVENTS_READ, figures.CORRECTED, figures.KNOWN)}
    assert found == {"events": 3, "corrected events": 1, "known events": 1}


def test_nights_made_again_after_a_correction_leave_every_table_as_it_was(shop: Shop) -> None:
    correct(shop)
    before, version = snapshot(shop.lake), shop.lake.version(EVENTS)
    shop.night(3)
    for name, table in snapshot(shop.lake).items():
        assert_same_rows(table, before[name], (f"{name} again", "before"))
    assert shop.lake.version(EVENTS) == version, "equal rows are not written again"
    shop.night(1)
    assert shop.rows(EVENTS, "event_id", "product_id", "as_of") == AFTER, "what the later night read stands"
    assert shop.rows(CORRECTED, "event_id", "product_id", "first_as_of", "as_of") == [("e2", "P2", 1, 3)]


def test_a_correction_that_is_taken_back_gives_the_old_row_back(shop: Shop) -> None:
    correct(shop)
    shop.deliver(1, "e1 C1 P1 1", "e2 C2 P2 1", "e4 C4 P4 1", pad=3)
    shop.night(3)
    assert shop.rows(EVENTS, "event_id", "product_id", "as_of") == [
        ("e1", "P1", 1),
        ("e2", "P2", 1),
        ("e3", "P3", 2),
        ("e4", "P4", 3),
        ("e5", "P5", 3),
    ]
    assert shop.rows(CORRECTED, "event_id") == []


def test_an_event_moved_to_another_day_is_one_event(shop: Shop) -> None:
    shop.deliver(2, "e3 C1 P3 1", "e6 C1 P3 2")
    shop.deliver(3, "e5 C5 P5 3")
    shop.night(3)
    assert shop.rows(EVENTS, "event_id", "event_date") == [("e1", 0), ("e2", 0), ("e3", 0), ("e5", 2), ("e6", 1)]


def test_an_event_that_the_source_excludes_now_is_retracted(shop: Shop) -> None:
    shop.deliver(3, "e2 C2 P2 1 1 void", "e5 C5 P5 3")
    assert "1 retracted events" in shop.night(3).note
    assert [row[0] for row in shop.rows(EVENTS, "event_id")] == ["e1", "e3", "e5"]
    assert shop.rows(CORRECTED, "event_id", "first_as_of", "as_of") == [("e2", 1, 3)]
    shop.night(1)
    assert [row[0] for row in shop.rows(EVENTS, "event_id")] == ["e1", "e3", "e5"], "the later night's word stands"
    shop.night(3)
    assert shop.rows(CORRECTED, "event_id", "first_as_of", "as_of") == [("e2", 1, 3)]


def test_late_events_are_taken_up_to_a_limit_and_counted(shop: Shop) -> None:
    shop.deliver(9, "in C1 P1 4", "out C1 P1 3", "e9 C1 P1 9")
    shop.night(9)
    assert [row[0] for row in shop.rows(EVENTS, "event_id")] == ["e1", "e2", "e3", "e9", "in"]
    assert shop.rows(REJECTED, "reason") == [("more than 5 days late",)]
    assert (shop.figure(9, figures.LATE), shop.figure(9, figures.REJECTED)) == (1, 1)


def test_the_figures_of_an_input_are_what_was_delivered(shop: Shop) -> None:
    correct(shop)
    rows = shop.lake.arrow(INPUTS, as_of=night_of(3)).to_pylist()
    assert {(row["figure"], row["slice"]): row["value"] for row in rows if row["figure"] != COLUMNS} == {
        ("raw files", "all"): 2,
        ("events", "all"): 3,
        ("events", "market all"): 3,
        ("events", "type click"): 3,
        ("late events", "all"): 0,
        ("corrected events", "all"): 1,
        ("retracted events", "all"): 0,
        ("known events", "all"): 1,
        ("rejected rows", "all"): 0,
        ("rejected rows", "select events"): 0,
        ("excluded rows", "all"): 0,
        ("customers", "all"): 3,
        ("mean event price", "all"): 1.0,
        ("share of nulls", "column events.event_id"): 0,
        ("share of nulls", "column events.market"): 1,
        ("share of nulls", "column events.basket_id"): 1,
        ("share of nulls", "column events.quantity"): 1,
        ("share of nulls", "column events.price"): 0,
        ("catalogue products", "all"): 5,
        ("mean product price", "all"): 1.0,
        ("available pairs", "all"): 5,
        ("available pairs", "market all"): 5,
        ("days since newest event", "all"): round(14 / 24, 6),
        ("events version", "all"): 3,
        **{
            ("share of nulls", f"column catalogue.{name}"): 1.0
            for name in ("brand", "category", "department", "colour", "currency", "image_url")
        },
        ("share of nulls", "column catalogue.price"): 0,
        ("share of nulls", "column catalogue.launched_at"): 0,
    }


def test_a_night_whose_files_are_gone_is_not_made_again(shop: Shop) -> None:
    for day in (3, 4):
        shop.deliver(day, f"x{day} C1 P1 {day}")
    shop.night(4)
    before = shop.lake.arrow(EVENTS)
    (shop.raw / "events" / f"{night_of(2)}.csv").unlink()
    with pytest.raises(UserError, match=f"had read 2 raw files, of which 1 are not there .*{night_of(2)}.csv"):
        shop.night(4)
    assert_same_rows(shop.lake.arrow(EVENTS), before)


# --- killed between two commits


class CutError(Exception):
    """The process ends here."""


def cut_after(lake: Lake, commits: int, do: Callable[[], Any]) -> bool:
    """Run `do` and end it after so many commits; True where it ended by itself."""
    left = commits

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                raise CutError
            left -= 1
            return write(*given, **named)

        return call

    engine = lake.engine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "replace", counted(engine.replace))
        patch.setattr(lake, "replace", counted(lake.replace))
        try:
            do()
        except CutError:
            return False
    return True


def copy_of(shop: Shop, folder: Path) -> Shop:
    """The same lake and drop zone, free to be damaged."""
    shutil.copytree(shop.lake.root, folder / "lake")
    shutil.copytree(shop.raw, folder / "raw")
    return Shop(lake_on(shop.lake.engine, folder / "lake"), folder)


@pytest.mark.soak
def test_an_ingest_that_is_cut_short_loses_nothing(shop: Shop, tmp_path: Path) -> None:
    """After each of its commits: run again it ends as if undisturbed; and where only the next night is run, every
    event and every correction is there."""
    whole = copy_of(shop, tmp_path / "whole")
    correct(whole)
    undisturbed = snapshot(whole.lake)
    whole.deliver(4, "e7 C1 P7 4")
    whole.night(4)
    wanted = {row[:2] for row in whole.rows(EVENTS, "event_id", "product_id")}
    for commits in range(20):
        cut = copy_of(shop, tmp_path / f"cut{commits}")
        ended = cut_after(cut.lake, commits, lambda cut=cut: correct(cut))  # type: ignore[misc]
        next_only = copy_of(cut, tmp_path / f"next{commits}")
        cut.night(3)
        for name, table in snapshot(cut.lake).items():
            assert_same_rows(table, undisturbed[name], (f"{name} after {commits} commits and again", "undisturbed"))
        next_only.deliver(4, "e7 C1 P7 4")
        next_only.night(4)
        assert {row[:2] for row in next_only.rows(EVENTS, "event_id", "product_id")} == wanted, commits
        assert {row[:2] for row in next_only.rows(CORRECTED, "event_id", "product_id")} == {("e2", "P2")}
        if ended:
            break
    assert commits == len(INGESTED) + 2, "one commit a table, one for the columns of the files, one for the gates"
