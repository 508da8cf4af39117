"""The HTTP API as a process: the client's answers, mistakes in one line, and a store that goes away or changes."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest

from feature_repo.client import Recommendations
from feature_repo.client.arguments import LONGEST
from feature_repo.online.reader import backend_at
from feature_repo.online.versions import NO_PUBLICATION
from jobs.serve.api import ENTRY_BYTES, Kept
from tests.benchmarks.load.__main__ import measure
from tests.support.hostile import CELLS, letters
from tests.support.http_shop import HttpShop, Served, free_port, served
from tests.support.redis_server import MISSING, RedisServer, running_redis
from tests.support.repository import REPOSITORY
from tests.support.synthetic import START, Shape, nights_in, publish, roll_back

SHAPE = Shape(products=60, customers=40, ranked=40)
PRODUCT, CUSTOMER, MARKET = SHAPE.product_ids[3], SHAPE.customer_ids[2], "M0"
REDIS = {"NIGHTRAIL_FEATURE_STORE": "feature_repo/redis.yaml"}
REQUESTS = int(os.environ.get("NIGHTRAIL_SOAK_REQUESTS", "200000"))
"""Requests of the long run; the figure in the docs is of 1,000,000."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an embedded store with one night."""
    made = tmp_path_factory.mktemp("store")
    publish(backend_at(f"sqlite://{made / 'online.db'}"), SHAPE, 3)
    return made


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Served]:
    """Two processes that serve it."""
    with served(folder / "lake", "--workers", "2", NIGHTRAIL_FEAST=str(folder)) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of the test's own, to be ended and started."""
    try:
        with running_redis() as server:
            yield server
    except FileNotFoundError:
        pytest.skip(MISSING)


def pages(shop: Any, n: int = 0) -> list[Any]:
    """An answer of every page."""
    product, customer, market = SHAPE.product_ids[n % 60], SHAPE.customer_ids[n % 40], SHAPE.market_names[n % 2]
    return [
        shop.product_page(product, market),
        shop.product_page("P-unknown", market, "b"),
        shop.home(customer, market),
        shop.home("C-nobody", market),
        shop.category_page(market),
        shop.category_page(market, "K1", "b"),
        shop.category_page("M-unknown", "K/1?&%41"),
        shop.bag([product, SHAPE.product_ids[(n + 7) % 60]], market, places=5),
        shop.bag([], market),
        shop.bag(["P-unknown", ""], market),
        shop.rank(customer, SHAPE.product_ids[:20], market, "K1"),
        shop.product_page(product, market, recent=[(SHAPE.product_ids[(n + 7) % 60], "click", 1_770_000_000)]),
        shop.home(customer, market, [(product, "click", 1_770_000_000)]),
        shop.rank(None, SHAPE.product_ids[:20], market, recent=[(product, "purchase", 1_770_000_000)]),
        shop.page(market, [("recommended_for_you", customer), ("reduced", customer), ("trending", "*")], places=4),
    ]


def test_the_answers_are_those_of_the_client(folder: Path, api: Served) -> None:
    client, http = Recommendations(f"sqlite://{folder / 'online.db'}"), HttpShop(api.url)
    for n in [*range(8)] * 4:  # also from memory
        for ours, theirs in zip(pages(client, n), pages(http, n), strict=True):
            assert replace(theirs, shown=ours.shown) == ours
            assert replace(theirs.shown, cached=ours.shown.cached, age_seconds=ours.shown.age_seconds) == ours.shown
    # An own list is one of the night and not the fallback, or equal answers would prove little.
    assert http.product_page(PRODUCT, MARKET).you_might_also_like.origin == "own list"


BAG, RANK = {"product_ids": [PRODUCT], "market": MARKET}, {"customer_id": CUSTOMER, "product_ids": [PRODUCT]}
CLICK = {"product_id": PRODUCT, "event": "click", "at": 1_770_000_000}
LISTS = {"lists": [{"touch_point": "new_in", "owner": CUSTOMER}]}
MISTAKES: list[tuple[str, str, Any, int, str]] = [
    ("GET", f"/products/{PRODUCT}", None, 400, "market: field required"),
    ("GET", f"/products/{PRODUCT}?market=", None, 400, "market: "),
    ("GET", f"/products/{PRODUCT}?market=M0&marekt=M1", None, 400, "marekt: "),
    ("GET", f"/products/?market={MARKET}", None, 400, "product_id: "),
    ("GET", f"/products/{'x' * 10_000}?market=M0", None, 400, "product_id has 10,000 characters"),
    ("GET", "/products/%ED%A0%80?market=M0", None, 400, "product_id: "),
    ("GET", "/customers/%ff?market=M0", None, 400, "customer_id: "),
    ("GET", "/categories/x?market=%ff", None, 400, "market: "),
    ("POST", "/bags", BAG | {"product_ids": [PRODUCT, None]}, 400, "product_ids[1]: "),
    ("POST", "/bags", BAG | {"product_ids": ["x" * 1_001]}, 400, "product_ids[0] has 1,001 characters"),
    ("POST", "/bags", BAG | {"product_ids": PRODUCT}, 400, "product_ids: "),
    ("POST", "/bags", BAG | {"product_ids": ["\ud800"]}, 400, "product_ids[0] has half of a character"),
    ("POST", "/bags", BAG | {"market": 7}, 400, "market: "),
    ("POST", "/bags", BAG | {"places": 1_000_000}, 400, "places: "),
    ("POST", "/bags", BAG | {"colour": "red"}, 400, "colour: "),
    ("POST", "/pages", {"market": MARKET}, 400, "lists: field required"),
    ("POST", "/pages", {"market": MARKET, "lists": [{"touch_point": "rank"}]}, 400, "lists[0] is of no touch point"),
    ("POST", "/pages", {"market": MARKET, "lists": [{"owner": "x"}]}, 400, "lists[0]: field required"),
    ("POST", "/bags", ["x"], 400, "body: "),
    ("POST", "/bags", b"{", 400, "body: "),
    ("POST", "/bags", b"\xff", 400, "body: "),
    ("POST", "/bags", b"[" * 100_000, 400, "body: "),
    ("POST", "/bags", b"9" * 5_000, 400, "body: "),
    ("POST", "/bags", b" " * 300_000, 413, "the request is too large"),
    ("POST", "/rank", RANK, 400, "market: "),
    ("POST", "/rank", RANK | {"market": "M0", "product_ids": [*map(str, range(501))]}, 400, "product_ids has 501"),
    ("POST", "/rank", RANK | {"market": "M0", "customer_id": None}, 400, "customer_id is None"),
    ("POST", "/rank", RANK | {"market": "M0", "recent": [CLICK | {"event": "look"}]}, 400, "recent[0]: "),
    ("POST", "/home", {"market": "M0", "recent": [CLICK | {"at": "noon"}]}, 400, "recent[0]: "),
    ("POST", "/home", {"market": "M0"}, 400, "customer_id is None"),
    ("GET", "/bags", None, 405, "Method Not Allowed"),
    ("DELETE", f"/products/{PRODUCT}", None, 405, "Method Not Allowed"),
    ("GET", "/push", None, 404, "Not Found"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status", "error"), MISTAKES)
def test_a_mistake_is_one_line_that_names_the_field(
    api: Served, method: str, path: str, body: Any, status: int, error: str
) -> None:
    sent = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    found, text = HttpShop(api.url).raw(method, path, sent)
    said = json.loads(text)
    assert (found, list(said)) == (status, ["error"])
    assert said["error"].startswith(error) and "\n" not in said["error"] and len(said["error"]) < 300
    assert api.log.read_text() == ""


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "application/json"])
def test_a_body_is_json_whatever_is_said_of_it(api: Served, kind: str) -> None:
    sent = httpx.post(f"{api.url}/bags", content=json.dumps(BAG), headers={"Content-Type": kind})
    assert sent.status_code == 200 and sent.json()["list"]["reason"].startswith("nothing of another category")


def hostile_ids(count: int) -> Iterator[bytes]:
    """Ids as bytes: of a hostile export, halves of surrogate pairs, NUL, 10 kB, SQL, any bytes."""
    rng = random.Random(20)
    halves = b"\xed\xa0\x80", b"\xed\xbf\xbf"
    for _ in range(count):
        kind = rng.randrange(5)
        if kind < 2:
            yield rng.choice(CELLS).encode()
        elif kind == 2:
            yield letters(rng, 40).encode()
        elif kind == 3:
            yield rng.choice((*halves, b"\0", b"\0" * 9, b"x" * 10_000, b"../" * 30, b".", b"..", b"*", b"a/b", b"//"))
        else:
            yield rng.randbytes(rng.randint(1, 60))


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_hostile_ids_get_a_list_or_a_line_that_names_the_field(api: Served, count: int) -> None:
    shop, seen = HttpShop(api.url), {200: 0, 400: 0}
    for n, name in enumerate(hostile_ids(count)):
        part, text = quote_from_bytes(name, safe=""), name.decode("utf-8", "surrogateescape")
        status, answer = shop.raw(*(
            ("GET", f"/products/{part}?market=M0"), ("GET", f"/customers/{part}?market={part}"),
            ("GET", f"/categories/{part}?market=M0&variant={part}"),
            ("POST", "/bags", json.dumps({"product_ids": [text, PRODUCT], "market": "M0"}).encode()),
            ("POST", "/rank", json.dumps({"customer_id": text, "product_ids": [text], "market": text}).encode()),
            ("POST", "/bags", json.dumps(BAG | {"market": text, "variant": text}).encode()),
            ("POST", "/rank", json.dumps(RANK | {"market": "M0", "category": text, "variant": text}).encode()),
            ("GET", f"/products/{PRODUCT}?market={part}&variant={part}"),
            ("POST", "/pages", json.dumps(LISTS | {"market": text, "variant": text}).encode()),
        )[n % 9])  # fmt: skip
        found = json.loads(answer)
        assert status in seen, (name, answer)
        if status == 400:
            fields = "product_id|customer_id|category|market|variant|product_ids"
            assert re.match(rf"({fields})(\[\d+\])?(: | has )", found["error"]), (name, answer)
            assert not name or len(name) > LONGEST or b"\xed" in name or text.encode("utf-8", "replace") != name
        else:
            assert found["shown"]["publication"] == 1
        seen[status] += 1
    assert min(seen.values()) > count / 20
    assert api.log.read_text() == ""


def test_raw_bytes_in_a_request_line_end_in_a_refusal(api: Served) -> None:
    import socket

    for line in (b"GET /products/\xff\x00 HTTP/1.1", b"GET  HTTP/1.1", b"\x16\x03\x01\x02", b"OPTIONS * HTTP/1.1"):
        with socket.create_connection(("127.0.0.1", int(api.url.rsplit(":", 1)[1])), 10) as raw:
            raw.sendall(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert raw.recv(1 << 16)[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 2")
    assert "Traceback" not in api.log.read_text()


def test_the_api_describes_itself(api: Served) -> None:
    found = json.loads(HttpShop(api.url).ok("GET", "/openapi.json"))
    answers = {
        path: of["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rsplit("/")[-1]
        for path, methods in found["paths"].items() for of in methods.values()
    }  # fmt: skip
    assert answers == {"/products/{product_id}": "ProductPage", "/outfits/{product_id}": "OutfitPage",
                       "/customers/{customer_id}": "ListPage", "/categories/{category}": "ListPage",
                       "/bags": "BagPage", "/home": "ListPage", "/rank": "Ranking", "/pages": "Page"}  # fmt: skip
    assert found["components"]["schemas"]["ProductList"]["properties"]["scores"]["items"]["type"] == "number"
    page = HttpShop(api.url).ok("GET", "/docs").decode()
    assert "/products/{product_id}" in page and "<script" not in page and "https://" not in page


def test_the_metrics_are_of_all_processes(api: Served) -> None:
    def counted() -> float:
        text = HttpShop(api.url).ok("GET", "/metrics").decode()
        assert "nightrail_request_seconds_bucket" in text and "nightrail_publication 1.0" in text
        return float(re.findall(r'requests_total\{page="products",status="200"\} (\S+)', text)[0])

    HttpShop(api.url).raw("GET", "/ready")
    HttpShop(api.url).product_page(PRODUCT, MARKET)
    before = counted()
    for _ in range(20):
        HttpShop(api.url).product_page(PRODUCT, MARKET)  # connections of their own: some reach each process
    assert counted() == before + 20


def test_a_taken_port_is_refused(api: Served, folder: Path) -> None:
    port = api.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "jobs", "serve", "--port", port, "--root", str(folder / "lake")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f"cannot serve on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_settings_without_an_address_are_refused_before_anything_runs(folder: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTRAIL")}
    command = [sys.executable, "-m", "jobs", "serve", "--port", str(free_port()), "--root", str(folder / "lake")]
    done = subprocess.run(command, cwd=REPOSITORY, env=bare | REDIS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "NIGHTRAIL_REDIS" in done.stderr and "Traceback" not in done.stderr


def test_it_is_up_within_ten_seconds_and_ends_when_told(folder: Path) -> None:
    with served(folder / "lake", NIGHTRAIL_FEAST=str(folder), NIGHTRAIL_TOKEN="a-token-for-this-test") as api:
        assert api.seconds < 10
        shop = HttpShop(api.url)
        assert [shop.raw("GET", path)[0] for path in ("/health", "/ready", "/docs", "/metrics")] == [200, 200, 401, 401]
    assert api.process.returncode == 0


def test_a_store_that_goes_away_is_answered_for_from_memory(redis: RedisServer, tmp_path: Path) -> None:
    with served(tmp_path / "lake", NIGHTRAIL_REDIS=redis.url, **REDIS) as api:
        shop = HttpShop(api.url)
        empty = shop.raw("GET", f"/products/{PRODUCT}?market=M0")
        assert empty[0] == 503 and b"error" in empty[1]
        assert shop.raw("GET", "/ready")[0] == 503 and shop.raw("GET", "/health")[0] == 200
        publish(backend_at(redis.url), SHAPE, 3)
        wait_for(lambda: shop.raw("GET", "/ready")[0] == 200)
        shop.home("C-nobody", MARKET)  # the market's order is then in memory, too
        before = [shop.product_page(PRODUCT, MARKET) for _ in range(3)][-1]
        redis.stop(save=True)
        wait_for(lambda: shop.product_page(PRODUCT, MARKET).shown.away)
        page, unread = shop.product_page(PRODUCT, MARKET), shop.home(CUSTOMER, MARKET)
        assert (page.you_might_also_like, page.shown.night) == (before.you_might_also_like, before.shown.night)
        assert unread.shown.away and unread.list.origin == "market order" and unread.list.product_ids
        assert shop.raw("GET", "/ready")[0] == 200
        with served(tmp_path / "lake", NIGHTRAIL_REDIS=redis.url, **REDIS) as late:
            status, text = HttpShop(late.url).raw("GET", f"/products/{PRODUCT}?market=M0")
            assert status == 503 and b"does not answer" in text
            assert late.log.read_text() == ""
        redis.start()
        wait_for(lambda: not shop.product_page(PRODUCT, MARKET).shown.away)
        assert shop.home(CUSTOMER, MARKET).list.origin == "own list"
        assert api.log.read_text() == ""


def wait_for(reached: Any) -> None:
    """Until it is so, 20 s at most."""
    pause, left = threading.Event(), 400
    while not reached():
        left -= 1
        assert left, "it did not come about"
        pause.wait(0.05)


def test_answers_are_of_one_night_while_nights_come_and_go(redis: RedisServer, tmp_path: Path) -> None:
    backend = backend_at(redis.url)
    first = publish(backend, SHAPE, 3)
    with served(tmp_path / "lake", "--workers", "2", NIGHTRAIL_REDIS=redis.url, **REDIS) as api:
        ended, wrong, last = threading.Event(), list[Any](), dict[int, set[int]]()

        def keep_asking(start: int) -> None:
            shop, n = HttpShop(api.url), start
            while not ended.is_set():
                for answer in pages(shop, n)[:6]:
                    nights = nights_in(answer)
                    last[start] = nights
                    if len(nights) != 1:
                        wrong.append((nights, answer))
                n += 1

        callers = [threading.Thread(target=keep_asking, args=(start,)) for start in (0, 20)]
        for caller in callers:
            caller.start()
        for act, night in (
            (lambda: publish(backend, SHAPE, 5), 5),
            (lambda: roll_back(backend, first, START + timedelta(days=9)), 3),
            (lambda: publish(backend, SHAPE, 7), 7),
        ):
            act()
            wait_for(lambda: last == {0: {night}, 20: {night}})  # noqa: B023 - called at once
        ended.set()
        for caller in callers:
            caller.join(30)
        assert not wrong
        assert api.log.read_text() == ""


@pytest.mark.soak
def test_all_answers_are_of_one_night_whatever_happens_to_the_store() -> None:
    found = measure(REQUESTS, 300 + REQUESTS / 600, 1_000.0, 2, http=2)
    steps, counts = found["steps"], found["counts"]
    bad = {name: counts.get(name, 0) + sum(step[name] for step in steps) for name in ("failed", "mixed")}
    assert bad == {"failed": 0, "mixed": 0}, found["examples"]
    assert [event["what"] for event in found["events"]] == [
        "publication", "rollback", "publication", "restart of Redis"]  # fmt: skip


def test_kept_answers_are_bounded_and_of_one_publication() -> None:
    kept, live = Kept(3 * (ENTRY_BYTES + 12)), replace(NO_PUBLICATION, seq=4)
    for name in (b"a", b"b", b"c"):
        kept.put(live, (name, b"q"), b"0123456789")
    assert kept.get(live, (b"a", b"q")) == b"0123456789"
    kept.put(live, (b"d", b"q"), b"0123456789")
    assert kept.get(live, (b"b", b"q")) is None, "the least recently used one leaves"
    assert len(kept.bodies) == 3 and kept.size == 3 * (ENTRY_BYTES + 12)
    other = replace(live, seq=5)
    assert kept.get(other, (b"a", b"q")) is None
    kept.put(other, (b"a", b"q"), b"new")
    assert kept.get(live, (b"d", b"q")) is None and list(kept.bodies.values()) == [b"new"]
    assert kept.size == ENTRY_BYTES + 5
