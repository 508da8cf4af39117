"""Customers' vectors to their own lists, batch by batch: in the step's own process or on Spark's executors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import pyarrow as pa

from jobs.bought import Bought
from jobs.executors import own_columns
from jobs.histories import matrix
from jobs.list_basis import ProductVectors, candidates_of
from jobs.list_maker import ListMaker
from jobs.list_parcel import packed_maker, unpacked_maker, variant_from
from jobs.list_rows import Tally, no_lists
from jobs.parcel import Parcel
from jobs.run import Run
from jobs.table import Column
from jobs.touch_points import COLD, FOR_YOU, MODEL
from jobs.variants import Variant, variant_of
from models.assembly import Assembled, Candidates, Owners
from models.contract import Compute, FloatMatrix
from models.lists import top_n_excluding
from models.search import placed
from models.top_n import Rows
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jobs.lists import ListsConfig

TALLY = Column("tally", "STRING", "what was counted of a batch of lists, JSON, in its first row; null in all others")


@dataclass(frozen=True)
class Ranker:
    """Whatever a customer's list is made from beside the customer's own row."""

    columns: ClassVar[tuple[Column, ...]] = (*own_columns(FOR_YOU.table), TALLY)

    maker: ListMaker
    """One of its own: it counts what is yielded."""
    products: ProductVectors
    places: int
    variants: tuple[Variant, ...]
    experiment: str
    midnight: datetime
    device: str = "auto"
    """Where customers' candidates are searched: auto, cpu or cuda, of whoever does the ranking."""

    @staticmethod
    def on(maker: ListMaker, products: ProductVectors, config: ListsConfig, run: Run) -> Ranker:
        """That of a night."""
        places = FOR_YOU.places or config.top_n
        return Ranker(
            maker.counting_anew(), products, places, config.variants, config.experiment, run.midnight, config.device
        )

    @cached_property
    def search(self) -> _Search:
        """Over the product vectors."""
        return _Search(self.products, self.maker, Compute(self.device))

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows of recommended_for_you with TALLY, from customer_id, vector, market, bought and bought_at; null in the
        last three for a customer without a sequence.
        """
        for batch in batches:
            if batch.num_rows:
                for rows in self._of_batch(batch):
                    yield rows.append_column(TALLY.name, self._tally(rows.num_rows))

    def _of_batch(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The lists of some customers, market by market."""
        shelf, model_id = self.maker.shelf, self.products.model_id
        home = batch["market"]
        markets = shelf.markets.encode(home, missing="negative")
        sees = np.array([variant_of(c, self.experiment, self.variants) for c in batch["customer_id"].to_pylist()])
        owned, customers = Bought.of(batch, shelf.products, self.midnight), matrix(batch["vector"])
        for variant in self.variants:
            for market in np.unique(markets[sees == variant.name]):
                chosen = np.flatnonzero((markets == market) & (sees == variant.name))
                at = pa.array(chosen)
                keys = {"customer_id": batch["customer_id"].take(at)}
                if market < 0:
                    names = pa.repeat(variant.name, len(chosen))
                    empty = no_lists(keys | {"market": home.take(at)}, names, model_id)
                    yield empty.append_column("reach", pa.nulls(len(chosen), pa.float32()))
                    continue
                mine = _kept_out(owned[chosen], self.maker, int(market), variant)
                depth = candidates_of(self.maker, int(market), variant, self.places)
                found = self.search.best(customers[chosen], int(market), depth, mine)
                owners = Owners.of_customers(mine.offsets, mine.products)
                rows, made = self.maker.batch(FOR_YOU, int(market), variant, self.places, keys, found, owners, model_id)
                yield rows.append_column("reach", _reach(found, made))

    def _tally(self, rows: int) -> pa.Array:
        """What was counted since the last call, in the first of so many rows."""
        counted = {
            variant: [tally.lists, tally.short, tally.moved, dict(tally.rules)]
            for (_, variant), tally in self.maker.tallies.items()
        }
        self.maker.tallies.clear()
        return pa.array([json.dumps(counted)] * bool(counted) + [None] * (rows - bool(counted)), pa.string())

    def parcel(self) -> Parcel:
        """The shelf, the policy and the product vectors."""
        header = {
            "places": self.places, "variants": [asdict(variant) for variant in self.variants],
            "experiment": self.experiment, "midnight": self.midnight.isoformat(), "model_id": self.products.model_id,
            "products": self.products.ids.ids.to_pylist(), "device": self.device,
        }  # fmt: skip
        arrays = {"vectors": self.products.vectors, "cold": self.products.cold}
        maker = packed_maker(self.maker)
        return Parcel({"ranker": header, "maker": maker.header}, {**arrays, **maker.arrays})

    @classmethod
    def of(cls, parcel: Parcel) -> Self:
        """The ranker that the parcel came from."""
        header, arrays = parcel.header["ranker"], parcel.arrays
        products = ProductVectors(Vocabulary(header["products"]), arrays["vectors"], arrays["cold"], header["model_id"])
        return cls(
            unpacked_maker(Parcel(parcel.header["maker"], arrays)), products, header["places"],
            tuple(variant_from(plain) for plain in header["variants"]), header["experiment"],
            datetime.fromisoformat(header["midnight"]), header["device"],
        )  # fmt: skip


def add_tallies(maker: ListMaker, text: str) -> None:
    """Count what TALLY says of a batch."""
    for variant, (lists, short, moved, rules) in json.loads(text).items():
        maker.tallies[FOR_YOU.table, variant].join(Tally(lists, short, moved, Counter(rules)))


def _kept_out(owned: Bought, maker: ListMaker, market: int, variant: Variant) -> Bought:
    """What customers bought but for what a policy says is bought again by now."""
    again = maker.rulebooks.repeat_purchase_days(maker.shelf.markets.ids[market].as_py(), variant)
    return owned if np.isinf(again).all() else owned.where(owned.lasting(maker.shelf.attributes.category, again))


def _reach(found: Candidates, made: Assembled) -> pa.Array:
    """The score of the last candidate that each list depends on; null where it depends on more than candidates."""
    last = np.maximum(made.read - 1, 0)
    return pa.array(found.scores[np.arange(len(last)), last], pa.float32(), mask=made.read < 1)


class _Search:
    """Candidates of customers; rows are the shelf's products."""

    def __init__(self, products: ProductVectors, maker: ListMaker, compute: Compute) -> None:
        self.vectors, self.model_id, self.shelf = placed(products.vectors, compute), products.model_id, maker.shelf
        self.to_shelf: Rows = self.shelf.products.encode(products.ids.ids).astype(np.int64)
        self.to_index: Rows = np.full(len(self.shelf.products), -1)
        self.to_index[self.to_shelf] = np.arange(len(self.to_shelf))
        self.label: Rows = np.full(len(self.shelf.products), MODEL)
        self.label[self.to_shelf[products.cold]] = COLD

    def best(self, customers: FloatMatrix, market: int, depth: int, owned: Bought) -> Candidates:
        """The model's best `depth` for customers it knows anything of; nothing for the others."""
        rows = np.full((len(customers), depth), -1, dtype=np.int64)
        scores = np.full((len(customers), depth), -np.inf, dtype=np.float32)
        known = np.flatnonzero((customers[:, :-1] != 0).any(axis=1))
        mine = owned[known]
        mine = mine.where(self.to_index[mine.products] >= 0)
        allowed = self.shelf.available[market, self.to_shelf]
        scores[known], found = top_n_excluding(
            customers[known], self.vectors, depth, mine.offsets, self.to_index[mine.products], allowed
        )
        rows[known] = np.where(found >= 0, self.to_shelf[found], -1)
        return Candidates(rows, scores, np.where(rows >= 0, self.label[rows], -1).astype(np.int8))
