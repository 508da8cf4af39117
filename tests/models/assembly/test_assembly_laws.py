"""Assembled lists: laws under random shops and rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.assembly import assembly
from models.assembly.assembly import Candidates, ListShape, Owners, Tiers, assemble, rankings
from models.assembly.rulebook import Attributes, Rulebook
from tests.support.made_lists import (
    BOOSTED,
    BURIED,
    EXCLUDED,
    MODEL,
    NAMES,
    PIN,
    PINNED,
    POPULAR,
    changed,
    no_rules,
)

PRODUCTS = 14


@st.composite
def shops(draw: st.DrawFn) -> tuple[int, Candidates, Owners, Tiers, np.ndarray[Any, Any], Attributes, Rulebook]:
    """Random candidates, owners, stock and rules of a few lists."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lists, n, depth = draw(st.integers(1, 4)), draw(st.integers(1, 8)), draw(st.integers(0, PRODUCTS))
    rows = np.stack([rng.permutation(PRODUCTS)[:depth] for _ in range(lists)])
    ends = rng.integers(0, depth + 1, lists)
    rows = np.where(np.arange(depth) < ends[:, None], rows, -1)
    scores = np.where(rows >= 0, -np.sort(-rng.integers(0, 9, rows.shape), axis=1), -np.inf).astype(np.float32)
    candidates = Candidates(rows, scores, np.where(rows >= 0, MODEL, -1).astype(np.int8))
    lengths = rng.integers(0, 4, lists)
    owners = Owners(
        rng.integers(-1, PRODUCTS, lists), np.concatenate(([0], np.cumsum(lengths))),
        rng.integers(0, PRODUCTS, lengths.sum()), rng.integers(-1, PRODUCTS, (lists, int(rng.integers(0, 3)))),
    )  # fmt: skip
    available = rng.random(PRODUCTS) < rng.choice([0.3, 0.9, 1.0])
    ranking = rankings(rng.random(PRODUCTS), available, np.zeros(PRODUCTS, np.int64), 1)
    tiers = Tiers(np.zeros((lists, 1), np.int64), ranking, np.array([POPULAR], np.int8))
    attributes = Attributes(
        rng.integers(-1, 3, PRODUCTS), rng.integers(-1, 4, PRODUCTS), rng.integers(-1, 2, PRODUCTS),
        rng.choice([np.nan, 1, 2, 5, 9], PRODUCTS).astype(np.float32), rng.random(PRODUCTS) < 0.2,
    )  # fmt: skip
    some = rng.random(PRODUCTS) < 0.3
    places = np.where(some, rng.integers(-6, 7, PRODUCTS), 0).astype(np.int16)
    pins = rng.choice(PRODUCTS, int(rng.integers(0, 3)), replace=False)
    book = replace(
        no_rules(PRODUCTS),
        excluded=np.where(rng.random(PRODUCTS) < 0.15, EXCLUDED, -1).astype(np.int16), places=places,
        mover=np.where(places > 0, BOOSTED, np.where(places < 0, BURIED, -1)).astype(np.int16),
        pins=pins, pin_places=np.sort(rng.choice(8, len(pins), replace=False)),
        pin_rules=np.full(len(pins), PIN, np.int16), brand_cap=int(rng.integers(0, 3)),
        category_cap=int(rng.integers(0, 3)), mixes=rng.random((3, 3)) < 0.8,
        price_high=float(rng.choice([0.5, 2, np.inf])), diversity=float(rng.choice([0, 0.5, 3])),
        explore_place=int(rng.integers(-1, 8)),
    )  # fmt: skip
    return ListShape(n, PINNED), candidates, owners, tiers, available, attributes, book


def refused(
    product: int, q: int, owners: Owners, available: np.ndarray[Any, Any], attributes: Attributes, book: Rulebook
) -> bool:
    """Whether list q must not show a product, worked out one condition after the other."""
    owner = int(owners.products[q])
    bought = owners.bought[owners.bought_offsets[q] : owners.bought_offsets[q + 1]]
    if product == owner or product in bought or product in owners.beside[q] or not available[product]:
        return True
    if book.excluded[product] >= 0:
        return True
    if owner < 0 or product in book.pins:
        return False
    share = attributes.price[product] / attributes.price[owner]
    return not book.mixes[attributes.department[owner], attributes.department[product]] or share > book.price_high


@settings(max_examples=300, deadline=None)
@given(shops())
def test_the_laws_of_lists(shop: Any) -> None:
    shape, _, owners, _, available, attributes, book = shop
    made, again = assemble(*shop), assemble(*shop)
    n = shape.places
    for q in range(len(made.rows)):
        row = made.rows[q]
        held = int((row >= 0).sum())
        assert (row[:held] >= 0).all(), "no gaps"
        products = row[:held].tolist()
        assert len(set(products)) == held
        assert not [p for p in products if refused(p, q, owners, available, attributes, book)]
        for cap, group in ((book.brand_cap, attributes.brand), (book.category_cap, attributes.category)):
            groups = group[row[:held]]
            assert cap == 0 or np.bincount(groups[groups >= 0], minlength=1).max() <= cap
        capped = held < n and (book.brand_cap or book.category_cap)
        open_to_all = [p for p in range(PRODUCTS) if not refused(p, q, owners, available, attributes, book)]
        offered = [p for p in open_to_all if p not in book.pins]
        assert held == n or capped or set(offered) <= set(products), "a short list has everything there is"
        for pin, place in zip(book.pins, book.pin_places, strict=True):
            free = not refused(pin, q, owners, available, attributes, book) and not (
                book.brand_cap or book.category_cap
            )
            if free and place < held:
                assert pin in products[: place + 1]
        unmoved = [k for k in range(held) if made.rules[q, k] < 0]
        for label in (MODEL, POPULAR):
            scores = [made.scores[q, k] for k in unmoved if made.labels[q, k] == label]
            assert scores == sorted(scores, reverse=True), "only a rule moves a product out of its order"
    assert (made.rules < len(NAMES)).all()
    touched = {NAMES[r] for r in made.rules[made.rules >= 0]}
    assert touched <= set(changed(made)), "what moved a position is counted"
    assert all(count <= len(made.rows) for count in made.effects)
    assert all(np.array_equal(a, b) for a, b in zip(vars(made).values(), vars(again).values(), strict=True))


@settings(max_examples=100, deadline=None)
@given(shops())
def test_without_rules_a_list_is_its_candidates_and_then_its_tiers(shop: Any) -> None:
    shape, candidates, owners, tiers, available, attributes, _ = shop
    made = assemble(shape, candidates, owners, tiers, available, attributes, no_rules(PRODUCTS))
    for q in range(len(made.rows)):
        offered = [*candidates.rows[q].tolist(), *tiers.rankings.rows.tolist()]
        allowed = [
            p for p in dict.fromkeys(offered)
            if p >= 0 and not refused(p, q, owners, available, attributes, no_rules(PRODUCTS))
        ]  # fmt: skip
        assert [int(p) for p in made.rows[q] if p >= 0] == allowed[: shape.places]
        assert (made.rules[q] == -1).all()


@settings(max_examples=300, deadline=None)
@given(shops(), st.integers(0, 20))
def test_lists_in_which_nothing_moves_are_those_of_the_general_loop(shop: Any, cap: int) -> None:
    *inputs, book = shop
    none = np.empty(0, np.int64)
    book = replace(
        book, places=np.zeros(PRODUCTS, np.int16), pins=none, pin_places=none, pin_rules=none.astype(np.int16),
        diversity=0.0, explore_place=-1, brand_cap=cap % 3, category_cap=cap // 7,
    )  # fmt: skip
    one_by_one = assemble(*inputs, book)
    compiled = assembly._book
    with patch.object(assembly, "_book", lambda *of: compiled(*of)._replace(plain=False)):
        general = assemble(*inputs, book)
    for name in ("rows", "scores", "labels", "rules", "effects"):
        assert np.array_equal(getattr(one_by_one, name), getattr(general, name)), name
    known = general.read >= 0
    assert (one_by_one.read[known] <= general.read[known]).all() and (one_by_one.read[known] >= 0).all()


@settings(max_examples=200, deadline=None)
@given(shops(), st.integers(0, 2**32 - 1))
def test_a_list_depends_on_no_candidate_that_it_did_not_read(shop: Any, seed: int) -> None:
    shape, candidates, owners, tiers, available, attributes, book = shop
    made = assemble(*shop)
    rng = np.random.default_rng(seed)
    rows, depth = candidates.rows.copy(), candidates.rows.shape[1]
    for q in np.flatnonzero(made.read >= 0):
        rest = np.setdiff1d(np.arange(PRODUCTS), rows[q, : made.read[q]])
        rows[q, made.read[q] :] = rng.permutation(rest)[: depth - made.read[q]]
    ranking = tiers.rankings
    other_ranking = ranking._replace(rows=rng.permutation(ranking.rows), scores=ranking.scores + 1)
    other_tiers = replace(tiers, rankings=other_ranking)
    other = replace(candidates, rows=rows)
    again = assemble(shape, other, owners, other_tiers, available, attributes, book)
    same = made.read >= 0
    for name in ("rows", "scores", "labels", "rules", "read"):
        assert np.array_equal(getattr(made, name)[same], getattr(again, name)[same]), name
    assert (made.read <= depth).all()
