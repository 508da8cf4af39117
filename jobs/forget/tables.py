"""Deletes a customer's rows from Delta tables: from every night, every old version, and the tables' logs."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.records import REJECTED
from jobs.tables.shop import ALL, CUSTOMER_SEQUENCES, STANDING
from jobs.tables.table import Table
from jobs.text import clean

CUSTOMER = "customer_id"
NUMBERS_AND_TIMES = ("quantity", "price", "event_ts", "updated_at", "launched_at")
"""Columns of a raw row whose values an id of digits could equal by accident."""


def customer_tables() -> tuple[Table, ...]:
    """Every table with a customer_id."""
    return tuple(table for table in ALL if CUSTOMER in table.names)


def rows_of(lake: Lake, ids: Sequence[str]) -> dict[str, Counter[str]]:
    """Table -> rows of each customer, over all nights; tables without any are left out."""
    found = {}
    wanted = pc.field(CUSTOMER).isin(pa.array(ids, pa.string()))
    for table in customer_tables():
        if lake.exists(table):
            batches = lake.batches(table, [CUSTOMER], where=wanted)
            found[table.name] = Counter(value for batch in batches for value in batch[CUSTOMER].to_pylist())
    if lake.exists(REJECTED):
        found[REJECTED.name] = Counter(id for _, ids_there in _rejected_of(lake, Spellings(ids)) for id in ids_there)
    return {name: counts for name, counts in found.items() if counts}


def remove_rows(lake: Lake, ids: Sequence[str], now: datetime) -> None:
    """Delete the customers' rows from every table as it is now."""
    for table in customer_tables():
        if lake.exists(table):
            lake.create(table)  # adds the columns that an older table lacks
            _keep_nights(lake, table, ids, now)
            lake.remove(table, pc.field(CUSTOMER).isin(pa.array(ids, pa.string())))
    if lake.exists(REJECTED):
        raws = {raw for raw, _ in _rejected_of(lake, Spellings(ids))}
        lake.remove(REJECTED, pc.field("raw").isin(pa.array(sorted(raws), pa.string())))


def purge(lake: Lake, table: Table) -> None:
    """Delete the old versions of a table: their files, and their entries in the log.

    The log holds the least and the greatest id of every file. Nobody else may write the table meanwhile: files that
    are not committed yet would be deleted as unused.
    """
    lake.delta(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    lake.delta(table).alter.set_table_description(table.comment)  # a commit without ids, to begin the log with
    delta = lake.delta(table)
    delta.create_checkpoint()
    for path in (lake.path(table) / "_delta_log").iterdir():
        version = path.name.split(".", 1)[0]
        if version.isdigit() and int(version) < delta.version():
            path.unlink()


def rejected_ids(raw: str, spellings: Spellings) -> list[str]:
    """The ids that are in the JSON of a rejected row, in whichever column a broken line has put them."""
    try:
        row = json.loads(raw)
        texts = [str(value) for name, value in row.items() if name not in NUMBERS_AND_TIMES]
    except (ValueError, AttributeError):
        texts = [raw]
    whole = [text.strip(" ") for text in texts]
    text = "\n".join(whole)
    return [id for id in spellings.ids if id in whole or (id in text and Spellings([id]).within(text))]


def _rejected_of(lake: Lake, spellings: Spellings) -> Iterator[tuple[str, list[str]]]:
    """(raw, ids in it) of every rejected row that holds one of the ids."""
    for batch in lake.batches(REJECTED, ["raw"]):
        for raw in batch["raw"].to_pylist():
            if raw and (found := rejected_ids(raw, spellings)):
                yield raw, found


def _keep_nights(lake: Lake, table: Table, ids: Sequence[str], now: datetime) -> None:
    """Write one other customer's row again in nights that changed nobody else: without a row the night would vanish."""
    others = ~pc.field(CUSTOMER).isin(pa.array(ids, pa.string()))
    if table in STANDING:
        _keep_whole_nights(lake, table, others, now)
    for night in lake.nights(table) if table.changes_of else ():
        since = lake.since(table, night)
        of_night = pc.field("as_of") == pa.scalar(night)
        if since == night or lake.dataset(table).head(1, columns=[CUSTOMER], filter=of_night & others).num_rows:
            continue
        one = next((b[CUSTOMER][0] for b in lake.batches(table, [CUSTOMER], night, where=others) if b.num_rows), None)
        if one is not None:
            batches = list(lake.batches(table, table.names, night, where=pc.field(CUSTOMER) == one))
            run_id = lake.dataset(table).head(1, columns=["run_id"], filter=of_night)["run_id"][0].as_py()
            lake.replace(table, batches, Run(night, run_id, now), since=since)


def _keep_whole_nights(lake: Lake, table: Table, others: pc.Expression, now: datetime) -> None:
    """Give another customer an empty list in nights that have nobody else's."""
    for night in lake.nights(table):
        of_night = pc.field("as_of") == pa.scalar(night)
        one = lake.dataset(CUSTOMER_SEQUENCES).head(1, columns=[CUSTOMER], filter=others).to_pylist()
        if one and not lake.dataset(table).head(1, columns=[CUSTOMER], filter=of_night & others).num_rows:
            (row,) = lake.dataset(table).head(1, filter=of_night).to_pylist()
            empty: dict[str, list[str]] = {name: [] for name in ("product_ids", "scores", "sources", "rules")}
            reason = {"short_reason": "the list of the one customer who had one is forgotten"}
            lake.replace_rows(table, [row | one[0] | empty | reason], Run(night, row["run_id"], now))


# Spellings of an id in a file: in a table's cell, in JSON, on a page, in a line of a log.

WORD = re.compile(r"\w+")


class Spellings:
    """Finds ids in text, as whole words only: `C12` is not in `C123`."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(dict.fromkeys(ids))
        self._words = {spelling: frozenset(WORD.findall(spelling)) for spelling in self._all()}

    def _all(self) -> Iterable[str]:
        for customer in self.ids:
            in_json = (json.dumps(customer, ensure_ascii=pure)[1:-1] for pure in (True, False))
            shown = (customer, clean(customer), html.escape(customer), *in_json)
            yield from (spelling for spelling in shown if spelling)

    def within(self, text: str) -> list[str]:
        """The spellings that are in the text."""
        there = set(WORD.findall(text))
        likely = [spelling for spelling, words in self._words.items() if words <= there and spelling in text]
        return [spelling for spelling in likely if _whole([spelling]).search(text)]

    @cached_property
    def set(self) -> frozenset[str]:
        """The ids themselves."""
        return frozenset(self.ids)


def _whole(spellings: Sequence[str]) -> re.Pattern[str]:
    longest_first = sorted(spellings, key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
