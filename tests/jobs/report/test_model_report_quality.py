"""What the model report reads from the evaluations and from a manifest."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import pytest

from jobs.report.figures import Quality
from jobs.report.model.quality import (
    by_metric,
    by_slice,
    comparison_of,
    decision,
    gaps,
    learning,
    metric_title,
    named,
    over_amf,
)

RUN = "2026-04-06-abc"
NIGHT = date(2026, 4, 6)
MODELS: list[dict[str, Any]] = [
    {"model_id": f"amf-{RUN}", "kind": "amf", "champion": False, "ndcg": 0.1, "reason": "worse"},
    {"model_id": f"transformer-{RUN}", "kind": "transformer", "champion": True, "ndcg": 0.2, "reason": "highest"},
]


def figure(scorer: str, value: float, part: str = "as served", metric: str = "ndcg@10", customers: int = 50) -> Quality:
    own = f"{scorer}-{RUN}" if scorer in ("amf", "transformer", "closed_form") else scorer
    return Quality(own, metric, part, value, value - 0.01, value + 0.01, customers, own != scorer, False, "days", NIGHT)


def test_scorers_stand_from_best_to_worst_in_every_panel() -> None:
    found = [figure("amf", 0.1), figure("transformer", 0.2), figure("popularity", 0.05)]
    found += [figure("transformer", 0.15, "new to the customer"), figure("amf", 0.9, metric="recall@20")]
    panels = by_metric(named(found, MODELS))
    assert [panel.title for panel in panels] == ["NDCG@10", "Recall@20"]
    assert [line.label for line in panels[0].lines] == ["transformer", "AMF", "popularity"]
    assert panels[0].series == ("as served", "new to the customer"), "the one that decides stands first"
    assert [line.marked for line in panels[0].lines] == [True, False, False]
    assert panels[0].lines[0].figures[1] is not None and panels[0].lines[1].figures[1] is None


def test_slices_are_told_by_prefix_and_stand_in_their_own_order() -> None:
    found = [figure(scorer, value) for scorer, value in (("amf", 0.1), ("transformer", 0.2), ("popularity", 0.05))]
    parts = ("history 20+", "history 5-9", "history 1-4", "target purchase", "target click", "new to the customer")
    found += [figure(scorer, 0.1, part) for scorer in ("amf", "transformer") for part in parts]
    found += [figure("amf", 0.1, "market GB", customers=9), figure("amf", 0.1, "market DE", customers=30)]
    found += [figure("transformer", 0.1, "new products"), figure("random order", 0.01, "new products")]
    panels = by_slice(named(found, MODELS))
    assert [[line.label.split(":")[0] for line in panel.lines] for panel in panels] == [
        ["1-4", "5-9", "10-19", "20+"], ["click", "save", "bag", "purchase"], ["DE", "GB"],
        ["transformer", "random order"],
    ]  # fmt: skip
    assert panels[0].series == ("transformer, the champion", "AMF"), "who was not measured has no mark and no legend"
    assert panels[2].series == ("AMF",)
    assert panels[0].lines[0].label == "1-4: 50 customers"
    assert panels[0].lines[2].label == "10-19: no figures, because fewer than 20 customers are in it"


def test_no_slices_give_no_panels() -> None:
    assert by_slice([]) == by_metric([]) == [] and gaps([]) is over_amf([]) is None


def test_where_no_candidate_won_the_last_champion_goes_on() -> None:
    rows = [row | {"champion": False} for row in MODELS]
    found = named([figure("amf", 0.1), figure("last champion", 0.3), figure("transformer", math.inf)], rows)
    assert [(q.scorer, q.champion, q.trained) for q in found] == [("last champion", True, True), ("amf", False, True)]
    assert [(c.label, c.champion) for c in decision(found, rows)] == [
        ("last champion", True), ("AMF", False), ("transformer", False),
    ]  # fmt: skip


def test_costs_and_gaps_are_part_of_the_decision() -> None:
    found = named(
        [figure("amf", 12.2, "cost", "train seconds"), figure("amf", 4012, "cost", "customers encoded per second"),
         figure("amf", -0.02, "decision", "ndcg@10 minus the winner's"), figure("transformer", 0.2)],
        MODELS,
    )  # fmt: skip
    first, second = decision(found, MODELS)
    assert (first.label, first.costs) == ("transformer", "")
    assert second.costs == "trained in 12 s, encodes 4,012 customers a second"
    panel = gaps(found)
    assert panel is not None and panel.lines[0].label == "AMF"


def test_uplifts_are_of_models_and_the_best_baseline_in_percent() -> None:
    found = [figure("amf", 0.1), figure("transformer", 0.2), figure("popularity", 0.05), figure("item-knn", 0.04)]
    found += [figure(name, value, "uplift over amf") for name, value in (("transformer", 1.0), ("popularity", -0.5))]
    panel = over_amf(named([*found, figure("item-knn", -0.6, "uplift over amf")], MODELS))
    assert panel is not None and panel.percent
    drawn = [(line.label, line.figures[0].value if line.figures[0] else None, line.marked) for line in panel.lines]
    assert drawn == [("transformer", 100.0, True), ("popularity", -50.0, False)]


def test_a_candidate_without_a_curve_is_named() -> None:
    models = [*MODELS, {"model_id": "c", "kind": "closed_form", "champion": False, "ndcg": 0.1, "reason": ""}]
    compared = comparison_of([], models, {"learning": {"amf": [2.0, 1.0], "transformer, on everything": [2.0, 1.0]}})
    assert compared.without_loss == ("closed form",)


def test_nights_of_older_code_decide_by_all_products() -> None:
    found = [figure("amf", 0.2, "all"), figure("transformer", 0.1, "all"), figure("amf", 0.1, "new to the customer")]
    compared = comparison_of(found, MODELS, {})
    assert compared.parts == ("all products", "new to the customer")
    assert compared.measured == "NDCG@10 over all products. Held-out days: days; 50 customers."
    assert [c.label for c in compared.candidates] == ["transformer", "AMF"]
    assert [f and f.value for f in compared.candidates[1].figures] == [0.2, 0.1]


def test_curves_are_lists_of_finite_numbers() -> None:
    recorded = {"amf": [3.0, 2.0], "transformer": [4, 3.5, 3], "odd": [1.0, math.nan], "one": [1.0], "text": "x"}
    curves = learning({"learning": recorded}, "transformer")
    assert [(c.name, [(p.at, p.value) for p in c.points]) for c in curves] == [
        ("transformer", [(1, 4), (2, 3.5), (3, 3)]),
        ("amf", [(1, 3.0), (2, 2.0)]),
    ]


@pytest.mark.parametrize("metadata", [{}, {"learning": None}, {"learning": [1, 2]}])
def test_no_record_is_no_curve(metadata: dict[str, Any]) -> None:
    assert learning(metadata, "amf") == []


def test_metrics_have_the_names_people_use() -> None:
    assert [metric_title(m) for m in ("ndcg@10", "hit_rate@20", "odd")] == ["NDCG@10", "Hit rate@20", "odd"]
