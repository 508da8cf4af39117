"""Writes a first source for an unknown export, with its guesses as comments, for a person to correct."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from feature_repo.client.list_ids import FORM
from jobs.ingest.guesses import (
    EVENT_WORDS,
    ID,
    LINE_TOTAL,
    UNDONE,
    SampledColumn,
    SampledView,
    best,
    compact,
    is_unique,
    roles_of,
    with_time_of_day,
)
from jobs.ingest.rules import EVENT_COLUMNS, EVENT_TYPES, REQUIRED
from jobs.ingest.value_forms import mostly
from jobs.tables.shop import EVENTS
from jobs.text import clean

EVENT_ROLES = (
    *("customer_id", "product_id", "event_type", "event_ts", "basket_id", "event_id", "quantity", "price", "market"),
    *("status", "cancelled_at"),
)
PRODUCT_ROLES = (
    *("product_id", "name", "brand", "category", "department", "colour", "price", "currency", "launched_at"),
    *("image_url", "updated_at"),
)
OF_ORDERS = ("customer_id", "event_ts", "market")
"""Roles that all lines of an order share."""
FEW_WEEKS = 21
"""Days after which a weekday without a file is no chance."""
MOST_NAMES = 12
"""Columns that a comment lists."""
PLACE = re.compile("place|position|rank|slot")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
KINDS_OF_VIEWS = (
    ("purchase", "buy|order|purchase|transaction|sale|invoice|kauf|bestell|rechnung"),
    ("bag", "cart|bag|basket|warenkorb"),
    ("save", "wish|fav|save|like|merk"),
    ("click", "click|view|browse|visit|impression|klick"),
)
"""Event type -> what a folder of such events may be called."""


@dataclass
class Drafted:
    """A SELECT in the making."""

    relation: str
    """What stands behind FROM."""
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Column of the contract -> (SQL, lines of comment)."""
    excluded: list[tuple[str, str]] = field(default_factory=list)
    """(condition, the reason to leave such rows out)."""
    tail: str = ""
    """What follows the relation."""

    def text(self, wanted: Sequence[str] = ()) -> str:
        """The SELECT; `wanted` columns that it lacks are null, as a UNION needs."""
        lines = []
        for name in [*self.columns, *(name for name in wanted if name not in (*self.columns, "excluded"))]:
            sql, comment = self.columns.get(name, ("CAST(NULL AS STRING)", ""))
            lines.append((sql if sql == name else f"{sql} AS {name}", comment))
        if self.excluded:
            cases = [f"    WHEN {condition} THEN '{reason}'" for condition, reason in self.excluded]
            lines.append(("\n".join(("CASE", *cases, "  END AS excluded")), ""))
        elif "excluded" in wanted:
            lines.append(("CAST(NULL AS STRING) AS excluded", ""))
        commas = [","] * (len(lines) - 1) + [""]
        listed = [
            "".join(f"  -- {clean(note)}\n" for note in notes.splitlines()) + f"  {sql}{comma}"
            for (sql, notes), comma in zip(lines, commas, strict=True)
        ]
        return "\n".join(["SELECT", *listed, f"FROM {self.relation}{self.tail}"])


def draft_source(views: Sequence[SampledView], about: str) -> str:
    """The text of a source for these views; `about` says in a line where they are from.

    It parses where rows with a product were found: what no column tells is null, beside a TODO.
    """
    shown = [view for view in views if _lists_of(view)]
    events, left = _events_of([view for view in views if view not in shown] or views)
    drafts = [_events_select(view) for view in events]
    wanted = [n for n in (*EVENT_COLUMNS, "excluded") if any(n in d.columns for d in drafts)]
    if any(draft.excluded for draft in drafts):
        wanted.append("excluded")
    ordered = [replace(d, columns=_in_order(d.columns, wanted, len(drafts) > 1)) for d in drafts]
    parts = [
        f"-- {about}",
        "-- `guess:` says why, `TODO:` what only you can tell. Correct it, then see what it gives with",
        "-- `python -m jobs check` (columns: docs/data.md).",
        *_directives(events),
        "",
        "-- events",
        "\nUNION ALL\n".join(draft.text(wanted if len(drafts) > 1 else ()) for draft in ordered),
    ]
    catalogue, used = _catalogue(events, left)
    if catalogue:
        parts[-1] += ";"
        parts += ["", "-- catalogue", catalogue.text()]
        if available := _availability(used, ordered):
            parts[-1] += ";"
            parts += ["", "-- availability", available.text()]
    for view in shown[:1] if shown != events else ():
        parts[-1] += ";"
        parts += ["", "-- impressions", _impressions(view).text()]
    parts += [f"-- not used: the folder {view.name} ({_names(view)})" for view in left if view is not used]
    return "\n".join(parts) + "\n"


def _in_order(
    columns: Mapping[str, tuple[str, str]], wanted: Sequence[str], united: bool
) -> dict[str, tuple[str, str]]:
    """The wanted columns; a UNION's are all strings, since engines differ in what they make of two types."""
    none = ("CAST(NULL AS STRING)", "")
    ordered = {name: columns.get(name, none) for name in wanted if name != "excluded"}
    return {
        name: (
            f"CAST({sql} AS STRING)" if united and re.search(r"timestamp|round\(", sql, re.I) and "(" in sql else sql,
            note,
        )
        for name, (sql, note) in ordered.items()
    }


def _names(view: SampledView, found: Mapping[str, SampledColumn] | None = None) -> str:
    names = [column.name for column in view.columns if column not in (found or {}).values()]
    return clean(", ".join(names[:MOST_NAMES])) + (" .." if len(names) > MOST_NAMES else "")


def _directives(events: Sequence[SampledView]) -> Iterator[str]:
    """Weekdays on which no file comes."""
    days = sorted({day for view in events for day in view.days})
    if len(days) > 1 and (days[-1] - days[0]).days >= FEW_WEEKS:
        seen = {day.weekday() for day in days}
        closed = [name for number, name in enumerate(WEEKDAYS) if number not in seen]
        if 0 < len(closed) <= 2:
            yield f"--! closed_weekdays = [{', '.join(map(repr, closed))}]".replace("'", '"')


# --- which views hold events


def _events_of(views: Sequence[SampledView]) -> tuple[list[SampledView], list[SampledView]]:
    """(views of events, those left over); several views are joined where no one tells who, what and when."""
    whole = [view for view in views if _tells(view, "customer_id", "product_id", "event_ts")]
    others = [view for view in views if view not in whole]
    # Beside a log without purchases, tables of orders tell them.
    if not any(map(_sells, whole)) and (found := _order_lines(others)):
        joined, used = found
        return [*whole, joined], [view for view in others if view not in used]
    if whole:
        return whole, others
    most = max(views, key=lambda view: len(_told(view, *REQUIRED[EVENTS.name])))
    return [most], [view for view in views if view is not most]


def _sells(view: SampledView) -> bool:
    """Whether a view of events has purchases among them."""
    words = _told(view, "event_type").get("event_type", _NOTHING).counts
    return _tells(view, "basket_id") or any(EVENT_WORDS.get(compact(word)) == "purchase" for word in words)


def _order_lines(views: Sequence[SampledView]) -> tuple[SampledView, list[SampledView]] | None:
    """The lines of orders joined with their orders, and the views that took; None where no two views are these."""
    for lines in sorted(views, key=lambda view: -len(_told(view, "product_id", "basket_id", "quantity", "price"))):
        if not _tells(lines, "product_id", "basket_id"):
            continue
        for orders in views:
            if orders is not lines and _tells(orders, "basket_id", "event_ts"):
                return _joined(lines, orders, views)
    return None


def _told(view: SampledView, *roles: str) -> dict[str, SampledColumn]:
    return roles_of(view.columns, roles)


def _tells(view: SampledView, *roles: str) -> bool:
    return len(_told(view, *roles)) == len(roles)


def _joined(
    lines: SampledView, orders: SampledView, views: Sequence[SampledView]
) -> tuple[SampledView, list[SampledView]]:
    """The lines of orders with what their orders tell, and with what the customers' own table tells."""
    used = [lines, orders]
    line_key = _told(lines, "product_id", "basket_id")["basket_id"]
    keys = (line_key, _order_key(orders, line_key))
    relation = f"{lines.name}\nJOIN {orders.name} ON {_qualified(keys[0]).sql} = {_qualified(keys[1]).sql}"
    who = best(orders.columns, "customer_id")
    for view in views:
        key = next((c for c in view.columns if who and compact(c.name) == compact(who.name)), None)
        if who and key and view not in used and not best(view.columns, "product_id"):
            relation += f"\nLEFT JOIN {view.name} ON {_qualified(who).sql} = {_qualified(key).sql}"
            used.append(view)
            break
    columns = [_qualified(column) for view in used for column in view.columns if column is not keys[1]]
    return SampledView(relation, tuple(columns), lines.lines, orders.days), used


def _order_key(orders: SampledView, line_key: SampledColumn) -> SampledColumn:
    """The column of a view of orders that its lines name: of unique ones that with most of their values."""
    known = [(len(column.counts.keys() & line_key.counts.keys()), column) for column in orders.columns]
    shared = [(count, column) for count, column in known if count and is_unique(column)]
    return max(shared, key=lambda each: each[0])[1] if shared else _told(orders, "basket_id")["basket_id"]


def _qualified(column: SampledColumn) -> SampledColumn:
    plain = re.fullmatch(r"\w+|`.*`", column.sql)
    return replace(column, sql=f"{column.view}.{column.sql}") if plain else column


# --- the SELECT for events


def _events_select(view: SampledView) -> Drafted:
    found = roles_of(view.columns, EVENT_ROLES)
    if view.lines and "event_id" in found and not found["event_id"].sql.startswith("line."):
        whole = found.pop("event_id")  # of all lines
        found.setdefault("basket_id", whole)
    if "event_ts" in found:
        found["event_ts"] = with_time_of_day(found["event_ts"], view.columns)
    draft = Drafted(view.name, tail=f"\n{view.lines}" if view.lines else "")
    basket = found.get("basket_id")
    for role, column in found.items():
        if role in EVENT_COLUMNS:
            draft.columns[role] = _expression(role, column, view, basket)
    if "price" in found and _is_of_line(found["price"]):
        draft.columns["price"] = _price_of_piece(found)
    _add_event_type(draft, view, found)
    for role in REQUIRED[EVENTS.name]:
        if role not in draft.columns:
            draft.columns[role] = ("CAST(NULL AS STRING)", f"TODO: which is it? There are {_names(view, found)}")
    _add_excluded(draft, view, found)
    return draft


def _expression(role: str, column: SampledColumn, view: SampledView, basket: SampledColumn | None) -> tuple[str, str]:
    """(SQL, comment) of a column of events."""
    sql, notes = column.sql, []
    if role in OF_ORDERS and basket and column.view == basket.view and view.filled_from(basket, column):
        sql = f"max({sql}) OVER (PARTITION BY {basket.sql})"
        notes.append("guess: only some lines of an order tell it")
    if role == "event_ts":
        return _instant(column, sql, notes)
    if role in ("price", "quantity"):
        read = (column.number or "{}").format(sql)
        notes += [f"guess: {column.present[0]} is read as a number"] * (read != sql)
        return read, "\n".join(notes)
    if role.endswith("_id") and column.is_float:
        sql = f"regexp_replace({sql}, '[.]0$', '')"
        notes.append(f"guess: {column.present[0]} was a whole number")
    if role == "customer_id":
        sql, more = _customer(column, sql)
        notes += more
    if role == "market" and column.named(role) <= 40:
        notes.append(f"guess: each {column.name} gets lists of its own; without this line the shop is one market")
    if role == "product_id" and column.named(role) <= 20:
        notes.append("TODO: a name is a poor id; is there a number of the product?")
    return sql, "\n".join(notes)


def _is_of_line(price: SampledColumn) -> bool:
    return LINE_TOTAL.fullmatch(compact(price.name)) is not None


def _price_of_piece(found: Mapping[str, SampledColumn]) -> tuple[str, str]:
    """(SQL, comment) of the price where it is for all pieces of a line."""
    price, quantity = found["price"], found.get("quantity")
    sql = (price.number or "{}").format(price.sql)
    if quantity is None:
        return sql, f"TODO: is {price.name} for one piece?"
    pieces = (quantity.number or "{}").format(quantity.sql)
    note = f"guess: {price.name} is for all pieces of a line"
    return f"round(try_cast({sql} AS DOUBLE) / nullif(try_cast({pieces} AS DOUBLE), 0), 2)", note


def _customer(column: SampledColumn, sql: str) -> tuple[str, list[str]]:
    if any("@" in value for value in column.present[:20]):
        return f"sha2(lower(trim({sql})), 256)", ["guess: the lake need not know addresses, so it gets their hashes"]
    if column.named("customer_id") <= 40:
        return sql, ["TODO: a session or name is a poor customer; is there a number of theirs?"]
    return sql, []


def _instant(column: SampledColumn, sql: str, notes: list[str]) -> tuple[str, str]:
    found = column.instant
    if found is None:
        return sql, f"TODO: {column.present[0] if column.present else 'nothing'} is no time that is read"
    if found.sql != "{}":
        notes.append(f"guess: {found.what}")
    if found.unsure:
        notes.append(f"TODO: {found.unsure}")
    zoned = re.search(r"([+-]\d{2}:?\d{2}|Z|UTC|GMT)$", column.present[0])
    if not zoned and "since" not in found.what and ":" in column.present[0]:
        notes.append("TODO: in UTC? if not, to_utc_timestamp(.., 'Europe/Berlin')")
    return found.sql.format(sql), "\n".join(notes)


def _add_event_type(draft: Drafted, view: SampledView, found: Mapping[str, SampledColumn]) -> None:
    """The event type from a column of words, from the folder's name, or from what else a row tells."""
    column = found.get("event_type")
    if column is None:
        named = next((kind for kind, names in KINDS_OF_VIEWS if re.search(names, view.name, re.IGNORECASE)), None)
        sold = found.keys() & {"basket_id", "quantity"}
        why = "guess: by the folder's name; click, save, bag or purchase"
        if not named:
            named = "purchase" if sold else "click"
            why = f"{'guess' if sold else 'TODO'}: no column tells; click, save, bag or purchase"
        draft.columns["event_type"] = (f"'{named}'", why)
        return
    word = f"lower(trim({column.sql}))"
    kinds = {value.lower(): EVENT_WORDS[compact(value)] for value in column.counts if compact(value) in EVENT_WORDS}
    others = [value for value in column.counts if value.lower() not in kinds]
    if all(value == kind for value, kind in kinds.items()) or set(column.counts) <= set(EVENT_TYPES):
        sql = word
    else:
        cases = "".join(f"\n    WHEN {_text(value)} THEN '{kind}'" for value, kind in kinds.items())
        sql = f"CASE {word}{cases}\n  END"
    told = clean(", ".join(others[:8]))
    draft.columns["event_type"] = (sql, f"TODO: also there, left out: {told}" if others else "")
    if others:
        known = ", ".join(map(_text, kinds))
        draft.excluded.append((f"{word} NOT IN ({known})", "another kind of event"))


def _add_excluded(draft: Drafted, view: SampledView, found: Mapping[str, SampledColumn]) -> None:
    """Rows that are no fault and no event."""
    if cancelled := found.get("cancelled_at"):
        draft.excluded.append((f"{_filled(cancelled, view, found)} IS NOT NULL", "cancelled"))
    if status := found.get("status"):
        undone = ", ".join(_text(value.lower()) for value in status.counts if UNDONE.fullmatch(value.lower()))
        draft.excluded.append((f"lower({_filled(status, view, found)}) IN ({undone})", "cancelled or given back"))
    quantity = found.get("quantity")
    if quantity and quantity.number and any(value.startswith("-") for value in quantity.present):
        number = quantity.number.format(quantity.sql)
        draft.excluded.append((f"try_cast({number} AS DOUBLE) < 1", "return or correction"))
    for role, reason in (("customer_id", "no customer"), ("product_id", "no product")):
        column = found.get(role)
        if column and column.blank > 0 and "OVER" not in draft.columns[role][0]:
            draft.excluded.append((f"{column.sql} IS NULL", reason))


def _filled(column: SampledColumn, view: SampledView, found: Mapping[str, SampledColumn]) -> str:
    basket = found.get("basket_id")
    if basket and column.view == basket.view and view.filled_from(basket, column):
        return f"max({column.sql}) OVER (PARTITION BY {basket.sql})"
    return column.sql


def _text(value: str) -> str:
    """A text in SQL."""
    return "'" + value.lower().replace("\\", "\\\\").replace("'", "\\'") + "'"


# --- the SELECTs for catalogue and availability


def _catalogue(events: Sequence[SampledView], left: Sequence[SampledView]) -> tuple[Drafted | None, SampledView | None]:
    """The SELECT for products, and its view; from the events' own rows where no view of products is there."""
    sold = {value for view in events for value in (best(view.columns, "product_id") or _NOTHING).counts}
    for view in left:
        key = _key_of(view, sold)
        others = [column for column in view.columns if column is not key]
        found = roles_of(others, PRODUCT_ROLES[1:])
        of_people = any(column.named("customer_id") >= 80 for column in view.columns)
        if key and found and not of_people and not best(view.columns, "basket_id"):
            draft = Drafted(view.name)
            for role, column in ({"product_id": key} | found).items():
                draft.columns[role] = _described(role, column)
            if len(key.counts) < len(key.present):
                draft.columns["product_id"] = (key.sql, "guess: several rows of a product; the newest counts")
            return draft, view
    first = events[0]
    roles = roles_of(first.columns, ("customer_id", "product_id", "event_ts", *PRODUCT_ROLES[1:6], "currency"))
    if not roles.keys() & set(PRODUCT_ROLES[1:6]) or "product_id" not in roles or "event_ts" not in roles:
        return None, None
    return _catalogue_of_events(first, roles), None


_NOTHING = SampledColumn("", "", "", ())


def _key_of(view: SampledView, sold: set[str]) -> SampledColumn | None:
    """The column of a view of products that has the ids of the events."""
    known = [(sum(value in sold for value in column.counts), column) for column in view.columns]
    shared = [
        (count, column)
        for count, column in known
        if count > 0 and (column.named("product_id") or re.fullmatch(f"(entity)?{ID}", compact(column.name)))
    ]
    found = max(shared, key=lambda each: each[0])[1] if shared else best(view.columns, "product_id")
    if found is None:
        found = next((c for c in view.columns if compact(c.name) == "id"), None)
    return found


def _described(role: str, column: SampledColumn) -> tuple[str, str]:
    """(SQL, comment) of a column of products."""
    if role in ("launched_at", "updated_at"):
        return (column.instant.sql if column.instant else "{}").format(column.sql), ""
    if role == "price":
        return (column.number or "{}").format(column.sql), ""
    if role == "product_id" and column.is_float:
        return f"regexp_replace({column.sql}, '[.]0$', '')", ""
    return column.sql, ""


def _catalogue_of_events(view: SampledView, roles: dict[str, SampledColumn]) -> Drafted:
    """Products as their newest event names them."""
    draft = Drafted(view.name)
    product, _ = _described("product_id", roles["product_id"])
    when, _ = _described("updated_at", with_time_of_day(roles["event_ts"], view.columns))
    draft.columns["product_id"] = (product, "")
    prices = roles_of(view.columns, ("quantity", "price")) if "price" not in roles else {}
    told = {name: (roles | prices)[name] for name in PRODUCT_ROLES[1:] if name in roles | prices}
    for role, column in told.items():
        sql, _ = _price_of_piece(prices) if role == "price" and _is_of_line(column) else _described(role, column)
        some = f" FILTER (WHERE {column.sql} IS NOT NULL)" if column.blank else ""
        draft.columns[role] = (f"max_by({sql}, {when}){some}", "")
    # Sail finds no field of an exploded line in a WHERE.
    some = f"\n{view.lines}" if view.lines else f"\nWHERE {roles['product_id'].sql} IS NOT NULL"
    draft.tail = f"{some}\nGROUP BY 1"
    return draft


def _availability(view: SampledView | None, events: Sequence[Drafted]) -> Drafted | None:
    """What can be bought, where a table of products tells it and the shop has one market."""
    if view is None or any("market" in draft.columns for draft in events):
        return None
    found = roles_of(view.columns, ("product_id", "available"))
    if len(found) < 2:
        return None
    stock = found["available"]
    draft = Drafted(view.name)
    draft.columns["product_id"] = _described("product_id", found["product_id"])
    draft.columns["market"] = ("'all'", "guess: the events name no market")
    sql = f"try_cast({stock.sql} AS DOUBLE) > 0" if stock.number and set(stock.counts) - {"0", "1"} else stock.sql
    draft.columns["available"] = (sql, "")
    return draft


def _lists_of(view: SampledView) -> SampledColumn | None:
    """The column of a view that says which list was shown, as the client names lists."""
    known = re.compile(FORM).match
    return next((column for column in view.columns if mostly(column.present, known)), None)


def _impressions(view: SampledView) -> Drafted:
    """What pages logged of what they showed."""
    shown = _lists_of(view)
    assert shown
    roles = roles_of(
        [column for column in view.columns if column is not shown], ("customer_id", "product_id", "event_ts")
    )
    draft = Drafted(view.name)
    for role, name in (("customer_id", "customer_id"), ("product_id", "product_id"), ("event_ts", "shown_at")):
        todo = ("CAST(NULL AS STRING)", f"TODO: which is it? There are {_names(view, roles)}")
        draft.columns[name] = (
            _described("updated_at" if role == "event_ts" else role, roles[role]) if role in roles else todo
        )
    draft.columns["list_id"] = (shown.sql, "")
    if place := next((column for column in view.columns if PLACE.search(compact(column.name))), None):
        draft.columns["place"] = (place.sql, "")
    return draft
