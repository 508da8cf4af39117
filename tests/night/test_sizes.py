"""A shop that begins to give sizes: its next night leaves out what is not there in a customer's size, and says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.ask.explain import explain
from jobs.config import quick
from jobs.errors import GateError, UserError
from jobs.sample_shop import SIZES, write_days
from jobs.sample_shop.sizes import true_sizes
from jobs.tables.records import GATES
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU, RULE_EFFECTS
from tests.support.nights import FIRST, SAMPLE_SQL, SECOND, STAGING, Shop

TINY = replace(SIZES["tiny"], sized=True)


@pytest.fixture(scope="module")
def sized(night: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The first night of the shop without sizes is live; the second one is staged, from files with sizes."""
    raw = tmp_path_factory.mktemp("sized") / "raw"
    write_days(raw, TINY, range(TINY.days + 1), lambda *_: None)
    source = SAMPLE_SQL.with_name("sample_sizes.sql")
    shop = night.copy(raw.parent, quick(source, raw))
    shop.steps(STAGING, SECOND)
    return shop


def usual_sizes(shop: Shop) -> dict[str, dict[str, str]]:
    """Customer -> category -> the size bought, where that is one alone."""
    category = {row["product_id"]: row["category"] for row in shop.rows(CATALOGUE, SECOND)}
    found = {}
    for row in shop.rows(CUSTOMER_SEQUENCES, SECOND):
        sizes: dict[str, Counter[str]] = {}
        for product, size in zip(row["bought"] or [], row["bought_sizes"] or [], strict=False):
            if size is not None and product in category:
                sizes.setdefault(category[product], Counter())[size] += 1
        found[row["customer_id"]] = {c: n.most_common(1)[0][0] for c, n in sizes.items() if len(n) == 1}
    return found


def test_what_customers_bought_tells_what_they_wear(sized: Shop) -> None:
    truth = {(row[0], row[1]): row[2] for row in true_sizes(TINY).rows()}
    found = [(truth[customer, c], size) for customer, of in usual_sizes(sized).items() for c, size in of.items()]
    assert len(found) > 100
    assert sum(true == size for true, size in found) / len(found) > 0.85


def test_a_customers_list_has_no_product_without_their_size(sized: Shop) -> None:
    stock = {(row["product_id"], row["market"]): row["sizes"] for row in sized.rows(AVAILABILITY, SECOND)}
    category, usual = {row["product_id"]: row["category"] for row in sized.rows(CATALOGUE, SECOND)}, usual_sizes(sized)
    misfits = told = 0
    for row in sized.rows(RECOMMENDED_FOR_YOU, SECOND):
        for product in row["product_ids"]:
            sizes, size = stock[product, row["market"]], usual[row["customer_id"]].get(category[product])
            told += size is not None and sizes is not None
            misfits += size is not None and sizes is not None and size not in sizes
    assert told > 300
    assert misfits == 0
    effects = {row["rule_id"]: row["changed"] for row in sized.rows(RULE_EFFECTS, SECOND)}
    assert effects["usual size"] > 10 and effects["size run"] > 10


def test_explain_tells_usual_sizes_and_why_a_product_is_left_out(sized: Shop) -> None:
    stock = {(row["product_id"], row["market"]): row["sizes"] for row in sized.rows(AVAILABILITY, SECOND)}
    category, usual = {row["product_id"]: row["category"] for row in sized.rows(CATALOGUE, SECOND)}, usual_sizes(sized)
    row = next(row for row in sized.rows(RECOMMENDED_FOR_YOU, SECOND) if len(usual[row["customer_id"]]) > 2)
    customer, market = row["customer_id"], row["market"]
    key = {"customer_id": customer, "market": market}
    found = explain(sized.lake, RECOMMENDED_FOR_YOU.name, key, 1, SECOND)
    assert all(f"{name} {size}" in found.sizes for name, size in usual[customer].items())
    shown = explain(sized.lake, RECOMMENDED_FOR_YOU.name, key | {"product_id": row["product_ids"][2]}, 1, SECOND)
    assert (shown.position, shown.product_id) == (3, row["product_ids"][2])
    rows = {r["customer_id"]: r for r in sized.rows(CUSTOMER_SEQUENCES, SECOND)}
    lacking = next(
        product for (product, where), sizes in stock.items()
        if where == market and sizes and usual[customer].get(category[product], sizes[0]) not in sizes
        and product not in rows[customer]["bought"]
    )  # fmt: skip
    size, there = usual[customer][category[lacking]], ", ".join(stock[lacking, market])
    why = f"their usual size in {category[lacking]} is {size}, and {market} has it in {there}"
    with pytest.raises(UserError, match=f"has no {lacking}: {why}"):
        explain(sized.lake, RECOMMENDED_FOR_YOU.name, key | {"product_id": lacking}, 1, SECOND)


def test_the_gate_counts_sizes(sized: Shop, tmp_path: Path) -> None:
    shop = sized.copy(tmp_path)
    shop.step("gate", SECOND)
    gates = {row["gate"]: row for row in shop.rows(GATES, SECOND)}
    assert gates["recommended_for_you_sizes"]["value"] == 0
    assert 0.4 < gates["recommended_for_you_sized"]["value"] < 0.9
    before = {row["gate"] for row in shop.rows(GATES, FIRST)}
    assert not before & {"recommended_for_you_sizes", "recommended_for_you_sized"}

    def sold_out(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row | {"sizes": [] if row["sizes_made"] else None} for row in rows]

    shop.rewrite(AVAILABILITY, sold_out, SECOND)
    with pytest.raises(GateError, match="recommended_for_you_sizes"):
        shop.step("gate", SECOND)
