"""A whole night of the tiny shop, step by step through the ledger, equal on both engines."""

from __future__ import annotations

import pytest

from jobs.lake.changes import unchanged
from jobs.publish.step import BESIDE, SURFACES
from jobs.steps import STEPS
from jobs.tables.audiences import AFFINITIES, CAMPAIGNS
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.records import CORRECTED, EVALUATIONS, GATES, INPUTS, MODELS, PUBLISHED, RAW_FILES, REJECTED, RUNS
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    LISTS,
    OUTFITS,
    PRODUCT_EMBEDDINGS,
)
from jobs.tables.table import Table
from models.contract import Compute
from models.networks import artefacts
from tests.support.nights import FIRST, Shop
from tests.support.tables import assert_same_rows

COMPARED = (
    EVENTS, REJECTED, RAW_FILES, CATALOGUE, AVAILABILITY, CUSTOMER_SEQUENCES, CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS,
    *LISTS, OUTFITS, NETWORKS, ASSORTMENTS, AFFINITIES, CAMPAIGNS, MODELS, EVALUATIONS, GATES,
)  # fmt: skip


@pytest.mark.parametrize("table", [*COMPARED, CORRECTED, INPUTS], ids=lambda table: table.name)
def test_both_engines_make_the_same_table(table: Table, night: Shop, spark_night: Shop) -> None:
    on_sail, on_spark = night.lake.arrow(table), spark_night.lake.arrow(table)
    assert on_sail.num_rows > 0 or table is CORRECTED, f"the night wrote nothing to {table.name}"
    if table.key and on_sail.equals(on_spark):
        return
    assert_same_rows(on_sail, on_spark, ("sail", "spark"))


def test_both_engines_make_the_same_indexes(night: Shop, spark_night: Shop) -> None:
    def contents(shop: Shop) -> dict[str, bytes]:
        folder = shop.lake.directory("indexes", FIRST)
        return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}

    on_sail, on_spark = contents(night), contents(spark_night)
    assert len(on_sail) >= 8
    assert on_sail.keys() == on_spark.keys()
    assert [name for name in on_sail if on_sail[name] != on_spark[name]] == []


def test_every_step_is_in_the_ledger_as_done(night: Shop) -> None:
    rows = night.rows(RUNS)
    assert {row["step"] for row in rows} == set(STEPS)
    assert {row["status"] for row in rows} == {"done"}
    assert {row["run_id"] for row in rows} == {f"{FIRST}-{night.config.hash[:8]}"}
    assert {row["config_hash"] for row in rows} == {night.config.hash}
    assert all(row["ended_at"] > row["started_at"] and row["note"] for row in rows)


def test_events_are_the_shops_clean_rows(night: Shop, tiny_raw: object) -> None:
    summary = tiny_raw.summary  # type: ignore[attr-defined]
    per_day: dict[str, int] = {}
    for row in night.rows(EVENTS):
        per_day[row["event_date"].isoformat()] = per_day.get(row["event_date"].isoformat(), 0) + 1
    assert per_day == {day: clean for day, clean in summary.clean_events.items() if clean}


def test_the_night_is_live_on_every_surface(night: Shop) -> None:
    rows = night.rows(PUBLISHED)
    assert {row["surface"] for row in rows} == {table.name for table in (*SURFACES, *BESIDE)} and rows[0]["live"]
    assert {row["as_of"] for row in rows} == {FIRST}
    assert len({row["published_at"] for row in rows}) == 1
    for row in rows:
        table = next(t for t in (*SURFACES, *BESIDE) if t.name == row["surface"])
        assert unchanged(night.lake, table, row["table_version"], FIRST)
        if row["index_path"]:
            assert (night.lake.root / row["index_path"] / "manifest.json").is_file()


def test_the_report_names_the_night(night: Shop) -> None:
    from jobs.report.pages import page_path

    page = page_path(night.lake, FIRST).read_text("utf-8")
    assert FIRST.isoformat() in page and len(page) > 10_000


def test_nothing_is_left_lying_about(night: Shop) -> None:
    left = [p.name for p in night.lake.root.rglob("*") if p.name.startswith(".") or p.name.endswith((".aside", ".tmp"))]
    assert [name for name in left if not name.endswith(".crc")] == []


def test_every_candidate_can_be_looked_into_and_the_page_shows_attention_whoever_serves(night: Shop) -> None:
    rows = night.rows(MODELS)
    assert {row["kind"] for row in rows} == set(night.config.train.candidates)
    for row in rows:
        model, manifest = artefacts.read(night.lake.root / "models" / row["model_id"], Compute("cpu"))
        assert manifest.metadata["run_id"] == row["run_id"] and len(model.vocabulary) > 100
    page = (night.lake.directory("reports", FIRST) / "model.html").read_text("utf-8")
    champion, reader = (next(r for r in rows if r["champion"]), next(r for r in rows if r["kind"] == "transformer"))
    assert ("which it was compared with" in page) == (champion["kind"] != "transformer")
    assert f"This is {reader['model_id']}" in page or champion["kind"] == "transformer"
    assert "has no attention to show.</p>" not in page
