"""Why a place of a list shows its product, from tables of a few rows."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.ask.explain import Explanation, default_touch_point, explain, print_explanation
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.report.figures import RULES
from jobs.tables.records import MODELS, PUBLISHED, RUNS
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    MARKET_RANKING,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from models.assembly.rulebook import DEFAULT_RULES
from tests.support.toy_shop import MIDNIGHT, MODEL, NIGHT, RUN

LATER = replace(RUN, as_of=NIGHT + timedelta(days=1), run_id="2026-04-07-abc12345")
PINNED = {"rule_id": "pin-1", "kind": "include", "attribute": "product_id", "value": "p3", "amount": 2.0,
          "reason": "campaign, asked for by [bold]Ann[/]", "market": None}  # fmt: skip
P1 = {"product_id": "p1", "market": "GB"}


def top_n(table: Table, *key: str, **changes: Any) -> dict[str, Any]:
    """A list of two products, the second one put there by a rule."""
    return dict(zip(table.key, key, strict=True)) | {
        "product_ids": ["p2", "p3"], "scores": [0.75, 0.5], "sources": ["model", "co-purchase"],
        "rules": ["", "pin-1"], "variant": "default", "model_id": MODEL, "short_reason": "only 2 are for sale",
    } | changes  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A night that is live, and the next one, which is staged."""
    found = Lake(tmp_path)
    for run in (RUN, LATER):
        products = [{"product_id": p, "name": f"Name of {p}", "brand": "B & Co"} for p in ("p1", "p2", "p3")]
        found.replace_rows(CATALOGUE, products, run)
        lists = [top_n(YOU_MIGHT_ALSO_LIKE, "p1", market, "default") for market in ("GB", "FR")]
        lists.append(top_n(YOU_MIGHT_ALSO_LIKE, "p2", "GB", "test", variant="test"))
        found.replace_rows(YOU_MIGHT_ALSO_LIKE, lists, run)
    found.replace_rows(RECOMMENDED_FOR_YOU, [top_n(RECOMMENDED_FOR_YOU, "c1", "GB")], RUN)
    found.replace_rows(
        BAG_EXTRAS, [top_n(BAG_EXTRAS, "p1", "GB", "default", rules=["price window", "unheard-of"])], RUN
    )
    found.replace_rows(MARKET_RANKING, [top_n(MARKET_RANKING, "GB", "*", "default", rules=None)], RUN)
    effect = {"rule_id": "pin-1", "touch_point": "you_might_also_like", "variant": "default", "positions": 1,
              "rule": json.dumps(PINNED)}  # fmt: skip
    found.replace_rows(RULE_EFFECTS, [effect], RUN)
    found.replace_rows(MODELS, [{"model_id": MODEL, "kind": "amf", "champion": True, "ndcg": 0.0931,
                                 "reason": "highest ndcg@10"}], RUN)  # fmt: skip
    found.replace_rows(RUNS, [{"step": step, "code_version": f"1.0 of {step}"} for step in ("lists", "embed")], RUN)
    surfaces = (YOU_MIGHT_ALSO_LIKE, RECOMMENDED_FOR_YOU, BAG_EXTRAS, MARKET_RANKING)
    found.replace_rows(PUBLISHED, [{"surface": table.name, "published_at": MIDNIGHT} for table in surfaces], RUN)
    return found


def test_the_live_place_is_told_with_everything_behind_it(lake: Lake) -> None:
    assert explain(lake, "you_might_also_like", P1, 1) == Explanation(
        touch_point="you_might_also_like", owner="product p1, market GB, variant default", position=1, length=2,
        product_id="p2", name="Name of p2", brand="B & Co", score=0.75,
        source="model: its vector is among the nearest the model found", rule="", night=NIGHT, run_id=RUN.run_id,
        code_version="1.0 of lists", model_id=MODEL, kind="amf", ndcg=0.0931, reason="highest ndcg@10",
        live=True, live_night=NIGHT, live_since=MIDNIGHT,
    )  # fmt: skip


def test_a_rule_of_the_policy_is_told_as_it_was_that_night(lake: Lake) -> None:
    found = explain(lake, "you_might_also_like", P1, 2)
    assert found.rule == ("pin-1: kind include, attribute product_id, value p3, amount 2.0, "
                          "reason campaign, asked for by [bold]Ann[/]")  # fmt: skip
    staged = explain(lake, "you_might_also_like", P1, 2, LATER.as_of)
    assert staged.rule == "pin-1: the table rule_effects does not say what it was that night"
    assert (staged.night, staged.live_night, staged.code_version) == (LATER.as_of, NIGHT, "")


def test_standing_rules_have_words_and_old_lists_have_none(lake: Lake) -> None:
    assert set(RULES) == set(DEFAULT_RULES)
    assert explain(lake, "bag_extras", P1, 1).rule == f"price window: {RULES['price window']}"
    assert explain(lake, "bag_extras", P1, 2).rule.startswith("unheard-of: ")
    assert explain(lake, "market_ranking", {"market": "GB"}, 2).rule == ""


def test_a_table_of_before_there_were_rules_is_told_without(lake: Lake, tmp_path: Path) -> None:
    from deltalake import write_deltalake

    old = lake.arrow(YOU_MIGHT_ALSO_LIKE, as_of=NIGHT).drop_columns(["rules"])
    earlier = Lake(tmp_path / "earlier")
    write_deltalake(str(earlier.path(YOU_MIGHT_ALSO_LIKE)), old)
    found = explain(earlier, "you_might_also_like", P1, 2, NIGHT)
    assert (found.rule, found.kind, found.ndcg, found.live_night, found.name) == ("", "", None, None, "")


@pytest.mark.parametrize(
    ("key", "touch_point"),
    [
        ({"product_id": "p1"}, "you_might_also_like"),
        ({"customer_id": "c1"}, "recommended_for_you"),
        ({"category": "hats"}, "market_ranking"),
        ({}, "you_might_also_like"),
    ],
)
def test_what_is_given_says_which_list_is_meant(key: dict[str, str | None], touch_point: str) -> None:
    assert default_touch_point(key) == touch_point


def test_what_is_left_out_of_a_key_is_the_only_one_there_is(lake: Lake) -> None:
    assert (
        explain(lake, "recommended_for_you", {"customer_id": "c1", "market": None}, 1).owner == "customer c1, market GB"
    )
    assert explain(lake, "market_ranking", {}, 1).owner == "market GB, category *, variant default"


MISTAKES: dict[str, tuple[str, dict[str, str | None], int, date | None, str]] = {
    "no touch point": ("carousel", P1, 1, None, "'carousel' is not one of you_might_also_like, people_also_bought"),
    "a table without lists": ("people_also_bought", P1, 1, None, "people_also_bought has no list of 2026-04-06"),
    "no owner": ("you_might_also_like", {"market": "GB"}, 1, None, "a list for each product; give --product"),
    "no night": ("you_might_also_like", P1, 1, date(2026, 1, 1), "no list of 2026-01-01; nights it has: 2026-04-06"),
    "several markets": ("you_might_also_like", {"product_id": "p1"}, 1, None, "give --market, one of FR, GB"),
    "another market": ("you_might_also_like", P1 | {"market": "DE"}, 1, None,
                       "it has: product p1, market FR, variant default; product p1, market GB"),
    "another variant": ("you_might_also_like", {"product_id": "p2"}, 1, None,
                        "it has: product p2, market GB, variant test"),
    "no product": ("you_might_also_like", {"product_id": "p9"}, 1, None, "it has: none for any market"),
    "too far down": ("you_might_also_like", P1, 3, None,
                     "--position 3: the list for product p1, market GB, variant default of 2026-04-06 has the places "
                     "1 to 2 (only 2 are for sale)"),
    "place zero": ("you_might_also_like", P1, 0, None, "--position 0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_names_value_and_remedy(mistake: str, lake: Lake) -> None:
    touch_point, key, position, as_of, words = MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        explain(lake, touch_point, key, position, as_of)
    assert words in str(caught.value)


def printed(found: Explanation) -> str:
    """What a terminal shows, on one line."""
    console = Console(record=True, width=400, file=io.StringIO())
    print_explanation(found, console)
    return " ".join(console.export_text().split())


def test_an_explanation_is_printed_with_its_text_as_it_is(lake: Lake) -> None:
    text = printed(explain(lake, "you_might_also_like", P1, 2))
    assert "position 2 of 2" in text and "product p3, Name of p3, B & Co" in text and "score 0.5000" in text
    assert "live yes, since 2026-04-06 00:00 UTC" in text and "[bold]Ann[/]" in text
    assert f"model {MODEL}, amf quality held-out NDCG@10 0.0931; highest ndcg@10" in text
    staged = printed(explain(lake, "you_might_also_like", P1, 1, LATER.as_of))
    assert "rule none moved it" in staged and "live no, 2026-04-06 is" in staged
