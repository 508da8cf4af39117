"""Checks the settings that a command can name."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from jobs.cli.common import Place
from jobs.config import CONFIGS, NightConfig, standard, with_settings
from jobs.errors import UserError
from jobs.nights.night import NightPlan
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


# --- single settings


def changed(*given: str) -> NightConfig:
    """The standard settings with some changed."""
    return with_settings(standard(SOURCE, Path("raw")), given)


def test_any_field_of_any_step_can_be_set_and_is_part_of_what_identifies_a_run() -> None:
    config = changed(
        "train.holdout_days=3",
        "train.budget.train_minutes=5",
        "train.candidates.amf.epochs=2",
        "embed.device=cpu",
        "lists.popular.event_weights.click=0.5",
        "gate.accepted=['one_model']",
        "lists.top_n = 12",
        'lists.variants=[{name="default", share=0.5}, {name="b", share=0.5}]',
        "train.holdout_days=4",
        "clean.upkeep.small_mb=1",
    )
    assert (config.train.holdout_days, config.lists.top_n, config.embed.device) == (4, 12, "cpu")
    assert config.train.candidates == STANDARD | {"amf": {"epochs": 2}} and STANDARD["amf"] == {}
    assert config.train.budget.train_minutes == 5 and isinstance(config.train.budget.train_minutes, float)
    assert config.lists.popular.event_weights == {"click": 0.5, "save": 2.0, "bag": 3.0, "purchase": 5.0}
    assert [(v.name, v.share) for v in config.lists.variants] == [("default", 0.5), ("b", 0.5)]
    assert config.gate.accepted == ["one_model"]
    assert len({config.hash, changed("train.holdout_days=3").hash, changed().hash}) == 3
    assert changed("train.holdout_days=7") == changed() and changed("train.holdout_days=7").hash == changed().hash


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "holdout_days=3",
            r"--set holdout_days=3: NightConfig.holdout_days is unknown; there are audiences, clean, embed, .* train",
        ),
        ("train.holdout=3", r"--set train.holdout=3: TrainConfig.holdout is unknown; there are budget, .*holdout_days"),
        ("train.holdout_days", r"--set 'train.holdout_days' has no value; write it like train.holdout_days=3"),
        ("train.holdout_days=0", r"--set train.holdout_days=0: 0 must be greater than 0"),
        ('lists.variants=[{"name":"b"}]', r"is not TOML: .*; a list of tables is \[{name = \"b\", share = 0.5}\]"),
        ("train.holdout_days=soon", r"--set train.holdout_days=soon: 'soon' must be a valid integer"),
        ("train.holdout_days=2.5", r"--set train.holdout_days=2.5: 2.5 must be a valid integer"),
        ("train.seed.x=1", r"--set train.seed.x=1: 17 has no setting x; leave .x out"),
        ("train.candidates.magic={}", r"--set train.candidates.magic=\{\}: candidates = .* choose among amf"),
        ("lists.popular.event_weights.click=much", r"click=much: 'much' must be a valid number"),
        ("ingest.raw=/data", r"IngestConfig.raw is given with --source, --raw or NIGHTRAIL_FEATURE_STORE"),
        ("=", r"--set =: NightConfig. is unknown"),
    ],
)
def test_a_setting_that_does_not_exist_or_cannot_be_so_is_named(given: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        changed(given)


def test_the_environment_of_a_whole_night_comes_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTRAIL_SET", "train.holdout_days=3 'embed.device=\"cpu\"' lists.top_n=9")
    place = Place(source=SOURCE, raw=Path("raw"), changed=["lists.top_n=8"])
    config = place.settings()
    assert (config.train.holdout_days, config.lists.top_n, config.embed.device) == (3, 8, "cpu")
    monkeypatch.setenv("NIGHTRAIL_SET", "lists.top_n='9")
    with pytest.raises(UserError, match="close the quotes"):
        place.settings()


def test_a_night_hands_its_settings_to_the_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIGHTRAIL_SET", "train.holdout_days=3")
    asked = Place(tmp_path, SOURCE, tmp_path, config="quick", changed=["train.candidates={amf = {epochs = 1}}"])
    plan = NightPlan(date.min, tmp_path, tmp_path, SOURCE, tmp_path, "sail", "quick", tmp_path, tuple(asked.changes))
    monkeypatch.setenv("NIGHTRAIL_SET", plan.environment({})["NIGHTRAIL_SET"])
    assert Place(tmp_path, SOURCE, tmp_path, config="quick").settings() == asked.settings()
    assert asked.settings().train.candidates == {"amf": {"epochs": 1}}
