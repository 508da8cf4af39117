"""How the champion does on the newest day: a check that costs seconds, also where nothing was trained tonight."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.evaluate import FEWEST, HEADLINE, judge
from jobs.gate_config import GateConfig
from jobs.histories import COLUMNS, read_product_vectors, to_histories
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import CUSTOMER_SEQUENCES
from jobs.train import load_champion
from models.baselines import Popularity
from models.bootstrap import Interval, paired_difference
from models.contract import Compute, FloatMatrix
from models.scorers import from_scorer, from_vectors
from models.splits import Split, time_split
from models.vocabulary import Vocabulary


def fresh_lead(lake: Lake, run: Run, config: GateConfig) -> tuple[Interval, int] | None:
    """(NDCG@10 of the champion minus popularity's, customers compared) on what some customers went on to last.

    Each of them is read up to the newest `fresh_days`, as the champion of the night and the night's product vectors see
    it; where the champion was refitted tonight it has seen those days, so a good figure proves nothing, but a bad one
    does. None where fewer than 20 customers can be compared, and where the vectors are of another width than the
    champion's.
    """
    split_at = run.midnight - timedelta(days=config.fresh_days)
    rows = _active(lake, run, split_at, config.fresh_customers)
    products, vectors, _ = read_product_vectors(lake, run.as_of)
    if rows.num_rows < FEWEST or not len(products):
        return None
    try:
        split = time_split(to_histories(rows, products).sequences, int(split_at.timestamp()), config.fresh_days)
    except ValueError:  # nobody has events on both sides of that midnight
        return None
    compared = replace(split, train=split.train.take(split.known_customers),
                       targets=split.targets.take(split.known_customers))  # fmt: skip
    if np.count_nonzero(compared.targets.lengths) < FEWEST:
        return None
    return _lead(lake, run, compared, products, vectors, config.device)


def _lead(
    lake: Lake, run: Run, split: Split, products: Vocabulary, vectors: FloatMatrix, device: str
) -> tuple[Interval, int] | None:
    _, model = load_champion(lake, run, Compute(device))
    own = model.vocabulary.encode(products.ids, missing="negative")
    read = replace(split.train, products=own[split.train.products])
    encoded = model.encode(read.where(read.products >= 0))
    if encoded.shape[1] != vectors.shape[1]:
        return None
    every = np.ones(len(products), dtype=bool)
    scores = {
        "champion": from_vectors(encoded, vectors),
        "popularity": from_scorer(Popularity(split.train, len(products)), split.train),
    }
    found = {name: judge(name, of, split, every).metrics[HEADLINE] for name, of in scores.items()}
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
