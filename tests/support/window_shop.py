"""A very small shop with every kind of list in two markets and two variants, for the shop window."""

from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.lake.forgotten import SALT_BYTES, SALT_FILE, Salt
from jobs.lake.lake import Lake
from jobs.lake.storage import write_new
from jobs.report.window.choice import ContextPair, ContextSide
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.toy_shop import MIDNIGHT, clicks, event, history, listed, product, toy_lake

HOSTILE = "</script><img src=x onerror=window.hacked=1><script>window.hacked=1</script> Coat & Co"
PRODUCTS = {
    "p1": ("Plain Coat, navy", "Hedge & Sons", "coats", "navy", 100.0),
    "p2": (HOSTILE, "<b>Bold</b>", "coats", "red", 80.0),
    "p3": ("Wool Scarf, cream", "Hedge & Sons", "scarves", "cream", 30.0),
    "p4": ("Striped Socks, white", "Footing", "socks", "white", 5.0),
    "p5": ("Long Scarf, black", "Footing", "scarves", "black", 20.0),
    "p6": ("Thing without a kind", "", "", "", None),
    "p7": ("Leather Belt, brown", "Footing", "belts", "brown", 60.0),
    "p8": ("Sun Hat, sand", "Footing", "hats", "sand", 15.0),
}
MODEL = "transformer-<i>1</i>"
REASON = "Scarves first, asked for by <u>buying</u>"
EXTRAS = {
    "p1": [("p3", 0.9), ("p4", 0.5), ("p7", 0.45), ("p8", 0.2)],
    "p2": [("p5", 0.8), ("p4", 0.6), ("p8", 0.4), ("p1", 0.1)],
}
"""Product in the bag -> (product, score) of its extras."""
SALT = "5a" * SALT_BYTES
"""The lake's salt, in hex."""
WHO = {customer: Salt(bytes.fromhex(SALT)).pseudonym(customer) for customer in ("c1", "c2", "c3")}
"""Customer -> the pseudonym on the page."""
PAIR = ContextPair(
    "p1", "GB", (ContextSide("c1", (("p2", 0.9), ("p3", 0.7))), ContextSide("c2", (("p3", 0.8), ("p5", 0.1)))), MODEL
)


def window_lake(root: Path) -> Lake:
    """Eight products, the markets GB and FR, the variants default and calm, three customers."""

    def row(owner: dict[str, str], places: list[tuple[str, float]], **given: Any) -> dict[str, Any]:
        return listed(owner, places, model_id=MODEL, **given)

    others = {owner: [(p, 0.75 - 0.0625 * n) for n, p in enumerate(PRODUCTS) if p != owner] for owner in PRODUCTS}
    moved = ["scarves-first", "brand cap", "", "", "", "", ""]
    seen = {"c1": ("GB", 2), "c2": ("GB", 3), "c3": ("FR", 1)}
    types = ("click", "bag", "purchase")
    write_new(root / SALT_FILE, SALT.encode())
    return toy_lake(
        root,
        {
            CATALOGUE: [product(p, *attributes) for p, attributes in PRODUCTS.items()],
            EVENTS: [*clicks({"p1": 5, "p2": 4, "p3": 3, "p4": 1}), event("fr", "p2", market="FR")],
            YOU_MIGHT_ALSO_LIKE: [
                *(row({"product_id": p}, others[p], rules=moved) for p in PRODUCTS),
                *(row({"product_id": p, "variant": "calm"}, others[p][::-1]) for p in PRODUCTS),
                row({"product_id": "p1", "market": "FR"}, others["p1"][:2], short_reason="few are sold here"),
            ],
            PEOPLE_ALSO_BOUGHT: [
                row({"product_id": "p1"}, others["p1"][2:4], sources=["co-purchase", "market popularity"], rules=None)
            ],
            BAG_EXTRAS: [
                row({"product_id": p}, places, categories=[PRODUCTS[q][2] for q, _ in places])
                for p, places in EXTRAS.items()
            ],
            MARKET_RANKING: [
                row({"category": "*"}, [("p1", 9.0), ("p2", 8.0)]),
                row({"category": "scarves"}, [("p5", 3.0), ("p3", 1.0)]),
            ],
            RECOMMENDED_FOR_YOU: [
                row({"customer_id": customer}, [("p7", 0.5), ("p2", 0.25)], variant=variant)
                for customer, variant in (("c1", "default"), ("c2", "calm"))
            ],
            CUSTOMER_SEQUENCES: [
                history(customer, ["p2", "gone", "p3"], MIDNIGHT - timedelta(hours=ago), market, types)
                for customer, (market, ago) in seen.items()
            ],
            RULE_EFFECTS: [
                {"rule_id": "scarves-first", "touch_point": "you_might_also_like", "variant": "default",
                 "positions": 1, "rule": json.dumps({"kind": "boost", "reason": REASON})}
            ],
        },
    )  # fmt: skip


def decoded(page: str) -> tuple[dict[str, Any], dict[str, dict[str, list[Any]]]]:
    """(page, lists by table) of a written page, read as its script reads them, but in Python."""
    data = {
        name: json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        for name, text in re.findall(r'<script type="application/octet-stream" id="data-(\w+)">([^<]*)</script>', page)
    }
    head = data.pop("page")
    assert head["lists"] == list(data)
    return head, data
