"""Reads what a night may write about: products in stock, back in stock, cheaper or new, and what goes with them."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.changes import night_before
from jobs.lake.lake import Lake
from jobs.model_inputs import list_offsets, read_availability
from jobs.policy.compile import Policy, read_policy
from jobs.policy.rules import ATTRIBUTES
from jobs.run import Run
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS, PEOPLE_ALSO_BOUGHT
from models.arrays import BoolMask, Rows
from models.offers import Companions, Numbers
from models.ragged import ranges
from models.vocabulary import Vocabulary

COLUMNS = (*ATTRIBUTES, "price", "launched_at")
NEW_DAYS = 7
"""A product is new for so many days after its launch."""
AFTER_DAYS = (3, 10)
"""Days after a purchase on which its companions are told, from and to."""
COMPANIONS = 12
"""First products of a list of People Also Bought that are told."""
ROWS = 131_072


@dataclass(frozen=True)
class Tonight:
    """What the night may write about, over P products and M markets."""

    markets: Vocabulary
    allowed: BoolMask
    """[M + 1, P], in stock, and not excluded by a rule; the last row, of no market, has none."""
    back: BoolMask
    """[M + 1, P], those that the market sold the last night before, but not on it."""
    fall: npt.NDArray[np.float64]
    """[P], by which share the price fell since the night before; 0 or below where it did not."""
    new: Rows
    """Products launched in the last NEW_DAYS."""
    companions: Future[Companions]
    """Read in a thread while the affinities are computed."""


def read_tonight(lake: Lake, run: Run, products: Vocabulary, pool: Executor) -> Tonight:
    """What the night may write about; `products` has every product of its catalogue. `pool` reads the companions."""
    catalogue = lake.arrow(CATALOGUE, COLUMNS, run.as_of)
    own, markets, available = read_availability(lake, run.as_of, catalogue)
    at = products.encode(own.ids)
    allowed = np.zeros((len(markets) + 1, len(products)), dtype=bool)
    allowed[:-1, at] = available & ~excluded(read_policy(lake, run.as_of), catalogue, markets)
    lacked, price = _before(lake, run.as_of, products, markets)
    now = np.full(len(products), np.nan)
    now[at] = catalogue["price"].to_numpy()
    young = pc.greater_equal(catalogue["launched_at"], run.as_of - timedelta(days=NEW_DAYS))
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.nan_to_num(1 - now / price, nan=0.0, posinf=0.0, neginf=0.0)
    return Tonight(
        markets=markets,
        allowed=allowed,
        back=allowed & lacked,
        fall=fall,
        new=at[np.asarray(pc.fill_null(young, False))].astype(np.int64),
        companions=pool.submit(_companions, lake, run.as_of, products, markets),
    )


def excluded(policy: Policy, catalogue: pa.Table, markets: Vocabulary) -> BoolMask:
    """[M, products], what a rule for all touch points excludes, for whatever variant."""
    found = np.zeros((len(markets), len(catalogue)), dtype=bool)
    for rule in policy.rules:
        if rule.kind == "exclude" and rule.touch_point is None:
            assert rule.attribute in ATTRIBUTES
            hidden = np.asarray(pc.fill_null(pc.equal(catalogue[rule.attribute], rule.value), False))
            where = (
                np.ones(len(markets), bool) if rule.market is None else np.asarray(pc.equal(markets.ids, rule.market))
            )
            found[np.ix_(where, hidden)] = True
    return found


def _before(lake: Lake, as_of: date, products: Vocabulary, markets: Vocabulary) -> tuple[BoolMask, Numbers]:
    """([M + 1, P] products that the last night before knew and a market did not sell, [P] prices of that night)."""
    lacked, price = np.zeros((len(markets) + 1, len(products)), dtype=bool), np.full(len(products), np.nan)
    before = night_before(lake, AVAILABILITY, as_of)
    if before is None:
        return lacked, price
    catalogue = lake.arrow(CATALOGUE, COLUMNS, before)
    try:
        then, there, available = read_availability(lake, before, catalogue)
    except UserError:  # that night was stopped, as it sold nothing anywhere
        return lacked, price
    row, column = markets.encode(there.ids, missing="negative"), products.encode(then.ids, missing="negative")
    on_sale = np.asarray(pc.fill_null(pc.less(catalogue["launched_at"], before), True))
    known = column >= 0
    price[column[known]] = catalogue["price"].to_numpy()[known]
    lacked[np.ix_(row[row >= 0], column[known])] = (~available & on_sale)[np.ix_(row >= 0, known)]
    return lacked, price


def _companions(lake: Lake, as_of: date, products: Vocabulary, markets: Vocabulary) -> Companions:
    """People Also Bought of what was lately bought; of several variants' lists the first variant's."""
    bought = np.zeros((len(markets) + 1) * len(products), dtype=bool)
    bought[_bought(lake, as_of, products, markets)] = True

    def keys_of(rows: pa.RecordBatch | pa.Table) -> Rows:
        market = markets.encode(rows["market"], missing="negative").astype(np.int64)
        product = products.encode(rows["product_id"], missing="negative")
        return np.where((market >= 0) & (product >= 0), market * len(products) + product, len(bought) - 1)

    columns = ("product_id", "market", "variant", "product_ids", "scores")
    found = list(lake.chosen(PEOPLE_ALSO_BOUGHT, columns, as_of, lambda rows: bought[keys_of(rows)]))
    if not found:
        return Companions(len(products), np.empty(0, np.int64), np.empty((0, 1), np.int64), np.empty((0, 1)))
    lists = pa.Table.from_batches(found).sort_by("variant")
    keys, first = np.unique(keys_of(lists), return_index=True)
    lists = lists.take(pa.array(first)).combine_chunks()
    offsets = list_offsets(lists["product_ids"])
    owner, at = ranges(offsets[:-1], np.minimum(np.diff(offsets), COMPANIONS))
    rows, scores = np.full((len(keys), COMPANIONS), -1, np.int64), np.zeros((len(keys), COMPANIONS))
    numbers = products.encode(pc.list_flatten(lists["product_ids"]), missing="negative")
    rows[owner, at - offsets[owner]] = numbers[at]
    scores[owner, at - offsets[owner]] = np.asarray(pc.list_flatten(lists["scores"]))[at]
    return Companions(len(products), keys, rows, scores)


def _bought(lake: Lake, as_of: date, products: Vocabulary, markets: Vocabulary) -> Rows:
    """Keys of the products that were bought on one of AFTER_DAYS, with their markets."""
    days = [as_of - timedelta(days=n) for n in range(AFTER_DAYS[0], AFTER_DAYS[1] + 1)]
    found = [np.empty(0, np.int64)]
    for rows in lake.snapshot(EVENTS).of_days(("product_id", "market", "event_type"), days, ROWS):
        market = markets.encode(rows["market"], missing="negative").astype(np.int64)
        product = products.encode(rows["product_id"], missing="negative")
        kept = (market >= 0) & (product >= 0) & np.asarray(pc.equal(rows["event_type"].cast(pa.string()), "purchase"))
        found.append(np.unique(market[kept] * len(products) + product[kept]))
    return np.unique(np.concatenate(found))
