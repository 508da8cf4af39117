"""What the sample shop's visitors are shown: an experiment finds the truth that is written beside it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from jobs.sample_shop.shown import BAGS, BUYS, CARDS, FADES, FIRST_PLACE, HOME, UPLIFT, followed_by, pages_of, shown_on
from tests.conftest import SampleShop

VISITS = 30_000


def test_places_are_clicked_as_the_truth_says() -> None:
    rng = np.random.default_rng(0)
    first = pl.Series(np.arange(VISITS) % 2 == 0)
    pages = pl.DataFrame({"customer_id": [f"C{n}" for n in range(VISITS)], "at": np.arange(VISITS)}).with_columns(
        market=pl.lit("GB"), touch_point=pl.lit(CARDS[0]), owner=pl.lit("P0"), first=first,
        variant=pl.when(first).then(pl.lit("default")).otherwise(pl.lit("B")),
    )  # fmt: skip
    lists = pl.DataFrame({"variant": ["default", "B"], "list_id": ["a", "b"]}).with_columns(
        touch_point=pl.lit(CARDS[0]), key=pl.lit("P0"), market=pl.lit("GB"),
        product_ids=pl.Series([[f"P{n}" for n in range(20)]] * 2),
    )  # fmt: skip
    shown = shown_on(pages, lists, rng)
    assert shown.height == 12 * VISITS
    rates = shown.group_by("list_id", "place").agg(pl.col("clicked").mean()).sort("list_id", "place")["clicked"]
    places = np.arange(1.0, 13)
    truth = FIRST_PLACE * np.concatenate([places**-FADES, (1 + UPLIFT) * places**-FADES])
    assert np.abs(rates.to_numpy() - truth).max() < 4 * np.sqrt(truth.max() / (VISITS / 2))
    events = followed_by(shown, pl.DataFrame({"product_id": ["P3"], "price": [9.5]}), "S", rng)
    count = dict(events.group_by("event_type").len().iter_rows())
    assert count["click"] == shown["clicked"].sum()
    assert count["bag"] / count["click"] == pytest.approx(BAGS, abs=0.03)
    assert count["purchase"] / count["bag"] == pytest.approx(BUYS, abs=0.03)


def test_pages_are_those_of_the_days_clicks(tiny_raw: SampleShop) -> None:
    day = tiny_raw.size.last_day
    pages = pages_of(tiny_raw.raw, day)
    home, cards = (pages.filter(pl.col("touch_point").is_in(names)) for names in ([HOME], CARDS))
    assert home["owner"].null_count() == home.height == home.unique(["customer_id", "market"]).height > 10
    assert cards.height > 2 * home.height and not cards["owner"].null_count()
    begin = int(np.datetime64(day, "us").astype(np.int64))
    assert begin <= pages["at"].min() <= pages["at"].max() < begin + 86_400_000_000  # type: ignore[operator]
