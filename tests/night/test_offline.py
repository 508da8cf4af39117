"""Feast's offline reads give each row what was live at its time, of the publications that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_repo.served import NIGHT, ONLINE, TIMESTAMP
from jobs.lake.live import live_table, publications
from jobs.lake.rows import arrow_schema
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, PRODUCT_EMBEDDINGS, RECOMMENDED_FOR_YOU
from jobs.tables.table import Table
from tests.support.feast_store import FeastStore
from tests.support.nights import FIRST, SECOND, Shop, feast_below

SECONDS = timedelta(seconds=1)
Read = dict[Table, pa.Table]


def live(shop: Shop) -> Read:
    """What the lake's own reader calls live now."""
    return {table: live_table(shop.lake.root, table.name, [*table.key, *ONLINE[table]]) for table in ONLINE}


@dataclass
class Past:
    """A lake with two nights published, and the first of them again."""

    shop: Shop
    store: FeastStore
    seen: list[tuple[datetime, str, Read]]
    """(when it went live, night, what the lake then called live) of each publication."""

    def ask(self, features: Any, rows: dict[str, list[Any]], full: bool = True) -> pd.DataFrame:
        """The rows with features of their times."""
        with feast_below(self.shop.lake.work):
            job = self.store.store.get_historical_features(pd.DataFrame(rows), features, full_feature_names=full)
            found: pd.DataFrame = job.to_df()
        return found


@pytest.fixture(scope="module")
def past(staged_second: Shop, second_night: Shop, tmp_path_factory: pytest.TempPathFactory) -> Past:
    shop = second_night.copy(tmp_path_factory.mktemp("past"))
    (first, _), before = publications(shop.lake), [live(staged_second), live(shop)]
    shop.step("publish", FIRST, replace_newer=True, published_at=first.at)
    times = [one.at for one in publications(shop.lake)]
    assert all(times)
    nights = (str(FIRST), str(SECOND), str(FIRST))
    return Past(shop, shop.online(), list(zip(times, nights, [*before, live(shop)], strict=True)))  # type: ignore[arg-type]


def moments(past: Past) -> Iterator[tuple[datetime, str | None, Read]]:
    """Times around every publication, with the night and the rows that were live then."""
    (first, *_), *_ = past.seen
    yield first - SECONDS / 1_000, None, {table: rows.slice(0, 0) for table, rows in past.seen[0][2].items()}
    for at, night, rows in past.seen:
        yield at, night, rows
        yield at + SECONDS / 1_000, night, rows


@pytest.mark.parametrize("table", ONLINE, ids=lambda table: table.name)
def test_each_row_gets_what_was_live_at_its_time(past: Past, table: Table) -> None:
    everywhen = pa.concat_tables([rows[table].select(table.key) for *_, rows in past.seen])
    keys = [*everywhen.group_by(list(table.key)).aggregate([]).to_pylist(), dict.fromkeys(table.key, "nobody")]
    asked: dict[str, list[Any]] = {name: [] for name in (*table.key, TIMESTAMP, "place")}
    expected = []
    for at, night, rows in moments(past):
        known = {tuple(row[name] for name in table.key): row for row in rows[table].to_pylist()}
        for key in keys:
            row = known.get(tuple(key.values()))
            expected.append({name: row and row[name] for name in ONLINE[table]} | {NIGHT: row and night})
            for name, value in (key | {TIMESTAMP: at, "place": len(expected)}).items():
                asked[name].append(value)
    with feast_below(past.shop.lake.work):
        refs = [f"{table.name}:{name}" for name in (*ONLINE[table], NIGHT)]
        job = past.store.store.get_historical_features(pd.DataFrame(asked), refs)
        found = job.to_arrow()
    assert found["place"].to_pylist() == asked["place"], "rows stay in their order"
    schema = pa.schema([arrow_schema(table).field(name) for name in ONLINE[table]]).append(pa.field(NIGHT, pa.string()))
    assert found.select(schema.names).equals(pa.Table.from_pylist(expected, schema))
    assert found[NIGHT].null_count < found.num_rows


def test_rows_keep_what_they_brought_and_time_zones_are_instants(past: Past) -> None:
    customer = past.seen[0][2][RECOMMENDED_FOR_YOU].slice(0, 1).to_pylist()[0]
    at = past.seen[1][0]
    rows = {
        "customer_id": [customer["customer_id"]] * 3,
        "market": [customer["market"]] * 3,
        TIMESTAMP: [at.astimezone(timezone(timedelta(hours=9))), at.replace(tzinfo=None), pd.NaT],
        "label": [1, 0, 1],
    }
    found = past.ask(past.store.store.get_feature_service("home_v1"), rows, full=False)
    assert found["label"].tolist() == [1, 0, 1] and found[NIGHT].tolist() == [str(SECOND), str(SECOND), None]
    assert past.ask([f"{RECOMMENDED_FOR_YOU.name}:scores"], {name: [] for name in rows}).empty
    with pytest.raises(ValueError, match="no column market"):
        past.ask([f"{RECOMMENDED_FOR_YOU.name}:scores"], {n: v for n, v in rows.items() if n != "market"})
    with pytest.raises(ValueError, match="use full_feature_names"):
        past.ask([f"{CUSTOMER_SEQUENCES.name}:market"], rows, full=False)
    with pytest.raises(ValueError, match="pandas frame"):
        past.store.store.get_historical_features("SELECT 1", [f"{RECOMMENDED_FOR_YOU.name}:scores"])


def test_scores_of_the_past_are_of_its_vectors(past: Past) -> None:
    for at, _, rows in past.seen:
        customer, product = rows[CUSTOMER_EMBEDDINGS].to_pylist()[0], rows[PRODUCT_EMBEDDINGS].to_pylist()[0]
        asked = {"customer_id": [customer["customer_id"], "nobody"], "product_id": [product["product_id"]] * 2}
        found = past.ask(past.store.store.get_feature_service("ranking_v1"), asked | {TIMESTAMP: [at] * 2})
        score = sum(mine * its for mine, its in zip(customer["vector"], product["vector"], strict=True))
        assert found["ranking__score"][0] == pytest.approx(score) and pd.isna(found["ranking__score"][1])


def test_what_was_live_in_between_and_is_not_kept_leaves_a_gap(past: Past, tmp_path: Path) -> None:
    shop = past.shop.copy(tmp_path)
    second = pc.field("as_of") == pa.scalar(SECOND)
    shop.lake.overwrite(PUBLISHED, shop.lake.arrow(PUBLISHED).filter(~second))
    gap = Past(shop, shop.online(), past.seen)
    key = past.seen[0][2][RECOMMENDED_FOR_YOU].slice(0, 1).to_pylist()[0]
    times = [at for at, *_ in past.seen]
    rows = {"customer_id": [key["customer_id"]] * 3, "market": [key["market"]] * 3, TIMESTAMP: times}
    found = gap.ask([f"{RECOMMENDED_FOR_YOU.name}:{NIGHT}"], rows)
    assert found[f"{RECOMMENDED_FOR_YOU.name}__{NIGHT}"].tolist() == [str(FIRST), None, str(FIRST)]


def test_both_engines_give_one_past(night: Shop, spark_night: Shop) -> None:
    stores = [(shop, shop.online().store) for shop in (night, spark_night)]
    for table in ONLINE:
        keys = live_table(night.lake.root, table.name, table.key).to_pandas()
        refs, answers = [f"{table.name}:{name}" for name in (*ONLINE[table], NIGHT)], []
        for shop, store in stores:
            (one,) = publications(shop.lake)
            with feast_below(shop.lake.work):
                job = store.get_historical_features(keys.assign(**{TIMESTAMP: one.at}), refs, full_feature_names=True)
                answers.append(job.to_arrow().drop(TIMESTAMP))
        assert answers[0].num_rows and answers[0].equals(answers[1]), table.name
