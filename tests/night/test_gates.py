"""Gates against staged nights that were damaged in many ways: each is stopped, and nobody reads anything new."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from jobs.errors import GateError, UserError
from jobs.tables.records import GATES, RUNS
from jobs.tables.shop import PEOPLE_ALSO_BOUGHT, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from tests.support.damages import DAMAGES, Damage, repeat_a_product, show_something_else_entirely
from tests.support.nights import SECOND, Shop


def failed_gates(shop: Shop, as_of: date) -> list[str]:
    """Gates that the table says did not pass."""
    return [row["gate"] for row in shop.rows(GATES, as_of) if not row["passed"]]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_night_is_stopped_and_changes_nothing(damage: Damage, copied_second: Shop) -> None:
    seen = copied_second.what_services_see()
    damage.do(copied_second, SECOND)
    with pytest.raises(GateError) as stopped:
        copied_second.step("gate", SECOND, **damage.settings)
    message = str(stopped.value)
    rows = {row["gate"]: row for row in copied_second.rows(GATES, SECOND)}
    assert stopped.value.exit_code == 3
    assert set(failed_gates(copied_second, SECOND)) == set(damage.gates)
    for gate in damage.gates:
        assert f"{gate} is {rows[gate]['value']:g}, must be {rows[gate]['rule']}" in message
        assert f"--accept {gate}" in message
    assert "What was live stays live" in message
    with pytest.raises(GateError, match=damage.gates[0]):
        copied_second.step("publish", SECOND)
    assert copied_second.what_services_see() == seen
    ledger = {row["step"]: row for row in copied_second.rows(RUNS, SECOND)}
    assert ledger["gate"]["status"] == ledger["publish"]["status"] == "failed"
    assert damage.gates[0] in ledger["gate"]["note"]


def test_an_undamaged_night_passes_every_gate(second_night: Shop) -> None:
    rows = second_night.rows(GATES, SECOND)
    assert [row["gate"] for row in rows if not row["passed"]] == []
    seldom = {"champion_fresh"}  # the tiny shop's day has fewer than 20 customers
    assert {gate for damage in DAMAGES for gate in damage.gates} - seldom <= {row["gate"] for row in rows}
    assert {row["step"] for row in rows} == {"ingest", "gate"}
    assert not any(row["accepted"] for row in rows)


def test_an_accepted_gate_lets_exactly_that_gate_through(copied_second: Shop) -> None:
    show_something_else_entirely(copied_second, SECOND)
    repeat_a_product(copied_second, SECOND)
    with pytest.raises(GateError) as stopped:
        copied_second.step("gate", SECOND, accepted=["you_might_also_like_churn"])
    assert "you_might_also_like_repeats" in str(stopped.value) and "churn" not in str(stopped.value)
    assert failed_gates(copied_second, SECOND) == ["you_might_also_like_repeats"]
    copied_second.step("gate", SECOND, accepted=["you_might_also_like_churn", "you_might_also_like_repeats"])
    rows = {row["gate"]: row for row in copied_second.rows(GATES, SECOND)}
    assert {gate for gate, row in rows.items() if row["accepted"]} == set(rows) & {
        "you_might_also_like_churn", "you_might_also_like_repeats"
    }  # fmt: skip
    on_purpose = {gate for gate, row in rows.items() if row["detail"].startswith("accepted on purpose")}
    assert on_purpose == {"you_might_also_like_churn", "you_might_also_like_repeats"}
    assert rows["you_might_also_like_churn"]["value"] == 1.0
    copied_second.step("publish", SECOND)
    assert copied_second.online().read("home_v1", [key_of_a_customer(copied_second)])[0]["night"] == str(SECOND)


def key_of_a_customer(shop: Shop) -> dict[str, str]:
    """The online key of the second night's first customer."""
    row = shop.rows(RECOMMENDED_FOR_YOU, SECOND)[0]
    return {"customer_id": row["customer_id"], "market": row["market"]}


def test_accepting_a_gate_that_passed_is_not_recorded_as_on_purpose(copied_night: Shop) -> None:
    copied_night.step("gate", accepted=["one_model"])
    details = {row["gate"]: row["detail"] for row in copied_night.rows(GATES)}
    assert "on purpose" not in details["one_model"]


def test_accepting_a_gate_that_does_not_exist_is_a_users_mistake(copied_night: Shop) -> None:
    with pytest.raises(UserError, match=r"no such gate; there are .*one_model") as refused:
        copied_night.step("gate", accepted=["one_modle"])
    assert refused.value.exit_code == 2


def test_a_night_that_never_went_through_its_gates_is_not_published(copied_second: Shop) -> None:
    seen = copied_second.what_services_see()
    with pytest.raises(GateError, match=f"never went through its gates; run `python -m jobs gate --as-of {SECOND}`"):
        copied_second.step("publish", SECOND)
    assert copied_second.what_services_see() == seen


def test_lists_staged_again_after_the_gates_are_not_published(copied_second: Shop) -> None:
    copied_second.step("gate", SECOND)
    seen = copied_second.what_services_see()
    shorter = replace(copied_second.config, lists=replace(copied_second.config.lists, top_n=5))
    Shop(copied_second.lake, shorter).step("lists", SECOND)
    with pytest.raises(GateError, match=f"staged again .* run `python -m jobs gate --as-of {SECOND}` again"):
        copied_second.step("publish", SECOND)
    assert copied_second.what_services_see() == seen


def test_the_first_night_of_a_shop_has_nothing_to_compare_with(night: Shop) -> None:
    gates = {row["gate"] for row in night.rows(GATES)}
    assert not [gate for gate in gates if gate.endswith(("_churn", "_rows"))]


def test_figures_of_each_table_are_checked(second_night: Shop) -> None:
    def gates_of(table: Table) -> set[str]:
        rows = second_night.rows(GATES, SECOND)
        return {r["gate"].removeprefix(f"{table.name}_") for r in rows if r["gate"].startswith(f"{table.name}_")}

    common = {"coverage", "full", "explained", "repeats", "uneven", "unavailable", "rows", "churn", "catalogue"}
    common |= {"fallbacks", "concentration", "bestsellers"}
    assert (
        gates_of(YOU_MIGHT_ALSO_LIKE) == gates_of(PEOPLE_ALSO_BOUGHT) == common | {"selves", "recall", "empty_markets"}
    )
    assert gates_of(RECOMMENDED_FOR_YOU) == common | {"bought"}
