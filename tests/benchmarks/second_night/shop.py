"""A made-up shop whose nights are written table by table: customers with their histories, a catalogue, a champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.lake.storage import staged_folder
from jobs.run import Run
from jobs.tables.records import MODELS
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, EVENTS
from models.catalogue import Catalogue
from models.contract import Compute
from models.networks import artefacts
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary

FIRST = date(2026, 4, 6)
MODEL = "transformer-made-up"
CATEGORIES, BRANDS, DEPARTMENTS, PART = 40, 300, 3, 50_000
EVENTS_A_DAY = 20_000
SOLD = 0.8
"""Share of the products that a market sells."""
MONTHS = 2
"""Age of the events of a history of 1x."""


@dataclass(frozen=True)
class Size:
    """How large the shop is."""

    customers: int
    products: int
    markets: int
    history: int
    """1: some 12 events a customer, from two months; 8: eight times as many, from sixteen."""


@dataclass(frozen=True)
class Day:
    """What the second day brings."""

    touched: float
    """Share of the customers who did something."""
    launched: int
    """New products, at most ten."""
    flipped: float
    """Share of the products that are sold out, or back, in each market."""


class SecondNightShop:
    """The shop of a size in a lake; the same size is the same shop."""

    def __init__(self, lake: Lake, size: Size) -> None:
        self.lake, self.size = lake, size
        self.products = pa.array([f"P{n:06}" for n in range(size.products + 10)])
        """The last ten can be launched on the second day."""
        self.category = np.random.default_rng(1).integers(0, CATEGORIES, len(self.products))
        self.order = np.argsort(self.category, kind="stable")

    def run(self, as_of: date) -> Run:
        """The run of a night."""
        return Run(as_of, f"{as_of}-madeup00", datetime(2026, 5, 1, tzinfo=UTC))

    def first(self) -> None:
        """Everything up to the first night but what its steps make."""
        self._catalogue(FIRST, self.size.products, np.random.default_rng(2).random((64, self.size.products)))
        self._events()
        self._champion()
        self.lake.replace(CUSTOMER_SEQUENCES, self._sequences(np.arange(self.size.customers), 3), self.run(FIRST))

    def second(self, day: Day, as_of: date) -> None:
        """Everything of the next day but what its steps make."""
        chance = np.random.default_rng(2).random((64, self.size.products))
        flipped = np.random.default_rng(4).random((64, self.size.products)) < day.flipped
        self._catalogue(as_of, self.size.products + day.launched, np.where(flipped, chance < SOLD, chance))
        count = max(1, round(day.touched * self.size.customers))
        who = np.sort(np.random.default_rng(5).choice(self.size.customers, count, replace=False))
        self.lake.replace(CUSTOMER_SEQUENCES, self._sequences(who, 6), self.run(as_of), since=FIRST)

    def _catalogue(self, as_of: date, products: int, chance: npt.NDArray[np.float64]) -> None:
        random, ids = np.random.default_rng(7), self.products[:products]
        drawn = {"brand": random.integers(0, BRANDS, len(self.products)), "department": self.category % DEPARTMENTS,
                 "category": self.category}  # fmt: skip
        price = np.exp(random.normal(3, 1, len(self.products)))[:products]
        new = np.arange(products) >= self.size.products
        launched = np.where(new, np.datetime64(as_of) - 1, np.datetime64("2025-01-01")).astype("datetime64[D]")
        columns = {name: pa.array([f"{name} {value}" for value in values[:products]]) for name, values in drawn.items()}
        columns |= {"product_id": ids, "name": pa.array([f"thing {n % 97}" for n in range(products)]),
                    "price": pa.array(price), "launched_at": pa.array(launched),
                    "colour": pa.nulls(products, pa.string()), "currency": pa.repeat("EUR", products),
                    "image_url": pa.nulls(products, pa.string())}  # fmt: skip
        self.lake.replace(CATALOGUE, pa.table(columns), self.run(as_of))
        rows = []
        for market in range(self.size.markets):
            sold = np.concatenate((chance[market] < SOLD, np.ones(products - self.size.products, dtype=bool)))
            kept = ids.filter(pa.array(sold))
            rows.append(pa.table({"product_id": kept, "market": pa.repeat(f"m{market}", len(kept)),
                                  "available": pa.repeat(True, len(kept))}))  # fmt: skip
        self.lake.replace(AVAILABILITY, pa.concat_tables(rows), self.run(as_of))

    def _draw(self, random: np.random.Generator, events: int, taste: npt.NDArray[np.int64]) -> pa.Array:
        """Products of some events: mostly of the category that is the customer's taste [events]."""
        own, starts = random.random(events) < 0.7, np.searchsorted(self.category[self.order], np.arange(CATEGORIES + 1))
        within = starts[taste] + ((starts[taste + 1] - starts[taste]) * random.random(events) ** 2).astype(np.int64)
        at = np.where(own, self.order[within], (self.size.products * random.random(events) ** 2).astype(np.int64))
        return self.products.take(pa.array(np.where(at < self.size.products, at, 0)))

    def _sequences(self, who: npt.NDArray[np.int64], seed: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(who), PART):
            yield self._part(who[start : start + PART], np.random.default_rng((seed, start)))

    def _part(self, who: npt.NDArray[np.int64], random: np.random.Generator) -> pa.RecordBatch:
        lengths = np.clip(random.poisson(12 * self.size.history, len(who)), 1, 100)
        bought = random.poisson(2 * self.size.history, len(who))
        events, purchases = int(lengths.sum()), int(bought.sum())
        days, end = 30 * MONTHS * self.size.history, int(datetime(2026, 4, 6, tzinfo=UTC).timestamp())
        owner = np.repeat(np.arange(len(who)), lengths)
        times = end - (days * 86_400 * random.random(events)).astype(np.int64) - 1
        times = times[np.lexsort((times, owner))]
        offsets, offsets_bought = (
            pa.array(np.concatenate(([0], np.cumsum(n))).astype(np.int32)) for n in (lengths, bought)
        )

        def at(seconds: npt.NDArray[np.int64]) -> pa.Array:
            return pa.array(seconds * 1_000_000).cast(pa.timestamp("us", "UTC"))

        kinds = pa.array(EVENT_TYPES).take(pa.array(np.digitize(random.random(events), (0.75, 0.85, 0.93))))
        columns = {
            "customer_id": pa.array([f"C{n:08}" for n in who]),
            "product_ids": pa.ListArray.from_arrays(offsets, self._draw(random, events, who[owner] % CATEGORIES)),
            "event_types": pa.ListArray.from_arrays(offsets, kinds),
            "event_timestamps": pa.ListArray.from_arrays(offsets, at(times)),
            "last_event_at": at(times[np.asarray(offsets)[1:] - 1]),
            "market": pa.array([f"m{n % self.size.markets}" for n in who]),
            "event_ids": pa.nulls(len(who), pa.list_(pa.string())),
            "events_version": pa.nulls(len(who), pa.int64()),
            "max_length": pa.nulls(len(who), pa.int64()),
            "bought": pa.ListArray.from_arrays(
                offsets_bought, self._draw(random, purchases, np.repeat(who, bought) % CATEGORIES)
            ),
            "bought_at": pa.ListArray.from_arrays(offsets_bought, at(np.full(purchases, end - 86_400 * 9))),
        }
        return pa.RecordBatch.from_pydict(columns)

    def _events(self) -> None:
        """The same events every day, as many days as the history has."""
        random, count = np.random.default_rng(8), EVENTS_A_DAY
        who = random.integers(0, self.size.customers, count)
        seconds = np.sort(random.integers(0, 86_400, count))
        products = self._draw(random, count, who % CATEGORIES)
        kinds = pa.array(EVENT_TYPES).take(pa.array(np.digitize(random.random(count), (0.75, 0.85, 0.93))))
        plain = {
            "customer_id": pa.array([f"C{n:08}" for n in who]), "product_id": products, "event_type": kinds,
            "market": pa.array([f"m{n % self.size.markets}" for n in who]), "basket_id": pa.nulls(count, pa.string()),
            "quantity": pa.repeat(1, count), "price": pa.nulls(count, pa.float64()),
            "as_of": pa.repeat(pa.scalar(FIRST), count), "run_id": pa.repeat("made-up", count),
        }  # fmt: skip
        parts = []
        for back in range(30 * MONTHS * self.size.history):
            day = FIRST - timedelta(days=back + 1)
            start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
            own = {"event_id": pa.array([f"{day}-{n}" for n in range(count)]),
                   "event_ts": pa.array((seconds + start) * 1_000_000).cast(pa.timestamp("us", "UTC")),
                   "event_date": pa.repeat(pa.scalar(day), count)}  # fmt: skip
            parts.append(pa.table(plain | own).select(EVENTS.names).cast(arrow_schema(EVENTS)))
        self.lake.overwrite(EVENTS, pa.concat_tables(parts))

    def _champion(self) -> None:
        """A transformer that has seen a few histories."""
        vocabulary = Vocabulary(self.products[: self.size.products])
        model = artefacts.create("transformer", vocabulary, Compute("cpu"), epochs=1)
        random = np.random.default_rng(9)
        offsets = np.arange(501) * 10
        few = Sequences(offsets, random.integers(0, len(vocabulary), 5_000).astype(np.int32),
                        np.zeros(5_000, np.int8), np.tile(np.arange(10) * 600, 500))  # fmt: skip
        plain = Catalogue.of({"brand": ["b"] * len(vocabulary)}, ["thing"] * len(vocabulary), [1.0] * len(vocabulary))
        model.fit(few, plain)
        artefacts.write(model, self.lake.root / "models" / MODEL, {"as_of": FIRST.isoformat()}, staged_folder)
        row = {"model_id": MODEL, "kind": "transformer", "champion": True, "ndcg": 0.1, "reason": "made up"}
        self.lake.replace_rows(MODELS, [row], self.run(FIRST))
