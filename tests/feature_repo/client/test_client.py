"""The services' client: fallbacks instead of errors, one night an answer, and answers while the store is away."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_repo.client import Recommendations, StoreAwayError, TooManyError, views
from feature_repo.client.answers import EMPTY_BAG, MARKET_ORDER, NO_ADD_ON, NO_LIST, NOTHING, OWN, STORE_AWAY
from feature_repo.client.list_ids import FORM, stamp_of
from feature_repo.client.nights import Cache
from feature_repo.client.outfits import NO_LOOK
from feature_repo.client.ranking import ALL_PRODUCTS, page_of
from feature_repo.online.reader import backend_at
from feature_repo.online.store import writer
from jobs.tables.shop import ALL
from tests.support.redis_server import RedisServer, running_redis
from tests.support.repository import REPOSITORY
from tests.support.synthetic import START, Shape, nights_in, publish, roll_back

SHAPE = Shape(products=60, customers=40, ranked=40)
EVERY_PAGE = ("product_page", "outfits", "bag", "home", "category_page", "rank", "history", "product", "page")


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path / 'online.db'}"
    server: RedisServer = request.getfixturevalue("redis_server")
    server.client().flushall()
    return server.url


def ask(client: Recommendations, page: str, n: int = 0) -> Any:
    """One request of a page for somebody and something known."""
    products, customer, market = SHAPE.product_ids, SHAPE.customer_ids[n % 40], SHAPE.market_names[n % 2]
    product = products[n % 60]
    return {
        "product_page": lambda: client.product_page(product, market),
        "outfits": lambda: client.outfits(product, market),
        "bag": lambda: client.bag([product, products[(n + 7) % 60]], market),
        "home": lambda: client.home(customer, market),
        "category_page": lambda: client.category_page(market, f"K{n % 3}"),
        "rank": lambda: client.rank(customer, products[: 20 + n % 20], market, "K1" if n % 2 else None),
        "history": lambda: client.history(customer),
        "product": lambda: client.product(product),
        "page": lambda: client.page(market, [("buy_again", customer), ("reduced", customer), ("trending", "*")]),
    }[page]()


def test_every_page_is_of_the_night_that_is_live_and_says_so(address: str) -> None:
    backend = backend_at(address)
    first = publish(backend, SHAPE, 3)
    client = Recommendations(address, refresh_seconds=0.0)
    for page in EVERY_PAGE:
        answer = ask(client, page)
        assert nights_in(answer) == {3}, page
        assert (answer.shown.night, answer.shown.publication, answer.shown.away) == ("2026-01-04", first, False)
        assert 0 <= answer.shown.age_seconds < 5
    publish(backend, SHAPE, 5)
    assert {night for page in EVERY_PAGE for night in nights_in(ask(client, page))} == {5}
    roll_back(backend, first, START + timedelta(days=9))
    assert {night for page in EVERY_PAGE for night in nights_in(ask(client, page))} == {3}


def test_known_things_have_their_own_lists_and_unknown_ones_the_markets_order(address: str) -> None:
    publish(backend_at(address), SHAPE, 4)
    client = Recommendations(address)
    assert ask(client, "product_page").you_might_also_like.origin == OWN
    market = client.category_page("M0").list
    nobody = client.home("C-nobody", "M0")
    assert nobody.list.origin == MARKET_ORDER and nobody.list.product_ids == market.product_ids[:24]
    moved = client.home(SHAPE.customer_ids[0], "M1")
    assert moved.list.origin == MARKET_ORDER, "their list is of another market"
    unknown = client.product_page("P-unknown", "M0")
    assert unknown.people_also_bought.origin == unknown.you_might_also_like.origin == MARKET_ORDER
    assert unknown.you_might_also_like.product_ids == market.product_ids[:24]
    assert unknown.people_also_bought.product_ids == market.product_ids[24:40], "not the same products again"
    other = client.product_page(SHAPE.product_ids[0], "M0", "b")
    assert other.you_might_also_like.origin == "default variant"
    assert other.you_might_also_like.product_ids == ask(client, "product_page").you_might_also_like.product_ids
    lost = client.home("C-nobody", "Atlantis").list
    assert (lost.origin, lost.product_ids, lost.list_id) == (NOTHING, (), "")
    stamp, product = stamp_of(nobody.shown.published_at), SHAPE.product_ids[0]
    names = {
        nobody.list: "home.M0..", moved.list: "home.M1..", market: "page.M0.default.~2A",
        client.home(SHAPE.customer_ids[0], "M0").list: "home.M0..",
        unknown.you_might_also_like: "ymal.M0.default.P-unknown",
        unknown.people_also_bought: "pab.M0.default.P-unknown",
        other.you_might_also_like: f"ymal.M0.b.{product}", other.people_also_bought: f"pab.M0.b.{product}",
        client.bag([product], "M0").list: f"bag.M0.default.{product}", ask(client, "bag").list: "bag.M0.default.",
        client.rank("C-nobody", ["P-x"], "M0", "K1"): "rank.M0.default.K1",
    }  # fmt: skip
    assert {shown.list_id for shown in names} == {f"{stamp}.{name}" for name in names.values()}
    assert all(re.match(FORM, shown.list_id) for shown in names)
    assert not client.history("C-nobody").known and not client.product("P-unknown").known
    ranked = client.rank("C-nobody", ["P-x", *SHAPE.product_ids[:3]], "Atlantis").places
    assert [place.source for place in ranked] == ["given order"] * 4


def test_where_the_night_has_no_list_there_is_none_and_it_says_why(address: str) -> None:
    publish(backend_at(address), SHAPE, 4)
    client, known = Recommendations(address), SHAPE.product_ids[0]
    elsewhere = client.product_page(known, "Atlantis")
    for shown in (
        client.category_page("M0", "K-unknown").list,
        client.bag(["P-unknown"], "M0").list,
        elsewhere.you_might_also_like,
        elsewhere.people_also_bought,
        client.product_page("P-unknown", "Atlantis").you_might_also_like,
    ):
        assert (shown.product_ids, shown.origin, shown.reason) == ((), NOTHING, NO_LIST)
    assert client.outfits("P-unknown", "M0").reason == NO_LIST and not client.outfits("P-unknown", "M0").list_id
    assert (client.outfits(known, "Atlantis").looks, client.outfits(known, "Atlantis").reason) == ((), NO_LOOK)
    assert client.bag([], "M0").list.reason == client.bag([""], "M0").list.reason == EMPTY_BAG
    whole_shop = client.bag(SHAPE.product_ids, "M0").list
    assert (whole_shop.product_ids, whole_shop.origin, whole_shop.reason) == ((), OWN, NO_ADD_ON)


def test_more_candidates_than_a_page_are_refused(address: str) -> None:
    with pytest.raises(TooManyError, match="501 products, more than 500"):
        Recommendations(address).rank("C", [f"P{n}" for n in range(501)], "M")


def test_what_was_asked_once_is_not_asked_again_of_the_same_publication(redis_server: RedisServer) -> None:
    redis_server.client().flushall()
    publish(backend_at(redis_server.url), SHAPE, 2)
    client = Recommendations(redis_server.url, refresh_seconds=60)
    asked: list[int] = []
    read = client.reader.backend.get
    client.reader.backend.get = lambda keys, upto=None: asked.append(len(keys)) or read(keys, upto)  # type: ignore[method-assign,func-returns-value]
    for _ in range(2):
        asked.clear()
        pages = [ask(client, page) for page in ("product_page", "category_page", "product")]
        ranking = client.rank("C-nobody", SHAPE.product_ids, "M0")
    assert asked == [2], "the second time only the customer's vector, with what is live"
    assert all(page.shown.cached for page in pages) and not ranking.shown.cached
    fresh = Recommendations(redis_server.url, cache_bytes=0)
    assert not ask(fresh, "product").shown.cached and not ask(fresh, "product").shown.cached


def test_no_answer_mixes_nights_while_nights_come_and_go(address: str) -> None:
    backend = backend_at(address)
    first = publish(backend, SHAPE, 1)
    clients = [Recommendations(address, refresh_seconds=seconds, timeout=5) for seconds in (0.0, 0.02)]
    done, mixed, seen = threading.Event(), [], set()

    def ask_on(client: Recommendations, n: int) -> None:
        while not done.is_set():
            n += 1
            answer = ask(client, EVERY_PAGE[n % 7], n)
            found = nights_in(answer)
            seen.update(found)
            if len(found) != 1:
                mixed.append((EVERY_PAGE[n % 7], answer))

    threads = [threading.Thread(target=ask_on, args=(client, n)) for n, client in enumerate(clients * 2)]
    for thread in threads:
        thread.start()
    writing = backend_at(address)
    for night in (2, 3, 4):
        publish(writing, SHAPE, night)
        time.sleep(0.2)
        roll_back(writing, first, START + timedelta(days=100 + night))
    done.set()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert len(seen) > 1


@pytest.fixture
def own_redis(redis_server: RedisServer) -> Any:
    """A Redis of the test's own, to be stopped."""
    with running_redis() as server:
        yield server


def test_while_the_store_is_away_answers_come_from_the_cache(own_redis: RedisServer) -> None:
    publish(backend_at(own_redis.url), SHAPE, 7)
    client = Recommendations(own_redis.url, refresh_seconds=0.0)
    there = {page: ask(client, page) for page in EVERY_PAGE}
    own_redis.stop(save=True)
    page = ask(client, "product_page")
    assert page.you_might_also_like == there["product_page"].you_might_also_like
    assert page.shown.away and page.shown.night == "2026-01-08" and page.shown.age_seconds > 0
    home = ask(client, "home")
    assert home.list.origin == MARKET_ORDER and home.list.product_ids and home.shown.away
    assert next(place.source for place in ask(client, "rank").places) == "market order"
    assert ask(client, "bag").list == there["bag"].list
    assert not ask(client, "history").known and ask(client, "product").known
    other = client.product_page(SHAPE.product_ids[9], "M0").you_might_also_like
    assert (other.product_ids, other.reason) == ((), STORE_AWAY), "it may be in the catalogue: nobody knows its rules"
    assert client.bag([SHAPE.product_ids[0], SHAPE.product_ids[30]], "M0").list.reason == STORE_AWAY
    assert client.category_page("M1", "K2").list.reason == STORE_AWAY
    assert all(nights_in(ask(client, page)) == {7} for page in EVERY_PAGE)
    start = time.perf_counter()
    for _ in range(200):
        ask(client, "home")
    assert time.perf_counter() - start < 2, "a store that is away is not waited for again and again"
    own_redis.start()
    time.sleep(0.3)
    assert ask(client, "home").list == there["home"].list and not ask(client, "home").shown.away


def test_a_store_that_lost_its_data_is_a_store_that_is_away(own_redis: RedisServer) -> None:
    publish(backend_at(own_redis.url), SHAPE, 7)
    client = Recommendations(own_redis.url, refresh_seconds=0.0)
    there = ask(client, "product_page")
    own_redis.client().flushall()
    page = ask(client, "product_page")
    assert page.shown.away and page.people_also_bought == there.people_also_bought


def test_a_publication_just_before_the_store_goes_leaves_the_fallbacks(own_redis: RedisServer) -> None:
    backend = backend_at(own_redis.url)
    publish(backend, SHAPE, 7)
    client = Recommendations(own_redis.url, refresh_seconds=0.0)
    ask(client, "product_page"), ask(client, "home")
    publish(backend, SHAPE, 8)
    client.history("C-nobody")  # whoever notices the new night fetches the markets' orders
    own_redis.stop()
    assert nights_in(ask(client, "home")) == {8} and ask(client, "home").list.origin == MARKET_ORDER
    page = ask(client, "product_page")
    assert nights_in(page) == {7} and page.you_might_also_like.origin == OWN, "the night before has the product's list"


def test_only_a_client_that_never_reached_the_store_raises() -> None:
    client = Recommendations("redis://:secret@127.0.0.1:1/0")
    with pytest.raises(StoreAwayError, match="no night of the online store was ever reached") as failed:
        client.home("C", "M")
    assert "secret" not in str(failed.value)


def test_the_cache_keeps_its_bound_and_its_estimate_is_about_right(tmp_path: Path) -> None:
    backend = backend_at(f"sqlite://{tmp_path / 'online.db'}")
    shape = Shape(products=1_500, customers=1, markets=1)
    publish(backend, shape, 1)
    client = Recommendations(f"sqlite://{tmp_path / 'online.db'}", refresh_seconds=60)
    client.product_page("P-warm", "M0")
    tracemalloc.start()
    for product in shape.product_ids:
        client.product_page(product, "M0")
        client.nights.look([(views.PRODUCT_VECTOR, (product,)), (views.EXTRAS, (product, "M0", "default"))])
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    cache = client.nights._now.rows  # type: ignore[union-attr]
    assert len(cache) >= 4 * 1_500
    assert cache.bytes == pytest.approx(taken, rel=0.3)
    small = Cache(50_000)
    small.put(((views.ALTERNATIVES, (str(n), "M0", "default")), None) for n in range(1_000))
    assert small.bytes <= 50_000 and len(small) > 100
    assert small.get([(views.ALTERNATIVES, ("999", "M0", "default"))]) == [None]


def test_the_client_is_light() -> None:
    code = (
        "import resource, sys\n"
        "def spent(): used = resource.getrusage(resource.RUSAGE_SELF); return used.ru_utime + used.ru_stime\n"
        "start = spent(); import feature_repo.client; took = spent() - start\n"
        "heavy = ('feast', 'pandas', 'torch', 'pyspark', 'pyarrow', 'jobs', 'redis', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules], took < 0.2)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[] True", done.stdout + done.stderr


def test_a_client_at_work_needs_no_feast_pandas_torch_or_jobs(tmp_path: Path) -> None:
    publish(backend_at(f"sqlite://{tmp_path / 'online.db'}"), SHAPE, 1)
    code = (
        "import sys\nfrom feature_repo.client import Recommendations\n"
        f"client = Recommendations('sqlite://{tmp_path / 'online.db'}')\n"
        "assert client.rank('C00000000', ['P000001'], 'M0', 'K1').places[0].source == 'model'\n"
        "assert client.bag(['P000001', 'P000002'], 'M0').list.product_ids\n"
        "print([name for name in ('feast', 'pandas', 'torch', 'pyspark', 'pyarrow', 'jobs') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_views_are_the_tables() -> None:
    named = (views.CATALOGUE, views.HISTORY, views.HOME, views.PRODUCT_VECTOR, views.CUSTOMER_VECTOR,
             views.ALTERNATIVES, views.GOES_WITH, views.EXTRAS, views.ORDER)  # fmt: skip
    assert set(named) <= {table.name for table in ALL}


def test_forgetting_reaches_a_client_at_once(address: str) -> None:
    backend = backend_at(address)
    publish(backend, SHAPE, 1)
    client = Recommendations(address, refresh_seconds=60)
    assert client.history(SHAPE.customer_ids[3]).known
    with writer(backend) as store:
        store.forget(SHAPE.customer_ids[3])
    assert not client.history(SHAPE.customer_ids[3]).known


def test_no_category_has_the_page_of_all_products_or_that_of_another() -> None:
    names = ["*", "\\*", "\\\\*", "**", "", "\\", "shoes", "shoes*"]
    pages = [page_of(name) for name in names]
    assert ALL_PRODUCTS not in pages and len(set(pages)) == len(names)
    assert pages[:2] == ["\\*", "\\\\*"] and pages[3:] == names[3:]
