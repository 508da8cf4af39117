"""Whether an audience turns to what it was chosen for: the customers' events in the seven days after the night.

    python -m tests.benchmarks.audience --root LAKE [--size 200] [--asked 40] [--skip 40]

LAKE has a night of the sample shop, which follows its last day, with vectors and affinities. The days after it are
written anew. For the brands, categories and products that most customers turned to in these days, an audience of the
night is compared with others of the same size: the customers with most events of them before, those whose vectors alone
are nearest, and customers by chance. The figure is the share of an audience that did anything with them, the mean over
what was asked. The weights of the score were chosen on the first 40 of each kind; `--skip 40` asks for others.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jobs.ask.audience import AudienceQuestion, audience
from jobs.lake.lake import Lake
from jobs.model_inputs import ProductVectors, matrix
from jobs.sample_shop import SIZES, write_days
from jobs.tables.shop import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES

SIZE = SIZES["sample"]
DAYS = 7
ATTRIBUTES = ("brand", "category", "product_id")
Touched = dict[str, list[str]]
"""Customer -> the products of their events."""


def later_events() -> Iterator[tuple[str, str]]:
    """(customer, product) of each event of the days after the night."""
    with tempfile.TemporaryDirectory() as folder:
        write_days(Path(folder), SIZE, range(SIZE.days, SIZE.days + DAYS), lambda *_: None)
        for file in sorted(Path(folder, "events").iterdir()):
            with gzip.open(file, "rt", encoding="utf-8", errors="replace", newline="") as lines:
                for row in csv.DictReader(lines):
                    yield str(row["customer_id"]), str(row["product_id"])


def with_each(events: Iterator[tuple[str, str]], of: dict[str, str | None]) -> dict[str, Counter[str]]:
    """Value -> customers with their events of its products."""
    found: dict[str, Counter[str]] = {}
    for customer, product in events:
        if (value := of.get(product)) is not None:
            found.setdefault(value, Counter())[customer] += 1
    return found


def by_vectors(lake: Lake, of: dict[str, str | None], value: str, size: int) -> list[str]:
    """The customers nearest to the mean vector of a value's products."""
    products, rows = ProductVectors.read(lake, SIZE.as_of), lake.arrow(CUSTOMER_EMBEDDINGS, as_of=SIZE.as_of)
    mine = np.array([of.get(product) == value for product in products.ids.ids.to_pylist()])
    scores = matrix(rows["vector"]) @ products.vectors[mine].mean(axis=0)
    return [rows["customer_id"][int(at)].as_py() for at in np.argsort(-scores, kind="stable")[:size]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--asked", type=int, default=40)
    parser.add_argument("--skip", type=int, default=0)
    given = parser.parse_args()
    lake, size = Lake(given.root), given.size
    catalogue, later = lake.arrow(CATALOGUE, as_of=SIZE.as_of).to_pylist(), list(later_events())
    histories = lake.arrow(CUSTOMER_SEQUENCES, ("customer_id", "product_ids"), SIZE.as_of).to_pylist()
    known = [row["customer_id"] for row in histories]
    print(f"{len(known):,} customers, audiences of {size}, {len(later):,} events in {DAYS} days after {SIZE.as_of}")
    for attribute in ATTRIBUTES:
        of = {row["product_id"]: row[attribute] for row in catalogue}
        turned = with_each(iter(later), of)
        before = with_each(((row["customer_id"], p) for row in histories for p in row["product_ids"]), of)
        asked = sorted(turned, key=lambda value: (-len(turned[value].keys() & set(known)), value))
        asked = asked[given.skip : given.skip + given.asked]
        random = np.random.default_rng(7)
        figures: dict[str, list[float]] = {}
        for value in asked:
            found = audience(lake, SIZE.as_of, AudienceQuestion(attribute, value, size))
            compared = {
                "the audience": found["customer_id"].to_pylist(),
                "most events before": [name for name, _ in before.get(value, Counter()).most_common(size)],
                "vectors alone": by_vectors(lake, of, value, size),
                "by chance": random.choice(known, size, replace=False).tolist(),
            }
            for name, customers in compared.items():
                figures.setdefault(name, []).append(len(turned[value].keys() & set(customers)) / size)
        said = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in figures.items())
        print(f"{attribute:12} ({len(asked)} asked): {said}")


if __name__ == "__main__":
    main()
