"""Defines the standing lists, each one instance: lists of markets and categories, and lists of customers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.client.ranking import ALL_PRODUCTS, page_of
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.lists.assortment import Assortment, popular_products
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.config import ListsConfig, PopularConfig
from jobs.lists.touch_points import AGAIN, FELL, NEW, TREND, VIEWED, TouchPoint
from jobs.model_inputs import BOUGHT_COLUMNS, HISTORY_COLUMNS, Bought, to_histories
from jobs.policy.variants import DefaultRules, variant_of
from jobs.run import Run
from jobs.tables.shop import (
    BUY_AGAIN,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    NEW_IN,
    RECENTLY_VIEWED,
    REDUCED,
    TRENDING,
)
from models.arrays import BoolMask, Digests, Rows
from models.assembly.assembly import Candidates, Owners
from models.digests import of_texts
from models.popularity import ProductPopularity, Weights
from models.ragged import offsets_of, ranges
from models.repeats import repeat_chances
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY
from models.vocabulary import Vocabulary

PLACES = 12
WEEK = 7
WINDOW = 28
"""Days back in which a price fell, a product was launched, or a customer looked at it."""
LEAST_FALL = 0.05
"""Share of a price that counts as a reduction."""
SHRUNK = 100.0
"""Weight of events that a growth is drawn towards that of all markets with, and this towards none; chosen on the sample
shop (`tests.benchmarks.standing`), where less puts products first that hardly anybody looks at."""
HORIZON = 14
"""Days within which a customer should buy again."""
LEAST_CHANCE = 0.03
"""Least chance of that with which a product is shown."""
PURCHASED = ("customer_id", "product_id", "event_date")
PURCHASE_DAYS = 365
"""Days of purchases from which it is estimated."""
EPOCH = date(1970, 1, 1)


# Lists of markets and categories.


@dataclass(frozen=True)
class PageFacts:
    """What lists of pages are made from; P products."""

    assortment: Assortment
    week: ProductPopularity
    """Of the last days of those that `assortment.popular` counts."""
    days: int
    """Days that `assortment.popular` counts."""
    age: Weights
    """[P], days since the launch, or else since the first of the catalogue's last nights that is not the first of all;
    infinity where neither is known."""
    fell: BoolMask
    """[P], whether the price is lower than in the first of the catalogue's last nights that has the product."""

    @staticmethod
    def read(lake: Lake, run: Run, assortment: Assortment, config: PopularConfig) -> PageFacts:
        """Those of a night."""
        products, since = assortment.products, run.as_of - timedelta(days=WINDOW)
        week = popular_products(lake, run, replace(config, days=WEEK), products, assortment.markets)
        first, seen = np.full(len(products), np.nan), np.full(len(products), np.inf)
        nights = [night for night in lake.nights(CATALOGUE) if since <= night < run.as_of]
        for night in reversed(nights):
            rows = lake.arrow(CATALOGUE, ("product_id", "price"), night)
            at = products.encode(rows["product_id"].combine_chunks(), missing="negative")
            price = np.asarray(rows["price"].cast(pa.float64()).to_numpy())
            first[at[at >= 0]], seen[at[at >= 0]] = price[at >= 0], (run.as_of - night).days
        if nights:
            seen[np.isinf(seen)] = 0
            seen[seen == (run.as_of - nights[0]).days] = np.inf
        launched = lake.arrow(CATALOGUE, ("product_id", "launched_at"), run.as_of)["launched_at"]
        days = pc.days_between(launched, pa.scalar(run.as_of)).cast(pa.float64())
        age = np.where(launched.is_null(), seen, np.asarray(days.to_numpy()))
        fell = assortment.attributes.price <= (1 - LEAST_FALL) * first
        return PageFacts(assortment, week, config.days, age.astype(np.float32), fell)


@dataclass(frozen=True)
class PageList:
    """A standing list of each market and category."""

    point: TouchPoint
    source: int
    weigh: Callable[[PageFacts, int], tuple[Weights, BoolMask]]
    """(weights [P], which products may be shown) in a market."""


def _growth(facts: PageFacts, market: int) -> tuple[Weights, BoolMask]:
    """Events of the week over those that the weeks before let expect of a product of its age; above 1 it grows."""
    popular, days = facts.assortment.popular, np.clip(facts.age, WEEK, facts.days)
    share = WEEK / days
    everywhere = (facts.week.everywhere + SHRUNK) / (popular.everywhere * share + SHRUNK)
    here = facts.week.wanted[market] + SHRUNK * everywhere
    growth = here / (popular.wanted[market] * share + SHRUNK)
    return growth.astype(np.float32), (growth > 1) & (facts.week.wanted[market] > 0)


def _reduced(facts: PageFacts, market: int) -> tuple[Weights, BoolMask]:
    return facts.assortment.popular.in_market(market), facts.fell


def _new(facts: PageFacts, market: int) -> tuple[Weights, BoolMask]:
    """The newest first, those of one day by popularity."""
    weights = facts.assortment.popular.in_market(market)
    young = facts.age <= WINDOW
    newest = np.where(young, WINDOW - facts.age, 0) + weights / (weights.max(initial=0) + 1)
    return newest.astype(np.float32), young


TRENDING_NOW = PageList(
    TouchPoint(TRENDING, DefaultRules(brand_cap=8), places=48, nothing="nothing grows here"), TREND, _growth
)
REDUCED_FOR_YOU = PageList(TouchPoint(REDUCED, places=500, nothing="no price fell here"), FELL, _reduced)
NEW_FOR_YOU = PageList(TouchPoint(NEW_IN, places=500, nothing="nothing is new here"), NEW, _new)
OF_PAGES = (TRENDING_NOW, REDUCED_FOR_YOU, NEW_FOR_YOU)


# Lists of customers.


@dataclass(frozen=True)
class Offered:
    """What some customers may be shown."""

    customers: pa.Array
    """[n] ids."""
    market: Rows
    """[n], rows of the assortment's markets; -1 for one that sells nothing."""
    candidates: Candidates
    bought: Bought
    """What each list must not show."""

    @staticmethod
    def of(rows: pa.RecordBatch, markets: Vocabulary, candidates: Candidates, bought: Bought) -> Offered:
        """Of rows of customer_sequences: of those customers alone for whom there is something, in their market."""
        market = markets.encode(rows["market"], missing="negative").astype(np.int64)
        some = np.flatnonzero((candidates.rows[:, 0] >= 0) & (market >= 0))
        ids = rows["customer_id"].take(pa.array(some)).cast(pa.string())
        return Offered(ids, market[some], candidates[some], bought.take(some))

    @staticmethod
    def joined(parts: Sequence[Offered]) -> Offered:
        """All customers of the parts."""
        names, purchases = ("rows", "scores", "labels"), ("products", "days")
        found = [np.concatenate([getattr(one.candidates, name) for one in parts]) for name in names]
        lengths = np.concatenate([one.bought.lengths for one in parts])
        bought = [np.concatenate([getattr(one.bought, name) for one in parts]) for name in purchases]
        return Offered(
            pa.concat_arrays([one.customers for one in parts]),
            np.concatenate([one.market for one in parts]),
            Candidates(*found),
            Bought(offsets_of(lengths), *bought),
        )


def _best(customers: int, owner: Rows, product: Rows, score: Weights, label: int) -> Candidates:
    """Some more products than there are places, of `product` by rising `owner` and best first."""
    most = 3 * PLACES
    place = np.arange(len(owner)) - offsets_of(np.bincount(owner, minlength=customers))[owner]
    found, kept = Candidates.empty(customers, most), place < most
    at = owner[kept], place[kept]
    found.rows[at], found.scores[at], found.labels[at] = product[kept], score[kept], label
    return found


Find = Callable[[pa.RecordBatch], tuple[Candidates, Bought]]
"""From rows of customer_sequences: (candidates of each customer, products that the list must not show)."""
WHOSE = ("customer_id", "market")


@dataclass(frozen=True)
class CustomerList:
    """A standing list of customers."""

    point: TouchPoint
    columns: tuple[str, ...]
    """Those of customer_sequences that it reads."""
    finder: Callable[[Lake, Assortment, Run], Find]
    """Reads what all customers share."""


def _viewed(lake: Lake, assortment: Assortment, run: Run) -> Find:
    """The products that a customer looked at, each once, the newest first."""

    def find(rows: pa.RecordBatch) -> tuple[Candidates, Bought]:
        histories = to_histories(rows, assortment.products).sequences
        since = run.midnight.timestamp() - WINDOW * SECONDS_PER_DAY
        looked = (histories.times >= since) & (histories.events != EVENT_TYPES.index("purchase"))
        seen = histories.where(looked)
        owner = seen.owners
        newest = seen.offsets[owner] + seen.offsets[owner + 1] - 1 - np.arange(len(owner))  # each history turned round
        pair = owner * len(assortment.products) + seen.products[newest]
        once = np.sort(np.unique(pair, return_index=True)[1])
        owner, newest = owner[once], newest[once]
        score = (seen.times[newest] / SECONDS_PER_DAY).astype(np.float32)
        bought = Bought.of(rows, assortment.products, run.midnight)
        return _best(rows.num_rows, owner, seen.products[newest], score, VIEWED), bought

    return find


def _due_again(lake: Lake, assortment: Assortment, run: Run) -> Find:
    """The products that a customer will probably buy again, the most probable first."""
    customer, product, chance = _chances(lake, assortment, run)
    customers, first = np.unique(customer, return_index=True)
    lengths = np.append(np.diff(np.append(first, len(customer))), 0)  # the last one is of customers with none
    first = np.append(first, 0)

    def find(rows: pa.RecordBatch) -> tuple[Candidates, Bought]:
        ids = of_texts(rows["customer_id"].cast(pa.string()))[:, 0]
        at = np.searchsorted(customers, ids)
        at = np.where(np.append(customers, np.uint64(0))[at] == ids, at, len(customers))
        owner, place = ranges(first[at], lengths[at])
        nothing = Bought(np.zeros(len(ids) + 1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        return _best(rows.num_rows, owner, product[place], chance[place], AGAIN), nothing

    return find


def _chances(lake: Lake, assortment: Assortment, run: Run) -> tuple[Digests, Rows, Weights]:
    """(digest of the customer, product, chance of another purchase) where it is not small; by customer, best first."""
    since = pa.scalar(run.as_of - timedelta(days=PURCHASE_DAYS))
    bought = (pc.field("event_type") == "purchase") & (pc.field("event_date") >= since)
    bought &= pc.field("event_date") < pa.scalar(run.as_of)
    schema = pa.schema([arrow_schema(EVENTS).field(name) for name in PURCHASED])
    rows = pa.Table.from_batches(list(lake.batches(EVENTS, PURCHASED, where=bought)), schema)
    customer = of_texts(rows["customer_id"].combine_chunks())[:, 0]
    product = assortment.products.encode(rows["product_id"].combine_chunks(), missing="negative").astype(np.int64)
    day = np.asarray(rows["event_date"].combine_chunks().cast(pa.int32())).astype(np.int64)
    order = np.lexsort((day, product, customer))
    customer, product, day = customer[order], product[order], day[order]
    other = np.append(True, (np.diff(customer) != 0) | (np.diff(product) != 0))[: len(day)]
    kept = (product >= 0) & (other | np.append(True, np.diff(day) != 0)[: len(day)])
    customer, product, day, other = customer[kept], product[kept], day[kept], other[kept]
    pair, first = np.cumsum(other) - 1, np.flatnonzero(other)
    category, today = assortment.attributes.category, (run.as_of - EPOCH).days
    chance = repeat_chances(pair, day, product[first], category, today, HORIZON)
    likely = np.flatnonzero(chance >= LEAST_CHANCE)
    likely = likely[np.lexsort((-chance[likely], customer[first][likely]))]
    return customer[first][likely], product[first][likely], chance[likely]


BUY_IT_AGAIN = CustomerList(
    TouchPoint(BUY_AGAIN, places=PLACES, nothing="the customer bought nothing that is due again"), WHOSE, _due_again
)
LAST_VIEWED = CustomerList(
    TouchPoint(RECENTLY_VIEWED, places=PLACES, nothing="the customer looked at nothing that is left to show"),
    (*HISTORY_COLUMNS, *BOUGHT_COLUMNS),
    _viewed,
)
OF_CUSTOMERS = (BUY_IT_AGAIN, LAST_VIEWED)


# How they are staged.


def stage_standing_lists(lake: Lake, builder: ListBuilder, config: ListsConfig, run: Run) -> None:
    """Write the night's standing lists but those of products, which are carousels."""
    facts = PageFacts.read(lake, run, builder.assortment, config.popular)
    for of_pages in OF_PAGES:
        lake.replace_encoded(of_pages.point.table, _pages(of_pages, facts, builder, config, run), run)
    for of_customers in OF_CUSTOMERS:
        lake.replace_encoded(of_customers.point.table, _of_customers(of_customers, lake, builder, config, run), run)


def page_owners(assortment: Assortment) -> tuple[pa.Array, Owners]:
    """(categories, owners) of a market's pages: those of every category, then that of all products."""
    pages = pa.array([*map(page_of, assortment.categories.ids.to_pylist()), ALL_PRODUCTS])
    return pages, Owners.of_products(np.full(len(pages), -1))


def _pages(
    one: PageList, facts: PageFacts, builder: ListBuilder, config: ListsConfig, run: Run
) -> Iterator[pa.RecordBatch]:
    assortment = builder.assortment
    pages, owners = page_owners(assortment)
    labels = np.full(len(assortment.products), one.source)
    for market in range(len(assortment.markets)):
        weights, allowed = one.weigh(facts, market)
        allowed = allowed & assortment.available[market]
        candidates = builder.pages(weights, allowed, labels, 2 * builder.places(one.point))
        for variant in config.variants:
            group = ListGroup(one.point, market, variant)
            yield builder.batch(group, {"category": pages}, candidates, owners, f"popularity-{run.run_id}")[0]


def _of_customers(
    one: CustomerList, lake: Lake, builder: ListBuilder, config: ListsConfig, run: Run
) -> Iterator[pa.RecordBatch]:
    """The lists of customers that have a product; an empty one of some customer where none has."""
    wrote, model_id = False, f"counts-{run.run_id}"
    for offered in _offered(one, lake, builder.assortment, config, run):
        for group, chosen in _groups(one.point, offered, config):
            mine = offered.bought.take(chosen)
            owners = Owners.of_customers(mine.offsets, mine.products)
            lists = builder.build(group, offered.candidates[chosen], owners)
            filled = np.flatnonzero(lists.rows[:, 0] >= 0)
            lists, wrote = lists.chosen(filled), wrote or len(filled) > 0
            builder.count(group, lists)
            yield builder.rows(group, {"customer_id": offered.customers.take(chosen[filled])}, lists, model_id)
    if not wrote:
        first = lake.arrow(CUSTOMER_SEQUENCES, ("customer_id",), run.as_of)["customer_id"].combine_chunks()[:1]
        group, nobody = ListGroup(one.point, 0, config.variants[0]), np.empty(0, np.int64)
        owners = Owners.of_customers(np.zeros(len(first) + 1, np.int64), nobody)
        lists = builder.build(group, Candidates.empty(len(first), 1), owners)
        yield builder.rows(group, {"customer_id": first}, lists, model_id)


def _offered(one: CustomerList, lake: Lake, assortment: Assortment, config: ListsConfig, run: Run) -> Iterator[Offered]:
    """What the night's customers may be shown, of many customers at once."""
    find, parts, waiting = one.finder(lake, assortment, run), list[Offered](), 0
    for rows in lake.snapshot(CUSTOMER_SEQUENCES).encoded(one.columns, run.as_of, config.batch_customers):
        parts.append(Offered.of(rows, assortment.markets, *find(rows)))
        waiting += len(parts[-1].customers)
        if waiting >= config.batch_customers:
            yield Offered.joined(parts)
            parts, waiting = [], 0
    if waiting:
        yield Offered.joined(parts)


def _groups(point: TouchPoint, offered: Offered, config: ListsConfig) -> Iterator[tuple[ListGroup, Rows]]:
    """The customers by market and variant."""
    ids = offered.customers.to_pylist() if len(config.variants) > 1 else []
    sees = np.array([variant_of(one, config.experiment, config.variants) for one in ids])
    order = np.argsort(offered.market, kind="stable")
    markets, starts = np.unique(offered.market[order], return_index=True)
    for number, rows in zip(markets.tolist(), np.split(order, starts[1:]), strict=True):
        for variant in config.variants:
            chosen = rows[sees[rows] == variant.name] if len(ids) else rows
            if len(chosen):
                yield ListGroup(point, number, variant), chosen
