"""Shows the live lists of a lake to visitors of the sample shop."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from feature_repo.client.list_ids import list_id
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.live import live_table, publication
from jobs.policy.variants import DEFAULT, Variant, variant_of
from jobs.sample_shop.shown import CARDS, HOME, pages_of, write_shown
from jobs.tables.shop import CATALOGUE, MARKET_RANKING

if TYPE_CHECKING:
    from jobs.sample_shop import ShopSize

CODES = dict(zip((*CARDS, HOME), ("ymal", "pab", "home"), strict=True))
EXPERIMENT = "lists"


def show(raw: Path, size: ShopSize, days: range, root: Path) -> int:
    """Write what visitors of those days see of the lists that are live in the lake at `root`, and what follows; returns
    the number of impressions.

    Each variant that is live has an equal share of the customers, `default` being the first.
    """
    live = publication(Lake(root))
    if live is None or live.at is None:
        raise UserError(f"nothing is live in {root}, so nothing can be shown; publish a night first")
    names = set(live_table(root, MARKET_RANKING.name, ["variant"])["variant"].to_pylist())
    variants = [Variant(name, 1 / len(names)) for name in sorted(names, key=lambda name: (name != DEFAULT, name))]
    lists = pl.concat(_lists(root, table, live.at, [one.name for one in variants]) for table in CODES)
    prices = pl.DataFrame(live_table(root, CATALOGUE.name, ["product_id", "price"]))
    count = 0
    for day in days:
        pages = pages_of(raw, size.date_of(day))
        customers = pages["customer_id"].unique().to_list()
        of_customer = {customer: variant_of(customer, EXPERIMENT, variants) for customer in customers}
        variant = pages["customer_id"].replace_strict(of_customer, return_dtype=pl.String).alias("variant")
        pages = pages.with_columns(variant, (variant == variants[0].name).alias("first"))
        count += write_shown(raw, size, day, pages, lists, prices)
    return count


def _lists(root: Path, table: str, at: datetime, variants: list[str]) -> pl.DataFrame:
    """The live lists of a touch point by whoever asks for a variant: its own, else the default's."""
    key, code = "customer_id" if table == HOME else "product_id", CODES[table]
    rows = pl.DataFrame(live_table(root, table, [key, "market", "variant", "product_ids"])).rename({key: "key"})
    asked = []
    for variant in variants:
        own = rows.filter(pl.col("variant") == variant)
        others = rows.filter(pl.col("variant") == DEFAULT).join(own, on=["key", "market"], how="anti")
        found = pl.concat([own, others]) if table != HOME else own
        names = [
            list_id(at, code, market, "" if table == HOME else variant, "" if table == HOME else owner)
            for owner, market in found.select("key", "market").iter_rows()
        ]
        asked.append(found.with_columns(pl.lit(variant).alias("variant"), pl.Series("list_id", names, pl.String)))
    return pl.concat(asked).with_columns(pl.lit(table).alias("touch_point"))
