"""The documented stack's online store: Feast over the Delta tables, `materialize` with its local engine.

On: `pull_latest_features`, `online_write_batch_size`, a staging location (Parquet instead of pandas between Spark and
Feast), Polars as the engine's frames. SparkSource with DeltaFormat, as documented.
"""

from __future__ import annotations

import json
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from deltalake import DeltaTable

from jobs.lake.engine import LOCAL_SPARK
from tests.benchmarks.documented_stack.spark import FAST
from tests.benchmarks.documented_stack.task import VIEWS, Progress, StackTask, run_stage

SKIPPED = ("as_of", "event_timestamp", "item_ids")
BATCH = 10_000


def materialize(task: StackTask, progress: Progress) -> None:
    """Register the views and load them, as `feast apply` and `feast materialize` do."""
    from feast import FeatureStore

    warnings.simplefilter("ignore")
    total = sum(DeltaTable(task.table(name)).to_pyarrow_dataset().count_rows() for name in VIEWS)
    store = FeatureStore(repo_path=str(_settings(task)))
    store.apply(definitions(task))
    night = task.published_at
    progress.tell(0, total)
    tell_rows(store, progress, total)
    store.materialize(night - timedelta(days=1), night + timedelta(days=1))


def tell_rows(store: Any, progress: Progress, total: int) -> None:
    """Have Feast say how many rows are online after every batch it writes, and end the process where time is up."""
    from feast.infra.offline_stores.contrib.spark_offline_store.spark import SparkRetrievalJob

    online, job_class, done = store._get_provider().online_store, cast(Any, SparkRetrievalJob), 0
    write, pull = online.online_write_batch, job_class.to_arrow

    def written(config: Any, table: Any, data: Any, progress_: Any = None, **more: Any) -> None:
        nonlocal done
        write(config, table, data, more.get("progress", progress_))
        done += len(data)
        if not progress.tell(done, total):
            raise SystemExit(0)  # no Exception, which Feast would catch

    def pulled(job: Any, *given: Any, **named: Any) -> Any:
        found = pull(job, *given, **named)
        progress.tell(done, total)
        return found

    online.online_write_batch, job_class.to_arrow = written, pulled


def definitions(task: StackTask) -> list[Any]:
    """Entities and feature views over the Delta tables."""
    from feast import Entity, FeatureView, Field, ValueType
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
    from feast.table_format import DeltaFormat
    from feast.types import Array, Float32, String, UnixTimestamp

    types: dict[str, Any] = {
        "string": String, "array<string>": Array(String), "array<float>": Array(Float32),
        "array<timestamp>": Array(UnixTimestamp),
    }  # fmt: skip
    entities = {
        key: Entity(name=key.removesuffix("_id"), join_keys=[key], value_type=ValueType.STRING)
        for key in dict.fromkeys(key for keys in VIEWS.values() for key in keys)
    }
    views = [
        FeatureView(
            name=name,
            entities=[entities[key] for key in keys],
            schema=[
                Field(name=column, dtype=types[kind]) for column, kind in _columns(task, name) if column not in SKIPPED
            ],
            source=SparkSource(
                name=f"{name}_source", path=task.table(name), table_format=DeltaFormat(),
                timestamp_field="event_timestamp",
            ),
            ttl=timedelta(days=0),
            online=True,
        )
        for name, keys in VIEWS.items()
    ]  # fmt: skip
    return [*entities.values(), *views]


def _columns(task: StackTask, name: str) -> list[tuple[str, str]]:
    fields = json.loads(DeltaTable(task.table(name)).schema().to_json())["fields"]
    return [
        (field["name"], field["type"] if isinstance(field["type"], str) else f"array<{field['type']['elementType']}>")
        for field in fields
    ]


def _settings(task: StackTask) -> Path:
    folder = Path(task.folder) / "feast"
    folder.mkdir(parents=True, exist_ok=True)
    online = {"type": "sqlite", "path": str(folder / "online.db")}
    if task.redis:
        online = {"type": "redis", "connection_string": task.redis}
    spark = {"type": "spark", "spark_conf": {"spark.master": "local[2]"} | LOCAL_SPARK | FAST,
             "staging_location": str(folder / "staging")}  # fmt: skip
    settings = {
        "project": "documented", "provider": "local", "registry": str(folder / "registry.db"),
        "offline_store": spark, "online_store": online, "batch_engine": {"type": "local", "backend": "polars"},
        "materialization": {"pull_latest_features": True, "online_write_batch_size": BATCH},
        "entity_key_serialization_version": 3,
    }  # fmt: skip
    (folder / "feature_store.yaml").write_text(json.dumps(settings, indent=1), "utf-8")  # JSON is YAML
    return folder


if __name__ == "__main__":
    run_stage({"materialize": materialize})
