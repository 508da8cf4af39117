"""One night's lists in one market: rules, fallbacks and what came of them, for every touch point alike."""

from __future__ import annotations

from collections import defaultdict
from copy import copy
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.list_rows import Tally, list_rows
from jobs.policy import Policy
from jobs.policy_rulebooks import Names, Rulebooks
from jobs.shelf import Shelf
from jobs.tables import MARKET_RANKING, Table
from jobs.touch_points import CATEGORY, GLOBAL, MARKET, POLICY, TouchPoint
from jobs.variants import Variant
from models.assembly import Assembled, Candidates, Owners, Tiers, assemble, rankings
from models.rulebook import STANDING, Rulebook
from models.top_n import BoolMask, Rows

PER_CATEGORY = 20
"""Popular products of a category, per place it may have, that fill a list with a cap on categories."""


class ListMaker:
    """Turns candidates into lists, and counts what the rules did."""

    def __init__(self, shelf: Shelf, policy: Policy) -> None:
        self.shelf, self.policy = shelf, policy
        self.names = Names(shelf.products, shelf.brands, shelf.categories, shelf.departments)
        self.rulebooks = Rulebooks(policy, self.names, shelf.attributes)
        self.tallies: dict[tuple[Table, str], Tally] = defaultdict(Tally)
        """By table and variant."""

    def counting_anew(self) -> ListMaker:
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
