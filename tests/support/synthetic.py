"""A store whose every row spells its night, so that an answer made of two nights is seen by its content.

Night n: every score is between n and n + 1, every text that can hold it is `n<n>`, a customer's vector times a
product's is n * n and a bit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.online.encode import encode_records
from feature_repo.online.layout import row_key
from feature_repo.online.store import writer
from feature_repo.served import ONLINE, stored_view
from jobs.tables.table import Table

START = datetime(2026, 1, 1, tzinfo=UTC)
ARROW = {"text": pa.string(), "word": pa.string(), "double": pa.float64(), "floats": pa.list_(pa.float32()),
         "words": pa.list_(pa.string()), "seconds": pa.list_(pa.int64())}  # fmt: skip
BATCH = 2_000


@dataclass(frozen=True)
class Shape:
    """How large the shop is."""

    products: int = 200
    customers: int = 100
    markets: int = 2
    categories: int = 3
    places: int = 24
    ranked: int = 100
    """Places of a market's order."""
    bought: int = 0
    """Products of a customer's history that they bought."""
    width: int = 65
    """Numbers of a vector."""

    @property
    def product_ids(self) -> list[str]:
        return [f"P{n:06d}" for n in range(self.products)]

    @property
    def customer_ids(self) -> list[str]:
        return [f"C{n:08d}" for n in range(self.customers)]

    @property
    def market_names(self) -> list[str]:
        return [f"M{n}" for n in range(self.markets)]


def scores_of(night: int, places: int) -> Any:
    """Scores of a list of a night, best first."""
    return (night + 1 - (1 + np.arange(places)) / (places + 1)).astype(np.float32)


def rows_of(table: Table, shape: Shape, night: int) -> Iterator[dict[str, Any]]:
    """The rows of a table."""
    text, random = f"n{night}", np.random.default_rng(night)
    products = np.array(shape.product_ids)
    markets, categories = shape.market_names, ["*", *(f"K{n}" for n in range(shape.categories))]

    def listed(places: int) -> dict[str, Any]:
        # All lists of a bag have the same products: the mean of two scores is then that of one.
        start = 7 * night if table.name == "bag_extras" else random.integers(len(products))
        chosen = products[(start + np.arange(min(places, len(products)))) % len(products)]
        scores = scores_of(night, len(chosen))
        return {"product_ids": chosen.tolist(), "scores": scores.tolist(), "sources": [text] * len(chosen),
                "categories": [f"K{n % 40}" for n in range(len(chosen))]}  # fmt: skip

    def vector(last: float) -> dict[str, Any]:
        numbers = np.zeros(shape.width, np.float32)
        numbers[0], numbers[-1] = night, last
        return {"vector": numbers, "numbers": numbers, "model_id": text}

    if table.key == ("product_id", "market", "variant"):
        for product in shape.product_ids:
            for market in markets:
                yield {"product_id": product, "market": market, "variant": "default", **listed(shape.places)}
    elif table.name == "outfits":
        for product in shape.product_ids:
            shown = [f"{look}:{market}" for look in (1, 2) for market in markets]
            beside = {"looks": ["1", "1", "2", "2"], "roles": ["top", "shoes"] * 2, "shown_in": shown}
            yield {"product_id": product, "variant": "default", **listed(4), **beside}
    elif table.key == ("market", "category", "variant"):
        for market in markets:
            for category in categories:
                yield {"market": market, "category": category, "variant": "default", **listed(shape.ranked)}
    elif table.name == "catalogue":
        for product in shape.product_ids:
            yield {"product_id": product, "price": 10.0, "category": f"own {product}", **dict.fromkeys(
                ("name", "brand", "department", "colour", "currency", "image_url"), text)}  # fmt: skip
    elif table.name == "product_embeddings":
        for place, product in enumerate(shape.product_ids):
            yield {"product_id": product, **vector(place / (2 * len(products)))}
    elif table.name == "networks":
        about = {"kind": "closed_form", "settings": {"max_length": 9, "memory_days": 1.0}, "tensors": [], "parts": 2,
                 "width": shape.width}  # fmt: skip
        vectors = [vector(place / (2 * len(products)))["numbers"] for place in range(len(products))]
        none: dict[str, Any] = {
            "product_ids": [],
            "brands": [],
            "categories": [],
            "numbers": [],
            "model_id": text,
            "settings": "",
        }
        yield none | {"part": "network", "settings": json.dumps(about)}
        for part, some in enumerate(np.array_split(np.arange(len(products)), 2)):
            numbers = np.concatenate([vectors[place] for place in some])
            own = {
                "product_ids": products[some].tolist(),
                "brands": [text] * len(some),
                "categories": [""] * len(some),
                "numbers": numbers,
            }
            yield none | {"part": f"{part:05d}"} | own
    elif table.name == "assortments":
        for market in markets:
            bits = base64.b64encode(np.packbits(np.ones(len(products), bool)).tobytes()).decode()
            yield {
                "market": market,
                "products": bits,
                "settings": json.dumps({"places": shape.places, "brand_cap": 0, "category_cap": 0}),
            }
    elif table.name == "affinities":
        for customer in shape.customer_ids:
            words = {name: [text] for name in ("brands", "categories", "colours")}
            lifts = {name: np.ones(1, np.float32) for name in ("brand_lifts", "category_lifts", "colour_lifts")}
            yield {"customer_id": customer, "price_level": 0.5, **words, **lifts}
    else:
        for place, customer in enumerate(shape.customer_ids):
            row = listed(shape.places)
            market = markets[place % len(markets)]
            row |= {"customer_id": customer, "market": text if table.name == "customer_sequences" else market}
            row |= {"event_types": row["sources"], "event_timestamps": [night] * len(row["sources"]), **vector(1.0)}
            row |= {"bought": row["product_ids"][: shape.bought]}
            yield row


def publish(backend: Any, shape: Shape, night: int, keep: int = 7) -> int:
    """Write a whole night and show it; returns its publication's number."""
    at = START + timedelta(days=night)
    with writer(backend, keep) as store:
        views = store.views({table.name: stored_view(table) for table in ONLINE})
        load = store.begin(at.date().isoformat(), f"night {night}", at)
        for table in ONLINE:
            view, some = views[table.name], []
            fresh = not store.filled(view)
            for row in (*rows_of(table, shape, night), None):
                if row is not None:
                    some.append(row)
                if some and (row is None or len(some) == BATCH):
                    columns = [pa.array([r[f.name] for r in some], ARROW[f.type]) for f in view.features]
                    keys = [row_key(backend.prefix, view, tuple(r[name] for name in view.key)) for r in some]
                    head = store.record_head(load, view)
                    records = encode_records(head, view.features, columns, store.words.code)
                    store.write(load, keys, records, fresh)
                    store.renew()
                    some = []
        return int(store.publish(load).seq)


def roll_back(backend: Any, seq: int, at: datetime) -> None:
    """Show an earlier publication again."""
    with writer(backend) as store:
        store.roll_back(seq, at)


def nights_in(answer: Any) -> set[int]:
    """Every night that an answer's content spells and its label names; 0 stands for vectors of two nights."""
    found = {int((datetime.fromisoformat(answer.shown.night) - START.replace(tzinfo=None)).days)}
    for name in ("you_might_also_like", "people_also_bought", "list"):
        if (shown := getattr(answer, name, None)) is not None:
            if shown.scores and not shown.sources:
                found |= _nights_of_bag(shown.scores, found)
                continue
            found |= {int(score) for score in shown.scores} | {int(source[1:]) for source in shown.sources}
    found |= {int(source[1:]) for one in getattr(answer, "lists", ()) for source in one.sources}
    for look in getattr(answer, "looks", ()):
        found |= {int(score) for score in look.scores} | {int(source[1:]) for source in look.sources}
    ranked = {(place.source == "model", int(place.score)) for place in getattr(answer, "places", ()) if place.score}
    for by_model, score in ranked:
        root = score**0.5
        found.add(score if not by_model else int(root) if root.is_integer() else 0)
    if hasattr(answer, "event_types") and answer.known:
        found |= {int(word[1:]) for word in (answer.market, *answer.event_types)} | set(answer.event_seconds)
    if hasattr(answer, "brand") and answer.known:
        found |= {int(word[1:]) for word in (answer.name, answer.brand, answer.colour)}
    return found


def _nights_of_bag(scores: tuple[float, ...], labelled: set[int]) -> set[int]:
    """The night of combined scores: a list's own, or half of them where only one product of the bag had a list."""
    (night,) = labelled
    own = scores_of(night, Shape().places).tolist()
    for part in (1.0, 0.5):
        if all(min(abs(score - part * one) for one in own) < 1e-4 for score in scores):
            return {night}
    return {0}
