"""Facts of a handful of actions that can be counted by hand, and the recorded ones of the public sets."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from jobs.sample_shop import SIZES, write_shop
from jobs.sample_shop.facts import DAY, PUBLIC, facts_of, public_facts, recorded, shop_actions, table

Action = tuple[str, int, float, str, str | None]
"""Customer, visit, day, product, category."""


def actions(*rows: Action) -> pl.DataFrame:
    columns = {"customer": pl.String, "visit": pl.Int64, "day": pl.Float64, "product": pl.String, "category": pl.String}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns((pl.col("day") * DAY).alias("time")).drop("day")


def sessions(*products: str) -> pl.DataFrame:
    """One session a word, one product a letter, without times."""
    rows = [(str(i), i, 0.0, letter, None) for i, word in enumerate(products) for letter in word]
    return actions(*rows).with_columns(pl.lit(None, pl.Float64).alias("time"))


def test_lengths_of_visits_are_those_of_two_products_or_more() -> None:
    facts = facts_of(sessions("a", "ab", "abcd"))
    assert facts["products in a visit, mean"] == 3
    assert facts["products in a visit, 99% have at most"] == 4


def test_repeats_within_a_visit_are_counted_by_lag() -> None:
    facts = facts_of(sessions("aab", "aba"))
    assert facts["next product was in the visit"] == pytest.approx(2 / 4)
    assert facts["next product is the one 1 before"] == pytest.approx(1 / 4)
    assert facts["next product is the one 2 before"] == pytest.approx(1 / 2)
    assert "next product is the one 3 before" not in facts


def test_popularity_is_the_share_of_the_most_frequent_products() -> None:
    facts = facts_of(sessions("aaaa", "bcdefghijk"))
    assert facts["share of the top 10% of products"] == pytest.approx(4 / 14)


def test_sessions_of_strangers_have_no_history() -> None:
    assert not [name for name in facts_of(sessions("ab", "ab")) if "history" in name or "last visit" in name]


def test_a_later_visit_is_compared_with_all_earlier_ones() -> None:
    facts = facts_of(
        actions(
            ("A", 1, 0, "p", "socks"),
            ("A", 1, 0, "q", "coats"),
            ("A", 2, 1.5, "r", "coats"),
            ("A", 2, 1.5, "p", "socks"),
            ("A", 3, 9, "q", "coats"),
            ("A", 3, 9, "s", "coats"),
            ("B", 4, 9, "p", "socks"),
        )
    )
    assert facts["next product is in the history"] == pytest.approx(2 / 5)
    assert facts["a later visit's products known from earlier ones"] == pytest.approx(2 / 4)
    assert facts["- of its first products"] == pytest.approx(1 / 2)
    assert facts["- of what wears out"] == 1
    assert facts["- of other products"] == pytest.approx(1 / 3)
    assert facts["days to the next visit, median"] == pytest.approx((1.5 + 7.5) / 2)
    assert facts["next visit is within 7 days"] == pytest.approx(1 / 2)
    assert facts["customers with one visit"] == pytest.approx(1 / 2)


def test_visits_are_compared_with_the_one_before_by_the_gap_between_them() -> None:
    facts = facts_of(
        actions(
            ("A", 1, 0, "p", "socks"),
            ("A", 1, 0, "q", "coats"),
            ("A", 2, 1.5, "r", "coats"),
            ("A", 2, 1.5, "p", "socks"),
            ("A", 3, 9, "q", "coats"),
            ("A", 3, 9, "s", "hats"),
        )
    )
    chance = (3 / 6) ** 2 + (2 / 6) ** 2 + (1 / 6) ** 2
    assert facts["next visit has a category of the last, after 1-3 days"] == 1
    assert facts["same category as the last visit, after 1-3 days"] == pytest.approx((2 / 4) / chance)
    assert facts["same category as the last visit, after 7-14 days"] == pytest.approx((1 / 4) / chance)
    assert facts["same product as the last visit, after 7-14 days"] == 0
    assert not [name for name in facts if name.endswith("after 3-7 days")]


def test_only_the_last_twelve_weeks_count() -> None:
    facts = facts_of(actions(("A", 1, 0, "p", None), ("A", 2, 100, "p", None), *[("A", 3, 101, p, None) for p in "qr"]))
    assert facts["next product is in the history"] == 0


def test_the_table_has_a_row_a_fact_and_a_dash_where_there_is_none() -> None:
    lines = table({"one": {"days to b": 2.0, "same c": 3.25}, "two": {"share of d": 0.125}})
    assert [" ".join(line.split()) for line in lines] == [
        "one two",
        "days to b 2.0 -",
        "same c 3.2 x -",
        "share of d - 12.5%",
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    raw = tmp_path_factory.mktemp("facts") / "raw"
    write_shop(raw, SIZES["tiny"], lambda *_: None)
    return shop_actions(raw)


def test_actions_of_the_shop_leave_out_its_dirt(shop: dict[str, pl.DataFrame]) -> None:
    looks, bought = shop.values()
    assert looks.null_count().sum_horizontal().item() == bought.null_count().sum_horizontal().item() == 0
    assert not bought.select(pl.struct("visit", "product").is_duplicated().any()).item()
    size = SIZES["tiny"]
    seconds = pl.concat([looks["time"], bought["time"]])
    days = (seconds * 1000).cast(pl.Datetime("ms")).dt.date()
    assert (days.min(), days.max()) == (size.first_day, size.last_day)


def test_the_record_has_the_facts_that_the_shop_is_compared_by(shop: dict[str, pl.DataFrame]) -> None:
    told = recorded()
    assert set(told.sets) == set(told.sources) == set(PUBLIC)
    known = {name for looked in shop.values() for name in facts_of(looked)}
    assert {name for facts in told.sets.values() for name in facts} <= known | {
        name
        for name in told.sets["online_retail"]
        if name.endswith("28-84 days")  # the tiny shop has four weeks
    }


@pytest.mark.soak
def test_the_record_is_what_the_public_sets_say(real_data: Path) -> None:
    measured, told = public_facts(real_data), recorded().sets
    assert measured, f"none of {', '.join(PUBLIC)} is below {real_data}"
    for name, facts in measured.items():
        assert facts == pytest.approx(told[name], rel=2e-3), name
