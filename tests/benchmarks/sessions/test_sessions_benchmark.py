"""The benchmark of sessions: what it reads, refuses, splits, and writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.errors import UserError
from models.sequences import Sequences
from tests.benchmarks.common import comparison, presets
from tests.benchmarks.common.clicks import final_problem, newest, prefixes_of, read, validation_problem
from tests.benchmarks.common.log import Log, peak_memory_mb
from tests.benchmarks.common.problem import Entrant, Problem
from tests.benchmarks.common.small_data import TINY, session_files, write_lines
from tests.benchmarks.common.worker import Outcome, give, result, work
from tests.benchmarks.sessions import __main__ as sessions
from tests.support.strategies import histories

pytestmark = pytest.mark.soak


def in_this_process(entrant: Entrant, folder: Path, seeds: list[int], log: Log) -> Outcome:
    """`worker.run` without the seconds that another Python takes to start."""
    give(entrant, folder, seeds, log)
    work(folder)
    return result(entrant, folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.SESSIONS, "quick", TINY)
    monkeypatch.setattr(comparison, "run", in_this_process)
    torch.set_num_threads(1)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sessions", *map(str, arguments)])
    sessions.main()


def test_ids_are_integers_or_strings_and_products_are_those_of_the_training_file(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", [{"items": [7, "b"]}, {"items": ["7"]}, {"items": []}])
    test = write_lines(
        tmp_path / "test.jsonl.gz", [{"items": ["b", "c", 7], "target": "b"}, {"items": [], "target": 9}]
    )
    clicks = read(train, test)
    assert clicks.vocabulary.ids.to_pylist() == ["7", "b"]
    assert [row.tolist() for row in clicks.train] == [[0, 1], [0], []]
    assert [row.tolist() for row in clicks.prefixes] == [[1, 0], []]
    assert (clicks.targets.tolist(), clicks.unknown_clicks) == ([1, -1], 1)
    assert (np.diff(clicks.train.times) > 0).all()


def test_prefixes_of_one_session_are_one_group_in_either_order(tmp_path: Path) -> None:
    train = write_lines(tmp_path / "train.jsonl", [{"items": [1, 2]}])
    falling = [([1, 2, 3], 4), ([1, 2], 3), ([1], 2)]
    rising = [([5], 6), ([5, 6], 7)]
    others = [([9], 6), ([1, 2], 9)]
    lines = [{"items": items, "target": target} for items, target in [*falling, *rising, *others]]
    clicks = read(train, write_lines(tmp_path / "test.jsonl", lines))
    assert clicks.groups.tolist() == [0, 0, 0, 1, 1, 2, 3]


GOOD = '{"items": [1, 2], "target": 3}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (GOOD + "\nhello\n", "line 3 is not JSON"),
        (GOOD + "[1, 2]\n", "line 2 is"),
        ('{"target": 3}\n', "line 1 is"),
        ('{"items": 3, "target": 3}\n', "expected a list"),
        ('{"items": [1, null], "target": 3}\n', "None is no product id"),
        ('{"items": [true], "target": 3}\n', "True is no product id"),
        ('{"items": [1], "target": 1.5}\n', "1.5 is no product id"),
    ],
)
def test_a_test_file_that_cannot_be_used_is_named_with_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    train = write_lines(tmp_path / "train.jsonl", [{"items": [1, 2]}])
    test = tmp_path / "test.jsonl"
    test.write_text(text, "utf-8")
    with pytest.raises(UserError, match=message) as raised:
        read(train, test)
    assert str(test) in str(raised.value)


def test_damaged_missing_and_too_short_files_exit_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = session_files(tmp_path)
    damaged, single = tmp_path / "damaged.gz", write_lines(tmp_path / "single.jsonl", [{"items": [1]}] * 3)
    damaged.write_bytes(train.read_bytes()[:60])
    few = write_lines(tmp_path / "few.jsonl", [{"items": [1, 2]}])
    out = tmp_path / "out.json"
    faults: dict[str, tuple[Any, ...]] = {
        "cannot be read": ("--train", damaged),
        "No such file": ("--train", tmp_path / "nowhere"),
        "has two items": ("--train", single),
        "too few to set": ("--train", few),
        "there is no bert": ("--models", "amf,bert"),
        "every model once": ("--models", "amf,amf"),
        "at least 1": ("--seeds", 0),
        "make it first": ("--json", tmp_path / "no" / "folder"),
    }
    for message, changed in faults.items():
        with pytest.raises(SystemExit) as ended:
            command(monkeypatch, "--train", train, "--test", test, "--json", out, *changed)
        assert (ended.value.code, message in capsys.readouterr().err) == (2, True), message
    assert not out.exists()


def test_every_click_but_the_first_is_an_answer_to_those_before_it() -> None:
    prefixes, targets, owner = prefixes_of(histories([(1, 0), (2, 1), (3, 2)], [(4, 0)], [], [(5, 0), (6, 1)]))
    assert [row.tolist() for row in prefixes] == [[1], [1, 2], [5]]
    assert (targets.tolist(), owner.tolist()) == ([2, 3, 6], [0, 0, 3])


def test_settings_are_chosen_on_the_last_sessions_and_the_final_fit_reads_those_too(tmp_path: Path) -> None:
    clicks = read(*session_files(tmp_path))
    train = newest(clicks.train, 50)
    finale = validation_problem(clicks, train, 0.2, 1_000, seed=1)
    problem = final_problem(clicks, 50, None, seed=1)
    assert (len(finale.train), len(problem.train)) == (40, 50)
    np.testing.assert_array_equal(problem.train.products[: len(finale.train.products)], finale.train.products)
    later = clicks.train.take(np.arange(50, 60))
    assert len(finale.cases[0].targets) == (later.lengths - 1).sum()
    assert np.isin(finale.cases[0].targets.products, later.products).all()
    assert problem.products == 12


def test_the_whole_benchmark_writes_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quick: None
) -> None:
    train, test = session_files(tmp_path)
    out = tmp_path / "out.json"
    command(
        monkeypatch, "--train", train, "--test", test, "--models", "markov,transformer,amf", "--seeds", 2, "--json", out
    )  # fmt: skip
    found = json.loads(out.read_text("utf-8"))
    assert set(found) == {"data", "models"}
    assert (found["data"]["judged_rows"], found["data"]["cold_targets"]) == (20, 1)
    assert list(found["models"]) == ["markov", "transformer", "amf"]
    for name, model in found["models"].items():
        for metric in sessions.METRICS:
            assert 0 <= model[metric]["low"] <= model[metric]["value"] <= model[metric]["high"] <= 1
        assert len(model["ndcg@10"]["seeds"]) == (1 if name == "markov" else 2)
        assert min(model[key] for key in ("train_seconds", "sessions_per_second", "encode_per_second")) > 0
        assert model["peak_memory_mb"] <= peak_memory_mb()
        assert model["trials"] == (0 if name == "markov" else TINY.trials)
        assert set(model["uplift_over_amf"]) == (set() if name == "amf" else set(sessions.METRICS))
    over = found["models"]["markov"]["uplift_over_amf"]["ndcg@20"]
    ratio = found["models"]["markov"]["ndcg@20"]["value"] / found["models"]["amf"]["ndcg@20"]["value"] - 1
    assert over["value"] == pytest.approx(ratio)
    assert over["low"] <= over["value"] <= over["high"]
    # 19 of the 20 rows go up the ladder, which a Markov chain knows; the last asks for a product nobody knows.
    assert found["models"]["markov"]["hr@10"]["value"] == 0.95
    assert found["models"]["amf"]["params"]["epochs"] in (2, 4)
    assert found["models"]["transformer"]["params"]["epochs"] in (1, 2)
    shown = capsys.readouterr().out
    assert "trial 2 of 2" in shown
    assert "Uplift over AMF" in shown


def test_a_problem_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    problem = final_problem(read(*session_files(tmp_path)), 30, 7, seed=3)
    problem.save(tmp_path)
    loaded = Problem.load(tmp_path)

    def plain(sequences: Sequences) -> list[list[int]]:
        return [values.tolist() for values in vars(sequences).values()]

    assert plain(loaded.train) == plain(problem.train)
    assert (loaded.products, loaded.until, loaded.catalogue) == (problem.products, problem.until, None)
    assert plain(loaded.histories["prefixes"]) == plain(problem.histories["prefixes"])
    ours, theirs = loaded.cases[0], problem.cases[0]
    assert (ours.name, ours.reads, ours.count_misses, ours.only) == (theirs.name, theirs.reads, True, ())
    assert plain(ours.targets) == plain(theirs.targets)
    assert ours.groups.tolist() == theirs.groups.tolist()
