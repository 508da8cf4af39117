"""The store in a Redis Cluster of three nodes and over TLS: real processes on loopback, publisher and client."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis.stateful import run_state_machine_as_test

from feature_repo.client import Recommendations, StoreAwayError
from feature_repo.online.redis_backend import redis_client
from feature_repo.online.store import writer
from feature_repo.settings import store_settings
from jobs.publish.store import REPO
from tests.feature_repo.online.test_versions import Histories, settled
from tests.support.backends import MortalRedis
from tests.support.redis_server import MISSING, RedisServer, running_redis, running_redis_cluster
from tests.support.synthetic import START, Shape, nights_in, publish, roll_back

pytestmark = pytest.mark.soak
SHAPE = Shape(products=60, customers=40, ranked=60)
PRODUCTS, CUSTOMERS = SHAPE.product_ids, SHAPE.customer_ids


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Three nodes."""
    if not shutil.which("redis-server"):
        pytest.skip(MISSING)
    with running_redis_cluster() as servers:
        yield servers


@pytest.fixture
def of_cluster(cluster: list[RedisServer], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The empty cluster as `redis.yaml` opens it for the publisher."""
    for server in cluster:
        server.client().flushall()
    monkeypatch.setenv("NIGHTRAIL_REDIS", cluster[0].url)
    monkeypatch.setenv("NIGHTRAIL_REDIS_CLUSTER", "true")
    return store_settings(REPO / "redis.yaml").open()


def pages(client: Recommendations, n: int = 0) -> list[Any]:
    """An answer of every page."""
    market = SHAPE.market_names[n % 2]
    return [
        client.product_page(PRODUCTS[n % 60], market),
        client.home(CUSTOMERS[n % 40], market),
        client.bag([PRODUCTS[n % 60], PRODUCTS[(n + 7) % 60]], market),
        client.category_page(market, "K1"),
        client.rank(CUSTOMERS[n % 40], PRODUCTS, market, "K1"),
        client.history(CUSTOMERS[n % 40]),
        client.product(PRODUCTS[n % 60]),
    ]


def test_histories_in_a_cluster(cluster: list[RedisServer]) -> None:
    class HistoriesInACluster(Histories):
        def empty(self) -> Any:
            for server in cluster:
                server.client().flushall()
            return MortalRedis(redis_client(cluster[0].url, cluster=True))

    run_state_machine_as_test(HistoriesInACluster, settings=settled(10))  # type: ignore[no-untyped-call]


def test_a_cluster_holds_nights_on_all_nodes_and_forgets(of_cluster: Any, cluster: list[RedisServer]) -> None:
    first = publish(of_cluster, SHAPE, 3)
    assert all(server.client().dbsize() > 20 for server in cluster)
    client = Recommendations(cluster[1].url, cluster=True, refresh_seconds=0.0)
    assert {night for page in pages(client) for night in nights_in(page)} == {3}
    assert client.product_page(PRODUCTS[0], "M0").you_might_also_like.origin == "own list"
    publish(of_cluster, SHAPE, 5)
    assert {night for page in pages(client) for night in nights_in(page)} == {5}
    roll_back(of_cluster, first, START + timedelta(days=9))
    assert {night for page in pages(client) for night in nights_in(page)} == {3}
    with writer(of_cluster) as store:
        assert store.forget(CUSTOMERS[3]) == 3
    assert not client.history(CUSTOMERS[3]).known
    with writer(of_cluster) as store:
        store.clear()
    assert sum(server.client().dbsize() for server in cluster) == 0


def test_no_answer_mixes_nights_in_a_cluster(of_cluster: Any, cluster: list[RedisServer]) -> None:
    first = publish(of_cluster, SHAPE, 1)
    clients = [Recommendations(cluster[2].url, cluster=True, refresh_seconds=s, timeout=5.0) for s in (0.0, 0.02)]
    done, mixed, seen = threading.Event(), list[Any](), set[int]()

    def ask_on(client: Recommendations, n: int) -> None:
        while not done.is_set():
            n += 1
            for page in pages(client, n):
                seen.update(nights_in(page))
                mixed.extend([page] * (len(nights_in(page)) != 1))

    threads = [threading.Thread(target=ask_on, args=(client, n)) for n, client in enumerate(clients * 2)]
    for thread in threads:
        thread.start()
    for night in range(2, 7):
        publish(of_cluster, SHAPE, night)
        time.sleep(0.3)
        roll_back(of_cluster, first, START + timedelta(days=100 + night))
    done.set()
    for thread in threads:
        thread.join()
    assert mixed == [] and len(seen) > 2


def test_a_cluster_with_a_node_away_is_away_until_it_is_back(of_cluster: Any, cluster: list[RedisServer]) -> None:
    publish(of_cluster, SHAPE, 7)
    client = Recommendations(cluster[0].url, cluster=True, refresh_seconds=0.0)
    there = pages(client)
    for server in cluster:
        server.client().save()
    cluster[2].stop()
    away = pages(client)
    assert any(page.shown.away for page in away) and {n for page in away for n in nights_in(page)} == {7}
    assert away[0].you_might_also_like == there[0].you_might_also_like, "from the cache"
    cluster[2].start()
    deadline = time.monotonic() + 60
    while any(page.shown.away for page in pages(client)):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert pages(client)[1].list == there[1].list


def test_a_cluster_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("redis-server") or not shutil.which("openssl"):
        pytest.skip(MISSING)
    with running_redis_cluster(tls=True) as servers:
        authority = str(servers[0].certificate)
        monkeypatch.setenv("NIGHTRAIL_REDIS", servers[0].url)
        monkeypatch.setenv("NIGHTRAIL_REDIS_CLUSTER", "true")
        monkeypatch.setenv("NIGHTRAIL_REDIS_CA", authority)
        publish(store_settings(REPO / "redis.yaml").open(), SHAPE, 4)
        assert all(server.client().dbsize() > 20 for server in servers)
        client = Recommendations(servers[1].url, cluster=True, ssl_ca_certs=authority)
        assert {night for page in pages(client) for night in nights_in(page)} == {4}
        untrusting = Recommendations(servers[1].url, cluster=True)
        with pytest.raises(StoreAwayError, match="CERTIFICATE_VERIFY_FAILED"):
            untrusting.home(CUSTOMERS[0], "M0")
        early = Recommendations(servers[1].url, cluster=True, ssl_ca_certs=authority)
    with pytest.raises(StoreAwayError, match="no night of the online store was ever reached"):
        early.home(CUSTOMERS[0], "M0")


def test_over_tls_with_a_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not shutil.which("redis-server") or not shutil.which("openssl"):
        pytest.skip(MISSING)
    with running_redis("s3cret:/@", tls=True) as server, running_redis(tls=True) as other:
        monkeypatch.setenv("NIGHTRAIL_REDIS", f"rediss://127.0.0.1:{server.port}/0")
        monkeypatch.setenv("NIGHTRAIL_REDIS_PASSWORD", "s3cret:/@")
        monkeypatch.setenv("NIGHTRAIL_REDIS_CA", str(server.certificate))
        publish(store_settings(REPO / "redis.yaml").open(), SHAPE, 4)
        for address in (server.url, f"127.0.0.1:{server.port},ssl=true,password=s3cret:/@"):
            client = Recommendations(address, ssl_ca_certs=str(server.certificate))
            assert {night for page in pages(client) for night in nights_in(page)} == {4}
        for options, said in (
            ({}, "CERTIFICATE_VERIFY_FAILED"),
            ({"ssl_ca_certs": str(other.certificate)}, "CERTIFICATE_VERIFY_FAILED"),
            ({"ssl_ca_certs": str(server.certificate), "password": "wrong"}, "WRONGPASS|invalid username-password"),
        ):
            address = f"rediss://127.0.0.1:{server.port}/0"
            with pytest.raises(StoreAwayError, match=said) as failed:
                Recommendations(address, **options).home(CUSTOMERS[0], "M0")
            assert "s3cret" not in str(failed.value)
        with pytest.raises(StoreAwayError):
            Recommendations(f"redis://:s3cret%3A%2F%40@127.0.0.1:{server.port}/0").home(CUSTOMERS[0], "M0")
