"""What a visitor does now: one night an answer while nights are published, and fallbacks where it cannot be read."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from feature_repo.client import ListPage, ProductList, Recommendations
from feature_repo.client.answers import FRESH, MARKET_ORDER, OWN
from feature_repo.client.sessions import in_context
from feature_repo.online.reader import backend_at
from tests.support.redis_server import RedisServer
from tests.support.synthetic import START, Shape, publish, roll_back

SHAPE = Shape(products=60, customers=4, ranked=40)
CUSTOMER, RECENT = SHAPE.customer_ids[0], [(SHAPE.product_ids[7], "purchase", 1_770_000_000)]


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'online.db'}"
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return server.url


def nights_of(page: ListPage) -> set[int]:
    """The nights that a list's scores and its label name."""
    shown = (page.shown.published_at - START).days
    return {shown, *(int(score) for score in page.list.scores)}


def read_until_fresh(client: Recommendations, night: int) -> set[str]:
    """Origins of the answers until one is made now; each answer is of that night."""
    origins, until = set[str](), time.monotonic() + 20
    while FRESH not in origins:
        page = client.home(CUSTOMER, "M0", RECENT)
        assert nights_of(page) == {night} and time.monotonic() < until
        origins.add(page.list.origin)
    return origins


def test_an_answer_is_of_one_night_while_the_next_ones_network_is_loaded(address: str) -> None:
    backend = backend_at(address)
    first = publish(backend, SHAPE, 3)
    client = Recommendations(address, refresh_seconds=0.0)
    assert read_until_fresh(client, 3) == {FRESH}, "the first network is waited for"
    page = client.home(CUSTOMER, "M0", RECENT)
    assert page.list.product_ids == tuple(p for p in SHAPE.product_ids[::-1] if p != RECENT[0][0])[:24]
    assert page.list.list_id.endswith(".home.M0..")
    publish(backend, SHAPE, 5)
    assert read_until_fresh(client, 5) <= {OWN, FRESH}
    roll_back(backend, first, START + timedelta(days=3))
    assert read_until_fresh(client, 3) <= {OWN, FRESH}


def test_while_the_store_is_away_only_who_has_no_history_is_read(tmp_path: Path) -> None:
    address = f"sqlite://{tmp_path / 'online.db'}"
    publish(backend_at(address), SHAPE, 3)
    client = Recommendations(address, refresh_seconds=0.0)
    assert client.home(None, "M0", RECENT).list.origin == FRESH
    client.reader.backend.get = lambda keys, upto=None: (_ for _ in ()).throw(OSError("away"))  # type: ignore[method-assign]
    there, own = client.home(None, "M0", RECENT), client.home(CUSTOMER, "M0", RECENT)
    assert (there.shown.away, there.list.origin) == (True, FRESH)
    assert own.list.origin == MARKET_ORDER, "the store does not say what they bought"
    fresh = Recommendations(address)
    fresh.sessions._nights = client.nights
    assert fresh.home(None, "M0", RECENT).list.origin == MARKET_ORDER, "its network was never read"


def test_a_store_of_older_code_has_no_network(tmp_path: Path) -> None:
    backend = backend_at(f"sqlite://{tmp_path / 'online.db'}")
    publish(backend, SHAPE, 3)
    client = Recommendations(backend)
    client.reader.refresh()
    client.reader._views = {name: view for name, view in client.reader.views.items() if name != "networks"}
    client.reader.refresh = lambda: None  # type: ignore[method-assign]
    assert client.home(CUSTOMER, "M0", RECENT).list.origin == OWN


def test_what_a_visit_has_had_comes_last_and_what_the_policy_placed_stays() -> None:
    sources = ("model", "policy", "model", "co-view")
    page = ProductList(("a", "b", "c", "d"), (4.0, 0.0, 2.0, 1.0), sources, OWN, list_id="x")
    assert in_context(page, [("q", "click", 1)]).product_ids == page.product_ids
    after = in_context(page, [("a", "click", 1), ("b", "click", 2), ("d", "save", 3)])
    assert after.product_ids == ("c", "b", "a", "d") and after.sources == ("model", "policy", "model", "co-view")
    assert (after.scores, after.origin, after.list_id) == ((2.0, 0.0, 4.0, 1.0), FRESH, "x")
