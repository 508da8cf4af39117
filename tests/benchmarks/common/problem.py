"""What a benchmark asks of a model: histories to learn from, and cases to be judged by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.catalogue import Catalogue
from models.sequences import Sequences

IntArray = npt.NDArray[np.int64]
ARRAYS, PLAIN = "problem.npz", "problem.json"


@dataclass(frozen=True)
class Entrant:
    """A model or baseline as it takes part."""

    name: str
    """Its key in the results."""
    kind: str
    """Key of `models.networks.artefacts.KINDS` or of `fit.BASELINES`."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of the kind's config."""
    like: str = ""
    """Name of the entrant whose settings it takes, with its own on top, instead of a search of its own."""
    cases: tuple[str, ...] = ()
    """Names of the cases that it is asked; empty: all."""
    side_information: bool = True
    """False: no catalogue, every event a click, and no times but the order; for an ablation."""

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Entrant:
        """From what `plain` gave, after JSON has made lists of tuples."""
        return cls(**{**plain, "cases": tuple(plain["cases"])})


@dataclass(frozen=True)
class Case:
    """One question: what do these n histories take next?"""

    name: str
    reads: str
    """Key of `Problem.histories`: what the models are told, [n] histories."""
    targets: Sequences
    """[n], the right answers; a row may have none."""
    groups: IntArray
    """[n], rows of one group (a session, a customer) are drawn together by the bootstrap."""
    exclude_seen: bool = False
    """Whether the products of a history are neither recommended nor asked for; the same for every model."""
    count_misses: bool = False
    """Whether a row without an answer that can be recommended counts as 0; otherwise it is left out."""
    candidates: npt.NDArray[np.bool_] | None = None
    """[products, or products + new ones], what may be recommended; None: every product of the training vocabulary."""
    only: tuple[str, ...] = ()
    """Names of the entrants that are asked; empty: all."""

    def asks(self, entrant: Entrant) -> bool:
        """Whether this case is put to that entrant."""
        return (not self.only or entrant.name in self.only) and (not entrant.cases or self.name in entrant.cases)


@dataclass(frozen=True)
class Problem:
    """Everything that an entrant is given. Products are 0 .. products - 1, new ones follow."""

    train: Sequences
    products: int
    histories: Mapping[str, Sequences]
    cases: tuple[Case, ...]
    until: int
    """Seconds since 1970 UTC, after all of `train`."""
    catalogue: Catalogue | None = None
    """Of `products` rows."""
    new_products: Catalogue | None = None
    """Products without a training event; cases with that many more candidates may ask for them."""
    categories: IntArray | None = None
    """[products + new ones], for the baseline that recommends within a category; -1 is none."""

    def save(self, folder: Path) -> None:
        """Write `problem.npz` and `problem.json`."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        _put(arrays, "train", self.train)
        for name, histories in self.histories.items():
            _put(arrays, f"histories/{name}", histories)
        for case in self.cases:
            _put(arrays, f"targets/{case.name}", case.targets)
            arrays[f"groups/{case.name}"] = case.groups
            if case.candidates is not None:
                arrays[f"candidates/{case.name}"] = case.candidates
        for name, catalogue in (("catalogue", self.catalogue), ("new", self.new_products)):
            if catalogue is not None:
                arrays[name] = catalogue.features
        if self.categories is not None:
            arrays["categories"] = self.categories
        np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]
        simple = ("name", "reads", "exclude_seen", "count_misses", "only")
        plain = {
            "products": self.products,
            "until": self.until,
            "histories": list(self.histories),
            "cases": [{key: getattr(case, key) for key in simple} for case in self.cases],
        }
        (folder / PLAIN).write_text(json.dumps(plain), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> Problem:
        """What `save` wrote."""
        plain = json.loads((folder / PLAIN).read_text("utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as stored:
            arrays = dict(stored)
        cases = tuple(
            Case(
                **given | {"only": tuple(given["only"])},
                targets=_get(arrays, f"targets/{given['name']}"),
                groups=arrays[f"groups/{given['name']}"],
                candidates=arrays.get(f"candidates/{given['name']}"),
            )
            for given in plain["cases"]
        )
        return cls(
            train=_get(arrays, "train"),
            products=plain["products"],
            histories={name: _get(arrays, f"histories/{name}") for name in plain["histories"]},
            cases=cases,
            until=plain["until"],
            catalogue=Catalogue(arrays["catalogue"]) if "catalogue" in arrays else None,
            new_products=Catalogue(arrays["new"]) if "new" in arrays else None,
            categories=arrays.get("categories"),
        )


def without_side_information(histories: Sequences) -> Sequences:
    """The same products in the same order and baskets: clicks only, one second between two baskets.

    A history still ends when it ended, because that is how old it is to `TrainingConfig.recency`.
    """
    opens = np.zeros(len(histories.products), dtype=bool)
    opens[1:] = histories.times[1:] != histories.times[:-1]
    opens[histories.offsets[:-1][histories.lengths > 0]] = True
    basket = np.cumsum(opens)
    last = np.repeat(histories.offsets[1:] - 1, histories.lengths)
    times = histories.times[last] + basket - basket[last]
    return Sequences(histories.offsets, histories.products, np.zeros_like(histories.events), times)


def single_targets(products: npt.NDArray[np.integer]) -> Sequences:
    """[n] rows of one answer each; -1 is none."""
    offsets = np.concatenate(([0], np.cumsum(products >= 0)))
    found = products[products >= 0].astype(np.int32)
    return Sequences(offsets, found, np.zeros(len(found), dtype=np.int8), np.zeros(len(found), dtype=np.int64))


def _put(arrays: dict[str, npt.NDArray[Any]], name: str, sequences: Sequences) -> None:
    for key, value in vars(sequences).items():
        arrays[f"{name}/{key}"] = value


def _get(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> Sequences:
    return Sequences(*(arrays[f"{name}/{key}"] for key in ("offsets", "products", "events", "times")))
