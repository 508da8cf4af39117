"""Checks what Recommended For You may show on held-out days, by hand, and where a night's tables say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.model_inputs import Bought, read_histories
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, POLICY
from jobs.train.held_out import ALL, NEW, PURCHASE, SERVED, Surface, read_surface
from models.evaluation.days import customer_days
from models.sequences import SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary
from tests.support.toy_shop import MIDNIGHT, NIGHT, product, run_of, toy_lake

DAY = SECONDS_PER_DAY
FIRST = 20_000 * DAY
NIGHT_AT = FIRST + 3 * DAY
"""Three days are held out before the night."""
GB, FR, NOWHERE = 0, 1, -1
CLICK = 0
Event = tuple[int, int, float]
"""(product, event type, days after the first midnight)."""


def events(*customers: list[Event]) -> Sequences:
    flat = [event for customer in customers for event in customer]
    return Sequences(
        np.cumsum([0, *map(len, customers)]).astype(np.int64),
        np.array([p for p, _, _ in flat], np.int32),
        np.array([kind for _, kind, _ in flat], np.int8),
        np.array([FIRST + round(day * DAY) for _, _, day in flat], np.int64),
    )


def bought(*customers: dict[int, float]) -> Bought:
    """Each customer's last purchases: product -> days after the first midnight, as a night stores them."""
    products = [p for customer in customers for p in customer]
    ages = [3 - day for customer in customers for day in customer.values()]
    offsets = np.cumsum([0, *map(len, customers)]).astype(np.int64)
    return Bought(offsets, np.array(products, np.int64), np.array(ages, np.float32))


def surface(of: Bought, markets: list[int], again: list[float], live: list[str] | None = None) -> Surface:
    """Two markets; `live` has a row of 0 and 1 for each, then for anywhere."""
    sold = np.array([[cell == "1" for cell in row] for row in live or ["1" * len(again)] * 3])
    return Surface(NIGHT_AT, np.array(markets), sold, of, np.array([again] * 3, np.float32))


def shown(place: Surface, sequences: Sequences, known: str = "1111", label: str = SERVED) -> list[str]:
    """What is shown to each pair of a customer and a day, a row of 0 and 1."""
    mask = np.array([cell == "1" for cell in known])
    days = customer_days(sequences, FIRST, 3, np.ones(4, dtype=bool), np.ones(4, dtype=bool))
    found = place.shown(days, mask)[label](np.arange(len(days)))
    return ["".join(str(int(cell)) for cell in row) for row in found]


NEVER = [float("inf")] * 4


def test_what_was_bought_before_the_midnight_is_left_out_and_what_is_bought_after_it_is_not() -> None:
    history = events([(0, CLICK, -9), (1, PURCHASE, 0.5), (2, CLICK, 1.5), (3, CLICK, 2.5)])
    place = surface(bought({1: 0.5}), [GB], NEVER)
    assert shown(place, history) == ["1111", "1011", "1011"]
    assert shown(place, history, label=ALL) == ["1111"] * 3
    assert shown(place, history, label=NEW) == ["0111", "0011", "0001"]


def test_an_old_purchase_that_no_history_holds_is_left_out_too() -> None:
    history = events([(0, CLICK, -9), (2, CLICK, 0.5)], [(0, CLICK, -9), (2, CLICK, 0.5)])
    assert shown(surface(bought({3: -400.0}, {}), [GB, GB], NEVER), history) == ["1110", "1111"]


def test_a_product_that_is_bought_again_after_the_midnight_was_bought_before_it() -> None:
    """The night knows only the last purchase; the history has the earlier one."""
    history = events([(0, CLICK, -9), (1, PURCHASE, -2), (2, CLICK, 0.5), (1, PURCHASE, 2.5)])
    assert shown(surface(bought({1: 2.5}), [GB], NEVER), history) == ["1011", "1011"]


def test_the_boundary_is_the_midnight() -> None:
    hour = 1 / 24
    history = events([(0, CLICK, -9), (1, PURCHASE, -hour), (2, PURCHASE, 0.0), (3, PURCHASE, hour), (0, CLICK, 1.5)])
    place = surface(bought({1: -hour, 2: 0.0, 3: hour}), [GB], NEVER)
    assert shown(place, history) == ["1011", "1000"]


def test_only_purchases_are_left_out() -> None:
    history = events([(0, CLICK, -9), (1, 1, -8), (2, 2, -7), (3, CLICK, 0.5)])
    assert shown(surface(bought({}), [GB], NEVER), history) == ["1111"]


def test_a_repeat_rule_shows_a_product_again_after_its_days() -> None:
    again = [float("inf"), 10, 10, 1]
    history = events([(0, PURCHASE, -90), (1, PURCHASE, -9.5), (3, PURCHASE, 0.5), (0, CLICK, 0.6), (0, CLICK, 1.5),
                      (0, CLICK, 2.5)])  # fmt: skip
    place = surface(bought({0: -90, 1: -9.5, 2: -11.0, 3: 0.5}), [GB], again)
    # 1 was bought 9.5, 10.5 and 11.5 days before the three days; 3 on the first of them, half a day before the second.
    assert shown(place, history) == ["0011", "0110", "0111"]


def test_a_rule_of_no_days_shows_it_the_next_day() -> None:
    history = events([(0, CLICK, -9), (1, PURCHASE, 0.5), (0, CLICK, 1.5)])
    assert shown(surface(bought({1: 0.5}), [GB], [0.0] * 4), history) == ["1111", "1111"]


def test_rules_and_assortments_are_those_of_the_customers_market() -> None:
    history = events(*[[(0, CLICK, -9), (1, PURCHASE, -5), (2, CLICK, 0.5)]] * 3)
    place = surface(bought(*[{1: -5.0}] * 3), [GB, FR, NOWHERE], NEVER, ["1110", "0111", "1111"])
    place.again[FR] = 2
    assert shown(place, history) == ["1010", "0111", "1011"], "who is in no market sees what is sold anywhere"
    assert shown(place, history, label=ALL) == ["1110", "0111", "1111"]


def test_only_known_products_are_candidates() -> None:
    history = events([(0, CLICK, -9), (1, PURCHASE, -5), (2, CLICK, 0.5)])
    place = surface(bought({1: -5.0, 3: -6.0}), [GB], NEVER)
    assert shown(place, history, "1101") == ["1000"]
    assert shown(place, history, "1101", ALL) == ["1101"]
    days = customer_days(history.where(history.products < 3), FIRST, 3, np.ones(3, dtype=bool), np.ones(3, dtype=bool))
    found = place.shown(days, np.array([True, True, True]))[SERVED](np.array([0]))
    assert found.tolist() == [[True, False, True]], "candidates are the first products; 3 is none and bought besides"


def test_pairs_may_be_asked_for_in_any_order() -> None:
    history = events([(0, CLICK, -9), (1, PURCHASE, 0.5), (2, CLICK, 1.5)], [(0, PURCHASE, -9), (2, CLICK, 1.5)])
    days = customer_days(history, FIRST, 3, np.ones(4, dtype=bool), np.ones(4, dtype=bool))
    allowed = surface(bought({1: 0.5}, {0: -9.0}), [GB, GB], NEVER).shown(days, np.ones(4, dtype=bool))[SERVED]
    whole = allowed(np.arange(3))
    assert whole.astype(int).tolist() == [[1, 1, 1, 1], [1, 0, 1, 1], [0, 1, 1, 1]]
    np.testing.assert_array_equal(allowed(np.array([2, 0, 1])), whole[[2, 0, 1]])


# --- read from a lake


def sequence(customer: str, market: str, purchases: dict[str, float], *seen: tuple[str, str, float]) -> dict[str, Any]:
    """A row of customer_sequences; times are days before the night's midnight."""
    times = [MIDNIGHT - timedelta(days=ago) for _, _, ago in seen]
    return {"customer_id": customer, "market": market, "product_ids": [p for p, _, _ in seen],
            "event_types": [kind for _, kind, _ in seen], "event_timestamps": times, "last_event_at": times[-1],
            "bought": list(purchases), "bought_at": [MIDNIGHT - timedelta(days=d) for d in purchases.values()],
            }  # fmt: skip


def test_a_night_says_what_is_sold_bought_and_due_again(tmp_path: Path) -> None:
    products = [product(p, p, "B", kind, "red", 1.0) for p, kind in zip("abcd", ("hats", "socks") * 2, strict=True)]
    sold = {"GB": "abd", "FR": "bc"}
    rule = {"rule_id": "r", "kind": "repeat_purchase", "attribute": "category", "value": "socks", "amount": 30.0,
            "market": "FR"}  # fmt: skip
    seen = [("a", "click", 20.0), ("b", "purchase", 15.0), ("a", "click", 2.0)]
    rows = [
        sequence("c1", "GB", {"b": 15.0, "d": 45.0}, *seen),
        sequence("c2", "FR", {"b": 45.0, "d": 15.0}, ("a", "click", 20.0), ("a", "click", 2.0)),
        sequence("c3", "Atlantis", {}, ("a", "click", 20.0), ("a", "click", 2.0)),
    ]
    lake = toy_lake(
        tmp_path,
        {
            CATALOGUE: products,
            AVAILABILITY: [{"product_id": p, "market": m, "available": True} for m, ps in sold.items() for p in ps],
            CUSTOMER_SEQUENCES: rows,
            POLICY: [rule],
        },
        run_of(NIGHT),
    )
    vocabulary = Vocabulary(list("abcd"))
    histories = read_histories(lake, NIGHT, vocabulary)
    place = read_surface(lake, run_of(NIGHT), histories, vocabulary, MIDNIGHT - timedelta(days=7))
    first = int((MIDNIGHT - timedelta(days=7)).timestamp())
    days = customer_days(histories.sequences, first, 7, np.ones(4, dtype=bool), np.ones(4, dtype=bool))
    assert days.customers.tolist() == [0, 1, 2]
    found = {label: allowed(np.arange(3)).astype(int).tolist() for label, allowed in place.shown(
        days, np.ones(4, dtype=bool)).items()}  # fmt: skip
    assert found[ALL] == [[1, 1, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]
    # In GB nothing may be bought again; in FR socks after 30 days: b was bought 40 days before the day, d is not sold.
    assert found[SERVED] == [[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]]
    assert found[NEW] == [[0, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]]
    assert place.midnight == int(datetime(2026, 4, 6, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(("days_before", "wanted"), [(0, "bc"), (2, "ab"), (3, "ab"), (40, "ab")])
def test_what_is_sold_is_that_of_the_newest_night_up_to_the_split(
    tmp_path: Path, days_before: int, wanted: str
) -> None:
    products = [product(p, p, "B", "hats", "red", 1.0) for p in "abc"]
    rows = [sequence("c1", "GB", {}, ("a", "click", 9.0))]
    lake = toy_lake(tmp_path, {CUSTOMER_SEQUENCES: rows}, run_of(NIGHT))
    for before, sold in ((2, "ab"), (0, "bc")):
        run = run_of(NIGHT - timedelta(days=before))
        lake.replace_rows(CATALOGUE, products, run)
        available = [{"product_id": p, "market": "GB", "available": p in sold} for p in "abc"]
        lake.replace_rows(AVAILABILITY, available, run)
    vocabulary = Vocabulary(pa.array(["a", "b", "c"]))
    histories = read_histories(lake, NIGHT, vocabulary)
    at = MIDNIGHT - timedelta(days=days_before)
    place = read_surface(lake, run_of(NIGHT), histories, vocabulary, at)
    assert "".join(p for p, there in zip("abc", place.live[0], strict=True) if there) == wanted
