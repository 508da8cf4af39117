"""The lake: tables as they are defined, nights that replace only themselves, errors that arrive as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from jobs.errors import UserError
from jobs.lake.changes import unchanged
from jobs.lake.engine import start
from jobs.lake.lake import Lake
from jobs.lake.rows import ARROW_TYPES, arrow_schema
from jobs.run import Run
from jobs.tables.records import RAW_FILES
from jobs.tables.shop import ALL, CATALOGUE, CUSTOMER_EMBEDDINGS, CUSTOMER_SEQUENCES, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from tests.support.tables import assert_same_rows

FIRST, SECOND = date(2026, 3, 9), date(2026, 3, 10)
KINDS = Table(
    "kinds",
    "One column of each type.",
    ("string",),
    "\n".join(f"{kind.lower()} {kind} a {kind.lower()}" for kind in ARROW_TYPES)
    + "\n"
    + "\n".join(f"many_{kind.lower()} ARRAY<{kind}> {kind.lower()}s" for kind in ("STRING", "FLOAT", "TIMESTAMP")),
    ("as_of",),
)
MOMENT = datetime(2026, 3, 9, 23, 59, 59, 999_999, tzinfo=UTC)
VALUES = {
    "string": "é \U0001f45c \ufffd </script>", "bigint": -(2**63), "double": 1e-300, "float": 0.5, "boolean": False,
    "date": date(9999, 12, 31), "timestamp": MOMENT, "many_string": ["b", None, ""], "many_float": [1.5, -2.0],
    "many_timestamp": [MOMENT, datetime(1990, 1, 1, tzinfo=UTC)],
}  # fmt: skip
NOTHING = dict.fromkeys(VALUES) | {"string": "null", "many_string": [], "many_float": []}
STAMP = {"as_of": FIRST, "run_id": f"test-{FIRST}"}


def test_every_table_is_created_with_its_comments(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for table in ALL:
        lake.create(table)
        there = DeltaTable(str(lake.path(table)))
        found = {field.name: field.metadata.get("comment") for field in there.schema().fields}
        assert found == {column.name: column.comment for column in table.columns}
        assert all(found.values()), table.name
        assert there.metadata().description == table.comment
        assert tuple(there.metadata().partition_columns) == table.partition
        assert lake.arrow(table).num_rows == 0


def test_creating_a_table_again_changes_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.create(RAW_FILES)
    lake.create(RAW_FILES)
    assert lake.version(RAW_FILES) == 0


def test_values_of_every_type_come_back_from_arrow(tmp_path: Path, run: Callable[[date], Run]) -> None:
    lake = Lake(tmp_path)
    lake.replace_rows(KINDS, [VALUES, NOTHING], run(FIRST))
    assert lake.arrow(KINDS).to_pylist() == [row | STAMP for row in (NOTHING, VALUES)]
    assert lake.arrow(KINDS).schema == arrow_schema(KINDS)


def test_values_of_every_type_come_back_from_a_frame(lake: Lake, run: Callable[[date], Run]) -> None:
    """And the same write of a night again replaces that night alone, by the same rows."""
    lake.replace_rows(KINDS, [VALUES | {"string": "kept"}], run(SECOND))
    schema = ", ".join(f"{column.name} {column.type}" for column in KINDS.columns[:-2])
    rows = [tuple(row[name] for name in KINDS.names[:-2]) for row in (NOTHING, VALUES)]
    frame = lake.spark.createDataFrame(rows, schema)
    lake.replace_frame(KINDS, frame, run(FIRST))
    once = lake.arrow(KINDS)
    kept = VALUES | {"string": "kept", "as_of": SECOND, "run_id": f"test-{SECOND}"}
    assert once.to_pylist() == [kept, NOTHING | STAMP, VALUES | STAMP]
    lake.replace_frame(KINDS, frame, run(FIRST))
    assert_same_rows(lake.arrow(KINDS), once, ("second write", "first write"))
    assert lake.nights(KINDS) == [FIRST, SECOND]
    read = lake.frame(KINDS, date(2026, 3, 9)).select("string").toArrow()["string"]
    assert sorted(read.to_pylist()) == sorted(once["string"].to_pylist()[1:])
    comments = {field.name: field.metadata.get("comment") for field in lake.delta(KINDS).schema().fields}
    assert comments == {column.name: column.comment for column in KINDS.columns}


def test_code_writes_tables_that_newer_code_gave_a_column(lake: Lake, run: Callable[[date], Run]) -> None:
    """A deployment can be taken back: the column stays, null where the older code writes."""
    newer = Table("things", "Of the newer code.", ("a",), "a STRING a\nb BIGINT b")
    older = Table("things", "Of the older code.", ("a",), "a STRING a")
    lake.replace_rows(newer, [{"a": "new", "b": 1}], run(FIRST))
    lake.replace_rows(older, [{"a": "from arrow"}], run(SECOND))
    assert [row["b"] for row in lake.arrow(newer).to_pylist()] == [None, 1]  # by key: from arrow, new
    lake.replace_frame(older, lake.spark.createDataFrame([("from a frame",)], "a STRING"), run(SECOND))
    assert [(row["a"], row["b"]) for row in lake.arrow(newer).to_pylist()] == [("from a frame", None), ("new", 1)]
    assert lake.arrow(older)["a"].to_pylist() == ["from a frame", "new"]


def test_comments_of_an_old_table_are_brought_up_to_date_and_no_row_changes(
    lake: Lake, run: Callable[[date], Run]
) -> None:
    old = replace(CATALOGUE, comment="Of old.", text=CATALOGUE.text.replace("list price", "what it costs"))
    row = {"product_id": "P1", "name": "hat", "price": 1.0}
    lake.replace_rows(old, [row], run(FIRST))
    published, rows = lake.version(old), lake.arrow(old).to_pylist()
    lake.update_comments(CATALOGUE)
    delta = lake.delta(CATALOGUE)
    assert {f.name: f.metadata["comment"] for f in delta.schema().fields} == {
        c.name: c.comment for c in CATALOGUE.columns
    }
    assert delta.metadata().description == CATALOGUE.comment and delta.version() > published
    assert lake.files(CATALOGUE, delta.version()) == lake.files(CATALOGUE, published), "the same files hold the rows"
    assert lake.arrow(CATALOGUE).to_pylist() == rows == lake.frame(CATALOGUE).toArrow().to_pylist()
    assert unchanged(lake, CATALOGUE, published, FIRST), "what was published of it still counts as live"
    version = delta.version()
    Lake(lake.root).update_comments(CATALOGUE)
    assert lake.version(CATALOGUE) == version, "once"
    lake.replace_frame(CATALOGUE, lake.frame(CATALOGUE, FIRST).drop("as_of", "run_id"), run(SECOND))
    assert lake.arrow(CATALOGUE, as_of=SECOND).num_rows == 1


def test_a_smaller_frame_replaces_the_whole_night(sail_lake: Lake, run: Callable[[date], Run]) -> None:
    for night in (FIRST, SECOND):
        sail_lake.replace_rows(KINDS, [VALUES, NOTHING], run(night))
    smaller = sail_lake.frame(KINDS, date(2026, 3, 9)).where("string = 'null'").drop("as_of", "run_id")
    sail_lake.replace_frame(KINDS, smaller, run(FIRST))
    assert sail_lake.arrow(KINDS, as_of=FIRST).to_pylist() == [NOTHING | STAMP]
    assert sail_lake.arrow(KINDS, as_of=SECOND).num_rows == 2


def test_an_empty_frame_empties_its_night_alone(sail_lake: Lake, run: Callable[[date], Run]) -> None:
    for night in (FIRST, SECOND):
        sail_lake.replace_rows(RAW_FILES, [{"path": f"{night}.csv", "bytes": 1}], run(night))
    sail_lake.replace_frame(
        RAW_FILES, sail_lake.frame(RAW_FILES).where("bytes = 0").select("path", "bytes"), run(FIRST)
    )
    assert sail_lake.arrow(RAW_FILES)["path"].to_pylist() == [f"{SECOND}.csv"]


def test_replacing_by_arrow_is_idempotent_and_touches_only_its_night(
    tmp_path: Path, run: Callable[[date], Run]
) -> None:
    lake = Lake(tmp_path)
    rows = [{"path": "a.csv", "bytes": 1}, {"path": "b.csv", "bytes": 2}]
    assert lake.replace_rows(RAW_FILES, rows, run(FIRST)) == 2
    assert lake.replace_rows(RAW_FILES, rows[:1], run(SECOND)) == 1
    before = lake.arrow(RAW_FILES)
    lake.replace_rows(RAW_FILES, rows[:1], run(SECOND))
    assert_same_rows(lake.arrow(RAW_FILES), before)
    assert lake.replace_rows(RAW_FILES, [], run(SECOND)) == 0
    assert lake.arrow(RAW_FILES, as_of=FIRST)["path"].to_pylist() == ["a.csv", "b.csv"]
    assert lake.arrow(RAW_FILES, as_of=SECOND).num_rows == 0
    assert lake.nights(RAW_FILES) == [FIRST]


def test_a_narrower_predicate_replaces_only_what_matches(tmp_path: Path, run: Callable[[date], Run]) -> None:
    lake = Lake(tmp_path)
    lake.replace_rows(RAW_FILES, [{"path": "a.csv", "bytes": 1}, {"path": "b.csv", "bytes": 2}], run(FIRST))
    lake.replace_rows(RAW_FILES, [{"path": "b.csv", "bytes": 3}], run(FIRST), where="path = 'b.csv'")
    assert lake.arrow(RAW_FILES)["bytes"].to_pylist() == [1, 3]


def vectors(ids: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {"customer_id": ids, "vector": [[1.0, 2.0]] * len(ids), "model_id": ["m"] * len(ids)},
        schema=pa.schema([f for f in arrow_schema(CUSTOMER_EMBEDDINGS) if f.name not in ("as_of", "run_id", "since")]),
    )


THIRD = date(2026, 3, 11)


def vectors_of(model: str, ids: list[str]) -> pa.RecordBatch:
    return vectors(ids).set_column(2, "model_id", pa.array([model] * len(ids)))


def test_a_night_of_changes_is_the_newest_row_of_each_customer(lake: Lake, run: Callable[[date], Run]) -> None:
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors_of("stale", ["A", "Z"])], run(date(2026, 3, 8)))
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors_of("m1", ["A", "B", "C"])], run(FIRST))
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors_of("m2", ["B"])], run(SECOND), since=FIRST)
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors_of("m3", ["B", "D"])], run(THIRD), since=FIRST)
    expected = {
        FIRST: {"A": "m1", "B": "m1", "C": "m1"},
        SECOND: {"A": "m1", "B": "m2", "C": "m1"},
        THIRD: {"A": "m1", "B": "m3", "C": "m1", "D": "m3"},
    }
    for night, models in expected.items():
        read = lake.arrow(CUSTOMER_EMBEDDINGS, ("customer_id", "model_id"), night)
        assert dict(zip(*(read[name].to_pylist() for name in read.schema.names), strict=True)) == models
        frame = lake.frame(CUSTOMER_EMBEDDINGS, night).select("customer_id", "model_id").toArrow()
        assert dict(zip(*(frame[name].to_pylist() for name in frame.schema.names), strict=True)) == models
        assert lake.count(CUSTOMER_EMBEDDINGS, night) == len(models)
    only = lake.batches(CUSTOMER_EMBEDDINGS, ["customer_id"], THIRD, where=pc.field("model_id") == "m2")
    assert [row for batch in only for row in batch["customer_id"].to_pylist()] == [], "B's newer row does not match"
    assert lake.changed(CUSTOMER_EMBEDDINGS, ["customer_id"], SECOND, THIRD)["customer_id"].to_pylist() == ["B", "D"]
    assert lake.changed(CUSTOMER_EMBEDDINGS, ["model_id"], FIRST, THIRD)["model_id"].to_pylist() == ["m3", "m3"]
    assert (lake.since(CUSTOMER_EMBEDDINGS, SECOND), lake.since(CUSTOMER_EMBEDDINGS, FIRST)) == (FIRST, FIRST)


def test_a_list_that_ended_is_not_there_from_that_night_on(lake: Lake, run: Callable[[date], Run]) -> None:
    table = YOU_MIGHT_ALSO_LIKE

    def write(as_of: date, lists: dict[tuple[str, str], str | None], since: date | None = None) -> None:
        rows = [
            {"product_id": product, "market": market, "variant": "default", "model_id": model,
             "gone": True if model is None else None}
            for (product, market), model in lists.items()
        ]  # fmt: skip
        schema = pa.schema([field for field in arrow_schema(table) if field.name not in ("as_of", "run_id", "since")])
        lake.replace(table, pa.Table.from_pylist(rows, schema=schema), run(as_of), since=since)

    write(FIRST, {("P1", "GB"): "m1", ("P1", "FR"): "m1", ("P2", "GB"): "m1"})
    write(SECOND, {("P1", "FR"): None, ("P2", "GB"): "m2"}, since=FIRST)
    write(THIRD, {("P1", "FR"): "m3"}, since=FIRST)
    expected = {
        FIRST: {("P1", "FR"): "m1", ("P1", "GB"): "m1", ("P2", "GB"): "m1"},
        SECOND: {("P1", "GB"): "m1", ("P2", "GB"): "m2"},
        THIRD: {("P1", "FR"): "m3", ("P1", "GB"): "m1", ("P2", "GB"): "m2"},
    }
    columns = ("product_id", "market", "model_id")
    for night, lists in expected.items():
        for read in (lake.arrow(table, columns, night), lake.frame(table, night).select(*columns).toArrow()):
            assert {(row["product_id"], row["market"]): row["model_id"] for row in read.to_pylist()} == lists
            assert len(read) == lake.count(table, night) == len(lists)


class OutOfLuckError(Exception):
    """An error no library raises."""


@pytest.mark.parametrize("good_batches", [0, 1, 20])
def test_an_error_of_a_batch_arrives_as_itself_and_commits_nothing(
    tmp_path: Path, run: Callable[[date], Run], good_batches: int
) -> None:
    lake = Lake(tmp_path)
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors(["C1"])], run(FIRST))

    def failing() -> Iterator[pa.RecordBatch]:
        for i in range(good_batches):
            yield vectors([f"D{i}"])
        raise OutOfLuckError("batch cannot be made")

    with pytest.raises(OutOfLuckError, match="batch cannot be made"):
        lake.replace(CUSTOMER_EMBEDDINGS, failing(), run(FIRST))
    assert lake.version(CUSTOMER_EMBEDDINGS) == 1
    assert lake.arrow(CUSTOMER_EMBEDDINGS)["customer_id"].to_pylist() == ["C1"]


def test_a_batch_that_lacks_a_column_commits_nothing(tmp_path: Path, run: Callable[[date], Run]) -> None:
    lake = Lake(tmp_path)
    lake.replace(CUSTOMER_EMBEDDINGS, [vectors(["C1"])], run(FIRST))
    with pytest.raises(KeyError, match="model_id"):
        lake.replace(CUSTOMER_EMBEDDINGS, [vectors(["C2"]).select(["customer_id", "vector"])], run(FIRST))
    assert lake.version(CUSTOMER_EMBEDDINGS) == 1


def test_a_table_can_be_read_while_another_is_written_from_it(tmp_path: Path, run: Callable[[date], Run]) -> None:
    lake = Lake(tmp_path)
    lake.replace_rows(RAW_FILES, [{"path": f"{i:03}", "bytes": i} for i in range(500)], run(FIRST))

    def from_the_other() -> Iterator[pa.RecordBatch]:
        for batch in lake.batches(RAW_FILES, ["path"], FIRST, rows=50):
            lake.arrow(RAW_FILES, ["bytes"])
            yield vectors(batch["path"].to_pylist())

    assert lake.replace(CUSTOMER_EMBEDDINGS, from_the_other(), run(FIRST)) == 500
    assert lake.arrow(CUSTOMER_EMBEDDINGS)["customer_id"].to_pylist() == [f"{i:03}" for i in range(500)]


def test_a_table_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for read in (lake.delta, lake.version, lake.dataset):
        with pytest.raises(UserError, match="no table customer_sequences in .* run the step that writes it"):
            read(CUSTOMER_SEQUENCES)
    assert not lake.exists(CUSTOMER_SEQUENCES)
    assert lake.nights(CUSTOMER_SEQUENCES) == []


def test_a_lake_without_an_engine_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no Spark engine"):
        _ = Lake(tmp_path).spark


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UserError, match="'flink' is not one of sail, spark"):
        start("flink")  # type: ignore[arg-type]


def test_spark_without_java_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="needs Java 17 or 21"):
        start("spark")
