"""The shop window's data as text that cannot leave its script block: JSON and arrays, compressed, in base64."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.report.examples import SIGNS
from jobs.report.window.data import ShopWindow
from jobs.report.window.drawings import SILHOUETTES, silhouette
from jobs.report.window.lists import SEPARATOR, Block, Numbering
from jobs.report.window.swatches import paint
from jobs.tables.shop import BAG_EXTRAS, MARKET_RANKING, PRODUCT_LISTS, RECOMMENDED_FOR_YOU
from jobs.text import clean

MANTISSA_KEPT = 12
"""Bits of a score's mantissa on the page, four digits; lists that are combined keep all 23."""
LAYERS = ("products", "scores", "sources", "rules", "notes")
"""The arrays of a block in their order; `scores` is float32 with its bytes in four planes, lowest bytes first."""


def packed(window: ShopWindow) -> dict[str, str]:
    """Name -> base64 of the zlib-compressed data: `page`, a JSON object, and the bytes of every block."""
    shapes: dict[str, Any] = {}
    data: dict[str, str] = {}
    for name, block in window.blocks.items():
        raw, shapes[name] = block_bytes(block, exact=name == BAG_EXTRAS.name)
        data[name] = _text(raw)
    head = json.dumps(_page(window) | {"blocks": shapes}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return {"page": _text(head.encode("utf-8", "replace"))} | data


def block_bytes(block: Block, exact: bool) -> tuple[bytes, dict[str, Any]]:
    """The block's layers one after the other, little-endian, and what is needed to read them.

    Numbers of products are one above those of the block, so that 0 is the end of a list. `widths` are the bytes of
    a number in the layers other than `scores`.
    """
    numbers = {name: _smallest(getattr(block, name)) for name in ("sources", "rules", "notes")}
    numbers["products"] = _smallest(block.products + 1)
    scores = _planes(block.scores if exact else _rounded(block.scores))
    raw = b"".join(scores.tobytes() if name == "scores" else numbers[name].tobytes() for name in LAYERS)
    rows, places = block.products.shape
    return raw, {"rows": rows, "places": places, "widths": {name: numbers[name].itemsize for name in numbers}}


def _text(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 6)).decode("ascii")


def _smallest(numbers: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    most = int(numbers.max(initial=0))
    return numbers.astype("<u1" if most < 256 else "<u2" if most < 65_536 else "<u4")


def _rounded(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scores to the nearest of so few bits that the rest, all zeros, takes no room."""
    cut = 23 - MANTISSA_KEPT
    bits = scores.astype("<f4").view("<u4").astype(np.uint64) + (1 << (cut - 1))
    return (bits >> np.uint64(cut) << np.uint64(cut)).astype("<u4").view("<f4")


def _planes(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(scores.astype("<f4").view(np.uint8).reshape(-1, 4).T)


def _page(window: ShopWindow) -> dict[str, Any]:
    names, numbers = window.names, {product: number for number, product in enumerate(window.names.products.texts)}
    return {
        "asOf": f"{window.as_of}", "run": clean(window.run_id), "shown": len(window.products),
        "places": window.config.places, "firsts": _firsts(window),
        "markets": _clean(window.markets), "variants": _clean(window.variants),
        "categories": _clean(window.categories), "signs": SIGNS,
        "silhouettes": {kind: [drawn.body, drawn.seams, drawn.straps] for kind, drawn in SILHOUETTES.items()},
        "totals": window.totals,
        "productLists": [table.name for table in PRODUCT_LISTS],
        "customerList": RECOMMENDED_FOR_YOU.name, "rankingList": MARKET_RANKING.name,
        "catalogue": _catalogue(window),
        "sources": _clean(names.sources.texts), "rules": _clean(names.rules.texts),
        "reasons": {clean(rule): reason for rule, reason in window.reasons.items()},
        "notes": [_clean(note.split(SEPARATOR)) for note in names.notes.texts],
        "customers": [
            {"id": clean(c.customer_id), "market": window.markets.index(c.market) if c.market in window.markets else -1,
             "marketName": clean(c.market), "events": [[n, clean(kind), day] for n, kind, day in c.events],
             "inAll": c.in_all}
            for c in window.customers
        ],
        "contexts": [
            {"product": numbers[pair.product], "market": clean(pair.market), "model": clean(pair.model_id), "sides": [
                {"customer": clean(side.customer_id), "list": [[numbers[p], round(score, 4)] for p, score in side.list]}
                for side in pair.sides
            ]}
            for pair in window.contexts if pair.product in numbers
        ],
    }  # fmt: skip


def _firsts(window: ShopWindow) -> list[str]:
    """By market: the most wanted product that has a list there; the first product where none has."""
    for block in (window.blocks[table.name] for table in PRODUCT_LISTS if table.name in window.blocks):
        there = block.notes.reshape(len(window.products), len(window.markets), -1).any(axis=2)
        return [clean(window.products[number]) for number in there.argmax(axis=0).tolist()]
    return []


def _catalogue(window: ShopWindow) -> dict[str, Any]:
    """Columns by product number; texts that many products share are numbers into a list of their own."""
    columns: dict[str, Any] = {"id": [], "name": [], "price": []}
    shared = {name: Numbering([""]) for name in ("brand", "category", "colour", "currency", "kind", "paint")}
    places: dict[str, list[str]] = {name: [] for name in shared}
    for detail in window.details:
        text = {name: clean(detail.get(name)) for name in ("name", "brand", "category", "colour", "currency")}
        product = clean(detail["product_id"])
        price = detail.get("price")
        columns["id"].append(product)
        columns["name"].append(text["name"] or product)
        columns["price"].append(price if price is not None and np.isfinite(price) else None)
        text |= {"kind": silhouette(text["category"], text["name"]), "paint": paint(text["colour"])}
        for name in shared:
            places[name].append(text[name])
    for name, numbering in shared.items():
        columns[name] = numbering.of_texts(places[name])
        columns[f"{name}Texts"] = numbering.texts
    return columns


def _clean(texts: Any) -> list[str]:
    return [clean(text) for text in texts]
