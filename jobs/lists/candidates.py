"""Retrieves candidates for product lists: one search over all products, exact ones for markets that need more."""

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
    """Candidates of one touch point. Rows are products of the assortment, not of the index."""

    def __init__(
        self, point: TouchPoint, index: ProductIndex, assortment: Assortment, cold: BoolMask, depth: int
    ) -> None:
        self.point, self.index, self.assortment, self.cold, self.depth = point, index, assortment, cold, depth
        self.to_assortment: Rows = assortment.products.encode(index.vocabulary.ids).astype(np.int64)
        self.to_index: Rows = np.full(len(assortment.products), -1)
        self.to_index[self.to_assortment] = np.arange(len(self.to_assortment))

    @cached_property
    def everywhere(self) -> Candidates:
        """[products, depth], over all products; none for a product that the index does not have."""
        assert self.point.find is not None, f"{self.point.table.name} has an index to search"
        found = self._in_assortment(self.point.find(self.index, self.depth, None), self.to_assortment)
        whole = Candidates.empty(len(self.assortment.products), found.rows.shape[1])
        whole.put(self.to_assortment, found)
        return whole

    def prepare(self) -> None:
        """Compute what all markets share, before several threads use it."""
        assert len(self.everywhere.rows) == len(self._more)

    def in_market(self, market: int, n: int, owners: Rows) -> Candidates:
        """Candidates among the market's live products for some products `owners`.

        The best n of a market are among the best of all products if the market sells n of these; otherwise the market
        itself is searched.
        """
        from models.assembly.list_kernels import fewer_than

        available, every = self.assortment.available[market], self.everywhere
        enough = min(n, int(available.sum()) - 1)
        short = fewer_than(enough, every.rows, owners, available) & self._more[owners]
        if not short.any():
            return replace(every, of=owners)
        assert self.point.find is not None, f"{self.point.table.name} has an index to search"
        found, chosen, allowed = every[owners], np.flatnonzero(short), available[self.to_assortment]
        those, depth = owners[chosen], min(self.depth, int(allowed.sum()))
        exact = self.point.find(self.index, depth, (self.to_index[those], allowed))
        found.put(chosen, self._in_assortment(exact, those))
        return found

    @cached_property
    def _more(self) -> BoolMask:
        """[products], whether the index has more neighbours of the product than the search over all found."""
        offered = (self.everywhere.rows >= 0).sum(axis=1)  # none at all: the index has no neighbours of the product
        return np.asarray((self.to_index >= 0) & (offered > 0) & (offered < len(self.to_assortment) - 1))

    def _in_assortment(self, found: Candidates, owners: Rows) -> Candidates:
        """Rows of the index as products of the assortment, labelled by category and cold vectors too."""
        rows = np.where(found.rows >= 0, self.to_assortment[found.rows], -1)
        found = Candidates(rows, np.where(rows >= 0, found.scores, -np.inf), found.labels)
        if self.point.own_category_first:
            category = self.assortment.attributes.category
            found = own_category_first(found, category[owners], category)
        unseen = self.cold[found.rows] & np.isin(found.labels, (MODEL, OTHER_CATEGORY)) & (found.rows >= 0)
        return Candidates(found.rows, found.scores, np.where(unseen, COLD, found.labels).astype(np.int8))
