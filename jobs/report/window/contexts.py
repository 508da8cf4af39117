"""Chooses products that two customers met, and ranks the alternatives for each, for the shop window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.reading import of_night, scan
from jobs.report.model.contexts import Meeting, alternatives, widest
from jobs.report.model.page import Champion
from jobs.report.model.sample import ModelSample
from jobs.report.recent import Recent
from jobs.report.window.choice import ContextPair, ContextSide
from jobs.tables.shop import AVAILABILITY
from models.popularity import in_context

MARKETS, PAIRS = 3, 4
"""Markets, those with the most customers, and pairs of each."""
LOOKED_AT = 40
"""Products with the most meetings that the pairs of a market are chosen from."""
SHOWN = 6
"""Products of each side."""


def context_pairs(lake: Lake, as_of: date, served: Champion, recent: Recent | None = None) -> list[ContextPair]:
    """The pairs whose contexts differ most, in the markets where most of the model's sample customers live.

    A side's list ranks the products of the product's category that its market sells. Empty where there is no model.
    """
    if served.sample is None:
        return []
    sample = served.sample
    rows = (recent or Recent(lake, as_of)).histories(sample.customers, ("market",))
    homes = {customer: row["market"] for customer, row in rows.items() if row["market"]}
    pairs = []
    busiest = sorted(Counter(homes.values()).items(), key=lambda item: (-item[1], item[0]))[:MARKETS]
    sold = _sold(lake, as_of, [market for market, _ in busiest])
    for market, _ in busiest:
        local = _in_market(sample, homes, market, sold[market])
        pairs += [_pair(local, found, market, served.model_id) for found in widest(local, 2, PAIRS, LOOKED_AT)]
    return pairs


def _pair(sample: ModelSample, found: Meeting, market: str, model_id: str) -> ContextPair:
    ids = sample.model.vocabulary.ids
    among = np.flatnonzero(alternatives(sample, found.product) & sample.on_sale)
    sides = []
    for row, state in zip(found.rows.tolist(), found.states, strict=True):
        best = in_context(state, sample.vectors, among)[:SHOWN]
        scores = sample.vectors[best] @ state
        listed = tuple((ids[int(p)].as_py(), float(s)) for p, s in zip(best, scores, strict=True))
        sides.append(ContextSide(sample.customers[row], listed))
    return ContextPair(ids[found.product].as_py(), market, (sides[0], sides[1]), model_id)


def _sold(lake: Lake, as_of: date, markets: Sequence[str]) -> dict[str, set[str]]:
    """Market -> the products that can be bought there, read in one pass."""
    sold: dict[str, set[str]] = {market: set() for market in markets}
    where = of_night(as_of) & pc.field("market").isin(pa.array(markets, pa.string())) & pc.field("available")
    for batch in scan(lake, AVAILABILITY, ("market", "product_id"), where):
        for market in markets:
            sold[market].update(batch.filter(pc.equal(batch["market"], market))["product_id"].to_pylist())
    return sold


def _in_market(sample: ModelSample, homes: Mapping[str, str], market: str, sold: set[str]) -> ModelSample:
    """The customers of one market, and what it sells."""
    rows = np.array([n for n, customer in enumerate(sample.customers) if homes.get(customer) == market], dtype=np.int64)
    here = np.array([product in sold for product in sample.model.vocabulary.ids.to_pylist()], dtype=bool)
    return replace(
        sample,
        customers=tuple(sample.customers[n] for n in rows.tolist()),
        sequences=sample.sequences.take(rows),
        on_sale=sample.on_sale & here,
    )
