"""The judge, the search and the ablations of the offline benchmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from models.networks.artefacts import model_class
from models.sequences import Sequences
from tests.benchmarks.common import search as search_module
from tests.benchmarks.common.comparison import with_uplifts
from tests.benchmarks.common.fit import sessions_read
from tests.benchmarks.common.judge import judge
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.new_products import CategoryPopularity, RandomScores
from tests.benchmarks.common.presets import SESSIONS, TIMED, Preset
from tests.benchmarks.common.problem import Case, Entrant, Problem, single_targets, without_side_information
from tests.benchmarks.common.report import figures, uplifts
from tests.benchmarks.common.search import Chosen, for_span, search
from tests.benchmarks.common.small_data import TINY
from tests.benchmarks.common.timed import shuffled
from tests.benchmarks.common.worker import Answers
from tests.support.strategies import histories, sequences

pytestmark = pytest.mark.soak

SCORES = np.array([[0.9, 0.5, 0.1], [0.2, 0.2, 0.1], [0.9, 0.5, 0.1]], dtype=np.float32)
COUNTS = np.array([5, 1, 0])


def case_of(targets: list[int], exclude_seen: bool = False, count_misses: bool = False) -> Case:
    return Case("c", "h", single_targets(np.array(targets)), np.arange(len(targets)), exclude_seen, count_misses)


def test_a_target_outside_the_catalogue_is_a_miss_and_a_tie_counts_against_the_target() -> None:
    told = histories([(0, 0)], [(0, 0)], [(0, 0)])
    found = judge(lambda rows: SCORES[rows], case_of([1, 0, -1], count_misses=True), told, COUNTS)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.metrics["mrr@10"].tolist() == [0.5, 0.5, 0.0]
    assert found.metrics["hr@10"].tolist() == [1.0, 1.0, 0.0]
    assert found.coverage == 1.0
    assert found.popular_share == pytest.approx(1 / 3)


def test_rows_without_an_answer_are_left_out_where_misses_do_not_count() -> None:
    told = histories([(0, 0)], [(0, 0)], [(0, 0)])
    found = judge(lambda rows: SCORES[rows], case_of([1, -1, 0], exclude_seen=True), told, COUNTS)
    assert found.rows.tolist() == [0]
    assert found.metrics["mrr@10"].tolist() == [1.0]


def test_scores_that_are_not_numbers_and_cases_without_answers_are_refused() -> None:
    told = histories([(0, 0)])
    with pytest.raises(ValueError, match="NaN"):
        judge(lambda rows: np.full((1, 3), np.nan, np.float32), case_of([1]), told, COUNTS)
    with pytest.raises(ValueError, match="none of the 1 rows"):
        judge(lambda rows: SCORES[:1], case_of([-1]), told, COUNTS)


def answers(*seeds: list[float]) -> Answers:
    return Answers(np.arange(len(seeds[0])), {"ndcg@10": np.array(seeds)}, 0.5, 0.1)


def test_seeds_are_averaged_for_each_row_before_the_interval() -> None:
    groups = np.arange(4)
    found = figures(answers([1, 0, 1, 0], [0, 1, 0, 1]), groups, ["ndcg@10"])
    assert found["ndcg@10"] == {"value": 0.5, "low": 0.5, "high": 0.5, "seeds": [0.5, 0.5]}


def test_an_uplift_is_paired_and_there_is_none_over_nothing() -> None:
    groups = np.arange(4)
    found = uplifts(answers([0.6, 0.3, 0.9, 0.3]), answers([0.4, 0.2, 0.6, 0.2]), groups, ["ndcg@10"])
    assert {key: pytest.approx(0.5) for key in ("value", "low", "high")} == found["ndcg@10"]
    assert uplifts(answers([1.0, 1.0]), answers([0.0, 0.0]), groups, ["ndcg@10"]) == {"ndcg@10": None}


def test_there_is_no_uplift_until_amf_is_there() -> None:
    models: dict[str, dict[str, object]] = {"transformer": {}}
    with_uplifts(models, {}, "c", np.arange(1), ("ndcg@10",))
    assert models == {"transformer": {"uplift_over_amf": {}}}


@given(sequences())
def test_without_side_information_baskets_order_and_age_stay(data: Sequences) -> None:
    bare = without_side_information(data)
    assert bare.products.tolist() == data.products.tolist()
    assert not bare.events.any()
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        gaps, before = np.diff(bare.times[start:end]), np.diff(data.times[start:end])
        assert gaps.tolist() == (before > 0).astype(int).tolist()
        assert start == end or bare.times[end - 1] == data.times[end - 1]


@given(sequences())
def test_shuffling_keeps_each_historys_events(data: Sequences) -> None:
    mixed = shuffled(data, 3)
    events = list(zip(data.products.tolist(), data.events.tolist(), strict=True))
    other = list(zip(mixed.products.tolist(), mixed.events.tolist(), strict=True))
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        assert sorted(events[start:end]) == sorted(other[start:end])
    assert mixed.times.tolist() == data.times.tolist()


def test_recency_means_the_same_loss_of_weight_per_day_whatever_is_fitted() -> None:
    whole, newer = histories([(0, 0)], [(0, 100)]), histories([(0, 75)], [(0, 100)])
    assert for_span({"recency": 4.0}, newer, whole)["recency"] == 1.0
    assert for_span({}, whole, whole)["recency"] == 0.0


def test_sessions_read_count_epochs_recency_and_only_what_can_be_learned_from() -> None:
    data = histories([(0, 0), (1, 1)], [(0, 50)], [], [(0, 100), (1, 101)])
    assert sessions_read(data, {"epochs": 3}) == 6.0
    assert sessions_read(data, {"epochs": 1, "recency": 2.0}) == pytest.approx(1 + np.exp(-2.0))


def problem() -> Problem:
    rows = [[((start + step) % 10, 100 * start + step) for step in range(3)] for start in range(40)]
    told = histories(*[row[:2] for row in rows])
    case = Case("validation", "h", single_targets(np.array([row[2][0] for row in rows])), np.arange(40))
    return Problem(histories(*rows), 10, {"h": told}, (case,), 10_000)


@pytest.mark.parametrize("kind", ["amf", "transformer"])
def test_every_trained_model_gets_as_many_trials_and_its_defaults_first(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    tried: list[dict[str, object]] = []
    create = search_module._value

    def value(entrant: Entrant, given: Problem, settings: dict[str, object], *rest: object) -> float:
        tried.append(settings)
        return create(entrant, given, settings, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(search_module, "_value", value)
    preset = replace(TINY, trials=3)
    data = problem()
    chosen = search(Entrant(kind, kind), data, data, data.train, preset, Log())
    defaults = model_class(kind).config_class()
    assert (chosen.trials, len(tried)) == (3, 3 + len(preset.epochs))
    for name in ("learning_rate", "dropout", "weight_decay", "recency", "temperature"):
        assert tried[0][name] == pytest.approx(getattr(defaults, name))
    assert {settings["width"] for settings in tried} == {preset.width}
    assert chosen.entrant.settings["epochs"] in [preset.passes(kind, epochs) for epochs in preset.epochs]


def test_a_trial_that_diverges_counts_and_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    data = problem()

    def value(entrant: Entrant, given: Problem, settings: dict[str, object], *_: object) -> float:
        if settings["recency"]:
            raise FloatingPointError("the training loss became nan")
        return 0.5

    monkeypatch.setattr(search_module, "_value", value)
    chosen = search(Entrant("amf", "amf"), data, data, data.train, replace(TINY, trials=3, epochs=(1,)), Log())
    assert isinstance(chosen, Chosen)
    assert (chosen.trials, chosen.value, chosen.entrant.settings["recency"]) == (3, 0.5, 0.0)


def test_baselines_are_not_searched() -> None:
    entrant, data = Entrant("markov", "markov"), problem()
    assert search(entrant, data, data, data.train, TINY, Log()) == Chosen(entrant, 0, 0.0, 0.0)


@pytest.mark.parametrize("preset", [*SESSIONS.values(), *TIMED.values()])
def test_presets_can_be_run_and_give_amf_no_fewer_passes(preset: Preset) -> None:
    assert preset.width % preset.heads == 0
    assert preset.finalists <= preset.trials
    assert preset.passes("amf", 3) >= preset.passes("transformer", 3) == 3


def test_a_new_product_is_as_good_as_its_category_is_to_the_customer() -> None:
    categories = np.array([0, 0, 1, 1, 0, -1])
    data = replace(problem(), products=4, categories=categories)
    data = replace(data, new_products=type("Two", (), {"__len__": lambda self: 2})())
    train = histories([(0, 0), (0, 1), (1, 2), (2, 3)])
    scores = CategoryPopularity(data, train).scores(histories([(0, 0)], [(3, 0), (3, 1), (0, 2)]))
    assert scores.shape == RandomScores(data).scores(histories([], [])).shape == (2, 6)
    # Category 0 first; within it product 0 (2 events), the new one (their mean, 1.5), product 1 (1 event).
    assert np.argsort(-scores[0])[:3].tolist() == [0, 4, 1]
    assert np.argsort(-scores[1])[:2].tolist() == [2, 3]
