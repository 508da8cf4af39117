"""Indexes that are not exact: any FAISS factory may be chosen, and the gate holds it to its measured recall."""

from __future__ import annotations

import hashlib
import json

import pytest

from jobs.errors import GateError, UserError
from jobs.tables.records import GATES
from jobs.tables.shop import PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from models.search.search import load
from tests.support.nights import FIRST, Shop

CAROUSELS = (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT)
LEAST = 0.95


def recall_in_manifest(shop: Shop, table: Table, factory: str) -> float:
    """What the step index measured for an index of that factory, and that it did build one."""
    folder = shop.lake.directory("indexes", FIRST) / table.name
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["factory"] == factory and type(load(folder / "index.faiss")).__name__ != "IndexFlatIP"
    return float(manifest["recall"])


@pytest.mark.parametrize(
    ("factory", "passing"),
    [
        ("SQ8", CAROUSELS),
        # A graph finds neighbours of length 1 well, and inner products of vectors of all lengths badly.
        ("HNSW32,Flat", (YOU_MIGHT_ALSO_LIKE,)),
        ("IVF8,Flat", ()),  # looks into one cell of eight
    ],
)
def test_an_approximate_index_passes_at_its_measured_recall_only(
    factory: str, passing: tuple[Table, ...], copied_night: Shop
) -> None:
    copied_night.step("index", factory=factory)
    copied_night.step("lists")
    copied_night.step("audiences")
    recalls = {f"{table.name}_recall": recall_in_manifest(copied_night, table, factory) for table in CAROUSELS}
    failing = {name for name, recall in recalls.items() if recall < LEAST}
    assert failing == {f"{table.name}_recall" for table in CAROUSELS if table not in passing}
    if failing:
        with pytest.raises(GateError) as stopped:
            copied_night.step("gate")
        assert all(f"{name} is {recalls[name]:g}, must be at least {LEAST}" in str(stopped.value) for name in failing)
    else:
        copied_night.step("gate")
    rows = {row["gate"]: row for row in copied_night.rows(GATES)}
    assert {name: rows[name]["value"] for name in recalls} == pytest.approx(recalls)
    assert {name for name in recalls if not rows[name]["passed"]} == failing
    assert {rows[name]["rule"] for name in recalls} == {f"at least {LEAST}"}


def test_an_index_that_was_changed_is_refused_before_faiss_reads_it(copied_night: Shop) -> None:
    path = copied_night.lake.directory("indexes", FIRST) / YOU_MIGHT_ALSO_LIKE.name / "index.faiss"
    path.write_bytes(b"IxFI" + b"\xff" * 64)
    own = path.with_name("index.faiss.json")
    said = json.loads(own.read_text("utf-8")) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    own.write_text(json.dumps(said), "utf-8")
    with pytest.raises(UserError, match="index.faiss was changed after it was written; run the step index again"):
        copied_night.step("gate")
