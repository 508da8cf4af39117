"""A small shop with a model of plain arithmetic, for the model report: hikers and street people who meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.report.examples import ShownProduct
from jobs.report.model.sample import ModelSample
from models.contract import FloatMatrix
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary

DAY = 86_400
STYLES = ("hiking", "street", "party")
CATEGORIES = ("trainers", "coats", "hats")
EACH = 4
"""Products of each style and category."""
MEETING = 0
"""The product that everybody meets: hiking trainers."""
HOSTILE = "<script>alert(\"1\")</script> $x_1$ & 'Socks'"
CLICK, SAVE, BAG, PURCHASE = range(len(EVENT_TYPES))
Event = tuple[int, int, float]
"""(product, event type, day)."""


def number(style: str, category: str, which: int) -> int:
    """The index of a product."""
    return (STYLES.index(style) * len(CATEGORIES) + CATEGORIES.index(category)) * EACH + which


COUNT = len(STYLES) * len(CATEGORIES) * EACH


class Arithmetic:
    """A history's vector is the mean style of its last five products; it scores by style, then by category."""

    kind = "arithmetic"

    def __init__(self) -> None:
        self.vocabulary = Vocabulary(pa.array([f"p{index:02d}" for index in range(COUNT)]))
        vectors = np.zeros((COUNT, len(STYLES) + len(CATEGORIES) + 1), np.float32)
        for style in STYLES:
            for category in CATEGORIES:
                for which in range(EACH):
                    row = vectors[number(style, category, which)]
                    row[STYLES.index(style)] = 1.0 - 0.01 * which
                    row[len(STYLES) + CATEGORIES.index(category)] = 0.3
        self.vectors = vectors

    def product_vectors(self) -> FloatMatrix:
        return self.vectors

    def encode(self, sequences: Sequences, progress: Any = None) -> FloatMatrix:
        states = np.zeros((len(sequences), self.vectors.shape[1]), np.float32)
        states[:, -1] = 1
        for state, products in zip(states, sequences, strict=True):
            if len(products):
                state[:-1] = self.vectors[products[-5:], :-1].mean(0)
        return states


class Attentive(Arithmetic):
    """It reads every earlier event alike, and its readout the event itself alone; two layers, two heads."""

    def attention(self, sequences: Sequences) -> Iterator[FloatMatrix]:
        for length in sequences.lengths:
            even = np.tril(np.ones((length, length), np.float32))
            even /= even.sum(1, keepdims=True)
            yield np.stack([np.stack([even, even]), np.stack([even, even]), np.stack([np.eye(length)] * 2)])


def histories(*customers: Sequence[Event]) -> Sequences:
    """Histories from events in their order."""
    events = [event for customer in customers for event in customer]
    return Sequences(
        np.concatenate(([0], np.cumsum([len(customer) for customer in customers]))).astype(np.int64),
        np.array([event[0] for event in events], np.int32), np.array([event[1] for event in events], np.int8),
        np.array([int(event[2] * DAY) for event in events], np.int64),
    )  # fmt: skip


def walk(style: str, days: Sequence[float], kind: int = CLICK) -> list[Event]:
    """An event a day on products of a style, through its categories."""
    own = [number(style, category, which) for which in range(EACH) for category in CATEGORIES]
    return [(own[place % len(own)], kind, day) for place, day in enumerate(days)]


def shop(model: Arithmetic, sequences: Sequences, name: str = "", sold: Sequence[bool] | None = None) -> ModelSample:
    """The shop; `name` is put before every product's, brand's and customer's name."""
    products = tuple(
        ShownProduct(
            f"p{number(style, category, which):02d}",
            f"{name}{style} {category} {which}, navy",
            f"{name}Brand",
            category,
            "navy",
            10.0,
            "GBP",
        )
        for style in STYLES
        for category in CATEGORIES
        for which in range(EACH)
    )
    customers = tuple(f"{name}c{row}" for row in range(len(sequences)))
    on_sale = np.ones(COUNT, bool) if sold is None else np.array(sold)
    return ModelSample(model, customers, sequences, products, on_sale)  # type: ignore[arg-type]


def everyone() -> Sequences:
    """A hiker and a street person who both meet a product; somebody whose last session is another style; one who moves
    from hiking to street over months; and a short history.
    """
    meeting = [(MEETING, SAVE, 20.0)]
    hiker = [*walk("hiking", range(1, 13)), *meeting, *walk("hiking", [21, 22])]
    street = [*walk("street", range(1, 13)), *meeting, *walk("street", [21, 22])]
    turned = [*walk("party", range(1, 13)), *walk("street", [30.0, 30.001, 30.002, 30.003], BAG)]
    moving = [*walk("hiking", range(1, 31, 2)), *walk("street", range(40, 70, 2))]
    return histories(hiker, street, turned, moving, walk("party", [1]))
