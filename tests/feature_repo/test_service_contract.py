"""A change that a service would notice is noticed here first."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from feature_repo.contract import FILE, contract


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The changes from `old` to `new` that break a service, in words."""
    missing = []
    for name, view in old["views"].items():
        now = new["views"].get(name)
        if now is None:
            missing.append(f"the view {name} is missing")
            continue
        if now["keys"] != view["keys"]:
            missing.append(f"the keys of {name} are {now['keys']}, they were {view['keys']}")
        for feature, kind in view["features"].items():
            if now["features"].get(feature) != kind:
                missing.append(f"{name}.{feature} is {now['features'].get(feature, 'missing')}, it was {kind}")
    for name, service in old["services"].items():
        now = new["services"].get(name)
        if now is None:
            missing.append(f"the service {name} is missing")
        elif (now["views"], now["full_feature_names"]) != (service["views"], service["full_feature_names"]):
            missing.append(f"the service {name} gives {now['views']}, it gave {service['views']}")
    return missing


def test_the_definitions_keep_the_committed_contract() -> None:
    promised = json.loads(FILE.read_text("utf-8"))
    assert breaking(promised, contract()) == [], "services read this: give it a _v2 beside it, or migrate them"
    assert {name: promised[name] for name in ("views", "services")} == contract(), (
        "the definitions say more than feature_repo/contract.json: run `python -m feature_repo.contract`, raise its "
        "version, and commit it"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["views"]["catalogue"]["features"].pop("price"), "catalogue.price is missing, it was DOUBLE"),
        (lambda c: c["views"]["catalogue"]["features"].update(price="STRING"), "catalogue.price is STRING"),
        (lambda c: c["views"]["bag_extras"]["keys"].pop(), "the keys of bag_extras are"),
        (lambda c: c["views"].pop("market_ranking"), "the view market_ranking is missing"),
        (lambda c: c["services"].pop("home_v1"), "the service home_v1 is missing"),
        (lambda c: c["services"]["product_page_v2"]["views"].pop(), "the service product_page_v2 gives"),
    ],
)
def test_a_breaking_change_is_named(change: object, said: str) -> None:
    changed = copy.deepcopy(contract())
    change(changed)  # type: ignore[operator]
    found = breaking(contract(), changed)
    assert len(found) == 1 and found[0].startswith(said)


def test_more_is_not_breaking() -> None:
    more = copy.deepcopy(contract())
    more["views"]["catalogue"]["features"]["material"] = "STRING"
    assert breaking(contract(), more) == []


def test_every_service_has_an_example_of_a_request_and_its_answer() -> None:
    kinds = {"STRING": str, "DOUBLE": float, "ARRAY<STRING>": str, "ARRAY<FLOAT>": float, "ARRAY<TIMESTAMP>": str}
    examples, promised = json.loads(FILE.with_name("examples.json").read_text("utf-8")), contract()
    assert set(examples) == set(promised["services"])
    for name, service in promised["services"].items():
        request, answer = examples[name]["request"], examples[name]["response"]
        keys = {key for view in service["views"] for key in promised["views"][view]["keys"]}
        assert set(request["entities"]) == keys and request["full_feature_names"] == service["full_feature_names"]
        if name == "ranking_v1":
            continue
        features = {
            (f"{view}__{feature}" if service["full_feature_names"] else feature): kind
            for view in service["views"] for feature, kind in promised["views"][view]["features"].items()
        }  # fmt: skip
        assert set(answer) == keys | set(features), name
        for feature, kind in features.items():
            value = answer[feature][0]
            assert {type(one) for one in (value if kind.startswith("ARRAY") else [value])} == {kinds[kind]}, feature
