"""One night's lists in one market: rules, fallbacks and what came of them, for every touch point alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from jobs.lists.assortment import Assortment
from jobs.lists.touch_points import CATEGORY, FOR_YOU, GLOBAL, MARKET, POLICY, TouchPoint
from jobs.policy.compile import Names, Policy, Rulebooks
from jobs.policy.variants import Variant
from jobs.tables.shop import MARKET_RANKING, SOURCES
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.assembly.assembly import Assembled, Candidates, Owners, Tiers, assemble, rankings
from models.assembly.rulebook import STANDING, Rulebook
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    pass


def candidates_of(maker: ListBuilder, market: int, variant: Variant, n: int) -> int:
    """How many candidates a customer's list of n places is made from: as many as it reads unless rules take more than
    half of them away.
    """
    book = maker.book(FOR_YOU, market, variant)
    return (4 if (book.excluded >= 0).any() else 2) * n + len(book.pins)


PER_CATEGORY = 20
"""Popular products of a category, per place it may have, that fill a list with a cap on categories."""


class ListBuilder:
    """Turns candidates into lists, and counts what the rules did."""

    def __init__(self, shelf: Assortment, policy: Policy) -> None:
        self.shelf, self.policy = shelf, policy
        self.names = Names(shelf.products, shelf.brands, shelf.categories, shelf.departments)
        self.rulebooks = Rulebooks(policy, self.names, shelf.attributes)
        self.tallies: dict[tuple[Table, str], Tally] = defaultdict(Tally)
        """By table and variant."""

    def counting_anew(self) -> ListBuilder:
        """The same maker with nothing counted yet."""
        other = copy(self)
        other.tallies = defaultdict(Tally)
        return other

    def batch(
        self, point: TouchPoint, market: int, variant: Variant, n: int, keys: dict[str, pa.Array],
        candidates: Candidates, owners: Owners, model_id: str,
    ) -> tuple[pa.RecordBatch, Assembled]:  # fmt: skip
        """Rows of a touch point's table in one market, filled up from what is wanted there."""
        made = self.made(point, market, variant, n, candidates, owners)
        self.count(point, market, variant, made)
        return self.rows(point, market, variant, keys, made, model_id), made

    def made(
        self, point: TouchPoint, market: int, variant: Variant, n: int, candidates: Candidates, owners: Owners
    ) -> Assembled:
        """The lists of a touch point in one market, filled up from what is wanted there; not counted yet."""
        book, tiers = self.book(point, market, variant), self.popular(point, market, owners.products)
        return assemble(
            n, candidates, owners, tiers, self.shelf.available[market], self.shelf.attributes, book, POLICY,
            point.other_category, point.own_category_first,
        )  # fmt: skip

    def count(self, point: TouchPoint, market: int, variant: Variant, made: Assembled) -> None:
        """Count what the rules did in some lists."""
        self.tallies[point.table, variant.name].add(made, self.book(point, market, variant))

    def rows(
        self, point: TouchPoint, market: int, variant: Variant, keys: dict[str, pa.Array], made: Assembled,
        model_id: str,
    ) -> pa.RecordBatch:  # fmt: skip
        """Lists as rows of the touch point's table."""
        book, with_categories = self.book(point, market, variant), "categories" in point.table.names
        return list_rows(keys, made, self.shelf, market, book, variant.name, model_id, with_categories)

    def book(self, point: TouchPoint, market: int, variant: Variant) -> Rulebook:
        """The rules of a touch point in a market."""
        return self.rulebooks.rulebook(
            point.table.name, self.shelf.markets.ids[market].as_py(), variant, point.standing
        )

    def popular(self, point: TouchPoint, market: int, owners: Rows) -> Tiers:
        """The owner's category in the market, the market, and what is wanted anywhere; nothing for a ranked page."""
        if point.table is MARKET_RANKING:
            nothing = np.empty(0, np.int64)
            return Tiers(np.empty((len(owners), 0), np.int64), np.zeros(1, np.int64), nothing,
                         np.empty(0, np.float32), np.empty(0, np.int8))  # fmt: skip
        shelf, available = self.shelf, self.shelf.available[market]
        weights = shelf.filling.in_market(market)
        whole = np.zeros(len(shelf.products), np.int64)
        if point.standing.category_cap:
            # A list that takes little of a category needs no more of it than what a price window may leave.
            available = self._best_of_categories(market, PER_CATEGORY * point.standing.category_cap)
        parts = [
            rankings(weights, available & (shelf.filling.wanted[market] > 0), whole, 1),
            rankings(shelf.filling.everywhere, available & (shelf.filling.wanted[market] == 0), whole, 1),
        ]
        of, labels = [np.zeros(len(owners), np.int64), np.ones(len(owners), np.int64)], [MARKET, GLOBAL]
        if point.own_category_first:
            category = shelf.attributes.category
            parts.append(rankings(weights, available, category, len(shelf.categories)))
            own = category[owners]
            of.insert(0, np.where((owners >= 0) & (own >= 0), own + 2, -1))
            labels.insert(0, CATEGORY)
        return stacked(parts, np.stack(of, axis=1), labels, point.comparable)

    def _best_of_categories(self, market: int, most: int) -> BoolMask:
        """[products], the market's most wanted products of each category."""
        shelf, best = self.shelf, np.zeros(len(self.shelf.products), dtype=bool)
        offsets, rows, _ = rankings(
            shelf.filling.in_market(market), shelf.available[market], shelf.attributes.category, len(shelf.categories)
        )
        place = np.arange(len(rows)) - np.repeat(offsets[:-1], np.diff(offsets))
        best[rows[place < most]] = True
        return best

    def pages(self, market: int, most: int) -> Candidates:
        """The first `most` of every category page, in the order of the categories, and of the page of all products."""
        shelf, available, weights = self.shelf, self.shelf.available[market], self.shelf.popular.in_market(market)
        whole = rankings(weights, available, np.zeros(len(shelf.products), np.int64), 1)
        kinds = rankings(weights, available, shelf.attributes.category, len(shelf.categories))
        rows = np.full((len(shelf.categories) + 1, most), -1, dtype=np.int64)
        for page, start in enumerate([*kinds[0][:-1], 0]):
            own = (kinds[1][start : kinds[0][page + 1]] if page < len(shelf.categories) else whole[1])[:most]
            rows[page, : len(own)] = own
        there = rows >= 0
        labels = np.where(shelf.popular.wanted[market][rows] > 0, MARKET, GLOBAL)
        scores = np.where(there, weights[rows], -np.inf).astype(np.float32)
        return Candidates(rows, scores, np.where(there, labels, -1).astype(np.int8))

    def effects(self) -> list[dict[str, Any]]:
        """Rows of rule_effects: every rule of the policy, and the standing rules that did something."""
        rows = []
        for (table, variant), tally in self.tallies.items():
            names = [name for name in STANDING if tally.rules[name]] + [rule.rule_id for rule in self.policy.rules]
            rows += [
                {"rule_id": name, "touch_point": table.name, "variant": variant, "changed": tally.rules[name],
                 "rule": self.policy.as_json(name)}
                for name in names
            ]  # fmt: skip
        return rows


def stacked(parts: list[tuple[Rows, Rows, Any]], of: Rows, labels: list[int], scoreless: bool) -> Tiers:
    """Rankings one after the other as the tiers of lists [Q, tiers]; `scoreless` ones have the score 0."""
    ends = np.cumsum([0, *(len(rows) for _, rows, _ in parts)])
    offsets = [part[0][:-1] + end for part, end in zip(parts, ends, strict=False)]
    scores = np.concatenate([part[2] for part in parts])
    return Tiers(
        of, np.concatenate([*offsets, ends[-1:]]), np.concatenate([part[1] for part in parts]),
        np.zeros_like(scores) if scoreless else scores, np.array(labels, np.int8),
    )  # fmt: skip


# Assembled lists as rows of their tables.

_SOURCES = Vocabulary(list(SOURCES))
NO_RULE = ""
"""The rule of a position that none moved."""


@dataclass
class Tally:
    """What came of a touch point's lists, summed while they are written."""

    lists: int = 0
    short: int = 0
    moved: int = 0
    """Positions that a rule filled or moved."""
    rules: Counter[str] = field(default_factory=Counter)
    """Lists that each rule changed."""

    def add(self, made: Assembled, book: Rulebook) -> None:
        """Count the lists of one batch."""
        self.lists += len(made.rows)
        self.short += int((made.rows[:, -1] < 0).sum())
        self.moved += int((made.rules >= 0).sum())
        self.rules.update({name: int(n) for name, n in zip(book.names, made.effects, strict=True) if n})

    def join(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.lists, self.short, self.moved = (
            self.lists + other.lists,
            self.short + other.short,
            self.moved + other.moved,
        )
        self.rules.update(other.rules)


def list_rows(
    keys: Mapping[str, pa.Array], made: Assembled, shelf: Assortment, market: int, book: Rulebook, variant: str,
    model_id: str, with_categories: bool = False,
) -> pa.RecordBatch:  # fmt: skip
    """The columns of a list table but as_of and run_id; `keys` are those of its key beside market and variant.

    Texts are coded, with the same words in every batch of a night.
    """
    held = (made.rows >= 0).sum(axis=1)
    there = made.rows >= 0
    offsets = pa.array(np.concatenate(([0], np.cumsum(held))).astype(np.int32))
    reasons = [f"only {n} products of the market may be shown" for n in range(made.rows.shape[1])]
    rules = np.where(made.rules < 0, len(book.names), made.rules)[there]
    columns = dict(keys) | {
        "market": shelf.markets.coded(np.full(len(held), market)),
        "product_ids": pa.ListArray.from_arrays(offsets, shelf.products.coded(made.rows[there])),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(made.scores[there], pa.float32())),
        "sources": pa.ListArray.from_arrays(offsets, _SOURCES.coded(made.labels[there])),
        "rules": pa.ListArray.from_arrays(offsets, Vocabulary([*book.names, NO_RULE]).coded(rules)),
        "variant": pa.repeat(variant, len(held)),
        "short_reason": pa.array([*reasons, None], pa.string()).take(pa.array(held)),
        "model_id": pa.repeat(model_id, len(held)),
    }
    if with_categories:
        category = shelf.categories.coded(shelf.attributes.category[made.rows[there]])
        columns["categories"] = pa.ListArray.from_arrays(offsets, category)
    return pa.RecordBatch.from_pydict(columns)


def no_lists(keys: Mapping[str, pa.Array], variants: pa.Array, model_id: str) -> pa.RecordBatch:
    """Empty lists for customers of a market in which nothing can be bought."""
    count = len(variants)
    offsets = pa.array(np.zeros(count + 1, np.int32))
    empty = {
        name: pa.ListArray.from_arrays(offsets, pa.array([], pa.string()))
        for name in ("product_ids", "sources", "rules")
    }
    columns = dict(keys) | empty | {
        "scores": pa.ListArray.from_arrays(offsets, pa.array([], pa.float32())),
        "variant": variants,
        "short_reason": pa.repeat("no product is available in the customer's market", count),
        "model_id": pa.repeat(model_id, count),
    }  # fmt: skip
    return pa.RecordBatch.from_pydict(columns)
