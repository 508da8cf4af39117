"""What customers turn to against what the sample shop knows of them; campaigns against what happened."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.ask.campaigns import published_campaigns
from jobs.audiences.affinities import _rows
from jobs.audiences.campaigns import BAG_HOURS, LOOKED_DAYS, LOOKS
from jobs.audiences.settled import SettledShop, read_settled
from jobs.audiences.tonight import AFTER_DAYS, NEW_DAYS
from jobs.errors import GateError, UserError
from jobs.lake.live import live_night
from jobs.lake.rows import arrow_schema
from jobs.publish.step import rollbacks
from jobs.sample_shop import SIZES
from jobs.sample_shop.customers import build_customers
from jobs.sample_shop.world import CATEGORIES, build_world
from jobs.tables.audiences import AFFINITIES, CAMPAIGNS, TRIGGERS
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, PEOPLE_ALSO_BOUGHT, POLICY
from tests.support.command_line import jobs
from tests.support.nights import FIRST, SECOND, Rows, Shop
from tests.support.tables import assert_same_rows

OWN = [name for name in AFFINITIES.names if name not in ("as_of", "run_id", "since")]


# --- affinities


def test_favourite_brands_categories_and_prices_are_found_far_above_chance(night: Shop) -> None:
    size = SIZES["tiny"]
    world = build_world(size, size.days)
    customers = build_customers(size, world)
    at = {name: place for place, name in enumerate(customers.ids.to_list())}
    brand = dict(zip(world.brand.tolist(), world.catalogue["brand"].to_list(), strict=True))
    lengths = {row["customer_id"]: len(row["product_ids"]) for row in night.rows(CUSTOMER_SEQUENCES)}
    rows = [row for row in night.rows(AFFINITIES) if lengths[row["customer_id"]] >= 10]
    who = np.array([at[row["customer_id"]] for row in rows])
    assert len(who) > 100
    cells = customers.favourite(who, np.zeros(len(who)), np.full(len(who), size.days))
    favourites = {
        "brands": [brand[int(number)] for number in customers.brand[who]],
        "categories": [CATEGORIES[c].name for c in world.cells.category[cells]],
    }
    for column, truth in favourites.items():
        hit = np.array([[name in row[column][:3] for name in truth] for row in rows])  # [customers, whose favourite]
        assert hit.diagonal().mean() > 1.8 * hit.mean(), f"{column} of others are as often among a customer's"
    level = [row["price_level"] for row in rows]
    assert np.corrcoef(customers.level[who], level)[0, 1] > 0.4


def test_every_customer_has_a_row_and_lifts_above_one_that_fall(night: Shop) -> None:
    rows = night.rows(AFFINITIES)
    assert [row["customer_id"] for row in rows] == [row["customer_id"] for row in night.rows(CUSTOMER_SEQUENCES)]
    for row in rows:
        for names, lifts in (("brands", "brand_lifts"), ("categories", "category_lifts"), ("colours", "colour_lifts")):
            assert len(row[names]) == len(set(row[names])) == len(row[lifts]) <= 10
            assert row[lifts] == sorted(row[lifts], reverse=True) and min(row[lifts], default=2) > 1


def made_anew(shop: Shop, settled: SettledShop) -> pa.Table:
    """The second night's affinities of all customers."""
    rows = _rows(shop.lake, shop.run_of(SECOND), settled, shop.config.audiences, None)
    schema = pa.schema([arrow_schema(AFFINITIES).field(name) for name in OWN])
    return pa.Table.from_batches([batch.select(OWN).cast(schema) for batch in rows]).sort_by("customer_id")


def test_a_later_night_has_few_rows_and_equals_all_made_anew(second_night: Shop) -> None:
    shop, lake = read_settled(second_night.lake, SECOND), second_night.lake
    assert shop is not None and shop.settled == FIRST
    written = lake.snapshot(AFFINITIES).data.count_rows(filter=pc.field("as_of") == pa.scalar(SECOND))
    changed = lake.changed(CUSTOMER_SEQUENCES, ("customer_id",), FIRST, SECOND)
    assert written == len(changed) or lake.since(AFFINITIES, SECOND) == SECOND
    assert_same_rows(lake.arrow(AFFINITIES, OWN, SECOND), made_anew(second_night, shop), ("going on", "anew"))


def test_a_product_that_joins_the_catalogue_late_counts_for_who_looked_at_it_before(copied_second: Shop) -> None:
    lake, histories = copied_second.lake, copied_second.rows(CUSTOMER_SEQUENCES)
    (late, _), *_ = Counter(product for row in histories for product in row["product_ids"]).most_common()
    copied_second.rewrite(CATALOGUE, lambda rows: [row for row in rows if row["product_id"] != late], FIRST)
    copied_second.step("audiences")
    copied_second.step("audiences", SECOND)
    shop = read_settled(lake, SECOND)
    assert shop is not None and shop.settled == FIRST and late in shop.products["product_id"].to_pylist()[-5:]
    assert_same_rows(lake.arrow(AFFINITIES, OWN, SECOND), made_anew(copied_second, shop), ("going on", "anew"))


# --- campaigns


def midnight(night: date) -> datetime:
    """Its first instant."""
    return datetime(night.year, night.month, night.day, tzinfo=UTC)


class Happened:
    """What a night's tables say, to judge messages by."""

    def __init__(self, shop: Shop, night: date) -> None:
        self.now = midnight(night)
        self.catalogue = {row["product_id"]: row for row in shop.rows(CATALOGUE, night)}
        sold = [row for row in shop.rows(AVAILABILITY, night) if row["available"]]
        self.sold = {(row["product_id"], row["market"]) for row in sold}
        before = night - timedelta(days=1)
        known = before in shop.lake.nights(CATALOGUE)
        self.before = {row["product_id"]: row for row in shop.rows(CATALOGUE, before)} if known else {}
        sold = [row for row in shop.rows(AVAILABILITY, before) if row["available"]] if known else []
        self.sold_before = {(row["product_id"], row["market"]) for row in sold}
        lists = shop.rows(PEOPLE_ALSO_BOUGHT, night)
        self.companions = {(row["product_id"], row["market"]): row["product_ids"] for row in lists}
        self.brands = {row["customer_id"]: row["brands"] for row in shop.rows(AFFINITIES, night)}
        self.histories = {
            row["customer_id"]: list(zip(row["product_ids"], row["event_types"], row["event_timestamps"], strict=True))
            for row in shop.rows(CUSTOMER_SEQUENCES, night)
        }

    def within(self, customer: str, product: str, days: float) -> list[tuple[str, datetime]]:
        """What a customer did with a product in the last days."""
        since = self.now - timedelta(days=days)
        return [(kind, at) for p, kind, at in self.histories[customer] if p == product and at >= since]

    def right(self, message: dict[str, Any], product: str) -> bool:
        """Whether a product of a message is there for the reason that its trigger says."""
        customer, market, trigger = message["customer_id"], message["market"], message["trigger"]
        recent = self.within(customer, product, 28)
        interested = bool(recent) and not any(kind == "purchase" for kind, _ in recent)
        match trigger:
            case "back_in_stock":
                back = product in self.before and (product, market) not in self.sold_before
                return interested and back
            case "price_fell":
                return interested and self.catalogue[product]["price"] <= 0.95 * self.before[product]["price"]
            case "bag_left":
                first, last = (self.now - timedelta(hours=hours) for hours in reversed(BAG_HOURS))
                return interested and any(kind == "bag" and first <= at < last for kind, at in recent)
            case "looked_not_bought":
                looks = [at for kind, at in self.within(customer, product, 7) if kind in ("click", "save")]
                return interested and len(looks) >= LOOKS and bool(self.within(customer, product, LOOKED_DAYS))
            case "new_in_your_brands":
                row = self.catalogue[product]
                young = row["launched_at"] >= self.now.date() - timedelta(days=NEW_DAYS)
                return young and not recent and row["brand"] in self.brands[customer]
            case _:
                bought = [(p, at) for p, kind, at in self.histories[customer] if kind == "purchase"]
                of, at = bought[-1]
                due = AFTER_DAYS[0] <= (self.now - at) / timedelta(days=1) <= AFTER_DAYS[1]
                goes = product in self.companions[of, market] and product not in dict(bought)
                return due and goes and message["about"] == of


def judge(shop: Shop, night: date) -> Counter[str]:
    """Fail unless all messages of a night are right; how many each trigger has."""
    happened, rows = Happened(shop, night), shop.rows(CAMPAIGNS, night)
    assert len({row["customer_id"] for row in rows}) == len(rows), "one message a customer and night"
    for row in rows:
        assert 1 <= len(row["product_ids"]) == len(set(row["product_ids"])) <= 6
        assert row["last_event_at"] >= happened.now - timedelta(days=60)
        for product in row["product_ids"]:
            assert (product, row["market"]) in happened.sold and happened.right(row, product), (row, product)
    return Counter(row["trigger"] for row in rows)


def test_messages_are_about_what_happened(night: Shop) -> None:
    found = judge(night, FIRST)
    assert {"bag_left", "looked_not_bought", "new_in_your_brands", "after_purchase"} <= set(found)
    assert not {"back_in_stock", "price_fell"} & set(found), "there is no night before"


def test_a_later_night_tells_what_changed(copied_second: Shop) -> None:
    shop = copied_second
    newest = [(row["product_ids"][-1], row["market"]) for row in shop.rows(CUSTOMER_SEQUENCES, SECOND)
              if row["event_types"][-1] == "click"]  # fmt: skip
    (back, market), (cheap, _) = [pair for pair, _ in Counter(newest).most_common(2)]

    def without(row: dict[str, Any]) -> dict[str, Any]:
        gone = (row["product_id"], row["market"]) == (back, market)
        return row | {"available": row["available"] and not gone}

    def dearer(row: dict[str, Any]) -> dict[str, Any]:
        return row | {"price": 2 * row["price"]} if row["product_id"] == cheap else row

    shop.rewrite(CAMPAIGNS, lambda _: [])
    shop.rewrite(AVAILABILITY, lambda rows: [without(row) for row in rows])
    shop.rewrite(CATALOGUE, lambda rows: [dearer(row) for row in rows])
    shop.step("audiences", SECOND)
    found = judge(shop, SECOND)
    assert found["back_in_stock"] and found["price_fell"], found
    rows = shop.rows(CAMPAIGNS, SECOND)
    assert any("50 %" in row["reason"] for row in rows if row["trigger"] == "price_fell")
    shop.step("audiences", SECOND)
    assert shop.rows(CAMPAIGNS, SECOND) == rows, "a night that is made again does not count itself"


def test_a_trigger_waits_before_it_writes_to_a_customer_again(second_night: Shop) -> None:
    nights = ({row["customer_id"]: row["trigger"] for row in second_night.rows(CAMPAIGNS, n)} for n in (FIRST, SECOND))
    first, second = nights
    both = first.keys() & second.keys()
    assert both and all(first[customer] != second[customer] for customer in both)
    judge(second_night, SECOND)


def test_nobody_gets_more_than_the_weeks_messages_or_a_product_twice(copied_second: Shop) -> None:
    shop, sent = copied_second, copied_second.rows(CAMPAIGNS)
    assert shop.rows(CAMPAIGNS, SECOND)
    other = [row | {"trigger": "price_fell"} for row in sent]
    shop.rewrite(CAMPAIGNS, lambda _: [*sent, *other])
    shop.step("audiences", SECOND)
    assert not {row["customer_id"] for row in sent} & {row["customer_id"] for row in shop.rows(CAMPAIGNS, SECOND)}
    campaigns = replace(shop.config.audiences.campaigns, weekly=9, trigger_days=1, triggers=("new_in_your_brands",))
    shop.step("audiences", SECOND, campaigns=campaigns)
    told, rows = [row for row in sent if row["trigger"] == "new_in_your_brands"], shop.rows(CAMPAIGNS, SECOND)
    pairs = [{(row["customer_id"], product) for row in some for product in row["product_ids"]} for some in (told, rows)]
    assert all(pairs) and not pairs[0] & pairs[1]


def test_a_rule_for_all_touch_points_keeps_a_product_out_and_quiet_customers_are_left_alone(copied_night: Shop) -> None:
    shop = copied_night
    (product, _), *_ = Counter(p for row in shop.rows(CAMPAIGNS) for p in row["product_ids"]).most_common()
    rule = {"rule_id": "r1", "kind": "exclude", "attribute": "product_id", "value": product}
    shop.lake.replace_rows(POLICY, [rule], shop.run_of(FIRST))
    shop.step("audiences", campaigns=replace(shop.config.audiences.campaigns, quiet_days=2))
    rows = shop.rows(CAMPAIGNS)
    assert rows and all(product not in row["product_ids"] for row in rows)
    assert min(row["last_event_at"] for row in rows) >= midnight(FIRST) - timedelta(days=2)


def test_a_lake_of_older_code_goes_on_and_its_nights_can_be_rolled_back_to(copied_second: Shop) -> None:
    shop, lake = copied_second, copied_second.lake
    new = (AFFINITIES.name, CAMPAIGNS.name)
    rows = lake.arrow(PUBLISHED)
    rows = rows.filter(pc.invert(pc.is_in(rows["surface"], pa.array(new))))
    lake.overwrite(PUBLISHED, rows)
    for table in (AFFINITIES, CAMPAIGNS):
        shutil.rmtree(lake.path(table))
    with pytest.raises(UserError, match="has no campaigns"):
        published_campaigns(lake)
    shop.steps(("audiences", "gate", "publish"), SECOND)
    assert lake.nights(AFFINITIES) == [SECOND] and judge(shop, SECOND)
    (first,) = [one for one in rollbacks(lake) if one.night == FIRST]
    shop.step("publish", FIRST, replace_newer=True, published_at=first.at)
    assert live_night(lake) == FIRST and published_campaigns(lake).num_rows == 0


def out_of_stock(rows: Rows) -> Rows:
    """The first message is about a product that nobody sells."""
    return [rows[0] | {"product_ids": ["gone"]}, *rows[1:]]


def without_reason(rows: Rows) -> Rows:
    """The first message does not say why."""
    return [rows[0] | {"reason": ""}, *rows[1:]]


def twice(rows: Rows) -> Rows:
    """The first customer gets another message."""
    return [*rows, rows[0] | {"trigger": next(name for name in TRIGGERS if name != rows[0]["trigger"])}]


@pytest.mark.parametrize(
    ("damage", "gate"),
    [(out_of_stock, "unavailable"), (without_reason, "unfounded"), (twice, "too_often")],
)
def test_a_wrong_message_stops_the_night(damage: Any, gate: str, copied_second: Shop) -> None:
    copied_second.rewrite(CAMPAIGNS, damage, SECOND)
    with pytest.raises(GateError, match=f"campaigns_{gate} is 1"):
        copied_second.step("gate", SECOND)


def test_a_repeated_message_and_broken_lifts_stop_the_night(copied_second: Shop) -> None:
    shop, broken = copied_second, {"brands": ["x"], "brand_lifts": [float("nan")]}
    (sent, *_) = shop.rows(CAMPAIGNS)
    shop.rewrite(CAMPAIGNS, lambda rows: [*(r for r in rows if r["customer_id"] != sent["customer_id"]), sent], SECOND)
    shop.rewrite(AFFINITIES, lambda rows: [rows[0] | broken, *rows[1:]], SECOND)
    with pytest.raises(GateError, match=r"affinities_broken is 1.*campaigns_too_often is 1"):
        shop.step("gate", SECOND)


# --- exports


def test_the_live_messages_are_written_for_other_tools(second_night: Shop, tmp_path: Path) -> None:
    root, rows = second_night.lake.root, second_night.rows(CAMPAIGNS, SECOND)
    said = jobs(root, "campaigns", "--out", str(tmp_path / "out.csv"))
    assert said.returncode == 0 and f"{len(rows):,} messages" in said.stdout
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["customer_id"] for row in written] == [row["customer_id"] for row in rows]
    assert [json.loads(row["product_ids"]) for row in written] == [row["product_ids"] for row in rows]
    trigger = rows[0]["trigger"]
    assert jobs(root, "campaigns", "--out", str(tmp_path / "one.ndjson"), "--trigger", trigger).returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "one.ndjson").read_text("utf-8").splitlines()]
    assert [line["product_ids"] for line in lines] == [r["product_ids"] for r in rows if r["trigger"] == trigger]
    assert jobs(root, "campaigns", "--out", str(tmp_path / "f.csv"), "--as-of", str(FIRST)).returncode == 0


def test_only_what_was_published_is_given_out(staged_second: Shop, tmp_path: Path) -> None:
    root, out = staged_second.lake.root, str(tmp_path / "out.csv")
    said = jobs(root, "campaigns", "--out", out, "--as-of", str(SECOND))
    assert said.returncode == 2 and f"{SECOND} was not published" in said.stderr
    assert jobs(root, "campaigns", "--out", str(tmp_path / "out.txt")).returncode == 2
    assert jobs(root, "campaigns", "--out", out, "--trigger", "nothing").returncode == 2
    assert not list(tmp_path.iterdir())


def test_an_audience_turns_to_the_brand(night: Shop, tmp_path: Path) -> None:
    counts = Counter(row["brands"][0] for row in night.rows(AFFINITIES) if row["brands"])
    brand, out = counts.most_common(1)[0][0], tmp_path / "out.ndjson"
    said = jobs(night.lake.root, "audience", "--brand", brand, "--size", "30", "--out", str(out))
    assert said.returncode == 0, said.stderr
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(rows) == 30 and [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)
    liking = defaultdict(float)
    for row in night.rows(AFFINITIES):
        liking[row["customer_id"]] = dict(zip(row["brands"], row["brand_lifts"], strict=True)).get(brand, 0.0)
    assert [row["lift"] or 0.0 for row in rows] == pytest.approx([liking[row["customer_id"]] for row in rows])
    of_theirs = np.mean([liking[row["customer_id"]] > 1 for row in rows])
    assert of_theirs > 1.5 * np.mean([one > 1 for one in liking.values()])
    product, market = next((r["product_id"], r["market"]) for r in night.rows(AVAILABILITY) if r["available"])
    asked = ("--product", product, "--market", market, "--active-days", "3", "--size", "9999")
    assert jobs(night.lake.root, "audience", *asked, "--out", str(out)).returncode == 0
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    recent = [row for row in night.rows(CUSTOMER_SEQUENCES) if row["market"] == market
              and row["last_event_at"] >= midnight(FIRST) - timedelta(days=3)]  # fmt: skip
    assert 0 < len(found) <= len(recent) and {row["market"] for row in found} == {market}


def test_an_audience_of_nothing_is_a_users_mistake(night: Shop, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "out.csv"))
    for asked, told in (
        (("--brand", "Nobody"), "no product of brand 'Nobody' is in stock"),
        (("--brand", "Nobody", "--category", "x"), "one of them"),
        (("--category", "x", "--market", "Atlantis"), "sells nothing"),
    ):
        said = jobs(night.lake.root, "audience", *asked, *out)
        assert said.returncode == 2 and told in said.stderr, said.stderr


def test_explain_tells_what_a_customer_turns_to_and_is_written_about(night: Shop) -> None:
    message = next(row for row in night.rows(CAMPAIGNS))
    said = jobs(night.lake.root, "explain", "--customer", message["customer_id"])
    text = " ".join(said.stdout.split())
    assert f"{message['trigger']}: {message['reason']}" in text and "price level" in text
