"""Checks, loads and shows the merchandisers' rules: `python -m jobs policy`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.rows import arrow_schema
from jobs.model_inputs import read_availability
from jobs.policy.compile import Names, Rulebooks, policy_on, stored_rules
from jobs.policy.parse import read_rules
from jobs.policy.rules import COLUMNS, Rule
from jobs.policy.variants import Variant
from jobs.run import fingerprint
from jobs.tables.shop import AVAILABILITY, CATALOGUE, POLICY
from jobs.text import clean
from models.assembly.rulebook import Attributes
from models.vocabulary import Vocabulary


def run_policy(
    lake: Lake,
    as_of: date,
    file: Path | None,
    check: bool,
    show: bool,
    console: Console,
    variants: Sequence[Variant] | None = None,
) -> None:
    """Check `file` and, unless `check`, replace the table by it in one commit; `show` prints its rules, or the table's.

    Raises UserError for mistakes in the rules.
    """
    if file is None and (check or not show):
        raise UserError("give --file rules.csv, a file of rules, or --show to see those of the table")
    if file is None:
        rules = stored_rules(lake)
    else:
        rules = read_rules(file, None if variants is None else [variant.name for variant in variants])
        say_line = f"{_count(rules)} checked, nothing is changed" if check else load(lake, rules, as_of)
        console.print(_plain(say_line))
    if show:
        console.print(_grid(rules, as_of))
    for line in notes(lake, [rule for rule in rules if rule.on(as_of)], as_of):
        console.print(_plain(f"note: {line}"))


def load(lake: Lake, rules: Sequence[Rule], as_of: date) -> str:
    """Replace the table policy by the rules in one commit; returns one line about the changes."""
    rows = sorted((rule.model_dump() for rule in rules), key=lambda row: str(row["rule_id"]))
    before = _stored_rows(lake)
    run_id = f"{as_of}-{fingerprint(rows)[:8]}"
    stamped = [row | {"as_of": as_of, "run_id": run_id} for row in rows]
    lake.overwrite(POLICY, pa.Table.from_pylist(stamped, schema=arrow_schema(POLICY)))
    now = {str(row["rule_id"]): row for row in rows}
    new, gone = now.keys() - before.keys(), before.keys() - now.keys()
    changed = [name for name in now.keys() & before.keys() if now[name] != before[name]]
    return f"{_count(rules)} loaded on {as_of}: {len(new)} new, {len(changed)} changed, {len(gone)} gone"


def _stored_rows(lake: Lake) -> dict[str, dict[str, object]]:
    """The table's rows by rule_id, unchecked."""
    if not lake.exists(POLICY):
        return {}
    return {str(row["rule_id"]): row for row in lake.arrow(POLICY, COLUMNS).to_pylist()}


def notes(lake: Lake, rules: Sequence[Rule], as_of: date) -> list[str]:
    """Notes on rules that can have no effect, by the newest catalogue up to a day; none without a catalogue."""
    nights = [night for night in lake.nights(CATALOGUE) if night <= as_of]
    if not nights:
        return []
    night, labels = nights[-1], ("brand", "category", "department")
    products = lake.arrow(CATALOGUE, ("product_id", *labels, "launched_at"), night)
    names = Names(*(Vocabulary.build(products[name]) for name in ("product_id", *labels)))
    brand, category, department = (
        names.of(label).encode(products[label], missing="negative").astype(np.int64) for label in labels
    )
    nothing = np.zeros(len(products), dtype=bool)
    attributes = Attributes(brand, category, department, np.full(len(products), np.nan, np.float32), nothing)
    compiled = Rulebooks(policy_on(rules, as_of), names, attributes)
    if night not in lake.nights(AVAILABILITY):
        return compiled.notes()
    try:
        _, markets, available = read_availability(lake, night, products)
    except UserError:  # no market sells anything, which is for the night to say
        return compiled.notes()
    return compiled.notes(markets, available)


def state(rule: Rule, as_of: date) -> str:
    """The state of a rule on a night, in words."""
    if rule.starts_on is not None and as_of < rule.starts_on:
        return f"from {rule.starts_on}"
    if rule.ends_on is not None and as_of > rule.ends_on:
        return f"over since {rule.ends_on}"
    return "holds" if rule.ends_on is None else f"holds to {rule.ends_on}"


def in_words(rule: Rule) -> str:
    """The effect of a rule in words."""
    which, amount = f"{rule.attribute} {rule.value}", f"{rule.amount or 0:g}"
    bounds = [f"{word} {bound:g}" for word, bound in (("from", rule.low), ("to", rule.high)) if bound is not None]
    most = amount if rule.amount else "any number"
    return {
        "exclude": f"never {which}",
        "include": f"{which} at place {amount}",
        "boost": f"{which} up {amount}",
        "bury": f"{which} down {amount}",
        "brand_cap": f"{most} of a brand",
        "category_cap": f"{most} of a category",
        "mix_departments": f"lists of {rule.value} may show {rule.shown}",
        "price_window": f"price {' '.join(bounds)} times the product's",
        "outfit": f"{', '.join(rule.set_of)} together",
        "repeat_purchase": f"{which} again after {amount} days",
        "size_run": f"last below {amount} of its sizes",
    }[rule.kind]


def _grid(rules: Sequence[Rule], as_of: date) -> Grid:
    grid = Grid(title=f"Policy, night {as_of}", title_justify="left", box=None, padding=(0, 1))
    for heading in ("rule", "kind", "what", "where", "tonight", "reason"):
        grid.add_column(heading, overflow="fold")
    for rule in sorted(rules, key=lambda rule: rule.rule_id):
        scope = ", ".join(text for text in (rule.touch_point, rule.market, rule.variant) if text) or "everywhere"
        cells = [rule.rule_id, rule.kind, in_words(rule), scope, state(rule, as_of), rule.reason or ""]
        grid.add_row(*map(_plain, cells))
    if not rules:
        grid.caption = "no rules"
    return grid


def _count(rules: Sequence[Rule]) -> str:
    return f"{len(rules)} rule" + ("" if len(rules) == 1 else "s")


def _plain(text: str) -> str:
    return escape(clean(text))
