"""Whole nights of small and odd shops: what can be made is published, and what cannot is said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from jobs.config import quick
from jobs.lake.engine import Engine
from jobs.run import Counts
from jobs.tables.records import MODELS, PUBLISHED
from jobs.tables.shop import CATALOGUE, PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from tests.support.nights import LakeFactory, Shop

NIGHT = date(2026, 4, 6)
MIDNIGHT = datetime(2026, 4, 6)
SOURCE = "-- events\nSELECT c AS customer_id, p AS product_id, ty AS event_type, t AS event_ts FROM raw\n"
Event = tuple[str, str, datetime, str]


def drawn(customers: int, products: int, events: int, days: int = 35, seed: int = 3) -> Iterator[Event]:
    """Events of customers who come back; a fifth are purchases, and a few products lead."""
    rng = random.Random(seed)
    leads = [1 / (place + 1) for place in range(products)]
    for _ in range(events):
        at = MIDNIGHT - timedelta(minutes=rng.randrange(1, days * 1440))
        product = rng.choices(range(products), leads)[0]
        yield f"c{rng.randrange(customers)}", f"p{product}", at, "purchase" if rng.random() < 0.2 else "click"


def sessions(count: int, products: int, customer: str = "", seed: int = 4) -> Iterator[Event]:
    """Visits of some products of one kind, each by a customer of its own, or all by `customer`."""
    rng = random.Random(seed)
    for visit in range(count):
        start, kind = MIDNIGHT - timedelta(minutes=rng.randrange(60, 35 * 1440)), rng.randrange(products // 10)
        for step in range(rng.randint(1, 5)):
            yield customer or f"s{visit}", f"p{10 * kind + rng.randrange(10)}", start + timedelta(minutes=step), "click"


def bought_once(customers: int, products: int) -> Iterator[Event]:
    """Every customer buys one product and is never seen again."""
    for event, (_, product, at, _) in enumerate(drawn(customers, products, customers)):
        yield f"c{event}", product, at, "purchase"


def night_of(
    events: Iterator[Event], engine: Engine, lakes: LakeFactory, folder: Path
) -> tuple[Shop, dict[str, Counts]]:
    """(a shop of these events after its first night, what its steps said)."""
    raw = folder / "raw"
    raw.mkdir()
    rows = [f"{c},{p},{t:%Y-%m-%d %H:%M:%S},{kind}" for c, p, t, kind in events]
    (raw / "events.csv").write_text("\n".join(["c,p,t,ty", *rows]) + "\n", "utf-8")
    (folder / "source.sql").write_text(SOURCE, "utf-8")
    shop = Shop(lakes(engine, folder / "lake"), quick(folder / "source.sql", raw))
    return shop, shop.steps(as_of=NIGHT)


def test_a_shop_whose_sessions_are_its_customers_gets_a_night(
    sail_engine: Engine, lake_factory: LakeFactory, tmp_path: Path
) -> None:
    shop, said = night_of(sessions(300, 60), sail_engine, lake_factory, tmp_path)
    assert shop.rows(PUBLISHED, NIGHT)
    (model,) = shop.rows(MODELS, NIGHT)
    assert model["kind"] == "popularity" and "a comparison needs 20 such customers" in said["train"].note
    assert "recommended_for_you shows what is popular" in said["lists"].note
    assert "no product was bought together with another: people_also_bought shows what is popular" in said["lists"].note
    similar = [source for row in shop.rows(YOU_MIGHT_ALSO_LIKE, NIGHT) for source in row["sources"]]
    assert similar.count("co-view") > len(similar) / 4 and "model" not in similar
    for table in (PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU):
        rows = shop.rows(table, NIGHT)
        assert len(rows) == (300 if table is RECOMMENDED_FOR_YOU else len(shop.rows(CATALOGUE, NIGHT)))
        assert {source for row in rows for source in row["sources"]} == {"market popularity"}


SHOPS = {
    "one_event": lambda: iter([("c", "p", MIDNIGHT - timedelta(hours=2), "click")]),
    "one_product": lambda: drawn(300, 1, 2_000),
    "two_products": lambda: drawn(40, 2, 600),
    "thirty_products": lambda: drawn(60, 30, 2_000),
    "without_structure": lambda: drawn(300, 360, 5_000),
    "one_time_buyers": lambda: bought_once(1_500, 200),
    "one_guest_account": lambda: sessions(400, 120, customer="guest"),
    "three_customers": lambda: drawn(3, 60, 200),
    "five_days": lambda: drawn(100, 80, 2_000, days=5),
}


@pytest.mark.soak
@pytest.mark.parametrize("shop", SHOPS)
def test_an_odd_shop_is_published(shop: str, sail_engine: Engine, lake_factory: LakeFactory, tmp_path: Path) -> None:
    made, _ = night_of(SHOPS[shop](), sail_engine, lake_factory, tmp_path)
    assert made.rows(PUBLISHED, NIGHT)
    assert len(made.rows(YOU_MIGHT_ALSO_LIKE, NIGHT)) == len(made.rows(CATALOGUE, NIGHT))
