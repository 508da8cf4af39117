"""Checks that services encode visitors as the champion does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jobs.checks import Check
from jobs.lake.lake import Lake
from jobs.networks import read_network
from jobs.run import Run
from models.contract import Recommender
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences

HISTORIES, EVENTS, DAYS = 16, 24, 30
FARTHEST = 0.02
"""How far a number may lie from the model's; a GPU's bfloat16 has as much (`models.networks.device`)."""


def network_checks(lake: Lake, run: Run, model_id: str, model: Recommender) -> Iterator[Check]:
    """Made-up histories, encoded by the champion `model` and by the night's parts; none without a network."""
    network = read_network(lake, run.as_of)
    if network is None or network.model_id != model_id:
        return
    random, ids = np.random.default_rng(17), model.vocabulary.ids
    shape = HISTORIES, EVENTS
    products, kinds = random.integers(0, len(ids), shape), random.integers(0, len(EVENT_TYPES), shape)
    times = np.sort(random.integers(0, DAYS * SECONDS_PER_DAY, shape))
    offsets = np.arange(HISTORIES + 1, dtype=np.int64) * EVENTS
    made = Sequences(offsets, products.ravel().astype(np.int32), kinds.ravel().astype(np.int8), times.ravel())
    worst = 0.0
    for row, wanted in enumerate(model.encode(made)):
        names = ids.take(products[row]).to_pylist()
        types = [EVENT_TYPES[kind] for kind in kinds[row].tolist()]
        found = network.encode(network.events(zip(names, types, times[row].tolist(), strict=True)))
        worst = float(np.max([worst, np.inf if found is None else np.abs(found - wanted).max()]))
    detail = f"how far a number of a vector that services compute lies from {model_id}'s, in {HISTORIES} histories"
    yield Check("networks_agreement", round(worst, 6), most=FARTHEST, detail=detail)
