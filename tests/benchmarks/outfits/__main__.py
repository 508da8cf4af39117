"""Do outfits hold what customers buy together? Everything learned before a time T, judged after it, on the sample shop.

    python -m tests.benchmarks.outfits [--raw DIR] [--split DATE]

Every product of a later basket, or visit, that has other products of other roles beside it asks: are these in the
looks that the customer's market shows with it? Looks are made as the night does, by each market's stock at T; entrants
differ in what scores a pair. Weights were chosen with --split a week before the time that is reported. Intervals are
95 %, from drawing whole customers.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from jobs.index import LOOKED_AT
from jobs.lists.config import ListsConfig, OutfitsConfig
from jobs.lists.outfits import price_levels
from jobs.lists.roles import colour_families, role_of
from jobs.sample_shop import SIZES, write_shop
from models.arrays import BoolMask, Rows
from models.assembly.outfit_kernels import Agreement, Garments, OutfitRules, RoleOffers
from models.assembly.outfits import ROLES, PairEvidence, bits_of, editor_sets, looks_of, masks_of, role_offers
from models.copurchase import pairs
from models.copurchase.model import BasketCounts, CoPurchase, CoPurchaseConfig
from models.evaluation.bootstrap import mean_interval, paired_uplift
from tests.benchmarks.common.log import Log
from tests.benchmarks.touch_points.baskets import Baskets
from tests.benchmarks.touch_points.data import Ground, sample, truth_of

LABELS = (1, 2, 0)
Metric = npt.NDArray[np.float64]
BODY = {ROLES.index(name) for name in ("top", "bottom")}
DRESS = ROLES.index("dress")


@dataclass(frozen=True)
class Asked:
    """Products of later baskets or visits that have products of other roles beside them."""

    products: Rows
    markets: Rows
    customers: Rows
    beside: list[Rows]
    """For each, the products of roles that can be in a look with it."""


def garments_of(raw: Path, ground: Ground) -> Garments:
    """The products known at T."""
    told = pl.scan_csv(raw / "products" / "*.csv.gz", infer_schema=False, encoding="utf8-lossy")
    last = told.sort("updated_at", maintain_order=True).unique("product_id", keep="last").collect()
    rows = {row["product_id"]: row for row in last.to_dicts()}
    found = [rows[product] for product in ground.ids]
    category, department = ([row[name] or "" for row in found] for name in ("category", "department"))
    days = np.array([np.datetime64(row["launched_at"] or "NaT") for row in found]).astype("datetime64[D]")
    launched = np.where(np.isnat(days), np.nan, days.astype(np.int64)).astype(np.float32)
    price, codes = ground.price.astype(np.float32), np.unique(category, return_inverse=True)[1]
    return Garments(
        np.array([role_of(name, {}) for name in category], np.int8),
        np.unique(department, return_inverse=True)[1],
        price,
        price_levels(price, codes),
        launched,
        colour_families([row["colour"] for row in found]),
    )


def fitted(ground: Ground) -> tuple[CoPurchase, CoPurchase]:
    """(of products bought together, of products viewed together) before T."""
    before = ground.before(ground.baskets)
    known = before.products >= 0
    offsets = np.concatenate(([0], np.cumsum(known)))[before.offsets]
    baskets = pairs.Baskets(offsets, before.products[known], before.times)
    bought = BasketCounts.of([baskets], ground.products, CoPurchaseConfig(), ground.split)
    viewed = BasketCounts.of([pairs.visits(ground.train, 1800)], ground.products, LOOKED_AT, ground.split)
    return CoPurchase.fit(bought), CoPurchase.fit(viewed)


def asked(groups: Baskets, garments: Garments, home: Rows) -> Asked:
    """What later groups ask, of customers whose market is known."""
    products, markets, customers, beside = [], [], [], []
    for group in range(len(groups.times)):
        own = np.unique(groups.products[groups.offsets[group] : groups.offsets[group + 1]])
        own, market = own[(own >= 0) & (garments.role[own] >= 0)], home[groups.customers[group]]
        for product in own if market >= 0 else ():
            role = int(garments.role[product])
            closed = {role} | (BODY if role == DRESS else {DRESS} if role in BODY else set())
            others = own[~np.isin(garments.role[own], list(closed))]
            if len(others):
                products.append(product)
                markets.append(market)
                customers.append(groups.customers[group])
                beside.append(others)
    return Asked(np.array(products), np.array(markets), np.array(customers), beside)


def popular(garments: Garments, owners: Rows, counts: Rows, depth: int) -> RoleOffers:
    """The best-sellers of each role in the owner's department."""
    rows = np.full((len(owners), len(ROLES), depth), -1, np.int32)
    scores = np.full(rows.shape, -np.inf, np.float32)
    for department, role in np.ndindex(garments.department.max() + 1, len(ROLES)):
        some = np.flatnonzero((garments.department == department) & (garments.role == role))
        some = some[np.argsort(-counts[some], kind="stable")][:depth]
        mine = garments.department[owners] == department
        rows[mine, role, : len(some)], scores[mine, role, : len(some)] = some, np.log(counts[some] + 0.1)
    return RoleOffers(owners.astype(np.int32), rows, scores, np.zeros(rows.shape, np.int8))


def shown_by(
    offers: RoleOffers, garments: Garments, by: Agreement, sold: BoolMask, config: OutfitsConfig
) -> list[Rows]:
    """By market the products of the looks of each owner [owners, any], -1 pads."""
    bits, markets = bits_of(sold.T), len(sold)
    departments = int(garments.department.max()) + 1
    rules = OutfitRules(
        bits,
        bits,
        bits_of(np.ones((1, markets), bool)),
        np.eye(departments, dtype=bool)[None],
        np.array([[0.0, np.inf]]),
    )
    most = (config.looks, config.choices, config.pieces, 0)
    found = looks_of(offers, garments, by, rules, editor_sets([], offers.owners, markets), markets, most)
    shown = masks_of(found.markets.reshape(-1, found.markets.shape[2]), markets).reshape(*found.rules.shape, markets)
    return [
        np.where(shown[:, :, market, None], found.rows, -1).reshape(len(found.rows), -1) for market in range(markets)
    ]


def entrants(ground: Ground, config: OutfitsConfig, garments: Garments) -> dict[str, list[Rows]]:
    """Name -> by market the products of the looks of each product with a role."""
    assert ground.markets is not None
    bought, viewed = fitted(ground)
    owners, departments = np.flatnonzero(garments.role >= 0), int(garments.department.max()) + 1
    by = Agreement(config.colour_weight, config.level_weight, config.season_weight, config.stock_weight)
    blind, mixes = Agreement(0.0, 0.0, 0.0, config.stock_weight), np.eye(departments, dtype=bool)
    weights = {
        "ours": (config.bought_weight, config.viewed_weight, by),
        "ours, without colour, price, season": (config.bought_weight, config.viewed_weight, blind),
        "looked at together": (0.0, 1.0, blind),
        "PAB by role": (1.0, 0.0, blind),
    }
    found = {}
    for name, (of_bought, of_viewed, agreement) in weights.items():
        evidence = PairEvidence(bought, viewed, of_bought, of_viewed)
        offers = role_offers(evidence, owners, garments, agreement, mixes, config.depth, LABELS)
        found[name] = shown_by(offers, garments, agreement, ground.markets.available, config)
    past = ground.before(ground.baskets).products
    best = popular(garments, owners, np.bincount(past[past >= 0], minlength=ground.products), config.depth)
    return found | {"popularity by role": shown_by(best, garments, blind, ground.markets.available, config)}


def judged(shown: list[Rows], asks: Asked, place: Rows) -> tuple[Metric, Metric]:
    """([questions] whether one of the products beside is in the looks, the share of them that is)."""
    hits = np.zeros(len(asks.beside))
    for ask, (product, market, beside) in enumerate(zip(asks.products, asks.markets, asks.beside, strict=True)):
        hits[ask] = np.isin(beside, shown[market][place[product]]).sum()
    return (hits > 0).astype(np.float64), hits / [len(beside) for beside in asks.beside]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", type=Path, help="raw files of the sample shop; made where this is left out")
    parser.add_argument("--split", type=date.fromisoformat, metavar="DATE", help="T at 00:00 UTC")
    chosen, settings, log = parser.parse_args(), ListsConfig(), Log()
    with tempfile.TemporaryDirectory() as scratch:
        raw = chosen.raw or Path(scratch) / "shop"
        if chosen.raw is None:
            write_shop(raw, SIZES["sample"], log.progress("sample shop"))
        ground = sample(raw, chosen.split, settings.popular.event_weights, settings.popular.days)
        garments, truth = garments_of(raw, ground), truth_of(raw, ground)
        found = entrants(ground, settings.outfits, garments)
    assert ground.markets is not None and truth is not None
    owners = np.flatnonzero(garments.role >= 0)
    place = np.full(ground.products, -1)
    place[owners] = np.arange(len(owners))
    for what, groups in (("baskets", ground.after(ground.baskets)), ("visits", ground.after(ground.visits))):
        asks = asked(groups, garments, ground.markets.home)
        print(f"\nlater {what}: {len(asks.products):,} questions of {len(np.unique(asks.customers)):,} customers")
        scores = {name: judged(shown, asks, place) for name, shown in found.items()}
        for name, (hit, recall) in scores.items():
            up = paired_uplift(scores["ours"][0], hit, asks.customers)
            gain = "" if name == "ours" else f"  ours {up.value:+.1%} [{up.low:+.1%}, {up.high:+.1%}]"
            print(f"{name:36} hit {mean_interval(hit, asks.customers)}  recall {recall.mean():.4f}{gain}", flush=True)
    sold = ground.markets.available[:, owners]
    for name, shown in found.items():
        pieces = np.stack(shown)[sold]
        group = truth.group[np.broadcast_to(owners, sold.shape)[sold]]
        right = truth.follows[group[:, None], truth.group[pieces]] & (pieces >= 0)
        per_page = (pieces >= 0).sum(axis=1).mean()
        print(f"{name:36} true complements {right.sum() / (pieces >= 0).sum():.1%}, {per_page:.1f} products a page")


if __name__ == "__main__":
    main()
