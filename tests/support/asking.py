"""What the tests of services and of questions share: keys, vectors, and what is printed."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from jobs.__main__ import main
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES
from jobs.tables.table import Table
from tests.support.feast_store import FeastStore
from tests.support.nights import FIRST, Rows, Shop


def keys_of(rows: Rows, *names: str) -> list[dict[str, str]]:
    """Online keys of some rows."""
    return [{name: row[name] for name in names} for row in rows]


def only(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Some columns of rows."""
    return [{name: row[name] for name in names} for row in rows]


def vectors(shop: Shop, table: Table) -> dict[str, npt.NDArray[np.float64]]:
    """Key -> vector of a night."""
    return {row[table.key[0]]: np.array(row["vector"], np.float64) for row in shop.rows(table)}


def known_customer(shop: Shop) -> tuple[str, str]:
    """(customer, market) of somebody whose vector is not the nothing of an unread history."""
    customer = next(c for c, vector in sorted(vectors(shop, CUSTOMER_EMBEDDINGS).items()) if vector[:-1].any())
    return customer, next(r["market"] for r in shop.rows(CUSTOMER_SEQUENCES) if r["customer_id"] == customer)


def printed(show: Any, *arguments: Any) -> str:
    """What a lookup prints on a wide terminal."""
    console = Console(record=True, width=200, file=io.StringIO())
    show(*arguments, console)
    return console.export_text()


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `python -m jobs ..` in this process."""
    monkeypatch.setattr(sys, "argv", ["jobs", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def all_answers(shop: Shop, store: FeastStore, as_of: Any = FIRST) -> dict[str, Any]:
    """What every service says of every key of a night, at most 300 keys each."""
    from feature_repo.served import SERVICES

    found = {}
    for service, (_, tables) in SERVICES.items():
        found[service] = store.read(service, keys_of(shop.rows(tables[0], as_of)[:300], *tables[0].key))
    return found
