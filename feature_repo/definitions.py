"""Entities, feature views and feature services over the lake's live rows.

`definitions(root)` returns every object; `python -m jobs apply` registers them. The names are a contract
with services: change them only with a migration, and add a `_v2` service beside a `_v1` that is in use.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, ValueType
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.types import Array, FeastType, Float32, Float64, String, UnixTimestamp

from jobs.tables import (
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    LISTS,
    PEOPLE_ALSO_BOUGHT,
    PUBLISHED,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
    Table,
)

TYPES: dict[str, FeastType] = {
    "STRING": String,
    "DOUBLE": Float64,
    "ARRAY<STRING>": Array(String),
    "ARRAY<FLOAT>": Array(Float32),
    "ARRAY<TIMESTAMP>": Array(UnixTimestamp),
}
NIGHT = "night"
"""Feature with the as_of of the row, as text: which night a service is looking at."""
TIMESTAMP = "event_timestamp"
"""Feast's event timestamp: the time of publication, so that a rollback is newer than what it replaces."""

ONLINE: dict[Table, tuple[str, ...]] = {
    CUSTOMER_SEQUENCES: ("product_ids", "event_types", "event_timestamps", "market"),
    CATALOGUE: ("name", "brand", "category", "department", "colour", "price", "currency", "image_url"),
    **dict.fromkeys(LISTS, ("product_ids", "scores", "sources")),
}
"""The columns of each table that are served online; every view has NIGHT as well."""
OWNER = "recommendations"
SERVICES: dict[str, tuple[str, tuple[Table, ...]]] = {
    "product_page_v1": ("Product page: alternatives and what goes with a product, by product_id and market.",
                        (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT)),
    "home_v1": ("Home page: the customer's own list, by customer_id and market.", (RECOMMENDED_FOR_YOU,)),
    "customer_history_v1": ("A customer's recent events, by customer_id.", (CUSTOMER_SEQUENCES,)),
    "product_details_v1": ("A product's name and attributes, by product_id.", (CATALOGUE,)),
}  # fmt: skip


def live_rows(root: Path, table: Table) -> str:
    """Spark SQL for the published night's rows of a table as Feast reads them, stamped with its publication."""
    columns = ", ".join(f"t.{name}" for name in (*table.key, *ONLINE[table]))
    return (
        # Every part is a name of ours, none comes from data.
        f"SELECT {columns}, CAST(t.as_of AS STRING) AS {NIGHT}, p.published_at AS {TIMESTAMP} "  # noqa: S608
        f"FROM delta.`{root / 'tables' / table.name}` AS t "
        f"JOIN delta.`{root / 'tables' / PUBLISHED.name}` AS p ON t.as_of = p.as_of AND p.surface = '{table.name}'"
    )


def definitions(root: Path) -> list[Any]:
    """Every Feast object over the lake at `root`."""
    entities = {
        name: Entity(name=name.removesuffix("_id"), join_keys=[name], value_type=ValueType.STRING, owner=OWNER)
        for name in ("customer_id", "product_id", "market")
    }
    views = {table: _view(root, table, entities) for table in ONLINE}
    services = [
        FeatureService(name=name, features=[views[table] for table in tables], description=text, owner=OWNER)
        for name, (text, tables) in SERVICES.items()
    ]
    return [*entities.values(), *views.values(), *services]


def _view(root: Path, table: Table, entities: dict[str, Entity]) -> FeatureView:
    columns = {column.name: column for column in table.columns}
    schema = [Field(name=name, dtype=String) for name in table.key]
    schema += [Field(name=n, dtype=TYPES[columns[n].type], description=columns[n].comment) for n in ONLINE[table]]
    schema.append(Field(name=NIGHT, dtype=String, description="as_of of the row"))
    return FeatureView(
        name=table.name,
        entities=[entities[name] for name in table.key],
        schema=schema,
        source=SparkSource(name=f"{table.name}_live", query=live_rows(root, table), timestamp_field=TIMESTAMP),
        ttl=timedelta(days=0),  # a list stays served until a newer night replaces it
        online=True,
        description=table.comment,
        owner=OWNER,
    )
