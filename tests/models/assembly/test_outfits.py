"""Outfits keep their laws in random shops, whatever markets sell and rules allow."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.assembly.outfit_kernels import Agreement, Garments, Looks, OutfitRules, RoleOffers
from models.assembly.outfits import ROLES, PairEvidence, bits_of, editor_sets, looks_of, masks_of, role_offers
from models.copurchase.model import BasketCounts, CoPurchase
from models.copurchase.pairs import Baskets

PRODUCTS, MARKETS, EDITORS = 60, 70, 7
TOP, BOTTOM, DRESS = range(3)
MOST = (2, 6, 4, EDITORS)
BY = Agreement(0.3, 0.5, 0.1, 0.4)


class Shop:
    """Random products, stock, rules, sets and candidates; two classes of markets with rules of their own."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.role = rng.integers(-1, len(ROLES), PRODUCTS).astype(np.int8)
        self.department, self.price = rng.integers(0, 2, PRODUCTS), rng.choice([np.nan, 1, 2, 5], PRODUCTS)
        numbers = rng.choice([np.nan, 0.0, 0.5], (2, PRODUCTS)).astype(np.float32)
        colour = rng.integers(-1, 3, PRODUCTS).astype(np.int16)
        self.garments = Garments(self.role, self.department, self.price.astype(np.float32), *numbers, colour)
        self.sold = rng.random((PRODUCTS, MARKETS)) < rng.choice([0.3, 0.7, 0.95])
        self.allowed = self.sold & (rng.random((PRODUCTS, 1)) < 0.9)
        self.first = rng.random(MARKETS) < 0.5
        self.mixes = np.stack([np.eye(2, dtype=bool), np.ones((2, 2), bool)])
        self.windows = np.array([[0.0, np.inf], [0.5, 2.0]])
        self.owners = np.flatnonzero(self.sold.any(axis=1))
        sizes = rng.integers(2, 4, int(rng.integers(0, 3)))
        self.sets = [
            (10 + n, rng.choice(PRODUCTS, size, replace=False).tolist(), rng.random(MARKETS) < 0.6)
            for n, size in enumerate(sizes)
        ]
        size = (len(self.owners), len(ROLES), 8)
        rows, scores = np.full(size, -1, np.int32), np.full(size, -np.inf, np.float32)
        for o, role in np.ndindex(size[:2]):
            some = rng.permutation(np.flatnonzero((self.role == role) & (np.arange(PRODUCTS) != self.owners[o])))[:8]
            rows[o, role, : len(some)], scores[o, role, : len(some)] = some, -np.arange(len(some))
        self.offers = RoleOffers(self.owners.astype(np.int32), rows, scores, np.zeros(size, np.int8))

    def looks(self) -> tuple[Looks, np.ndarray]:
        """(looks, [owners, looks, markets] which markets show each)."""
        classes = bits_of(np.stack([self.first, ~self.first]))
        rules = OutfitRules(bits_of(self.sold), bits_of(self.allowed), classes, self.mixes, self.windows)
        sets = editor_sets(self.sets, self.owners, MARKETS)
        found = looks_of(self.offers, self.garments, BY, rules, sets, MARKETS, MOST)
        shown = masks_of(found.markets.reshape(-1, found.markets.shape[2]), MARKETS)
        return found, shown.reshape(*found.rules.shape, MARKETS) & (found.rows[:, :, :1] >= 0)

    def fits(self, owner: int, product: int, market: int) -> bool:
        """Whether the market's rules allow the pair."""
        of = 0 if self.first[market] else 1
        price, own = self.price[product], self.price[owner]
        priced = not (price > 0 and own > 0) or self.windows[of, 0] * own <= price <= self.windows[of, 1] * own
        return bool(priced and self.mixes[of, self.department[owner], self.department[product]])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_market_shows_what_it_sells_once_and_in_different_roles(seed: int) -> None:
    shop = Shop(seed)
    looks, shown = shop.looks()
    assert shown.sum(axis=1).max(initial=0) <= MOST[0]
    assert not (shown.any(axis=1) & ~shop.sold[shop.owners]).any(), "a market without the product shows no look of it"
    for o, market in np.argwhere(shown.any(axis=1)):
        owner, pieces = shop.owners[o], [row[row >= 0] for row in looks.rows[o][shown[o, :, market]]]
        everything = np.concatenate([[owner], *pieces])
        assert len(set(everything)) == len(everything), "no product is twice on the page"
        assert shop.allowed[everything[1:], market].all()
        rules = looks.rules[o][shown[o, :, market]]
        assert list(rules >= 0) == sorted(rules >= 0, reverse=True), "an editor's sets come first"
        for rule, look in zip(rules, pieces, strict=True):
            if rule >= 0:
                number, products, where = shop.sets[rule - 10]
                assert number == rule and where[market] and {owner, *look} == set(products)
                continue
            roles = [int(role) for role in shop.role[[owner, *look]]]
            assert 2 <= len(look) <= MOST[2] and len(set(roles)) == len(roles) and -1 not in roles
            assert DRESS not in roles or not {TOP, BOTTOM} & set(roles), "a dress takes the place of top and bottom"
            assert all(shop.fits(owner, product, market) for product in look)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_set_is_shown_with_each_of_its_products_where_all_are_sold(seed: int) -> None:
    shop = Shop(seed)
    shop.sets = shop.sets[:1]
    looks, shown = shop.looks()
    for number, products, where in shop.sets:
        whole = where & shop.allowed[products].all(axis=0)
        for product in products:
            at = np.flatnonzero(shop.owners == product)
            if len(at) and whole.any():
                assert looks.rules[at[0], 0] == number and (shown[at[0], 0] == whole).all()


def test_what_markets_sell_makes_further_looks_until_each_has_enough() -> None:
    shop = Shop(3)
    shop.allowed[:], shop.sold[:], shop.sets = True, True, []
    whole, _ = shop.looks()
    shop.sold[:30, ::2] = shop.allowed[:30, ::2] = False
    parted, shown = shop.looks()
    assert (parted.rows[:, :, 0] >= 0).sum() > (whole.rows[:, :, 0] >= 0).sum()
    dressed = shop.role[shop.owners] >= 0
    served = shown.sum(axis=1)[dressed][shop.sold[shop.owners[dressed]]]
    assert (served > 0).mean() > 0.9


def test_what_is_bought_with_a_product_is_its_first_candidate_of_the_role() -> None:
    role = np.array([0, 1, 1, 3, 3, 6], np.int8)
    nothing = np.full(6, np.nan, np.float32)
    garments = Garments(role, np.zeros(6, np.int64), nothing, nothing, nothing, np.full(6, -1, np.int16))
    groups = [(0, 2), (0, 2, 4), (1, 3), (0, 5)] * 20
    offsets = np.array([0, *np.cumsum([len(group) for group in groups])])
    baskets = Baskets(offsets, np.array([product for group in groups for product in group]))
    evidence = PairEvidence(CoPurchase.fit(BasketCounts.of([baskets], 6)), None, 1.0, 1.0)
    offers = role_offers(evidence, np.arange(6), garments, BY, np.ones((1, 1), bool), 2, (1, 8, 0))
    assert offers.rows[0, :, 0].tolist() == [-1, 2, -1, 4, -1, -1, 5]
    assert offers.labels[0, 1].tolist() == [1, 0], "bought together, and a guess"
    for of_role in offers.scores[0]:
        assert all(a >= b for a, b in pairwise(of_role[np.isfinite(of_role)]))


@pytest.mark.parametrize("markets", [1, 63, 64, 65, 200])
def test_bits_are_masks(markets: int) -> None:
    masks = np.random.default_rng(1).random((9, markets)) < 0.5
    assert (masks_of(bits_of(masks), markets) == masks).all()
