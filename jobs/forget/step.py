"""Removes customers from every table, old version, page, log and the online store, and proves it by reading back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from jobs.forget.files import delete_files, read_back
from jobs.forget.tables import Spellings, customer_tables, purge, remove_rows, rows_of
from jobs.lake.forgotten import Salt, own_salt, records
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching
from jobs.run import Progress, Run, silent
from jobs.tables.records import FORGOTTEN, PUBLISHED, REJECTED

if TYPE_CHECKING:
    from jobs.publish.store import OnlineStore

STEPS = 5
ONLINE = "online store"


@dataclass(frozen=True)
class Forgotten:
    """What was done."""

    rows: dict[str, dict[str, int]]
    """Customer id -> rows that were removed, by table; nothing for one who was nowhere."""
    deleted: list[str]
    """Pages, logs and left-over folders that were deleted, as paths below the root."""
    elsewhere: dict[str, int]
    """Where the same text still stands as the name of something else, and how often."""
    files: int
    """Files that were read back."""


def forget(
    lake: Lake, online: OnlineStore, ids: Sequence[str], now: datetime, progress: Progress = silent
) -> Forgotten:
    """Remove customers for good; killed anywhere and called again with the same ids, it completes.

    It is recorded before anything is removed, so that the next night leaves their rows out whatever happens here.
    Raises UserError where there is no lake, where nights were published to another online store, and where something
    of them is left in the end.
    """
    if not (lake.root / "tables").is_dir():
        raise UserError(f"{lake.root} is no lake: it has no tables; give --root FOLDER")
    spellings = Spellings(_checked(ids))
    salt = own_salt(lake)
    rows = _begun(lake, salt, spellings.ids)
    _record(lake, salt, rows, now, {"state": "begun"})
    _check_store(lake, online)
    progress("parts forgotten", 1, STEPS)
    remove_rows(lake, spellings.ids, now)
    for table in (*customer_tables(), REJECTED):
        if lake.exists(table):
            purge(lake, table)
    progress("parts forgotten", 2, STEPS)
    shown = Spellings([*spellings.ids, *map(salt.pseudonym, spellings.ids)])
    deleted = delete_files(lake, shown)
    progress("parts forgotten", 3, STEPS)
    for customer, keys in online.forget(spellings.ids).items():
        rows[customer][ONLINE] = max(rows[customer][ONLINE], keys)
    _record(lake, salt, rows, now, {"state": "begun"})
    online.scrub()  # also where nothing was left to remove: an earlier call may have ended before this
    if again := [customer for customer, keys in online.forget(spellings.ids).items() if keys]:
        raise UserError(f"{', '.join(again)}: back in the online store; end what writes there and run this again")
    progress("parts forgotten", 4, STEPS)
    left, elsewhere, files = read_back(lake, spellings, shown)
    if left:
        places = ", ".join(f"{place} ({n})" for place, n in sorted(left.items()))
        raise UserError(f"still named in {places}: another step is writing there; end it and run the same command "
                        "again")  # fmt: skip
    _record(lake, salt, rows, now, {"state": "done", "files_read_back": files, "left": 0})
    progress("parts forgotten", STEPS, STEPS)
    removed = {customer: {name: n for name, n in rows[customer].items() if n} for customer in spellings.ids}
    return Forgotten(removed, deleted, elsewhere, files)


def _check_store(lake: Lake, online: OnlineStore) -> None:
    """Raise UserError where what the lake published is not in this store: the customer would stay in the other one."""
    published = matching(lake, PUBLISHED, ("as_of",), Wanted())
    if published and not online.live().seq:
        raise UserError("nights were published, but never to this online store: set NIGHTRAIL_FEATURE_STORE as the "
                        "nights have it, or publish a night to this one first")  # fmt: skip


def _checked(ids: Sequence[str]) -> list[str]:
    """The ids as ingest reads them: without outer blanks."""
    trimmed = [id.strip(" ") for id in ids]
    if not trimmed or not all(trimmed):
        raise UserError("an empty customer id; give --customer ID, or --file with one id a line")
    if broken := [id for id in trimmed if not id.isascii() and id != id.encode("utf-8", "ignore").decode()]:
        raise UserError(f"{broken[0]!r} is no UTF-8; give the id as the table events has it")
    return list(dict.fromkeys(trimmed))


def _begun(lake: Lake, salt: Salt, ids: Sequence[str]) -> dict[str, Counter[str]]:
    """Customer -> rows by table: as they are now, or as a call that was killed, or came earlier, had found them."""
    there = rows_of(lake, ids)
    before = records(lake, map(salt.digest, ids))
    found: dict[str, Counter[str]] = {}
    for customer in ids:
        found[customer] = Counter(before.get(salt.digest(customer), {}).get("rows", {}))
        found[customer] |= Counter({name: counts[customer] for name, counts in there.items() if counts[customer]})
    return found


def _record(lake: Lake, salt: Salt, rows: dict[str, Counter[str]], now: datetime, state: dict[str, Any]) -> None:
    """One row a customer, in place of an earlier one."""
    written = [
        {"digest": salt.digest(customer), "forgotten_at": now,
         "proof": json.dumps({**state, "salt": salt.mark, "rows": dict(counts)}, sort_keys=True)}
        for customer, counts in rows.items()
    ]  # fmt: skip
    digests = ", ".join(f"'{row['digest']}'" for row in written)
    day = now.date()
    lake.replace_rows(FORGOTTEN, written, Run(day, f"{day}-forget", now), where=f"digest IN ({digests})")
