"""Two customers with one product: which are chosen, and what each is offered."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from jobs.lake.lake import Lake
from jobs.report.model.contexts import widest
from jobs.report.model.page import Champion
from jobs.report.window.contexts import SHOWN, context_pairs
from jobs.tables.shop import AVAILABILITY, CUSTOMER_SEQUENCES
from tests.support.model_shop import COUNT, MEETING, SAVE, Arithmetic, histories, number, shop, walk
from tests.support.toy_shop import NIGHT, RUN

MODEL = Arithmetic()
OTHER = number("hiking", "hats", 0)
"""A second product that a hiker and a street person meet."""


def meeting(product: int) -> list[list[tuple[int, int, float]]]:
    """A hiker and a street person who both meet a product."""
    return [[*walk(style, range(1, 13)), (product, SAVE, 20.0)] for style in ("hiking", "street")]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Four customers in GB and one in FR; GB sells all but one of the trainers."""
    lake = Lake(tmp_path)
    homes = {"c0": "GB", "c1": "GB", "c2": "GB", "c3": "GB", "c4": "FR"}
    rows = [{"customer_id": c, "market": m, "last_event_at": datetime(2026, 4, 1)} for c, m in homes.items()]
    lake.replace_rows(CUSTOMER_SEQUENCES, rows, RUN)
    missing = number("street", "trainers", 0)
    sold = [{"product_id": f"p{n:02d}", "market": "GB", "available": n != missing} for n in range(COUNT)]
    lake.replace_rows(AVAILABILITY, sold, RUN)
    return lake


def test_each_side_ranks_what_its_market_sells_of_the_category(lake: Lake) -> None:
    customers = [*meeting(MEETING), *meeting(OTHER), walk("party", [1.0])]
    made = shop(MODEL, histories(*customers))
    pairs = context_pairs(lake, NIGHT, Champion("m1", "arithmetic", True, made))
    assert {pair.product for pair in pairs} >= {"p00", f"p{OTHER:02d}"}
    assert {(pair.market, pair.model_id) for pair in pairs} == {("GB", "m1")}, "in FR nobody met anybody"
    pair = next(pair for pair in pairs if pair.product == "p00")
    sides = {side.customer_id: side.list for side in pair.sides}
    assert set(sides) == {"c0", "c1"}
    trainers = {f"p{number(style, 'trainers', n):02d}" for style in ("hiking", "street", "party") for n in range(4)}
    for places in sides.values():
        assert len(places) == SHOWN
        assert {product for product, _ in places} <= trainers - {"p00", f"p{number('street', 'trainers', 0):02d}"}
        scores = [score for _, score in places]
        assert scores == sorted(scores, reverse=True)
    assert sides["c0"][0][0] == f"p{number('hiking', 'trainers', 1):02d}"
    assert sides["c1"][0][0] == f"p{number('street', 'trainers', 1):02d}", "the best of the street is not sold there"


def test_products_of_one_category_are_not_shown_twice() -> None:
    second = number("hiking", "trainers", 1)
    made = shop(MODEL, histories(*meeting(MEETING), *meeting(second), *meeting(OTHER)))
    found = widest(made, 2, 9)
    assert len({made.categories[each.product] for each in found}) == len(found)
    assert {made.categories[each.product] for each in found} >= {"trainers", "hats"}
    assert widest(made, 2, 1)[0].product == found[0].product


def test_without_a_model_or_meetings_there_are_no_pairs(lake: Lake) -> None:
    assert context_pairs(lake, NIGHT, Champion()) == []
    made = shop(MODEL, histories(walk("party", [1.0])))
    assert context_pairs(lake, NIGHT, Champion("m1", "arithmetic", True, made)) == []
    nothing = replace(made, on_sale=np.zeros(COUNT, bool))
    assert widest(nothing, 2, 1) == []
