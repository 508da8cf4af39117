"""You Might Also Like: of what a customer looks at, which alternatives do they look at in their next session?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from jobs.index import CO_VIEWS, LOOKED_AT, ProductIndex, similarity_vectors
from jobs.lists.touch_points import ALTERNATIVES, own_category_first
from models.arrays import Rows, top_n_of_scores
from models.assembly.assembly import rankings
from models.contract import FloatMatrix
from models.copurchase import pairs
from models.copurchase.model import BasketCounts, CoPurchase
from models.ragged import ranges
from models.search import search
from models.sequences import SECONDS_PER_DAY
from models.vocabulary import Vocabulary
from tests.benchmarks.common.basket_metrics import Formula, basket_baseline
from tests.benchmarks.touch_points.baskets import Baskets
from tests.benchmarks.touch_points.data import SESSION_GAP, Ground, Truth
from tests.benchmarks.touch_points.judge import DEPTH, Answers, Questions, TouchPoint, answers, first_kept

SEARCH_DEPTH = 4
"""As `ListsConfig.search_depth`: neighbours searched, as a multiple of the list's length."""
POPULAR_DAYS = 28


def you_might_also_like(
    ground: Ground, vectors: Mapping[str, FloatMatrix], days: float, truth: Truth | None
) -> TouchPoint:
    """Ours, one for each model's product `vectors`, against co-view; for the synthetic shop also its `truth`.

    Co-view are sessions, or baskets where nobody's clicks are known: as cosine, as conditional probability, and with
    the prior that People Also Bought has.
    """
    sources, questions, unanswered = next_visit_questions(ground, days)
    counts = np.bincount(ground.train.products, minlength=ground.products)
    entrants: dict[str, Answers] = {}
    for name, lists in _entrants(ground, vectors, days):
        beside = {} if truth is None else {"true alternatives@6": truth.alternatives(lists, counts)}
        entrants[name] = answers(lists[sources], questions, counts, **beside)
    kind = "the next basket" if ground.category is None else "the next session, of the product's category"
    asked = (
        f"of a product, what the customer takes up in {kind} within {days:g} days, {len(questions):,} questions of "
        f"{len(np.unique(questions.customers)):,} customers; {unanswered:,} products had no such successor"
    )
    return TouchPoint("you_might_also_like", asked, questions.customers, entrants)


def next_visit_questions(ground: Ground, days: float) -> tuple[Rows, Questions, int]:
    """(sources [q], questions, products that had no successor) from the visits after T.

    The source is a product of one visit; its targets are the other products of the customer's next visit, if that
    begins at most `days` later, and where products have categories only those of the source's.
    """
    visits = ground.after(ground.visits)
    sources, customers, targets, unanswered = [], [], [], 0
    for this, following in enumerate(next_visits(visits, days)):
        now = _distinct(visits, this)
        later = _distinct(visits, following) if following >= 0 else now[:0]
        for product in now:
            right = later[later != product]
            if ground.category is not None:
                right = right[(ground.category[right] == ground.category[product]) & (ground.category[product] >= 0)]
            if not len(right):
                unanswered += 1
                continue
            sources.append(product)
            customers.append(visits.customers[this])
            targets.append(right)
    if not targets:
        raise ValueError("no customer comes back after the split time; give more days after it")
    offsets = np.concatenate(([0], np.cumsum([len(right) for right in targets])))
    return np.array(sources), Questions(np.array(customers), offsets, np.concatenate(targets)), unanswered


def next_visits(visits: Baskets, days: float) -> Rows:
    """[visits], the same customer's next visit if it begins at most `days` later; -1 without one."""
    order = np.lexsort((np.arange(len(visits.times)), visits.customers))
    this, after = order[:-1], order[1:]
    soon = visits.times[after] - visits.times[this] <= days * SECONDS_PER_DAY
    found = np.full(len(order), -1, dtype=np.int64)
    found[this] = np.where((visits.customers[after] == visits.customers[this]) & soon, after, -1)
    return found


def alternatives(vectors: FloatMatrix, ground: Ground, n: int, with_views: bool) -> Rows:
    """[products, n], as the night makes the lists of a market that sells everything, without rules."""
    unit = similarity_vectors(vectors)
    vocabulary = Vocabulary(pa.array([str(product) for product in range(len(unit))]))
    tensors, manifest = {"vectors": unit}, {}
    visits = pairs.visits(ground.train, SESSION_GAP)
    if with_views and len(visits):
        views = CoPurchase.fit(BasketCounts.of([visits], len(unit), LOOKED_AT, ground.split))
        tensors |= {CO_VIEWS + name: value for name, value in views.tensors().items()}
        manifest = {"co_views": views.config()}
    assert ALTERNATIVES.find is not None
    found = ALTERNATIVES.find(
        ProductIndex(vocabulary, search.build_index(unit), tensors, manifest), n * SEARCH_DEPTH, None
    )
    if ground.category is not None:
        found = own_category_first(found, ground.category, ground.category)
    return first_kept(found.rows, found.rows >= 0, n)


def _entrants(ground: Ground, vectors: Mapping[str, FloatMatrix], days: float) -> Iterator[tuple[str, Rows]]:
    for name, matrix in vectors.items():
        yield name, alternatives(matrix, ground, DEPTH, with_views=True)
        yield f"{name}, vectors alone", alternatives(matrix, ground, DEPTH, with_views=False)
    before = ground.before(ground.visits)
    known = before.products >= 0
    offsets, products = np.concatenate(([0], np.cumsum(known)))[before.offsets], before.products[known]
    visits = pairs.Baskets(offsets, products, before.times)
    together = CoPurchase.fit(BasketCounts.of([visits], ground.products, LOOKED_AT, ground.split))
    lately = ground.train.times >= ground.split - POPULAR_DAYS * SECONDS_PER_DAY
    wanted = np.bincount(ground.train.products[lately], minlength=ground.products).astype(np.float64)
    ranked = together.neighbours(np.arange(ground.products), ground.products).products
    yield "co-view model", _completed(ranked, ground.category, wanted)
    formulas: dict[str, Formula] = {"co-view cosine": "cosine", "co-view conditional probability": "conditional"}
    for name, formula in formulas.items():
        ranked = basket_baseline(offsets, products, ground.products, formula, ground.products)
        yield name, _completed(ranked, ground.category, wanted)
    following = _following(Baskets(offsets, products, before.times, before.customers), ground.products, days)
    yield "next-visit conditional probability", _completed(following, ground.category, wanted)
    nothing = np.full((ground.products, 1), -1, dtype=np.int64)
    where = "" if ground.category is None else " within the category"
    yield f"popularity of {POPULAR_DAYS} days{where}", _completed(nothing, ground.category, wanted)


def _following(visits: Baskets, products: int, days: float) -> Rows:
    """[products, products], what the same customers took up in their next visit, most often first."""
    following = next_visits(visits, days)
    lengths = np.diff(visits.offsets)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    after = following[owner]
    starts, size = visits.offsets[:-1][after], np.where(after >= 0, lengths[after], 0)
    counts = pairs.count_following(visits.products, np.ones(len(owner)), starts, size, visits.products, products)
    scores = np.full((products, products), -np.inf, dtype=np.float32)
    sold = np.bincount(visits.products, minlength=products)
    row, pair = ranges(counts.offsets[:-1], np.diff(counts.offsets))
    scores[row, counts.columns[pair]] = counts.values[pair] * (1 + 1e-6 * sold[counts.columns[pair]] / sold.max())
    np.fill_diagonal(scores, -np.inf)
    return top_n_of_scores(scores, products)[1]


def _completed(ranked: Rows, category: Rows | None, wanted: np.ndarray) -> Rows:
    """The first of each ranking that has the source's category, then its category's most `wanted`."""
    group = np.zeros(len(ranked), dtype=np.int64) if category is None else category
    keep = (ranked >= 0) & (group[ranked] == group[:, None])
    offsets, popular, _ = rankings(wanted, np.ones(len(ranked), dtype=bool), group, max(int(group.max()) + 1, 1))
    rows = first_kept(ranked, keep, DEPTH)
    for source in np.flatnonzero((rows[:, -1] < 0) & (group >= 0)):
        held = rows[source][rows[source] >= 0]
        rest = popular[offsets[group[source]] : offsets[group[source] + 1]]
        rest = rest[~np.isin(rest, held) & (rest != source)]
        row = np.concatenate([held, rest])[:DEPTH]
        rows[source, : len(row)] = row
    return rows


def _distinct(visits: Baskets, which: int) -> Rows:
    products = np.unique(visits.products[visits.offsets[which] : visits.offsets[which + 1]])
    return products[products >= 0]
