"""A small random shop whose nights are written table by table, without a model: for laws of customers' lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.lists.assortment import read_assortment
from jobs.lists.builder import ListBuilder
from jobs.lists.config import ListsConfig
from jobs.lists.customer_lists import Ranker, stage_customer_lists
from jobs.model_inputs import ProductVectors, vectors_column
from jobs.policy.compile import read_policy
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    POLICY,
    PRODUCT_EMBEDDINGS,
)
from tests.support.toy_shop import event, history, run_of

FIRST = date(2026, 3, 2)
WIDTH = 6
MARKETS = ("DE", "GB", "IS")
SIZES = ("L", "M", "S", "XL", "XS")
BRANDS, CATEGORIES = ("Ash", "Birch", "Cedar", None), ("bags", "socks", "tops")


@dataclass
class SmallShop:
    """What is true of the shop; change it, then write a night."""

    lake: Lake
    rng: np.random.Generator
    customers: int = 60
    catalogue: dict[str, dict[str, Any]] = field(default_factory=dict)
    sold: set[tuple[str, str]] = field(default_factory=set)
    vectors: dict[str, Any] = field(default_factory=dict)
    cold: set[str] = field(default_factory=set)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """Customers whose rows are not written yet."""
    sizes: dict[tuple[str, str], tuple[list[str], list[str]]] = field(default_factory=dict)
    """(product, market) -> sizes in stock and all sizes made; of a product without an entry they are not known."""

    @staticmethod
    def new(lake: Lake, seed: int, products: int = 200, customers: int = 80) -> SmallShop:
        """A shop of two large markets, in which most products are sold, and a very small one."""
        shop = SmallShop(lake, np.random.default_rng(seed), customers)
        for _ in range(products):
            shop.launch(FIRST - timedelta(days=int(shop.rng.integers(5, 40))))
        for number in range(customers):
            shop.touch(f"C{number:03}", FIRST)
        for number in range(30):
            product = shop.any_product()
            shop._event(f"E{number:03}", product, str(shop.rng.choice(MARKETS)), FIRST - timedelta(days=3))
        return shop

    def any_product(self) -> str:
        """One of the catalogue."""
        return str(self.rng.choice(sorted(self.catalogue)))

    def launch(self, on: date) -> str:
        """A new product."""
        product = f"P{len(self.vectors):03}"
        pick = self.rng.integers
        self.catalogue[product] = {
            "product_id": product, "brand": BRANDS[pick(4)], "category": CATEGORIES[pick(3)], "department": "women",
            "price": float(pick(1, 9)), "launched_at": on,
        }  # fmt: skip
        self.sold |= {(product, market) for market, share in zip(MARKETS, (9, 8, 1), strict=True) if pick(10) < share}
        self.new_vector(product)
        return product

    def new_vector(self, product: str) -> None:
        """The product is read otherwise from now on."""
        self.vectors[product] = np.append(self.rng.normal(size=WIDTH), 0.1).astype(np.float32)
        self.cold.add(product)

    def touch(self, customer: str, as_of: date) -> None:
        """The customer did something on the day before the night."""
        then = datetime(as_of.year, as_of.month, as_of.day).astimezone() - timedelta(hours=5)
        person = self.people.setdefault(customer, {"bought": {}})
        products = [self.any_product() for _ in range(3)]
        person["bought"] |= {products[0]: then} if self.rng.random() < 0.7 else {}
        person["market"] = str(self.rng.choice(MARKETS, p=(0.5, 0.47, 0.03)))
        person["products"], person["at"] = products, then
        known = self.rng.random() < 0.97
        person["vector"] = np.append(self.rng.normal(size=WIDTH) * known, 1).astype(np.float32)
        self.touched.add(customer)

    def rules(self, rows: list[dict[str, Any]]) -> None:
        """The policy from now on."""
        whole = pa.Table.from_pylist(
            [{name: row.get(name) for name in POLICY.names} | {"as_of": FIRST, "run_id": "test"} for row in rows],
            schema=self.lake.arrow(POLICY).schema,
        )
        self.lake.overwrite(POLICY, whole)

    def write(self, as_of: date, since: date | None = None) -> None:
        """Write the night; with `since` the touched customers alone."""
        run = run_of(as_of)
        self.lake.replace_rows(CATALOGUE, list(self.catalogue.values()), run)
        there = [
            {"product_id": p, "market": m, "available": True}
            | dict(zip(("sizes", "sizes_made"), self.sizes.get((p, m), (None, None)), strict=True))
            for p, m in sorted(self.sold)
        ]
        self.lake.replace_rows(AVAILABILITY, there, run)
        ids = sorted(set(self.catalogue) & set(self.vectors))
        products = {
            "product_id": pa.array(ids), "vector": vectors_column(np.stack([self.vectors[p] for p in ids])),
            "model_id": pa.repeat("model", len(ids)), "cold": pa.array([p in self.cold for p in ids]),
        }  # fmt: skip
        self.lake.replace(PRODUCT_EMBEDDINGS, pa.table(products), run)
        who = sorted(self.people if since is None else self.touched)
        people = [self.people[customer] for customer in who]
        sequences = [
            history(customer, person["products"], person["at"], person["market"])
            | {"event_ids": ["e"] * 3, "bought": sorted(person["bought"]),
               "bought_at": [at for _, at in sorted(person["bought"].items())],
               "bought_sizes": self._sizes_of(person)}
            for customer, person in zip(who, people, strict=True)
        ]  # fmt: skip
        own = [name for name in CUSTOMER_SEQUENCES.names if name not in ("as_of", "run_id", "since")]
        schema = pa.schema([self.lake.arrow(CUSTOMER_SEQUENCES).schema.field(name) for name in own])
        self.lake.replace(CUSTOMER_SEQUENCES, pa.Table.from_pylist(sequences, schema), run, since=since)
        vectors = vectors_column(np.stack([person["vector"] for person in people]))
        columns = {"customer_id": pa.array(who), "vector": vectors, "model_id": pa.repeat("model", len(who))}
        self.lake.replace(CUSTOMER_EMBEDDINGS, pa.table(columns), run, since=since)
        self.touched = set()

    def stock(self, product: str, market: str, rng: np.random.Generator) -> None:
        """From now on the market has some of a product's sizes, or its sizes are not known."""
        made = sorted(rng.choice(SIZES, rng.integers(1, 5), replace=False).tolist())
        held = [size for size in made if rng.random() < 0.6]
        self.sizes.pop((product, market), None)
        if rng.random() < 0.9:
            self.sizes[product, market] = held, made

    def _sizes_of(self, person: dict[str, Any]) -> list[str | None] | None:
        """Sizes of what a customer bought; none in a shop without sizes."""
        if not self.sizes or not person["bought"]:
            return None
        sizes = person.setdefault("sizes", {})
        return [sizes.get(product) for product in sorted(person["bought"])]

    def lists(self, as_of: date, config: ListsConfig) -> int:
        """Stage the customers' lists of a written night; returns the rows written."""
        return self.stage(self.builder(as_of, config), as_of, config)

    def builder(self, as_of: date, config: ListsConfig) -> ListBuilder:
        """That of a written night."""
        assortment = read_assortment(self.lake, run_of(as_of), config.popular, config.young_days)
        return ListBuilder(assortment, read_policy(self.lake, as_of, config.variants), config.top_n)

    def stage(self, builder: ListBuilder, as_of: date, config: ListsConfig) -> int:
        """Stage the customers' lists with a builder; returns the rows written."""
        return stage_customer_lists(self.lake, builder, ProductVectors.read(self.lake, as_of), config, run_of(as_of))

    def ranker(self, as_of: date, config: ListsConfig) -> Ranker:
        """That of a written night."""
        return Ranker.on(self.builder(as_of, config), ProductVectors.read(self.lake, as_of), config, run_of(as_of))

    def ranked_rows(self, as_of: date) -> pa.Table:
        """What a ranker reads of everybody."""
        vectors = self.lake.arrow(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), as_of)
        homes = self.lake.arrow(CUSTOMER_SEQUENCES, ("market", "bought", "bought_at", "bought_sizes"), as_of)
        return pa.table({name: table[name] for table in (vectors, homes) for name in table.column_names})

    def _event(self, event_id: str, product_id: str, market: str, day: date) -> None:
        at = datetime(day.year, day.month, day.day).astimezone()
        row = event(event_id, product_id, customer_id="C000", market=market, event_ts=at, event_date=day)
        self.lake.replace_rows(EVENTS, [row], run_of(FIRST), where=f"event_id = '{event_id}'")
