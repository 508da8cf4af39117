"""What the gate counted of a night's lists is what reading them for it alone counts, and is used while it holds."""

from __future__ import annotations

from unittest.mock import patch

from jobs.gate import counts as list_counts
from jobs.gate.counts import counts_of, read_catalogue, read_counts, write_counts
from jobs.lake.snapshot import Snapshot
from jobs.tables.shop import LISTS, PEOPLE_ALSO_BOUGHT, STANDING, TOUCH_POINTS
from tests.support.nights import FIRST, SECOND, Shop


def test_the_gate_counts_what_reading_the_lists_alone_counts(copied_second: Shop) -> None:
    lake = copied_second.lake
    copied_second.steps(("gate",), SECOND)
    of_gate, catalogue = read_counts(lake, SECOND), read_catalogue(lake, SECOND)
    assert set(of_gate) == {table.name for table in TOUCH_POINTS}
    write_counts(lake, SECOND, {})
    alone = counts_of(lake, SECOND, TOUCH_POINTS, catalogue)
    assert alone == of_gate
    for name, counts in alone.items():
        assert counts.lists and counts.markets, name
        assert counts.products or name in [table.name for table in STANDING], name
        assert sum(counts.sources.values()) == sum(counts.brands.values()) == sum(counts.categories.values())


def test_the_page_takes_the_gates_counts_until_a_table_changes(copied_night: Shop) -> None:
    lake, catalogue = copied_night.lake, read_catalogue(copied_night.lake, FIRST)
    with patch.object(Snapshot, "encoded_nights", side_effect=AssertionError("lists were read again")):
        before = counts_of(lake, FIRST, LISTS, catalogue)
    copied_night.rewrite(PEOPLE_ALSO_BOUGHT, lambda rows: rows[1:])
    after = counts_of(lake, FIRST, LISTS, catalogue)
    name = PEOPLE_ALSO_BOUGHT.name
    assert after[name].lists == before[name].lists - 1
    assert {table: counts for table, counts in after.items() if table != name} == {
        table: counts for table, counts in before.items() if table != name
    }


def test_counts_of_older_code_are_shown_and_counted_again(copied_night: Shop) -> None:
    lake, place = copied_night.lake, list_counts._path(copied_night.lake, FIRST)
    place.write_text('{"people_also_bought": {"lists": 7, "sources": {"model": 70}}}', "utf-8")
    assert read_counts(lake, FIRST)["people_also_bought"].lists == 7
    assert counts_of(lake, FIRST, (PEOPLE_ALSO_BOUGHT,), {})["people_also_bought"].lists > 7


def test_counts_that_cannot_be_read_are_none(copied_night: Shop) -> None:
    lake, place = copied_night.lake, list_counts._path(copied_night.lake, FIRST)
    for text in ("{", "[]", '{"people_also_bought": 3}', '{"people_also_bought": {"sources": {}}}'):
        place.write_text(text, "utf-8")
        assert read_counts(lake, FIRST) == {}
    place.write_text('{"people_also_bought": {"lists": 1, "sources": {}, "of newer code": 2}}', "utf-8")
    assert read_counts(lake, FIRST)["people_also_bought"].lists == 1
