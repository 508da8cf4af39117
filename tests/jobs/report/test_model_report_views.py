"""Which customers and products the model report shows, and what it says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report.examples import ShownProduct
from jobs.report.model.attention import attention_views, chosen, in_percent
from jobs.report.model.contexts import context_view, ordinal
from jobs.report.model.sample import prefixes
from tests.support.model_shop import (
    BAG,
    CLICK,
    COUNT,
    MEETING,
    PURCHASE,
    Arithmetic,
    Attentive,
    everyone,
    histories,
    number,
    shop,
    walk,
)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.data())
def test_a_prefix_is_the_first_events(lengths: list[int], data: st.DataObject) -> None:
    sequences = histories(*([(n, CLICK, float(n)) for n in range(length)] for length in lengths))
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6))
    ends = [data.draw(st.integers(0, lengths[row])) for row in rows]
    cut = prefixes(sequences, np.array(rows, np.int64), np.array(ends, np.int64))
    assert [list(history) for history in cut] == [list(range(end)) for end in ends]


def test_short_names_lose_brand_and_colour() -> None:
    assert ShownProduct("p", "Acme Tall Boots, dark navy", "Acme", "boots", "dark navy").short_name == "Tall Boots"
    assert ShownProduct("p", "Acme", "Acme").short_name == "Acme"


@pytest.mark.parametrize(
    ("n", "text"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (112, "112th"), (1021, "1,021st")]
)
def test_ordinals(n: int, text: str) -> None:
    assert ordinal(n) == text


# --- attention


def test_every_row_of_a_map_sums_to_one_with_what_lies_before() -> None:
    here = shop(Attentive(), everyone())
    views = attention_views(here, customers=2, shown=6)
    assert [view.customer for view in views] and len(views) == 2
    for view in views:
        assert [found.title for found in view.maps] == [
            "Layer 1, head 1", "Layer 1, head 2", "Layer 2, head 1", "Layer 2, head 2", "Readout",
        ]  # fmt: skip
        assert len(view.events) == 6
        for found in view.maps:
            read = [int(share) for share in re.findall(r"(\d+)%", found.reading)]
            assert len(read) == 3 and sum(read) == 100, found.reading
            np.testing.assert_allclose(found.weights.sum(1) + found.earlier, 1, rtol=1e-5)
        assert "reads itself with 100%" in view.maps[-1].reading


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(any))
def test_shares_in_words_add_up_to_100(shares: list[float]) -> None:
    found = in_percent(shares)
    assert sum(found) == 100
    assert all(abs(whole - 100 * share / sum(shares)) < 1 for whole, share in zip(found, shares, strict=True))


def test_a_history_shorter_than_the_map_is_drawn_whole() -> None:
    (view,) = attention_views(shop(Attentive(), histories(walk("hiking", [1, 2]))), 2, 6)
    assert (len(view.events), view.before) == (2, 0)
    assert view.maps[0].reading.startswith("On average an event reads itself with 50%, the one before with 50%")


def test_a_model_without_attention_has_no_maps() -> None:
    assert attention_views(shop(Arithmetic(), everyone()), 2, 6) == []


def test_the_customers_drawn_do_several_kinds_of_things() -> None:
    varied = [(number("hiking", "coats", 0), kind, day) for day, kind in enumerate((CLICK, BAG, PURCHASE, CLICK))]
    here = shop(Attentive(), histories(walk("street", range(4)), varied, walk("party", [1])))
    assert chosen(here, 1, 4) == [1]
    assert chosen(here, 5, 4) == [1, 0], "a history of one event shows nothing"


# --- one product in several contexts


def test_the_product_that_different_customers_met_gives_each_their_own() -> None:
    here = shop(Arithmetic(), everyone())
    view = context_view(here, customers=2, shown=3)
    assert view is not None
    assert view.product == here.products[MEETING]
    assert {context.customer for context in view.contexts} == {"c0", "c1"}
    for context in view.contexts:
        style = "hiking" if context.customer == "c0" else "street"
        assert style in context.alternatives[0].product.name
        assert context.met.product == view.product
        assert all(touch.at < context.met.at for touch in context.before if touch.at and context.met.at)
        assert all(place.product.category == "trainers" for place in context.alternatives)
        assert view.product not in [place.product for place in context.alternatives]
        assert context.alternatives[0].source.endswith("for A") or context.alternatives[0].source.endswith("for B")
    assert view.cosine < 0.7


def test_what_is_not_on_sale_is_no_alternative() -> None:
    sold = [index % 4 != 1 for index in range(COUNT)]
    view = context_view(shop(Arithmetic(), everyone(), sold=sold), customers=2, shown=COUNT)
    assert view is not None
    names = {place.product.name for context in view.contexts for place in context.alternatives}
    assert names and not any(name.endswith("1, navy") for name in names)


def test_nobody_who_meets_anybody_gives_no_view() -> None:
    assert context_view(shop(Arithmetic(), histories(walk("hiking", range(20))))) is None
    assert context_view(shop(Arithmetic(), histories([]))) is None
