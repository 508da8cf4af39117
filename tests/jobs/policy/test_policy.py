"""From a csv file to the table policy and back to rules."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.cli.policy import load
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.policy.compile import policy_on, read_policy, stored_rules
from jobs.policy.parse import read_rules, rules_of
from jobs.policy.rules import COLUMNS, KINDS, Move, Rule
from jobs.policy.variants import Variant
from jobs.sample_shop import SIZES
from jobs.sample_shop.world import CATEGORIES, DEPARTMENTS, brand_names, market_codes
from jobs.tables.shop import POLICY
from tests.support.policy_files import BOOST, NIGHT, SAMPLE, said_by

# --- the file

UNREADABLE: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "has no header; the first line must name columns among rule_id, kind, "),
    "a blank first line": ("\n" + BOOST, "has no header"),
    "no header": ("r1,boost,brand\n", "the header has unknown columns 'r1', 'boost', 'brand'; the first line must"),
    "unknown column": (BOOST.replace("amount", "places"), "the header has unknown columns 'places'; the first line"),
    "the command's own columns": ("rule_id,kind,as_of\n", "the header has unknown columns 'as_of'"),
    "a column twice": ("rule_id,kind,value,value\n", "the header has value more than once; keep one of each"),
    "no kind": ("rule_id,value\n", "the header has no column kind; the first line must"),
    "semicolons": (BOOST.replace(",", ";"), "the fields of the first line are not separated by commas"),
    "no UTF-8": (BOOST.encode() + b"r2,boost,brand,Caf\xe9,3\n", "line 3: byte 0xe9 is no UTF-8; save the file as"),
    "UTF-16": (BOOST.encode("utf-16"), "line 1: byte 0xff is no UTF-8; save the file as CSV UTF-8"),
    "NUL": (BOOST + "r2,boost,brand,A\0cme,3\n", "line 3: the file has a NUL character; save it as CSV UTF-8"),
    "an open quote in the header": (
        'rule_id,"kind\n',
        "line 1: the header is no csv: unexpected end of data; check its",
    ),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_cannot_be_read_says_where_and_what_to_do(case: str, rules_file: Any) -> None:
    content, words = UNREADABLE[case]
    path = rules_file(content)
    with pytest.raises(UserError) as error:
        read_rules(path)
    assert words in str(error.value)
    assert str(error.value).startswith(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(UserError, match="cannot be read: .*; give a csv file of rules"):
            read_rules(path)


def test_mistakes_are_said_by_the_line_of_the_file(rules_file: Any) -> None:
    text = BOOST.replace("amount", "amount,reason").replace(",3", ',3,"two\nlines"')
    text += "\n,,,,,\nr2,boost,brand,Acme,0,\n"
    with pytest.raises(UserError) as error:
        read_rules(rules_file(text))
    assert str(error.value) == (
        "the policy has 1 mistake; no rule was taken from it:\n"
        "  line 6, rule 'r2': amount = '0' is not allowed; boost needs a whole number from 1 to 1000 (places to move)"
    )


def test_lines_that_cannot_be_read_hide_no_mistake_of_others(rules_file: Any) -> None:
    text = BOOST + 'r2,boost\nr3,boosts,brand,Acme,3\nr4,bury,brand,"Ac"me,3\nr5,exclude,brand,Acme,,extra\n'
    with pytest.raises(UserError) as error:
        read_rules(rules_file(text + 'r6,boost,brand,Acme,0\nr7,boost,brand,"Acme,3\nr8\n'))
    said = str(error.value).splitlines()
    assert said[0] == "the policy has 6 mistakes; no rule was taken from it:"
    for line, words in zip(
        said[1:],
        (
            "line 3: has 2 fields, and the header has 5; put a text with commas in double quotes",
            "line 4, rule 'r3': kind = 'boosts' is unknown; it must be one of exclude, ",
            "line 5: is no csv: ",
            "line 6: has 6 fields, and the header has 5; ",
            "line 7, rule 'r6': amount = '0' is not allowed; ",
            "line 8: is no csv: unexpected end of data; check its double quotes",
        ),
        strict=True,
    ):
        assert line.strip().startswith(words)


def test_what_spreadsheets_write_is_read(rules_file: Any) -> None:
    text = "\ufeff" + BOOST.replace("\n", "\r\n").replace("Acme", " Acme ") + ",,,,\r\n"
    assert read_rules(rules_file(text)) == [
        Move(rule_id="r1", kind="boost", attribute="brand", value="Acme", amount=3.0)
    ]
    assert read_rules(rules_file("rule_id,kind\n")) == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text('rule_id,kindvaluemot"\n\r;\t*0 ', max_size=80).map(str.encode), st.booleans())
def test_no_file_raises_anything_but_a_user_error(tmp_path_factory: Any, content: bytes, header: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.csv"
    path.write_bytes((b"rule_id,kind,attribute,value,amount\n" if header else b"") + content)
    try:
        rules = read_rules(path)
    except UserError:
        return
    assert all(isinstance(rule, Rule) for rule in rules)


# --- the table


def test_file_to_table_to_rules(bare_lake: Lake) -> None:
    rules = read_rules(SAMPLE)
    load(bare_lake, rules, NIGHT)
    assert stored_rules(bare_lake) == sorted(rules, key=lambda rule: rule.rule_id)
    stored = bare_lake.arrow(POLICY)
    assert set(stored["as_of"].to_pylist()) == {NIGHT}
    (run_id,) = set(stored["run_id"].to_pylist())
    assert run_id.startswith("2026-04-06-") and len(run_id) == 19


def test_rules_to_file_to_rules(rules_file: Any) -> None:
    rules = read_rules(SAMPLE)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rule.model_dump() for rule in rules)
    assert read_rules(rules_file(text.getvalue())) == rules


def test_loading_replaces_all_in_one_commit(bare_lake: Lake, rules_file: Any) -> None:
    load(bare_lake, read_rules(SAMPLE), NIGHT)
    before = bare_lake.version(POLICY)
    twelve = len(read_rules(SAMPLE))
    said = said_by(bare_lake, rules_file(BOOST))
    assert said == f"1 rule loaded on 2026-04-06: 1 new, 0 changed, {twelve} gone\n"
    assert bare_lake.version(POLICY) == before + 1
    assert [rule.rule_id for rule in stored_rules(bare_lake)] == ["r1"]
    assert said_by(bare_lake, rules_file(BOOST.replace("3", "4"))).endswith("0 new, 1 changed, 0 gone\n")
    assert said_by(bare_lake, rules_file("rule_id,kind\n")).endswith("0 new, 0 changed, 1 gone\n")
    assert stored_rules(bare_lake) == []


def test_loading_the_same_twice_gives_the_same_table(bare_lake: Lake) -> None:
    load(bare_lake, read_rules(SAMPLE), NIGHT)
    first = bare_lake.arrow(POLICY)
    load(bare_lake, read_rules(SAMPLE)[::-1], NIGHT)
    assert bare_lake.arrow(POLICY).equals(first)


def test_a_file_with_a_mistake_leaves_the_table_alone(bare_lake: Lake, rules_file: Any) -> None:
    said_by(bare_lake, rules_file(BOOST))
    version = bare_lake.version(POLICY)
    with pytest.raises(UserError):
        said_by(bare_lake, rules_file(BOOST + "r2,boost,brand,Acme,\n"))
    assert bare_lake.version(POLICY) == version


def test_a_check_changes_nothing(bare_lake: Lake, rules_file: Any) -> None:
    assert said_by(bare_lake, rules_file(BOOST), check=True) == "1 rule checked, nothing is changed\n"
    assert not bare_lake.exists(POLICY)


def test_no_table_and_an_empty_one_are_no_rule(bare_lake: Lake) -> None:
    assert read_policy(bare_lake, NIGHT).rules == ()
    assert not bare_lake.exists(POLICY)
    bare_lake.create(POLICY)
    assert read_policy(bare_lake, NIGHT, [Variant()]).rules == ()


def stored(lake: Lake, *rows: dict[str, Any]) -> None:
    """Write rows as another tool might, unchecked."""
    stamp = {"as_of": NIGHT, "run_id": "another tool"}
    lake.overwrite(POLICY, pa.Table.from_pylist([row | stamp for row in rows], schema=arrow_schema(POLICY)))


def test_the_night_takes_the_rules_of_its_date(bare_lake: Lake) -> None:
    cap = {"kind": "brand_cap", "amount": 1.0}
    stored(
        bare_lake,
        {"rule_id": "over", "ends_on": date(2026, 4, 5), **cap},
        {"rule_id": "z last day", "ends_on": NIGHT, **cap},
        {"rule_id": "a first day", "starts_on": NIGHT, **cap},
        {"rule_id": "soon", "starts_on": date(2026, 4, 7), **cap},
        {"rule_id": "ever", **cap},
    )
    policy = read_policy(bare_lake, NIGHT)
    assert policy.names[-3:] == ("a first day", "ever", "z last day")
    assert [rule.rule_id for rule in policy.rules] == ["a first day", "ever", "z last day"]


def test_what_another_tool_wrote_is_checked_again(bare_lake: Lake) -> None:
    stored(bare_lake, {"rule_id": "r1", "kind": "boost", "attribute": "brand", "value": "Acme", "amount": float("nan")})
    with pytest.raises(UserError) as error:
        read_policy(bare_lake, NIGHT)
    assert "the table policy cannot be used: the policy has 1 mistake" in str(error.value)
    assert "rule 'r1': amount = nan is not allowed; boost needs a whole number" in str(error.value)
    assert str(error.value).endswith("load a checked file with `python -m jobs policy --file rules.csv`")


def test_a_rule_that_is_over_may_name_a_variant_that_is_gone(bare_lake: Lake) -> None:
    row = {"rule_id": "r1", "kind": "brand_cap", "amount": 1.0, "variant": "b", "ends_on": NIGHT}
    stored(bare_lake, row)
    assert read_policy(bare_lake, date(2026, 4, 7), [Variant("a")]).rules == ()
    assert len(read_policy(bare_lake, NIGHT, [Variant("a", 0.5), Variant("b", 0.5)]).rules) == 1
    with pytest.raises(UserError, match=r"not among tonight's a: r1 \(b\); end these rules"):
        read_policy(bare_lake, NIGHT, [Variant("a")])


# --- the example


def test_the_sample_has_every_kind_and_fits_the_sample_shop() -> None:
    shop = SIZES["sample"]
    rules = read_rules(SAMPLE)
    assert {rule.kind for rule in rules} == set(KINDS)
    known = {
        "brand": set(brand_names(shop.brands)),
        "category": {category.name for category in CATEGORIES[: shop.categories]},
        "department": set(DEPARTMENTS.values()),
        "product_id": {f"P{i:06d}" for i in range(1, shop.products)},
    }
    assert [pair for rule in rules for pair in rule.selects if pair[1] not in known[pair[0]]] == []
    assert {rule.market for rule in rules} - {None} <= set(market_codes(shop.markets))
    assert len(policy_on(rules, shop.as_of).rules) == len(rules)


def test_rules_are_equal_whether_written_or_typed() -> None:
    typed = {"rule_id": "r", "kind": "price_window", "low": 0.5, "high": 2, "starts_on": NIGHT}
    written = {"rule_id": "r", "kind": "price_window", "low": "0.5", "high": "2", "starts_on": "2026-04-06"}
    assert rules_of([typed]) == rules_of([written])
