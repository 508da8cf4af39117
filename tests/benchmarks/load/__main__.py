"""How much the services' client carries, and what becomes of requests while nights come and go and Redis restarts.

    python -m tests.benchmarks.load [--http WORKERS] [--requests 1000000] [--seconds 480] [--rate R] [--processes 2]

Starts a Redis of its own on loopback, fills it with a shop whose every row spells its night, and asks in an open loop:
requests have their times beforehand (a Poisson process), and latency counts from there, so a slow answer delays nothing
but is seen in all that wait behind it. Customers and products follow Zipf's law; pages are mixed. The rate rises until
answers fall behind; the rest of the requests come at half that rate (or at --rate), while a night is published, taken
back, another one published, and Redis ended by SIGTERM and started again. Every answer's content is checked for its
night. With `--http` the pages are asked of `python -m jobs serve` instead, one connection a process. Nothing but this
machine is asked; count and time are bounded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.online.reader import backend_at
from jobs.publish.store import REPO
from tests.benchmarks.load.worker import Result, apart, work
from tests.benchmarks.serving.capacity import record
from tests.support.http_shop import served
from tests.support.redis_server import RedisServer, running_redis
from tests.support.synthetic import START, Shape, publish, roll_back

SHAPE = Shape(products=3_000, customers=10_000, markets=2, categories=8, ranked=500)
PERCENTILES = (50, 90, 99, 99.9)
STEP_SECONDS = 4.0
CALM_SECONDS = 10.0
"""Seconds at half of the saturated rate before anything happens to the store."""
MOST_REQUESTS, MOST_SECONDS = 20_000_000, 3_600.0
KEPT_UP = 0.9
"""A step that answers less than this share of what is offered is beyond saturation."""
spawn = multiprocessing.get_context("spawn")


class Crowd:
    """Processes that ask together."""

    def __init__(self, address: str, shape: Shape, processes: int) -> None:
        self.pipes, self.processes = [], []
        for seed in range(processes):
            mine, theirs = spawn.Pipe()
            process = spawn.Process(target=work, args=(theirs, address, shape, seed), daemon=True)
            process.start()
            self.pipes.append(mine)
            self.processes.append(process)
        for pipe in self.pipes:
            pipe.recv()

    def run(self, rate: float, count: int, seconds: float) -> Result:
        """So many requests a second of all processes together."""
        share = len(self.pipes)
        for pipe in self.pipes:
            pipe.send((rate / share, max(1, count // share), seconds))
        results = [pipe.recv() for pipe in self.pipes]
        return Result(
            {page: np.concatenate([one.seconds[page] for one in results]) for page in results[0].seconds},
            max(one.took for one in results), sum(one.cpu for one in results),
            sum((one.counts for one in results), Counter()), [text for one in results for text in one.examples],
        )  # fmt: skip

    def close(self) -> None:
        """End them."""
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join(10)


@contextmanager
def asked(server: RedisServer, workers: int | None) -> Iterator[str]:
    """The address that is asked: the store's own, or that of an API of so many processes over it."""
    if workers is None:
        yield server.url
        return
    settings = {"NIGHTRAIL_REDIS": server.url, "NIGHTRAIL_FEATURE_STORE": str(REPO / "redis.yaml")}
    with tempfile.TemporaryDirectory() as root, served(Path(root), "--workers", str(workers), **settings) as api:
        yield api.url
        print(api.log.read_text(), end="")


def measure(
    requests: int, seconds: float, rate: float | None, processes: int, shape: Shape = SHAPE, http: int | None = None
) -> dict[str, Any]:  # fmt: skip
    """The whole test; the figures that it prints."""
    if not 0 < requests <= MOST_REQUESTS or not 0 < seconds <= MOST_SECONDS:
        raise ValueError(f"at most {MOST_REQUESTS:,} requests in {MOST_SECONDS:,.0f} s")
    end = time.monotonic() + seconds
    with running_redis() as server, ExitStack() as stack:
        first = publish(backend_at(server.url), shape, 1)
        crowd = Crowd(stack.enter_context(asked(server, http)), shape, processes)
        try:
            steps = saturate(crowd, requests // 2, seconds / 3)
            left = requests - sum(int(step["requests"]) for step in steps)
            saturated = max(step["answered a second"] for step in steps)
            half = rate or saturated / 2
            calm = crowd.run(saturated / 2, min(left // 4, int(saturated / 2 * CALM_SECONDS)), 2 * CALM_SECONDS)
            left -= calm.counts["requests"]
            events = Events(server, shape, first, min(left / half, end - time.monotonic()))
            events.start()
            result = crowd.run(half, left, end - time.monotonic())
            events.join()
            used = events.redis_cpu + redis_cpu(server)
        finally:
            crowd.close()
    return {
        "cores": os.cpu_count(), "load average": os.getloadavg()[0], "processes": processes, "steps": steps,
        "saturated a second": saturated, "half a second": half, "events": events.done,
        "calm": figures(calm), "during events": figures(result),
        "requests": requests - left + result.counts["requests"],
        "counts": dict(result.counts + calm.counts), "examples": calm.examples + result.examples,
        "client cpu seconds a request": result.cpu / result.counts["requests"],
        "redis cpu seconds a request": used / result.counts["requests"],
    }  # fmt: skip


def saturate(crowd: Crowd, requests: int, seconds: float) -> list[dict[str, Any]]:
    """Rising rates until answers fall behind, or the requests or seconds for it are used up."""
    rate, steps, end = 1_000.0, [], time.monotonic() + seconds
    while requests > 0 and time.monotonic() < end:
        count = min(int(rate * STEP_SECONDS), requests)
        result = crowd.run(rate, count, 3 * STEP_SECONDS)
        answered = result.counts["requests"] / result.took
        steps.append({"offered a second": rate, "answered a second": answered, "requests": result.counts["requests"],
                      **{k: result.counts[k] for k in ("failed", "mixed")}, **figures(result)})  # fmt: skip
        print(f"offered {rate:8,.0f}/s answered {answered:8,.0f}/s p99 {steps[-1]['all']['99']:9.2f} ms", flush=True)
        requests -= result.counts["requests"]
        if answered < KEPT_UP * rate and len(steps) > 1:  # the first one fills the caches
            break
        rate *= 1.5
    return steps


class Events(threading.Thread):
    """What happens to the store while it is asked, spread over so many seconds."""

    def __init__(self, server: RedisServer, shape: Shape, first: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self.server, self.shape, self.first, self.seconds = server, shape, first, seconds
        self.done: list[dict[str, Any]] = []
        self.redis_cpu = -redis_cpu(server)
        """CPU seconds that Redis used until it was ended, less those before the first event."""

    def run(self) -> None:
        """Publish, take back, publish, restart."""
        start = time.monotonic()
        for part, name, act in (
            (0.08, "publication", lambda: self._aside(publish, self.shape, 2)),
            (0.40, "rollback", lambda: self._aside(roll_back, self.first, START + timedelta(days=50))),
            (0.50, "publication", lambda: self._aside(publish, self.shape, 3)),
            (0.85, "restart of Redis", self._restart),
        ):
            time.sleep(max(0.0, start + part * self.seconds - time.monotonic()))
            began = time.monotonic()
            act()
            self.done.append({"what": name, "at": began - start, "took": time.monotonic() - began})
            print(f"{name} after {began - start:.0f} s took {time.monotonic() - began:.1f} s", flush=True)

    def _aside(self, act: Any, *arguments: Any) -> None:
        process = spawn.Process(target=apart, args=(act, self.server.url, *arguments))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{act.__name__} failed")

    def _restart(self) -> None:
        self.redis_cpu += redis_cpu(self.server)
        self.server.stop(save=True)
        time.sleep(0.5)
        self.server.start()


def redis_cpu(server: RedisServer) -> float:
    """CPU seconds that Redis has used since it started."""
    info = server.client().info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def figures(result: Result) -> dict[str, dict[str, float]]:
    """Page -> percentile -> milliseconds."""
    pages = {**result.seconds, "all": np.concatenate(list(result.seconds.values()))}
    return {
        page: {f"{p:g}": float(np.percentile(values, p)) * 1_000 for p in PERCENTILES} | {"n": len(values)}
        for page, values in pages.items() if len(values)
    }  # fmt: skip


def report(found: dict[str, Any]) -> None:
    """Print what was found."""
    counts, half = found["counts"], found["half a second"]
    print(f"\nsaturated at {found['saturated a second']:,.0f} requests a second on {found['cores']} cores shared with "
          f"Redis (load average {found['load average']:.1f}); then {half:,.0f} a second")  # fmt: skip
    print(f"{'page':15}{'requests':>10}" + "".join(f"{f'p{p:g} ms':>10}" for p in PERCENTILES))
    for part in ("calm", "during events"):
        print(f"{part}:")
        for page, row in found[part].items():
            print(f"{page:15}{row['n']:10,.0f}" + "".join(f"{row[f'{p:g}']:10.2f}" for p in PERCENTILES))
    total = sum(step["failed"] for step in found["steps"]), sum(step["mixed"] for step in found["steps"])
    print(f"{found['requests']:,} requests: {counts.get('failed', 0) + total[0]} failed, "
          f"{counts.get('mixed', 0) + total[1]} of mixed nights; {counts.get('fallback', 0):,} fallbacks, "
          f"{counts.get('away', 0):,} answered while Redis was away")  # fmt: skip
    for text in found["examples"]:
        print("  ", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--http", type=int, metavar="WORKERS", help="ask the HTTP API of so many processes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--record", action="store_true", help="keep the figures for tests.benchmarks.serving.capacity")
    given = parser.parse_args()
    found = measure(given.requests, given.seconds, given.rate, given.processes, http=given.http)
    report(found)
    if given.record:
        counts = found["counts"]
        record(
            mix_cpu_us=found["client cpu seconds a request"] * 1e6,
            store_share=1 - counts.get("cached", 0) / counts["requests"],
            redis_us_a_request=found["redis cpu seconds a request"] * 1e6,
        )
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
