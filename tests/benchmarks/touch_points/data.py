"""A shop at a time T as the touch points see it: what is known before T, and who looks at and buys what after it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.sample_shop import SIZES, truth
from models.arrays import BoolMask, Rows
from models.catalogue import Catalogue
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences
from tests.benchmarks.common.basket_metrics import baskets_at
from tests.benchmarks.common.shops import Shop, online_retail, sample_shop
from tests.benchmarks.common.timed import known_at
from tests.benchmarks.touch_points.baskets import Baskets

SESSION_GAP = 30 * 60
"""Seconds without an event after which a customer's next event opens a new session."""
ENOUGH = 20
"""Events or purchases of a product from which its lists are held against the synthetic shop's truth."""
PURCHASE = EVENT_TYPES.index("purchase")


@dataclass(frozen=True)
class Markets:
    """Where customers shop and what is for sale there at T."""

    home: Rows
    """[customers], market of the customer's last event before T; -1 without one."""
    available: BoolMask
    """[markets, products]."""
    wanted: npt.NDArray[np.float32]
    """[markets, products], events of the 28 days before T, each kind weighted as the night weights it."""


@dataclass(frozen=True)
class Truth:
    """What the synthetic shop is made of; only products with enough events to learn from are judged by it."""

    group: Rows
    """[products], two are alternatives when their groups are equal."""
    follows: BoolMask
    """[groups, groups], whether products of the second are complements of those of the first."""

    def alternatives(self, lists: Rows, counts: Rows) -> float:
        """Share of the first 6 places that goes to true alternatives, over products with 20 of `counts`."""
        rows, shown = self._shown(lists, counts)
        return _share((self.group[shown] == self.group[rows]) & (shown >= 0), shown)

    def complements(self, lists: Rows, counts: Rows) -> float:
        """The same for true complements."""
        rows, shown = self._shown(lists, counts)
        return _share(self.follows[self.group[rows], self.group[shown]] & (shown >= 0), shown)

    def _shown(self, lists: Rows, counts: Rows) -> tuple[Rows, Rows]:
        rows = np.flatnonzero(counts >= ENOUGH)
        return rows[:, None], lists[rows, :6]


@dataclass(frozen=True)
class Ground:
    """Products are 0 .. products - 1: those with an event before T; customers as in `Shop.sequences`."""

    split: int
    """T, seconds since 1970 UTC."""
    until: int
    """Events from here on are not used."""
    products: int
    ids: tuple[str, ...]
    """[products]."""
    train: Sequences
    """[customers], events before T."""
    catalogue: Catalogue
    """Of the products, as last said before T."""
    category: Rows | None
    """[products], -1 where there is none; None for a shop without categories."""
    price: npt.NDArray[np.float64]
    """[products], NaN where it is not known."""
    visits: Baskets
    """Sessions, or where nobody's clicks are known baskets, of every customer by time; unknown products are -1."""
    baskets: Baskets
    """Purchases of one order together; unknown products are -1."""
    markets: Markets | None
    """None for a shop whose customers and products have no market here."""

    def before(self, groups: Baskets) -> Baskets:
        """Those that ended before T."""
        return _chosen(groups, groups.times < self.split)

    def after(self, groups: Baskets) -> Baskets:
        """Those that began in the window from T on."""
        return _chosen(groups, (groups.times >= self.split) & (groups.times < self.until))


def retail(raw: Path, split: date | None) -> Ground:
    """Online Retail: invoices are all there is; no click, no category, and markets play no part."""
    shop = online_retail(raw, split)
    assert shop.baskets is not None
    baskets = _groups(shop.sequences, shop.baskets)
    return _ground(shop, baskets, baskets, None)


def sample(raw: Path, split: date | None, weights: dict[str, float], popular_days: int) -> Ground:
    """The synthetic shop: sessions by pauses, baskets by their id, and the availability of every market."""
    shop = sample_shop(raw, split)
    events = _sample_events(raw, shop)
    sequences = shop.sequences
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    opens = np.diff(sequences.times, prepend=sequences.times[:1]) > SESSION_GAP
    opens |= np.diff(owner, prepend=-1) > 0
    bought = events.filter(pl.col("event") == PURCHASE)
    purchases = sequences.where(sequences.events == PURCHASE)
    assert bought["product"].to_list() == purchases.products.tolist()
    baskets = _groups(purchases, bought["basket"].to_numpy())
    return _ground(
        shop, _groups(sequences, np.cumsum(opens)), baskets, _markets(raw, shop, events, weights, popular_days)
    )


def truth_of(raw: Path, ground: Ground) -> Truth | None:
    """The truth of a synthetic shop of a known size, read from its SYNTHETIC.txt; None for any other."""
    label = raw / "SYNTHETIC.txt"
    size = re.search(r'size "(\w+)"', label.read_text("utf-8")) if label.is_file() else None
    if size is None or size[1] not in SIZES:
        return None
    whole = truth(SIZES[size[1]])
    return Truth(whole.group[[whole.position[product] for product in ground.ids]], whole.follows)


def _ground(shop: Shop, visits: Baskets, baskets: Baskets, markets: Markets | None) -> Ground:
    until = shop.split + int(shop.horizon_days * SECONDS_PER_DAY)
    known = known_at(shop, shop.split, until)
    position = np.where(known.position < len(known.known), known.position, -1).astype(np.int64)
    categories = shop.categories()
    told = shop.catalogue.filter(pl.col("time") < shop.split).sort("time", maintain_order=True)
    last = told.unique("product", keep="last", maintain_order=True)
    price = np.full(len(shop.ids), np.nan)
    price[last["product"].to_numpy()] = last["price"].to_numpy()
    if markets is not None:
        markets = Markets(markets.home, markets.available[:, known.known], markets.wanted[:, known.known])
    return Ground(
        split=shop.split,
        until=until,
        products=len(known.known),
        ids=tuple(np.array(shop.ids)[known.known].tolist()),
        train=known.only_known(shop.sequences.where(shop.sequences.times < shop.split)),
        catalogue=shop.described(known.known, shop.split),
        category=None if categories is None else categories[known.known],
        price=price[known.known],
        visits=Baskets(visits.offsets, position[visits.products], visits.times, visits.customers),
        baskets=Baskets(baskets.offsets, position[baskets.products], baskets.times, baskets.customers),
        markets=markets,
    )


def _groups(sequences: Sequences, group: npt.NDArray[np.integer]) -> Baskets:
    """Events of one customer and one `group` [events] together, in the order in which the groups began."""
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    lines = pl.DataFrame({"customer": owner, "group": group, "time": sequences.times, "product": sequences.products})
    lines = lines.with_columns(pl.col("time").min().over("customer", "group").alias("began"))
    lines = lines.sort("began", "customer", "group", maintain_order=True)
    groups = lines.group_by("began", "customer", "group", maintain_order=True).len()
    offsets = np.concatenate(([0], np.cumsum(groups["len"].to_numpy()))).astype(np.int64)
    return Baskets(
        offsets, lines["product"].to_numpy().astype(np.int64), groups["began"].to_numpy(), groups["customer"].to_numpy()
    )


def _share(right: BoolMask, shown: Rows) -> float:
    return float(right.sum() / max(1, (shown >= 0).sum()))


def _chosen(groups: Baskets, chosen: BoolMask) -> Baskets:
    offsets, products = baskets_at(groups.offsets, groups.products, chosen)
    return Baskets(offsets, products, groups.times[chosen], groups.customers[chosen])


def _sample_events(raw: Path, shop: Shop) -> pl.DataFrame:
    """The events of `shop.sequences`, row by row, with what those leave out: customer, market and basket."""
    positions = {name: place for place, name in enumerate(shop.ids)}
    end = int(shop.sequences.times.max())
    seconds = pl.col("event_ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False).dt.epoch("s")
    events = (
        pl.scan_csv(raw / "events" / "*.csv.gz", infer_schema=False, encoding="utf8-lossy")
        .unique("event_id", keep="first", maintain_order=True)
        .with_columns(
            seconds.alias("time"),
            pl.col("product_id").replace_strict(positions, default=None, return_dtype=pl.Int64).alias("product"),
            pl.col("event_type")
            .replace_strict({name: code for code, name in enumerate(EVENT_TYPES)}, default=None, return_dtype=pl.Int8)
            .alias("event"),
        )
        .filter(
            pl.col("customer_id").str.contains(r"^\w+$"),
            pl.col("product").is_not_null(),
            pl.col("event").is_not_null(),
            pl.col("time") <= end,
            pl.col("price").cast(pl.Float64, strict=False).fill_null(0) >= 0,
        )
        .collect()
        .sort("customer_id", "time", maintain_order=True)
        .with_columns(
            pl.col("customer_id").rank("dense").sub(1).cast(pl.Int64).alias("customer"),
            pl.col("basket_id").rank("dense").cast(pl.Int64).alias("basket"),
        )
    )
    assert events["product"].to_list() == shop.sequences.products.tolist()  # the same rows in the same order
    return events


def _markets(raw: Path, shop: Shop, events: pl.DataFrame, weights: dict[str, float], days: int) -> Markets:
    folder = raw / "availability"
    rows = pl.scan_csv(folder / "*.csv.gz", infer_schema=False, encoding="utf8-lossy").collect()
    updated = pl.col("updated_at").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", strict=False).dt.epoch("s")
    rows = rows.with_columns(updated.alias("time")).filter(pl.col("time") < shop.split)
    rows = rows.sort("time", maintain_order=True).unique(["product_id", "market"], keep="last", maintain_order=True)
    names = {name: place for place, name in enumerate(sorted(set(rows["market"].drop_nulls())))}
    positions = {name: place for place, name in enumerate(shop.ids)}
    sold = rows.filter(pl.col("available") == "true", pl.col("product_id").is_in(list(positions)))
    available = np.zeros((len(names), len(shop.ids)), dtype=bool)
    market = [names[name] for name in sold["market"]]
    available[market, [positions[name] for name in sold["product_id"]]] = True
    past = events.filter(pl.col("time") < shop.split, pl.col("market").is_in(list(names)))
    past = past.with_columns(pl.col("market").replace_strict(names, return_dtype=pl.Int64))
    home = np.full(len(shop.sequences), -1, dtype=np.int64)
    home[past["customer"].to_numpy()] = past["market"].to_numpy()  # rows by time: the last one stays
    late = past.filter(pl.col("time") >= shop.split - days * SECONDS_PER_DAY)
    weight = np.array([weights[name] for name in EVENT_TYPES])[late["event"].to_numpy()]
    wanted = np.zeros(available.shape, dtype=np.float32)
    np.add.at(wanted, (late["market"].to_numpy(), late["product"].to_numpy()), weight)
    return Markets(home, available, wanted)
