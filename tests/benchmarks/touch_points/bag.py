"""A Little Something Extra: a product is taken out of a later basket; do the others' lists bring it back?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_repo.client.bag import BagList, combine
from models.arrays import Rows
from models.copurchase.model import BasketCounts, CoPurchase
from models.copurchase.pairs import Baskets, PairCounts, count_together, distinct
from tests.benchmarks.touch_points.hidden import Bags
from tests.benchmarks.touch_points.judge import DEPTH, TouchPoint, answers, first_kept

DEEP = 8
"""Neighbours looked at for the products of other categories, as a multiple of the list's length."""
FloatVector = npt.NDArray[np.float64]
Rule = Callable[[npt.NDArray[np.float64]], FloatVector]
"""From the scores [bag, candidates], 0 where a list has not got one, to the score of each candidate."""


def _best(count: int) -> Rule:
    def rule(scores: npt.NDArray[np.float64]) -> FloatVector:
        return np.asarray(np.sort(scores, axis=0)[-count:].mean(axis=0))

    return rule


RULES: dict[str, Rule] = {
    "mean": lambda scores: np.asarray(scores.mean(axis=0)),
    "best one": _best(1),
    "mean of the best two": _best(2),
    "mean of the best three": _best(3),
    "noisy or": lambda scores: np.asarray(1 - np.prod(1 - np.minimum(scores, 1), axis=0)),
    "mean of logarithms": lambda scores: np.asarray(np.log(np.maximum(scores, 1e-3)).mean(axis=0)),
    "mean of roots": lambda scores: np.asarray(np.sqrt(scores).mean(axis=0)),
    "quadratic mean": lambda scores: np.asarray(np.sqrt((scores**2).mean(axis=0))),
}
"""What was compared before `combine` took one of them."""


@dataclass(frozen=True)
class ExtraLists:
    """A published list of every product."""

    products: Rows
    """[P, 24], -1 past the last."""
    scores: FloatVector
    """[P, 24], probabilities."""
    category: Rows | None
    """[P]."""

    def of(self, product: int) -> BagList:
        """The list as a service has it."""
        known = self.products[product] >= 0
        rows = self.products[product][known]
        named = [None] * len(rows) if self.category is None else [_name(code) for code in self.category[rows]]
        return BagList(str(product), [str(row) for row in rows], self.scores[product][known].tolist(), named)


def extra_lists(model: CoPurchase, products: int, category: Rows | None) -> ExtraLists:
    """Each product's 24 most probable co-purchases of other categories."""
    deep = DEPTH if category is None else min(DEPTH * DEEP, products)
    found = model.neighbours(np.arange(products), deep)
    keep = found.products >= 0
    if category is not None:
        keep &= (category[found.products] != category[:, None]) | (category[:, None] < 0)
    place = np.broadcast_to(np.arange(deep), keep.shape)
    order = first_kept(place, keep, DEPTH)
    rows = np.where(order >= 0, np.take_along_axis(found.products, order, axis=1), -1)
    return ExtraLists(rows, np.exp(np.take_along_axis(found.scores, order, axis=1).astype(np.float64)), category)


def bag_extras(train: tuple[Rows, Rows], lists: ExtraLists, bags: Bags) -> Iterator[TouchPoint]:
    """On all bags, and apart on those of two and more products; `train` are (offsets, products) of earlier baskets."""
    category, products = lists.category, len(lists.products)
    counts = np.bincount(train[1], minlength=products)
    shown = {"ours": combined(lists, bags)} | dict(_baselines(train, bags, category, products))
    limits = "" if category is None else (
        f", of another category than the bag's, one of each category; {bags.same_category:,} hidden products share a "
        "category with the bag and are not asked"
    )  # fmt: skip
    slices = {"bag_extras": (1, None), "bag_extras, two or more in the bag": (2, None),
              "bag_extras, two to five in the bag": (2, 5)}  # fmt: skip
    for name, (least, most) in slices.items():
        chosen = (bags.sizes >= least) & (bags.sizes <= (most or bags.sizes.max()))
        if not chosen.any() or (most and chosen.sum() == (bags.sizes >= least).sum()):
            continue
        part = bags.take(chosen)
        entrants = {
            entrant: answers(rows[chosen], part.questions, counts, filled=_filled(rows[chosen]))
            for entrant, rows in shown.items()
        }
        asked = f"the product that was taken out of the bag, {len(part.questions):,} questions{limits}"
        yield TouchPoint(name, asked, part.questions.customers, entrants)


def combined(lists: ExtraLists, bags: Bags) -> Rows:
    """[q, 24], what `feature_repo.client.bag.combine` makes of the lists of each bag's products."""
    return _by_bag(bags, lambda bag: [int(product) for product, _ in combine(
        [lists.of(product) for product in bag],
        [None if lists.category is None else _name(lists.category[product]) for product in bag], DEPTH)])  # fmt: skip


def ways_to_combine(train: tuple[Rows, Rows], lists: ExtraLists, bags: Bags) -> Iterator[TouchPoint]:
    """`combine` against every rule of RULES in its place, by the size of the bag; in shares of it, one is `ours`."""
    counts = np.bincount(train[1], minlength=len(lists.products))
    shown = {"ours": combined(lists, bags)} | {name: _by_rule(lists, bags, rule) for name, rule in RULES.items()}
    for least, most in ((1, 1), (2, 2), (3, 5), (6, 15), (16, 10_000)):
        chosen = (bags.sizes >= least) & (bags.sizes <= most)
        if chosen.any():
            part = bags.take(chosen)
            entrants = {name: answers(rows[chosen], part.questions, counts) for name, rows in shown.items()}
            name = f"bag_extras, {least} to {most} in the bag"
            yield TouchPoint(name, f"{len(part.questions):,} questions", part.questions.customers, entrants)


def _by_rule(lists: ExtraLists, bags: Bags, rule: Rule) -> Rows:
    def rank(bag: Rows) -> list[int]:
        rows, own = lists.products[bag], lists.scores[bag]
        owner, place = np.nonzero(rows >= 0)
        candidates, at = np.unique(rows[owner, place], return_inverse=True)
        scores = np.zeros((len(bag), len(candidates)))
        scores[owner, at] = own[owner, place]
        order = np.argsort(-rule(scores), kind="stable")
        return _allowed(candidates[order], bag, lists.category)

    return _by_bag(bags, rank)


def _baselines(
    train: tuple[Rows, Rows], bags: Bags, category: Rows | None, products: int
) -> Iterator[tuple[str, Rows]]:
    offsets, bought = distinct(*train, products)
    sold = np.bincount(bought, minlength=products).astype(np.float64)
    counts = count_together(offsets, bought, np.ones(len(offsets) - 1), products)
    together = replace(counts, values=counts.values / np.sqrt(sold[counts.owners] * sold[counts.columns]))
    chances = replace(counts, values=counts.values / sold[counts.owners])
    tie_break = 1e-9 * sold / max(1.0, float(sold.max()))
    for name, matrix in (("summed cosine", together), ("summed conditional probability", chances)):
        yield name, _by_bag(bags, lambda bag, matrix=matrix: _ranked(_summed(matrix, bag) + tie_break, bag, category))
    yield "popularity", _by_bag(bags, lambda bag: _ranked(sold, bag, category))


def _by_bag(bags: Bags, rank: Callable[[Rows], list[int]]) -> Rows:
    shown = np.full((len(bags.questions), DEPTH), -1, dtype=np.int64)
    for row in range(len(shown)):
        best = rank(bags.held[bags.offsets[row] : bags.offsets[row + 1]])[:DEPTH]
        shown[row, : len(best)] = best
    return shown


def _summed(matrix: PairCounts, bag: Rows) -> FloatVector:
    total = np.zeros(len(matrix))
    for product in bag:
        part = slice(matrix.offsets[product], matrix.offsets[product + 1])
        total[matrix.columns[part]] += matrix.values[part]
    return total


def _ranked(scores: FloatVector, bag: Rows, category: Rows | None) -> list[int]:
    """The 24 best that may be shown; scores are of all products."""
    wide = min(len(scores), DEPTH + len(bag)) if category is None else len(scores)
    best = np.argpartition(-scores, wide - 1)[:wide]
    return _allowed(best[np.lexsort((best, -scores[best]))], bag, category)


def _allowed(ranked: Rows, bag: Rows, category: Rows | None) -> list[int]:
    """The first 24 that are not in the bag, nor of its categories, one of each category."""
    keep = ~np.isin(ranked, bag)
    if category is None:
        return ranked[keep][:DEPTH].tolist()  # type: ignore[no-any-return]
    own = category[bag][category[bag] >= 0]
    ranked = ranked[keep & ~np.isin(category[ranked], own)]
    _, first = np.unique(category[ranked], return_index=True)
    once = np.zeros(len(ranked), dtype=bool)
    once[first] = True
    return ranked[once | (category[ranked] < 0)][:DEPTH].tolist()  # type: ignore[no-any-return]


def _filled(shown: Rows) -> float:
    return float((shown[:, :6] >= 0).sum(axis=1).mean())


def _name(code: int) -> str | None:
    return str(code) if code >= 0 else None


def fitted(train: tuple[Rows, Rows], products: int, times: Rows | None, now: int | None) -> CoPurchase:
    """The night's model of co-purchase."""
    return CoPurchase.fit(BasketCounts.of([Baskets(*train, times)], products, now=now))
