"""Checks how a night's histories are split, and what a comparison writes, on the shop of the leak tests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.lake.lake import Lake
from jobs.model_inputs import read_histories
from jobs.tables.records import EVALUATIONS, MODELS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES
from jobs.train.comparison import NothingToCompareError, SplitSizes, prepare
from jobs.train.evaluate import FEWEST, HEADLINE, HEADLINE_SLICE, UPLIFT
from jobs.train.held_out import SLICES
from jobs.train.step import TrainConfig, execute, load_champion
from models.contract import Compute
from models.networks import artefacts
from models.networks.artefacts import POPULARITY
from models.sequences import SECONDS_PER_DAY
from tests.jobs.train.test_no_leak import CANDIDATES, KNOWN, NEW, SIZES, VALIDATION, lake_of, truth
from tests.support.toy_shop import NIGHT, run_of

RUN = run_of(NIGHT)
STAMPS = ["as_of", "run_id", "since"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return lake_of(tmp_path_factory.mktemp("shop"), truth(), later=False)


def test_a_split_learns_before_it_and_is_judged_on_each_day_after_it(lake: Lake) -> None:
    split = prepare(lake, RUN, SIZES, seed=5)
    days, first = split.test.days, split.test.days.first
    assert split.at == RUN.midnight - timedelta(days=SIZES.days) and first == int(split.at.timestamp())
    assert (split.test.train.times < first).all()
    assert sorted(set(days.days.tolist())) == [0, 1, 2]
    assert len(split.vocabulary) == KNOWN and len(split.new) == NEW
    assert days.targets.products.max() < KNOWN <= split.test_of_new.targets.products.min()
    assert set(split.test_of_new.customers) <= set(days.customers)
    assert split.cold_events == int((split.sequences.products >= KNOWN).sum()) > 0
    assert len(split.markets) == len(days) and len(split.categories) == KNOWN + NEW


def test_at_most_so_many_customers_are_judged_and_choose(lake: Lake) -> None:
    split = prepare(lake, RUN, SplitSizes(SIZES.days, VALIDATION, 30, 25), seed=5)
    assert split.validation is not None
    assert len(np.unique(split.test.days.customers)) == 30
    assert len(np.unique(split.validation.days.customers)) == 25
    assert set(split.test_of_new.customers) <= set(split.test.days.customers)


def test_without_days_or_customers_enough_no_settings_are_chosen(lake: Lake, tmp_path: Path) -> None:
    assert prepare(lake, RUN, SplitSizes(SIZES.days, 0, 1_000, 60), seed=5).validation is None
    few = lake_of(tmp_path, truth()[: 3 * FEWEST - 1], later=False)
    assert prepare(few, RUN, SIZES, seed=5).validation is None
    assert prepare(few, RUN, SplitSizes(SIZES.days, 90, 1_000, 60), seed=5).validation is None, "nothing lies before"


def gone() -> list[list[tuple[int, str, float]]]:
    """The shop without events on the days that models are judged on."""
    return [[event for event in row if event[2] > SIZES.days] for row in truth()]


def test_a_shop_without_a_customer_who_comes_back_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompareError, match=r"no customer has events before 2026-04-03 and, in the 3 days aft"):
        prepare(lake_of(tmp_path, gone(), later=False), RUN, SIZES, seed=5)


def test_where_nothing_can_be_compared_popularity_serves(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, gone(), later=False)
    counts = execute(lake, RUN, TrainConfig(CANDIDATES, holdout_days=SIZES.days, device="cpu"))
    (row,) = lake.arrow(MODELS).to_pylist()
    assert (row["kind"], row["champion"], row["ndcg"]) == (POPULARITY, True, None)
    assert counts.note.startswith("popularity serves, with the same popular products for everybody; no model could be")
    assert "a comparison needs 20 such customers" in row["reason"] and "--set train.holdout_days=N" in counts.note
    model_id, model = load_champion(lake, RUN, Compute("cpu"))
    assert model_id == row["model_id"] == f"popularity-{RUN.run_id}" and not len(lake.arrow(EVALUATIONS))
    histories = read_histories(lake, RUN.as_of, model.vocabulary).sequences
    share = np.bincount(histories.products) / len(histories.products)
    scores = model.encode(histories) @ model.product_vectors().T
    assert scores == pytest.approx(np.tile(share, (len(histories), 1)))
    assert "the last comparison is 0 days old" in execute(lake, RUN, TrainConfig(CANDIDATES, device="cpu")).note


def test_a_model_serves_on_where_a_later_night_has_nothing_to_compare(tmp_path: Path) -> None:
    config = TrainConfig({"closed_form": {"rank": 7}}, holdout_days=3, validation_days=0, device="cpu")
    lake = lake_of(tmp_path, truth(), later=False)
    execute(lake, RUN, config)
    before = lake.arrow(MODELS).to_pylist()
    later = replace(config, retrain_days=1, holdout_days=1)
    night = replace(RUN, as_of=RUN.as_of + timedelta(days=30))
    for table, stamps in ((CUSTOMER_SEQUENCES, STAMPS), (CATALOGUE, STAMPS[:2])):
        lake.replace(table, lake.arrow(table, as_of=RUN.as_of).drop_columns(stamps), night)
    note = execute(lake, night, later).note
    assert note.startswith(f"closed_form-{RUN.run_id} serves on, nothing could be compared: no customer has")
    assert lake.arrow(MODELS).to_pylist() == before


def test_candidates_that_find_nothing_to_learn_are_left_out(tmp_path: Path) -> None:
    """Before the split every customer has one event: no history goes on, but products have been seen."""
    once = [[event for event in row if event[2] <= SIZES.days] + row[:1] for row in truth()]
    lake = lake_of(tmp_path, [sorted(row, key=lambda event: -event[2]) for row in once], later=False)
    counts = execute(lake, RUN, TrainConfig(CANDIDATES, holdout_days=SIZES.days, validation_days=0, device="cpu"))
    assert "amf, transformer had nothing to learn from" in counts.note


def test_a_comparison_writes_its_figures_and_a_winner_with_the_chosen_settings(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, truth(), later=False)
    config = TrainConfig(CANDIDATES, holdout_days=SIZES.days, validation_days=VALIDATION, device="cpu")
    counts = execute(lake, RUN, config)
    models = {row["kind"]: row for row in lake.arrow(MODELS).to_pylist()}
    rows = lake.arrow(EVALUATIONS).to_pylist()
    figures = {(row["model_id"], row["metric"], row["slice"]): row for row in rows}
    assert models.keys() == CANDIDATES.keys() and len(figures) == len(rows) >= counts.rows_out
    assert {row["dataset"] for row in rows} == {f"each of the last {SIZES.days} days before {NIGHT}"}
    for kind, row in models.items():
        headline = figures[row["model_id"], HEADLINE, HEADLINE_SLICE]
        assert headline["value"] == row["ndcg"] and headline["ci_low"] < row["ndcg"] < headline["ci_high"]
        assert {part for model, _, part in figures if model == row["model_id"]} >= {*SLICES, "cost"}
        assert ((row["model_id"], HEADLINE, UPLIFT) in figures) == (kind != "amf")
        model, manifest = artefacts.read(lake.root / "models" / row["model_id"], Compute("cpu"))
        assert manifest.kind == kind and len(model.vocabulary) == KNOWN + (NEW if row["champion"] else 0)
    popular = figures["popularity", HEADLINE, UPLIFT]
    amf = figures[models["amf"]["model_id"], HEADLINE, HEADLINE_SLICE]["value"]
    assert popular["value"] == pytest.approx(figures["popularity", HEADLINE, HEADLINE_SLICE]["value"] / amf - 1)
    winner = next(row for row in models.values() if row["champion"])
    _, manifest = artefacts.read(lake.root / "models" / winner["model_id"], Compute("cpu"))
    assert manifest.metadata["learning"].keys() == {*CANDIDATES, f"{winner['kind']}, on everything"}
    assert manifest.metadata["validation"].keys() == CANDIDATES.keys() and all(manifest.metadata["validation"].values())
    split = prepare(lake, RUN, SplitSizes(SIZES.days, VALIDATION, 5_000, 1_500), config.seed)
    assert split.validation is not None
    again = artefacts.create(winner["kind"], split.vocabulary, Compute("cpu"), **CANDIDATES[winner["kind"]])
    choice = again.choose(split.validation.train, split.catalogue, split.validation.headline)
    assert manifest.config == json.loads(json.dumps(choice.settings))
    assert (split.validation.days.first + VALIDATION * SECONDS_PER_DAY) == split.test.days.first
    assert counts.note.startswith(f"{winner['kind']} serves: highest ndcg@10") and "customers compared" in counts.note
    assert "the last comparison is 0 days old" in execute(lake, RUN, config).note


def test_settings_stay_as_given_where_none_are_chosen(tmp_path: Path) -> None:
    lake = lake_of(tmp_path, truth(), later=False)
    execute(lake, RUN, TrainConfig({"closed_form": {"rank": 7}}, holdout_days=3, validation_days=0, device="cpu"))
    row = lake.arrow(MODELS).to_pylist()[0]
    _, manifest = artefacts.read(lake.root / "models" / row["model_id"], Compute("cpu"))
    assert manifest.config["rank"] == 7 and manifest.metadata["validation"] == {"closed_form": []}
