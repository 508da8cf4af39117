"""Whole nights of small and odd shops: what can be made is published, and what cannot is said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.client.ranking import page_of
from jobs.config import quick
from jobs.lake.engine import Engine
from jobs.publish.store import REPO, OnlineStore
from jobs.run import Counts
from jobs.tables.records import MODELS, PUBLISHED
from jobs.tables.shop import CATALOGUE, MARKET_RANKING, PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from tests.support.nights import LakeFactory, Shop, feast_below

NIGHT = date(2026, 4, 6)
MIDNIGHT = datetime(2026, 4, 6)
SOURCE = "-- events\nSELECT c AS customer_id, p AS product_id, ty AS event_type, t AS event_ts FROM visits\n"
WITH_CATEGORIES = f"{SOURCE};\n-- catalogue\nSELECT id AS product_id, name, cat AS category FROM products\n"
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
    events: Iterator[Event], engine: Engine, lakes: LakeFactory, folder: Path, source: str = SOURCE
) -> tuple[Shop, dict[str, Counts]]:
    """(a shop of these events after its first night, what its steps said)."""
    raw = folder / "raw"
    (raw / "visits").mkdir(parents=True, exist_ok=True)
    rows = [f"{c},{p},{t:%Y-%m-%d %H:%M:%S},{kind}" for c, p, t, kind in events]
    (raw / "visits" / "events.csv").write_text("\n".join(["c,p,t,ty", *rows]) + "\n", "utf-8")
    (folder / "source.sql").write_text(source, "utf-8")
    shop = Shop(lakes(engine, folder / "lake"), quick(folder / "source.sql", raw))
    return shop, shop.steps(as_of=NIGHT)


@pytest.fixture(scope="module")
def shop_of_sessions(
    sail_engine: Engine, lake_factory: LakeFactory, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Shop, dict[str, Counts]]:
    """A shop whose sessions are its customers, with a category called `*`, after its first night."""
    folder = tmp_path_factory.mktemp("sessions")
    products = [f"p{number},Name {number},{('*', 'shoes', '')[number % 3]}" for number in range(60)]
    (folder / "raw" / "products").mkdir(parents=True)
    (folder / "raw" / "products" / "p.csv").write_text("\n".join(["id,name,cat", *products]) + "\n", "utf-8")
    return night_of(sessions(300, 60), sail_engine, lake_factory, folder, WITH_CATEGORIES)


def test_what_can_be_made_is_published_and_what_cannot_is_said(
    shop_of_sessions: tuple[Shop, dict[str, Counts]],
) -> None:
    shop, said = shop_of_sessions
    assert shop.rows(PUBLISHED, NIGHT)
    (model,) = shop.rows(MODELS, NIGHT)
    assert model["kind"] == "popularity" and "a comparison needs 20 such customers" in said["train"].note
    assert "recommended_for_you shows what is popular" in said["lists"].note
    assert "no product was bought together with another: people_also_bought shows what is popular" in said["lists"].note
    similar = [source for row in shop.rows(YOU_MIGHT_ALSO_LIKE, NIGHT) for source in row["sources"]]
    assert similar.count("co-view") > len(similar) / 8 and "model" not in similar
    for table, owners in ((PEOPLE_ALSO_BOUGHT, 60), (RECOMMENDED_FOR_YOU, 300)):
        rows = shop.rows(table, NIGHT)
        assert len(rows) == owners
        assert {source for row in rows for source in row["sources"]} == {"market popularity"}


def test_a_category_may_have_the_name_of_the_page_of_all_products(
    shop_of_sessions: tuple[Shop, dict[str, Counts]],
) -> None:
    shop, _ = shop_of_sessions
    pages = {row["category"]: set(row["product_ids"]) for row in shop.rows(MARKET_RANKING, NIGHT)}
    stars, shoes = ({product for product in pages["*"] if int(product[1:]) % 3 == kind} for kind in (0, 1))
    assert len(shop.rows(MARKET_RANKING, NIGHT)) == len(pages) == 3 and len(pages["*"]) == 60
    assert (pages["\\*"], pages["shoes"]) == (stars, shoes)
    with feast_below(shop.lake.work):
        client = OnlineStore(shop.lake.root, REPO / "feature_store.yaml", shop.lake.work).client()
    assert set(client.category_page("all", page_of("*")).list.product_ids) == stars


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
