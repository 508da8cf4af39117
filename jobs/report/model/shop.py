"""A model with the products and customers it is shown on, and what the pictures of it share."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from jobs.report.examples import Product, Touch
from jobs.text import clean
from models.arrays import BoolMask
from models.contract import FloatMatrix, Recommender
from models.sequences import EVENT_TYPES, Sequences

Ints = npt.NDArray[np.int64]
COLUMNS = ("product_id", "name", "brand", "category", "department", "colour", "price", "currency")
"""What is read of the catalogue."""
LETTERS = re.compile(r"[^\W\d_]{3,}")
FEWEST_WORDS, LEAST_LIFT = 3, 2.0
"""A word stands out in a history that holds it so often, and so many times its share of the catalogue."""

BLOCK = 64
"""States whose scores of all products are held at once."""
CHUNK = 128
"""Neighbouring scores of which only the greatest is looked at first."""


@dataclass(frozen=True)
class Shop:
    """The model, all products it knows, and some customers."""

    model: Recommender
    customers: tuple[str, ...]
    """[n] ids, clean."""
    sequences: Sequences
    """The n customers' histories over the model's vocabulary."""
    products: tuple[Product, ...]
    """[V], row i is product i of the vocabulary."""
    departments: tuple[str, ...]
    """[V], empty where the catalogue names none."""
    on_sale: BoolMask
    """[V], whether the product is in the night's catalogue; what is not is never recommended."""

    @cached_property
    def vectors(self) -> FloatMatrix:
        """[V, d + 1], the products' vectors."""
        return self.model.product_vectors()

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """[V], empty where the catalogue names none."""
        return tuple(product.category for product in self.products)

    @cached_property
    def words(self) -> tuple[frozenset[str], ...]:
        """[V], the words of each product's name that are neither its brand nor its colour."""
        return tuple(
            frozenset(_words(p.name)) - frozenset(_words(p.brand)) - frozenset(_words(p.colour)) for p in self.products
        )

    @cached_property
    def word_shares(self) -> Mapping[str, float]:
        """Word -> share of the products whose name has it."""
        counted = Counter(word for words in self.words for word in words)
        return {word: count / len(self.products) for word, count in counted.items()}

    def history(self, row: int, end: int | None = None) -> npt.NDArray[np.int32]:
        """The products of a customer's first `end` events (all of them without)."""
        start, stop = int(self.sequences.offsets[row]), int(self.sequences.offsets[row + 1])
        return self.sequences.products[start : stop if end is None else min(start + end, stop)]

    def touches(self, row: int, start: int, end: int) -> tuple[Touch, ...]:
        """The events from `start` up to before `end` of a customer, oldest first."""
        first = int(self.sequences.offsets[row])
        return tuple(
            Touch(
                self.products[self.sequences.products[at]], EVENT_TYPES[self.sequences.events[at]],
                datetime.fromtimestamp(int(self.sequences.times[at]), UTC),
            )
            for at in range(first + start, first + end)
        )  # fmt: skip

    def states(self, rows: Ints, ends: Ints) -> FloatMatrix:
        """[k, d + 1], what the model makes of the first `ends[i]` events of customer `rows[i]`."""
        return self.model.encode(prefixes(self.sequences, rows, ends))

    def order(self, state: npt.NDArray[np.float32], allowed: BoolMask) -> Ints:
        """The allowed products that are on sale by falling score for `state` [d + 1]; equal scores by index."""
        among = np.flatnonzero(allowed & self.on_sale)
        return among[np.argsort(-self._scores(state)[among], kind="stable")]

    def first(self, state: npt.NDArray[np.float32], allowed: BoolMask, wanted: int) -> Ints:
        """The first `wanted` of `order`, found without sorting the rest."""
        among = np.flatnonzero(allowed & self.on_sale)
        return among[best_places(self._scores(state)[among], wanted)]

    def first_not_bought(self, rows: Ints, ends: Ints, states: FloatMatrix, wanted: int) -> list[Ints]:
        """[k], `first` of what customer `rows[i]` had not bought after `ends[i]` events, for `states[i]`.

        In blocks: one product of matrices takes a fraction of the time of as many with a vector.
        """
        among = np.flatnonzero(self.on_sale)
        vectors, place = self.vectors[among], np.cumsum(self.on_sale) - 1
        found = []
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            scores = states[block] @ vectors.T
            for row, end, own in zip(rows[block].tolist(), ends[block].tolist(), scores, strict=True):
                bought = self._bought(row, end)
                own[place[bought[self.on_sale[bought]]]] = -np.inf
                found.append(among[best_places(own, wanted)])
        return found

    def _scores(self, state: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[V]; of all products, since to pick some copies their vectors for every customer."""
        scores: npt.NDArray[np.float32] = self.vectors @ state
        return scores

    def not_bought(self, row: int, end: int | None = None) -> BoolMask:
        """[V], what the customer had not bought after `end` events; nothing bought is recommended again."""
        allowed = np.ones(len(self.products), dtype=bool)
        allowed[self._bought(row, end)] = False
        return allowed

    def _bought(self, row: int, end: int | None) -> npt.NDArray[np.int32]:
        products, start = self.history(row, end), int(self.sequences.offsets[row])
        kinds = self.sequences.events[start : start + len(products)]
        bought: npt.NDArray[np.int32] = products[kinds == EVENT_TYPES.index("purchase")]
        return bought

    def stands_out(self, row: int, end: int, most: int = 3) -> tuple[str, ...]:
        """The words that the products of a history have far oftener than the catalogue, the clearest first."""
        events = self.history(row, end)
        counted = Counter(word for product in events for word in self.words[product])
        lifts = {
            word: count / len(events) / self.word_shares[word] for word, count in counted.items()
            if count >= FEWEST_WORDS and count / len(events) >= LEAST_LIFT * self.word_shares[word]
        }  # fmt: skip
        return tuple(sorted(lifts, key=lambda word: (-counted[word] * math.log(lifts[word]), word))[:most])


def products_of(
    rows: Sequence[Mapping[str, Any]], ids: Sequence[str]
) -> tuple[tuple[Product, ...], tuple[str, ...], BoolMask]:
    """(products, departments, on_sale) of a `Shop` whose vocabulary is `ids`, from rows of the catalogue."""
    known = {row["product_id"]: row for row in rows}
    products = []
    for product in ids:
        row = known.get(product, {})
        text = {name: clean(row.get(name)) for name in ("name", "brand", "category", "colour", "currency")}
        text["name"] = text["name"] or clean(product)
        products.append(Product(clean(product), **text, price=row.get("price")))
    departments = tuple(clean(known.get(product, {}).get("department")) for product in ids)
    return tuple(products), departments, np.array([product in known for product in ids], dtype=bool)


def best_places(scores: npt.NDArray[np.float32], wanted: int) -> Ints:
    """The places of the `wanted` greatest of [n] scores by falling score; equal scores by place, -inf is none."""
    kept = np.arange(len(scores))
    if len(scores) >= wanted * CHUNK:
        # The greatest of so many chunks are at least this; few others are, and only those are sorted.
        greatest = np.maximum.reduceat(scores, np.arange(0, len(scores), CHUNK))
        kept = np.flatnonzero(scores >= np.partition(greatest, -wanted)[-wanted])
    best = kept[np.argsort(-scores[kept], kind="stable")][:wanted]
    return best[scores[best] > -np.inf]


def prefixes(sequences: Sequences, rows: Ints, ends: Ints) -> Sequences:
    """[k] histories: the first `ends[i]` events of history `rows[i]`."""
    taken = sequences.take(rows)
    place = np.arange(len(taken.products)) - np.repeat(taken.offsets[:-1], taken.lengths)
    return taken.where(place < np.repeat(ends, taken.lengths))


def short_name(product: Product, letters: int) -> str:
    """The product's name without its brand in front and its colour behind, cut to so many letters."""
    name = product.name
    if product.brand and name.lower().startswith(f"{product.brand.lower()} "):
        name = name[len(product.brand) :].strip()
    if product.colour and name.lower().endswith(f", {product.colour.lower()}"):
        name = name[: -len(product.colour) - 2].strip()
    return shortened(name or product.name, letters)


def shortened(text: str, letters: int) -> str:
    """At most so many letters; what is cut shows as an ellipsis."""
    return text if len(text) <= letters else text[: letters - 1].rstrip(" ,") + "…"


def unit(vectors: FloatMatrix) -> FloatMatrix:
    """[.., d] of length 1 without the bias column of [.., d + 1]; zeros stay zeros."""
    bare = vectors[..., :-1]
    lengths = np.linalg.norm(bare, axis=-1, keepdims=True)
    found: FloatMatrix = np.divide(bare, lengths, out=np.zeros_like(bare), where=lengths > 0)
    return found


def _words(text: str) -> list[str]:
    return [word.lower() for word in LETTERS.findall(text)]
