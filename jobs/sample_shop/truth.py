"""Labels alternatives and complements among the products: the truth that a model has to find."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Bools, Ints
from jobs.sample_shop.world import STYLES, World, build_cells, build_world


@dataclass(frozen=True)
class ShopTruth:
    """Labels of P products in G groups; a group is one category, department and style."""

    product_ids: tuple[str, ...]
    """P ids, in launch order."""
    group: Ints
    """(P,) the group of each product. Two products are alternatives when their groups are equal."""
    follows: Bools
    """(G, G): `follows[a, b]` when products of group b are complements of those of group a; often not the reverse."""
    groups: pl.DataFrame
    """G rows: group, category, department, style."""

    def alternatives(self, product_id: str) -> frozenset[str]:
        """Products of the same category, department and style, without itself; ValueError for an unknown id."""
        mask = self.group == self._group_of(product_id)
        return self._ids(mask) - {product_id}

    def complements(self, product_id: str) -> frozenset[str]:
        """Products that go with this one (a belt with these trousers); ValueError for an unknown id."""
        return self._ids(self.follows[self._group_of(product_id)][self.group])

    def alternative_pairs(self, left: Ints, right: Ints) -> Bools:
        """Whether `right` is an alternative to `left`, positions in `product_ids`, element by element."""
        return np.asarray((self.group[left] == self.group[right]) & (left != right))

    def complement_pairs(self, left: Ints, right: Ints) -> Bools:
        """Whether `right` is a complement of `left`, positions in `product_ids`, element by element."""
        return np.asarray(self.follows[self.group[left], self.group[right]])

    @cached_property
    def position(self) -> dict[str, int]:
        """Position of each product id."""
        return {product_id: i for i, product_id in enumerate(self.product_ids)}

    def frame(self) -> pl.DataFrame:
        """P rows: product_id, group, category, department, style, follows (the groups of its complements)."""
        followed = pl.Series("follows", [np.flatnonzero(row).tolist() for row in self.follows], dtype=pl.List(pl.Int64))
        labelled = pl.DataFrame({"product_id": self.product_ids, "group": self.group})
        return labelled.join(self.groups.with_columns(followed), on="group", how="left", maintain_order="left")

    def _group_of(self, product_id: str) -> int:
        if product_id not in self.position:
            raise ValueError(f"{product_id!r} is none of the {len(self.product_ids)} products of this shop")
        return int(self.group[self.position[product_id]])

    def _ids(self, mask: Bools) -> frozenset[str]:
        return frozenset(self.product_ids[i] for i in np.flatnonzero(mask))


def truth(size: ShopSize) -> ShopTruth:
    """The truth about all products launched by the last day of a shop; reads and writes no file."""
    return truth_of(build_world(size, size.days), size.days - 1)


def truth_of(world: World, day: int) -> ShopTruth:
    """The truth about all products launched by day number `day`."""
    live = world.live(day)
    cells = build_cells(world.size)
    labels = world.catalogue.select(
        pl.Series("group", world.cell), "category", "department", pl.Series("style", cells.style[world.cell])
    )
    groups = labels.unique("group").sort("group")
    names = pl.Series("style", STYLES).gather(groups["style"])
    return ShopTruth(
        product_ids=tuple(world.catalogue["product_id"][:live]),
        group=world.cell[:live],
        follows=cells.follows(),
        groups=groups.with_columns(names),
    )
