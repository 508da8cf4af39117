"""Chances that customers buy a product again: right on the whole, higher when it is time, lower where nobody does."""

from __future__ import annotations

import numpy as np

from models.repeats import repeat_chances

TODAY, HORIZON = 200, 14


def purchases(rng: np.random.Generator, pairs: int, every: float, spread: float) -> tuple[list[int], list[int], list]:
    """(pair, day, whether the pair buys within the horizon) of customers who buy about `every` so many days."""
    pair, day, again = list[int](), list[int](), list[bool]()
    for one in range(pairs):
        at, after = int(rng.integers(0, TODAY)), False
        while at < TODAY + HORIZON:
            if at < TODAY:
                pair.append(one)
                day.append(at)
            else:
                after = True
            at += max(1, round(rng.normal(every, spread))) if every else TODAY * 9
        again.append(after)
    return pair, day, again


def test_chances_add_up_to_what_comes_and_are_those_of_the_category() -> None:
    rng = np.random.default_rng(4)
    kinds = [purchases(rng, 4_000, every, spread) for every, spread in ((30, 5), (120, 60), (0, 0))]
    pair = np.concatenate([np.array(one[0]) + 4_000 * kind for kind, one in enumerate(kinds)])
    day = np.concatenate([one[1] for one in kinds])
    again = np.concatenate([one[2] for one in kinds])
    product = np.repeat([0, 1, 2], 4_000)
    chance = repeat_chances(pair, day, product, np.array([0, 1, -1]), TODAY, HORIZON)
    for kind, off in ((0, 0.06), (1, 0.06), (2, 0.01)):
        mine = product == kind
        assert abs(chance[mine].mean() - again[mine].mean()) < off
    last = np.zeros(len(product), np.int64)
    np.maximum.at(last, pair, day)
    often = (product == 0) & (np.bincount(pair) > 2)
    age = TODAY - last
    assert chance[often & (age >= 25)].mean() > 0.8 > 0.4 > chance[often & (age < 10)].mean()


def test_a_category_lends_its_rates_to_a_product_of_which_little_is_known() -> None:
    day = np.concatenate([np.tile([100, 130, 160], 500), [175, 175]])
    pair = np.concatenate([np.repeat(np.arange(500), 3), [500, 501]])
    product = np.concatenate([np.zeros(500, np.int64), [1, 2]])  # 1 is of the same category, 2 of another
    chance = repeat_chances(pair, day, product, np.array([0, 0, 1]), TODAY, HORIZON)
    assert chance[500] > 0.5 and chance[500] > chance[501]


def test_nobody_bought_anything() -> None:
    nothing = np.empty(0, np.int64)
    assert len(repeat_chances(nothing, nothing, nothing, np.array([0, 1]), TODAY, HORIZON)) == 0
