"""Computes the outcomes of one day's impressions, in memory that its matches alone need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import Lake
from jobs.lake.rows import decoded
from jobs.outcomes.sources import LISTED, KnownSources, ShownLists
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES, WINDOWS
from jobs.tables.shop import EVENTS
from models.arrays import BoolMask, Digests, Rows
from models.digests import of_texts
from models.touches import Followed, Pairs, Touches, touches

KINDS = {"click": "clicked", "save": "saved", "bag": "bagged", "purchase": "bought"}
"""Type of event -> column of its window."""
SECOND = 1_000_000
WIDEST = timedelta(seconds=[*WINDOWS.values()][-1])
BATCH_ROWS = 1 << 16
BITS = 27
"""Of a digest, that choose its flag: a pair without an event is taken for one with events by chance, which costs time
alone."""
AT_ONCE = 1_500_000
"""Impressions with events that are compared with these at once."""
OWN = [name for name in OUTCOMES.names if name in IMPRESSIONS.names and name not in ("as_of", "run_id")]
PAIR = ("customer_id", "product_id")


@dataclass(frozen=True)
class _Candidates:
    """Impressions that seem to have events, in the order of their ids."""

    row: Rows
    """[n] place among the day's counted impressions."""
    shown: Pairs


def day_outcomes(lake: Lake, day: date) -> Iterator[pa.RecordBatch]:
    """The rows of `outcomes` of a day, without the run's identity."""
    flags = _flags()
    for batch in _events(lake, day, PAIR):
        flags[_flag(_pair(batch))] = True
    found = _candidates(lake, day, flags)
    flags = _flags()
    flags[_flag(found.shown.pair[:, 0])] = True
    events = _followed(lake, day, flags)
    del flags
    rows, result = _touches(found, events)
    lists, first = ShownLists.of(lake, shown_of(lake, day, [*LISTED])), 0
    known = None if lists.whole or not lake.exists(OUTCOMES) else KnownSources.of_day(lake, day)
    for batch in shown_of(lake, day, [name for name in OWN if name != "shown_date"]):
        some = slice(*np.searchsorted(rows, [first, first + batch.num_rows]))
        plain = decoded(batch, IMPRESSIONS)
        told = lists.known_of(plain)
        told = known.beside(plain, told) if known else told
        yield _outcomes(plain, day, rows[some] - first, _part(result, some), told)
        first += batch.num_rows


def _flags() -> BoolMask:
    return np.zeros(1 << BITS, np.bool_)


def _flag(pairs: Digests) -> Digests:
    return np.asarray(pairs >> np.uint64(64 - BITS))


def _pair(batch: pa.RecordBatch, half: int = 0) -> Digests:
    return digests(batch, PAIR, TextDigests(), half)


def shown_of(lake: Lake, day: date, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The counted impressions of a day, dictionary-encoded, always in the same order."""
    for batch in lake.snapshot(IMPRESSIONS).of_days([*columns, "counted"], [day], BATCH_ROWS):
        yield batch.filter(batch["counted"]).select(columns)


def _events(lake: Lake, day: date, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The events that can have followed impressions of a day, dictionary-encoded."""
    days = [day + timedelta(days=number) for number in range(WIDEST.days + 1)]
    return lake.snapshot(EVENTS).of_days(columns, days, BATCH_ROWS)


def _candidates(lake: Lake, day: date, flags: BoolMask) -> _Candidates:
    rows, pairs, times, ids = [], [np.empty((0, 2), np.uint64)], [], []
    first = 0
    for batch in shown_of(lake, day, [*PAIR, "shown_at", "impression_id"]):
        pair = _pair(batch)
        there = np.flatnonzero(flags[_flag(pair)])
        chosen = batch.take(pa.array(there))
        rows.append(first + there)
        pairs.append(np.stack([pair[there], _pair(chosen, 1)], axis=1))
        times.append(_micros(chosen["shown_at"]))
        ids.append(of_texts(chosen["impression_id"])[:, 0])
        first += batch.num_rows
    order = np.argsort(np.concatenate([np.empty(0, np.uint64), *ids]), kind="stable")
    found = np.concatenate([np.empty(0, np.int64), *rows])[order]
    at = np.concatenate([np.empty(0, np.int64), *times])[order]
    return _Candidates(found, Pairs(np.concatenate(pairs)[order], at))


def _followed(lake: Lake, day: date, flags: BoolMask) -> Followed:
    pairs, times, kinds, amounts = [np.empty((0, 2), np.uint64)], [], [], []
    for batch in _events(lake, day, (*PAIR, "event_ts", "event_type", "quantity", "price")):
        pair = _pair(batch)
        there = np.flatnonzero(flags[_flag(pair)])
        chosen = decoded(batch.take(pa.array(there)), EVENTS)
        pairs.append(np.stack([pair[there], _pair(chosen, 1)], axis=1))
        times.append(_micros(chosen["event_ts"]))
        kind = pc.index_in(chosen["event_type"], value_set=pa.array([*KINDS]))
        kinds.append(np.asarray(kind, np.int8))
        bought = pc.equal(chosen["event_type"], "purchase")
        paid = pc.if_else(bought, pc.multiply(chosen["price"], chosen["quantity"].cast(pa.float64())), None)
        amounts.append(np.asarray(paid.fill_null(np.nan), np.float64))
    return Followed(
        np.concatenate(pairs),
        np.concatenate([np.empty(0, np.int64), *times]),
        np.concatenate([np.empty(0, np.int8), *kinds]),
        np.concatenate([np.empty(0), *amounts]),
    )


def _micros(times: pa.Array) -> Rows:
    return np.asarray(times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()))


def _touches(found: _Candidates, events: Followed) -> tuple[Rows, Touches]:
    """(rows ascending, what came of each), some pairs at a time."""
    parts = 1 + len(found.row) // AT_ONCE
    rows, results = [], []
    for part in range(parts):
        own, theirs = (
            np.flatnonzero(pairs[:, 0] % np.uint64(parts) == part) for pairs in (found.shown.pair, events.pair)
        )
        shown = Pairs(found.shown.pair[own], found.shown.at[own])
        of_these = Followed(events.pair[theirs], events.at[theirs], events.kind[theirs], events.amount[theirs])
        rows.append(found.row[own])
        results.append(touches(shown, of_these, [s * SECOND for s in WINDOWS.values()], len(KINDS)))
    order = np.argsort(np.concatenate(rows), kind="stable")
    joined = (np.concatenate([getattr(one, name) for one in results])[order] for name in Touches.__annotations__)
    return np.concatenate(rows)[order], Touches(*joined)


def _part(result: Touches, some: slice) -> Touches:
    return Touches(*(getattr(result, name)[some] for name in Touches.__annotations__))


def _outcomes(batch: pa.RecordBatch, day: date, at: Rows, result: Touches, told: dict[str, pa.Array]) -> pa.RecordBatch:
    """A batch of impressions with what came of those `at` these places, and what is `told` of their lists."""
    size, names = batch.num_rows, pa.array([*WINDOWS])
    columns = {name: batch[name] for name in batch.schema.names} | told
    columns["shown_date"] = pa.repeat(pa.scalar(day), size)
    for number, name in enumerate(KINDS.values()):
        window, last = np.full(size, -1, np.int8), np.zeros(size, np.bool_)
        window[at], last[at] = result.window[:, number], result.last[:, number]
        columns[name] = pa.DictionaryArray.from_arrays(pa.array(window, mask=window < 0), names)
        columns[f"last_{name}"] = pa.array(last)
    for name in ("revenue", "last_revenue"):
        amount = np.full(size, np.nan)
        amount[at] = getattr(result, name)
        columns[name] = pa.array(amount, mask=np.isnan(amount))
    return pa.RecordBatch.from_pydict(columns)
