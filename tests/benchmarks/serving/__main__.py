"""What a product page costs to look up: our client, its HTTP API, the reader below, Feast's SDK and feature server.

    python -m tests.benchmarks.serving [--rounds 5] [--seconds 1.0] [--json OUT]

The same keys from the same Redis in the same run, in alternating rounds: both carousels of one product in one market.
Counted are CPU seconds: the asking process's, the feature server's and Redis's, each on its own, so that other load on
the machine spoils as little as it can. The API is `python -m jobs serve` with one worker, Feast's server the same with
`--feast`; both are asked over loopback by the same caller, by one connection that is kept open, and charged for their
worker alone, the other contestants for the caller's. Pages of customers are never kept by the API: "API, customers".
At half load: from when a request was due, a Poisson process of half the rate of one caller who asks without a pause.
Then rankings of 500 candidates and look-ups of a single key: percentiles of wall time and CPU a request.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from feature_repo.client import Recommendations
from feature_repo.client.ranking import MODEL
from feature_repo.online.reader import backend_at, connect
from jobs.publish.store import REPO, OnlineStore
from tests.benchmarks.load.__main__ import redis_cpu
from tests.benchmarks.serving.capacity import record
from tests.support.http_shop import HttpShop, served
from tests.support.redis_server import RedisServer, running_redis
from tests.support.synthetic import Shape, publish

SHAPE = Shape(products=2_000, customers=2_000, markets=1, ranked=500)
SERVICE = "product_page_v2"
VIEWS = ("you_might_also_like", "people_also_bought")
TABLE_BYTES = 12
"""Of Redis's hash table a key, between its sizes."""
Ask = Callable[[int], Any]


def contestants(server: RedisServer, store: OnlineStore, api: str, address: str) -> dict[str, Ask]:
    """Name -> what looks up the page of product number n."""
    products, market = SHAPE.product_ids, SHAPE.market_names[0]
    cached, bare = Recommendations(server.url), Recommendations(server.url, cache_bytes=0)
    reader, http, pages, customers = connect(server.url), HttpShop(address), HttpShop(api), HttpShop(api)
    service = store.store.get_feature_service(SERVICE)

    def keys(n: int) -> dict[str, list[str]]:
        return {"product_id": [products[n]], "market": [market], "variant": ["default"]}

    def over_http(n: int) -> Any:
        request = {"feature_service": SERVICE, "entities": keys(n), "full_feature_names": True}
        found = json.loads(http.ok("POST", "/get-online-features", json.dumps(request).encode()))
        place = found["metadata"]["feature_names"].index("you_might_also_like__product_ids")
        return tuple(found["results"][place]["values"][0])

    def by_api(n: int) -> Any:
        found = json.loads(pages.ok("GET", f"/products/{products[n]}?market={market}"))
        return tuple(found["you_might_also_like"]["product_ids"])

    def by_sdk(n: int) -> Any:
        found = store.store.get_online_features(service, keys(n), full_feature_names=True).to_dict()
        return tuple(found["you_might_also_like__product_ids"][0])

    return {
        "client, cached": lambda n: cached.product_page(products[n], market).you_might_also_like.product_ids,
        "client, no cache": lambda n: bare.product_page(products[n], market).you_might_also_like.product_ids,
        "reader": lambda n: tuple(
            reader.read([(view, (products[n], market, "default")) for view in VIEWS]).rows[0].features["product_ids"]  # type: ignore[union-attr]
        ),
        "Feast SDK": by_sdk,
        "API": by_api,
        "API, customers": lambda n: customers.ok("GET", f"/customers/{SHAPE.customer_ids[n]}?market={market}"),
        "Feast server": over_http,
    }


def rounds(
    asks: dict[str, Ask], server: RedisServer, workers: dict[str, psutil.Process], count: int, seconds: float
) -> Any:
    """Contestant -> its rounds: requests, and CPU seconds of each process."""
    random, found = np.random.default_rng(1), {name: [] for name in asks}
    for name, ask in asks.items():
        for n in range(SHAPE.products if name in ("client, cached", "API") else 20):
            ask(n)
    for _ in range(count):
        for name, ask in asks.items():
            numbers = random.integers(SHAPE.products, size=200_000).tolist()
            worker = workers.get(name)
            before = time.process_time(), worker_cpu(worker), redis_cpu(server)
            end, done = time.perf_counter() + seconds, 0
            while time.perf_counter() < end:
                for n in numbers[done : done + 20]:
                    ask(n)
                done += 20
            after = time.process_time(), worker_cpu(worker), redis_cpu(server)
            caller, serving, redis = (b - a for a, b in zip(before, after, strict=True))
            found[name].append({"requests": done, "caller": caller, "server": serving, "redis": redis})
    return found


def worker_cpu(worker: psutil.Process | None) -> float:
    """CPU seconds of a server's worker; 0 for a contestant without a server."""
    if worker is None:
        return 0.0
    times = worker.cpu_times()
    return float(times.user + times.system)


def timed(ask: Ask, count: int) -> dict[str, float]:
    """Percentiles of wall time in ms, and CPU ms a request."""
    for n in range(20):
        ask(n)
    taken, cpu = [], time.process_time()
    for n in range(count):
        start = time.perf_counter()
        ask(n)
        taken.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {"cpu_ms": cpu / count * 1_000, **{f"p{p}": float(np.percentile(taken, p)) * 1_000 for p in (50, 99)}}


def at_half_load(ask: Ask, seconds: float) -> dict[str, float]:
    """A second of one request after the other; then half as many at random times, timed from when each was due."""
    random, found = np.random.default_rng(2), list[float]()
    end, done = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        ask(done % SHAPE.products)
        done += 1
    rate = done / seconds
    due = time.perf_counter() + np.cumsum(random.exponential(2 / rate, int(done * 2)))
    for at, n in zip(due.tolist(), random.integers(SHAPE.products, size=len(due)).tolist(), strict=True):
        if (early := at - time.perf_counter()) > 0:
            time.sleep(early)
        ask(n)
        found.append(time.perf_counter() - at)
    percentiles = {f"p{p:g}": float(np.percentile(found, p)) * 1_000 for p in (50, 99, 99.9)}
    return {"saturated": rate, "requests": len(found), **percentiles}


def singles(server: RedisServer) -> dict[str, dict[str, float]]:
    """Rankings and single keys."""
    products, customers, market = SHAPE.product_ids, SHAPE.customer_ids, SHAPE.market_names[0]
    cached, bare = Recommendations(server.url), Recommendations(server.url, cache_bytes=0)

    def ranking(client: Recommendations) -> Ask:
        def ask(n: int) -> None:
            start = n * 3 % (len(products) - 500)
            places = client.rank(customers[n % 2_000], products[start : start + 500], market, "K1").places
            assert len(places) == 500 and places[0].source == MODEL

        return ask

    for start in range(0, len(products), 500):
        cached.rank(customers[0], products[start : start + 500], market, "K1")
    return {
        "rank 500, vectors cached": timed(ranking(cached), 600),
        "rank 500, nothing cached": timed(ranking(bare), 300),
        "one customer's list": timed(lambda n: cached.home(customers[n % 2_000], market), 3_000),
        "one product page, cached": timed(lambda n: cached.product_page(products[n % 500], market), 20_000),
    }


def measure(count: int, seconds: float) -> dict[str, Any]:
    """All figures."""
    with running_redis() as server, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        publish(backend_at(server.url), SHAPE, 1)
        environment = {"NIGHTRAIL_FEAST": str(root / "feast"), "NIGHTRAIL_REDIS": server.url,
                       "NIGHTRAIL_FEATURE_STORE": str(REPO / "redis.yaml")}  # fmt: skip
        os.environ |= environment
        store = OnlineStore(root, REPO / "redis.yaml")
        store.apply()
        with served(root, **environment) as api, served(root, "--feast", **environment) as feast:
            asks = contestants(server, store, api.url, feast.url)
            assert len({ask(7) for name, ask in asks.items() if "customers" not in name}) == 1, "all give the same list"
            workers = {"Feast server": feast.worker(), "API": api.worker(), "API, customers": api.worker()}
            found = rounds(asks, server, workers, count, seconds)
            half = {name: at_half_load(asks[name], 2 * seconds) for name in workers}
        return {
            "load average": os.getloadavg()[0], "rounds": found, "per core": per_core(found), "half load": half,
            "redis_cpu_us": redis_share(found), "singles": singles(server), "bytes": row_bytes(server),
        }  # fmt: skip


def row_bytes(server: RedisServer) -> dict[str, float]:
    """What rows take in Redis, keys and their place in its table included."""
    client, views = server.client(), connect(server.url).views

    def mean(view: str) -> float:
        keys = list(islice(client.scan_iter(match=b"n" + views[view].id.encode() + b"*", count=1_000), 200))
        return statistics.mean(client.memory_usage(key) for key in keys) + TABLE_BYTES

    lists = ("you_might_also_like", "people_also_bought", "bag_extras")
    return {
        "bytes_a_product_and_market": sum(mean(view) for view in lists),
        "bytes_a_product": mean("catalogue") + mean("product_embeddings"),
        "bytes_a_market_and_category": mean("market_ranking"),
        "bytes_a_list": mean("people_also_bought"),
    }  # fmt: skip


def per_core(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Contestant -> median look-ups a CPU second of the process that does the work."""
    return {
        name: statistics.median(
            one["requests"] / max(one["server"] or one["caller"], 1e-9) for one in some
        )
        for name, some in found.items()
    }  # fmt: skip


def redis_share(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Contestant -> median CPU microseconds of Redis a look-up."""
    return {
        name: statistics.median(one["redis"] / one["requests"] * 1e6 for one in some) for name, some in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", action="store_true", help="keep the figures for tests.benchmarks.serving.capacity")
    given = parser.parse_args()
    found = measure(given.rounds, given.seconds)
    feast = found["per core"]["Feast server"]
    print(f"load average {found['load average']:.1f}\n{'product page':20}{'look-ups/s and core':>22}"
          f"{'x Feast server':>16}{'Redis us':>10}")  # fmt: skip
    for name, value in found["per core"].items():
        print(f"{name:20}{value:22,.0f}{value / feast:16.1f}{found['redis_cpu_us'][name]:10.1f}")
    for name, row in found["half load"].items():
        print(f"{name:20} {row['saturated']:7,.0f}/s of one caller; at half of that p50 {row['p50']:7.2f} ms  "
              f"p99 {row['p99']:7.2f} ms  p99.9 {row['p99.9']:7.2f} ms of {row['requests']:,}")  # fmt: skip
    for name, row in found["singles"].items():
        print(f"{name:28} p50 {row['p50']:7.2f} ms  p99 {row['p99']:7.2f} ms  CPU {row['cpu_ms']:7.3f} ms")
    if given.record:
        cores = found["per core"]
        record(
            cached_per_core=cores["client, cached"], uncached_per_core=cores["client, no cache"],
            feast_server_per_core=feast, redis_us_a_read=found["redis_cpu_us"]["client, no cache"],
            rank_cpu_ms=found["singles"]["rank 500, vectors cached"]["cpu_ms"], **found["bytes"],
        )  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
