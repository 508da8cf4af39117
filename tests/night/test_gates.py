"""Gates against staged nights that were damaged in many ways: each is stopped, and nobody reads anything new."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import pytest

from jobs.errors import GateError, UserError
from jobs.tables import (
    AVAILABILITY,
    CUSTOMER_EMBEDDINGS,
    EVENTS,
    GATES,
    MODELS,
    PEOPLE_ALSO_BOUGHT,
    RECOMMENDED_FOR_YOU,
    RUNS,
    YOU_MIGHT_ALSO_LIKE,
    Table,
)
from tests.night.nights import FIRST, SECOND, Rows, Shop


def with_first_place(rows: Rows, row: int, product: str) -> Rows:
    """The lists with another product in the first place of one of them."""
    changed = [dict(r) for r in rows]
    changed[row]["product_ids"] = [product, *changed[row]["product_ids"][1:]]
    return changed


def show_what_the_market_lacks(shop: Shop, as_of: date) -> None:
    sold = {(r["product_id"], r["market"]) for r in shop.rows(AVAILABILITY, as_of) if r["available"]}
    products = sorted({product for product, _ in sold})

    def change(rows: Rows) -> Rows:
        row, lacking = next(
            (i, p) for i, r in enumerate(rows) for p in products
            if (p, r["market"]) not in sold and p not in r["product_ids"]
        )  # fmt: skip
        return with_first_place(rows, row, lacking)

    shop.rewrite(PEOPLE_ALSO_BOUGHT, change, as_of)


def show_a_product_nobody_knows(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: with_first_place(rows, 3, "P-invented"), as_of)


def repeat_a_product(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: with_first_place(rows, 0, rows[0]["product_ids"][1]), as_of)


def show_the_product_itself(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: with_first_place(rows, 5, rows[5]["product_id"]), as_of)


def show_a_bought_product(shop: Shop, as_of: date) -> None:
    sold = {(r["product_id"], r["market"]) for r in shop.rows(AVAILABILITY, as_of) if r["available"]}
    events = shop.lake.arrow(EVENTS, ("customer_id", "product_id", "event_type")).to_pylist()
    bought = {(r["customer_id"], r["product_id"]) for r in events if r["event_type"] == "purchase"}

    def change(rows: Rows) -> Rows:
        row, product = next(
            (i, p) for i, r in enumerate(rows) for who, p in sorted(bought)
            if who == r["customer_id"] and (p, r["market"]) in sold
        )  # fmt: skip
        return with_first_place(rows, row, product)

    shop.rewrite(RECOMMENDED_FOR_YOU, change, as_of)


def lose_most_rows(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: rows[: len(rows) // 3], as_of)


def lose_one_row(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: rows[1:], as_of)


def lose_every_row(shop: Shop, as_of: date) -> None:
    shop.rewrite(PEOPLE_ALSO_BOUGHT, lambda _: [], as_of)


def shorten_the_lists(shop: Shop, as_of: date) -> None:
    def change(rows: Rows) -> Rows:
        return [r | {"product_ids": r["product_ids"][:3], "short_reason": "for want of time"} for r in rows]

    shop.rewrite(PEOPLE_ALSO_BOUGHT, change, as_of)


def empty_a_list_in_silence(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: [rows[0] | {"product_ids": []}, *rows[1:]], as_of)


def spoil_the_index(shop: Shop, as_of: date) -> None:
    path = shop.lake.directory("indexes", as_of) / YOU_MIGHT_ALSO_LIKE.name / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"recall": 0.31}), "utf-8")


def embed_customers_with_another_model(shop: Shop, as_of: date) -> None:
    shop.rewrite(CUSTOMER_EMBEDDINGS, lambda rows: [r | {"model_id": "amf-of-last-year"} for r in rows], as_of)


def make_the_champion_worse_than_popularity(shop: Shop, _: date) -> None:
    shop.rewrite(MODELS, lambda rows: [r | {"ndcg": 0.001} for r in rows], FIRST)


def show_something_else_entirely(shop: Shop, as_of: date) -> None:
    """Lists that keep every rule, but hold nothing of what is live."""
    live = {(r["product_id"], r["market"]): r["product_ids"] for r in shop.rows(YOU_MIGHT_ALSO_LIKE, FIRST)}
    by_market: dict[str, list[str]] = {}
    for row in shop.rows(YOU_MIGHT_ALSO_LIKE, as_of):
        by_market.setdefault(row["market"], []).append(row["product_id"])

    def change(rows: Rows) -> Rows:
        changed = []
        for row in rows:
            old = {*live.get((row["product_id"], row["market"]), ()), row["product_id"]}
            fresh = [product for product in by_market[row["market"]] if product not in old]
            changed.append(row | {"product_ids": fresh[: len(row["product_ids"])]})
        return changed

    shop.rewrite(YOU_MIGHT_ALSO_LIKE, change, as_of)


@dataclass(frozen=True)
class Damage:
    """What was done to a staged night, and the gates that must say so."""

    do: Callable[[Shop, date], None]
    gates: tuple[str, ...]

    def __str__(self) -> str:
        return self.do.__name__


DAMAGES = (
    Damage(show_what_the_market_lacks, ("people_also_bought_unavailable",)),
    Damage(show_a_product_nobody_knows, ("recommended_for_you_unavailable",)),
    Damage(repeat_a_product, ("you_might_also_like_repeats",)),
    Damage(show_the_product_itself, ("you_might_also_like_selves",)),
    Damage(show_a_bought_product, ("recommended_for_you_bought",)),
    Damage(lose_most_rows, ("you_might_also_like_coverage", "you_might_also_like_rows")),
    Damage(lose_one_row, ("recommended_for_you_coverage",)),
    Damage(lose_every_row, ("people_also_bought_coverage", "people_also_bought_rows")),
    Damage(shorten_the_lists, ("people_also_bought_full",)),
    Damage(empty_a_list_in_silence, ("recommended_for_you_explained",)),
    Damage(spoil_the_index, ("you_might_also_like_recall",)),
    Damage(embed_customers_with_another_model, ("one_model",)),
    Damage(make_the_champion_worse_than_popularity, ("champion_quality",)),
    Damage(show_something_else_entirely, ("you_might_also_like_churn",)),
)


def failed_gates(shop: Shop, as_of: date) -> list[str]:
    """Gates that the table says did not pass."""
    return [row["gate"] for row in shop.rows(GATES, as_of) if not row["passed"]]


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_night_is_stopped_and_changes_nothing(damage: Damage, copied_second: Shop) -> None:
    seen = copied_second.what_services_see()
    damage.do(copied_second, SECOND)
    with pytest.raises(GateError) as stopped:
        copied_second.step("gate", SECOND)
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
    assert {gate for damage in DAMAGES for gate in damage.gates} <= {row["gate"] for row in rows}


def test_an_accepted_gate_lets_exactly_that_gate_through(copied_second: Shop) -> None:
    show_something_else_entirely(copied_second, SECOND)
    repeat_a_product(copied_second, SECOND)
    with pytest.raises(GateError) as stopped:
        copied_second.step("gate", SECOND, accepted=["you_might_also_like_churn"])
    assert "you_might_also_like_repeats" in str(stopped.value) and "churn" not in str(stopped.value)
    assert failed_gates(copied_second, SECOND) == ["you_might_also_like_repeats"]
    copied_second.step("gate", SECOND, accepted=["you_might_also_like_churn", "you_might_also_like_repeats"])
    rows = {row["gate"]: row for row in copied_second.rows(GATES, SECOND)}
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

    common = {"coverage", "full", "explained", "repeats", "unavailable", "rows", "churn"}
    assert gates_of(YOU_MIGHT_ALSO_LIKE) == gates_of(PEOPLE_ALSO_BOUGHT) == common | {"selves", "recall"}
    assert gates_of(RECOMMENDED_FOR_YOU) == common | {"bought"}
