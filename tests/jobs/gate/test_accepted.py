"""Which gates may fail in which step, from the command line and from the environment of a whole night."""

from __future__ import annotations

import pytest

from jobs.cli.common import accepted, own_gates


def test_each_step_takes_its_own_gates_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTRAIL_ACCEPT", "input_events, you_might_also_like_churn ,,one_model")
    assert accepted("ingest", None) == {"accepted": ["input_events"]}
    assert accepted("gate", None) == {"accepted": ["you_might_also_like_churn", "one_model"]}
    both = accepted("gate", ["customers", "one_model"])
    assert both == {"accepted": ["customers", "one_model", "you_might_also_like_churn"]}


def test_nothing_is_accepted_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTRAIL_ACCEPT", raising=False)
    assert accepted("ingest", None) == accepted("gate", None) == {}


def test_each_step_of_a_whole_night_takes_its_own_of_the_gates_given() -> None:
    given = ["input_age", "one_model"]
    assert own_gates("ingest", given) == ["input_age"]
    assert own_gates("gate", given) == ["one_model"]
    assert own_gates("gate", None) == []
