"""Ranks the alternatives to a product for one customer, by the customer's history and a click on the product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import zip_longest

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching, of_night, scan
from jobs.model_inputs import HISTORY_COLUMNS, ProductVectors, categories, to_histories, with_new_products
from jobs.policy.variants import DEFAULT
from jobs.report.examples import ShownProduct, read_products
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    EVENTS,
    PRODUCT_EMBEDDINGS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.text import clean
from models.arrays import BoolMask, Rows
from models.contract import Compute, FloatMatrix, Recommender
from models.networks import artefacts
from models.popularity import in_context, same_category, with_event
from models.vocabulary import Vocabulary


@dataclass(frozen=True)
class InContext:
    """The alternatives to a product, for one customer and for everybody."""

    as_of: date
    model_id: str
    customer: str
    market: str
    product: ShownProduct
    recent: tuple[ShownProduct, ...]
    """The customer's last products before the click, newest last."""
    places: tuple[ShownProduct, ...]
    """Best first for this customer."""
    plain: tuple[ShownProduct, ...]
    """The product's own list, the same for everybody; empty where the night has none in the market."""


def alternatives_in_context(
    lake: Lake,
    as_of: date,
    customer: str,
    product: str,
    market: str | None = None,
    variant: str = DEFAULT,
    shown: int = 12,
) -> InContext:
    """Rank the product's list and the rest of its category by the night's model, for one customer.

    The model reads the customer's history and a click on the product at the night's midnight, where histories end.
    Left out are the product itself, products that the market does not sell, that the customer bought before the night,
    or that have no vector. `market` is by default the customer's own.

    Raises UserError for a night without vectors, a customer without history, a product without a vector, and a market
    that sells nothing.
    """
    history = _history(lake, as_of, customer)
    market = market or str(history["market"][0])
    vectors = ProductVectors.read(lake, as_of)
    vocabulary = vectors.ids
    if product not in vocabulary.ids.to_pylist():
        raise UserError(
            f"product {product!r} has no vector on {as_of}; it is not in that night's catalogue, or the model that "
            "serves reads ids alone and has not seen it yet"
        )
    plain = _own_list(lake, as_of, product, market, variant)
    candidates = _candidates(lake, as_of, vocabulary, product, market, plain, _bought(lake, as_of, customer))
    midnight = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    state = _state(_model(lake, as_of, vectors.model_id), history, product, midnight)
    order = vocabulary.decode(in_context(state[0], vectors.vectors, candidates)[:shown]).to_pylist()
    recent = history["product_ids"][0].as_py()[-5:]
    named = read_products(lake, as_of, [product, *recent, *order, *plain[:shown]])
    return InContext(
        as_of,
        vectors.model_id,
        customer,
        market,
        named[product],
        *(tuple(named[each] for each in ids) for ids in (recent, order, plain[:shown])),
    )


def print_in_context(found: InContext, console: Console) -> None:
    """Print both lists beside each other, with the place of the customer's products in the list for everybody."""
    recent = ", ".join(product.name for product in found.recent)
    console.print(Text.assemble((found.product.name, "bold"), f"  {found.product.product_id}"))
    for line in (
        f"customer {clean(found.customer)}, market {clean(found.market)}, last products: {recent}",
        f"night {found.as_of}, model {clean(found.model_id)}",
    ):
        console.print(Text(line, style="dim"))
    grid = Grid(box=None, padding=(0, 1))
    for heading in ("", "for this customer", "category", "place for everybody", "for everybody", "category"):
        grid.add_column(heading, justify="right" if heading in ("", "place for everybody") else "left")
    places = {product.product_id: str(place) for place, product in enumerate(found.plain, start=1)}
    for place, (own, plain) in enumerate(zip_longest(found.places, found.plain), start=1):
        mine = (own.name, own.category, places.get(own.product_id, "-")) if own else ("", "", "")
        theirs = (plain.name, plain.category) if plain else ("", "")
        grid.add_row(*(Text(text) for text in (str(place), *mine, *theirs)))
    console.print(grid)


def _history(lake: Lake, as_of: date, customer: str) -> pa.Table:
    """The customer's one row of the night's sequences."""
    where = of_night(as_of) & (pc.field("customer_id") == customer)
    batches = list(scan(lake, CUSTOMER_SEQUENCES, HISTORY_COLUMNS, where))
    if batches:
        return pa.Table.from_batches(batches)
    nights = lake.nights(PRODUCT_EMBEDDINGS)
    if as_of not in nights:
        raise UserError(f"{as_of} has no vectors; nights that have some: {', '.join(map(str, nights)) or 'none'}")
    raise UserError(f"customer {customer!r} is unknown on {as_of}; the night knows customers with an event before it")


def _own_list(lake: Lake, as_of: date, product: str, market: str, variant: str) -> list[str]:
    where = of_night(as_of) & (pc.field("product_id") == product) & (pc.field("market") == market)
    rows = matching(lake, YOU_MIGHT_ALSO_LIKE, ("product_ids",), where & (pc.field("variant") == variant))
    return list(rows[0]["product_ids"]) if rows else []


def _candidates(
    lake: Lake, as_of: date, vocabulary: Vocabulary, product: str, market: str, plain: Sequence[str], bought: pa.Array
) -> Rows:
    """Rows of `vocabulary`: the product's list, then the other products of its category that the market sells."""
    names = categories(lake, as_of, vocabulary)
    number = {name: place for place, name in enumerate(dict.fromkeys(name for name in names if name))}
    kinds = np.array([number.get(name, -1) for name in names], dtype=np.int64)
    own = int(vocabulary.encode([product])[0])
    allowed = same_category(kinds, own) & _on_sale(lake, as_of, vocabulary, market)
    listed = vocabulary.encode(list(plain), missing="negative").astype(np.int64)
    listed = listed[listed >= 0]
    allowed[listed] = False
    rows = np.concatenate((listed, np.flatnonzero(allowed)))
    return rows[~np.isin(rows, [own, *vocabulary.encode(bought, missing="negative")])]


def _on_sale(lake: Lake, as_of: date, vocabulary: Vocabulary, market: str) -> BoolMask:
    """[P], whether the market sells each product on the night."""
    where = of_night(as_of) & (pc.field("market") == market) & pc.field("available")
    sold = {row["product_id"] for row in matching(lake, AVAILABILITY, ("product_id",), where)}
    if not sold:
        raise UserError(f"nothing is for sale in market {market!r} on {as_of}; give --market with another one")
    later = of_night(as_of) & (pc.field("launched_at") >= pa.scalar(as_of))
    sold -= {row["product_id"] for row in matching(lake, CATALOGUE, ("product_id",), later)}
    return np.asarray(pc.is_in(vocabulary.ids, value_set=pa.array(sorted(sold), pa.string())), dtype=bool)


def _bought(lake: Lake, as_of: date, customer: str) -> pa.Array:
    where = (pc.field("customer_id") == customer) & (pc.field("event_type") == "purchase")
    found = scan(lake, EVENTS, ("product_id",), Wanted(where=where & (pc.field("event_date") < pa.scalar(as_of))))
    return pa.array([product for batch in found for product in batch["product_id"].to_pylist()], pa.string())


def _model(lake: Lake, as_of: date, model_id: str) -> Recommender:
    """The model of the night's vectors, with the products that were not in its training."""
    try:
        model, _ = artefacts.read(lake.root / storage.MODELS / model_id, Compute())
    except artefacts.ArtefactError as error:
        raise UserError(str(error)) from None
    return with_new_products(lake, as_of, model)


def _state(model: Recommender, history: pa.Table, product: str, at: datetime) -> FloatMatrix:
    """[1, d + 1], the model's state after the history and a click on the product."""
    sequences = to_histories(history, model.vocabulary).sequences
    clicked = int(model.vocabulary.encode([product])[0])
    return model.encode(with_event(sequences, clicked, "click", int(at.timestamp())))
