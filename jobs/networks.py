"""Stages the champion's network in the parts that services compute with, and reads it back."""

from __future__ import annotations

import json
from datetime import date
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.client.network import NETWORK, Network, network_of, part_name
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.networks import NETWORKS
from jobs.tables.shop import CATALOGUE
from models.contract import Recommender
from models.vocabulary import Vocabulary

PER_PART = 512
"""Products of a part: some hundred kilobytes."""
OF_PRODUCTS = {
    "transformer": ("products.", "visits."),
    "amf": ("read.", "recommend.", "product_bias"),
    "closed_form": ("vectors", "bias"),
}
"""Kinds that the client can encode with -> begin of the names of their tensors that have a row for each product."""
INPUTS = {"amf": "read.weight"}
"""Kind that reads products by other vectors than it scores -> the tensor with these."""
GROUPS = {"brands": "brand", "categories": "category"}
"""Column -> column of the catalogue that it repeats, for caps."""


def stage_network(lake: Lake, run: Run, model: Recommender, model_id: str) -> None:
    """Write the night's parts of `model`; of a kind that the client cannot encode with only its name."""
    plain: dict[str, object] = {"kind": model.kind}
    weights, numbers = np.zeros(0, np.float32), np.zeros((0, 1), np.float32)
    if model.kind in OF_PRODUCTS:
        tensors, numbers = model.tensors(), model.product_vectors()
        shared = {name: one for name, one in tensors.items() if not name.startswith(OF_PRODUCTS[model.kind])}
        weights = np.concatenate([weights, *(one.ravel() for one in shared.values())])
        shapes = [(name, one.shape) for name, one in shared.items()]
        plain |= {"settings": model.config(), "tensors": shapes, "width": numbers.shape[1]}
        if model.kind in INPUTS:
            numbers = np.concatenate([numbers, tensors[INPUTS[model.kind]]], axis=1)
    edges = [*range(0, len(numbers), PER_PART), len(numbers)]
    plain["parts"] = len(edges) - 1
    ids = model.vocabulary.ids[: len(numbers)]
    catalogue = lake.arrow(CATALOGUE, ("product_id", *GROUPS.values()), run.as_of)
    at = pc.index_in(ids, value_set=catalogue["product_id"].combine_chunks())
    some = list(pairwise(edges))
    offsets = pa.array([0, *edges], pa.int32())
    groups = {
        name: pa.ListArray.from_arrays(offsets, pc.fill_null(catalogue[column].combine_chunks().take(at), ""))
        for name, column in GROUPS.items()
    }
    parts = groups | {
        "part": pa.array([NETWORK, *map(part_name, range(len(some)))]),
        "settings": pa.array([json.dumps(plain), *("" for _ in some)]),
        "product_ids": pa.ListArray.from_arrays(offsets, ids),
        "numbers": pa.array([weights, *(numbers[a:b].ravel() for a, b in some)], pa.list_(pa.float32())),
        "model_id": pa.repeat(model_id, 1 + len(some)),
    }
    lake.replace(NETWORKS, pa.table(parts), run)


def network_products(lake: Lake, as_of: date) -> Vocabulary:
    """The products of a night's parts in their order; none where the night has no network."""
    parts = lake.arrow(NETWORKS, ("product_ids",), as_of)
    return Vocabulary(pc.list_flatten(parts["product_ids"]).combine_chunks())


def read_network(lake: Lake, as_of: date) -> Network | None:
    """The night's network as services have it; None where they have none."""
    rows = lake.arrow(NETWORKS, ("part", "settings", "product_ids", *GROUPS, "numbers", "model_id"), as_of)
    if not len(rows):
        return None
    numbers = [each.values.to_numpy() for each in rows["numbers"]]
    plain = [row | {"numbers": own} for row, own in zip(rows.drop_columns("numbers").to_pylist(), numbers, strict=True)]
    return network_of([plain[-1], *plain[:-1]])  # in key order, the numbers of parts come before the network
