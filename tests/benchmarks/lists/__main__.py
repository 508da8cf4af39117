"""What lists cost at a large shop's size: retrieval alone, and what rules, fallbacks and re-ranking add to it.

    python -m tests.benchmarks.lists --products 50000 --markets 200 --customers 100000 --json OUT

Vectors, availability, prices, brands and categories are made up; a policy of a dozen rules holds. For every touch point
the same lists are made twice: the first available candidates, as retrieval alone gives them, and with everything that
`jobs.lists.builder` does. Rows are made for Delta and thrown away, so the disk has no part in the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.lists.assortment import Assortment
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.touch_points import ALTERNATIVES, FOR_YOU, GOES_WITH, MODEL, TouchPoint
from jobs.policy.compile import policy_on
from jobs.policy.parse import rules_of
from jobs.policy.variants import DefaultRules, Variant
from models.arrays import Rows
from models.assembly.assembly import Candidates, Owners
from models.assembly.rulebook import Attributes
from models.contract import FloatMatrix
from models.popularity import ProductPopularity
from models.search.search import exact_top_n
from models.vocabulary import Vocabulary
from tests.benchmarks.common.retrieval_shop import RetrievalShop, make_shop

PLACES, DEPTH = 24, 96
BRANDS, CATEGORIES, DEPARTMENTS = 900, 40, 3
NIGHT = date(2026, 4, 6)
POLICY = [
    *({"rule_id": f"out-{n}", "kind": "exclude", "attribute": "brand", "value": f"b{n:03}"} for n in range(5)),
    *({"rule_id": f"up-{n}", "kind": "boost", "attribute": "brand", "value": f"b{n + 10:03}", "amount": 5.0}
      for n in range(5)),
    {"rule_id": "down", "kind": "bury", "attribute": "category", "value": "c07", "amount": 8.0},
    {"rule_id": "launch", "kind": "include", "touch_point": "you_might_also_like", "attribute": "product_id",
     "value": "p000042", "amount": 6.0},
]  # fmt: skip
Seconds = dict[str, float]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("products", 50_000), ("markets", 200), ("customers", 100_000), ("dimensions", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    shop = make_shop(given.products, given.markets, given.customers, given.dimensions)
    builder, variant = make_builder(shop), Variant()
    warm_up(builder, variant)
    result: dict[str, Any] = {"settings": {key: value for key, value in vars(given).items() if key != "json"}}
    result["you_might_also_like"] = product_lists(builder, variant, ALTERNATIVES, shop.unit(), shop)
    result["people_also_bought"] = product_lists(builder, variant, GOES_WITH, shop.unit()[:, ::-1].copy(), shop)
    result["recommended_for_you"] = customer_lists(builder, variant, shop)
    result["peak memory MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print_result(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def make_builder(shop: RetrievalShop) -> ListBuilder:
    """The step's own builder of lists, over a made-up catalogue."""
    random, count = np.random.default_rng(5), len(shop.vectors)

    def names(letter: str, many: int, width: int) -> Vocabulary:
        return Vocabulary(pa.array([f"{letter}{n:0{width}}" for n in range(many)]))

    # As with trained vectors, what is near is mostly of one category, and a category mostly of one department.
    directions = random.standard_normal((shop.vectors.shape[1] - 1, CATEGORIES)).astype(np.float32)
    category = (shop.unit() @ directions).argmax(axis=1)
    department = np.where(random.random(count) < 0.1, random.integers(0, DEPARTMENTS, count), category % DEPARTMENTS)
    attributes = Attributes(
        random.integers(0, BRANDS, count), category, department, np.exp(random.normal(3, 1, count)).astype(np.float32),
        random.random(count) < 0.02,
    )  # fmt: skip
    wanted = random.pareto(1.2, (len(shop.available), count)).astype(np.float32).round()
    popular = ProductPopularity(wanted, wanted.sum(axis=0))
    assortment = Assortment(
        names("p", count, 6), names("m", len(shop.available), 3), shop.available, attributes, names("b", BRANDS, 3),
        names("c", CATEGORIES, 2), names("d", DEPARTMENTS, 1), popular, popular, NIGHT,
    )  # fmt: skip
    return ListBuilder(assortment, policy_on(rules_of(POLICY), NIGHT), PLACES)


def warm_up(builder: ListBuilder, variant: Variant) -> None:
    """Load what is compiled."""
    few = np.arange(4)
    keys = {"product_id": builder.assortment.products.decode(few)}
    builder.batch(ListGroup(ALTERNATIVES, 0, variant), keys, Candidates.empty(4), Owners.of_products(few), "m")
    exact_top_n(np.ones((2, 4), np.float32), np.ones((5, 4), np.float32), 2)
    builder.counts.clear()


def product_lists(
    builder: ListBuilder, variant: Variant, point: TouchPoint, vectors: FloatMatrix, shop: RetrievalShop
) -> Seconds:
    """One search over all products, then every market."""
    spent: Seconds = {}
    with timed(spent, "search"):
        scores, rows = exact_top_n(vectors, vectors, min(DEPTH + 1, len(vectors)))
    found = Candidates(rows.astype(np.int32), scores, np.full(rows.shape, MODEL, np.int8))

    def lists(of: TouchPoint) -> None:
        for market, available in enumerate(shop.available):
            live = np.flatnonzero(available)
            keys = {"product_id": builder.assortment.products.decode(live)}
            builder.batch(ListGroup(of, market, variant), keys, found[live], Owners.of_products(live), "m")

    return _both_ways(spent, lists, point, builder)


def customer_lists(builder: ListBuilder, variant: Variant, shop: RetrievalShop) -> Seconds:
    """Each market's customers, searched among what it sells without what they bought."""
    spent: Seconds = {}
    found: dict[int, tuple[FloatMatrix, Rows]] = {}
    with timed(spent, "search"):
        for market, available in enumerate(shop.available):
            found[market] = exact_top_n(
                shop.customers(market), shop.vectors, 2 * PLACES, available, shop.bought(market)
            )

    def lists(of: TouchPoint) -> None:
        for market, (scores, rows) in found.items():
            ids = pa.array([f"m{market}-{n}" for n in range(len(rows))])
            candidates = Candidates(rows, scores, np.full(rows.shape, MODEL, np.int8))
            owners = Owners.of_customers(*shop.bought(market))
            builder.batch(ListGroup(of, market, variant), {"customer_id": ids}, candidates, owners, "m")

    return _both_ways(spent, lists, FOR_YOU, builder)


def _both_ways(spent: Seconds, lists: Callable[[TouchPoint], None], point: TouchPoint, builder: ListBuilder) -> Seconds:
    plain = replace(point, default_rules=DefaultRules(), own_category_first=False)
    books = builder.rulebooks
    builder.rulebooks = type(books)(policy_on([], NIGHT), books.names, builder.assortment.attributes)
    with timed(spent, "first available"):
        lists(plain)
    builder.rulebooks = books
    builder.counts.clear()
    with timed(spent, "with rules, fallbacks and re-ranking"):
        lists(point)
    spent["lists"] = sum(count.lists for count in builder.counts.values())
    spent["positions moved"] = sum(count.moved for count in builder.counts.values())
    retrieval = spent["search"] + spent["first available"]
    added = spent["with rules, fallbacks and re-ranking"] - spent["first available"]
    spent["added to retrieval"] = round(added / retrieval, 3)
    return spent


@contextmanager
def timed(spent: Seconds, name: str) -> Iterator[None]:
    """Put the seconds of a block into `spent`."""
    began = time.perf_counter()
    yield
    spent[name] = round(time.perf_counter() - began, 4)


def print_result(result: dict[str, Any]) -> None:
    """A line for each touch point."""
    print(result["settings"])
    for name in ("you_might_also_like", "people_also_bought", "recommended_for_you"):
        print(f"{name}: " + ", ".join(f"{key} {value:,}" for key, value in result[name].items()))
    print(f"peak memory {result['peak memory MiB']:,} MiB")


if __name__ == "__main__":
    main()
