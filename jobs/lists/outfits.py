"""Builds the outfits of every product: a few looks, each with the markets that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.index import ProductIndex
from jobs.lake.lake import Lake
from jobs.lists.builder import NO_RULE, ListBuilder, ListCount
from jobs.lists.config import OutfitsConfig
from jobs.lists.roles import colour_families, role_of
from jobs.lists.touch_points import CO_PURCHASE, CO_VIEW, MODEL, POLICY
from jobs.policy.variants import DefaultRules, Variant
from jobs.run import Run
from jobs.tables.shop import CATALOGUE, OUTFITS, PEOPLE_ALSO_BOUGHT, SOURCES, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from models.arrays import BoolMask, Rows
from models.assembly.outfit_kernels import Agreement, EditorSets, Garments, Looks, OutfitRules, RoleOffers
from models.assembly.outfits import ROLES, PairEvidence, bits_of, editor_sets, looks_of, masks_of, role_offers
from models.assembly.rulebook import Rulebook
from models.copurchase.candidates import over_products
from models.copurchase.model import CoPurchase
from models.ragged import offsets_of
from models.vocabulary import Vocabulary

OUTFIT_RULES = DefaultRules(guard=True)
"""Rules that outfits keep without a policy."""
LABELS = (CO_PURCHASE, CO_VIEW, MODEL)
"""Sources of a pair that was bought together, viewed together, and neither."""
_SOURCES, _ROLES = Vocabulary(list(SOURCES)), Vocabulary([*ROLES, ""])


def stage_outfits(
    lake: Lake,
    builder: ListBuilder,
    indexes: Mapping[Table, ProductIndex],
    config: OutfitsConfig,
    variants: tuple[Variant, ...],
    run: Run,
) -> str:
    """Write the night's outfits; returns which categories have none, in words.

    A shop without a category that has a role, and without an editor's set, has no row.
    """
    wardrobe = Wardrobe(builder, config, lake, run)
    if not len(wardrobe.owners):
        if lake.exists(OUTFITS):
            lake.replace_encoded(OUTFITS, [], run)
        return ""
    offers = wardrobe.offers(indexes, variants)
    model_id = str(indexes[PEOPLE_ALSO_BOUGHT].manifest["model_id"])
    lake.replace_encoded(OUTFITS, _batches(wardrobe, offers, variants, model_id), run)
    return wardrobe.without_role


@dataclass(frozen=True)
class Wardrobe:
    """The products of a night as outfits see them."""

    builder: ListBuilder
    config: OutfitsConfig
    lake: Lake
    run: Run

    @cached_property
    def garments(self) -> Garments:
        """The night's products, in the assortment's order."""
        of, departments = self.builder.assortment.attributes, len(self.builder.assortment.departments)
        catalogue = self.lake.arrow(CATALOGUE, ("colour", "launched_at"), self.run.as_of)
        launched = pc.cast(pc.cast(catalogue["launched_at"], pa.int32()), pa.float32())
        return Garments(
            role=np.append(self._roles, -1)[of.category].astype(np.int8),
            department=np.where(of.department < 0, departments, of.department),
            price=of.price,
            level=price_levels(of.price, of.category),
            launched=np.asarray(launched.to_numpy()).astype(np.float32),
            colour=colour_families(catalogue["colour"].to_pylist()),
        )

    @cached_property
    def owners(self) -> Rows:
        """Products that can have outfits: those with a role, or in an editor's set, that a market sells."""
        has = self.garments.role >= 0
        for rule in self.builder.policy.rules:
            if rule.kind == "outfit":
                has[self._known(rule.set_of)] = True
        return np.flatnonzero(has & self.builder.assortment.available.any(axis=0))

    @property
    def agreement(self) -> Agreement:
        """What differences cost."""
        of = self.config
        return Agreement(of.colour_weight, of.level_weight, of.season_weight, of.stock_weight)

    @property
    def without_role(self) -> str:
        """The categories without a role, in words."""
        categories = self.builder.assortment.categories.ids
        lacking = categories.filter(pa.array(self._roles < 0)).to_pylist()
        some = ", ".join(lacking[:3]) + (", .." if len(lacking) > 3 else "")
        return f"{len(lacking)} of {len(categories)} categories have no outfits ({some})" if lacking else ""

    def rules(self, variant: Variant) -> OutfitRules:
        """What each market may show; markets whose rules differ in what they exclude alone are of one class."""
        assortment, classes = self.builder.assortment, dict[tuple[bytes, float, float], list[int]]()
        allowed = assortment.available.copy()
        books = [self._book(market, variant) for market in range(len(assortment.markets))]
        for market, book in enumerate(books):
            allowed[market] &= book.excluded < 0
            classes.setdefault((book.mixes.tobytes(), book.price_low, book.price_high), []).append(market)
        own = np.array([np.isin(np.arange(len(books)), markets) for markets in classes.values()])
        return OutfitRules(
            bits_of(assortment.available.T),
            bits_of(allowed.T),
            bits_of(own),
            np.stack([books[markets[0]].mixes for markets in classes.values()]),
            np.array([(low, high) for _, low, high in classes], np.float64),
        )

    def sets(self, variant: Variant) -> EditorSets:
        """The editor's sets by the rank of their rules; one of which the shop lacks a product is left out."""
        policy, markets = self.builder.policy, self.builder.assortment.markets.ids.to_pylist()
        holding = [policy.holding(OUTFITS.name, market, variant) for market in markets]
        numbers = sorted({number for one in holding for number in one}, key=lambda number: policy.rule(number).rank)
        found = [
            (number, self._known(policy.rule(number).set_of), np.array([number in one for one in holding]))
            for number in numbers
            if policy.rule(number).kind == "outfit"
        ]
        whole = [one for one in found if len(one[1]) == len(policy.rule(one[0]).set_of)]
        return editor_sets(whole, self.owners, len(markets))

    def offers(self, indexes: Mapping[Table, ProductIndex], variants: tuple[Variant, ...]) -> RoleOffers:
        """Candidates of each owner and role over all markets, of departments that rules allow somewhere."""
        bought, viewed = indexes[PEOPLE_ALSO_BOUGHT], indexes[YOU_MIGHT_ALSO_LIKE]
        evidence = PairEvidence(
            self._over_night(bought, bought.co_purchase),
            None if viewed.co_views is None else self._over_night(viewed, viewed.co_views),
            self.config.bought_weight,
            self.config.viewed_weight,
        )
        mixes = np.logical_or.reduce([self.rules(variant).mixes.any(axis=0) for variant in variants])
        return role_offers(evidence, self.owners, self.garments, self.agreement, mixes, self.config.depth, LABELS)

    def _book(self, market: int, variant: Variant) -> Rulebook:
        name = self.builder.market_name(market)
        return self.builder.rulebooks.rulebook(OUTFITS.name, name, variant, OUTFIT_RULES)

    @cached_property
    def _roles(self) -> npt.NDArray[np.int64]:
        """[categories], place in ROLES or -1."""
        categories = self.builder.assortment.categories.ids.to_pylist()
        return np.array([role_of(category, self.config.roles) for category in categories], np.int64)

    def _known(self, ids: list[str]) -> list[int]:
        rows = self.builder.assortment.products.encode(ids, missing="negative")
        return [int(row) for row in rows if row >= 0]

    def _over_night(self, index: ProductIndex, model: CoPurchase) -> CoPurchase:
        products = self.builder.assortment.products
        if index.vocabulary == products:
            return model
        return over_products(model, index.vocabulary.encode(products.ids, missing="negative").astype(np.int64))


def price_levels(price: npt.NDArray[np.float32], category: Rows) -> npt.NDArray[np.float32]:
    """[P], log of the price over the median of its category; NaN without a price or a category."""
    levels = np.full(len(price), np.nan, np.float32)
    order = np.argsort(category, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(category[order])) + 1):
        known = rows[(price[rows] > 0) & (category[rows] >= 0)]
        if len(known):
            levels[known] = np.log(price[known] / np.median(price[known]))
    return levels


def _batches(
    wardrobe: Wardrobe, offers: RoleOffers, variants: tuple[Variant, ...], model_id: str
) -> Iterator[pa.RecordBatch]:
    """Rows of the table, variant by variant, dictionary-encoded with equal dictionaries."""
    builder, config, markets = wardrobe.builder, wardrobe.config, len(wardrobe.builder.assortment.markets)
    for variant in variants:
        rules, sets = wardrobe.rules(variant), wardrobe.sets(variant)
        most = (config.looks, config.choices, config.pieces, POLICY)
        looks = looks_of(offers, wardrobe.garments, wardrobe.agreement, rules, sets, markets, most)
        shown = masks_of(looks.markets.reshape(-1, looks.markets.shape[2]), markets)
        shown = shown.reshape(*looks.rules.shape, markets) & (looks.rows[:, :, :1] >= 0)
        has = np.flatnonzero(shown.any(axis=(1, 2)))
        batch = _rows(wardrobe, Looks(*(each[has] for each in looks)), wardrobe.owners[has], shown[has])
        named = {"variant": pa.repeat(variant.name, len(has)), "model_id": pa.repeat(model_id, len(has))}
        builder.counts[OUTFITS, variant.name].add(_count(wardrobe, looks))
        yield pa.RecordBatch.from_pydict(dict(zip(batch.schema.names, batch.columns, strict=True)) | named)


def _count(wardrobe: Wardrobe, looks: Looks) -> ListCount:
    """Products with outfits, and in how many of them each editor's set is."""
    rules = Counter(looks.rules[looks.rules >= 0].tolist())
    names = wardrobe.builder.policy.names
    shown = Counter({names[number]: count for number, count in rules.items()})
    return ListCount(int((looks.rows[:, 0, 0] >= 0).sum()), 0, shown.total(), shown)


def _rows(wardrobe: Wardrobe, looks: Looks, owners: Rows, shown: BoolMask) -> pa.RecordBatch:
    """The rows of some owners [O]; `shown` [O, looks, markets]."""
    assortment, names = wardrobe.builder.assortment, wardrobe.builder.policy.names
    filled = looks.rows >= 0
    offsets = pa.array(offsets_of(filled.sum(axis=(1, 2))).astype(np.int32))
    products, look = looks.rows[filled], np.broadcast_to(np.arange(filled.shape[1])[:, None], filled.shape)[filled]
    rules = np.broadcast_to(looks.rules[:, :, None], filled.shape)[filled]
    roles = wardrobe.garments.role[products].astype(np.int64)
    numbers = [str(number + 1) for number in range(filled.shape[1])]
    places = Vocabulary([f"{number}:{market}" for number in numbers for market in assortment.markets.ids.to_pylist()])
    of_places = np.broadcast_to(np.arange(len(places)).reshape(shown.shape[1:]), shown.shape)[shown]
    return pa.RecordBatch.from_pydict(
        {
            "product_id": assortment.products.coded(owners),
            "product_ids": pa.ListArray.from_arrays(offsets, assortment.products.coded(products)),
            "scores": pa.ListArray.from_arrays(offsets, pa.array(looks.scores[filled], pa.float32())),
            "sources": pa.ListArray.from_arrays(offsets, _SOURCES.coded(looks.labels[filled])),
            "rules": pa.ListArray.from_arrays(
                offsets, Vocabulary([*names, NO_RULE]).coded(np.where(rules < 0, len(names), rules))
            ),
            "looks": pa.ListArray.from_arrays(offsets, Vocabulary(numbers).coded(look)),
            "roles": pa.ListArray.from_arrays(offsets, _ROLES.coded(np.where(roles < 0, len(ROLES), roles))),
            "shown_in": pa.ListArray.from_arrays(
                pa.array(offsets_of(shown.sum(axis=(1, 2))).astype(np.int32)), places.coded(of_places)
            ),
        }
    )
