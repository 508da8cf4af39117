"""Is each standing list good at its own question? Learned from the days before a night, judged on the days after it.

    python -m tests.benchmarks.standing --scratch DIR --json OUT

The sample shop is written anew; its last days are held back, and the night before them is made by `python -m jobs`,
with some nights of the catalogue before it, so that prices can fall. Each list is compared with the simplest that could
stand there: what is popular, or the customer's last purchases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tests.support.repository import REPOSITORY

if TYPE_CHECKING:
    from jobs.tables.table import Table

SHOWN = 12
HELD_BACK = 17
"""Days after the night; it lies within one of the weeks in which the shop's trends do not change."""
PRICE_NIGHTS = (21, 14, 7)
STEPS = ("ingest", "sequences", "train", "embed", "index", "lists")


def main() -> None:
    """Make the night and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.standing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scratch", type=Path, help="where shop and lake lie, and are found again; by default nowhere")
    parser.add_argument("--config", default="standard", help="settings of the night (python -m jobs --config)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the figures go")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        held = made(chosen.scratch or Path(folder), chosen.config)
        figures = {name: question(held) for name, question in QUESTIONS.items()}
    for name, found in figures.items():
        print(name)
        for one, value in found.items():
            print(f"  {one:<58} {value:.4f}")
    if chosen.json:
        told = {"measured": datetime.now(UTC).date().isoformat(), "night": held.night.isoformat(), "figures": figures}
        chosen.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


@dataclass(frozen=True)
class Held:
    """A lake whose night knows nothing of the days after it, and these."""

    root: Path
    night: date
    past: pl.DataFrame
    """Events before the night: customer, product, event_type, market, day."""
    later: pl.DataFrame
    """The same of the days held back."""

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """A table's night."""
        from jobs.lake.lake import Lake

        found: list[dict[str, Any]] = Lake(self.root).arrow(table, as_of=self.night).to_pylist()
        return found

    def after(self, days: int, *kinds: str) -> pl.DataFrame:
        """Events of the first days after the night."""
        until = self.night + timedelta(days=days)
        return self.later.filter(pl.col("day") < until, pl.col("event_type").is_in(kinds or ["click"]))


def made(scratch: Path, config: str) -> Held:
    """The shop and its night; those that lie in `scratch` already are taken."""
    from jobs.sample_shop import SIZES, write_shop

    size, raw, lake, rest = SIZES["sample"], scratch / "raw", scratch / "lake", scratch / "later"
    night = size.as_of - timedelta(days=HELD_BACK)
    if not rest.exists():
        write_shop(raw, size, lambda *_: None, scratch / "truth")
        for path in sorted(raw.glob("*/*.csv.gz")):
            if path.name[:10] >= night.isoformat():
                (rest / path.parent.name).mkdir(parents=True, exist_ok=True)
                path.rename(rest / path.parent.name / path.name)
    if not (scratch / "done").exists():
        for days in PRICE_NIGHTS:
            _step("ingest", night - timedelta(days=days), raw, lake, config)
        for step in STEPS:
            _step(step, night, raw, lake, config)
        (scratch / "done").touch()
    return Held(lake, night, _events(raw), _events(rest))


def _step(step: str, night: date, raw: Path, lake: Path, config: str) -> None:
    command = [sys.executable, "-m", "jobs", step, "--as-of", night.isoformat(), "--raw", str(raw), "--root", str(lake)]
    subprocess.run([*command, "--config", config], cwd=REPOSITORY, check=True)


def _events(raw: Path) -> pl.DataFrame:
    rows = pl.concat(
        [pl.read_csv(path, infer_schema=False, encoding="utf8-lossy") for path in sorted((raw / "events").iterdir())]
    )
    return rows.select(
        pl.col("customer_id").alias("customer"),
        pl.col("product_id").alias("product"),
        "event_type",
        "market",
        pl.col("event_ts").str.slice(0, 10).str.to_date(strict=False).alias("day"),
    ).drop_nulls()


def _top(rows: Sequence[dict[str, Any]], owner: str) -> dict[str, list[str]]:
    return {row[owner]: row["product_ids"][:SHOWN] for row in rows if row["product_ids"]}


def _wanted(events: pl.DataFrame) -> dict[str, set[str]]:
    """Customer -> products of their events."""
    return {name: set(some) for name, some in events.group_by("customer").agg("product").iter_rows()}


def _hits(lists: dict[str, list[str]], wanted: dict[str, set[str]], places: int) -> tuple[float, float]:
    """(share of the first places that are wanted, share of what is wanted that they hold), over those with a list."""
    shown = {name: some[:places] for name, some in lists.items()}
    right = sum(product in wanted.get(name, ()) for name, some in shown.items() for product in some)
    return right / max(sum(map(len, shown.values())), 1), right / max(
        sum(len(wanted.get(name, ())) for name in shown), 1
    )


def _popular(held: Held) -> dict[str, list[str]]:
    """Market -> its order of all products."""
    from jobs.tables.shop import MARKET_RANKING

    return {row["market"]: row["product_ids"] for row in held.rows(MARKET_RANKING) if row["category"] == "*"}


def buy_again(held: Held) -> dict[str, float]:
    """Which of the products that a customer bought do they buy again within 14 days?"""
    from jobs.lists.standing import HORIZON
    from jobs.tables.shop import BUY_AGAIN

    rows = held.rows(BUY_AGAIN)
    lists, wanted = _top(rows, "customer_id"), _wanted(held.after(HORIZON, "purchase"))
    bought = held.past.filter(pl.col("event_type") == "purchase", pl.col("customer").is_in(list(lists)))
    last = bought.group_by("customer", "product").agg(pl.col("day").max(), pl.len().alias("times"))
    peers = {
        "the last purchases": last.sort("customer", "day", "product", descending=[False, True, False]),
        "what they bought most often": last.sort("customer", "times", "day", descending=[False, True, True]),
    }
    chance = sum(score for row in rows for score in row["scores"][:SHOWN])
    came = sum(product in wanted.get(name, ()) for name, some in lists.items() for product in some)
    found = {"customers with a list": float(len(lists)), "first place bought again": _hits(lists, wanted, 1)[0]}
    found["purchases that came, over those that were promised"] = came / max(chance, 1e-9)
    for name, some in peers.items():
        of = dict(some.group_by("customer", maintain_order=True).agg("product").iter_rows())
        found[f"first place, {name}"] = _hits(of, wanted, 1)[0]
    repeats = (
        bought.select("customer", "product").unique().join(held.after(HORIZON, "purchase"), on=["customer", "product"])
    )
    again = _wanted(repeats)
    found["repeats of these customers in the first 3 places"] = _hits(lists, again, 3)[1]
    for name, some in peers.items():
        of = dict(some.group_by("customer", maintain_order=True).agg("product").iter_rows())
        found[f"repeats in the first 3, {name}"] = _hits(of, again, 3)[1]
    return found


def recently_viewed(held: Held) -> dict[str, float]:
    """Which products does a customer look at on the next day?"""
    from jobs.tables.shop import RECENTLY_VIEWED

    rows = held.rows(RECENTLY_VIEWED)
    lists, wanted, popular = _top(rows, "customer_id"), _wanted(held.after(1)), _popular(held)
    lists = {name: some for name, some in lists.items() if name in wanted}
    peer = {row["customer_id"]: popular[row["market"]] for row in rows if row["customer_id"] in lists}
    return {
        "next day's products in 12 places": _hits(lists, wanted, SHOWN)[1],
        "popular": _hits(peer, wanted, SHOWN)[1],
    }


def trending(held: Held) -> dict[str, float]:
    """How much more than in the 28 days before is looked at what the list shows, in the next 3 days?

    Products of at most 28 days are left out of all lists: they grow by being new.
    """
    from jobs.tables.shop import CATALOGUE, TRENDING

    launched = {row["product_id"]: row["launched_at"] for row in held.rows(CATALOGUE)}
    lists = {row["market"]: row["product_ids"] for row in held.rows(TRENDING) if row["category"] == "*"}
    since = held.night - timedelta(days=28)
    old = {name for name, day in launched.items() if day is None or day < since}
    before = held.past.filter(pl.col("day") >= since, pl.col("event_type") == "click")
    week = before.filter(pl.col("day") >= held.night - timedelta(days=7))

    def growth(name: str, of: dict[str, list[str]]) -> dict[str, float]:
        shown = [(market, product) for market, some in of.items() for product in [p for p in some if p in old][:SHOWN]]
        pairs = pl.DataFrame(shown, ["market", "product"], orient="row")
        now, then = (pairs.join(some, on=["market", "product"]).height for some in (held.after(3), before))
        grown = now / max(then, 1) / (held.after(3).height / before.height)
        return {f"growth, {name}": grown, f"looks, {name}": float(now)}

    counts = week.group_by("market", "product").len().sort("market", "len", "product", descending=[False, True, False])
    raw = before.group_by("market", "product").len("all").join(counts, on=["market", "product"])
    ratio = raw.with_columns(ratio=pl.col("len") / pl.col("all")).sort(
        "market", "ratio", "len", "product", descending=[False, True, True, False]
    )
    of_week = dict(counts.group_by("market", maintain_order=True).agg("product").iter_rows())
    of_ratio = dict(ratio.group_by("market", maintain_order=True).agg("product").iter_rows())
    peers = {"popular in 28 days": _popular(held), "popular in 7 days": of_week, "7 over 28 days as counted": of_ratio}
    return {k: v for name, of in {"the list": lists, **peers}.items() for k, v in growth(name, of).items()}


def _own_order(held: Held, table: Table) -> dict[str, float]:
    """Which products of a market's list does a customer look at within 7 days, by their own order and the market's?"""
    from jobs.lake.lake import Lake
    from jobs.model_inputs import ProductVectors, matrix
    from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES

    lists = {row["market"]: row["product_ids"] for row in held.rows(table) if row["category"] == "*"}
    lake, wanted = Lake(held.root), _wanted(held.after(7))
    products = ProductVectors.read(lake, held.night)
    at = {name: place for place, name in enumerate(products.ids.ids.to_pylist())}
    customers = lake.arrow(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), held.night)
    vectors = dict(zip(customers["customer_id"].to_pylist(), matrix(customers["vector"]), strict=True))
    own, market = {}, {}
    for row in lake.arrow(CUSTOMER_SEQUENCES, ("customer_id", "market", "bought"), held.night).to_pylist():
        name, there = (
            row["customer_id"],
            [p for p in lists[row["market"]] if p in at and p not in (row["bought"] or ())],
        )
        if there and wanted.get(name, set()) & set(there):
            scores = products.vectors[[at[p] for p in there]] @ vectors[name]
            own[name] = [there[place] for place in np.argsort(-scores, kind="stable")]
            market[name] = there
    found = {"products in a market's list": float(np.mean([len(some) for some in lists.values()]))}
    listed = {name: some & set(market.get(name, ())) for name, some in wanted.items()}
    found |= {"customers who looked at some of them": float(len(own))}
    return found | {
        "looks in 12 places, own order": _hits(own, listed, SHOWN)[1],
        "looks in 12 places, the market's order": _hits(market, listed, SHOWN)[1],
    }


def reduced(held: Held) -> dict[str, float]:
    """See `_own_order`."""
    from jobs.tables.shop import REDUCED

    return _own_order(held, REDUCED)


def new_in(held: Held) -> dict[str, float]:
    """See `_own_order`."""
    from jobs.tables.shop import NEW_IN

    return _own_order(held, NEW_IN)


def sold_out(held: Held) -> dict[str, float]:
    """How many of the first places are alternatives by the shop's truth?"""
    from jobs.sample_shop import SIZES, truth
    from jobs.tables.shop import CATALOGUE, SOLD_OUT_ALTERNATIVES

    labels, rows = truth(SIZES["sample"]), held.rows(SOLD_OUT_ALTERNATIVES)
    category = {row["product_id"]: row["category"] for row in held.rows(CATALOGUE)}
    department = {row["product_id"]: row["department"] for row in held.rows(CATALOGUE)}
    popular = _popular(held)

    def right(of: Callable[[dict[str, Any]], list[str]]) -> float:
        shown = [(row["product_id"], product) for row in rows for product in of(row)[:SHOWN]]
        return float(np.mean([product in labels.alternatives(owner) for owner, product in shown]))

    def alike(row: dict[str, Any]) -> list[str]:
        own = row["product_id"]
        same = [p for p in popular[row["market"]] if p != own and category[p] == category[own]]
        return [p for p in same if department[p] == department[own]]

    return {
        "lists": float(len(rows)),
        "true alternatives in 12 places": right(lambda row: row["product_ids"]),
        "popular of its category and department": right(alike),
    }


QUESTIONS = {
    "buy_again": buy_again,
    "recently_viewed": recently_viewed,
    "trending": trending,
    "reduced": reduced,
    "new_in": new_in,
    "sold_out_alternatives": sold_out,
}

if __name__ == "__main__":
    main()
