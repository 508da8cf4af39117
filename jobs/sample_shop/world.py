"""Builds the fixed part of the shop: groups of alternatives, their complements, and every product ever launched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Bools, Floats, Ints, Stream, generator, hashed, pareto, pick

CURRENCY = "GBP"
SCRIPT = "<script>alert(1)</script>"
MOJIBAKE = "Caf\u00c3\u00a9"  # what "Café" becomes when UTF-8 is read as Latin-1
REGIONS = 8
CARRIED_REGIONS = 0.72
CARRIED_IN_REGION = 0.97
DEPARTMENT_WEIGHT = {"w": 1.0, "m": 0.75, "c": 0.5}


DEPARTMENTS = {"w": "women", "m": "men", "c": "children"}
STYLES = ("outdoor", "street", "sporty", "minimal", "classic", "party", "vintage", "boho")
FASHION = json.loads((Path(__file__).parent / "fashion.json").read_text("utf-8"))
COLOURS: list[str] = FASHION["colours"]
COUNTRIES: list[str] = FASHION["countries"]


@dataclass(frozen=True)
class Category:
    """One category of the shop."""

    name: str
    """As in the catalogue."""
    noun: str
    """As in a product's name."""
    price: float
    """Typical price in the catalogue's currency."""
    departments: str
    """Letters of the departments that carry it, the main one first."""
    peak_month: float
    """Month (1 to 12) of its highest demand."""
    season: float
    """Strength of its season, 0 (none) to 1."""
    follows: list[str]
    """Categories bought to go with it, the strongest first. The reverse need not hold."""
    lasts: int = 0
    """Days after which it is typically bought again; 0 where that is rare."""
    versatile: bool = False
    """Whether it goes with much, so that what follows it depends on what came before."""
    sizes: str = "letters"
    """Kind of its sizes: letters, waists, shoes or none."""


CATEGORIES = [Category(**row) for row in FASHION["categories"]]
"""Every prefix in use is a sensible shop: the first 6 and the next 6 categories are closed worlds of their own, and so
are the first 24. Accessories (belts, socks, bibs ..) follow many categories that do not follow them."""


@dataclass(frozen=True)
class Cells:
    """The groups of alternatives, one per category x department x style; arrays of length G."""

    category: Ints
    """Position in CATEGORIES."""
    department: tuple[str, ...]
    """Department letters."""
    style: Ints
    """Position in STYLES."""
    weight: Floats
    """Demand for the group over the year, relative."""
    targets: Ints
    """(G, 3): the groups that follow this one, the strongest first, -1 where there are fewer."""
    neighbours: Ints
    """(G, 2): the groups of the same category and department in the next style of the ring on either side."""
    versatile: Bools
    """(G,) whether what follows the group depends on its company."""
    lasts: Ints
    """(G,) days after which its products are typically bought again; 0 where that is rare."""

    def follows(self) -> Bools:
        """(G, G): whether products of the column's group are complements of the row's group."""
        table = np.zeros((len(self.style), len(self.style) + 1), dtype=np.bool_)
        np.put_along_axis(table, self.targets, values=True, axis=1)  # -1 lands in the extra last column
        return np.asarray(table[:, :-1])

    def siblings(self, cell: Ints, uniform: Floats) -> Ints:
        """A group of the same category for each given one: another style or department, or itself."""
        category = self.category[cell]
        first = np.searchsorted(self.category, category)  # build_cells lists the groups by category
        count = np.searchsorted(self.category, category, side="right") - first
        return np.asarray(first + (uniform * count).astype(np.int64))

    def follow(self, cell: Ints, company: Ints, uniform: Floats) -> Ints:
        """A group that follows each given one, the first of its targets most often; itself where nothing follows.

        `company` is the group that came before: it turns the order of a versatile group's targets, each in its own way.
        """
        known = (self.targets[cell] >= 0).sum(axis=1)
        turned = self.versatile[cell] & (company != cell)
        rank = (uniform ** np.where(turned, 2.2, 1.4) * known).astype(np.int64)
        turn = np.where(turned, (hashed(0, Stream.COMPANY, cell, company) * known).astype(np.int64), 0)
        which = (rank + turn) % np.maximum(known, 1)
        return np.where(known > 0, self.targets[cell, which], cell)

    def season(self, day: date) -> Floats:
        """(G,) demand of each group on a day relative to its year's mean."""
        month = 1 + day.timetuple().tm_yday / 30.44
        peak = np.array([CATEGORIES[c].peak_month for c in self.category])
        strength = np.array([CATEGORIES[c].season for c in self.category])
        return np.asarray(1 + 0.8 * strength * np.cos((month - peak) * 2 * np.pi / 12))


@dataclass(frozen=True)
class World:
    """Everything that does not change from day to day. Products are in launch order: those of a day are a prefix."""

    size: ShopSize
    cells: Cells
    markets: tuple[str, ...]
    cell: Ints
    """(P,) group of each product."""
    brand: Ints
    """(P,) brand number."""
    level: Floats
    """(P,) price level inside its group, 0 to 1."""
    price: Floats
    """(P,) price at launch."""
    launch_day: Ints
    """(P,) day number, negative before the first day."""
    appeal: Floats
    """(P,) long-tailed lasting popularity."""
    carried: Bools
    """(P, M) whether the product is sold in the market at all."""
    catalogue: pl.DataFrame
    """P rows: product_id, name, brand, category, department, colour, currency, launched_at, image_url."""

    def live(self, day: int) -> int:
        """How many products are launched by day number `day`."""
        return int(np.searchsorted(self.launch_day, day, side="right"))


def build_cells(size: ShopSize) -> Cells:
    """The groups of one shop; a category's styles and departments are the first ones of its own order."""
    rows = [
        (c, department, (c + k * max(1, size.styles // size.styles_per_category)) % size.styles)
        for c, category in enumerate(CATEGORIES[: size.categories])
        for department in category.departments[: size.departments_per_category]
        for k in range(size.styles_per_category)
    ]
    targets = np.full((len(rows), 3), -1, dtype=np.int64)
    for g, row in enumerate(rows):
        found = [_closest(rows, row, name, size.styles) for name in CATEGORIES[row[0]].follows]
        present = [target for target in found if target >= 0]
        targets[g, : len(present)] = present
    rng = generator(size.seed, Stream.CELLS)
    weight = np.exp(0.6 * rng.standard_normal(len(rows))) * [DEPARTMENT_WEIGHT[d] for _, d, _ in rows]
    categories = [CATEGORIES[c] for c, _, _ in rows]
    return Cells(
        category=np.array([c for c, _, _ in rows]),
        department=tuple(d for _, d, _ in rows),
        style=np.array([s for _, _, s in rows]),
        weight=weight,
        targets=targets,
        neighbours=np.array([_beside(rows, row, size.styles) for row in rows]),
        versatile=np.array([category.versatile for category in categories]),
        lasts=np.array([category.lasts for category in categories]),
    )


def _beside(rows: list[tuple[int, str, int]], row: tuple[int, str, int], styles: int) -> tuple[int, int]:
    """The groups of `row`'s category and department whose styles come next on the ring, up and down; or itself."""
    category, department, style = row
    kin = [g for g, (c, d, _) in enumerate(rows) if (c, d) == (category, department)]
    up = min(kin, key=lambda g: (rows[g][2] - style - 1) % styles)
    down = min(kin, key=lambda g: (style - rows[g][2] - 1) % styles)
    return up, down


def _closest(rows: list[tuple[int, str, int]], row: tuple[int, str, int], category: str, styles: int) -> int:
    """The group of `category` that goes best with `row`: same department first, then the nearest style."""
    _, department, style = row
    choices = [g for g, (c, _, _) in enumerate(rows) if CATEGORIES[c].name == category]
    if not choices:
        return -1
    return min(choices, key=lambda g: (rows[g][1] != department, ring(rows[g][2], style, styles), rows[g][2]))


def ring(a: int, b: int, around: int) -> int:
    """Distance of two places on a ring of `around` places."""
    return min((a - b) % around, (b - a) % around)


def build_world(size: ShopSize, days: int) -> World:
    """The shop with all launches up to day number `days`; more days only append products."""
    cells = build_cells(size)
    cohorts = [_cohort(size, cells, week) for week in range(-1, (days - 1) // 7 + 1)]
    columns = {name: np.concatenate([cohort[name] for cohort in cohorts]) for name in cohorts[0]}
    colour = columns.pop("colour")
    return World(
        size=size,
        cells=cells,
        markets=tuple(market_codes(size.markets)),
        **columns,
        catalogue=_catalogue(size, cells, columns["cell"], columns["brand"], colour, columns["launch_day"]),
    )


def pick_brands(size: ShopSize, style: Ints, uniform: Floats) -> Ints:
    """A brand of each given style, few of them popular; brand b belongs to style b modulo the number of styles."""
    pull = pareto(generator(size.seed, Stream.BRANDS), size.brands, 0.7, 40.0)
    home = np.arange(size.brands) % size.styles
    brand = np.zeros(len(style), dtype=np.int64)
    for s in range(size.styles):
        mine = style == s
        brand[mine] = pick(np.where(home == s % size.brands, pull, 0.0), uniform[mine])
    return brand


def _cohort(size: ShopSize, cells: Cells, week: int) -> dict[str, Any]:
    """Products of one week; week -1 is what the shop opens with."""
    rng = generator(size.seed, Stream.PRODUCTS, week + 1)
    count = size.products if week < 0 else size.weekly_launches
    even = 0.8 if week < 0 else 0.0  # the opening range is spread out, so that no group lacks alternatives
    cell = pick(cells.weight, rng.random(count))
    spread = int(count * even) // len(cells.style) * len(cells.style)
    cell[:spread] = np.arange(spread) % len(cells.style)
    if week < 0:
        launch = np.sort(-(pareto(rng, count, 2.0, 700.0).astype(np.int64) - 1) - rng.integers(0, 60, count))
    else:
        launch = np.sort(week * 7 + rng.integers(1 if week == 0 else 0, 5, count))
    rng.shuffle(cell)
    in_house = rng.random(count) < 0.85  # the rest of the brands sell outside their own style
    style = np.where(in_house, cells.style[cell], rng.integers(0, size.styles, count))
    level = rng.random(count)
    typical = np.array([CATEGORIES[c].price for c in cells.category])[cell]
    region = np.arange(size.markets) % min(REGIONS, size.markets)
    regions = rng.random((count, int(region.max()) + 1)) < CARRIED_REGIONS
    regions[np.arange(count), rng.integers(0, regions.shape[1], count)] = True  # everything is sold somewhere
    return {
        "cell": cell,
        "brand": pick_brands(size, style, rng.random(count)),
        "level": level,
        "price": np.round(typical * np.exp(1.4 * (level - 0.5)), 0) - 0.01,
        "launch_day": launch,
        "appeal": pareto(rng, count, 0.92, 130.0),
        "colour": rng.integers(0, len(COLOURS), count),
        "carried": regions[:, region] & (rng.random((count, size.markets)) < CARRIED_IN_REGION),
    }


def _catalogue(size: ShopSize, cells: Cells, cell: Ints, brand: Ints, colour: Ints, launch_day: Ints) -> pl.DataFrame:
    number = np.arange(len(cell))
    odd = hashed(size.seed, Stream.NAMES, number, 0)
    category = cells.category[cell]
    text = {
        "odd": np.select(
            [(number == 7) | (odd < 0.001), (number == 11) | (odd > 0.996)], [SCRIPT + " ", MOJIBAKE + " "], ""
        ),
        "brand": np.array(brand_names(size.brands))[brand],
        "style": np.array([s.capitalize() for s in STYLES])[cells.style[cell]],
        "noun": np.array([c.noun for c in CATEGORIES])[category],
        "colour": np.array(COLOURS)[colour],
        "category": np.array([c.name for c in CATEGORIES])[category],
        "department": np.array([DEPARTMENTS[d] for d in cells.department])[cell],
        "launched_at": np.array([(size.first_day + timedelta(days=int(d))).isoformat() for d in launch_day]),
    }
    identity = pl.format("P{}", pl.Series("number", number + 1).cast(pl.String).str.zfill(6))
    return pl.DataFrame(text).select(
        identity.alias("product_id"),
        pl.format("{}{} {} {}, {}", "odd", "brand", "style", "noun", "colour").alias("name"),
        "brand",
        "category",
        "department",
        "colour",
        pl.lit(CURRENCY).alias("currency"),
        "launched_at",
        pl.format("images/{}.svg", identity).alias("image_url"),
    )


def brand_names(count: int) -> list[str]:
    """`count` distinct brand names that nobody could take for real ones."""
    words = [f"{first}{second}" for second in FASHION["brand_endings"] for first in FASHION["brand_beginnings"]]
    names = [f"{word} {third}" for third in ("Mockwear", "Testwear", "Fauxline", "Sampleworks") for word in words]
    return [names[i] if i < len(names) else f"{names[i % len(names)]} {i // len(names) + 1}" for i in range(count)]


def market_codes(count: int) -> list[str]:
    """Country codes, then invented codes: "M061" is the sixty-first market."""
    return [COUNTRIES[i] if i < len(COUNTRIES) else f"M{i + 1:03d}" for i in range(count)]
