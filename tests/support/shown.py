"""Outcomes of impressions as a shop with two variants has them, whose true effect is known."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.policy.variants import Variant
from jobs.run import Run
from jobs.tables.impressions import OUTCOMES

START = date(2026, 3, 1)
SIDES = (Variant("default", 0.5), Variant("b", 0.5))


def run_of(as_of: date) -> Run:
    """The run of a night."""
    return Run(as_of, f"{as_of}-test", datetime(2026, 6, 1, tzinfo=UTC))


def write_day(lake: Lake, run: Run, day: date, customers: int = 800, effect: float = 0.4) -> None:
    """Outcomes of one day: five places for each customer, every second of whom sees `b`, which is clicked more.

    The rule `sale` puts products that are clicked less in half of the third places.
    """
    random = np.random.default_rng(day.toordinal())
    n = 5 * customers
    who, place = np.repeat(np.arange(customers), 5), np.tile(np.arange(1, 6), customers)
    liking = np.random.default_rng(3).gamma(4, 0.25, customers)[who]
    ruled = (place == 3) & (random.random(n) < 0.5)
    clicked = random.random(n) < 0.2 * liking / place**0.5 * (1 + effect * (who % 2)) * np.where(ruled, 0.3, 1)
    bought = clicked & (random.random(n) < 0.2)
    texts = {
        "impression_id": [f"{day}-{at}" for at in range(n)],
        "customer_id": [f"C{at:05}" for at in who],
        "touch_point": np.where(who % 3 == 0, "recommended_for_you", "you_might_also_like"),
        "market": np.where(who % 8 < 2, "DE", "GB"),
        "variant": np.where(who % 2 == 1, "b", "default"),
        "owner": [f"P{at // 2 % 40:03}" if at % 3 else None for at in who],
        "product_id": [f"P{at:03}" for at in product_at(who // 2 % 40, place, who % 2)],
        "source": np.where(place == 5, "market popularity", "model"),
        "rule": np.where(ruled, "sale", None),
        "clicked": np.where(clicked, "visit", None),
        "bought": np.where(bought, "week", None),
    }
    columns = {name: pa.array(list(values), pa.string()) for name, values in texts.items()}
    columns["place"] = pa.array(place)
    columns["shown_at"] = pa.repeat(pa.scalar(datetime(day.year, day.month, day.day, 12, tzinfo=UTC)), n)
    columns["shown_date"] = pa.repeat(pa.scalar(day), n)
    columns["revenue"] = columns["last_revenue"] = pa.array(np.where(bought, 20.0, np.nan), from_pandas=True)
    for column in OUTCOMES.columns:
        if column.name.startswith("last_") and column.type == "BOOLEAN":
            done = columns.get(column.name.removeprefix("last_"), pa.nulls(n))
            columns[column.name] = done.is_valid()
        elif column.name not in (*columns, "as_of", "run_id"):
            kind = pa.float64() if column.type == "DOUBLE" else pa.string()
            columns[column.name] = pa.nulls(n, kind)
    lake.replace(OUTCOMES, pa.table(columns), run, where=f"shown_date = '{day}'")


def product_at(owner: np.ndarray, place: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Number of the product at a place of an owner's list; side 1 is the variant `b`."""
    return (owner + 3 * place + side) % 50


def days_from(start: date, days: int) -> list[date]:
    """So many days in a row."""
    return [start + timedelta(days=n) for n in range(days)]
