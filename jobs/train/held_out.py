"""Reads the days that models are judged on, and what Recommended For You may show to each customer on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.model_inputs import BOUGHT_COLUMNS, Bought, Histories, categories, read_availability
from jobs.policy.compile import Policy, read_policy
from jobs.policy.variants import Variant
from jobs.run import Run
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES
from models.arrays import BoolMask, Rows
from models.evaluation.days import CustomerDays
from models.evaluation.metrics import Allowed, allowing
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary

SLICES = SERVED, ALL, NEW = "as served", "all", "new to the customer"
"""Slices of every model: without what the customer bought, as Recommended For You serves; every product live in the
customer's market; and those without the products of the customer's history."""
PURCHASE = EVENT_TYPES.index("purchase")
LEAST_AGE = 1e-3
"""Days: the night's purchases have their age as a float, which is good to some seconds."""


@dataclass(frozen=True)
class Surface:
    """What Recommended For You may show in each market, and which purchases keep a product out."""

    midnight: int
    """Of the night, seconds since 1970 UTC."""
    markets: Rows
    """[customers], number of each one's market, -1 for one that sells nothing."""
    live: BoolMask
    """[markets + 1, products], for sale in the market; the last row, which -1 stands for, is for sale anywhere."""
    bought: Bought
    """[customers], purchases before the night."""
    again: npt.NDArray[np.float32]
    """[markets + 1, products], days after a purchase from which the product may be shown again; infinity: never."""

    def shown(self, days: CustomerDays, known: BoolMask) -> dict[str, Allowed]:
        """What may be shown on those days, by slice; candidates are the first products, where `known` is true."""
        live, markets = self.live[:, : len(known)] & known, self.markets[days.customers]
        kept_out = self._kept_out(days)
        return {
            SERVED: allowing(live, kept_out.where(kept_out.products < len(known)), markets),
            ALL: allowing(live, None, markets),
            NEW: allowing(live, days.histories, markets),
        }

    def _kept_out(self, days: CustomerDays) -> Sequences:
        """[pairs], the purchases before each day that keep their product out of the list on it.

        The night's purchases have the time of a product's last one, which may be later; the history then has the one
        before.
        """
        own = days.histories.where(days.histories.events == PURCHASE)
        older = self.bought.take(days.customers)
        since_older = older.days - (self.midnight - days.midnights[older.owners]) / SECONDS_PER_DAY
        since_older[since_older < LEAST_AGE] = np.inf  # not before the day
        pair = np.concatenate([own.owners, older.owners])
        product = np.concatenate([own.products, older.products])
        since = np.concatenate([(days.midnights[own.owners] - own.times) / SECONDS_PER_DAY, since_older])
        market = self.markets[days.customers][pair]
        kept = np.flatnonzero(np.isfinite(since) & (since <= self.again[market, product]))
        kept = kept[np.argsort(pair[kept], kind="stable")]
        nothing = np.zeros(len(kept), np.int64)
        offsets = np.searchsorted(pair[kept], np.arange(len(days) + 1))
        return Sequences(offsets, product[kept].astype(np.int32), nothing.astype(np.int8), nothing)


def read_surface(lake: Lake, run: Run, histories: Histories, products: Vocabulary, at: datetime) -> Surface:
    """The surface of the default variant for `products` and the customers of `histories`.

    What is for sale is that of the newest night up to the midnight `at` that the lake still has, else of its oldest.
    """
    nights = lake.nights(AVAILABILITY)
    night = max((each for each in nights if each <= at.date()), default=nights[0])
    catalogue = lake.arrow(CATALOGUE, ("product_id", "launched_at"), night)
    sold, markets, available = read_availability(lake, night, catalogue)
    place = sold.encode(products.ids, missing="negative")
    live = np.where(place >= 0, available[:, place], False)
    policy = read_policy(lake, run.as_of)
    names = [*markets.ids.to_pylist(), ""]
    return Surface(
        midnight=int(run.midnight.timestamp()),
        markets=markets.encode(histories.markets, missing="negative").astype(np.int64),
        live=np.concatenate([live, live.any(axis=0, keepdims=True)]),
        bought=_bought(lake, run, histories, products),
        again=_again(policy, names, categories(lake, run.as_of, products)),
    )


def _bought(lake: Lake, run: Run, histories: Histories, products: Vocabulary) -> Bought:
    rows = lake.arrow(CUSTOMER_SEQUENCES, ("customer_id", *BOUGHT_COLUMNS), run.as_of)
    assert rows["customer_id"].combine_chunks().equals(histories.customers), "both are in id order"
    return Bought.of(rows, products, run.midnight)


def _again(policy: Policy, markets: list[str], category: list[str]) -> npt.NDArray[np.float32]:
    words = Vocabulary.build(pa.array(category))
    days = [policy.repeat_purchase_days(words, market, Variant()) for market in markets]
    return np.stack(days)[:, words.encode(category)]
