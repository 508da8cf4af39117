"""Finds products worth writing to customers about, from what they lately did; times are seconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows
from models.ragged import ranges
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer]
Lifts = npt.NDArray[np.floating]
CLICK, SAVE, BAG, PURCHASE = range(len(EVENT_TYPES))
LOOKED_DAYS = 7
"""Days whose looks at a product are counted."""
FADES_DAYS = 7.0
"""Days in which the interest in a product halves."""


def among(keys: Rows, rising: Rows) -> BoolMask:
    """[keys], whether each is one of `rising`; faster than numpy's isin, which sorts both."""
    if not len(rising):
        return np.zeros(len(keys), dtype=bool)
    return np.asarray(rising[np.minimum(np.searchsorted(rising, keys), len(rising) - 1)] == keys)


@dataclass(frozen=True)
class Interest:
    """What customers did with products in some days: pairs in order of customer, then of product."""

    owner: Rows
    product: Rows
    weight: Numbers
    """Weights of the events, halved every FADES_DAYS back from now."""
    looks: Rows
    """Clicks and saves of the last LOOKED_DAYS."""
    last: Rows
    """Time of the last event."""
    bagged: Rows
    """Time of the last bag-add; 0 for none."""
    bought: BoolMask
    """Whether there is a purchase among the events."""

    @staticmethod
    def of(histories: Sequences, of_type: Numbers, products: int, since: int, now: int) -> Interest:
        """From the events since a time; `of_type` are the weights of the event types, products -1 do not count."""
        recent = histories.where((histories.times >= since) & (histories.products >= 0))
        key = recent.owners * products + recent.products
        order = np.argsort(key, kind="stable")
        key, events, times = key[order], recent.events[order], recent.times[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        weight = of_type[events] * 0.5 ** ((now - times) / (FADES_DAYS * SECONDS_PER_DAY))
        looks = (events <= SAVE) & (times >= now - LOOKED_DAYS * SECONDS_PER_DAY)

        def each(values: Rows | Numbers, how: np.ufunc) -> npt.NDArray[np.generic]:
            return how.reduceat(values, first) if len(first) else values

        return Interest(
            *np.divmod(key[first], products),
            np.asarray(each(weight, np.add), np.float64),
            np.asarray(each(looks.astype(np.int64), np.add), np.int64),
            np.asarray(each(times, np.maximum), np.int64),
            np.asarray(each(np.where(events == BAG, times, 0), np.maximum), np.int64),
            np.asarray(each((events == PURCHASE).astype(np.int64), np.maximum), bool),
        )


@dataclass(frozen=True)
class CustomerOffers:
    """Products for customers, as parallel arrays."""

    owner: Rows
    product: Rows
    score: Numbers
    at: Rows
    """Time of the event that the offer follows; 0 for none."""
    amount: Numbers
    """A number to tell with it."""

    def where(self, keep: BoolMask | Rows) -> Self:
        """Those where `keep` is true, or at its positions."""
        return type(self)(*(getattr(self, field.name)[keep] for field in fields(self)))

    def best(self, places: int) -> Self:
        """The `places` of each customer with the highest scores, by customer, then best first, then by product."""
        found = self.where(np.lexsort((self.product, -self.score, self.owner)))
        place = np.arange(len(found.owner)) - np.searchsorted(found.owner, found.owner)
        return found.where(place < places)


def of_interest(
    interest: Interest, chosen: BoolMask, at: Rows | None = None, amount: Numbers | None = None
) -> CustomerOffers:
    """The pairs that are `chosen`, after their last event or another one; the amount is how often they were looked at,
    or another one [pairs].
    """
    told = interest.looks.astype(np.float64) if amount is None else amount
    every = CustomerOffers(interest.owner, interest.product, interest.weight, interest.last if at is None else at, told)
    return every.where(chosen)


def of_new(new: tuple[Rows, Codes], best: tuple[Codes, Lifts], liked: tuple[Codes, Codes, Lifts]) -> CustomerOffers:
    """New products of customers' brands; the amount is the brand's lift, the score also counts the category's.

    `new` are (products, brand of each), `best` the brands [n, places] of n customers, -1 for none, with their lifts,
    and `liked` (category [products], categories [n, places] of the customers, their lifts), in which others count 1.
    """
    order = np.argsort(new[1], kind="stable")
    products, brands = new[0][order], new[1][order]
    owner, place = np.nonzero(best[0] >= 0)
    wanted = best[0][owner, place]
    first = np.searchsorted(brands, wanted)
    which, at = ranges(first, np.searchsorted(brands, wanted, side="right") - first)
    owner, product, lift = owner[which], products[at], best[1][owner[which], place[which]].astype(np.float64)
    category, categories, lifts = liked
    same = (categories[owner] == category[product, None]) & (categories[owner] >= 0)
    score = lift * np.where(same, lifts[owner], 1.0).max(axis=1, initial=1.0)
    return CustomerOffers(owner, product, score, np.zeros(len(owner), np.int64), lift)


@dataclass(frozen=True)
class Companions:
    """What goes with products in markets."""

    products: int
    keys: Rows
    """[k], rising: market * products + product."""
    rows: Rows
    """[k, places], the companions of each, -1 for none."""
    scores: Numbers
    """[k, places]."""

    def offers(self, histories: Sequences, market: Rows, between: tuple[int, int]) -> CustomerOffers:
        """What goes with each customer's last purchase in their `market` [n], if that was in this time, without what
        they bought; the amount is the product bought.
        """
        purchases = np.flatnonzero((histories.events == PURCHASE) & (histories.products >= 0))
        owner = histories.owners[purchases]
        last = purchases[np.diff(owner, append=len(histories)) > 0]
        last = last[(histories.times[last] >= between[0]) & (histories.times[last] < between[1])]
        customer = histories.owners[last]
        wanted = market[customer] * self.products + histories.products[last]
        known = among(wanted, self.keys) & (market[customer] >= 0)
        last, customer, at = last[known], customer[known], np.searchsorted(self.keys, wanted[known])
        row, place = np.nonzero(self.rows[at] >= 0)
        product, bought = self.rows[at[row], place], histories.products[last][row]
        found = CustomerOffers(
            customer[row],
            product,
            self.scores[at[row], place],
            histories.times[last][row],
            bought.astype(np.float64),
        )
        own = np.sort(owner * self.products + histories.products[purchases])
        return found.where(~among(found.owner * self.products + found.product, own))
