"""Rows found by their keys are the night's rows of those keys, whatever lies around them and in older nights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.lake import lake as lakes
from jobs.lake.lake import Lake
from jobs.lake.rows import among
from jobs.lake.snapshot import KeysAmong
from jobs.tables.shop import RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from tests.support.nights_lake import nth, run_of

Wanted = Callable[[pa.RecordBatch], np.ndarray[tuple[int], np.dtype[np.bool_]]]


def of_owners(*owners: str, name: str = "product_id") -> Wanted:
    """The rows of some products or customers."""
    return lambda batch: among(batch[name], owners)


def read(lake: Lake, table: Table, as_of: date, wanted: Wanted, *columns: str) -> list[dict[str, Any]]:
    """Those rows, in order of their key."""
    names = (*table.key, *columns)
    found = [row for batch in lake.chosen(table, names, as_of, wanted) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: [row[name] for name in table.key])


def lists_of(market: str, products: int) -> pa.RecordBatch:
    """A list of every product in a market, some empty."""
    ids = [f"p{n:03d}" for n in range(products)]
    places = [[ids[n - k] for k in range(n % 4)] for n in range(products)]
    return pa.RecordBatch.from_pydict({
        "product_id": pa.array(ids).dictionary_encode(), "market": pa.array([market] * products).dictionary_encode(),
        "product_ids": pa.array(places), "scores": pa.array([[0.5] * len(p) for p in places], pa.list_(pa.float32())),
        "sources": pa.array([["model"] * len(p) for p in places]),
        "rules": pa.array([[""] * len(p) for p in places]), "variant": pa.array(["default"] * products),
        "short_reason": pa.array([None if p else "none is sold" for p in places], pa.string()),
        "model_id": pa.array(["m"] * products), "gone": pa.nulls(products, pa.bool_()),
    })  # fmt: skip


@pytest.fixture
def encoded_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Lists of four markets in several row groups and files."""
    monkeypatch.setattr(lakes, "GROUP_ROWS", 60)
    monkeypatch.setattr(lakes, "FILE_ROWS", 120)
    lake = Lake(tmp_path)
    lake.replace_encoded(YOU_MIGHT_ALSO_LIKE, [lists_of(market, 30) for market in ("DE", "FR", "GB", "US")], run_of(0))
    return lake


def test_they_are_the_rows_that_a_filter_of_all_finds(encoded_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.lake.snapshot.PICKED_ROWS", 7)

    def wanted(batch: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return among(batch["market"], ["GB", "DE"]) & among(batch["product_id"], ["p003", "p008", "p029"])

    columns = ("product_ids", "scores", "sources", "short_reason", "run_id")
    every = encoded_lake.arrow(YOU_MIGHT_ALSO_LIKE, (*YOU_MIGHT_ALSO_LIKE.key, *columns), nth(0)).to_pylist()
    expected = [r for r in every if r["market"] in ("GB", "DE") and r["product_id"] in ("p003", "p008", "p029")]
    assert read(encoded_lake, YOU_MIGHT_ALSO_LIKE, nth(0), wanted, *columns) == expected
    assert len(expected) == 6


def test_row_groups_without_a_wanted_text_are_passed_over(encoded_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []
    among_keys = KeysAmong.__call__

    def asking(wanted: KeysAmong, rows: pa.RecordBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        asked.extend(rows["market"].unique().to_pylist())
        return among_keys(wanted, rows)

    monkeypatch.setattr(KeysAmong, "__call__", asking)
    wanted = KeysAmong({"market": ["GB"], "product_id": ["p003", "p029"]})
    found = read(encoded_lake, YOU_MIGHT_ALSO_LIKE, nth(0), wanted)
    assert [row["product_id"] for row in found] == ["p003", "p029"]
    assert asked == ["GB", "US"], "the row group of the other two markets is not read"


def test_a_night_or_table_that_is_not_there_has_none(encoded_lake: Lake) -> None:
    assert read(encoded_lake, YOU_MIGHT_ALSO_LIKE, nth(1), of_owners("p001")) == []
    assert read(encoded_lake, RECOMMENDED_FOR_YOU, nth(0), of_owners("c1", name="customer_id")) == []
    assert read(encoded_lake, YOU_MIGHT_ALSO_LIKE, nth(0), of_owners("nobody"), "product_ids") == []


def test_a_column_that_old_files_lack_is_null(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    old = replace(YOU_MIGHT_ALSO_LIKE, text=YOU_MIGHT_ALSO_LIKE.text.replace("rules ", "other "))
    lake.replace_rows(old, [{"product_id": "p1", "market": "GB", "variant": "default"}], run_of(0))
    assert read(lake, YOU_MIGHT_ALSO_LIKE, nth(0), of_owners("p1"), "rules")[0]["rules"] is None


def test_words_that_outgrew_their_dictionary_are_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    places = [[f"{n:06d}-{'x' * 40}-{k}" for k in range(4)] for n in range(20_000)]
    rows = [{"product_id": f"p{n}", "market": "GB", "variant": "v", "product_ids": p} for n, p in enumerate(places)]
    lake.replace_rows(YOU_MIGHT_ALSO_LIKE, rows, run_of(0))
    found = read(lake, YOU_MIGHT_ALSO_LIKE, nth(0), of_owners("p7", "p19999"), "product_ids")
    assert [row["product_ids"] for row in found] == [places[19_999], places[7]]


def test_of_a_table_of_changes_a_night_has_the_newest_row_that_it_knows(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for place, rows in enumerate(({"c1": "GB", "c2": "GB", "c3": "GB"}, {"c1": "FR"}, {"c2": "DE"})):
        made = [{"customer_id": c, "market": m, "product_ids": [f"p{place}"]} for c, m in rows.items()]
        batch = pa.Table.from_pylist(made).to_batches()
        full = [with_all_columns(RECOMMENDED_FOR_YOU, part) for part in batch]
        lake.replace(RECOMMENDED_FOR_YOU, full, run_of(place), since=nth(0))
    wanted = of_owners("c1", "c2", "c3", name="customer_id")
    for place in range(3):
        expected = lake.arrow(RECOMMENDED_FOR_YOU, ("customer_id", "market", "product_ids"), nth(place)).to_pylist()
        assert read(lake, RECOMMENDED_FOR_YOU, nth(place), wanted, "product_ids") == expected
    assert [row["market"] for row in expected] == ["FR", "DE", "GB"]
    in_gb = read(lake, RECOMMENDED_FOR_YOU, nth(2), of_owners("GB", name="market"))
    assert [row["customer_id"] for row in in_gb] == ["c3"], (
        "a newer row hides older ones though it is not wanted itself"
    )


def test_a_row_that_is_gone_is_none(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    ending = replace(RECOMMENDED_FOR_YOU, name="ending", text=RECOMMENDED_FOR_YOU.text + "gone BOOLEAN over\n")
    for place, gone in enumerate((None, True)):
        owners = ["c1", "c2"] if gone is None else ["c1"]
        batch = pa.RecordBatch.from_pydict({
            "customer_id": pa.array(owners), "market": pa.array(["GB"] * len(owners)),
            "gone": pa.array([gone] * len(owners), pa.bool_()),
        })  # fmt: skip
        lake.replace(ending, [with_all_columns(ending, batch)], run_of(place), since=nth(0))
    wanted = of_owners("c1", "c2", name="customer_id")
    assert [row["customer_id"] for row in read(lake, ending, nth(0), wanted)] == ["c1", "c2"]
    assert [row["customer_id"] for row in read(lake, ending, nth(1), wanted, "product_ids")] == ["c2"]


def with_all_columns(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with a null for every column of the table that it lacks, but its run's identity."""
    from jobs.lake.rows import arrow_schema

    own = [field for field in arrow_schema(table) if field.name not in ("as_of", "run_id", "since")]
    there = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.RecordBatch.from_pydict({f.name: there.get(f.name, pa.nulls(batch.num_rows, f.type)) for f in own})
