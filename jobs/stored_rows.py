"""What a table's rows are to Arrow, and what every row of a night carries."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from jobs.run import Run
from jobs.tables import Column, Table

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


def identity_of(table: Table, run: Run, since: date | None) -> dict[str, Any]:
    """What every row of a night carries."""
    known = {"as_of": run.as_of, "run_id": run.run_id}
    return known | {"since": since or run.as_of} if table.changes_of else known


def stamped_batch(batch: pa.RecordBatch, schema: pa.Schema, identity: Mapping[str, Any]) -> pa.RecordBatch:
    """The batch with the columns of `schema`, those of `identity` being the same in every row."""
    arrays = [
        pa.repeat(pa.scalar(identity[field.name], field.type), batch.num_rows)
        if field.name in identity
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
