"""What a table's rows are to Arrow, and what every row of a night carries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.run import Run
from jobs.tables.table import GONE, Column, Table

FEW_AHEAD = {"batch_readahead": 4, "fragment_readahead": 2}
"""How far a table is read ahead: Arrow's defaults hold gigabytes of rows with long arrays."""
SEPARATOR = "\x1f"
"""Between the parts of a key as one text: a control character, which no id has (`jobs.ingest.rules`)."""

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


def rows_of_nights(
    data: Any, table: Table, nights: Sequence[date], columns: Sequence[str], rows: int, where: pc.Expression | None
) -> Iterator[pa.RecordBatch]:
    """The columns of the rows of an Arrow dataset that match `where` and are their key's newest of `nights`, which
    stand newest first; rows that are gone are not.
    """
    newer = pa.chunked_array([], pa.string())
    ends = [GONE] if table.has_ends and GONE in data.schema.names else []
    read = [*dict.fromkeys([*columns, *ends, *(table.changes_of if len(nights) > 1 else ())])]
    for one in nights:
        wanted = pc.field("as_of") == pa.scalar(one)
        found = wanted if where is None else wanted & where
        for batch in data.scanner(columns=read, filter=found, batch_size=rows, **FEW_AHEAD).to_batches():
            if len(newer):
                batch = batch.filter(pc.invert(pc.is_in(_whole_key(table, batch), value_set=newer)))
            if ends:
                batch = batch.filter(pc.invert(pc.fill_null(batch[GONE], False)))
            yield batch.select(columns)
        if one != nights[-1]:
            keys = _whole_key(table, data.to_table(columns=list(table.changes_of), filter=wanted))
            newer = pa.chunked_array([*newer.chunks, *keys.chunks], pa.string())


def _whole_key(table: Table, rows: pa.Table | pa.RecordBatch) -> Any:
    """[rows], what the table's nights hold changes of as one text."""
    columns = [rows[name] for name in table.changes_of]
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, SEPARATOR)
