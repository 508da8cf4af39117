"""Finds the customers whose lists may differ from the night before, by a snapshot of what the lists were built from.

A list depends on its customer's vector and purchases, on rules that hold for all products of its market, and on the
products that its market sells and that score at least the list's cutoff score. It never reads the other products.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake import storage
from jobs.lake.changes import changed_customers, known_since, night_before
from jobs.lake.lake import Lake
from jobs.lists.assortment import Assortment
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.config import ListsConfig
from jobs.lists.digests import Group, GroupDigests, read_digests
from jobs.lists.sizes import SIZE_COLUMNS, CategoryOf, usual_sizes
from jobs.lists.touch_points import FOR_YOU
from jobs.model_inputs import BOUGHT_COLUMNS, Bought, ProductVectors, matrix, vectors_column
from jobs.run import Run
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, RECOMMENDED_FOR_YOU
from models.arrays import Digests
from models.contract import FloatMatrix
from models.digests import begun, of_words
from models.search.exact import best_products, pack
from models.vocabulary import Vocabulary

LAYOUT = 2
"""Raised when equal snapshots give other lists than before: the next night then builds all lists."""
ROUNDING = 1e-5
"""Error of a score as a share of its vectors' lengths: additions may come in another order."""
ROWS = 262_144
"""Customers compared at once."""
MOST_CHANGED = 0.05
"""Share of a market's products above which nearly every list has a changed one among its candidates."""
SEPARATOR = "\x1f"


@dataclass(frozen=True)
class StaleLists:
    """Customers whose lists have to be built again."""

    before: date
    """The night whose lists stay valid for all other customers."""
    customers: pa.Array
    """[n] ids, each once."""


@dataclass(frozen=True)
class InputSnapshot:
    """All that lists read beside their customer: under equal snapshots, a customer with an equal vector and equal
    purchases gets an equal list.
    """

    digests: GroupDigests
    """Of all that lists read of a product; 0 where the market does not sell it."""
    vectors: FloatMatrix
    """[products, d + 1], NaN for a product without a vector."""
    header: dict[str, Any]
    """The model, the A/B test, and `frames`: what all lists of a group have in common."""
    usual: UsualInputs | None = None
    """What customers' usual sizes follow from; None for a shop without sizes."""

    @staticmethod
    def of(builder: ListBuilder, products: ProductVectors, config: ListsConfig) -> InputSnapshot:
        """The snapshot of tonight's inputs."""
        from models.digest_kernels import add_values

        assortment, rule_names = builder.assortment, of_words([*builder.policy.names, None])
        number = assortment.products.encode(products.ids.ids)
        vectors = np.full((len(assortment.products), products.vectors.shape[1]), np.nan, np.float32)
        vectors[number] = products.vectors
        cold = np.zeros(len(vectors), dtype=bool)
        cold[number] = products.cold
        of_products, sizes = _digests_of_products(assortment, vectors, cold), assortment.sizes
        digests, frames = {}, {}
        for market, name in enumerate(assortment.markets.ids.to_pylist()):
            for variant in config.variants:
                group = ListGroup(FOR_YOU, market, variant)
                book, found = builder.book(group), of_products.copy()
                for column in (rule_names[book.excluded], book.places.astype(np.uint64), rule_names[book.mover]):
                    add_values(found, column)
                if sizes is not None:
                    add_values(found, sizes.digests[sizes.run[market]])
                digests[name, variant.name] = np.where(assortment.available[market], found, np.uint64(0))
                frames[_name((name, variant.name))] = _frame(builder, group)
        header = {
            "layout": LAYOUT,
            "model_id": products.model_id,
            "experiment": config.experiment,
            "shares": [[variant.name, variant.share] for variant in config.variants],
            "frames": frames,
            "sized": None if sizes is None else True,
        }
        categories = CategoryOf.named(assortment.attributes.category, assortment.categories)
        usual = None if sizes is None else UsualInputs(assortment.products, categories, sizes.made)
        return InputSnapshot(GroupDigests(assortment.products, digests), vectors, header, usual)

    def comparable(self, other: InputSnapshot) -> bool:
        """Whether both have one model, and assign the same customers to each variant."""
        return all(self.header.get(name) == other.header.get(name) for name in self.header if name != "frames")

    def write(self, lake: Lake, run: Run) -> None:
        """Keep it as the night's."""
        header, columns = self.header, {"vector": vectors_column(self.vectors)}
        if self.usual is not None:
            header = header | {"made": self.usual.made.tolist()}
            columns["category"] = pa.array(self.usual.categories.of_products)
        self.digests.write(_path(lake, run.as_of), header, **columns)


def read_snapshot(lake: Lake, as_of: date) -> InputSnapshot | None:
    """That of a night; None where the night has none that can be read."""
    found = read_digests(_path(lake, as_of), LAYOUT)
    if found is None:
        return None
    (digests, header, rows), usual = found, None
    if "made" in header:
        categories = CategoryOf.digested(np.asarray(rows["category"].combine_chunks()))
        usual = UsualInputs(digests.products, categories, np.array(header.pop("made"), np.uint64))
    return InputSnapshot(digests, matrix(rows["vector"]), header, usual)


def delete_snapshot(lake: Lake, as_of: date) -> None:
    """Mark the night's lists as unfinished: the next night cannot start from them."""
    _path(lake, as_of).unlink(missing_ok=True)


def stale_lists(lake: Lake, run: Run, snapshot: InputSnapshot, assortment: Assortment) -> StaleLists | None:
    """The customers whose lists may differ from the night before; None where that is unknown: then all may."""
    before = night_before(lake, RECOMMENDED_FOR_YOU, run.as_of)
    earlier = None if before is None else read_snapshot(lake, before)
    tables = (CUSTOMER_SEQUENCES, CUSTOMER_EMBEDDINGS)
    if before is None or earlier is None or not earlier.comparable(snapshot):
        return None
    if not all(known_since(lake, table, before, run.as_of) for table in tables):
        return None
    parts = [changed_customers(lake, table, before, run.as_of) for table in tables]
    parts += _due_again(lake, run, before, (earlier, snapshot), assortment)
    parts += _other_sizes(lake, run, earlier.usual, snapshot.usual)
    parts += _affected(lake, run, before, changed_products(earlier, snapshot))
    return StaleLists(before, pc.unique(pa.chunked_array(parts, pa.string())))


def changed_products(earlier: InputSnapshot, snapshot: InputSnapshot) -> dict[Group, FloatMatrix | None]:
    """By market and variant the vectors [c, d + 1], old and new ones, of the products that changed as candidates: by
    availability, vector, attributes or rules. None where all lists of the group may have changed.
    """
    both = Vocabulary.build(pa.concat_arrays([earlier.digests.products.ids, snapshot.digests.products.ids]))
    nights = (earlier, snapshot)
    rows = [night.digests.products.encode(both.ids, missing="negative").astype(np.int64) for night in nights]
    found: dict[Group, FloatMatrix | None] = {}
    for group in snapshot.digests.groups:
        was, frame = (night.header["frames"].get(_name(group)) for night in nights)
        if was is None or was | {"again": None} != frame | {"again": None}:
            found[group] = None
            continue
        then, now = (night.digests.at(group, at) for night, at in zip(nights, rows, strict=True))
        changed = then != now
        if changed.sum() > MOST_CHANGED * (now != 0).sum():
            found[group] = None
            continue
        if changed[both.encode([product for product, *_ in frame["pins"]])].any():
            found[group] = None
            continue
        vectors = np.concatenate(
            [
                night.vectors[at[changed & (digests != 0)]]
                for night, at, digests in zip(nights, rows, (then, now), strict=True)
            ]
        )
        # A product that only sold out has its old vector: one copy is enough.
        found[group] = np.unique(vectors[~np.isnan(vectors).any(axis=1)], axis=0)
    return found


def _affected(lake: Lake, run: Run, before: date, changed: dict[Group, FloatMatrix | None]) -> Iterator[pa.Array]:
    """Customers whose list depends on popularity, on a changed rule of its group, or on a changed product."""
    tests = {group: vectors for group, vectors in changed.items() if vectors is not None}
    names, asked = pa.array(map(SEPARATOR.join, tests), pa.string()), [len(vectors) > 0 for vectors in tests.values()]
    tested = []
    for batch in lake.batches(RECOMMENDED_FOR_YOU, ("customer_id", "market", "variant", "reach"), before, ROWS):
        of_group = pc.binary_join_element_wise(batch["market"], batch["variant"], SEPARATOR)
        group = np.asarray(pc.fill_null(pc.index_in(of_group, value_set=names), -1))
        whole = (group < 0) | np.asarray(batch["reach"].is_null())
        yield batch["customer_id"].filter(pa.array(whole))
        rows = pa.table({"customer_id": batch["customer_id"], "cutoff": batch["reach"], "group": pa.array(group)})
        tested.append(rows.filter(pa.array(~whole & np.array([*asked, False])[group])))
    if sum(map(len, tested)):
        yield from _reaching(lake, run, pa.concat_tables(tested), list(tests.values()))


def _reaching(lake: Lake, run: Run, lists: pa.Table, tests: list[FloatMatrix]) -> Iterator[pa.Array]:
    """Customers of `lists` for whom a changed product of their group scores at least their list's cutoff."""
    ids, packed = lists["customer_id"].combine_chunks(), [pack(vectors, np.arange(len(vectors))) for vectors in tests]
    cutoff, group = np.asarray(lists["cutoff"]), np.asarray(lists["group"])
    for batch in lake.batches(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), run.as_of, ROWS):
        at = np.asarray(pc.fill_null(pc.index_in(batch["customer_id"], value_set=ids), -1)).astype(np.int64)
        vectors, known = matrix(batch["vector"]), np.flatnonzero(at >= 0)
        known = known[np.argsort(group[at[known]], kind="stable")]
        numbers, starts = np.unique(group[at[known]], return_index=True)
        affected = np.zeros(len(at), dtype=bool)
        for number, mine in zip(numbers, np.split(known, starts[1:]), strict=False):
            # Not by numpy's product: in groups of hundreds of customers its threads mostly wait for each other.
            best = best_products(vectors[mine], packed[number], 1)[0][:, 0]
            lengths = np.linalg.norm(vectors[mine], axis=1) * np.linalg.norm(tests[number], axis=1).max()
            affected[mine] = best >= cutoff[at[mine]] - ROUNDING * lengths
        yield batch["customer_id"].filter(pa.array(affected))


def _due_again(
    lake: Lake, run: Run, before: date, nights: tuple[InputSnapshot, InputSnapshot], assortment: Assortment
) -> Iterator[pa.Array]:
    """Customers for whom a product they bought has become due again, or is due no more."""
    names, category = assortment.categories.ids.to_pylist(), assortment.attributes.category
    windows: dict[Group, list[Any]] = {}
    for group in nights[1].digests.groups:
        frames = [night.header["frames"].get(_name(group), {"again": {}}) for night in nights]
        days = [np.array([frame["again"].get(name, np.inf) for name in names], np.float32) for frame in frames]
        if np.isfinite(days).any():
            windows[group] = days
    if not windows:
        return
    midnights = (datetime(before.year, before.month, before.day, tzinfo=UTC), run.midnight)
    for batch in lake.batches(CUSTOMER_SEQUENCES, ("customer_id", "market", *BOUGHT_COLUMNS), run.as_of, ROWS):
        bought = [Bought.of(batch, assortment.products, midnight) for midnight in midnights]
        owner = bought[0].owners
        differs = np.zeros(batch.num_rows, dtype=bool)
        for (market, _), days in windows.items():
            here = np.asarray(pc.fill_null(pc.equal(batch["market"], market), False))
            then, now = (one.lasting(category, again) for one, again in zip(bought, days, strict=True))
            differs[owner[(then != now) & here[owner]]] = True
        yield batch["customer_id"].filter(pa.array(differs))


def _other_sizes(lake: Lake, run: Run, then: UsualInputs | None, now: UsualInputs | None) -> Iterator[pa.Array]:
    """Customers whose usual sizes differ though their purchases do not: a product that they bought is of another
    category now, or their market began or ceased to have a size.
    """
    if then is None or now is None or then.equals(now):
        return
    columns = ("customer_id", "market", *SIZE_COLUMNS)
    for batch in lake.batches(CUSTOMER_SEQUENCES, columns, run.as_of, ROWS):
        names = Vocabulary.build(pc.list_flatten(batch["bought_sizes"]))
        before, after = (inputs.digests_of(batch, names) for inputs in (then, now))
        yield batch["customer_id"].filter(pa.array(before != after))


@dataclass(frozen=True)
class UsualInputs:
    """What usual sizes follow from beside purchases."""

    products: Vocabulary
    categories: CategoryOf
    made: Digests
    """`Sizes.made`."""

    def equals(self, other: UsualInputs) -> bool:
        """Whether every customer has the same usual sizes under both."""
        at = self.products.encode(other.products.ids, missing="negative")
        was, now = np.append(self.categories.of_products, np.uint64(0))[at], other.categories.of_products
        kept = other.products.encode(self.products.ids, missing="negative") >= 0
        return np.array_equal(was, now) and bool(kept.all()) and np.array_equal(self.made, other.made)

    def digests_of(self, rows: pa.RecordBatch, names: Vocabulary) -> Digests:
        """[customers], a digest of each one's usual sizes with their categories."""
        from models.digest_kernels import add_lists

        usual = usual_sizes(rows, self.products, self.categories, names, self.made)
        found, order = begun(len(usual)), np.lexsort((self.categories.digests[usual.categories], usual.owners))
        for codes, words in (
            (usual.categories, self.categories.digests),
            (usual.sizes, of_words(names.ids.to_pylist())),
        ):
            add_lists(found, usual.offsets, codes[order], words)
        return found


def _digests_of_products(assortment: Assortment, vectors: FloatMatrix, cold: Any) -> Digests:
    """[products], over the facts of a product that are the same in all markets."""
    from models.digest_kernels import add_values

    found, attributes = begun(len(vectors)), assortment.attributes
    for column in (*vectors.view(np.uint32).T, cold, attributes.young):
        add_values(found, column.astype(np.uint64))
    for names, numbers in ((assortment.brands, attributes.brand), (assortment.categories, attributes.category)):
        add_values(found, of_words([*names.ids.to_pylist(), None])[numbers])
    return found


def _frame(builder: ListBuilder, group: ListGroup) -> dict[str, Any]:
    """What all lists of a group have in common, with names instead of the numbers of products and rules."""
    book, assortment = builder.book(group), builder.assortment
    name = dict(enumerate(book.names))
    again = builder.repeat_purchase_days(group.market, group.variant)
    pins = zip(assortment.products.decode(book.pins).to_pylist(), book.pin_places, book.pin_rules, strict=True)
    categories = assortment.categories.ids.to_pylist()
    return {
        "places": builder.places(FOR_YOU),
        "candidates": builder.candidates_per_customer(group.market, group.variant),
        "pins": [[product, int(place), name[int(rule)]] for product, place, rule in pins],
        "brand_cap": [book.brand_cap, name.get(book.brand_cap_rule)],
        "category_cap": [book.category_cap, name.get(book.category_cap_rule)],
        "diversity": book.diversity,
        "explore_place": book.explore_place,
        "again": {categories[at]: float(again[at]) for at in np.flatnonzero(np.isfinite(again))},
    }


def _name(group: Group) -> str:
    return json.dumps(group)


def _path(lake: Lake, as_of: date) -> Path:
    return lake.directory(storage.LISTS, as_of) / "inputs.arrow"
