"""What a night costs that goes on from the one before: embed, index and lists, against the same night made anew.

    python -m tests.benchmarks.second_night --customers 1000000 --touched 0.01 --json OUT

On a made-up shop the first night is made whole. The second one's day touches some customers, launches some
products, and sells out or brings back others in each market. It is made going on from the first night, and anew in
a copy of the lake that has no first night to go on from; lists have to be equal. The same with 8 times the history:
eight times as many events of each customer, sequences of at most 100, and events eight times as old. Nights are made
alternately, several times; medians are shown.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs import embed, index
from jobs.lake import engine
from jobs.lake.lake import Lake
from jobs.lists import step as lists
from jobs.model_inputs import matrix
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, LISTS, RECOMMENDED_FOR_YOU
from tests.benchmarks.second_night.shop import FIRST, Day, SecondNightShop, Size

SECOND = FIRST + timedelta(days=1)
STEPS = ("embed", "index", "lists")
IDENTITY = ("as_of", "run_id", "since")
Seconds = dict[str, float]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("customers", 1_000_000), ("products", 5_000), ("markets", 3), ("rounds", 3), ("history", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--touched", type=float, default=0.01, help="share of the customers")
    parser.add_argument("--launched", type=int, default=5, help="new products of the second day, at most 10")
    parser.add_argument(
        "--flipped", type=float, default=0.001, help="share of the products sold out or back, by market"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    spark = engine.start("sail")
    with tempfile.TemporaryDirectory() as folder:
        shops = {
            f"{history}x": SecondNightShop(
                Lake(Path(folder) / f"{history}x", lambda: spark),
                Size(given.customers, given.products, given.markets, history),
            )
            for history in dict.fromkeys((1, given.history))
        }
        result = measure(shops, Day(given.touched, given.launched, given.flipped), given.rounds)
    spark.stop()
    result["settings"] = {name: value for name, value in vars(given).items() if name != "json"}
    result["peak memory MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(result, indent=1))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def measure(shops: dict[str, SecondNightShop], day: Day, rounds: int) -> dict[str, Any]:
    """Seconds of each step, by history and night; and whether the lists are those made anew."""
    result: dict[str, Any] = {}
    for name, shop in shops.items():
        shop.first()
        result[f"{name}, first night"] = night(shop, FIRST)
        shop.second(day, SECOND)
    found: dict[str, list[Seconds]] = {name: [] for name in shops}
    for _ in range(rounds):
        for name, shop in shops.items():
            found[name].append(night(shop, SECOND))
    for name, many in found.items():
        result[f"{name}, going on"] = {
            step: round(statistics.median(one[step] for one in many), 2) for step in (*STEPS, "total")
        }
    first = next(iter(shops))
    result[f"{first}, anew"], result["equal"] = anew(shops[first])
    result["share of the night made anew"] = round(
        result[f"{first}, going on"]["total"] / result[f"{first}, anew"]["total"], 4
    )
    last = list(shops)[-1]
    result[f"{last} against {first}"] = round(
        result[f"{last}, going on"]["total"] / result[f"{first}, going on"]["total"], 3
    )
    return result


def night(shop: SecondNightShop, as_of: date) -> Seconds:
    """Make the night's vectors, indexes and lists."""
    run, spent = shop.run(as_of), {}
    steps = {
        "embed": lambda: embed.execute(shop.lake, run, embed.EmbedConfig("cpu")),
        "index": lambda: index.execute(shop.lake, run, index.IndexConfig()),
        "lists": lambda: lists.execute(shop.lake, run, lists.ListsConfig()),
    }
    for step, make in steps.items():
        began = time.perf_counter()
        note = make().note
        spent[step] = round(time.perf_counter() - began, 2)
        print(f"{as_of} {step} {spent[step]:.2f} s: {note}", flush=True)
    return spent | {"total": round(sum(spent.values()), 2)}


def anew(shop: SecondNightShop) -> tuple[Seconds, dict[str, Any]]:
    """The second night made anew: seconds, and how it differs from the one that went on from the first."""
    lake, ours = shop.lake, rows(shop.lake)
    vectors = lake.arrow(CUSTOMER_EMBEDDINGS, ("vector",), SECOND)
    shutil.rmtree(lake.root / "lists")
    lists.execute(lake, shop.run(SECOND), lists.ListsConfig())
    same = {name: table.equals(rows(lake)[name]) for name, table in ours.items()}
    made = lake.count(RECOMMENDED_FOR_YOU, SECOND)
    for folder in ("lists", "indexes", f"tables/{CUSTOMER_EMBEDDINGS.name}", f"tables/{RECOMMENDED_FOR_YOU.name}"):
        shutil.rmtree(lake.root / folder)
    spent = night(shop, SECOND)
    other = lake.arrow(CUSTOMER_EMBEDDINGS, ("vector",), SECOND)
    apart = float(np.abs(matrix(vectors["vector"]) - matrix(other["vector"])).max())
    shown = (ours[RECOMMENDED_FOR_YOU.name]["product_ids"], rows(lake)[RECOMMENDED_FOR_YOU.name]["product_ids"])
    differing = sum(a != b for a, b in zip(*(column.to_pylist() for column in shown), strict=True))
    return spent, {
        "lists made anew from the same vectors": same,
        "customers": made,
        "greatest difference of a vector encoded anew": apart,
        "lists with another product or place after that": differing,
    }


def rows(lake: Lake) -> dict[str, pa.Table]:
    """The night's lists, without what says when they were made."""
    return {
        table.name: lake.arrow(table, [name for name in table.names if name not in IDENTITY], SECOND) for table in LISTS
    }


if __name__ == "__main__":
    main()
