"""Vectors that go on from the night before: of other sequences, and of those with a product that is read otherwise."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from jobs import embed
from jobs.lake.lake import Lake
from jobs.lake.storage import staged_folder
from jobs.run import Run
from jobs.tables.records import MODELS
from jobs.tables.shop import CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from models.catalogue import Catalogue
from models.contract import Compute
from models.networks import artefacts
from models.sequences import Sequences
from models.vocabulary import Vocabulary

NIGHTS = [date(2026, 3, 2) + timedelta(days=days) for days in range(4)]
KNOWN = [f"P{number}" for number in range(5)]
CUSTOMERS = {f"C{number}": ["P1", KNOWN[number % 5]] for number in range(20)}


def run_of(as_of: date) -> Run:
    return Run(as_of, f"test-{as_of}", datetime(2026, 5, 1, tzinfo=UTC))


def sequences(lake: Lake, as_of: date, histories: dict[str, list[str]], since: date | None = None) -> None:
    """Write the customers' products of a night; changes with `since`."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"customer_id": customer, "product_ids": products, "event_types": ["click"] * len(products), "market": "GB",
         "event_timestamps": [at + timedelta(hours=hour) for hour in range(len(products))], "last_event_at": at}
        for customer, products in histories.items()
    ]  # fmt: skip
    lake.replace_rows(CUSTOMER_SEQUENCES, rows, run_of(as_of))
    if since is not None:
        own = [name for name in CUSTOMER_SEQUENCES.names if name not in ("as_of", "run_id", "since")]
        written = lake.arrow(CUSTOMER_SEQUENCES, own, as_of)
        lake.replace(CUSTOMER_SEQUENCES, written, run_of(as_of), since=since)


def catalogue(lake: Lake, as_of: date, products: dict[str, str]) -> None:
    """Products with their brands."""
    rows: list[dict[str, Any]] = [{"product_id": p, "brand": b, "name": "thing"} for p, b in products.items()]
    lake.replace_rows(CATALOGUE, rows, run_of(as_of))


def encode(lake: Lake, as_of: date) -> set[str]:
    """Make the night's vectors; returns whose the night holds."""
    embed.execute(lake, run_of(as_of), embed.EmbedConfig("cpu"))
    data = lake.arrow(CUSTOMER_EMBEDDINGS, ("customer_id", "as_of"))
    return {row["customer_id"] for row in data.to_pylist() if row["as_of"] == as_of}


def vectors(lake: Lake, as_of: date) -> dict[str, np.ndarray[Any, Any]]:
    rows = lake.arrow(CUSTOMER_EMBEDDINGS, ("customer_id", "vector"), as_of).to_pylist()
    return {row["customer_id"]: np.array(row["vector"], np.float32) for row in rows}


@pytest.fixture
def lake(tmp_path: Any) -> Lake:
    """A champion of five products, and the night it was trained on."""
    lake, brands = Lake(tmp_path / "lake"), dict.fromkeys(KNOWN, "Ash")
    model = artefacts.create("transformer", Vocabulary(KNOWN), Compute("cpu"), epochs=1, width=8, layers=1, heads=1)
    few = Sequences(np.array([0, 3, 6]), np.array([0, 1, 2, 2, 3, 4], np.int32), np.zeros(6, np.int8),
                    np.array([0, 60, 120, 0, 60, 120]))  # fmt: skip
    model.fit(few, Catalogue.of({"brand": ["Ash"] * 5}, ["thing"] * 5, [1.0] * 5))
    artefacts.write(model, lake.root / "models" / "made-up", {}, staged_folder)
    row = {"model_id": "made-up", "kind": "transformer", "champion": True, "ndcg": 0.1, "reason": "made up"}
    lake.replace_rows(MODELS, [row], run_of(NIGHTS[0]))
    sequences(lake, NIGHTS[0], CUSTOMERS)
    for night in NIGHTS[:2]:
        catalogue(lake, night, brands)
    assert encode(lake, NIGHTS[0]) == set(CUSTOMERS)
    # C1 and C2 meet a product that the catalogue does not name yet.
    sequences(lake, NIGHTS[1], {"C1": ["P1", "NEW"], "C2": ["P2", "NEW"]}, NIGHTS[0])
    assert encode(lake, NIGHTS[1]) == {"C1", "C2"}
    return lake


def test_a_product_that_comes_to_the_catalogue_is_read_in_the_histories_that_have_it(lake: Lake) -> None:
    sequences(lake, NIGHTS[2], {"C3": ["P4"]}, NIGHTS[0])
    catalogue(lake, NIGHTS[2], dict.fromkeys([*KNOWN, "NEW"], "Ash"))
    assert encode(lake, NIGHTS[2]) == {"C1", "C2", "C3"}
    before, now = (vectors(lake, night) for night in NIGHTS[1:3])
    assert set(now) == set(CUSTOMERS)
    assert {customer for customer in now if not np.array_equal(now[customer], before[customer])} == {"C1", "C2", "C3"}


def test_a_new_product_with_other_attributes_is_read_otherwise(lake: Lake) -> None:
    sequences(lake, NIGHTS[2], {"C3": ["P4"]}, NIGHTS[0])
    catalogue(lake, NIGHTS[2], dict.fromkeys([*KNOWN, "NEW"], "Ash"))
    encode(lake, NIGHTS[2])
    sequences(lake, NIGHTS[3], {"C4": ["P4"]}, NIGHTS[0])
    # The other brand of a product from the training changes nothing: its vector lies in the model.
    catalogue(lake, NIGHTS[3], {product: "Birch" if product in ("NEW", "P4") else "Ash" for product in [*KNOWN, "NEW"]})
    assert encode(lake, NIGHTS[3]) == {"C1", "C2", "C4"}


def test_another_champion_encodes_everybody(lake: Lake) -> None:
    model, metadata = artefacts.read(lake.root / "models" / "made-up", Compute("cpu"))
    artefacts.write(model, lake.root / "models" / "successor", metadata.metadata, staged_folder)
    row = {"model_id": "successor", "kind": "transformer", "champion": True, "ndcg": 0.2, "reason": "made up"}
    lake.replace_rows(MODELS, [row], run_of(NIGHTS[2]))
    sequences(lake, NIGHTS[2], {"C3": ["P4"]}, NIGHTS[0])
    catalogue(lake, NIGHTS[2], dict.fromkeys(KNOWN, "Ash"))
    assert encode(lake, NIGHTS[2]) == set(CUSTOMERS)
    assert lake.since(CUSTOMER_EMBEDDINGS, NIGHTS[2]) == NIGHTS[2]


def test_a_complete_night_of_sequences_encodes_everybody(lake: Lake) -> None:
    sequences(lake, NIGHTS[2], CUSTOMERS)
    catalogue(lake, NIGHTS[2], dict.fromkeys(KNOWN, "Ash"))
    assert encode(lake, NIGHTS[2]) == set(CUSTOMERS)


def test_vectors_that_go_on_are_close_to_those_made_anew(lake: Lake) -> None:
    sequences(lake, NIGHTS[2], {"C3": ["P4"], "C9": ["P0", "P1"]}, NIGHTS[0])
    catalogue(lake, NIGHTS[2], dict.fromkeys([*KNOWN, "NEW"], "Ash"))
    encode(lake, NIGHTS[2])
    going_on = vectors(lake, NIGHTS[2])
    for night in NIGHTS[:2]:  # nothing to go on from
        lake.delta(CUSTOMER_EMBEDDINGS).delete(f"as_of = '{night}'")
    encode(lake, NIGHTS[2])
    anew = vectors(lake, NIGHTS[2])
    assert set(going_on) == set(anew)
    assert max(np.abs(going_on[customer] - anew[customer]).max() for customer in anew) < 1e-5
