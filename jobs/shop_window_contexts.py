"""Products in two customers' contexts for the shop window: chosen and ranked by the night's model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.model_report import Champion
from jobs.model_report_contexts import Meeting, alternatives, widest
from jobs.model_report_shop import Shop
from jobs.reading import matching, of_night
from jobs.shop_window_config import ContextPair, ContextSide
from jobs.tables import AVAILABILITY, CUSTOMER_SEQUENCES

MARKETS, PAIRS = 3, 4
"""Markets with the most customers looked at, and pairs of each."""
LOOKED_AT = 40
"""Most met products that the pairs of a market are chosen among."""
SHOWN = 6
"""Products of each side."""


def context_pairs(lake: Lake, as_of: date, served: Champion) -> list[ContextPair]:
    """The pairs whose contexts differ most, in the markets that most of the customers looked at live in.

    A side's list ranks the products of the product's category that its market sells. Empty where there is no model.
    """
    if served.shop is None:
        return []
    shop = served.shop
    homes = _homes(lake, as_of, shop)
    pairs = []
    for market, _ in sorted(Counter(homes.values()).items(), key=lambda item: (-item[1], item[0]))[:MARKETS]:
        local = _in_market(lake, as_of, shop, homes, market)
        pairs += [_pair(local, found, market, served.model_id) for found in widest(local, 2, PAIRS, LOOKED_AT)]
    return pairs


def _pair(shop: Shop, found: Meeting, market: str, model_id: str) -> ContextPair:
    ids = shop.model.vocabulary.ids
    allowed = alternatives(shop, found.product)
    sides = []
    for row, state in zip(found.rows.tolist(), found.states, strict=True):
        best = shop.first(state, allowed, SHOWN)
        scores = shop.vectors[best] @ state
        listed = tuple((ids[int(p)].as_py(), float(s)) for p, s in zip(best, scores, strict=True))
        sides.append(ContextSide(shop.customers[row], listed))
    return ContextPair(ids[found.product].as_py(), market, (sides[0], sides[1]), model_id)


def _homes(lake: Lake, as_of: date, shop: Shop) -> dict[str, str]:
    where = of_night(as_of) & pc.field("customer_id").isin(pa.array(list(shop.customers), pa.string()))
    rows = matching(lake, CUSTOMER_SEQUENCES, ("customer_id", "market"), where)
    return {row["customer_id"]: row["market"] for row in rows if row["market"]}


def _in_market(lake: Lake, as_of: date, shop: Shop, homes: Mapping[str, str], market: str) -> Shop:
    """The shop with the customers of one market and what it sells."""
    rows = np.array([n for n, customer in enumerate(shop.customers) if homes.get(customer) == market], dtype=np.int64)
    where = of_night(as_of) & (pc.field("market") == market) & pc.field("available")
    sold = {row["product_id"] for row in matching(lake, AVAILABILITY, ("product_id",), where)}
    here = np.array([product in sold for product in shop.model.vocabulary.ids.to_pylist()], dtype=bool)
    return replace(
        shop, customers=tuple(shop.customers[n] for n in rows.tolist()), sequences=shop.sequences.take(rows),
        on_sale=shop.on_sale & here,
    )  # fmt: skip
