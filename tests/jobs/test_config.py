"""Checks the settings that a command can name."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli.common import Place
from jobs.config import CONFIGS
from jobs.errors import UserError
from jobs.train.step import STANDARD, TrainConfig
from models.contract import Compute
from models.networks import artefacts
from models.vocabulary import Vocabulary
from tests.support.repository import REPOSITORY

SOURCE = REPOSITORY / "jobs" / "sources" / "sample.sql"


def train_of(name: str) -> TrainConfig:
    """The training settings of a command with --config NAME."""
    return Place(source=SOURCE, raw=Path("raw"), config=name).settings().train


def test_a_night_compares_three_models_and_a_fourth_one_where_asked_for() -> None:
    assert list(train_of("standard").candidates) == ["amf", "closed_form", "transformer"]
    more = train_of("with_transformers4rec")
    assert list(more.candidates) == ["amf", "closed_form", "transformer", "transformers4rec"]
    assert {**more.candidates, "transformers4rec": None} == {**STANDARD, "transformers4rec": None}
    assert train_of("standard").candidates == STANDARD == TrainConfig().candidates, "the standard stays as it is"
    assert set(more.candidates) == set(artefacts.KINDS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_named_candidate_can_be_made(name: str) -> None:
    for kind, given in train_of(name).candidates.items():
        assert artefacts.create(kind, Vocabulary(["a"]), Compute("cpu"), **given).kind == kind


def test_the_candidates_are_all_that_differs() -> None:
    standard, more = (Place(source=SOURCE, raw=Path("raw"), config=name).settings() for name in list(CONFIGS)[::2])
    assert standard != more
    more.train.candidates.pop("transformers4rec")
    assert standard == more


def test_candidates_that_do_not_exist_are_named() -> None:
    with pytest.raises(UserError, match=r"candidates = \['magic'\]; choose among amf, closed_form, transformer, "):
        TrainConfig(candidates={"magic": {}})
    with pytest.raises(UserError, match=r"candidates = \[\]"):
        TrainConfig(candidates={})
    with pytest.raises(UserError, match="validation_days = -1"):
        TrainConfig(validation_days=-1)
