"""The network that services get encodes as the model that it was made from."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.lake.lake import Lake
from jobs.networks import network_products, read_network, stage_network
from models.catalogue import Catalogue
from models.contract import Compute
from models.networks.artefacts import ALL_KINDS, create
from models.sequences import EVENT_TYPES, Sequences
from models.vocabulary import Vocabulary
from tests.conftest import run_of
from tests.support.nights import FIRST

PRODUCTS, CUSTOMERS = 600, 12
IDS = [f"P{number:03}" for number in range(PRODUCTS)]
NETWORK = {"epochs": 1, "width": 16, "max_length": 20}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": ("transformer", NETWORK | {"visits": {"rank": 8, "max_length": 30, "memory_days": 3.0}}),
    "transformer alone, dot product": (
        "transformer",
        NETWORK | {"temperature": None, "visits_weight": 0.0, "heads": 4},
    ),
    "transformer, one layer": ("transformer", NETWORK | {"layers": 1}),
    "amf": ("amf", NETWORK),
    "amf, dot product": ("amf", NETWORK | {"temperature": None, "exponent": 0.7}),
    "closed_form": ("closed_form", {"rank": 8, "max_length": 20, "trend": 0.05}),
}


def shop() -> tuple[Sequences, Catalogue]:
    """Histories of 1 to 40 events over two months, some at one second."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, 41, CUSTOMERS)
    total = int(lengths.sum())
    times = np.concatenate([np.sort(random.integers(0, 5_000_000, n)) for n in lengths])
    times[1::9] = times[::9][: len(times[1::9])]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    for start, stop in pairwise(offsets):
        times[start:stop].sort()
    products = random.integers(0, PRODUCTS, total).astype(np.int32)
    names = {"brand": [f"B{n % 7}" for n in range(PRODUCTS)]}
    described = names | {name: [None] * PRODUCTS for name in ("category", "department", "colour")}
    catalogue = Catalogue.of(described, [f"thing {n % 11}" for n in range(PRODUCTS)], [None] * PRODUCTS)
    return Sequences(offsets, products, random.integers(0, 4, total).astype(np.int8), times + 1_700_000_000), catalogue


@pytest.mark.parametrize("case", KINDS)
def test_a_history_has_the_models_vector(case: str, tmp_path: Path) -> None:
    kind, settings = KINDS[case]
    (sequences, catalogue), lake = shop(), Lake(tmp_path)
    model = create(kind, Vocabulary(IDS[:-1]), Compute("cpu"), **settings)
    known = sequences.where(sequences.products < PRODUCTS - 1)
    model.fit(known, Catalogue(catalogue.features[:-1]))
    model = model.extended(IDS[-1:], Catalogue(catalogue.features[-1:]))
    stage_network(lake, run_of(FIRST), model, "model-7")
    network = read_network(lake, FIRST)
    assert network is not None and network.model_id == "model-7"
    assert network_products(lake, FIRST).ids.equals(model.vocabulary.ids)
    np.testing.assert_array_equal(network.vectors.T, model.product_vectors())
    readable = sequences.where(sequences.products < len(model.vocabulary))
    for row, wanted in enumerate(model.encode(readable)):
        own = sequences.take(np.array([row]))
        given = zip(own.products.tolist(), own.events.tolist(), own.times.tolist(), strict=True)
        events = network.events((IDS[product], EVENT_TYPES[code], at) for product, code, at in given)
        found = network.encode(events)
        assert found is not None and found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert network.encode(network.events([("P-unknown", "click", 0), (IDS[0], "look", 1)])) is None


@pytest.mark.parametrize("kind", sorted(set(ALL_KINDS) - {kind for kind, _ in KINDS.values()}))
def test_of_other_kinds_services_have_no_network(kind: str, tmp_path: Path) -> None:
    (sequences, catalogue), lake = shop(), Lake(tmp_path)
    model = create(kind, Vocabulary(IDS), Compute("cpu"), **({} if kind == "popularity" else NETWORK))
    model.fit(sequences, catalogue)
    assert read_network(lake, FIRST) is None, "no night yet"
    stage_network(lake, run_of(FIRST), model, "model-7")
    assert read_network(lake, FIRST) is None and not len(network_products(lake, FIRST))
