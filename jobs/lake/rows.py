"""Converts rows to a table's Arrow types, adds the columns that identify their run, and encodes texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.run import Run
from jobs.tables.table import Column, Table
from models.arrays import BoolMask, Rows

ARROW_TYPES: Mapping[str, pa.DataType] = {
    "STRING": pa.string(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}


def arrow_type(column: Column) -> pa.DataType:
    """The Arrow type of a column's Spark SQL type."""
    if column.type.startswith("ARRAY<"):
        return pa.list_(ARROW_TYPES[column.type[6:-1]])
    return ARROW_TYPES[column.type]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, in stored order."""
    return pa.schema([(column.name, arrow_type(column)) for column in table.columns])


def night(as_of: date) -> str:
    """The predicate of one night's rows, in a form both engines and deltalake read."""
    return f"as_of = '{as_of.isoformat()}'"


def identity_of(table: Table, run: Run, since: date | None) -> dict[str, object]:
    """The columns that are the same in every row of a night, with their values."""
    known: dict[str, object] = {"as_of": run.as_of, "run_id": run.run_id}
    return known | {"since": since or run.as_of} if table.changes_of else known


def stamped_batch(
    batch: pa.RecordBatch, schema: pa.Schema, identity: Mapping[str, object], encoded: bool = False
) -> pa.RecordBatch:
    """The batch with the columns of `schema`, those of `identity` being the same in every row.

    With `encoded`, dictionary-encoded columns stay so.
    """
    arrays = []
    for field in schema:
        if field.name in identity:
            arrays.append(pa.repeat(pa.scalar(identity[field.name], field.type), batch.num_rows))
        else:
            column = batch.column(field.name)
            arrays.append(column if encoded and is_encoded(column.type) else column.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema.names)


def is_encoded(kind: pa.DataType) -> bool:
    """Whether a column, or the lists of a column, are dictionary-encoded."""
    return bool(pa.types.is_dictionary(kind.value_type if pa.types.is_list(kind) else kind))


def decoded(batch: pa.RecordBatch, table: Table) -> pa.RecordBatch:
    """The batch with the table's own types: dictionary-encoded columns are spelled out."""
    schema = arrow_schema(table)
    return batch.cast(pa.schema([schema.field(name) for name in batch.schema.names]))


def in_key_order(table: Table, columns: Iterable[str], batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """The columns of batches that also have the table's key, sorted by it."""
    names = list(columns)
    wanted = [*dict.fromkeys([*names, *table.key])]
    schema = pa.schema([arrow_schema(table).field(name) for name in wanted])
    read = pa.Table.from_batches([b.select(wanted).cast(schema) for b in batches if b.num_rows], schema)
    return (read.sort_by([(key, "ascending") for key in table.key]) if table.key else read).select(names)


def codes_of(texts: pa.Array) -> tuple[Rows, list[str | None]]:
    """(code [texts], the text of each code); a null has the last code."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    return np.asarray(pc.fill_null(encoded.indices, len(words)), np.int64), [*words, None]


def among(texts: pa.Array, wanted: Iterable[str]) -> BoolMask:
    """[texts], whether each is one of `wanted`."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    found = np.append(np.asarray(pc.is_in(encoded.dictionary, value_set=pa.array(list(wanted), pa.string()))), False)
    return np.asarray(found[np.asarray(pc.fill_null(encoded.indices, -1))], bool)
