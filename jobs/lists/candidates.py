"""Candidates of the lists of products: one search over all products, and exact ones where a market needs more."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from jobs.index import ProductIndex
from jobs.lists.assortment import Assortment
from jobs.lists.touch_points import COLD, MODEL, OTHER_CATEGORY, TouchPoint, own_category_first
from models.arrays import BoolMask, Rows
from models.assembly.assembly import Candidates


class CandidateRetriever:
    """The candidates of one touch point; rows are the shelf's products, not the index's."""

    def __init__(self, point: TouchPoint, index: ProductIndex, shelf: Assortment, cold: BoolMask, depth: int) -> None:
        self.point, self.index, self.shelf, self.cold, self.depth = point, index, shelf, cold, depth
        self.to_shelf: Rows = shelf.products.encode(index.vocabulary.ids).astype(np.int64)
        self.to_index: Rows = np.full(len(shelf.products), -1)
        self.to_index[self.to_shelf] = np.arange(len(self.to_shelf))

    @cached_property
    def everywhere(self) -> Candidates:
        """[products, depth], over all products; nothing for a product that the index does not know."""
        assert self.point.find is not None, f"{self.point.table.name} has an index to search"
        found = self._on_shelf(self.point.find(self.index, self.depth), self.to_shelf)
        rows, scores, labels = (
            np.full((len(self.shelf.products), found.rows.shape[1]), empty, kind)
            for empty, kind in ((-1, np.int32), (-np.inf, np.float32), (-1, np.int8))
        )
        rows[self.to_shelf], scores[self.to_shelf], labels[self.to_shelf] = found.rows, found.scores, found.labels
        return Candidates(rows, scores, labels)

    def prepare(self) -> None:
        """Compute what all markets share, before several threads ask for it."""
        assert len(self.everywhere.rows) == len(self._more)

    def in_market(self, market: int, n: int) -> Candidates:
        """Those of the market's live products.

        A market's best n are among the best of all products wherever n of these are for sale there; where fewer are,
        the market is searched itself.
        """
        from models.assembly.list_kernels import fewer_than

        available, every = self.shelf.available[market], self.everywhere
        live = np.flatnonzero(available)
        short = fewer_than(min(n, len(live) - 1), every.rows, live, available) & self._more[live]
        if not short.any():
            return replace(every, of=live)
        found = every[live]
        assert self.point.find_in is not None, f"{self.point.table.name} has an index to search"
        allowed, chosen = available[self.to_shelf], np.flatnonzero(short)
        deep = min(self.depth, int(allowed.sum()))
        sources = self.to_index[live[chosen]]
        exact = self._on_shelf(self.point.find_in(self.index, sources, allowed, deep), live[chosen])
        width = min(exact.rows.shape[1], found.rows.shape[1])
        for ours, theirs, empty in (
            (found.rows, exact.rows, -1), (found.scores, exact.scores, -np.inf), (found.labels, exact.labels, -1),
        ):  # fmt: skip
            ours[chosen] = empty
            ours[chosen, :width] = theirs[:, :width]
        return found

    @cached_property
    def _more(self) -> BoolMask:
        """[products], whether the index knows more of the product than was found over all products."""
        offered = (self.everywhere.rows >= 0).sum(axis=1)  # none at all: the index has nothing to say of the product
        return np.asarray((self.to_index >= 0) & (offered > 0) & (offered < len(self.to_shelf) - 1))

    def _on_shelf(self, found: Candidates, owners: Rows) -> Candidates:
        """Rows of the index as the shelf's, with the sources that only the shelf knows."""
        rows = np.where(found.rows >= 0, self.to_shelf[found.rows], -1)
        scores = np.where(rows >= 0, found.scores, -np.inf)
        found = Candidates(rows, scores, found.labels)
        if self.point.own_category_first:
            category = self.shelf.attributes.category
            found = own_category_first(found, category[owners], category)
        unseen = self.cold[found.rows] & np.isin(found.labels, (MODEL, OTHER_CATEGORY)) & (found.rows >= 0)
        return Candidates(found.rows, found.scores, np.where(unseen, COLD, found.labels).astype(np.int8))
