"""Checks which model serves which night: comparisons, promotions and demotions on a small registry."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jobs.cli.models import print_decision, print_models
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.storage import staged_folder
from jobs.run import Run
from jobs.tables.records import CHAMPIONS, MODELS
from jobs.train.champions import champion, decisions, demote, next_after, promote, record_comparison
from models.contract import Compute, Recommender
from models.networks import artefacts
from models.sequences import Sequences
from models.vocabulary import Vocabulary

DAY = date(2026, 4, 1)
NOW = datetime(2026, 5, 1, 4, tzinfo=UTC)


@cache
def tiny_model() -> Recommender:
    """A real model, fitted on two histories."""
    model = artefacts.create("amf", Vocabulary(["a", "b", "c"]), Compute("cpu"), epochs=1)
    products, times = np.array([0, 1, 2, 0, 1, 2], np.int32), np.arange(6)
    model.fit(Sequences(np.array([0, 3, 6]), products, np.zeros(6, np.int8), times))
    return model


def day(number: int) -> date:
    """The night of so many days after the first."""
    return DAY + timedelta(days=number)


def run_of(number: int, run: str = "aaaa") -> Run:
    """A run of that night."""
    return Run(day(number), f"{day(number)}-{run}", NOW + timedelta(days=number))


def comparison(lake: Lake, number: int, winner: str = "amf", log: bool = True, run: str = "aaaa") -> str:
    """Register two candidates of a night, the winner refitted, as the step train does; returns the winner's id."""
    ids = {kind: f"{kind}-{day(number)}-{run}" for kind in ("amf", "transformer")}
    rows = [
        {"model_id": model_id, "kind": kind, "champion": kind == winner, "ndcg": 0.1, "reason": "highest ndcg@10",
         "trained_on": json.dumps({"customer_sequences": number, "catalogue": 2 * number}), "code_version": "0.1 abc",
         "config_hash": "0123456789abcdef"}
        for kind, model_id in ids.items()
    ]  # fmt: skip
    lake.replace_rows(MODELS, rows, run_of(number, run), where=f"run_id = '{run_of(number, run).run_id}'")
    model = tiny_model()
    for model_id in ids.values():
        artefacts.write(model, lake.root / "models" / model_id, {}, staged_folder)
    if log:
        record_comparison(lake, run_of(number, run), ids[winner], "highest ndcg@10")
    return ids[winner]


def serving(lake: Lake, number: int) -> str | None:
    """Who serves that night."""
    row = champion(lake, run_of(number))
    return None if row is None else str(row["model_id"])


def log_of(lake: Lake) -> list[tuple[date, str, str]]:
    """(first night, model, decided by) of every decision, in the order in which they hold."""
    return [(made.as_of, made.model_id, made.decided_by) for made in decisions(lake)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Comparisons on days 0, 7 and 14."""
    lake = Lake(tmp_path)
    for number in (0, 7, 14):
        comparison(lake, number)
    return lake


def test_the_newest_decision_up_to_a_night_holds_for_it(lake: Lake) -> None:
    assert serving(lake, -1) is None
    assert [serving(lake, number) for number in (0, 6)] == [f"amf-{day(0)}-aaaa"] * 2
    assert [serving(lake, number) for number in (7, 13)] == [f"amf-{day(7)}-aaaa"] * 2
    assert serving(lake, 30) == f"amf-{day(14)}-aaaa"


def test_a_lake_without_a_log_goes_by_the_champions_in_models(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    old = [comparison(lake, number, log=False) for number in (0, 7)]
    assert not lake.exists(CHAMPIONS)
    assert [serving(lake, number) for number in (-1, 3, 7, 9)] == [None, old[0], old[1], old[1]]
    promote(lake, old[0], day(8), "asked for", NOW)
    assert [serving(lake, number) for number in (3, 7, 8, 20)] == [old[0], old[1], old[0], old[0]]
    new = comparison(lake, 14)
    assert [serving(lake, number) for number in (8, 14)] == [old[0], new]


def test_a_promotion_holds_from_its_night_until_the_next_decision(lake: Lake) -> None:
    first, _, third = (f"amf-{day(number)}-aaaa" for number in (0, 7, 14))
    made = promote(lake, first, day(9), "the new one likes shoes too much", NOW)
    assert made is not None and made.reason == "the new one likes shoes too much"
    assert [serving(lake, number) for number in (8, 9, 13, 14)] == [f"amf-{day(7)}-aaaa", first, first, third]
    ended = next_after(lake, made)
    assert ended is not None and (ended.as_of, ended.model_id) == (day(14), third)


def test_running_the_comparison_again_does_not_override_a_person(lake: Lake) -> None:
    first = f"amf-{day(0)}-aaaa"
    promote(lake, first, day(14), "asked for", NOW)
    comparison(lake, 14)
    assert serving(lake, 14) == first
    again = comparison(lake, 14, "transformer", run="bbbb")
    assert serving(lake, 14) == first
    assert [row for row in log_of(lake) if row[0] == day(14)] == [
        (day(14), again, "contest"), (day(14), first, "promote")
    ]  # fmt: skip


def test_a_comparison_of_other_settings_leaves_models_that_others_serve(lake: Lake) -> None:
    promoted = f"amf-{day(7)}-aaaa"
    promote(lake, promoted, day(20), "asked for", NOW)
    comparison(lake, 7, "transformer", run="bbbb")
    assert serving(lake, 20) == promoted
    assert serving(lake, 7) == f"transformer-{day(7)}-bbbb"


def test_a_person_who_changes_their_mind_is_followed(lake: Lake) -> None:
    for hour, number in ((1, 0), (2, 7)):
        promote(lake, f"amf-{day(number)}-aaaa", day(20), "asked for", NOW + timedelta(hours=hour))
    assert serving(lake, 20) == f"amf-{day(7)}-aaaa"
    assert len(log_of(lake)) == 5, "the log keeps both"


def test_promoting_who_serves_already_changes_nothing(lake: Lake) -> None:
    before = log_of(lake)
    assert promote(lake, f"amf-{day(14)}-aaaa", day(15), "asked for", NOW) is None
    assert log_of(lake) == before


def test_demotions_go_back_one_champion_after_the_other(lake: Lake) -> None:
    first, second, third = (f"amf-{day(number)}-aaaa" for number in (0, 7, 14))
    made = demote(lake, day(15), "", NOW)
    assert (made.model_id, made.decided_by, made.reason) == (second, "demote", f"in place of {third}")
    assert [serving(lake, number) for number in (14, 15)] == [third, second]
    assert demote(lake, day(15), "again", NOW + timedelta(hours=1)).model_id == first
    with pytest.raises(UserError, match=f"no champion before that of {day(15)} .* {first} is the only one"):
        demote(lake, day(15), "once more", NOW + timedelta(hours=2))
    assert serving(lake, 15) == first


def test_a_demotion_takes_a_promotion_back(lake: Lake) -> None:
    promote(lake, f"amf-{day(0)}-aaaa", day(15), "asked for", NOW)
    assert demote(lake, day(16), "it was worse", NOW).model_id == f"amf-{day(14)}-aaaa"


def test_nobody_can_be_demoted_where_nothing_was_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was trained yet"):
        demote(Lake(tmp_path), day(0), "", NOW)


# --- refusals


def refused(lake: Lake, model_id: str, first: date) -> str:
    """Why a promotion is refused; it must have changed nothing."""
    before = log_of(lake)
    with pytest.raises(UserError) as why:
        promote(lake, model_id, first, "asked for", NOW)
    assert log_of(lake) == before and why.value.exit_code == 2
    return str(why.value)


def test_a_model_that_nobody_trained_is_refused(lake: Lake) -> None:
    message = refused(lake, "amf-of-dreams", day(20))
    assert "no model is called 'amf-of-dreams'; champions so far: " in message and f"amf-{day(7)}-aaaa" in message


def test_a_model_that_was_only_compared_is_refused(lake: Lake) -> None:
    message = refused(lake, f"transformer-{day(7)}-aaaa", day(20))
    assert "was only compared" in message and "with transformer as its only candidate" in message


def test_a_model_cannot_serve_a_night_before_it_was_trained(lake: Lake) -> None:
    assert f"give --from {day(7)} or later" in refused(lake, f"amf-{day(7)}-aaaa", day(6))


@pytest.mark.parametrize("damage", ["missing", "truncated", "tampered", "manifest"])
def test_a_model_whose_files_are_not_whole_is_refused(damage: str, lake: Lake) -> None:
    model_id = f"amf-{day(0)}-aaaa"
    folder = lake.root / "models" / model_id
    weights = folder / "weights.safetensors"
    if damage == "missing":
        folder.rename(folder.with_name("elsewhere"))
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "tampered":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        (folder / "manifest.json").write_text((folder / "manifest.json").read_text().replace("amf", "afm"))
    message = refused(lake, model_id, day(20))
    assert message.startswith(f"{model_id} cannot serve: ")
    demote(lake, day(14), "", NOW)
    with pytest.raises(UserError, match=f"{model_id} cannot serve"):
        demote(lake, day(14), "", NOW + timedelta(hours=1))


# --- what a person sees


def shown(lake: Lake) -> str:
    """The command's output, wide enough for one line a row."""
    console = Console(width=240, record=True, force_terminal=False)
    print_models(lake, console)
    return console.export_text()


def line_of(text: str, word: str) -> str:
    """The first line that has a word."""
    return next(line for line in text.splitlines() if word in line)


def test_the_registry_says_what_was_trained_on_what_and_who_serves(lake: Lake) -> None:
    promote(lake, f"amf-{day(0)}-aaaa", day(20), "[red]shoes[/red] \x1b[2J", NOW)
    (lake.root / "models" / f"amf-{day(7)}-aaaa" / "weights.safetensors").unlink()
    text = shown(lake)
    newest = line_of(text, f"amf-{day(14)}-aaaa")
    assert f"events before {day(14)} (catalogue v28, customer_sequences v14)" in newest
    assert all(word in newest for word in ("0.1000", "0.1 abc", "0123456789abcdef", "served"))
    assert f"serves since {day(20)}" in line_of(text, f"amf-{day(0)}-aaaa")
    assert "only compared" in line_of(text, f"transformer-{day(0)}-aaaa")
    assert "served; its files are missing or were changed" in line_of(text, f"amf-{day(7)}-aaaa")
    assert "promote" in text and "[red]shoes[/red]" in text and "\x1b" not in text


def test_a_lake_without_models_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the step train"):
        shown(Lake(tmp_path))


def test_a_decision_says_until_when_it_holds(lake: Lake) -> None:
    console = Console(width=200, record=True)
    early = promote(lake, f"amf-{day(0)}-aaaa", day(8), "asked for", NOW)
    late = promote(lake, f"amf-{day(0)}-aaaa", day(20), "asked for", NOW + timedelta(hours=1))
    assert early is not None and late is not None
    for made in (early, late):
        print_decision(lake, made, console)
    first, second = console.export_text().splitlines()
    assert first.endswith(f"until amf-{day(14)}-aaaa takes over on {day(14)}")
    assert second.endswith("until the next comparison or decision")
