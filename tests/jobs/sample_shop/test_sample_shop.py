"""The sample shop keeps its promises: the same bytes for the same seed, known dirt, and a truth that shows."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.sample_shop import (
    EVENT_DIRT,
    ODD_NAMES,
    PRODUCT_DIRT,
    SIZES,
    ShopSummary,
    ShopTruth,
    truth,
    write_days,
    written_days,
)
from jobs.sample_shop import write_shop as write
from jobs.sample_shop.customers import build_customers
from jobs.sample_shop.interests import Interests, interests_of, shelf_of
from jobs.sample_shop.world import CATEGORIES, build_world

TINY = SIZES["tiny"]
FOLDERS = ("events", "products", "availability")


def quiet(what: str, done: int, total: int) -> None:
    """Tests say nothing."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ShopSummary]]:
    folder = tmp_path_factory.mktemp("shop")
    yield folder / "raw", write(folder / "raw", TINY, quiet, folder / "truth")


@pytest.fixture(scope="module")
def known() -> ShopTruth:
    return truth(TINY)


def read(raw: Path, folder: str) -> pl.DataFrame:
    """All rows of a folder as text, with the file's day; bytes that are no UTF-8 become U+FFFD."""
    frames = []
    for path in sorted((raw / folder).glob("*.csv.gz")):
        text = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        frame = pl.read_csv(io.StringIO(text), infer_schema=False)
        frames.append(frame.with_columns(pl.lit(path.name[:10]).alias("file_day")))
    return pl.concat(frames)


def faults(events: pl.DataFrame, products: pl.DataFrame) -> dict[str, pl.Series]:
    """For each fault of the event files, which rows have it, found without the generator's help."""
    stamp = events["event_ts"].str.strptime(pl.Datetime("ms"), "%Y-%m-%dT%H:%M:%S%.3fZ", strict=False)
    known_products = products.filter(~pl.col("product_id").fill_null("D").str.starts_with("D"))["product_id"]
    return {
        "unknown_product": events["product_id"].is_not_null() & ~events["product_id"].is_in(known_products.to_list()),
        "missing_customer": events["customer_id"].is_null(),
        "future_timestamp": stamp.dt.date().cast(pl.String).gt(events["file_day"]).fill_null(value=False),
        "duplicate_event": ~events["event_id"].is_first_distinct(),
        "negative_price": events["price"].cast(pl.Float64).lt(0).fill_null(value=False),
        "unknown_event_type": ~events["event_type"].is_in(["click", "save", "bag", "purchase"]),
        "unparseable_timestamp": stamp.is_null(),
        "invalid_utf8_customer": events["customer_id"].str.contains("\ufffd").fill_null(value=False),
        "empty_product": events["product_id"].is_null(),
    }


@pytest.fixture(scope="module")
def clean(shop: tuple[Path, ShopSummary]) -> pl.DataFrame:
    """Event rows without any fault."""
    events = read(shop[0], "events")
    bad = pl.DataFrame(faults(events, read(shop[0], "products"))).max_horizontal()
    return events.filter(~bad).with_columns(
        pl.col("event_ts").str.strptime(pl.Datetime("ms"), "%Y-%m-%dT%H:%M:%S%.3fZ"), pl.col("price").cast(pl.Float64)
    )


def test_the_same_seed_writes_the_same_bytes(shop: tuple[Path, ShopSummary], tmp_path: Path) -> None:
    write(tmp_path / "raw", TINY, quiet)
    first = {p.relative_to(shop[0]): p.read_bytes() for p in shop[0].rglob("*") if p.is_file()}
    again = {p.relative_to(tmp_path / "raw"): p.read_bytes() for p in (tmp_path / "raw").rglob("*") if p.is_file()}
    assert len(first) == 3 * TINY.days + 1
    assert [str(path) for path in first if first[path] != again.get(path)] == []


def test_another_seed_writes_other_events(shop: tuple[Path, ShopSummary], tmp_path: Path) -> None:
    write_days(tmp_path, replace(TINY, seed=1), range(1), quiet)
    name = f"events/{TINY.first_day}.csv.gz"
    assert (tmp_path / name).read_bytes() != (shop[0] / name).read_bytes()


@pytest.mark.parametrize("days", [range(2), range(13, 15), range(27, 28)])
def test_a_day_does_not_depend_on_the_days_written_with_it(
    shop: tuple[Path, ShopSummary], tmp_path: Path, days: range
) -> None:
    write_days(tmp_path, replace(TINY, days=100), days, quiet)
    for day in days:
        for folder in FOLDERS:
            name = f"{folder}/{TINY.date_of(day)}.csv.gz"
            assert (tmp_path / name).read_bytes() == (shop[0] / name).read_bytes(), name


def test_one_more_day_follows_the_last(shop: tuple[Path, ShopSummary], tmp_path: Path) -> None:
    summary = write_days(tmp_path, TINY, range(TINY.days, TINY.days + 1), quiet)
    assert summary.first_day == TINY.as_of.isoformat()
    assert summary.clean_events[summary.first_day] > 0


def test_every_row_of_dirt_is_counted(shop: tuple[Path, ShopSummary]) -> None:
    raw, summary = shop
    events, products = read(raw, "events"), read(raw, "products")
    found = {
        name: Counter(events.filter(mask)["file_day"].to_list()) for name, mask in faults(events, products).items()
    }
    told = {name: Counter({day: n[name] for day, n in summary.dirt.items() if name in n}) for name in EVENT_DIRT}
    assert found == told
    assert all(summary.dirt_total()[name] > 0 for name in EVENT_DIRT | PRODUCT_DIRT | ODD_NAMES)


def test_every_dirty_product_row_is_counted(shop: tuple[Path, ShopSummary]) -> None:
    raw, summary = shop
    products = read(raw, "products")
    name = products["name"]
    found = {
        "product_empty_id": products["product_id"].is_null().sum(),
        "product_negative_price": (products["price"].cast(pl.Float64) < 0).sum(),
        "product_invalid_utf8": name.str.contains("\ufffd").sum(),
    }
    assert found == {kind: summary.dirt_total()[kind] for kind in PRODUCT_DIRT}
    own = products["product_id"].fill_null("D").str.starts_with("D")
    odd = {"odd_name_script": "<script>", "odd_name_mojibake": "CafÃ©"}
    counted = {kind: name.filter(~own).str.contains(text, literal=True).sum() for kind, text in odd.items()}
    assert counted == {kind: summary.dirt_total()[kind] for kind in ODD_NAMES}


def test_invalid_bytes_reach_the_file(shop: tuple[Path, ShopSummary]) -> None:
    with pytest.raises(UnicodeDecodeError):
        b"".join(gzip.decompress(p.read_bytes()) for p in (shop[0] / "events").iterdir()).decode("utf-8")


def test_clean_rows_are_those_the_summary_promises(shop: tuple[Path, ShopSummary], clean: pl.DataFrame) -> None:
    assert dict(clean.group_by("file_day").len().iter_rows()) == shop[1].clean_events
    assert clean.height == pytest.approx(TINY.daily_events * TINY.days, rel=0.15)


def test_event_ids_are_in_time_order(clean: pl.DataFrame) -> None:
    assert clean["event_id"].is_unique().all()
    assert clean["event_id"].is_sorted()
    assert clean["event_ts"].is_sorted()
    assert (clean["event_ts"].dt.date().cast(pl.String) == clean["file_day"]).all()


def test_a_basket_is_one_payment(clean: pl.DataFrame) -> None:
    bought = clean.filter(pl.col("event_type") == "purchase")
    baskets = bought.group_by("basket_id").agg(
        pl.col("customer_id", "event_ts", "market").n_unique(), pl.len(), products=pl.col("product_id").n_unique()
    )
    assert (baskets.select("customer_id", "event_ts", "market").max_horizontal() == 1).all()
    assert (baskets["len"] == baskets["products"]).all()
    assert 1.5 < bought.height / baskets.height < 3.5
    assert bought["basket_id"].null_count() == 0
    assert clean.filter(pl.col("event_type") != "purchase")["basket_id"].is_null().all()


def test_nobody_sees_a_product_before_its_launch(shop: tuple[Path, ShopSummary], clean: pl.DataFrame) -> None:
    launched = read(shop[0], "products").select("product_id", "launched_at").drop_nulls().unique("product_id")
    events = clean.join(launched, on="product_id", how="left")
    assert (events["file_day"] >= events["launched_at"]).all()
    assert launched.filter(pl.col("launched_at") > TINY.first_day.isoformat()).height > 0


def test_events_happen_only_where_the_product_is_available(shop: tuple[Path, ShopSummary], clean: pl.DataFrame) -> None:
    changes = read(shop[0], "availability").select("product_id", "market", "available", "file_day").sort("file_day")
    events = clean.select("product_id", "market", "file_day")
    days = {d: i for i, d in enumerate(sorted(events["file_day"].unique()))}
    numbered = [
        f.with_columns(pl.col("file_day").replace_strict(days).alias("day")).sort("day") for f in (events, changes)
    ]
    state = numbered[0].join_asof(numbered[1], on="day", by=["product_id", "market"], check_sortedness=False)
    assert state["available"].eq_missing("true").all()
    assert changes.filter(pl.col("available") == "false").height > 0


def test_availability_files_hold_changes_only(shop: tuple[Path, ShopSummary]) -> None:
    changes = read(shop[0], "availability").sort("product_id", "market", "file_day")
    before = changes.with_columns(pl.col("available").shift(1).over("product_id", "market").alias("before"))
    assert (before["available"] != before["before"].fill_null("false")).all()


def test_alternatives_are_symmetric_and_never_complements(known: ShopTruth) -> None:
    for product in known.product_ids:
        alternatives, complements = known.alternatives(product), known.complements(product)
        assert product not in alternatives | complements
        assert not alternatives & complements
        assert all(product in known.alternatives(other) for other in alternatives)


def test_complements_are_asymmetric(known: ShopTruth) -> None:
    assert (known.follows & ~known.follows.T).any()
    assert not known.follows.diagonal().any()


def test_truth_arrays_agree_with_truth_sets(known: ShopTruth) -> None:
    everything = np.arange(len(known.product_ids))
    for position in (0, 70, len(everything) - 1):
        product, left = known.product_ids[position], np.full(len(everything), position)
        for pairs, sets in ((known.alternative_pairs, known.alternatives), (known.complement_pairs, known.complements)):
            assert {known.product_ids[i] for i in np.flatnonzero(pairs(left, everything))} == sets(product)


def test_unknown_products_have_no_truth(known: ShopTruth) -> None:
    with pytest.raises(ValueError, match="P-gone"):
        known.alternatives("P-gone")


@pytest.mark.parametrize("name", ["tiny", "sample"])
def test_most_products_have_a_dozen_alternatives_and_complements(name: str) -> None:
    labels = truth(SIZES[name])
    sizes = np.bincount(labels.group)
    assert np.mean(sizes[labels.group] > 12) > 0.6
    assert np.mean((labels.follows @ sizes)[labels.group] >= 12) > 0.9


def test_visits_stay_in_a_group_and_baskets_leave_it(clean: pl.DataFrame, known: ShopTruth) -> None:
    placed = clean.with_columns(pl.col("product_id").replace_strict(known.position).alias("p"))
    clicks = placed.filter(pl.col("event_type") == "click").sort("customer_id", "event_id")
    same = clicks["customer_id"].eq(clicks["customer_id"].shift(1)).fill_null(value=False).to_numpy()
    left, right = clicks["p"].to_numpy()[:-1][same[1:]], clicks["p"].to_numpy()[1:][same[1:]]
    assert 0.3 < np.mean(known.alternative_pairs(left, right)) < 0.9
    bought = placed.filter(pl.col("event_type") == "purchase").select("basket_id", "p", "event_id")
    pairs = bought.join(bought, on="basket_id", suffix="2").filter(pl.col("event_id") < pl.col("event_id2"))
    first, then = pairs["p"].to_numpy(), pairs["p2"].to_numpy()
    by_chance = float(np.mean(known.complement_pairs(np.random.default_rng(0).permutation(first), then)))
    forward, backward = known.complement_pairs(first, then), known.complement_pairs(then, first)
    assert float(np.mean(forward)) > max(0.5, 2 * by_chance)
    assert np.sum(forward) > np.sum(backward)


def test_popularity_has_a_long_tail_and_customers_come_back(clean: pl.DataFrame) -> None:
    views = np.sort(clean.group_by("product_id").len()["len"].to_numpy())[::-1]
    assert views[: len(views) // 10].sum() > 0.2 * views.sum()
    visits = clean.group_by("customer_id").agg(pl.col("file_day").n_unique(), pl.len())
    assert np.mean(visits["file_day"].to_numpy() > 2) > 0.3
    assert np.any(visits["len"].to_numpy() <= 2), "no cold customers"
    assert visits.height < TINY.customers, "some customers never come"


def test_the_note_and_the_files_say_synthetic(shop: tuple[Path, ShopSummary]) -> None:
    assert (shop[0] / "SYNTHETIC.txt").read_text(encoding="utf-8").startswith("SYNTHETIC DATA")
    assert b"SYNTHETIC-events-" in (shop[0] / "events" / f"{TINY.first_day}.csv.gz").read_bytes()[:60]


def test_the_truth_stays_out_of_the_raw_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside the raw folder"):
        write(tmp_path, TINY, quiet, tmp_path / "truth")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first_day", date(2026, 3, 10)),
        ("days", 0),
        ("categories", 41),
        ("dirty_share", 0.5),
        ("styles_per_category", 9),
    ],
)
def test_impossible_sizes_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(TINY, **{field: value})  # type: ignore[arg-type]


def test_all_sizes_end_on_the_same_night() -> None:
    assert {size.as_of for size in SIZES.values()} == {date(2026, 4, 6)}
    assert all(size.last_day + timedelta(days=1) == size.as_of for size in SIZES.values())


@pytest.fixture(scope="module")
def interests() -> Interests:
    world = build_world(SIZES["sample"], 1)
    return interests_of(build_customers(SIZES["sample"], world), world.cells)


def test_interests_begin_and_end_at_times_of_their_own(interests: Interests) -> None:
    everyone = np.arange(2_000)
    strength = np.stack([interests.strengths(everyone, day)[:, 0] for day in range(60)])
    begins = (strength[1:] > 0) & (strength[:-1] == 0)
    share = begins.sum(axis=1) / begins.sum()
    assert 0.3 / len(share) < share.min() < share.max() < 3 / len(share), "one day begins most interests"
    assert strength.max() <= 1
    rising, fading = strength[1:] > strength[:-1], strength[1:] < strength[:-1]
    assert fading.sum() > 3 * rising.sum(), "interests do not rise quickly and fade slowly"


def test_visits_of_one_interest_share_its_group_and_its_products(interests: Interests) -> None:
    shelf = shelf_of(build_world(SIZES["sample"], 28))
    customer = np.repeat(np.arange(500), 4)
    rows = []
    for day in (20, 21, 24):
        aims = interests.aims(customer, day, np.random.default_rng(day), np.zeros_like(customer))
        handful = shelf.handful(aims, interests.customers, customer)
        told = {"key": aims.key, "cell": aims.cell, "level": aims.level, "products": handful}
        rows.append(pl.DataFrame(told).filter(pl.col("key") >= 0))
    seen = pl.concat(rows).unique()
    assert seen["key"].is_unique().all()
    assert seen.height > 500


def test_what_follows_a_versatile_group_depends_on_its_company(interests: Interests) -> None:
    cells, rng = interests.cells, np.random.default_rng(0)
    plain, versatile = (
        np.flatnonzero((cells.targets[:, 1] >= 0) & (cells.versatile == kind)) for kind in (False, True)
    )
    first = {}
    for group in (int(plain[0]), int(versatile[0])):
        companies = [g for g in range(len(cells.style)) if g != group][:12]
        after = [cells.follow(np.full(500, group), np.full(500, g), rng.random(500)) for g in companies]
        first[group] = {int(np.bincount(groups).argmax()) for groups in after}
        assert all(cells.follows()[group, groups].all() for groups in after)
    assert len(first[int(plain[0])]) == 1
    assert len(first[int(versatile[0])]) > 1


def test_styles_drift_over_months_and_not_over_days(interests: Interests) -> None:
    customers, everyone = interests.customers, np.arange(5_000)
    moved = [
        np.mean(customers.style_on(everyone, 0 * everyone) != customers.style_on(everyone, 0 * everyone + d))
        for d in (1, 120)
    ]
    assert moved[0] < 0.03
    assert 0.3 < moved[1] < 0.9


def test_a_shop_without_anything_to_replenish_has_visitors(tmp_path: Path) -> None:
    summary = write_days(tmp_path, replace(TINY, categories=2), range(2), quiet)
    assert min(summary.clean_events.values()) > 100


def test_what_wears_out_is_bought_again(tmp_path: Path) -> None:
    size = replace(SIZES["sample"], customers=600, daily_events=360)
    write(tmp_path, size, quiet)
    events = read(tmp_path, "events").filter(pl.col("event_type") == "purchase").unique("event_id", keep="first")
    bought = events.unique(["customer_id", "product_id", "basket_id"]).group_by("customer_id", "product_id").len()
    told = read(tmp_path, "products").select("product_id", "category").drop_nulls().unique("product_id")
    lasting = {category.name for category in CATEGORIES if not category.lasts}
    again = (
        bought.join(told, on="product_id").group_by(pl.col("category").is_in(lasting)).agg((pl.col("len") > 1).mean())
    )
    share = dict(again.iter_rows())
    assert share[False] > 1.5 * share[True]


def test_further_days_go_on_after_the_last_ones_of_the_folder(tmp_path: Path) -> None:
    assert len(written_days(tmp_path, TINY)) == 0
    write_days(tmp_path, TINY, range(3, 5), quiet)
    assert written_days(tmp_path, TINY) == range(5)
    with pytest.raises(ValueError, match="another shop than the size 'sample'"):
        written_days(tmp_path, SIZES["sample"])
