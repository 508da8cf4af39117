"""Gates of the models behind a night: one model everywhere, vectors that say something, better than popularity."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check
from jobs.gate.config import GateConfig
from jobs.gate.passed import ONE_MODEL, named
from jobs.index import read_index
from jobs.lake.lake import Lake
from jobs.model_inputs import HISTORY_COLUMNS as COLUMNS
from jobs.model_inputs import ProductVectors, to_histories
from jobs.run import Run
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
from jobs.train.champions import champion
from jobs.train.evaluate import FEWEST, HEADLINE, measure
from jobs.train.step import load_champion
from models.contract import Compute, FloatMatrix
from models.evaluation.baselines import PopularityScorer
from models.evaluation.bootstrap import Interval, paired_difference
from models.evaluation.metrics import from_scorer, from_vectors
from models.sequences import Split, time_split

ROWS = 131_072


def model_checks(lake: Lake, run: Run, config: GateConfig, lists: Mapping[Table, set[str]]) -> Iterator[Check]:
    """Every check of the night's models; `lists` has the models behind each table of lists."""
    manifests = {table: read_index(lake, run, table).manifest for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT)}
    for table, manifest in manifests.items():
        yield Check(
            f"{table.name}_recall", manifest["recall"], least=config.min_index_recall, detail="against exact search"
        )
    products = read_vectors(lake, PRODUCT_EMBEDDINGS, run.as_of)
    customers = read_vectors(lake, CUSTOMER_EMBEDDINGS, run.as_of, products.width)
    best = champion(lake, run)
    assert best is not None, "the lists were made with a champion"
    behind = {
        "champion": {best["model_id"]},
        CUSTOMER_EMBEDDINGS.name: customers.models,
        PRODUCT_EMBEDDINGS.name: products.models,
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
    yield from _vector_checks(PRODUCT_EMBEDDINGS, products, config)
    yield from _vector_checks(CUSTOMER_EMBEDDINGS, customers, config)
    known = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    yield Check(f"{CUSTOMER_EMBEDDINGS.name}_coverage", customers.rows / max(known, 1), least=1.0, most=1.0,
                detail=f"{customers.rows:,} vectors of {known:,} customers")  # fmt: skip
    yield from _quality(lake, run, config, best, products)


def _vector_checks(table: Table, found: Vectors, config: GateConfig) -> Iterator[Check]:
    name = table.name
    yield Check(f"{name}_finite", found.broken, most=0, detail="vectors with NaN, infinity or another width")
    yield Check(f"{name}_empty", found.empty / max(found.rows, 1), most=config.max_empty_vectors,
                detail=f"share of the {found.rows:,} vectors that are all zeros")  # fmt: skip
    yield Check(f"{name}_spread", found.spread, least=config.min_spread,
                detail=f"effective directions of {found.told:,} vectors; 1 when all are one point")  # fmt: skip
    yield Check(f"{name}_norm", found.longest_over_mean, most=config.max_norm,
                detail="length of the longest vector as a multiple of the mean one's")  # fmt: skip


def _quality(lake: Lake, run: Run, config: GateConfig, best: dict[str, object], products: Vectors) -> Iterator[Check]:
    trained = best["as_of"]
    assert isinstance(trained, date)
    rows = lake.arrow(EVALUATIONS, ("model_id", "metric", "slice", "value"), trained).to_pylist()
    popular = [r["value"] for r in rows if (r["model_id"], r["metric"], r["slice"]) == ("popularity", HEADLINE, "all")]
    if popular:
        ndcg = float(str(best["ndcg"]))
        detail = f"held-out {HEADLINE} of {best['model_id']} of {trained}; the limit is popularity's"
        yield Check("champion_quality", ndcg, least=popular[0], detail=detail)
    fresh = None if products.broken else fresh_lead(lake, run, config)
    if fresh:
        lead, compared = fresh
        detail = (
            f"upper end of the 95 % interval of {HEADLINE} of {best['model_id']} minus popularity's on the newest "
            f"events, {lead}, {compared:,} customers"
        )
        yield Check("champion_fresh", lead.high, least=0.0, detail=detail)


# How the champion does on the newest day: a check that costs seconds, also where nothing was trained tonight.


def fresh_lead(lake: Lake, run: Run, config: GateConfig) -> tuple[Interval, int] | None:
    """(NDCG@10 of the champion minus popularity's, customers compared) on what some customers went on to last.

    Each of them is read up to the newest `fresh_days`, as the champion of the night and the night's product vectors see
    it; where the champion was refitted tonight it has seen those days, so a good figure proves nothing, but a bad one
    does. None where fewer than 20 customers can be compared, and where the vectors are of another width than the
    champion's.
    """
    split_at = run.midnight - timedelta(days=config.fresh_days)
    rows = _active(lake, run, split_at, config.fresh_customers)
    products = ProductVectors.read(lake, run.as_of)
    if rows.num_rows < FEWEST or not len(products.ids):
        return None
    try:
        split = time_split(to_histories(rows, products.ids).sequences, int(split_at.timestamp()), config.fresh_days)
    except ValueError:  # nobody has events on both sides of that midnight
        return None
    compared = replace(split, train=split.train.take(split.known_customers),
                       targets=split.targets.take(split.known_customers))  # fmt: skip
    if np.count_nonzero(compared.targets.lengths) < FEWEST:
        return None
    return _lead(lake, run, compared, products, config.device)


def _lead(lake: Lake, run: Run, split: Split, products: ProductVectors, device: str) -> tuple[Interval, int] | None:
    _, model = load_champion(lake, run, Compute(device))
    own = model.vocabulary.encode(products.ids.ids, missing="negative")
    read = replace(split.train, products=own[split.train.products])
    encoded = model.encode(read.where(read.products >= 0))
    if encoded.shape[1] != products.vectors.shape[1]:
        return None
    every = np.ones(len(products.ids), dtype=bool)
    scores = {
        "champion": from_vectors(encoded, products.vectors),
        "popularity": from_scorer(PopularityScorer(split.train, len(products.ids)), split.train),
    }
    found = {name: measure(name, of, split, every).metrics[HEADLINE] for name, of in scores.items()}
    return paired_difference(found["champion"], found["popularity"]), len(found["champion"])


def _active(lake: Lake, run: Run, since: object, most: int) -> pa.Table:
    """Histories of at most about `most` customers with an event since then, drawn by their id alone."""
    recent = pc.field("last_event_at") >= pa.scalar(since, pa.timestamp("us", "UTC"))
    batches = [b for b in lake.batches(CUSTOMER_SEQUENCES, COLUMNS, run.as_of, where=recent) if b.num_rows]
    if not batches:
        return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
    rows = pa.Table.from_batches(batches)
    if len(rows) > most:
        order = np.argsort([zlib.crc32(customer.encode()) for customer in rows["customer_id"].to_pylist()])
        rows = rows.take(pa.array(np.sort(order[:most])))
    return rows.sort_by("customer_id").combine_chunks()


# Vectors of a night, measured in one pass: whether they are numbers at all, and whether they differ.

BATCH = 65_536
DIGITS = 6
"""Of figures that are sums of floats: rows come in no promised order, and equal nights have equal figures."""


@dataclass
class Vectors:
    """The figures of a table of vectors; the last number of each, bias or constant, is left out of them."""

    rows: int = 0
    width: int = 0
    """Numbers of a vector, 0 where there is none."""
    broken: int = 0
    """Rows that hold NaN or infinity, or not as many numbers as the others."""
    empty: int = 0
    """Rows of zeros: a customer of whom the model has read nothing."""
    norms: float = 0.0
    """Sum of the lengths of the others."""
    longest: float = 0.0
    moment: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    """[width - 1, width - 1], sum of u u^T over the vectors u of length 1."""
    models: set[str] = field(default_factory=set)

    @property
    def told(self) -> int:
        """Vectors that say something."""
        return self.rows - self.broken - self.empty

    @property
    def spread(self) -> float:
        """Directions that the vectors spread over: the exponential of the entropy of the spectrum of their second
        moment (effective rank, Roy and Vetterli 2007). 1 where all point one way; NaN where there is none.
        """
        if not self.told:
            return float("nan")
        shares = np.linalg.eigvalsh(self.moment / self.told)
        shares = shares[shares > 1e-12]
        return round(float(np.exp(-(shares * np.log(shares)).sum())), DIGITS)

    @property
    def longest_over_mean(self) -> float:
        """Length of the longest vector as a multiple of the mean one's; NaN where there is none."""
        return round(self.longest / (self.norms / self.told), DIGITS) if self.told else float("nan")


def read_vectors(lake: Lake, table: Table, as_of: date, width: int = 0) -> Vectors:
    """The figures of a night's vectors; with `width` others than of so many numbers are broken."""
    found = Vectors(width=width)
    for batch in lake.batches(table, ("vector", "model_id"), as_of, BATCH):
        if not batch.num_rows:
            continue
        found.models |= set(pc.unique(batch["model_id"]).to_pylist())
        lengths = np.asarray(pc.fill_null(pc.list_value_length(batch["vector"]), 0))
        found.width = found.width or int(lengths[0])
        alike = lengths == found.width
        found.rows += batch.num_rows
        found.broken += int((~alike).sum())
        for part in _parts(batch["vector"].filter(pa.array(alike)), found.width):
            _add(found, part)
    return found


def _parts(vectors: pa.Array, width: int) -> Iterator[FloatMatrix]:
    if width > 1 and len(vectors):
        yield np.asarray(pc.list_flatten(vectors), dtype=np.float32).reshape(-1, width)[:, :-1]


def _add(found: Vectors, vectors: FloatMatrix) -> None:
    finite = np.isfinite(vectors).all(axis=1)
    norms = np.linalg.norm(vectors[finite].astype(np.float64), axis=1)
    told = norms > 0
    found.broken += int((~finite).sum())
    found.empty += int((~told).sum())
    found.norms += float(norms.sum())
    found.longest = max(found.longest, float(norms.max(initial=0)))
    unit = vectors[finite][told] / norms[told, None]
    moment = unit.T @ unit
    found.moment = moment if not found.moment.size else found.moment + moment
