"""Keeps what lifts are relative to: attributes of products, and usual shares, the same for some nights.

Were they of each night, a new product or price would change every customer's lifts. New products are added as they
come; what changed otherwise is taken over when all customers are computed anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from jobs.audiences.config import AffinityConfig
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.model_inputs import HISTORY_COLUMNS, Histories, to_histories
from jobs.run import Run, fingerprint
from jobs.tables.audiences import AFFINITY_COLUMNS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES
from models.affinities import Numbers, event_weights, price_levels, usual_shares
from models.sequences import EVENT_TYPES
from models.vocabulary import Vocabulary

KINDS = tuple(AFFINITY_COLUMNS)
PRODUCTS, SHARES = "affinity_products.arrow", "affinity_shares.arrow"
"""Files beside a night's lists; a night without the second is not finished."""


@dataclass(frozen=True)
class SettledShop:
    """What the affinities of a night are relative to."""

    settled: date
    """The night that counted the shares."""
    settings: str
    products: pa.Table
    """product_id, brand, category, colour, price and level of each product since then, gone ones too."""
    shares: pa.Table
    """kind, market (null: all), value and share: what is usual in each market."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The products, in their order."""
        return Vocabulary(self.products["product_id"].combine_chunks())

    @cached_property
    def markets(self) -> Vocabulary:
        """Markets with shares of their own."""
        return Vocabulary.build(self.shares["market"])

    @cached_property
    def words(self) -> dict[str, Vocabulary]:
        """Kind -> its values."""
        return {kind: Vocabulary.build(self.products[kind]) for kind in KINDS}

    @cached_property
    def codes(self) -> dict[str, npt.NDArray[np.int32]]:
        """Kind -> [products + 1] value of each product, -1 for none; the last is of an unknown product."""
        return {
            kind: np.append(self.words[kind].encode(self.products[kind], missing="negative"), np.int32(-1))
            for kind in KINDS
        }

    @cached_property
    def levels(self) -> Numbers:
        """[products + 1], place of each price within its category, NaN where unknown."""
        return np.append(np.asarray(self.products["level"], np.float64), np.nan)

    @cached_property
    def usual(self) -> dict[str, Numbers]:
        """Kind -> [markets + 1, values] share of each value; the last row is of the whole shop."""
        found = {}
        for kind, words in self.words.items():
            rows = self.shares.filter(pc.equal(self.shares["kind"], kind))
            found[kind] = np.zeros((len(self.markets) + 1, len(words)))
            value = words.encode(rows["value"].combine_chunks(), missing="negative")
            # A product that this kind's value came from may have been taken out by hand: -1 would be another's.
            kept = value >= 0
            market = self.markets.encode(rows["market"].combine_chunks(), missing="negative")[kept]
            found[kind][market, value[kept]] = np.asarray(rows["share"])[kept]
        return found

    def histories(self, rows: pa.RecordBatch | pa.Table) -> Histories:
        """Rows of customer_sequences over the products; unknown ones are -1."""
        return to_histories(rows, self.vocabulary, keep_unknown=True)

    def rows_of(self, markets: pa.Array) -> npt.NDArray[np.int32]:
        """[n] row of `usual` of each market; that of the whole shop where a market has none."""
        row = self.markets.encode(markets, missing="negative")
        return np.where(row < 0, len(self.markets), row).astype(np.int32)

    def write(self, lake: Lake, as_of: date) -> None:
        """Keep it as the night's."""
        header = {"settled": self.settled.isoformat(), "settings": self.settings}
        for name, rows in ((PRODUCTS, self.products), (SHARES, self.shares)):
            content = pa.BufferOutputStream()
            feather.write_feather(rows.replace_schema_metadata({"header": json.dumps(header)}), content)
            write_whole(_path(lake, as_of, name), content.getvalue().to_pybytes())


def read_settled(lake: Lake, as_of: date) -> SettledShop | None:
    """That of a night; None where there is none that can be read."""
    try:
        products, shares = (
            feather.read_table(pa.BufferReader(_path(lake, as_of, name).read_bytes()), memory_map=False)
            for name in (PRODUCTS, SHARES)
        )
        header = json.loads(shares.schema.metadata[b"header"])
        return SettledShop(date.fromisoformat(header["settled"]), header["settings"], products, shares)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError):
        return None


def unfinished(lake: Lake, as_of: date) -> None:
    """Mark the night's affinities as unfinished: the next night cannot start from them."""
    _path(lake, as_of, SHARES).unlink(missing_ok=True)


def going_on(lake: Lake, before: date, run: Run, config: AffinityConfig) -> tuple[SettledShop, pa.Array] | None:
    """(what the night before was relative to, with tonight's new products; these), or None where it is over."""
    was = read_settled(lake, before)
    if was is None or was.settings != fingerprint(config) or (run.as_of - was.settled).days >= config.settle_nights:
        return None
    tonight = _catalogue(lake, run.as_of)
    new = tonight.filter(pc.invert(pc.is_in(tonight["product_id"], value_set=was.products["product_id"])))
    products = pa.concat_tables([was.products, _with_levels(new, was.products)])
    return SettledShop(was.settled, was.settings, products, was.shares), new["product_id"].combine_chunks()


def settle(lake: Lake, run: Run, config: AffinityConfig, batch_rows: int) -> SettledShop:
    """Tonight's attributes, and the shares of all customers' events."""
    products = _catalogue(lake, run.as_of)
    empty = pa.table({name: pa.array([], pa.string()) for name in ("kind", "market", "value")})
    shop = SettledShop(run.as_of, fingerprint(config), _with_levels(products, products), empty)
    sums: dict[str, dict[str, Numbers]] = {kind: {} for kind in KINDS}
    for rows in lake.snapshot(CUSTOMER_SEQUENCES).encoded(HISTORY_COLUMNS, run.as_of, batch_rows):
        histories = shop.histories(rows)
        weights = weights_of(histories, config)
        names = Vocabulary.build(histories.markets)
        market = names.encode(histories.markets, missing="negative")[histories.sequences.owners]
        for kind, own in sums.items():
            width, value = len(shop.words[kind]), shop.codes[kind][histories.sequences.products]
            kept = (value >= 0) & (market >= 0)
            at = market[kept].astype(np.int64) * width + value[kept]
            flat = np.bincount(at, weights=weights[kept], minlength=len(names) * width)
            counted: Numbers = flat.reshape(len(names), width).astype(np.float64)
            for name, row in zip(names.ids.to_pylist(), counted, strict=True):
                own[name] = own[name] + row if name in own else row
    shares = pa.concat_tables(_shares(kind, shop.words[kind], own) for kind, own in sums.items())
    return SettledShop(shop.settled, shop.settings, shop.products, shares)


def type_weights(config: AffinityConfig) -> Numbers:
    """[event types], the weight of each."""
    return np.array([config.event_weights.get(name, 0.0) for name in EVENT_TYPES])


def weights_of(histories: Histories, config: AffinityConfig) -> Numbers:
    """[events], the weight of each event."""
    return event_weights(histories.sequences, type_weights(config), config.half_life_days)


def sequence_rows(lake: Lake, as_of: date, filters: list[pc.Expression] | None, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows of customer_sequences that match one of `filters`, which exclude each other; all of them without any."""
    if filters is None:
        yield from lake.snapshot(CUSTOMER_SEQUENCES).encoded(HISTORY_COLUMNS, as_of, rows)
    for where in filters or ():
        yield from lake.batches(CUSTOMER_SEQUENCES, HISTORY_COLUMNS, as_of, rows, where)


def _catalogue(lake: Lake, as_of: date) -> pa.Table:
    rows = lake.arrow(CATALOGUE, ("product_id", *KINDS, "price"), as_of)
    return rows.set_column(rows.schema.get_field_index("price"), "price", rows["price"].cast(pa.float64()))


def _with_levels(products: pa.Table, among: pa.Table) -> pa.Table:
    """The products with the place of their price among others' of their category."""
    words = Vocabulary.build(pa.chunked_array([*products["category"].chunks, *among["category"].chunks], pa.string()))
    codes = [words.encode(rows["category"], missing="negative").astype(np.int64) for rows in (products, among)]
    prices = [np.asarray(rows["price"].to_numpy(), np.float64) for rows in (products, among)]
    return products.append_column("level", pa.array(price_levels(codes[0], prices[0], (codes[1], prices[1]))))


def _shares(kind: str, words: Vocabulary, sums: dict[str, Numbers]) -> pa.Table:
    """Rows of `SettledShop.shares` of one kind."""
    markets = sorted(sums)
    usual = usual_shares(np.array([sums[name] for name in markets]).reshape(len(markets), len(words)))
    market, value = np.nonzero(usual)
    return pa.table(
        {
            "kind": pa.repeat(kind, len(market)),
            "market": pa.array([*markets, None], pa.string()).take(pa.array(market)),
            "value": words.decode(value),
            "share": usual[market, value],
        }
    )


def _path(lake: Lake, as_of: date, name: str) -> Path:
    return lake.directory(storage.LISTS, as_of) / name
