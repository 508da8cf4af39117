"""Shows lists to the sample shop's visitors: what they see of them, and what they click, bag and buy for it.

A place is clicked with a chance that follows from its number and the visitor's variant alone, whatever its product:
so the truth that an experiment has to find is known.
"""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from jobs.sample_shop.config import ShopSize
from jobs.sample_shop.draws import Stream, generator
from jobs.sample_shop.files import write_csv

FIRST_PLACE, FADES = 0.06, 0.6
"""Chance of a click at the first place; the n-th place's is n ** -FADES times that."""
UPLIFT = 0.25
"""By how much more often those click who are not of the first variant."""
BAGS, BUYS = 0.3, 0.5
"""Chances that a click is followed by a bag-add in the same visit, and that by a purchase."""
PLACES = 12
CARDS = ("you_might_also_like", "people_also_bought")
"""Touch points of a product page."""
HOME = "recommended_for_you"
SECOND = 1_000_000
TRUTH = {"first_place": FIRST_PLACE, "fades": FADES, "uplift": UPLIFT, "bags": BAGS, "buys": BUYS}


def pages_of(raw: Path, day: date) -> pl.DataFrame:
    """The pages that the day's visitors look at, by its event file: customer_id, market, touch_point, owner (null for
    their home page) and `at`, microseconds since 1970.
    """
    text = gzip.decompress((raw / "events" / f"{day}.csv.gz").read_bytes()).decode("utf-8", "replace")
    at = pl.col("event_ts").str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S%.3fZ", strict=False)
    looks = (
        pl.read_csv(text.encode(), infer_schema=False)
        .with_columns(at.alias("at"))
        .filter(
            (pl.col("event_type") == "click") & (pl.col("at").dt.date() == day) & pl.col("customer_id").is_not_null()
        )
        .unique("event_id", keep="first", maintain_order=True)
        .with_columns(pl.col("at").dt.timestamp("us"), pl.col("product_id").alias("owner"))
        .select("customer_id", "market", "owner", "at")
    )
    first = looks.group_by("customer_id", "market", maintain_order=True).first()
    home = first.with_columns(pl.lit(None, pl.String).alias("owner"), pl.lit(HOME).alias("touch_point"))
    cards = [looks.with_columns(pl.lit(name).alias("touch_point")) for name in CARDS]
    return pl.concat([home.select(cards[0].columns), *cards])


def shown_on(pages: pl.DataFrame, lists: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The places that the pages show: customer_id, market, list_id, product_id, place, `at` and whether `clicked`.

    `lists` are touch_point, key (the owner; of HOME the customer), market, variant, list_id and product_ids, for every
    variant that is asked for; `pages` are those of `pages_of` with the visitor's `variant`, and whether it is the
    `first`.
    """
    keyed = pages.with_columns(pl.coalesce("owner", "customer_id").alias("key"))
    tiles = (
        keyed.join(lists, on=["touch_point", "key", "market", "variant"], how="inner", maintain_order="left")
        .with_columns(pl.col("product_ids").list.head(PLACES))
        .with_columns(pl.int_ranges(1, pl.col("product_ids").list.len() + 1).alias("place"))
        .explode("product_ids", "place")
        .rename({"product_ids": "product_id"})
    )
    chance = FIRST_PLACE * tiles["place"].to_numpy().astype(np.float64) ** -FADES
    chance = chance * np.where(tiles["first"].to_numpy(), 1.0, 1 + UPLIFT)
    clicked = pl.Series("clicked", rng.random(tiles.height) < chance)
    return tiles.select("customer_id", "market", "list_id", "product_id", "place", "at").with_columns(clicked)


def followed_by(shown: pl.DataFrame, prices: pl.DataFrame, name: str, rng: np.random.Generator) -> pl.DataFrame:
    """The events of clicked places, as rows of an event file; `prices` are product_id and price."""
    clicks = shown.filter("clicked").join(prices, on="product_id", how="left", maintain_order="left")
    bags = clicks.filter(pl.Series(rng.random(clicks.height) < BAGS))
    buys = bags.filter(pl.Series(rng.random(bags.height) < BUYS))
    parts = [
        part.with_columns(pl.lit(kind).alias("event_type"), pl.col("at") + seconds * SECOND)
        for kind, part, seconds in (("click", clicks, 20), ("bag", bags, 60), ("purchase", buys, 600))
    ]
    events = pl.concat(parts).sort("at", maintain_order=True).with_row_index("number")
    priced = pl.col("event_type") != "click"
    return events.select(
        pl.format(f"{name}-{{}}", "number").alias("event_id"),
        "customer_id",
        "product_id",
        "event_type",
        _time("event_ts"),
        "market",
        pl.when(pl.col("event_type") == "purchase").then(pl.format(f"{name}-B{{}}", "number")).alias("basket_id"),
        pl.when(priced).then(1).alias("quantity"),
        pl.when(priced).then("price").alias("price"),
    )


def _time(name: str) -> pl.Expr:
    return pl.from_epoch("at", "us").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").alias(name)


def write_shown(
    raw: Path, size: ShopSize, day: int, pages: pl.DataFrame, lists: pl.DataFrame, prices: pl.DataFrame
) -> int:
    """Write a day's impressions, the events that follow them, and the truth beside the raw folder; returns how many
    impressions there are.
    """
    when, rng = size.date_of(day), generator(size.seed, Stream.SHOWN, day)
    shown = shown_on(pages, lists, rng)
    events = followed_by(shown, prices, f"S{when:%Y%m%d}", rng)
    (raw / "impressions").mkdir(exist_ok=True)
    rows = shown.select(
        pl.col("customer_id").alias("visitor"), pl.col("list_id").alias("list"), pl.col("product_id").alias("product"),
        "place", _time("at"),
    )  # fmt: skip
    write_csv(raw / "impressions" / f"{when}.csv.gz", [rows])
    write_csv(raw / "events" / f"{when}-shown.csv.gz", [events])
    folder = raw.with_name(raw.name + "_truth")
    folder.mkdir(exist_ok=True)
    (folder / "shown.json").write_text(json.dumps({"synthetic": True, **TRUTH}, indent=1) + "\n", encoding="utf-8")
    return shown.height
