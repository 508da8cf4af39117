"""Checks the model that recommends what is popular to everybody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jobs.lake.storage import staged_folder
from models.contract import Compute
from models.networks import artefacts
from models.networks.artefacts import KINDS, POPULARITY
from models.sequences import Sequences
from models.vocabulary import Vocabulary

COMPUTE = Compute("cpu")
VOCABULARY = Vocabulary(["a", "b", "c"])
HISTORIES = Sequences(np.array([0, 3, 4]), np.array([0, 2, 2, 2], np.int32), np.zeros(4, np.int8), np.arange(4))


def test_it_scores_products_by_their_share_of_the_events_and_survives_being_stored(tmp_path: Path) -> None:
    model = artefacts.create(POPULARITY, VOCABULARY, COMPUTE)
    assert model.fit(HISTORIES).pairs == 4
    artefacts.write(model, tmp_path / "model", {}, staged_folder)
    for one in (model, artefacts.read(tmp_path / "model", COMPUTE)[0]):
        assert (one.encode(HISTORIES) @ one.product_vectors().T).tolist() == [[0.25, 0, 0.75]] * 2
        assert not one.encode(HISTORIES)[:, :-1].any(), "lists fill places with what is popular in their market"


def test_it_is_no_candidate_and_has_no_settings() -> None:
    assert POPULARITY not in KINDS
    with pytest.raises(ValueError, match="popularity has no setting days"):
        artefacts.create(POPULARITY, VOCABULARY, COMPUTE, days=7)
    with pytest.raises(ValueError, match="are not those of 3 products"):
        artefacts.model_class(POPULARITY).restore(VOCABULARY, {}, {"share": np.zeros(2, np.float32)}, COMPUTE)
