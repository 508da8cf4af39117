"""Bags with a product taken out: of later baskets, or of what customers bought where nothing has a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import Rows
from models.ragged import ranges
from tests.benchmarks.touch_points.bought import Pairs
from tests.benchmarks.touch_points.judge import Questions

MOST_QUESTIONS = 6_000
MOST_HIDDEN = 3
"""Products of one basket that are hidden in turn, drawn evenly: a wholesaler's hundred lines would ask the most."""


@dataclass(frozen=True)
class Bags:
    """q bags, each with one product taken out."""

    questions: Questions
    offsets: Rows
    """[q + 1] over `held`."""
    held: Rows
    """What is left in the bag."""
    same_category: int
    """Questions that were left out: the hidden product has the category of something in the bag."""

    @property
    def sizes(self) -> Rows:
        """[q], products left in the bag."""
        return np.diff(self.offsets)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Bags:
        """The bags where `chosen` [q]."""
        rows = np.flatnonzero(chosen)
        held = [self.held[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        questions = Questions(self.questions.customers[rows], np.arange(len(rows) + 1), self.questions.targets[rows])
        return Bags(questions, np.concatenate(([0], np.cumsum(self.sizes[rows]))), np.concatenate(held), 0)


def bags_of(offsets: Rows, products: Rows, customers: Rows, category: Rows | None, seed: int = 17) -> Bags:
    """From baskets [b] (-1 is an unknown product): hide each of at most 3 products of those with two or more."""
    random = np.random.default_rng(seed)
    who, targets, held, left_out = [], [], [], 0
    for basket, customer in enumerate(customers):
        inside = np.unique(products[offsets[basket] : offsets[basket + 1]])
        inside = inside[inside >= 0]
        if len(inside) < 2:
            continue
        for hidden in np.sort(random.permutation(len(inside))[:MOST_HIDDEN]):
            rest = np.delete(inside, hidden)
            if category is not None and category[inside[hidden]] in category[rest][category[rest] >= 0]:
                left_out += 1
                continue
            who.append(customer)
            targets.append(inside[hidden])
            held.append(rest)
    if not held:
        raise ValueError("no later basket has two known products of different categories; give more days after T")
    questions = Questions(np.array(who), np.arange(len(who) + 1), np.array(targets))
    return Bags(questions, np.concatenate(([0], np.cumsum([len(rest) for rest in held]))), np.concatenate(held),
                left_out)  # fmt: skip


def bags_of_pairs(pairs: Pairs, seed: int = 17) -> Bags:
    """What a customer keeps is the bag, each product held back a question; at most 6,000, drawn evenly."""
    sizes = np.diff(pairs.held.offsets)
    drawn = np.sort(np.random.default_rng(seed).permutation(int(sizes.sum()))[:MOST_QUESTIONS])
    owner = np.repeat(np.arange(len(pairs.held)), sizes)[drawn]
    customers = pairs.held.customers[owner]
    lengths = np.diff(pairs.offsets)[customers]
    _, lines = ranges(pairs.offsets[:-1][customers], lengths)
    questions = Questions(customers, np.arange(len(owner) + 1), pairs.held.targets[drawn])
    return Bags(questions, np.concatenate(([0], np.cumsum(lengths))), pairs.kept[lines], 0)
