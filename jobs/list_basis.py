"""What the customers' lists of a night were made from, kept beside them: the next night sees by it what changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from jobs import folders
from jobs.histories import matrix, vectors_column
from jobs.lake import Lake
from jobs.list_maker import ListMaker
from jobs.run import Run
from jobs.storage import write_whole
from jobs.tables import PRODUCT_EMBEDDINGS
from jobs.touch_points import FOR_YOU
from jobs.variants import Variant
from models.contract import FloatMatrix
from models.rulebook import Rulebook
from models.top_n import BoolMask
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jobs.lists import ListsConfig

FORMAT = 1
"""Raised when the same basis gives other lists than before: the next night then makes all lists again."""
OF_PRODUCTS = ("cold", "young", "brand", "category")
"""Facts of a product that are the same in all markets."""
OF_BOOKS = ("excluded", "places", "mover")
"""Facts that the rules of a market and variant say of a product; followed by the number of the rulebook."""


@dataclass(frozen=True)
class ProductVectors:
    """The night's product vectors, in id order."""

    ids: Vocabulary
    vectors: FloatMatrix
    """[p, d + 1]."""
    cold: BoolMask
    """[p], whether the vector comes from the catalogue alone."""
    model_id: str

    @staticmethod
    def read(lake: Lake, as_of: date) -> ProductVectors:
        """Of a night; none where it has none."""
        rows = lake.arrow(PRODUCT_EMBEDDINGS, ("product_id", "vector", "model_id", "cold"), as_of)
        cold = np.asarray(pc.fill_null(rows["cold"], False), dtype=bool)
        model_id = rows["model_id"][0].as_py() if len(rows) else ""
        return ProductVectors(Vocabulary(rows["product_id"].combine_chunks()), matrix(rows["vector"]), cold, model_id)


def candidates_of(maker: ListMaker, market: int, variant: Variant, n: int) -> int:
    """How many candidates a customer's list of n places is made from: as many as it reads unless rules take more than
    half of them away.
    """
    book = maker.book(FOR_YOU, market, variant)
    return (4 if (book.excluded >= 0).any() else 2) * n + len(book.pins)


@dataclass(frozen=True)
class Basis:
    """Two nights with equal bases give a customer with an equal vector and equal purchases an equal list."""

    products: pa.Table
    """One row a product, in id order: id, vector (null where the model has none), `available` by market, OF_PRODUCTS,
    OF_BOOKS by rulebook."""
    header: dict[str, Any]
    """Whose the lists are and, by market and variant, what the rules say of all products alike."""

    @staticmethod
    def of(maker: ListMaker, vectors: ProductVectors, config: ListsConfig) -> Basis:
        """That of the night."""
        shelf, attributes = maker.shelf, maker.shelf.attributes
        columns = {
            "product_id": shelf.products.ids,
            "vector": vectors_column(vectors.vectors).take(pc.index_in(shelf.products.ids, value_set=vectors.ids.ids)),
            "available": pa.array(list(np.packbits(shelf.available, axis=0).T), pa.list_(pa.uint8())),
            "cold": pc.is_in(shelf.products.ids, value_set=vectors.ids.ids.filter(pa.array(vectors.cold))),
            "young": pa.array(attributes.young),
            "brand": _names(shelf.brands.ids, attributes.brand),
            "category": _names(shelf.categories.ids, attributes.category),
        }
        books: dict[str, int] = {}
        frames: dict[str, dict[str, Any]] = {}
        for number, market in enumerate(shelf.markets.ids.to_pylist()):
            for variant in config.variants:
                book = maker.book(FOR_YOU, number, variant)
                facts = _facts(book)
                known = books.setdefault(_digest(book), len(books))
                columns |= {f"{name} {known}": column for name, column in facts.items()}
                frames.setdefault(market, {})[variant.name] = _frame(maker, number, variant, config) | {"book": known}
        header = {
            "format": FORMAT,
            "model_id": vectors.model_id,
            "experiment": config.experiment,
            "shares": [[variant.name, variant.share] for variant in config.variants],
            "markets": frames,
        }
        return Basis(pa.table(columns), json.loads(json.dumps(header)))  # as it is read back

    @cached_property
    def ids(self) -> Vocabulary:
        """The products."""
        return Vocabulary(self.products["product_id"].combine_chunks())

    @cached_property
    def vectors(self) -> FloatMatrix:
        """[p, d + 1], NaN where a product has none."""
        column = self.products["vector"].combine_chunks()
        there = np.asarray(column.is_valid())
        known = matrix(column.drop_null())
        vectors = np.full((len(column), known.shape[1]), np.nan, np.float32)
        vectors[there] = known
        return vectors

    def available(self, market: str) -> BoolMask:
        """[p], what the market sells."""
        number = list(self.header["markets"]).index(market)
        packed = np.asarray(pc.list_element(self.products["available"].combine_chunks(), number // 8))
        return np.asarray(packed >> (7 - number % 8) & 1, dtype=bool)

    def alike(self, other: Basis) -> bool:
        """Whether lists can be compared at all: one model, and the same customers in each variant."""
        return all(self.header.get(name) == other.header.get(name) for name in self.header if name != "markets")

    def write(self, lake: Lake, run: Run) -> None:
        """Keep it as the night's."""
        metadata = {"basis": json.dumps(self.header), "run_id": run.run_id}
        content = pa.BufferOutputStream()
        feather.write_feather(self.products.replace_schema_metadata(metadata), content)
        write_whole(_path(lake, run.as_of), content.getvalue().to_pybytes())


def read_basis(lake: Lake, as_of: date) -> Basis | None:
    """That of a night; None where it has none that can be read."""
    try:
        products = feather.read_table(pa.BufferReader(_path(lake, as_of).read_bytes()), memory_map=False)
        header = json.loads((products.schema.metadata or {})[b"basis"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    return Basis(products, header) if header.get("format") == FORMAT else None


def forget_basis(lake: Lake, as_of: date) -> None:
    """From now on the night's lists are not what its basis says."""
    _path(lake, as_of).unlink(missing_ok=True)


def _path(lake: Lake, as_of: date) -> Path:
    return lake.directory(folders.LISTS, as_of) / "basis.arrow"


def _frame(maker: ListMaker, market: int, variant: Variant, config: ListsConfig) -> dict[str, Any]:
    """What all lists of a market and variant have in common, numbers of products and rules as names."""
    book, n = maker.book(FOR_YOU, market, variant), FOR_YOU.places or config.top_n
    name = dict(enumerate(book.names))
    again = maker.rulebooks.repeat_purchase_days(maker.shelf.markets.ids[market].as_py(), variant)
    pins = zip(maker.shelf.products.decode(book.pins).to_pylist(), book.pin_places.tolist(), book.pin_rules.tolist(),
               strict=True)  # fmt: skip
    categories = maker.shelf.categories.ids.to_pylist()
    return {
        "places": n,
        "candidates": candidates_of(maker, market, variant, n),
        "pins": [[product, place, name[rule]] for product, place, rule in pins],
        "brand_cap": [book.brand_cap, name.get(book.brand_cap_rule)],
        "category_cap": [book.category_cap, name.get(book.category_cap_rule)],
        "diversity": book.diversity,
        "explore_place": book.explore_place,
        "again": {categories[at]: float(again[at]) for at in np.flatnonzero(np.isfinite(again))},
    }


def _facts(book: Rulebook) -> dict[str, pa.Array]:
    names = pa.array(book.names)
    return {"excluded": _names(names, book.excluded), "places": pa.array(book.places),
            "mover": _names(names, book.mover)}  # fmt: skip


def _digest(book: Rulebook) -> str:
    arrays = (book.excluded, book.places, book.mover)
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def _names(names: pa.Array, numbers: np.ndarray[Any, np.dtype[np.integer]]) -> pa.Array:
    """Numbers as texts, '' for -1; stored once each."""
    words = pa.concat_arrays([names.cast(pa.string()), pa.array([""])])
    return pa.DictionaryArray.from_arrays(pa.array(np.where(numbers < 0, len(names), numbers).astype(np.int32)), words)
