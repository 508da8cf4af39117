"""From a shop and a time to problems: what to learn before it, and what to be asked after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jobs.errors import UserError
from models.catalogue import Catalogue
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences, Split, time_split
from tests.benchmarks.common.clicks import drawn
from tests.benchmarks.common.problem import Case, IntArray, Problem
from tests.benchmarks.common.shops import Shop

MAIN = "next basket"
NEW_TO_CUSTOMER = "new to the customer"
SHUFFLED, LAST_ONLY = "history shuffled", "only the last product"
NEXT_DAY, NEXT_WEEK = "all of the next day", "all of the next week"
COLD, COLD_AMONG_ALL = "cold products", "cold products among all"
COLD_ENTRANTS = ("transformer", "category_popularity", "random")


@dataclass(frozen=True)
class Known:
    """Which products there are at a time, and their positions from then on."""

    known: IntArray
    """[products], positions in the shop of those with an event before it."""
    new: IntArray
    """[new products], positions of those with none, which the catalogue says something of by the end of the window."""
    position: npt.NDArray[np.int32]
    """[shop's products], 0 .. products - 1 for the known, then the new, -1 for the rest."""

    def only_known(self, sequences: Sequences) -> Sequences:
        """The same events, every product that is not known -1."""
        products = self.position[sequences.products]
        return replace(sequences, products=np.where(products < len(self.known), products, -1).astype(np.int32))


def known_at(shop: Shop, time: int, until: int) -> Known:
    """The products as of `time`; the catalogue's lines before `until` bring the new ones."""
    touched = np.unique(shop.sequences.products[shop.sequences.times < time]).astype(np.int64)
    told = shop.catalogue.filter(shop.catalogue["time"] < until)["product"].unique().to_numpy()
    new = np.setdiff1d(told, touched).astype(np.int64)
    position = np.full(len(shop.ids), -1, dtype=np.int32)
    position[np.concatenate([touched, new])] = np.arange(len(touched) + len(new))
    return Known(touched, new, position)


def problem_at(shop: Shop, time: int, rows: int | None, seed: int) -> tuple[Problem, dict[str, Any]]:
    """Learn from events before `time`, predict the first basket of each known customer in the days after it.

    At most `rows` customers are asked, drawn evenly. Returns the counts that a report must print beside it. Raises
    UserError where nothing is left on a side.
    """
    products = known_at(shop, time, time + int(shop.horizon_days * SECONDS_PER_DAY))
    sequences = products.only_known(shop.sequences)
    try:
        split = time_split(sequences, time, shop.horizon_days, "first_basket", shop.baskets)
    except ValueError as error:
        raise UserError(str(error)) from None
    if not len(split.known_customers):
        raise UserError(f"no customer has events both before and after {time}; choose another time with --split")
    histories, case = _case(MAIN, split, rows, seed)
    categories = shop.categories()
    problem = Problem(
        split.train.take(np.flatnonzero(split.train.lengths)),
        len(products.known),
        {case.reads: histories},
        (case,),
        time,
        _described(shop, products.known, time),
        _described(shop, products.new, time) if len(products.new) else None,
        None if categories is None else categories[np.concatenate([products.known, products.new])],
    )
    end = time + int(shop.horizon_days * SECONDS_PER_DAY)
    within = (shop.sequences.times >= time) & (shop.sequences.times < end)
    counts = {
        "train_events": len(split.train.products),
        "products": problem.products,
        "new_products": len(products.new),
        "asked_customers": len(case.groups),
        "known_customers_with_target": len(split.known_customers),
        "cold_customers": split.cold_customers,
        "target_events": split.target_events,
        "cold_events": split.cold_events,
        "cold_products": len(np.unique(shop.sequences.products[within & (sequences.products < 0)])),
    }
    return problem, counts


def with_slices_and_ablations(problem: Problem, entrants: tuple[str, ...], seed: int) -> Problem:
    """The problem's first case also without what a history holds, and, for `entrants`, with less of the history."""
    main = problem.cases[0]
    histories = problem.histories[main.reads]
    new = replace(main, name=NEW_TO_CUSTOMER, exclude_seen=True, count_misses=False)
    less = {SHUFFLED: shuffled(histories, seed), LAST_ONLY: histories.last(1)}
    ablations = [replace(main, name=name, reads=name, only=entrants) for name in less]
    return replace(
        problem, histories={**problem.histories, **less}, cases=(*problem.cases, new, *ablations)
    )  # fmt: skip


def with_event_targets(problem: Problem, shop: Shop, rows: int | None, seed: int) -> Problem:
    """Also the first basket of each type of event apart: what is bought next, what is clicked next."""
    sequences = shop.sequences
    kinds = np.unique(sequences.events)
    if len(kinds) < 2:
        return problem
    for kind in ("click", "purchase"):
        code = EVENT_TYPES.index(kind)
        keep = (sequences.times < problem.until) | (sequences.events == code)
        baskets = None if shop.baskets is None else shop.baskets[keep]
        problem = _also(problem, shop, sequences.where(keep), baskets, f"next {kind}", "first_basket", None, rows, seed)
    return problem


def with_later_targets(problem: Problem, shop: Shop, entrants: tuple[str, ...], rows: int | None, seed: int) -> Problem:
    """Also everything of the next day and of the next week, for `entrants`."""
    for name, days in ((NEXT_DAY, 1.0), (NEXT_WEEK, 7.0)):
        problem = _also(problem, shop, shop.sequences, shop.baskets, name, "all", days, rows, seed, entrants)
    return problem


def with_cold_products(problem: Problem, shop: Shop, rows: int | None, seed: int) -> Problem:
    """Also the products without any event before T that known customers took: among each other, and among all."""
    if problem.new_products is None or not problem.new_products.features.any():
        return problem
    time, end = problem.until, problem.until + int(shop.horizon_days * SECONDS_PER_DAY)
    position = known_at(shop, time, end).position
    all_products = replace(shop.sequences, products=position[shop.sequences.products])
    times, cold = shop.sequences.times, all_products.products >= problem.products
    histories = all_products.where((times < time) & (all_products.products >= 0) & ~cold)
    targets = all_products.where((times >= time) & (times < end) & cold)
    asked = np.flatnonzero((histories.lengths > 0) & (targets.lengths > 0))
    if not len(asked):
        return problem
    asked = asked[drawn(len(asked), rows, seed)]
    candidates = np.ones(problem.products + len(problem.new_products), dtype=bool)
    new_only = np.arange(len(candidates)) >= problem.products
    cases = tuple(
        Case(name, COLD, targets.take(asked), asked, candidates=allowed, only=COLD_ENTRANTS)
        for name, allowed in ((COLD, new_only), (COLD_AMONG_ALL, candidates))
    )
    return replace(
        problem, histories={**problem.histories, COLD: histories.take(asked)}, cases=problem.cases + cases
    )  # fmt: skip


def shuffled(histories: Sequences, seed: int) -> Sequences:
    """The same events of each history in random order; the times stay where they are."""
    owner = np.repeat(np.arange(len(histories)), histories.lengths)
    order = np.lexsort((np.random.default_rng(seed).random(len(owner)), owner))
    return replace(histories, products=histories.products[order], events=histories.events[order])


def _also(
    problem: Problem, shop: Shop, sequences: Sequences, baskets: IntArray | None, name: str,
    targets: Literal["first_basket", "all"], days: float | None, rows: int | None, seed: int,
    only: tuple[str, ...] = (),
) -> Problem:  # fmt: skip
    """One more case over the same training data, left out where nobody can be asked."""
    time = problem.until
    known = known_at(shop, time, time).only_known(sequences)
    try:
        split = time_split(known, time, days or shop.horizon_days, targets, baskets)
    except ValueError:
        return problem
    if not len(split.known_customers):
        return problem
    histories, case = _case(name, split, rows, seed)
    return replace(
        problem, histories={**problem.histories, name: histories}, cases=(*problem.cases, replace(case, only=only))
    )  # fmt: skip


def _case(name: str, split: Split, rows: int | None, seed: int) -> tuple[Sequences, Case]:
    asked = split.known_customers[drawn(len(split.known_customers), rows, seed)]
    return split.train.take(asked), Case(name, name, split.targets.take(asked), asked)


def _described(shop: Shop, products: IntArray, time: int) -> Catalogue | None:
    return shop.described(products, time) if len(shop.catalogue) else None
