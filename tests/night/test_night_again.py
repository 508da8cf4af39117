"""The same night again, a new night, a rollback and a backfill: what changes and what must not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.config import quick
from jobs.errors import GateError
from jobs.lake.engine import Engine
from jobs.lake.live import live_night
from jobs.publish.step import rollbacks
from jobs.steps import STEPS
from jobs.tables.records import CHAMPIONS, MODELS, PUBLISHED, RUNS
from jobs.tables.shop import ALL, RECOMMENDED_FOR_YOU
from tests.support.clock import tick
from tests.support.nights import FIRST, SECOND, STAGING, LakeFactory, Shop

TIMED = {PUBLISHED.name, RUNS.name, CHAMPIONS.name}
"""Tables that hold times of the run itself."""
COMPUTED = tuple(table for table in ALL if table.name not in TIMED)


def in_one_order(rows: pa.Table) -> pa.Table:
    """Rows of a table in an order that their content alone decides, also where it has no key."""
    plain = [name for name in rows.schema.names if not pa.types.is_nested(rows.schema.field(name).type)]
    return rows.sort_by([(name, "ascending") for name in plain])


def contents(shop: Shop, *nights: object) -> dict[str, pa.Table]:
    """Every computed table's rows of some nights (all without any), byte for byte comparable."""
    found = {}
    for table in COMPUTED:
        rows = shop.lake.arrow(table)
        if nights:
            rows = rows.filter(pc.is_in(rows["as_of"], value_set=pa.array(nights, pa.date32())))
        found[table.name] = in_one_order(rows)
    return found


def differing(left: dict[str, pa.Table], right: dict[str, pa.Table]) -> list[str]:
    """Names of the tables that are not equal."""
    assert left.keys() == right.keys()
    return [name for name in left if not left[name].equals(right[name])]


def test_the_same_commands_again_give_the_same_tables(night: Shop, copied_night: Shop) -> None:
    counts = copied_night.steps()
    assert "the last comparison is 0 days old" in counts["train"].note
    # The gates compare with what is live now, so they alone may say more than before.
    assert set(differing(contents(night), contents(copied_night))) <= {"gates"}
    assert len(copied_night.rows(RUNS)) == len(STEPS), "a step's row in the ledger is replaced, not added"


@pytest.mark.soak
def test_two_fresh_lakes_hold_the_same_bytes(
    raw: Path, source: Path, sail_engine: Engine, lake_factory: LakeFactory, tmp_path: Path
) -> None:
    shops = []
    for name in ("one", "other"):
        config = quick(source, raw)
        # Only the faster candidate: training it twice shows the same as training both twice.
        config = replace(config, train=replace(config.train, candidates={"amf": {"epochs": 2}}))
        shop = Shop(lake_factory(sail_engine, tmp_path / name), config)
        shop.steps(STAGING)
        shops.append(shop)
    one, other = (contents(shop) for shop in shops)
    assert one[RECOMMENDED_FOR_YOU.name].num_rows > 0
    assert differing(one, other) == []


def test_a_new_night_leaves_the_rows_of_others_alone(night: Shop, second_night: Shop) -> None:
    assert differing(contents(night, FIRST), contents(second_night, FIRST)) == []
    assert second_night.lake.nights(RECOMMENDED_FOR_YOU) == [FIRST, SECOND]


def test_a_new_night_reads_only_the_new_days_files(second_night: Shop) -> None:
    note = next(row["note"] for row in second_night.rows(RUNS, SECOND) if row["step"] == "ingest")
    assert "3 new files" in note


def test_a_young_champion_serves_the_new_night(night: Shop, second_night: Shop) -> None:
    note = next(row["note"] for row in second_night.rows(RUNS, SECOND) if row["step"] == "train")
    champion = next(row["model_id"] for row in night.rows(MODELS) if row["champion"])
    assert note.startswith(f"{champion} serves: the last comparison is 1 days old")
    assert second_night.rows(MODELS, SECOND) == []
    assert {row["model_id"] for row in second_night.rows(RECOMMENDED_FOR_YOU, SECOND)} == {champion}


def test_an_old_champion_is_challenged(copied_second: Shop) -> None:
    counts = copied_second.step("train", SECOND, retrain_days=1, candidates={"amf": {"epochs": 1}})
    assert "it serves" not in counts.note
    assert [row["champion"] for row in copied_second.rows(MODELS, SECOND)] == [True]


def online_lists(shop: Shop, as_of: date) -> list[tuple[str, list[str]]]:
    """(night, products) as services get them, for each list of a night."""
    keys = [{name: row[name] for name in RECOMMENDED_FOR_YOU.key} for row in shop.rows(RECOMMENDED_FOR_YOU, as_of)]
    return [(row["night"], row["product_ids"]) for row in shop.online().read("home_v1", keys)]


def stored_lists(shop: Shop, as_of: date) -> list[tuple[str, list[str]]]:
    """The same from the table."""
    return [(as_of.isoformat(), row["product_ids"]) for row in shop.rows(RECOMMENDED_FOR_YOU, as_of)]


def published_of(shop: Shop) -> list[dict[str, object]]:
    """The rows of `published` that are live."""
    return [row for row in shop.lake.arrow(PUBLISHED).to_pylist() if row["live"]]


def test_rollback_flips_published_and_the_online_store_and_back(second_night: Shop, tmp_path: Path) -> None:
    shop = second_night.copy(tmp_path)
    assert live_night(shop.lake) == SECOND
    assert online_lists(shop, SECOND) == stored_lists(shop, SECOND)
    published_at = published_of(shop)[0]["published_at"]
    assert [(one.night, one.live) for one in rollbacks(shop.lake)] == [(FIRST, False), (SECOND, True)]
    while tick() <= published_at:  # another worker, whose clock may be ahead, may have made that night
        pass
    shop.step("publish", FIRST, replace_newer=True)
    assert live_night(shop.lake) == FIRST
    assert online_lists(shop, FIRST) == stored_lists(shop, FIRST)
    # A store that keeps the newest timestamp (Redis) takes a rollback only if it is newer than what it replaces.
    assert published_of(shop)[0]["published_at"] > published_at
    shop.step("publish", SECOND)
    assert live_night(shop.lake) == SECOND
    assert online_lists(shop, SECOND) == stored_lists(shop, SECOND)


def test_keys_that_the_live_night_lacks_are_not_served(second_night: Shop) -> None:
    now = {(row["customer_id"], row["market"]) for row in second_night.rows(RECOMMENDED_FOR_YOU, SECOND)}
    then = {(row["customer_id"], row["market"]) for row in second_night.rows(RECOMMENDED_FOR_YOU, FIRST)}
    gone = [{"customer_id": customer, "market": market} for customer, market in sorted(then - now)]
    if not gone:
        pytest.skip("no customer changed market on the new day")
    assert [row["product_ids"] for row in second_night.online().read("home_v1", gone)] == [None] * len(gone)


def test_an_older_night_than_the_live_one_is_only_staged(second_night: Shop, tmp_path: Path) -> None:
    shop = second_night.copy(tmp_path)
    seen = shop.what_services_see()
    counts = shop.step("publish", FIRST)
    assert counts.note.startswith("staged, not published") and f"rollback --to {FIRST}" in counts.note
    assert shop.what_services_see() == seen


def test_a_backfill_of_an_older_night_rebuilds_it_and_stages_it(second_night: Shop, tmp_path: Path) -> None:
    shop = second_night.copy(tmp_path)
    before, seen = contents(shop), shop.what_services_see()
    counts = shop.steps(STEPS, FIRST)
    assert counts["publish"].note.startswith("staged, not published")
    assert shop.what_services_see() == seen
    # The gates compare with the live night now, so they alone may say more than before.
    assert set(differing(before, contents(shop))) <= {"gates"}


def test_a_night_with_failed_gates_that_was_never_published_cannot_be_rolled_back_to(copied_second: Shop) -> None:
    with pytest.raises(GateError):
        copied_second.step("gate", SECOND, min_full=1.1)
    assert [one.night for one in rollbacks(copied_second.lake)] == [FIRST]
