"""The command that loads, checks and shows rules."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.cli.policy import in_words, state
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.policy.compile import stored_rules
from jobs.policy.parse import read_rules
from jobs.policy.rules import Rule
from jobs.policy.variants import Variant
from jobs.tables.shop import AVAILABILITY, CATALOGUE
from tests.support.policy_files import BOOST, NIGHT, SAMPLE, said_by


def with_shop(lake: Lake) -> None:
    """A catalogue of one product and its market."""
    product = {"product_id": "P1", "brand": "Best", "category": "hats", "department": "men"}
    place = {"product_id": "P1", "market": "GB", "available": True}
    for table, row in ((CATALOGUE, product), (AVAILABILITY, place)):
        rows = [row | {"as_of": NIGHT, "run_id": "r"}]
        lake.overwrite(table, pa.Table.from_pylist(rows, schema=arrow_schema(table)))


def test_names_that_nothing_has_are_noted_not_refused(bare_lake: Lake, rules_file: Any) -> None:
    with_shop(bare_lake)
    text = "rule_id,kind,market,attribute,value,amount\nr1,boost,UK,brand,Beast,3\nr2,boost,GB,brand,Best,3\n"
    said = said_by(bare_lake, rules_file(text)).splitlines()
    assert said[1:] == ["note: r1: no brand 'Beast' tonight, but 'Best'", "note: r1: no market 'UK' tonight"]
    assert len(stored_rules(bare_lake)) == 2


def test_an_include_that_another_rule_excludes_is_noted(bare_lake: Lake, rules_file: Any) -> None:
    with_shop(bare_lake)
    text = "rule_id,kind,attribute,value,amount\nr1,include,product_id,P1,3\nr2,exclude,category,hats,\n"
    assert said_by(bare_lake, rules_file(text)).splitlines()[1:] == ["note: r1: 'P1' is excluded by r2"]


def test_a_pin_that_its_market_does_not_sell_is_noted(bare_lake: Lake, rules_file: Any) -> None:
    with_shop(bare_lake)
    rows = [("P1", "GB", True), ("P1", "FR", False), ("P9", "FR", True)]
    sold = [dict(zip(("product_id", "market", "available"), row, strict=True)) for row in rows]
    night = [row | {"as_of": NIGHT, "run_id": "r"} for row in sold]
    bare_lake.overwrite(AVAILABILITY, pa.Table.from_pylist(night, schema=arrow_schema(AVAILABILITY)))
    text = "rule_id,kind,market,attribute,value,amount\nr1,include,FR,product_id,P1,3\nr2,include,GB,product_id,P1,3\n"
    assert said_by(bare_lake, rules_file(text), check=True).splitlines()[1:] == [
        "note: r1: 'P1' is not sold in FR tonight"
    ]


def test_show_prints_every_rule_with_its_state(bare_lake: Lake) -> None:
    said_by(bare_lake, SAMPLE)
    said = said_by(bare_lake, show=True)
    assert said.startswith("Policy, night 2026-04-06")
    assert all(rule.rule_id in said and in_words(rule) in said for rule in stored_rules(bare_lake))
    assert "brand Nifdora Mockwear up 8" in said and "you_might_also_like, GB" in said
    assert "lists of women may show children" in said and "price from 0.5 to 2 times the product's" in said


def test_show_prints_text_as_text(bare_lake: Lake, rules_file: Any) -> None:
    said = said_by(bare_lake, rules_file(BOOST.replace("Acme", "[red]\x1b[31mA[/]")), show=True)
    assert "brand [red]A[/] up 3" in said


def test_the_state_of_a_rule_in_words() -> None:
    days = [date(2026, 4, 5), NIGHT, date(2026, 4, 7)]
    assert state(Rule(rule_id="r", kind="boost"), NIGHT) == "holds"
    assert [state(Rule(rule_id="r", kind="boost", ends_on=day), NIGHT) for day in days] == [
        "over since 2026-04-05", "holds to 2026-04-06", "holds to 2026-04-07"]  # fmt: skip
    assert [state(Rule(rule_id="r", kind="boost", starts_on=day), NIGHT) for day in days] == [
        "holds",
        "holds",
        "from 2026-04-07",
    ]


def test_the_command_wants_something_to_do(bare_lake: Lake) -> None:
    for check, show in ((False, False), (True, False), (True, True)):
        with pytest.raises(UserError, match=r"give --file rules\.csv, a file of rules, or --show"):
            said_by(bare_lake, None, check, show)


def test_the_command_knows_the_variants(bare_lake: Lake, rules_file: Any) -> None:
    path = rules_file("rule_id,kind,variant,amount\nr1,brand_cap,b,3\n")
    with pytest.raises(UserError, match="variant = 'b' is not one of tonight's variants a, c"):
        said_by(bare_lake, path, variants=[Variant("a", 0.5), Variant("c", 0.5)])
    assert "1 rule loaded" in said_by(bare_lake, path, variants=[Variant("a", 0.5), Variant("b", 0.5)])


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(tmp_path))  # the entry point sets it where it is not set
    runner = CliRunner()
    common = ["policy", "--root", str(tmp_path / "lake"), "--as-of", "2026-04-06"]
    done = runner.invoke(app, [*common, "--file", str(SAMPLE)])
    assert done.exit_code == 0, done.output
    assert "rules loaded on 2026-04-06" in done.output
    assert len(stored_rules(Lake(tmp_path / "lake"))) == len(read_rules(SAMPLE))
    failed = runner.invoke(app, [*common, "--file", str(tmp_path / "none.csv")])
    assert isinstance(failed.exception, UserError)
