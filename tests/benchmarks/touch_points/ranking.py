"""Category pages: does what a customer takes next stand higher in the customer's own order than in the market's?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from feature_repo.client.ranking import with_popularity
from models.arrays import Rows
from models.contract import FloatMatrix
from models.evaluation.baselines import ItemNeighbours, OwnRepeat, PopularityScorer
from models.evaluation.metrics import Metrics, RowScores, from_scorer, from_vectors
from models.popularity import smoothed
from models.sequences import Sequences
from tests.benchmarks.touch_points.baskets import Baskets
from tests.benchmarks.touch_points.data import Ground, Markets
from tests.benchmarks.touch_points.judge import FIRST, Answers, TouchPoint, diversity

SHOWN = ("mrr", "ndcg@10", "auc")
POPULAR_DAYS = 28
BATCH = 512


@dataclass(frozen=True)
class Pages:
    """q pages of a category in a customer's market, opened after T."""

    customers: Rows
    """[q], rows of the histories."""
    categories: Rows
    """[q]."""
    targets: Rows
    """[q], the first product of the category that the customer takes after T."""
    unavailable: int
    """Pages left out: the target was not for sale in the customer's market at T."""
    unknown: int
    """Pages of customers without a history: they get the market's order, so there is nothing to compare."""


def ranking(ground: Ground, encoded: Mapping[str, tuple[FloatMatrix, FloatMatrix]], bought_only: bool) -> TouchPoint:
    """Ours, one for each model's (customer vectors [customers, d + 1], product vectors), against orders for everybody
    and simple ones for the customer. `bought_only`: the customer's next purchase instead of the next event.
    """
    assert ground.markets is not None and ground.category is not None
    pages = pages_of(ground.after(ground.baskets if bought_only else ground.visits), ground)
    counts = np.bincount(ground.train.products, minlength=ground.products)
    entrants = {name: _judged(scores, pages, ground, counts) for name, scores in _entrants(ground, encoded).items()}
    what = "the next purchase" if bought_only else "the next product looked at"
    asked = (
        f"{what} in a category, among all its products for sale in the customer's market, {len(pages.targets):,} "
        f"pages of {len(np.unique(pages.customers)):,} customers; {pages.unavailable:,} products not for sale there "
        f"at T are left out, and {pages.unknown:,} pages of unknown customers, who get the market's order"
    )
    name = "ranking of category pages, next purchase" if bought_only else "ranking of category pages"
    return TouchPoint(name, asked, pages.customers, entrants, SHOWN)


def pages_of(groups: Baskets, ground: Ground) -> Pages:
    """The first known product that each customer takes in each category."""
    assert ground.markets is not None and ground.category is not None
    owner = np.repeat(groups.customers, np.diff(groups.offsets))
    known = groups.products >= 0
    lines = pl.DataFrame({"customer": owner[known], "product": groups.products[known]})
    lines = lines.with_columns(pl.Series("category", ground.category[lines["product"].to_numpy()]))
    lines = lines.filter(pl.col("category") >= 0).unique(["customer", "category"], keep="first", maintain_order=True)
    customers, products, categories = (lines[name].to_numpy() for name in ("customer", "product", "category"))
    home = ground.markets.home[customers]
    there = (home >= 0) & ground.markets.available[home, products]
    return Pages(customers[there], categories[there], products[there], int(((home >= 0) & ~there).sum()),
                 int((home < 0).sum()))  # fmt: skip


def rank_on_pages(row_scores: RowScores, pages: Pages, ground: Ground) -> tuple[Rows, Rows, Rows]:
    """(rank of each target [q], products of each page [q], the first 6 places of each page [q, 6]).

    Ties count against the target. Raises ValueError on scores that are not finite.
    """
    assert ground.markets is not None and ground.category is not None
    ranks, sizes = np.empty(len(pages.targets), np.int64), np.empty(len(pages.targets), np.int64)
    shown = np.full((len(ranks), FIRST), -1, dtype=np.int64)
    order = np.argsort(pages.customers, kind="stable")
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        scores = row_scores(pages.customers[chosen])
        if not np.isfinite(scores).all():
            raise ValueError("scores are NaN or infinite; no page is ranked by them")
        for row, page in enumerate(chosen):
            for_sale = ground.markets.available[ground.markets.home[pages.customers[page]]]
            products = np.flatnonzero(for_sale & (ground.category == pages.categories[page]))
            own = scores[row, products]
            ranks[page] = (own >= scores[row, pages.targets[page]]).sum()  # the target reaches itself: 1 is the top
            sizes[page] = len(products)
            best = products[np.argsort(-own, kind="stable")[:FIRST]]
            shown[page, : len(best)] = best
    return ranks, sizes, shown


def page_metrics(ranks: Rows, sizes: Rows) -> Metrics:
    """mrr, ndcg@10 and auc [q] of one target each; auc is the share of the page's other products that stand below."""
    return {
        "mrr": 1.0 / ranks,
        "ndcg@10": np.where(ranks <= 10, 1.0 / np.log2(ranks + 1.0), 0.0),
        "auc": np.where(sizes > 1, (sizes - ranks) / np.maximum(sizes - 1, 1), 0.5),
    }


def market_order(markets: Markets) -> FloatMatrix:
    """[markets, products], as the night orders pages for people nobody knows."""
    return smoothed(markets.wanted, markets.wanted.sum(axis=0), len(markets.wanted))


def _entrants(ground: Ground, encoded: Mapping[str, tuple[FloatMatrix, FloatMatrix]]) -> dict[str, RowScores]:
    assert ground.markets is not None
    order, home = market_order(ground.markets), ground.markets.home
    everywhere = ground.markets.wanted.sum(axis=0)
    found: dict[str, RowScores] = {}
    for name, vectors in encoded.items():
        found[name] = _as_served(from_vectors(*vectors), order, home)
    for name, vectors in encoded.items():
        found[f"{name.removeprefix('ours, ')}, vectors alone"] = from_vectors(*vectors)
    found["market's order"] = lambda rows: order[home[rows]]
    found["market's own events alone"] = lambda rows: ground.markets.wanted[home[rows]]
    found["whole shop's order"] = lambda rows: np.tile(everywhere, (len(rows), 1))
    popular = PopularityScorer(ground.train, ground.products, ground.split, POPULAR_DAYS)
    histories: Sequences = ground.train
    found["own products first, then popularity"] = from_scorer(OwnRepeat(popular), histories)
    found["item-kNN, recency"] = from_scorer(ItemNeighbours(ground.train, ground.products), histories)
    return found


def _as_served(vectors: RowScores, order: FloatMatrix, home: Rows) -> RowScores:
    """As `jobs.ask.lookup.rank` does: with what the market's interest in each product adds."""
    return lambda rows: with_popularity(vectors(rows), order[home[rows]]).astype(np.float32)


def _judged(row_scores: RowScores, pages: Pages, ground: Ground, counts: Rows) -> Answers:
    ranks, sizes, shown = rank_on_pages(row_scores, pages, ground)
    return Answers(page_metrics(ranks, sizes), diversity(shown, counts))
