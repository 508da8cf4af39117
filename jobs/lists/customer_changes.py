"""From one night's basis of the customers' lists to the next one's: which lists may be others now.

A list depends on its customer's vector and purchases, on what the rules of its market say of all products alike, and on
the products that score at least its `reach` among those the market sells. The others it never reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import feather

from jobs.lake import storage
from jobs.lake.changes import changed_customers, known_since, night_before
from jobs.lake.lake import Lake
from jobs.lake.storage import write_whole
from jobs.lists.builder import ListBuilder, candidates_of
from jobs.lists.touch_points import FOR_YOU
from jobs.model_inputs import BOUGHT_COLUMNS as BOUGHT
from jobs.model_inputs import Bought, ProductVectors, matrix, vectors_column
from jobs.policy.variants import Variant
from jobs.run import Run
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from models.arrays import BoolMask, Rows
from models.assembly.rulebook import Rulebook
from models.contract import FloatMatrix
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jobs.lists.config import ListsConfig

ROUNDING = 1e-5
"""A score is known up to that share of its vectors' lengths: the order of additions differs."""
ROWS = 262_144
"""Customers compared at once."""
Group = tuple[str, str]
"""(market, variant)."""


@dataclass(frozen=True)
class Due:
    """Whose lists to make again."""

    before: date
    """The night whose lists go on for all others."""
    customers: pa.Array
    """[n] ids, each once."""


def due_customers(lake: Lake, run: Run, basis: InputSnapshot) -> Due | None:
    """The customers whose lists may differ from the night before; None where that cannot be told: all of them."""
    before = night_before(lake, RECOMMENDED_FOR_YOU, run.as_of)
    earlier = None if before is None else read_basis(lake, before)
    if before is None or earlier is None or not earlier.alike(basis):
        return None
    tables = (CUSTOMER_SEQUENCES, CUSTOMER_EMBEDDINGS)
    if not all(known_since(lake, table, before, run.as_of) for table in tables):
        return None
    parts = [changed_customers(lake, table, before, run.as_of) for table in tables]
    parts += _buying_again(lake, run, before, earlier, basis)
    parts += _reached(lake, run, before, changed_products(earlier, basis))
    return Due(before, pc.unique(pa.chunked_array(parts, pa.string())))


def changed_products(earlier: InputSnapshot, basis: InputSnapshot) -> dict[Group, FloatMatrix | None]:
    """By market and variant the vectors [c, d + 1], of then and of now, of the products that are another candidate now
    than then: sold or not, with another vector or under other rules. None where all lists may have changed.
    """
    found: dict[Group, FloatMatrix | None] = {}
    both = Vocabulary.build(pa.concat_arrays([earlier.ids.ids, basis.ids.ids]))
    then, now = (side.ids.encode(both.ids, missing="negative").astype(np.int64) for side in (earlier, basis))
    pair = (earlier, basis, then, now)
    alike = (then >= 0) & (now >= 0) & _same_vectors(*pair) & _same_facts(*pair, [(name, name) for name in OF_PRODUCTS])
    of_books: dict[tuple[int, int], BoolMask] = {}
    for market, variants in basis.header["markets"].items():
        for variant, frame in variants.items():
            was = earlier.header["markets"].get(market, {}).get(variant)
            if was is None or was | {"book": 0} != frame | {"book": 0} | {"again": was["again"]}:
                found[market, variant] = None
                continue
            books = (was["book"], frame["book"])
            if books not in of_books:
                of_books[books] = _same_facts(*pair, [(f"{n} {books[0]}", f"{n} {books[1]}") for n in OF_BOOKS])
            sold = [_at(side.available(market), rows) for side, rows in ((earlier, then), (basis, now))]
            other = (sold[0] | sold[1]) & ~(alike & of_books[books] & (sold[0] == sold[1]))
            if other[both.encode([pin[0] for pin in frame["pins"]])].any():
                found[market, variant] = None
                continue
            vectors = [earlier.vectors[then[other & sold[0]]], basis.vectors[now[other & sold[1]]]]
            found[market, variant] = _distinct(np.concatenate(vectors))
    return found


def _same_vectors(earlier: InputSnapshot, basis: InputSnapshot, then: Rows, now: Rows) -> BoolMask:
    if earlier.vectors.shape[1] != basis.vectors.shape[1]:
        return np.zeros(len(then), dtype=bool)
    old, new = earlier.vectors[then], basis.vectors[now]
    return np.asarray(((old == new) | (np.isnan(old) & np.isnan(new))).all(axis=1))


def _same_facts(
    earlier: InputSnapshot, basis: InputSnapshot, then: Rows, now: Rows, names: list[tuple[str, str]]
) -> BoolMask:
    """[both], whether two columns say the same of each product; those missing on one side are not looked at."""
    same = np.ones(len(then), dtype=bool)
    for old, new in names:
        was, is_ = (
            np.asarray(_plain(side.products[name]).take(pa.array(np.maximum(rows, 0))))
            for side, name, rows in ((earlier, old, then), (basis, new, now))
        )
        same &= was == is_
    return same


def _plain(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.dictionary_decode() if pa.types.is_dictionary(whole.type) else whole


def _at(mask: BoolMask, rows: Rows) -> BoolMask:
    return (rows >= 0) & mask[rows]


def _distinct(vectors: FloatMatrix) -> FloatMatrix:
    """Those that are there, each once: a product that was only sold out has the vector of before."""
    there = vectors[~np.isnan(vectors).any(axis=1)]
    return np.unique(there, axis=0) if len(there) else there


def _reached(lake: Lake, run: Run, before: date, changed: dict[Group, FloatMatrix | None]) -> Iterator[pa.Array]:
    """Customers whose list depends on popularity, on changed rules or on a changed product."""
    tests = {group: vectors for group, vectors in changed.items() if vectors is not None}
    tested = []
    for batch in lake.batches(RECOMMENDED_FOR_YOU, ("customer_id", "market", "variant", "reach"), before, ROWS):
        group = _groups(batch, list(tests))
        open_ = (group < 0) | np.asarray(batch["reach"].is_null())
        yield batch["customer_id"].filter(pa.array(open_))
        asked = np.array([len(tests[key]) > 0 for key in tests] + [False])[group] & ~open_
        rows = pa.RecordBatch.from_arrays(
            [batch["customer_id"], batch["reach"], pa.array(group)], ["customer_id", "reach", "group"]
        )
        tested.append(rows.filter(pa.array(asked)))
    if any(rows.num_rows for rows in tested):
        yield from _scored(lake, run, pa.Table.from_batches(tested), list(tests.values()))


def _groups(batch: pa.RecordBatch, groups: list[Group]) -> Rows:
    """[rows], the number of each row's group; -1 where it is none of them."""
    numbers = {key: number for number, key in enumerate(groups)}
    markets, variants = (batch[name].dictionary_encode() for name in ("market", "variant"))
    of = np.array(
        [[numbers.get((market, variant), -1) for variant in variants.dictionary.to_pylist()]
         for market in markets.dictionary.to_pylist()], dtype=np.int64,
    ).reshape(len(markets.dictionary), len(variants.dictionary))  # fmt: skip
    return np.asarray(of[np.asarray(markets.indices), np.asarray(variants.indices)])


def _scored(lake: Lake, run: Run, lists: pa.Table, tests: list[FloatMatrix]) -> Iterator[pa.Array]:
    """Customers of `lists` for whom a changed product of their group scores as much as their list's reach."""
    ids = lists["customer_id"].combine_chunks()
    reach, group = np.asarray(lists["reach"]), np.asarray(lists["group"])
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), run.as_of, ROWS):
        at = np.asarray(pc.fill_null(pc.index_in(batch["customer_id"], value_set=ids), -1)).astype(np.int64)
        vectors = matrix(batch["vector"])
        affected = np.zeros(len(at), dtype=bool)
        for number in np.unique(group[at[at >= 0]]):
            mine = np.flatnonzero((at >= 0) & (group[at] == number))
            best = (vectors[mine] @ tests[number].T).max(axis=1)
            lengths = np.linalg.norm(vectors[mine], axis=1) * np.linalg.norm(tests[number], axis=1).max()
            affected[mine] = best >= reach[at[mine]] - ROUNDING * lengths
        yield batch["customer_id"].filter(pa.array(affected))


def _buying_again(
    lake: Lake, run: Run, before: date, earlier: InputSnapshot, basis: InputSnapshot
) -> Iterator[pa.Array]:
    """Customers for whom a product has become one to buy again, or is none any more."""
    windows = {
        market: {variant: (earlier.header["markets"].get(market, {}).get(variant, {}).get("again", {}), frame["again"])
                 for variant, frame in variants.items()}
        for market, variants in basis.header["markets"].items()
    }  # fmt: skip
    if not any(then or now for variants in windows.values() for then, now in variants.values()):
        return
    category = _plain(basis.products["category"])
    names = pc.unique(category)
    of = np.asarray(pc.index_in(category, value_set=names)).astype(np.int64)
    midnight = datetime(before.year, before.month, before.day, tzinfo=UTC)
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "market", *BOUGHT), run.as_of, ROWS):
        nights = [Bought.of(batch, basis.ids, at) for at in (midnight, run.midnight)]
        owner = np.repeat(np.arange(batch.num_rows), np.diff(nights[0].offsets))
        differs = np.zeros(batch.num_rows, dtype=bool)
        for market, variants in windows.items():
            here = np.asarray(pc.fill_null(pc.equal(batch["market"], market), False))
            for pair in variants.values():
                then, now = (
                    bought.lasting(of, np.array([days.get(n, np.inf) for n in names.to_pylist()], np.float32))
                    for bought, days in zip(nights, pair, strict=True)
                )
                differs[owner[(then != now) & here[owner]]] = True
        yield batch["customer_id"].filter(pa.array(differs))


# What the customers' lists of a night were made from, kept beside them: the next night sees by it what changed.

FORMAT = 1
"""Raised when the same basis gives other lists than before: the next night then makes all lists again."""
OF_PRODUCTS = ("cold", "young", "brand", "category")
"""Facts of a product that are the same in all markets."""
OF_BOOKS = ("excluded", "places", "mover")
"""Facts that the rules of a market and variant say of a product; followed by the number of the rulebook."""


@dataclass(frozen=True)
class InputSnapshot:
    """Two nights with equal bases give a customer with an equal vector and equal purchases an equal list."""

    products: pa.Table
    """One row a product, in id order: id, vector (null where the model has none), `available` by market, OF_PRODUCTS,
    OF_BOOKS by rulebook."""
    header: dict[str, Any]
    """Whose the lists are and, by market and variant, what the rules say of all products alike."""

    @staticmethod
    def of(maker: ListBuilder, vectors: ProductVectors, config: ListsConfig) -> InputSnapshot:
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
        return InputSnapshot(pa.table(columns), json.loads(json.dumps(header)))  # as it is read back

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

    def alike(self, other: InputSnapshot) -> bool:
        """Whether lists can be compared at all: one model, and the same customers in each variant."""
        return all(self.header.get(name) == other.header.get(name) for name in self.header if name != "markets")

    def write(self, lake: Lake, run: Run) -> None:
        """Keep it as the night's."""
        metadata = {"basis": json.dumps(self.header), "run_id": run.run_id}
        content = pa.BufferOutputStream()
        feather.write_feather(self.products.replace_schema_metadata(metadata), content)
        write_whole(_path(lake, run.as_of), content.getvalue().to_pybytes())


def read_basis(lake: Lake, as_of: date) -> InputSnapshot | None:
    """That of a night; None where it has none that can be read."""
    try:
        products = feather.read_table(pa.BufferReader(_path(lake, as_of).read_bytes()), memory_map=False)
        header = json.loads((products.schema.metadata or {})[b"basis"])
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    return InputSnapshot(products, header) if header.get("format") == FORMAT else None


def forget_basis(lake: Lake, as_of: date) -> None:
    """From now on the night's lists are not what its basis says."""
    _path(lake, as_of).unlink(missing_ok=True)


def _path(lake: Lake, as_of: date) -> Path:
    return lake.directory(storage.LISTS, as_of) / "basis.arrow"


def _frame(maker: ListBuilder, market: int, variant: Variant, config: ListsConfig) -> dict[str, Any]:
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
