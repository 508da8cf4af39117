"""Defines Feast's entities, feature views and feature services over the lake's published rows.

`python -m jobs apply` registers them. Their names are a contract with services: add a `_v2` service beside a `_v1`
that is in use.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import DeltaFormat
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Array, FeastType, Float32, Float64, String, UnixTimestamp

from feature_repo.served import NIGHT, ONLINE, OWNER, RANKING, RANKING_VIEW, SERVICES, TIMESTAMP
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS
from jobs.tables.table import Table

TYPES: dict[str, FeastType] = {
    "STRING": String,
    "DOUBLE": Float64,
    "ARRAY<STRING>": Array(String),
    "ARRAY<FLOAT>": Array(Float32),
    "ARRAY<TIMESTAMP>": Array(UnixTimestamp),
}


def definitions(root: Path) -> list[Any]:
    """Every Feast object over the lake at `root`."""
    entities = {
        name: Entity(name=name.removesuffix("_id"), join_keys=[name], value_type=ValueType.STRING, owner=OWNER)
        for name in ("customer_id", "product_id", "market", "category", "variant", "part")
    }
    views = {table: _view(root, table, entities) for table in ONLINE}
    services = [
        FeatureService(name=name, features=[views[table] for table in tables], description=text, owner=OWNER)
        for name, (text, tables) in SERVICES.items()
    ]
    return [*entities.values(), *views.values(), *services, *_ranking(views)]


def _view(root: Path, table: Table, entities: dict[str, Entity]) -> FeatureView:
    columns = {column.name: column for column in table.columns}
    schema = [Field(name=name, dtype=String) for name in table.key]
    schema += [Field(name=n, dtype=TYPES[columns[n].type], description=columns[n].comment) for n in ONLINE[table]]
    schema.append(Field(name=NIGHT, dtype=String, description="the live night, as ISO date"))
    return FeatureView(
        name=table.name,
        entities=[entities[name] for name in table.key],
        schema=schema,
        # The offline store knows which rows of the table were published, and when: their TIMESTAMP is no column.
        source=FileSource(
            name=f"{table.name}_published",
            path=str(root.absolute() / "tables" / table.name),
            file_format=DeltaFormat(),
            timestamp_field=TIMESTAMP,
        ),
        ttl=timedelta(days=0),  # a list is served until a newer night replaces it
        online=True,
        description=table.comment,
        owner=OWNER,
    )


def inner_products(inputs: dict[str, list[object]]) -> dict[str, list[object]]:
    """Scores of (customer, product) rows; null where a vector is missing or of another model, or has read no event.

    Feast stores this function's source in its registry and runs it from there, so it uses no name from outside.
    """
    import numpy as np

    customers, products = inputs["customer_embeddings__vector"], inputs["product_embeddings__vector"]
    models = zip(inputs["customer_embeddings__model_id"], inputs["product_embeddings__model_id"], strict=True)
    scores: list[object] = []
    for customer, product, (read_by, made_by) in zip(customers, products, models, strict=True):
        reads = np.asarray([] if customer is None else customer, dtype=np.float64)
        # The last number is the constant that takes the product's bias; Feast's trial row on apply has only that one.
        known = reads[:-1].any() or len(reads) == 1
        if not known or product is None or read_by != made_by:
            scores.append(None)
        else:
            scores.append(float((reads * np.asarray(product, dtype=np.float64)).sum()))
    # Feast reads the first name, or with full feature names the second.
    return {"score": scores, "ranking__score": scores}


def _ranking(views: dict[Table, FeatureView]) -> tuple[OnDemandFeatureView, FeatureService]:
    customers, products = views[CUSTOMER_EMBEDDINGS], views[PRODUCT_EMBEDDINGS]
    view = OnDemandFeatureView(
        name=RANKING_VIEW,
        sources=[customers, products],
        schema=[Field(name="score", dtype=Float64)],
        mode="python",  # a batch of rows at once; Feast's pandas mode is no faster
        udf=inner_products,  # type: ignore[arg-type]  # Feast names the type of a plain function
        udf_string=inspect.getsource(inner_products),
        description="The score of a product for a customer: the inner product of their vectors.",
        owner=OWNER,
    )
    # Both views have a `vector`. The two model_ids make Feast refuse a request without full feature names, which would
    # silently multiply the product's vector by itself.
    service = FeatureService(
        name=RANKING,
        features=[customers[["model_id"]], products[["model_id"]], view],
        description="Ranking pages: ranking__score of each customer_id and product_id, higher is closer, null where "
        "either is unknown or their models differ. Request it with full_feature_names=True.",
        owner=OWNER,
    )
    return view, service
