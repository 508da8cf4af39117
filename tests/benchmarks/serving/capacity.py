"""The plan to five billion requests a day: a table computed from measured figures.

    python -m tests.benchmarks.serving.capacity [--write]

The figures lie in capacity.json beside this file; `tests.benchmarks.serving`, `.load` and `.bulk_load` measure them,
the first two write them with --record. `--write` puts the table into the README, where a test holds it to the file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path

from tests.benchmarks.common.docs import write_table

FILE = Path(__file__).with_name("capacity.json")
RATES = (58_000, 174_000, 579_000)
"""Requests a second: 5 billion a day on average; three times that; ten times."""
CUSTOMERS, PRODUCTS, MARKETS, CATEGORIES = 30_000_000, 50_000, 200, 40
SOLD = 0.7
"""Share of the products that a market sells, and has lists for."""
BUSY = 0.5
"""Share of a core that is planned for: the rest is for peaks within a second, and for a neighbour that is gone."""
POD_CORES = 4
SHARD_GB = 25.0
"""Memory of a Redis shard; more takes long to copy to a new replica."""
SPARE = 1.5
"""Memory for the night that is loaded beside the live one, and for fragmentation."""
COPIES = 2
"""Each shard with a replica."""


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    measured: str
    """When, where."""
    cached_per_core: float
    """Product pages a CPU second of the client, from its cache."""
    uncached_per_core: float
    """The same from Redis each time."""
    feast_server_per_core: float
    """The same through Feast's feature server, a CPU second of the server."""
    mix_cpu_us: float
    """CPU of the client for a request of the load test's mix, with the check of its content."""
    store_share: float
    """Share of that mix that asks Redis."""
    redis_us_a_request: float
    """CPU of Redis for a request of that mix."""
    redis_us_a_read: float
    """CPU of Redis for a product page that is not cached."""
    rank_cpu_ms: float
    """CPU of the client for a ranking of 500 candidates."""
    bytes_a_customer: float
    """In Redis, sequence, vector and list, after some nights."""
    bytes_a_product_and_market: float
    """Three lists."""
    bytes_a_product: float
    """Details and vector."""
    bytes_a_market_and_category: float
    """A ranking of 500 places."""
    bytes_a_list: float
    """One list of 24 places: what a read carries over the network, about."""


@dataclass(frozen=True)
class Plan:
    """What a rate of requests takes."""

    rate: float
    store_reads: float
    """Requests a second that reach Redis."""
    client_cores: float
    pods: int
    redis_cores: float
    redis_cores_uncached: float
    """Were nothing cached, at a product page a request."""
    shards: int
    """As many as memory and CPU ask for, whichever is more."""
    network_gbit: float
    """From Redis to the pods."""
    feast_cores: float
    """Cores of Feast's feature server in place of the client."""


def read(file: Path = FILE) -> Figures:
    """The figures of a file."""
    return Figures(**json.loads(file.read_text()))


def record(file: Path = FILE, **figures: float) -> None:
    """Replace some figures of the file."""
    there = json.loads(file.read_text()) if file.exists() else {}
    names = {field.name for field in fields(Figures)}
    assert set(figures) <= names, set(figures) - names
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    file.write_text(json.dumps(there | rounded, indent=1) + "\n")


def memory_gb(figures: Figures) -> float:
    """Of one copy of everything, for 30 million customers."""
    lists = PRODUCTS * SOLD * MARKETS * figures.bytes_a_product_and_market
    products = PRODUCTS * figures.bytes_a_product + MARKETS * (CATEGORIES + 1) * figures.bytes_a_market_and_category
    return (CUSTOMERS * figures.bytes_a_customer + lists + products) / 1e9


def planned(figures: Figures, rate: float) -> Plan:
    """What so many requests a second take."""
    reads = rate * figures.store_share
    cores = rate * figures.mix_cpu_us / 1e6 / BUSY
    redis = rate * figures.redis_us_a_request / 1e6 / BUSY
    uncached = rate * figures.redis_us_a_read / 1e6 / BUSY
    shards = max(ceil(memory_gb(figures) * SPARE / SHARD_GB), ceil(redis))
    # A page reads two lists, or one and a vector.
    network = reads * 2 * figures.bytes_a_list * 8 / 1e9
    feast = rate / figures.feast_server_per_core / BUSY
    return Plan(rate, reads, cores, ceil(cores / POD_CORES), redis, uncached, shards, network, feast)


def table(figures: Figures) -> str:
    """The plan as markdown."""
    plans = [planned(figures, rate) for rate in RATES]
    memory, customers = memory_gb(figures), CUSTOMERS * figures.bytes_a_customer / 1e9
    rows = (
        ("Redis reads a second, behind the caches", [f"{plan.store_reads:,.0f}" for plan in plans]),
        (f"cores of the services' client, {BUSY:.0%} busy", [f"{plan.client_cores:,.0f}" for plan in plans]),
        (f"pods of {POD_CORES} cores", [f"{plan.pods:,}" for plan in plans]),
        (f"Redis shards of {SHARD_GB:.0f} GB, each with a replica", [f"{plan.shards}" for plan in plans]),
        (f"cores of Redis, {BUSY:.0%} busy, of one copy", [f"{plan.redis_cores:,.1f}" for plan in plans]),
        ("the same were nothing cached", [f"{plan.redis_cores_uncached:,.1f}" for plan in plans]),
        ("Gbit/s from Redis to the pods", [f"{plan.network_gbit:,.2f}" for plan in plans]),
        ("instead: cores of Feast's feature server", [f"{plan.feast_cores:,.0f}" for plan in plans]),
    )
    lines = [
        "| requests a second | " + " | ".join(f"{rate:,}" for rate in RATES) + " |",
        "|---|" + "---|" * len(RATES),
        *("| " + " | ".join((name, *values)) + " |" for name, values in rows),
    ]
    return "\n".join(lines) + (
        f"\n\nFor {CUSTOMERS / 1e6:.0f} M customers of {figures.bytes_a_customer:,.0f} bytes ({customers:,.0f} GB) and "
        f"{PRODUCTS:,} products with {figures.bytes_a_product_and_market:,.0f} bytes of lists in each\n"
        f"of {MARKETS} markets ({SOLD:.0%} sold in each): {memory:,.0f} GB, {memory * SPARE * COPIES:,.0f} GB bought "
        f"(a night beside the live one, a replica). {figures.store_share:.0%} of the\n"
        f"requests ask Redis; {figures.cached_per_core:,.0f} product pages a core from the cache, "
        f"{figures.uncached_per_core:,.0f} from Redis, {figures.feast_server_per_core:,.0f} through Feast's server.\n"
        f"Measured {figures.measured}."
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    print(table(read()))
    if given.write:
        write_table("capacity", table(read()))


if __name__ == "__main__":
    main()
