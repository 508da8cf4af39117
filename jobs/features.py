"""What the catalogue says of products, as the features that models read."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import Lake
from jobs.tables import CATALOGUE
from models.catalogue import Catalogue
from models.contract import Recommender
from models.vocabulary import Vocabulary

ATTRIBUTES = ("brand", "category", "department", "colour")


def read_features(lake: Lake, as_of: date, products: Vocabulary) -> Catalogue:
    """The features of `products`, row by row, as the night's catalogue has them; none for a product it lacks."""
    rows = lake.arrow(CATALOGUE, ("product_id", "name", "price", *ATTRIBUTES), as_of)
    at = pc.index_in(products.ids, value_set=rows["product_id"].combine_chunks())
    found = rows.take(at)
    attributes = {name: found[name].to_pylist() for name in ATTRIBUTES}
    return Catalogue.of(attributes, found["name"].to_pylist(), found["price"].cast(pa.float64()).to_pylist())


def categories(lake: Lake, as_of: date, products: Vocabulary) -> list[str]:
    """The category of each of `products`, empty where the catalogue names none."""
    rows = lake.arrow(CATALOGUE, ("product_id", "category"), as_of)
    at = pc.index_in(products.ids, value_set=rows["product_id"].combine_chunks())
    return [name or "" for name in rows["category"].take(at).to_pylist()]


def with_new_products(lake: Lake, as_of: date, model: Recommender) -> Recommender:
    """The model with the night's products that were not in its training, after those that were."""
    new = products_without_history(lake, as_of, model.vocabulary)
    return model.extended(new.ids.to_pylist(), read_features(lake, as_of, new))


def products_without_history(lake: Lake, as_of: date, known: Vocabulary) -> Vocabulary:
    """The catalogue's products that `known` lacks, in id order: those that a model has not seen."""
    ids = lake.arrow(CATALOGUE, ("product_id",), as_of)["product_id"]
    return Vocabulary.build(ids.filter(pc.invert(pc.is_in(ids, value_set=known.ids))))
