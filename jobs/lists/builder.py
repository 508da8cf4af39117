"""Builds the lists of every touch point: applies the rules, fills short lists, and counts what the rules changed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from jobs.lists.assortment import Assortment
from jobs.lists.short import short_reason
from jobs.lists.touch_points import CATEGORY, FOR_YOU, GLOBAL, MARKET, POLICY, RANKED_PAGE, TouchPoint
from jobs.policy.compile import Names, Policy, Rulebooks
from jobs.policy.variants import Variant
from jobs.tables.shop import OUTFITS, SOURCES, STANDING_SOURCES
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.assembly.assembly import Assembled, Candidates, ListShape, Owners, Tiers, assemble, rankings
from models.assembly.rulebook import DEFAULT_RULES, USUAL_SIZE, Rulebook
from models.vocabulary import Vocabulary

PER_CATEGORY = 20
"""Popular products of a category, per place it may have, that pad a list with a cap on categories."""
NO_RULE = ""
"""The rule of a position that no rule moved."""
_SOURCES = Vocabulary([*SOURCES, *STANDING_SOURCES])


@dataclass(frozen=True)
class ListGroup:
    """The lists of one touch point in one market for one variant."""

    point: TouchPoint
    market: int
    """Row of the assortment's markets."""
    variant: Variant


@dataclass
class ListCount:
    """Lists built, and what the rules changed in them."""

    lists: int = 0
    short: int = 0
    """Lists with an empty place."""
    moved: int = 0
    """Positions that a rule filled or moved."""
    rules: Counter[str] = field(default_factory=Counter)
    """Name of a rule -> lists that it changed."""

    def add(self, other: ListCount) -> None:
        """Add another count to this one."""
        self.lists += other.lists
        self.short += other.short
        self.moved += other.moved
        self.rules.update(other.rules)


class ListBuilder:
    """Turns candidates into lists of one night, and counts what the rules changed."""

    def __init__(self, assortment: Assortment, policy: Policy, top_n: int) -> None:
        self.assortment, self.policy, self.top_n = assortment, policy, top_n
        names = Names(assortment.products, assortment.brands, assortment.categories, assortment.departments)
        self.rulebooks = Rulebooks(policy, names, assortment.attributes)
        self.counts: dict[tuple[Table, str], ListCount] = defaultdict(ListCount)
        """By table and variant."""

    def without_counts(self) -> ListBuilder:
        """The same builder with nothing counted yet."""
        other = copy(self)
        other.counts = defaultdict(ListCount)
        return other

    def places(self, point: TouchPoint) -> int:
        """Products per list of a touch point."""
        return point.places or self.top_n

    def market_name(self, market: int) -> str:
        """The id of a market."""
        return str(self.assortment.markets.ids[market].as_py())

    def repeat_purchase_days(self, market: int, variant: Variant) -> npt.NDArray[np.float32]:
        """[categories], days after a purchase from which a customer's list may show the product again."""
        return self.policy.repeat_purchase_days(self.assortment.categories, self.market_name(market), variant)

    def book(self, group: ListGroup) -> Rulebook:
        """The rules of a group."""
        point, sizes = group.point, self.assortment.sizes
        scope = point.table.name, self.market_name(group.market), group.variant, point.default_rules
        book = self.rulebooks.rulebook(*scope)
        if sizes is None:
            return book
        least, rule = self.rulebooks.size_run(*scope)
        return book.with_last(sizes.broken(group.market, least), rule)

    def candidates_per_customer(self, market: int, variant: Variant) -> int:
        """Candidates to search for each customer's list: 2 a place, 4 where a rule excludes products; and the pins."""
        book = self.book(ListGroup(FOR_YOU, market, variant))
        return (4 if (book.excluded >= 0).any() else 2) * self.places(FOR_YOU) + len(book.pins)

    def batch(
        self,
        group: ListGroup,
        keys: Mapping[str, pa.Array],
        candidates: Candidates,
        owners: Owners,
        model_id: str,
        left_out: int = 0,
    ) -> tuple[pa.RecordBatch, Assembled]:
        """Build and count the lists of a group; returns their rows as well.

        From the candidates of `left_out` lists products without the customer's usual size were taken before.
        """
        lists = self.build(group, candidates, owners)
        lists.effects[USUAL_SIZE] += left_out
        self.count(group, lists)
        return self.rows(group, keys, lists, model_id), lists

    def build(self, group: ListGroup, candidates: Candidates, owners: Owners) -> Assembled:
        """The lists of a group, padded with popular products; not counted yet."""
        point, assortment = group.point, self.assortment
        shape = ListShape(self.places(point), POLICY, point.other_category, point.own_category_first)
        tiers, available = self._tiers(point, group.market, owners.products), assortment.available[group.market]
        return assemble(shape, candidates, owners, tiers, available, assortment.attributes, self.book(group))

    def count(self, group: ListGroup, lists: Assembled) -> None:
        """Count what the rules changed in lists of a group."""
        names = self.book(group).names
        rules = Counter({name: int(n) for name, n in zip(names, lists.effects, strict=True) if n})
        short = 0 if group.point.nothing else int((lists.rows[:, -1] < 0).sum())
        moved = int((lists.rules >= 0).sum())
        self.counts[group.point.table, group.variant.name].add(ListCount(len(lists.rows), short, moved, rules))

    def counts_as_json(self, point: TouchPoint) -> str:
        """What was counted of a touch point, by variant; for `add_counts` of another builder."""
        counted = {
            variant: [count.lists, count.short, count.moved, dict(count.rules)]
            for (table, variant), count in self.counts.items()
            if table is point.table
        }
        return json.dumps(counted)

    def add_counts(self, point: TouchPoint, text: str) -> None:
        """Add what another builder counted of a touch point."""
        for variant, (lists, short, moved, rules) in json.loads(text).items():
            self.counts[point.table, variant].add(ListCount(lists, short, moved, Counter(rules)))

    def rows(self, group: ListGroup, keys: Mapping[str, pa.Array], lists: Assembled, model_id: str) -> pa.RecordBatch:
        """Lists as rows of the touch point's table, without as_of and run_id.

        `keys` are the columns of its key beside market and variant. Texts are dictionary-encoded, with equal
        dictionaries in every batch of a night.
        """
        names, assortment, filled = self.book(group).names, self.assortment, lists.rows >= 0
        length = filled.sum(axis=1)
        offsets = pa.array(np.concatenate(([0], np.cumsum(length))).astype(np.int32))
        products = lists.rows[filled]
        reasons, reason_of = self.reasons(group, lists)
        rules = np.where(lists.rules < 0, len(names), lists.rules)[filled]
        columns = dict(keys) | {
            "market": assortment.markets.coded(np.full(len(length), group.market)),
            "product_ids": pa.ListArray.from_arrays(offsets, assortment.products.coded(products)),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(lists.scores[filled], pa.float32())),
            "sources": pa.ListArray.from_arrays(offsets, _SOURCES.coded(lists.labels[filled])),
            "rules": pa.ListArray.from_arrays(offsets, Vocabulary([*names, NO_RULE]).coded(rules)),
            "variant": pa.repeat(group.variant.name, len(length)),
            "short_reason": pa.array(reasons, pa.string()).take(pa.array(reason_of)),
            "model_id": pa.repeat(model_id, len(length)),
        }
        if "categories" in group.point.table.names:
            category = assortment.categories.coded(assortment.attributes.category[products])
            columns["categories"] = pa.ListArray.from_arrays(offsets, category)
        return pa.RecordBatch.from_pydict(columns)

    def reasons(self, group: ListGroup, lists: Assembled) -> tuple[list[str | None], Rows]:
        """(reasons why lists of a group are short, [lists] which of them each has); the last one, None, is that of a
        list that is full or shows all there is.
        """
        length = (lists.rows >= 0).sum(axis=1)
        if group.point.nothing:
            return [group.point.nothing, None], np.minimum(length, 1)
        whole = (length == lists.rows.shape[1]) | ((length > 0) & (length >= self._sold(group, len(length))))
        lengths = np.flatnonzero(np.bincount(length[~whole]))
        book = self.book(group)
        reasons = [*(short_reason(group.point, book, int(n)) for n in lengths), None]
        return reasons, np.where(whole, len(lengths), np.searchsorted(lengths, length))

    def _sold(self, group: ListGroup, lists: int) -> Rows:
        """[lists], products that the market sells: other ones than a list's own, of a page those of its category."""
        available = self.assortment.available[group.market]
        if group.point is not RANKED_PAGE:
            return np.full(lists, available.sum() - (group.point.table.key[0] == "product_id"))
        category = self.assortment.attributes.category[available]
        of_each = np.bincount(category[category >= 0], minlength=len(self.assortment.categories))
        return np.append(of_each, available.sum())

    def category_pages(self, market: int, most: int) -> Candidates:
        """The `most` most popular products of every category, in the order of the categories, then of all products."""
        popular = self.assortment.popular
        labels = np.where(popular.wanted[market] > 0, MARKET, GLOBAL)
        return self.pages(popular.in_market(market), self.assortment.available[market], labels, most)

    def pages(self, weights: npt.NDArray[np.float32], allowed: BoolMask, labels: Rows, most: int) -> Candidates:
        """The `most` heaviest of the allowed products [P] of every category, then of all; `labels` [P] are sources."""
        assortment = self.assortment
        whole = rankings(weights, allowed, np.zeros(len(assortment.products), np.int64), 1)
        offsets, ranked, _ = rankings(weights, allowed, assortment.attributes.category, len(assortment.categories))
        pages = [*np.split(ranked, offsets[1:-1])[: len(assortment.categories)], whole.rows]
        rows = np.full((len(pages), most), -1, dtype=np.int64)
        for page, products in enumerate(pages):
            rows[page, : len(products)] = products[:most]
        scores = np.where(rows >= 0, weights[rows], -np.inf).astype(np.float32)
        return Candidates(rows, scores, np.where(rows >= 0, labels[rows], -1).astype(np.int8))

    def effects(self) -> list[dict[str, object]]:
        """Rows of rule_effects: every rule of the policy, and the default rules that changed a list; of outfits an
        editor's sets alone.
        """
        sets = {rule.rule_id for rule in self.policy.rules if rule.kind == "outfit"}
        return [
            {
                "rule_id": name,
                "touch_point": table.name,
                "variant": variant,
                "changed": count.rules[name],
                "rule": self.policy.as_json(name),
            }
            for (table, variant), count in self.counts.items()
            for name in (*DEFAULT_RULES, *(rule.rule_id for rule in self.policy.rules))
            if count.rules[name] or (name not in DEFAULT_RULES and (name in sets) == (table is OUTFITS))
        ]

    def _tiers(self, point: TouchPoint, market: int, owners: Rows) -> Tiers:
        """Popular products that pad lists: of the owner's category in the market, of the market, of all markets.

        A ranked page has none: its candidates are all popular products already. Nor has a list that is not padded.
        """
        assortment, available = self.assortment, self.assortment.available[market]
        if point is RANKED_PAGE or point.nothing:
            return Tiers.none(len(owners))
        weights = assortment.filling.in_market(market)
        whole = np.zeros(len(assortment.products), np.int64)
        if point.default_rules.category_cap:
            # A list that takes little of a category needs no more of it than what a price window may leave.
            available = self._best_of_categories(market, PER_CATEGORY * point.default_rules.category_cap)
        wanted = assortment.filling.wanted[market] > 0
        parts = [
            rankings(weights, available & wanted, whole, 1),
            rankings(assortment.filling.everywhere, available & ~wanted, whole, 1),
        ]
        of, labels = [np.zeros(len(owners), np.int64), np.ones(len(owners), np.int64)], [MARKET, GLOBAL]
        if point.own_category_first:
            category = assortment.attributes.category
            parts.append(rankings(weights, available, category, len(assortment.categories)))
            own = category[owners]
            of.insert(0, np.where((owners >= 0) & (own >= 0), own + 2, -1))
            labels.insert(0, CATEGORY)
        return Tiers.stacked(parts, np.stack(of, axis=1), labels, point.comparable)

    def _best_of_categories(self, market: int, most: int) -> BoolMask:
        """[products], the `most` most popular products of each category in the market."""
        assortment, best = self.assortment, np.zeros(len(self.assortment.products), dtype=bool)
        offsets, rows, _ = rankings(
            assortment.filling.in_market(market),
            assortment.available[market],
            assortment.attributes.category,
            len(assortment.categories),
        )
        place = np.arange(len(rows)) - np.repeat(offsets[:-1], np.diff(offsets))
        best[rows[place < most]] = True
        return best
