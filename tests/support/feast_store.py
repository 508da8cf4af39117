"""Reads and writes the online store through Feast, as a service with Feast's SDK does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from feature_repo.served import NIGHT, ONLINE, TIMESTAMP
from jobs.errors import UserError
from jobs.publish.store import OnlineStore
from jobs.tables.table import Table


class FeastStore(OnlineStore):
    """The online store with Feast's own reads and writes."""

    def push(self, table: Table, batches: Iterable[pa.RecordBatch], published_at: datetime) -> int:
        """Write rows of a table's view into the live night, at once; returns how many."""
        done = 0
        for batch in batches:
            frame = batch.select([*table.key, *ONLINE[table]]).to_pandas()
            frame[NIGHT] = [value.isoformat() for value in batch["as_of"].to_pylist()]
            frame[TIMESTAMP] = published_at
            self.store.write_to_online_store(table.name, df=frame)
            done += len(frame)
        return done

    def read(self, service: str, keys: list[dict[str, str]]) -> list[dict[str, Any]]:
        """The features of a service for each key; an unknown key has null features.

        A service over several views names a feature `VIEW__FEATURE`. Raises UserError where nothing was registered.
        """
        found = self.columns(service, {name: [key[name] for key in keys] for name in keys[0]} if keys else {})
        return [{name: values[row] for name, values in found.items()} for row in range(len(keys))]

    def columns(self, service: str, keys: Mapping[str, list[str]]) -> dict[str, list[Any]]:
        """`read` by column: for parallel lists of keys, each feature's values in their order."""
        from feast.errors import FeatureServiceNotFoundException

        if not keys:
            return {}
        try:
            wanted = self.store.get_feature_service(service)
            found = self.store.get_online_features(
                wanted, dict(keys), full_feature_names=len(wanted.feature_view_projections) > 1
            )
        except (FeatureServiceNotFoundException, FileNotFoundError):
            raise UserError(f"{self.root} has no feature service {service}; publish a night there first") from None
        columns: dict[str, list[Any]] = found.to_dict()
        return columns
