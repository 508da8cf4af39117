"""Candidates of product lists in a market: the best that it sells, however little of a search over all it sells."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.index import ProductIndex
from jobs.lists.assortment import Assortment
from jobs.lists.candidates import CandidateRetriever
from jobs.lists.touch_points import ALTERNATIVES, COLD, MODEL
from models.assembly.rulebook import Attributes
from models.popularity import ProductPopularity
from models.search import search
from models.vocabulary import Vocabulary


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 5), st.integers(1, 4), st.floats(0.05, 1))
def test_the_first_a_market_sells_are_its_nearest(seed: int, products: int, n: int, depth: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, (products, 3)).astype(np.float32)
    ids = Vocabulary(pa.array([f"p{n:02}" for n in range(products)]))
    indexed = rng.permutation(products)[: rng.integers(1, products + 1)]  # some products have no vector
    index = ProductIndex(
        Vocabulary(ids.decode(indexed)), search.build_index(vectors[indexed]), {"vectors": vectors[indexed]}, {}
    )
    unknown = np.full(products, -1)
    available = rng.random((2, products)) < share
    cold = rng.random(products) < 0.2
    nothing = ProductPopularity(np.zeros((2, products), np.float32), np.zeros(products, np.float32))
    assortment = Assortment(
        ids, Vocabulary(pa.array(["A", "B"])), available,
        Attributes(unknown, unknown, unknown, np.full(products, np.nan, np.float32), np.zeros(products, bool)),
        *(Vocabulary(pa.array([], pa.string())) for _ in range(3)), nothing, nothing, date(2026, 3, 2),
    )  # fmt: skip
    searching = CandidateRetriever(ALTERNATIVES, index, assortment, cold, n * depth)
    for market in range(2):
        found = searching.in_market(market, n, np.flatnonzero(available[market]))[np.arange(available[market].sum())]
        for row, product in enumerate(np.flatnonzero(available[market])):
            shown = [int(p) for p in found.rows[row] if p >= 0 and available[market, p]][:n]
            there = [int(p) for p in indexed if available[market, p] and p != product]
            known = product in indexed and vectors[product].any()  # zeros tell nothing
            scores = {p: float(vectors[p] @ vectors[product]) for p in there} if known else {}
            best = sorted(scores.values(), reverse=True)[:n]
            assert [scores[p] for p in shown] == best
            labels = found.labels[row][found.rows[row] >= 0]
            assert (labels == np.where(cold[found.rows[row][found.rows[row] >= 0]], COLD, MODEL)).all()
