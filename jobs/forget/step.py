"""Removes customers from every table, old version, page, log and the online store, and proves it by reading back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from jobs.errors import UserError
from jobs.forget.files import delete_files, read_back
from jobs.forget.tables import Spellings, customer_tables, purge, remove_rows, rows_of
from jobs.lake.forgotten import Salt, own_salt, records
from jobs.lake.lake import Lake
from jobs.lake.live import keep_up
from jobs.lake.reading import Wanted, matching
from jobs.outcomes import update as outcomes
from jobs.run import Progress, Run, silent
from jobs.tables.records import FORGOTTEN, PUBLISHED, REJECTED

if TYPE_CHECKING:
    from jobs.publish.store import OnlineStore

STEPS = 5
ONLINE = "online store"


@dataclass(frozen=True)
class Forgotten:
    """The result of a call of `forget`."""

    rows: dict[str, dict[str, int]]
    """Customer id -> rows removed, by table; empty for an id that was nowhere."""
    earlier: frozenset[str]
    """Customers of whom this call found nothing any more: an earlier one had removed those rows."""
    deleted: list[str]
    """Pages, logs and left-over folders that were deleted, as paths below the root."""
    elsewhere: dict[str, int]
    """Place -> how often the same text is still there as the name of something else."""
    files: int
    """How many files were read back."""


def forget(
    lake: Lake, online: OnlineStore, ids: Sequence[str], now: datetime, progress: Progress = silent
) -> Forgotten:
    """Remove customers for good; killed anywhere and called again with the same ids, it completes.

    The request is recorded before anything is removed, so that the next night leaves their rows out whatever happens
    here. Raises UserError if there is no lake, if nights were published to another online store, and if anything still
    names a customer in the end.
    """
    if not (lake.root / "tables").is_dir():
        raise UserError(f"{lake.root} is not a lake: it has no tables; give --root FOLDER")
    spellings = Spellings(_checked(ids))
    salt = own_salt(lake)
    there = rows_of(lake, spellings.ids)
    rows = _begun(lake, salt, spellings.ids, there)
    _record(lake, salt, rows, now, {"state": "begun"})
    _check_store(lake, online)
    progress("parts forgotten", 1, STEPS)
    current = outcomes.is_current(lake)
    keep_up(lake, newest=True)  # the versions that were published are deleted; the newest have the same nights
    remove_rows(lake, spellings.ids, now)
    for table in (*customer_tables(), REJECTED):
        if lake.exists(table):
            purge(lake, table)
    keep_up(lake)
    if current:  # their rows are gone from all three tables
        outcomes.record(lake)
    progress("parts forgotten", 2, STEPS)
    shown = Spellings([*spellings.ids, *map(salt.pseudonym, spellings.ids)])
    deleted = delete_files(lake, shown)
    progress("parts forgotten", 3, STEPS)
    keys_there = online.forget(spellings.ids)
    for customer, keys in keys_there.items():
        rows[customer][ONLINE] = max(rows[customer][ONLINE], keys)
    _record(lake, salt, rows, now, {"state": "begun"})
    online.scrub()  # always: an earlier call may have been killed before this line
    if again := [customer for customer, keys in online.forget(spellings.ids).items() if keys]:
        raise UserError(f"{', '.join(again)}: back in the online store; end what writes there and run this again")
    progress("parts forgotten", 4, STEPS)
    left, elsewhere, files = read_back(lake, spellings, shown)
    if left:
        places = ", ".join(f"{place} ({n})" for place, n in sorted(left.items()))
        raise UserError(
            f"still named in {places}: another step is writing there; end it and run the same command again"
        )
    _record(lake, salt, rows, now, {"state": "done", "files_read_back": files, "left": 0})
    progress("parts forgotten", STEPS, STEPS)
    removed = {customer: {name: n for name, n in rows[customer].items() if n} for customer in spellings.ids}
    found = {customer for counts in [*there.values(), keys_there] for customer in counts if counts[customer]}
    earlier = frozenset(customer for customer, counts in removed.items() if counts and customer not in found)
    return Forgotten(removed, earlier, deleted, elsewhere, files)


def _check_store(lake: Lake, online: OnlineStore) -> None:
    """Raise UserError if the lake's nights are in another store than this one: the customer would stay in that one."""
    published = matching(lake, PUBLISHED, ("as_of",), Wanted())
    if published and not online.live().seq:
        raise UserError(
            "nights were published, but never to this online store: set NIGHTRAIL_FEATURE_STORE as the "
            "nights have it, or publish a night to this one first"
        )


def _checked(ids: Sequence[str]) -> list[str]:
    """The ids as ingest reads them: without spaces around them."""
    trimmed = [id.strip(" ") for id in ids]
    if not trimmed or not all(trimmed):
        raise UserError("an empty customer id; give --customer ID, or --file with one id a line")
    if broken := [id for id in trimmed if not id.isascii() and id != id.encode("utf-8", "ignore").decode()]:
        raise UserError(f"{broken[0]!r} is not UTF-8; give the id as the table events has it")
    return list(dict.fromkeys(trimmed))


def _begun(lake: Lake, salt: Salt, ids: Sequence[str], there: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Customer -> rows by table: as found `there`, or by an earlier or killed call if it found more."""
    before = records(lake, map(salt.digest, ids))
    found: dict[str, Counter[str]] = {}
    for customer in ids:
        found[customer] = Counter(before.get(salt.digest(customer), {}).get("rows", {}))
        found[customer] |= Counter({name: counts[customer] for name, counts in there.items() if counts[customer]})
    return found


def _record(lake: Lake, salt: Salt, rows: dict[str, Counter[str]], now: datetime, state: dict[str, object]) -> None:
    """Write one row for each customer, in place of an earlier one."""
    written = [
        {
            "digest": salt.digest(customer),
            "forgotten_at": now,
            "proof": json.dumps({**state, "salt": salt.mark, "rows": dict(counts)}, sort_keys=True),
        }
        for customer, counts in rows.items()
    ]
    digests = ", ".join(f"'{row['digest']}'" for row in written)
    day = now.date()
    lake.replace_rows(FORGOTTEN, written, Run(day, f"{day}-forget", now), where=f"digest IN ({digests})")
