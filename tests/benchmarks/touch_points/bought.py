"""People Also Bought: of a product in a basket, what else is in it? Baskets after T, or pairs that were held back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from models.arrays import Rows, top_n_of_scores
from models.contract import Compute, Progress
from models.copurchase.model import CoPurchaseConfig
from models.networks import artefacts
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common.basket_metrics import FORMULAS, basket_baseline, basket_queries, judge_lists
from tests.benchmarks.touch_points.baskets import DEPTH, Window, our_lists
from tests.benchmarks.touch_points.baskets import SHOWN as BASKET_METRICS
from tests.benchmarks.touch_points.data import Ground, Truth
from tests.benchmarks.touch_points.judge import Answers, Questions, TouchPoint, answers, diversity

NAMES = {
    "cosine": "co-occurrence cosine", "lift": "lift", "conditional": "conditional probability",
    "popularity": "popularity",
}  # fmt: skip
HELD_BACK = 0.2
AMF_SETTINGS = {"epochs": 20}
"""Passes of AMF over histories of a few products each, whose order was drawn: it reads them as bags."""


def window_of(ground: Ground) -> Window:
    """The baskets before and after T as the benchmark of People Also Bought takes them."""
    before, after = ground.before(ground.baskets), ground.after(ground.baskets)
    known = before.products >= 0
    offsets = np.concatenate(([0], np.cumsum(known)))[before.offsets]
    queries = basket_queries(after.offsets, after.products, ground.products)
    customers = after.customers[queries.baskets]
    return Window(offsets, before.products[known], before.times, ground.products, ground.split, queries, customers)


def people_also_bought(data: Window, truth: Truth | None) -> TouchPoint:
    """Ours against every formula, on every product of every later basket."""
    counts = np.bincount(data.products, minlength=data.n_products)
    lists = {"ours": our_lists(data, CoPurchaseConfig())}
    for formula in FORMULAS:
        lists[NAMES[formula]] = basket_baseline(data.offsets, data.products, data.n_products, formula, DEPTH)
    entrants = {}
    for name, rows in lists.items():
        beside = {} if truth is None else {"true complements@6": truth.complements(rows, counts)}
        entrants[name] = Answers(judge_lists(rows, data.queries), diversity(rows, counts) | beside)
    asked = (
        f"of a product in a later basket, the rest of it, {len(data.customers):,} questions of "
        f"{len(np.unique(data.customers)):,} customers; {data.queries.single_baskets:,} baskets ask nothing, having "
        f"fewer than two known products"
    )
    return TouchPoint("people_also_bought", asked, data.customers, entrants, BASKET_METRICS)


@dataclass(frozen=True)
class Pairs:
    """Customers' purchases without order or time, some held back; products are those of the others."""

    products: int
    offsets: Rows
    """[customers + 1] over `kept`."""
    kept: Rows
    held: Questions
    """One question for each customer with a kept and a held product; its targets are the held ones."""
    cold: int
    """Held pairs of products that nobody bought among the kept ones."""


def asos(raw: Path, seed: int = 17) -> Pairs:
    """ASOS purchases: a random fifth of the pairs is held back."""
    path = raw if raw.is_file() else raw / "train.parquet"
    pairs = pl.read_parquet(path).select(
        pl.col("dummyUserId").rank("dense").sub(1).cast(pl.Int64).alias("customer"),
        pl.col("productId").rank("dense").sub(1).cast(pl.Int64).alias("product"),
    )
    pairs = pairs.unique().sort("customer", "product")
    return held_back(pairs["customer"].to_numpy(), pairs["product"].to_numpy(), seed)


def held_back(customers: Rows, products: Rows, seed: int) -> Pairs:
    """`Pairs` of distinct (customer, product), by rising customer; which are held back is drawn evenly."""
    held = np.random.default_rng(seed).random(len(customers)) < HELD_BACK
    known = np.unique(products[~held])
    dense = np.full(int(products.max()) + 1, -1, dtype=np.int64)
    dense[known] = np.arange(len(known))
    size = int(customers.max()) + 1
    offsets = np.concatenate(([0], np.cumsum(np.bincount(customers[~held], minlength=size))))
    asked = held & (dense[products] >= 0) & (np.diff(offsets)[customers] > 0)
    who, counts = np.unique(customers[asked], return_counts=True)
    questions = Questions(who, np.concatenate(([0], np.cumsum(counts))), dense[products[asked]])
    cold = int((held & (dense[products] < 0)).sum())
    return Pairs(len(known), offsets, dense[products[~held]], questions, cold)


def bought_by_same(pairs: Pairs, ours: Rows, progress: Progress) -> TouchPoint:
    """On the page of each kept product of a customer: are the customer's held products in its list?"""
    lengths = np.diff(pairs.offsets)[pairs.held.customers]
    owner = np.repeat(np.arange(len(pairs.held)), lengths)
    starts = pairs.offsets[:-1][pairs.held.customers]
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    sources = pairs.kept[np.repeat(starts, lengths) + inside]
    sizes = np.diff(pairs.held.offsets)[owner]
    first = np.repeat(pairs.held.offsets[:-1][owner], sizes)
    targets = pairs.held.targets[first + np.arange(len(first)) - np.repeat(np.cumsum(sizes) - sizes, sizes)]
    questions = Questions(
        pairs.held.customers[owner], np.concatenate(([0], np.cumsum(sizes))).astype(np.int64), targets
    )
    counts = np.bincount(pairs.kept, minlength=pairs.products)
    entrants = {name: answers(rows[sources], questions, counts) for name, rows in lists_of(pairs, ours, progress)}
    asked = (
        f"of a product that a customer bought, their held-back fifth of products, {len(questions):,} questions of "
        f"{len(pairs.held):,} customers; {pairs.cold:,} held pairs are of products that nobody else bought"
    )
    return TouchPoint("people_also_bought", asked, questions.customers, entrants)


def lists_of(pairs: Pairs, ours: Rows, progress: Progress) -> Iterator[tuple[str, Rows]]:
    """Name and [products, 24] of ours, of AMF's two tables, and of every formula."""
    yield "ours", ours
    yield "AMF, two tables", amf_lists(pairs, progress)
    for formula in FORMULAS:
        yield NAMES[formula], basket_baseline(pairs.offsets, pairs.kept, pairs.products, formula, DEPTH)


def amf_lists(pairs: Pairs, progress: Progress, seed: int = 17, batch: int = 1024) -> Rows:
    """[products, 24], what AMF recommends to somebody who bought one product; histories in a drawn order."""
    owner = np.repeat(np.arange(len(pairs.offsets) - 1), np.diff(pairs.offsets))
    order = np.lexsort((np.random.default_rng(seed).random(len(owner)), owner))
    bought = np.full(len(owner), EVENT_TYPES.index("purchase"), dtype=np.int8)
    histories = Sequences(
        pairs.offsets, pairs.kept[order].astype(np.int32), bought, np.arange(len(owner), dtype=np.int64)
    )
    vocabulary = Vocabulary([str(product) for product in range(pairs.products)])
    model = artefacts.create("amf", vocabulary, Compute(seed=seed), **AMF_SETTINGS)
    model.fit(histories, None, progress)
    every = np.arange(pairs.products, dtype=np.int32)
    one = Sequences(
        np.arange(pairs.products + 1), every, bought[:1].repeat(pairs.products), np.zeros(pairs.products, np.int64)
    )
    read, recommended = model.encode(one), model.product_vectors()
    found = []
    for start in range(0, pairs.products, batch):
        scores = read[start : start + batch] @ recommended.T
        rows = np.arange(len(scores))
        scores[rows, start + rows] = -np.inf
        found.append(top_n_of_scores(scores, DEPTH)[1])
    return np.concatenate(found)
