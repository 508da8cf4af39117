"""A night that goes on from the one before: only what the new day changed is made, and it equals all made anew."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.lake.lake import Lake
from jobs.tables.shop import (
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from tests.support.nights import FIRST, SECOND, Shop
from tests.support.tables import assert_same_rows

IDENTITY = ("as_of", "run_id", "since")
CLOSE = 1e-5
"""How far a number of a vector may be from that of the same customer encoded in other company."""


def content(lake: Lake, table: Table) -> pa.Table:
    """The second night's rows, without what says when they were made."""
    return lake.arrow(table, [name for name in table.names if name not in IDENTITY], SECOND)


def keep_what_changed(shop: Shop) -> pa.Array:
    """Write the second night's sequences as what changed since the first; returns whose."""
    own = [name for name in CUSTOMER_SEQUENCES.names if name not in IDENTITY]
    then, now = (shop.lake.arrow(CUSTOMER_SEQUENCES, own, night) for night in (FIRST, SECOND))
    before = {row["customer_id"]: row for row in then.to_pylist()}
    other = [before.get(row["customer_id"]) != row for row in now.to_pylist()]
    shop.lake.replace(CUSTOMER_SEQUENCES, now.filter(pa.array(other)), shop.run_of(SECOND), since=FIRST)
    return now["customer_id"].filter(pa.array(other)).combine_chunks()


def test_a_second_night_equals_the_whole_made_anew(staged_second: Shop, tmp_path: Path) -> None:
    shop = staged_second.copy(tmp_path)
    changed = keep_what_changed(shop)
    assert 0 < len(changed) < shop.lake.count(CUSTOMER_SEQUENCES, FIRST) / 2
    counts = {step: shop.step(step, SECOND) for step in ("embed", "index", "lists")}
    assert counts["embed"].rows_in < shop.lake.count(CUSTOMER_SEQUENCES, FIRST)
    made = shop.lake.changed(CUSTOMER_EMBEDDINGS, ("customer_id",), FIRST, SECOND)["customer_id"]
    assert set(changed.to_pylist()) <= set(made.to_pylist())
    ours, theirs = (content(lake, CUSTOMER_EMBEDDINGS) for lake in (shop.lake, staged_second.lake))
    assert ours["customer_id"].equals(theirs["customer_id"])
    vectors = [np.array(rows["vector"].to_pylist(), np.float32) for rows in (ours, theirs)]
    assert np.abs(vectors[0] - vectors[1]).max() < CLOSE
    shown = [content(lake, RECOMMENDED_FOR_YOU).drop_columns(["scores", "reach"]) for lake in
             (shop.lake, staged_second.lake)]  # fmt: skip
    assert_same_rows(*shown, ("going on", "anew"))


def fitted_on(shop: Shop, table: Table) -> str:
    """The night whose events the index's model has counted."""
    folder = shop.lake.directory("indexes", SECOND) / table.name
    return str(json.loads((folder / "manifest.json").read_text("utf-8"))["fit"]["on"])


@pytest.mark.parametrize("table", [YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT], ids=lambda table: table.name)
def test_what_is_bought_and_looked_at_together_is_fitted_again_after_refit_days(
    table: Table, copied_second: Shop
) -> None:
    assert fitted_on(copied_second, table) == FIRST.isoformat()
    folder = copied_second.lake.directory("indexes", SECOND) / table.name
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    copied_second.step("index", SECOND)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files, "a rerun of the night"
    (copied_second.lake.directory("indexes", FIRST) / table.name / "products.json").write_text("[]")
    copied_second.step("index", SECOND)
    assert fitted_on(copied_second, table) == SECOND.isoformat(), "the first night's is damaged"
    shop_of_one_day = copied_second.step("index", SECOND, refit_days=1)
    assert f"baskets on {SECOND}" in shop_of_one_day.note


def test_an_index_that_goes_on_knows_tonights_products(copied_second: Shop) -> None:
    copied_second.rewrite(CATALOGUE, lambda rows: [*rows[1:], rows[0] | {"product_id": "launched"}], SECOND)
    copied_second.step("embed", SECOND)
    copied_second.step("index", SECOND)
    folder = copied_second.lake.directory("indexes", SECOND) / PEOPLE_ALSO_BOUGHT.name
    products = json.loads((folder / "products.json").read_text("utf-8"))
    assert products == [row["product_id"] for row in copied_second.rows(CATALOGUE, SECOND)]
    assert fitted_on(copied_second, PEOPLE_ALSO_BOUGHT) == FIRST.isoformat()
