"""Explains one place of a list from the Delta tables: its source, rule, model and run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jobs.ask.campaigns import turned_to, written_to
from jobs.ask.sizes import in_words, sizes_of_customer, why_not
from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.live import live_lake, publication, staged_since
from jobs.lake.reading import StoredRow, Wanted, matching, of_night
from jobs.lake.rows import among
from jobs.policy.variants import DEFAULT
from jobs.report.figures import RULES
from jobs.tables.records import MODELS, RUNS
from jobs.tables.shop import (
    CATALOGUE,
    MARKET_RANKING,
    OUTFITS,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    SOURCES,
    STANDING_SOURCES,
    TITLES,
    TOUCH_POINTS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from jobs.text import clean
from models.arrays import BoolMask


@dataclass(frozen=True)
class Explanation:
    """One place of a list with its reasons; texts are clean, and empty where nothing is recorded."""

    touch_point: str
    owner: str
    """The owner of the list, in words."""
    position: int
    """1 being the first."""
    length: int
    product_id: str
    name: str
    brand: str
    score: float
    """The score of the source; scores of different sources cannot be compared."""
    source: str
    """The source, in words."""
    rule: str
    """The rule that moved it here, with its settings; empty without one."""
    night: date
    run_id: str
    code_version: str
    """Version of the code that wrote the list."""
    model_id: str
    kind: str
    """Empty where the model is none of the trained candidates."""
    ndcg: float | None
    """Held-out NDCG@10."""
    reason: str
    """The reason why that model serves."""
    live: bool
    """Whether services see this list."""
    live_night: date | None
    """The night that services see."""
    live_since: datetime | None
    sizes: str = ""
    """The customer's usual sizes, in words; empty for other lists, and where none is known."""
    turns_to: str = ""
    """Of a customer's list: what the customer turns to more than is usual."""
    message: str = ""
    """Of a customer's list: what the night writes to the customer about."""
    look: str = ""
    """The look and the role in it, of an outfit."""


def default_touch_point(key: Mapping[str, str | None]) -> str:
    """The touch point that the given parts of a key mean: a product's, a customer's or a category's."""
    for name, table in (("customer_id", RECOMMENDED_FOR_YOU), ("category", MARKET_RANKING)):
        if key.get(name) and (name == "customer_id" or not key.get("product_id")):
            return table.name
    return YOU_MIGHT_ALSO_LIKE.name


def explain(
    lake: Lake, touch_point: str, key: Mapping[str, str | None], position: int, as_of: date | None = None
) -> Explanation:
    """Explain the product at `position` (from 1) of a list: as it is live, or as it is staged for the night `as_of`.

    In a customer's own list a `product_id` in `key` is looked up instead; if it has no place, the UserError says why.
    `key` has the given parts of the table's key, and None for the others: by default the variant is `default`, the
    category of a market's ranking `*`, and the market the only one there is.

    Raises UserError for a list that is not there, and for a position beyond its end.
    """
    if touch_point not in TITLES:
        raise UserError(f"--touch-point {touch_point!r} is not one of {', '.join(TITLES)}")
    table = next(table for table in (*TOUCH_POINTS, OUTFITS) if table.name == touch_point)
    one = publication(lake)
    night = as_of or (one.night if one else None)
    if night is None:
        raise UserError(f"no night's {table.name} is live; publish one, or give --as-of DATE for one that is staged")
    live = one is not None and (as_of is None or (one.night == night and table.name not in staged_since(lake, one)))
    lake = live_lake(lake) if live else lake
    row = _list(lake, table, night, key)
    if table is OUTFITS and key.get("market"):
        row = _in_market(row, str(key["market"]))
    owner, at, length = _owner(table, row), position - 1, len(row["product_ids"])
    own = table is RECOMMENDED_FOR_YOU
    if own and (asked := key.get("product_id")):
        if asked not in row["product_ids"]:
            why = why_not(lake, night, row, asked)
            raise UserError(f"the list for {owner} of {night} has no {clean(asked)}: {why}")
        at = row["product_ids"].index(asked)
        position = at + 1
    if not 0 <= at < length:
        short = f" ({clean(row['short_reason'])})" if row.get("short_reason") else ""
        places = f"the places 1 to {length}" if length else "no place"
        raise UserError(f"--position {position}: the list for {owner} of {night} has {places}{short}")
    product = row["product_ids"][at]
    shown = _first(lake, CATALOGUE, of_night(night) & (pc.field("product_id") == product))
    model = _first(lake, MODELS, Wanted() & (pc.field("model_id") == (row["model_id"] or "")))
    step = _first(lake, RUNS, Wanted() & (pc.field("run_id") == row["run_id"]) & (pc.field("step") == "lists"))
    return Explanation(
        table.name,
        owner,
        position,
        length,
        clean(product),
        clean(shown.get("name")),
        clean(shown.get("brand")),
        row["scores"][at],
        _in_words(row["sources"][at], SOURCES | STANDING_SOURCES),
        _rule(lake, table, row, at),
        night,
        row["run_id"],
        clean(step.get("code_version")),
        clean(row["model_id"]),
        clean(model.get("kind")),
        model.get("ndcg"),
        clean(model.get("reason")),
        live,
        one.night if one else None,
        one.at if one else None,
        in_words(sizes_of_customer(lake, night, row["customer_id"], row["market"])) if own else "",
        turned_to(lake, night, row["customer_id"]) if own else "",
        written_to(lake, night, row["customer_id"]) if own else "",
        f"{clean(row['looks'][at])}, {clean(row['roles'][at]) or 'no role'}" if table is OUTFITS else "",
    )


def print_explanation(found: Explanation, console: Console) -> None:
    """A line for each fact."""
    live = "nothing is" if found.live_night is None else f"no, {found.live_night} is"
    since = "" if found.live_since is None else f", since {found.live_since:%Y-%m-%d %H:%M} UTC"
    if found.live:
        live = f"yes{since}"
    elif found.live_night == found.night:
        live = f"no, the night was made again; its lists before that are{since} (leave --as-of out to see them)"
    quality = "" if found.ndcg is None else f"held-out NDCG@10 {found.ndcg:.4f}; {found.reason}"
    lines = {
        "list": f"{found.touch_point} for {found.owner}",
        "position": f"{found.position} of {found.length}",
        "product": ", ".join(text for text in (found.product_id, found.name, found.brand) if text),
        "score": f"{found.score:.4f}",
        "source": found.source,
        **({"look": found.look} if found.look else {}),
        "rule": found.rule or "none moved it",
        **({"sizes": found.sizes} if found.sizes else {}),
        **{name: text for name, text in (("turns to", found.turns_to), ("message", found.message)) if text},
        "night": f"{found.night}",
        "live": live,
        "run": found.run_id + (f", code {found.code_version}" if found.code_version else ""),
        "model": f"{found.model_id}, {found.kind or 'none of the trained candidates'}" if found.model_id else "none",
        "quality": quality or "not measured",
    }
    grid = Grid(box=None, padding=(0, 1), show_header=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in lines.items():
        grid.add_row(Text(name), Text(text))
    console.print(grid)


def _first(lake: Lake, table: Table, where: Wanted) -> StoredRow:
    """The first matching row; empty where there is none."""
    return next(iter(matching(lake, table, table.names, where)), {})


def _list(lake: Lake, table: Table, night: date, key: Mapping[str, str | None]) -> StoredRow:
    """The one row with that key."""
    defaults = {"variant": DEFAULT, "category": "*"}
    given = {name: value for name in table.key if (value := key.get(name) or defaults.get(name)) is not None}
    owner = next(name for name in table.key if name not in ("market", "variant"))
    if owner not in given:
        raise UserError(f"{table.name} has a list for each {_word(owner)}; give --{_word(owner)}")
    nights = lake.nights(table)
    if night not in nights:
        raise UserError(f"{table.name} has no list of {night}; nights it has: {', '.join(map(str, nights)) or 'none'}")
    rows = _with_key(lake, table, table.names, night, given)
    if not rows:
        others = _with_key(lake, table, table.key, night, {owner: given[owner]})
        instead = "; ".join(_owner(table, row) for row in others[:5]) or "none for any market"
        words = ", ".join(f"{_word(name)} {value}" for name, value in given.items())
        raise UserError(f"{table.name} of {night} has no list for {words}; it has: {instead}")
    if len(rows) > 1:
        raise UserError(
            f"{table.name} of {night} has several lists for {_word(owner)} {given[owner]}; give --market, "
            f"one of {', '.join(row['market'] for row in rows)}"
        )
    return rows[0]


def _in_market(row: StoredRow, market: str) -> StoredRow:
    """Outfits as a market shows them."""
    shown = [f"{look}:{market}" in row["shown_in"] for look in row["looks"]]
    parts = ("product_ids", "scores", "sources", "rules", "looks", "roles")
    return row | {name: [value for value, here in zip(row[name], shown, strict=True) if here] for name in parts}


def _with_key(
    lake: Lake, table: Table, columns: Sequence[str], night: date, given: Mapping[str, str]
) -> list[StoredRow]:
    """The night's rows with these values, in key order."""

    def wanted(keys: pa.RecordBatch) -> BoolMask:
        return np.asarray(np.logical_and.reduce([among(keys[name], [value]) for name, value in given.items()]))

    names = [*columns, *(name for name in table.key if name not in columns)]
    found = [row for batch in lake.chosen(table, names, night, wanted) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: tuple(row[name] for name in table.key))


def _owner(table: Table, row: StoredRow) -> str:
    return ", ".join(f"{_word(name)} {clean(row[name])}" for name in table.key)


def _word(column: str) -> str:
    return column.removesuffix("_id")


def _rule(lake: Lake, table: Table, row: StoredRow, at: int) -> str:
    """The rule of a place in words; lists of older code have none."""
    rule = row["rules"][at] if row["rules"] else ""
    if not rule or rule in RULES:
        return _in_words(rule, RULES)
    where = of_night(row["as_of"]) & (pc.field("rule_id") == rule) & (pc.field("touch_point") == table.name)
    effect = _first(lake, RULE_EFFECTS, where & (pc.field("variant") == row["variant"]))
    if not effect.get("rule"):
        return f"{clean(rule)}: the table rule_effects does not say what it was that night"
    said = {name: value for name, value in json.loads(effect["rule"]).items() if value not in (None, "", rule)}
    return f"{clean(rule)}: " + ", ".join(f"{clean(name)} {clean(str(value))}" for name, value in said.items())


def _in_words(name: str, meaning: Mapping[str, str]) -> str:
    return f"{clean(name)}: {meaning[name]}" if name in meaning else clean(name)
