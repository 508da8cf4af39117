"""Tells a customer's usual sizes, and why a product is not in their own list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, matching, matching_old, of_night
from jobs.lake.rows import among, arrow_schema
from jobs.lists.sizes import SIZE_COLUMNS, CategoryOf, has_sizes, read_sizes, usual_sizes
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES
from jobs.text import clean
from models.vocabulary import Vocabulary


def sizes_of_customer(lake: Lake, night: date, customer_id: str, market: str) -> dict[str, str]:
    """Category -> the customer's usual size on a night, by category; empty for a shop without sizes."""
    if not has_sizes(lake, night) or not (rows := _sequence(lake, night, customer_id)):
        return {}
    catalogue = lake.arrow(CATALOGUE, ("product_id", "category"), night)
    products, names = Vocabulary(catalogue["product_id"].combine_chunks()), Vocabulary.build(catalogue["category"])
    category = CategoryOf.named(names.encode(catalogue["category"], missing="negative").astype(np.int64), names)
    sizes = read_sizes(lake, night, products, Vocabulary([market]), category)
    assert sizes is not None
    # The list's market counts, as it did when the list was made.
    row = {name: [rows[0][name]] for name in SIZE_COLUMNS} | {"market": [market]}
    fields = [arrow_schema(CUSTOMER_SEQUENCES).field(name) for name in (*SIZE_COLUMNS, "market")]
    found = usual_sizes(pa.table(row, pa.schema(fields)), products, category, sizes.names, sizes.made)
    of = names.decode(found.categories).to_pylist()
    return dict(sorted(zip(of, sizes.names.decode(found.sizes).to_pylist(), strict=True)))


def in_words(usual: Mapping[str, str]) -> str:
    """Usual sizes as one line."""
    return ", ".join(f"{clean(category)} {clean(size)}" for category, size in usual.items())


def why_not(lake: Lake, night: date, key: StoredRow, product_id: str) -> str:
    """Why the list of a customer (`key`: customer_id and market) has no place for a product, in words."""
    market, customer = key["market"], key["customer_id"]
    wanted = of_night(night) & (pc.field("product_id") == product_id)
    sold = matching_old(lake, AVAILABILITY, ("available", "sizes"), wanted & (pc.field("market") == market))
    if not sold or not sold[0]["available"]:
        return f"{clean(market)} does not sell it that night"
    if any(product_id in (row["bought"] or ()) for row in _sequence(lake, night, customer)):
        return "the customer has bought it"
    category = next((row["category"] for row in matching(lake, CATALOGUE, ("category",), wanted)), None)
    size, sizes = sizes_of_customer(lake, night, customer, market).get(category or ""), sold[0]["sizes"]
    if size is not None and sizes is not None and size not in sizes:
        there = ", ".join(map(clean, sizes)) or "none"
        return f"their usual size in {clean(category)} is {clean(size)}, and {clean(market)} has it in {there}"
    return "others score higher, or a rule leaves it out"


def _sequence(lake: Lake, night: date, customer_id: str) -> list[StoredRow]:
    """The customer's row of customer_sequences, if there is one."""
    columns = ("customer_id", *SIZE_COLUMNS)
    batches = lake.chosen(
        CUSTOMER_SEQUENCES, columns, night, lambda keys: np.asarray(among(keys["customer_id"], [customer_id]))
    )
    return [row for batch in batches for row in batch.to_pylist()]
