"""Standing lists of whole nights: what each shows, worked out from the tables without the code under test."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from feature_repo.online.reader import Reader
from jobs.forget.tables import remove_rows
from jobs.lists.standing import HORIZON, LEAST_CHANCE, PLACES, WINDOW
from jobs.tables.shop import (
    AVAILABILITY,
    BUY_AGAIN,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    NEW_IN,
    RECENTLY_VIEWED,
    REDUCED,
    SOLD_OUT_ALTERNATIVES,
    STANDING,
    TRENDING,
)
from jobs.tables.table import Table
from tests.support.clock import tick
from tests.support.nights import FIRST, SECOND, Rows, Shop

each = pytest.mark.parametrize("table", STANDING, ids=lambda table: table.name)


def live(shop: Shop, night: date = FIRST) -> set[tuple[str, str]]:
    """(product, market) that can be bought on a night."""
    launched = {
        r["product_id"] for r in shop.rows(CATALOGUE, night) if r["launched_at"] is None or r["launched_at"] < night
    }  # type: ignore[arg-type]
    rows = shop.rows(AVAILABILITY, night)  # type: ignore[arg-type]
    return {(r["product_id"], r["market"]) for r in rows if r["available"] and r["product_id"] in launched}


def all_products(rows: Rows) -> dict[str, list[str]]:
    """Market -> its list of all products."""
    return {row["market"]: row["product_ids"] for row in rows if row["category"] == "*"}


@each
def test_lists_hold_what_can_be_bought_once_and_say_why_they_are_empty(table: Table, second_night: Shop) -> None:
    sold, rows = live(second_night, SECOND), second_night.rows(table, SECOND)
    assert rows
    for row in rows:
        shown = row["product_ids"]
        assert len(set(shown)) == len(shown) == len(row["scores"]) == len(row["sources"])
        assert {(product, row["market"]) for product in shown} <= sold
        assert (row["short_reason"] is None) == bool(shown) or table is SOLD_OUT_ALTERNATIVES
        if table is not SOLD_OUT_ALTERNATIVES:
            assert row["scores"] == sorted(row["scores"], reverse=True) and len(set(row["sources"])) < 2


def test_the_last_products_that_were_looked_at(night: Shop) -> None:
    sold, shown = live(night), {row["customer_id"]: row for row in night.rows(RECENTLY_VIEWED)}
    since = night.run_of(FIRST).midnight - timedelta(days=WINDOW)
    wanted = {}
    for row in night.rows(CUSTOMER_SEQUENCES):
        events = zip(row["product_ids"], row["event_types"], row["event_timestamps"], strict=True)
        seen = [product for product, kind, at in events if kind != "purchase" and at >= since]
        there = [p for p in dict.fromkeys(seen[::-1]) if (p, row["market"]) in sold and p not in (row["bought"] or ())]
        if there:
            wanted[row["customer_id"]] = there[:PLACES]
    assert len(wanted) > 50 and {name: row["product_ids"] for name, row in shown.items()} == wanted


def test_what_customers_buy_again_they_bought_before_and_it_is_likely(night: Shop) -> None:
    events = night.lake.arrow(EVENTS).to_pylist()
    bought = Counter((r["customer_id"], r["product_id"]) for r in events if r["event_type"] == "purchase")
    rows = night.rows(BUY_AGAIN)
    assert rows
    for row in rows:
        assert all(bought[row["customer_id"], product] for product in row["product_ids"])
        assert all(LEAST_CHANCE <= score < 1 for score in row["scores"])
    assert HORIZON > 0


def test_instead_of_what_is_sold_out(second_night: Shop) -> None:
    sold, rows = live(second_night, SECOND), second_night.rows(SOLD_OUT_ALTERNATIVES, SECOND)
    assert rows and {(row["product_id"], row["market"]) for row in rows}.isdisjoint(sold)
    category = {r["product_id"]: r["category"] for r in second_night.rows(CATALOGUE, SECOND)}
    assert all(category[row["product_ids"][0]] == category[row["product_id"]] for row in rows), "its own category first"


def test_a_night_on_which_nothing_is_sold_out_has_no_list_and_is_a_night(copied_second: Shop) -> None:
    products = [row["product_id"] for row in copied_second.rows(CATALOGUE, SECOND)]
    markets = {row["market"] for row in copied_second.rows(AVAILABILITY, SECOND)}
    everything = [{"product_id": p, "market": m, "available": True} for p in products for m in sorted(markets)]
    copied_second.rewrite(AVAILABILITY, lambda rows: everything, SECOND)
    copied_second.step("lists", SECOND)
    lake = copied_second.lake
    assert copied_second.rows(SOLD_OUT_ALTERNATIVES, SECOND) == [] and SECOND in lake.nights(SOLD_OUT_ALTERNATIVES)


def test_new_products_the_newest_first(night: Shop) -> None:
    launched = {r["product_id"]: r["launched_at"] for r in night.rows(CATALOGUE) if r["launched_at"]}
    young = {p for p, day in launched.items() if (FIRST - day).days <= WINDOW}
    for market, shown in all_products(night.rows(NEW_IN)).items():
        assert set(shown) == {product for product, where in live(night) if where == market and product in young}
        days = [launched[product] for product in shown]
        assert days == sorted(days, reverse=True) and shown


def test_what_grows_had_events_this_week(night: Shop) -> None:
    week = {(r["product_id"], r["market"]) for r in night.lake.arrow(EVENTS).to_pylist()
            if r["event_date"] >= FIRST - timedelta(days=7)}  # fmt: skip
    for market, shown in all_products(night.rows(TRENDING)).items():
        assert shown and {(product, market) for product in shown} <= week


def test_prices_that_fell_since_earlier_nights(copied_second: Shop) -> None:
    """On a first night nothing is known of earlier prices."""
    rows = copied_second.rows(REDUCED)
    assert {(len(row["product_ids"]), row["short_reason"]) for row in rows} == {(0, "no price fell here")}
    market = copied_second.rows(AVAILABILITY, SECOND)[0]["market"]
    now = {r["product_id"]: r["price"] for r in copied_second.rows(CATALOGUE, SECOND)}
    sold = sorted(product for product, where in live(copied_second, SECOND) if where == market and now[product])
    dear, little, raised = sold[:3]

    def earlier(rows: Rows) -> Rows:
        factor = {dear: 1.3, little: 1.02, raised: 0.5}
        return [r | {"price": (now.get(r["product_id"]) or 1.0) * factor.get(r["product_id"], 1.0)} for r in rows]

    copied_second.rewrite(CATALOGUE, earlier)
    copied_second.step("lists", SECOND)
    assert all_products(copied_second.rows(REDUCED, SECOND))[market] == [dear]


@each
def test_services_see_the_lists_of_the_later_night_and_no_others(table: Table, second_night: Shop) -> None:
    backend = second_night.online().backend
    assert backend
    reader = Reader(backend)
    rows = {tuple(row[name] for name in table.key): row for row in second_night.rows(table, SECOND)}
    before = {tuple(row[name] for name in table.key) for row in second_night.rows(table, FIRST)}
    for key in [*rows][:200] + sorted(before - rows.keys()):
        (found,) = reader.read([(table.name, key)]).rows
        assert (rows[key]["product_ids"] if key in rows else None) == (found and [*found.features["product_ids"]])


def test_a_night_stays_a_night_when_the_one_customer_with_a_list_is_forgotten(copied_night: Shop) -> None:
    copied_night.rewrite(BUY_AGAIN, lambda rows: rows[:1])
    (row,), lake = copied_night.rows(BUY_AGAIN), copied_night.lake
    remove_rows(lake, [row["customer_id"]], tick())
    (left,) = copied_night.rows(BUY_AGAIN)
    assert left["customer_id"] != row["customer_id"] and left["product_ids"] == []
    assert lake.nights(BUY_AGAIN) == [FIRST] and left["run_id"] == row["run_id"]
