"""Checks the models behind a night: one model everywhere, vectors that differ, and better than popularity."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check
from jobs.gate.config import GateConfig
from jobs.gate.networks import network_checks
from jobs.gate.passed import ONE_MODEL, distinct, named
from jobs.lake.lake import Lake
from jobs.model_inputs import HISTORY_COLUMNS, ProductVectors, list_offsets, to_histories
from jobs.run import Run
from jobs.tables.networks import NETWORKS
from jobs.tables.records import EVALUATIONS
from jobs.tables.shop import (
    BAG_EXTRAS,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from jobs.train.champions import ModelRow, champion
from jobs.train.decision import BEHIND, DECISION
from jobs.train.evaluate import FEWEST, HEADLINE, HEADLINE_SLICE, KS
from jobs.train.held_out import ALL
from jobs.train.step import load_champion
from models.contract import Compute, Recommender
from models.evaluation.baselines import PopularityScorer
from models.evaluation.bootstrap import Interval, paired_difference
from models.evaluation.metrics import allowing, from_scorer, from_vectors, per_customer, rank_targets
from models.networks.artefacts import POPULARITY
from models.sequences import Split, time_split

BATCH = 65_536
DIGITS = 6
"""Digits of figures that are sums of floats: rows come in no promised order, and equal nights have equal figures."""


@dataclass(frozen=True)
class ModelFigures:
    """What the night's vectors and its champion measure, whatever its lists are."""

    best: ModelRow
    """The champion."""
    products: VectorFigures
    customers: VectorFigures
    networks: set[str]
    """The models behind what services encode with."""
    quality: tuple[Check, ...]


def read_models(lake: Lake, run: Run, config: GateConfig) -> ModelFigures:
    """The figures of the night's champion and vectors."""
    best = champion(lake, run)
    assert best is not None, "lists need a champion"
    products = read_vectors(lake, PRODUCT_EMBEDDINGS, run.as_of)
    customers = read_vectors(lake, CUSTOMER_EMBEDDINGS, run.as_of, products.width)
    quality: list[Check] = []
    if best["kind"] != POPULARITY:
        model_id, model = load_champion(lake, run, Compute(config.device))
        quality += [*network_checks(lake, run, model_id, model), *_quality(lake, run, config, best, products, model)]
    return ModelFigures(best, products, customers, distinct(lake, NETWORKS, "model_id", run.as_of), tuple(quality))


def model_checks(
    found: ModelFigures,
    known: int,
    config: GateConfig,
    lists: Mapping[Table, set[str]],
    manifests: Mapping[Table, Mapping[str, Any]],
) -> Iterator[Check]:
    """Every check of the night's models, of which `found` has the figures; the night has `known` customers.

    `lists` has the models behind each table of lists, `manifests` those of the indexes.
    """
    for table, manifest in manifests.items():
        yield Check(
            f"{table.name}_recall", manifest["recall"], least=config.min_index_recall, detail="against exact search"
        )
    products, customers, trained = found.products, found.customers, found.best["kind"] != POPULARITY
    behind = {
        "champion": {found.best["model_id"]},
        CUSTOMER_EMBEDDINGS.name: customers.models,
        PRODUCT_EMBEDDINGS.name: products.models,
        NETWORKS.name: found.networks,
        f"index of {YOU_MIGHT_ALSO_LIKE.name}": {manifests[YOU_MIGHT_ALSO_LIKE]["model_id"]},
        RECOMMENDED_FOR_YOU.name: lists[RECOMMENDED_FOR_YOU],
        YOU_MIGHT_ALSO_LIKE.name: lists[YOU_MIGHT_ALSO_LIKE],
    }
    yield Check(ONE_MODEL, len(set().union(*behind.values())), most=1, detail=named(behind))
    bought = {
        f"index of {PEOPLE_ALSO_BOUGHT.name}": {manifests[PEOPLE_ALSO_BOUGHT]["model_id"]},
        PEOPLE_ALSO_BOUGHT.name: lists[PEOPLE_ALSO_BOUGHT],
        BAG_EXTRAS.name: lists[BAG_EXTRAS],
    }
    yield Check("one_co_purchase_model", len(set().union(*bought.values())), most=1, detail=named(bought))
    least = min(config.min_spread, products.nonzero / 4)  # a few products cannot point many ways
    for table, vectors in ((PRODUCT_EMBEDDINGS, products), (CUSTOMER_EMBEDDINGS, customers)):
        yield from _vector_checks(table, vectors, config, least if trained else None)
    detail = f"{customers.rows:,} vectors of {known:,} customers"
    yield Check(f"{CUSTOMER_EMBEDDINGS.name}_coverage", customers.rows / max(known, 1), 1.0, 1.0, detail)
    yield from found.quality


def _vector_checks(table: Table, found: VectorFigures, config: GateConfig, least: float | None) -> Iterator[Check]:
    """Checks of a table's vectors, with `least` effective directions; None where the model's vectors are empty."""
    name = table.name
    yield Check(f"{name}_finite", found.broken, most=0, detail="vectors with NaN, infinity or another width")
    if least is None:
        return
    detail = f"share of the {found.rows:,} vectors that are all zeros"
    yield Check(f"{name}_empty", found.empty / max(found.rows, 1), most=config.max_empty_vectors, detail=detail)
    detail = f"effective directions of {found.nonzero:,} vectors; 1 when all are one point"
    yield Check(f"{name}_spread", found.spread, least=least, detail=detail)
    detail = "length of the longest vector as a multiple of the mean length"
    yield Check(f"{name}_norm", found.longest_over_mean, most=config.max_norm, detail=detail)


def _quality(
    lake: Lake, run: Run, config: GateConfig, best: ModelRow, products: VectorFigures, model: Recommender
) -> Iterator[Check]:
    trained = best["as_of"]
    assert isinstance(trained, date)
    columns = ("model_id", "metric", "slice", "value", "ci_low")
    rows = lake.arrow(EVALUATIONS, columns, trained).to_pylist()
    figures = {(r["metric"], r["slice"]): r for r in rows if r["model_id"] == POPULARITY}
    popular = figures.get(
        (HEADLINE, HEADLINE_SLICE), figures.get((HEADLINE, ALL))
    )  # older comparisons have `all` alone
    if popular is not None:
        gap = figures.get((BEHIND, DECISION))  # older comparisons have none
        chance = gap["value"] - gap["ci_low"] if gap else 0.0
        detail = (
            f"held-out {HEADLINE} of {best['model_id']} of {trained}; the limit is popularity's, "
            f"{popular['value']:.4f}, less {chance:.4f} that may be chance"
        )
        yield Check("champion_quality", float(str(best["ndcg"])), least=popular["value"] - chance, detail=detail)
    fresh = None if products.broken else fresh_lead(lake, run, config, model)
    if fresh:
        lead, compared = fresh
        detail = (
            f"upper end of the 95 % interval of {HEADLINE} of {best['model_id']} minus popularity's on the newest "
            f"events, {lead}, {compared:,} customers"
        )
        yield Check("champion_fresh", lead.high, least=0.0, detail=detail)


def fresh_lead(lake: Lake, run: Run, config: GateConfig, model: Recommender) -> tuple[Interval, int] | None:
    """(NDCG@10 of the champion `model` minus popularity's, customers compared), on the newest `fresh_days` of some.

    The champion reads each history up to those days and ranks by the night's product vectors. A champion refitted
    tonight has seen those days: a good figure proves nothing then, but a bad one does. None where fewer than 20
    customers can be compared, or where the night's vectors have another width than the champion's.
    """
    split_at = run.midnight - timedelta(days=config.fresh_days)
    rows = _active(lake, run, split_at, config.fresh_customers)
    products = ProductVectors.read(lake, run.as_of)
    if rows.num_rows < FEWEST or not len(products.ids):
        return None
    try:
        split = time_split(to_histories(rows, products.ids).sequences, int(split_at.timestamp()), config.fresh_days)
    except ValueError:  # no customer has events on both sides of that midnight
        return None
    known = split.known_customers
    compared = replace(split, train=split.train.take(known), targets=split.targets.take(known))
    if np.count_nonzero(compared.targets.lengths) < FEWEST:
        return None
    return _lead(model, compared, products)


def _lead(model: Recommender, split: Split, products: ProductVectors) -> tuple[Interval, int] | None:
    own = model.vocabulary.encode(products.ids.ids, missing="negative")
    read = replace(split.train, products=own[split.train.products])
    encoded = model.encode(read.where(read.products >= 0))
    if encoded.shape[1] != products.vectors.shape[1]:
        return None
    every = allowing(np.ones(len(products.ids), dtype=bool))
    scores = {
        "champion": from_vectors(encoded, products.vectors),
        "popularity": from_scorer(PopularityScorer(split.train, len(products.ids)), split.train),
    }
    found = {name: per_customer(rank_targets(of, split.targets, every), KS)[HEADLINE] for name, of in scores.items()}
    return paired_difference(found["champion"], found["popularity"]), len(found["champion"])


def _active(lake: Lake, run: Run, since: object, most: int) -> pa.Table:
    """Histories of at most about `most` customers with an event since then, drawn by their id alone."""
    recent = pc.field("last_event_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))
    batches = [b for b in lake.batches(CUSTOMER_SEQUENCES, HISTORY_COLUMNS, run.as_of, where=recent) if b.num_rows]
    if not batches:
        return pa.table({name: pa.array([], pa.string()) for name in HISTORY_COLUMNS})
    rows = pa.Table.from_batches(batches)
    if len(rows) > most:
        order = np.argsort([zlib.crc32(customer.encode()) for customer in rows["customer_id"].to_pylist()])
        rows = rows.take(pa.array(np.sort(order[:most])))
    return rows.sort_by("customer_id").combine_chunks()


@dataclass
class VectorFigures:
    """The figures of a table of vectors, without the last number of each vector (bias or constant)."""

    rows: int = 0
    width: int = 0
    """Numbers of a vector, 0 where there is none."""
    broken: int = 0
    """Rows that hold NaN or infinity, or not as many numbers as the others."""
    empty: int = 0
    """Rows of zeros: customers without an event that the model knows."""
    norms: float = 0.0
    """Sum of the lengths of the others."""
    longest: float = 0.0
    moment: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """[width - 1, width - 1], the lower triangle of the sum of u u^T over the vectors u of length 1."""
    models: set[str] = field(default_factory=set)

    @property
    def nonzero(self) -> int:
        """Vectors that are neither broken nor zero."""
        return self.rows - self.broken - self.empty

    @property
    def spread(self) -> float:
        """Effective directions of the vectors: the exponential of the entropy of the spectrum of their second moment
        (effective rank, Roy and Vetterli 2007). 1 where all point one way; NaN without vectors.
        """
        if not self.nonzero:
            return float("nan")
        shares = np.linalg.eigvalsh(self.moment / self.nonzero)
        shares = shares[shares > 1e-12]
        return round(float(np.exp(-(shares * np.log(shares)).sum())), DIGITS)

    @property
    def longest_over_mean(self) -> float:
        """Length of the longest vector as a multiple of the mean length; NaN without vectors."""
        return round(self.longest / (self.norms / self.nonzero), DIGITS) if self.nonzero else float("nan")


def read_vectors(lake: Lake, table: Table, as_of: date, width: int = 0) -> VectorFigures:
    """The figures of a night's vectors; with `width`, vectors of another width are broken."""
    from models.vector_kernels import add_vectors

    found = VectorFigures(width=width)
    for batch, (there,) in lake.snapshot(table).encoded_nights(("vector", "model_id"), [as_of], BATCH):
        if not there.any():
            continue
        found.models |= set(pc.unique(batch["model_id"].filter(pa.array(there))).to_pylist())
        offsets = list_offsets(batch["vector"])
        found.width = found.width or int(np.diff(offsets)[there][0])
        if not found.moment.size:
            found.moment = np.zeros((max(found.width - 1, 0),) * 2)
        vectors = np.asarray(pc.list_flatten(batch["vector"]), dtype=np.float32)
        broken, empty, norms, longest = add_vectors(offsets, vectors, there, found.width, found.moment)
        found.rows += int(there.sum())
        found.broken += broken
        found.empty += empty
        found.norms += norms
        found.longest = max(found.longest, longest)
    return found
