"""What the first sentence about the model says, in every case, and the comparison for programs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.report.figures import Quality
from jobs.report.model.quality import comparison_of, named
from jobs.report.model.story import document, explained, sentence
from tests.jobs.report.test_model_report_quality import RUN, figure

AMF, TRANSFORMER, BASELINE = figure("amf", 0.1), figure("transformer", 0.12), figure("popularity", 0.05)


def rows(*kinds: str, champion: str = "") -> list[dict[str, Any]]:
    """Rows of `models`."""
    return [
        {"model_id": f"{kind}-{RUN}", "kind": kind, "champion": kind == champion, "ndcg": 0.1, "reason": "x"}
        for kind in kinds
    ]


def gain(scorer: str, value: float, low: float, high: float) -> Quality:
    found = figure(scorer, value, "uplift over amf")
    return Quality(**{**vars(found), "low": low, "high": high})


def said(quality: list[Quality], models: list[dict[str, Any]], serves: str, kind: str = "") -> str:
    return comparison_of(quality, models, {}, f"{serves}-{RUN}", kind or serves).sentence


BOTH = [AMF, TRANSFORMER, BASELINE]


@pytest.mark.parametrize(
    ("uplift", "words"),
    [
        ((0.2264, 0.163, 0.289),
         "The transformer serves and beats AMF by 22.6% in NDCG@10 (95% interval: 16.3% to 28.9%)."),
        ((0.05, -0.01, 0.12),
         "The transformer serves, but nothing shows that it beats AMF: its NDCG@10 is 5.0% higher "
         "(95% interval: -1.0% to 12.0%, which crosses 0: it may be chance)."),
        ((-0.02, -0.08, 0.0),
         "The transformer serves, but nothing shows that it beats AMF: its NDCG@10 is 2.0% lower "
         "(95% interval: -8.0% to 0.0%, which crosses 0: it may be chance)."),
        ((-0.05, -0.09, -0.01),
         "The transformer serves although it falls behind AMF by 5.0% in NDCG@10 (95% interval: 1.0% to 9.0%)."),
    ],
)  # fmt: skip
def test_a_model_serves_beside_amf(uplift: tuple[float, float, float], words: str) -> None:
    models = rows("amf", "transformer", champion="transformer")
    assert said([*BOTH, gain("transformer", *uplift)], models, "transformer") == words


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([AMF, BASELINE], "AMF serves, the baseline itself; no other model was compared with it."),
        ([*BOTH, gain("transformer", -0.05, -0.09, -0.01), gain("popularity", -0.5, -0.6, -0.4)],
         "AMF serves, the baseline itself, so there is no uplift over it: the best of the other models, the "
         "transformer, has an NDCG@10 that is 5.0% lower (95% interval: -9.0% to -1.0%)."),
        ([*BOTH, gain("transformer", 0.02, -0.01, 0.05)],
         "AMF serves, the baseline itself, so there is no uplift over it: the best of the other models, the "
         "transformer, has an NDCG@10 that is 2.0% higher (95% interval: -1.0% to 5.0%, which crosses 0: it may be "
         "chance)."),
        (BOTH,
         "AMF serves, the baseline itself, so there is no uplift over it. AMF’s NDCG@10 of 0.1000 is 17% below that of "
         "the transformer (0.1200); their intervals overlap: it may be chance."),
    ],
)  # fmt: skip
def test_amf_serves(found: list[Quality], words: str) -> None:
    assert said(found, rows("amf", "transformer", champion="amf"), "amf") == words


def test_amf_was_not_compared() -> None:
    models = rows("closed_form", champion="closed_form")
    assert said([figure("closed_form", 0.12), BASELINE], models, "closed_form") == (
        "The closed form serves; AMF was not compared. The closed form’s NDCG@10 of 0.1200 is 140% above that of the "
        "best baseline, popularity (0.0500); their intervals do not overlap."
    )
    assert said([figure("closed_form", 0.12)], models, "closed_form") == (
        "The closed form serves; AMF was not compared."
    )


def test_nights_of_older_code_have_no_uplift() -> None:
    assert said(BOTH, rows("amf", "transformer", champion="transformer"), "transformer") == (
        "The transformer serves. The transformer’s NDCG@10 of 0.1200 is 20% above that of AMF (0.1000); their "
        "intervals overlap: it may be chance."
    )


def test_the_last_champion_goes_on() -> None:
    found = [*BOTH, figure("last champion", 0.2), gain("last champion", 0.5, 0.3, 0.7)]
    assert said(found, rows("amf", "transformer"), "earlier", "transformer") == (
        "The last champion (transformer) serves and beats a new AMF by 50.0% in NDCG@10 (95% interval: 30.0% to 70.0%)."
    )


def test_another_model_serves_than_the_winner() -> None:
    models = rows("amf", "transformer", champion="transformer")
    assert said([*BOTH, gain("transformer", 0.2, 0.1, 0.3)], models, "earlier", "amf") == (
        f"earlier-{RUN} serves, though it did not win the newest comparison. There the transformer came first and "
        "beats AMF by 20.0% in NDCG@10 (95% interval: 10.0% to 30.0%)."
    )


def test_nothing_was_measured() -> None:
    assert said([], [], "amf") == "AMF serves; no comparison has measured it."
    assert comparison_of([], [], {}).sentence == ""


def test_three_kinds_are_always_explained() -> None:
    assert [name for name, _ in explained([])] == ["AMF", "The closed form", "The transformer"]
    assert [name for name, _ in explained([figure("transformers4rec", 0.1)])][3:] == ["Transformers4Rec"]


def test_the_document_has_finite_numbers_alone() -> None:
    found = [*BOTH, figure("item-knn", float("nan")), gain("transformer", 0.2, 0.1, float("inf"))]
    found += [figure("amf", 3.0, "cost", "train seconds"), figure("amf", 0.3, metric="recall@20")]
    found += [
        figure("amf", -0.1, "decision", "ndcg@10 minus the winner's"),
        figure("random order", 0.1, "new products"),
    ]
    made = document(named(found, rows("amf", "transformer", champion="transformer")), "transformer")
    json.dumps(made, allow_nan=False)
    assert made["uplift_over_amf"] == {}
    assert made["models"] == {
        "transformer": {"as served": {"value": 0.12, "low": 0.12 - 0.01, "high": 0.12 + 0.01}},
        "amf": {"as served": {"value": 0.1, "low": 0.1 - 0.01, "high": 0.1 + 0.01}},
        "popularity": {"as served": {"value": 0.05, "low": 0.05 - 0.01, "high": 0.05 + 0.01}},
    }


def test_a_document_of_nothing() -> None:
    assert document([], "") == {
        "headline": {"metric": "ndcg@10", "slice": "as served"}, "champion": None, "models": {}, "uplift_over_amf": {},
    }  # fmt: skip


def test_popularity_says_why_it_serves() -> None:
    assert sentence([], "popularity", reason="no model could be compared") == (
        "Popularity serves: no model could be compared."
    )
    assert sentence([], "popularity") == "Popularity serves; no comparison has measured it."
