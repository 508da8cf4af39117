"""Which customers and products the model report shows, and what it says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.report.examples import Product
from jobs.report.model.attention import attention_views, chosen
from jobs.report.model.shop import best_places, prefixes, products_of, short_name, shortened
from jobs.report.model.views import context_view, ordinal, session_view, shift_view
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


def test_the_first_of_an_order_are_found_without_sorting() -> None:
    here = shop(Arithmetic(), everyone())
    for row in range(len(here.customers)):
        state = here.states(np.array([row]), here.sequences.lengths[[row]])[0]
        allowed = here.not_bought(row)
        for wanted in (1, 7, COUNT + 5):
            scores = here.vectors @ state
            best = here.order(state, allowed)[:wanted]
            np.testing.assert_array_equal(scores[here.first(state, allowed, wanted)], scores[best])


def test_many_customers_are_offered_what_each_would_be_alone() -> None:
    here = shop(Arithmetic(), everyone())
    rows = np.arange(len(here.customers))
    for ends in (here.sequences.lengths, np.ones(len(rows), np.int64)):
        states = here.states(rows, ends)
        found = here.first_not_bought(rows, ends, states, 5)
        for row, state, end, own in zip(rows.tolist(), states, ends.tolist(), found, strict=True):
            np.testing.assert_array_equal(own, here.order(state, here.not_bought(row, end))[:5])


@given(st.lists(st.sampled_from((0.0, 0.25, 0.5, 1.0, -math.inf)), max_size=700), st.integers(1, 5))
def test_the_best_of_many_scores_are_the_first_of_all_in_order(scores: list[float], wanted: int) -> None:
    array = np.array(scores, np.float32)
    expected = [place for place in np.argsort(-array, kind="stable").tolist() if np.isfinite(array[place])]
    assert best_places(array, wanted).tolist() == expected[:wanted]


def test_what_stands_out_is_the_style_and_no_brand_or_colour() -> None:
    here = shop(Arithmetic(), everyone())
    assert here.stands_out(0, 12)[0] == "hiking"
    assert here.stands_out(1, 12)[0] == "street"
    assert not {"navy", "brand"} & {word for row in range(4) for word in here.stands_out(row, 12)}


def test_products_without_a_catalogue_row_are_not_on_sale() -> None:
    rows = [{"product_id": "a", "name": "Hat\x1b[31m", "department": "men", "price": 3.0}]
    products, departments, on_sale = products_of(rows, ["b", "a"])
    assert [product.name for product in products] == ["b", "Hat"]
    assert departments == ("", "men")
    assert on_sale.tolist() == [False, True]


def test_names_lose_brand_and_colour_before_letters() -> None:
    product = Product("p", "Acme Tall Boots, dark navy", "Acme", "boots", "dark navy")
    assert short_name(product, 20) == "Tall Boots"
    assert short_name(product, 6) == "Tall…"
    assert short_name(Product("p", "Acme", "Acme"), 20) == "Acme"
    assert shortened("abc", 3) == "abc"


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
            np.testing.assert_allclose(found.weights.sum(1) + found.earlier, 1, rtol=1e-5)
        assert "reads itself with 100%" in view.maps[-1].reading


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


# --- time


def test_the_session_that_changes_the_list_is_found() -> None:
    here = shop(Arithmetic(), everyone())
    view = session_view(here, shown=4)
    assert view is not None
    assert view.customer == "c2"
    assert (view.read, len(view.session), view.stay) == (12, 4, 0)
    assert all("party" in place.product.name for place in view.before)
    assert all("street" in place.product.name for place in view.after)
    assert view.before[0].source.endswith("after") and view.after[0].source.endswith("before")


def test_nothing_bought_is_shown_again() -> None:
    bought = number("street", "trainers", 0)
    session = [(bought, PURCHASE, 30.0), *walk("street", [30.001, 30.002, 30.003])]
    view = session_view(shop(Arithmetic(), histories([*walk("party", range(1, 13)), *session])), shown=10)
    assert view is not None
    assert "street trainers 0, navy" not in [place.product.name for place in view.after]


def test_one_long_session_is_no_last_session() -> None:
    assert session_view(shop(Arithmetic(), histories(walk("party", np.arange(12) / 1000)))) is None


def test_the_customer_who_moves_is_found_and_the_list_follows() -> None:
    still = walk("party", range(1, 61, 2))
    moving = [(number("party", "hats" if day > 30 else "coats", day % 4), CLICK, float(day)) for day in range(1, 61, 2)]
    here = shop(Arithmetic(), histories(still, moving))
    view = shift_view(here)
    assert view is not None
    assert view.customer == "c1"
    for mix in view.mixes:
        for moment in mix.moments:
            assert sum(moment.did) == pytest.approx(1) and sum(moment.shown) == pytest.approx(1)
    category = next(mix for mix in view.mixes if mix.title == "By category")
    assert category.moments[0].did[category.names.index("coats")] == 1
    assert category.moments[-1].did[category.names.index("hats")] == 1


def test_short_histories_and_bare_catalogues_show_no_shift() -> None:
    assert shift_view(shop(Arithmetic(), histories(walk("party", range(5))))) is None
    from dataclasses import replace

    bare = shop(Arithmetic(), everyone())
    products = tuple(Product(product.product_id, product.name) for product in bare.products)
    assert shift_view(replace(bare, products=products, departments=("",) * COUNT)) is None
