"""The online store: the one module that talks to Feast, whose import takes seconds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import UserError
from jobs.run import Progress, silent
from jobs.tables import Table

REPO = Path(__file__).resolve().parent.parent / "feature_repo"


class OnlineStore:
    """Feast over the lake at `root`, as `feature_store.yaml` at `settings` configures it."""

    def __init__(self, root: Path, settings: Path) -> None:
        self.root, self.settings = root, settings

    @cached_property
    def store(self) -> Any:
        """Feast's FeatureStore."""
        from feast import FeatureStore
        from feast.infra.offline_stores.contrib.spark_offline_store import spark  # noqa: F401 - see below

        # Feast's modules switch their own warnings on when they are imported; an operator has no use for them.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"feast\.")
        self.root.joinpath("feast").mkdir(parents=True, exist_ok=True)
        return FeatureStore(repo_path=str(self.settings.parent), fs_yaml_file=self.settings)

    def apply(self) -> int:
        """Register entities, views and services; returns how many. Belongs to deployment, not to every night.

        A service of ours that is defined no more is taken away: its views may have other keys by now.
        """
        from feature_repo.definitions import OWNER, definitions

        objects = definitions(self.root)
        self.store.apply(objects)
        names = {made.name for made in objects}
        for service in self.store.list_feature_services():
            if service.owner == OWNER and service.name not in names:
                self.store.delete_feature_service(service.name)
        self._stamp.write_text(_definitions_digest())
        return len(objects)

    def ensure_applied(self) -> None:
        """Apply when this lake's registry was made from other definitions than these, or is not there."""
        if not self._stamp.exists() or self._stamp.read_text() != _definitions_digest():
            self.apply()

    @property
    def _stamp(self) -> Path:
        return self.root / "feast" / "definitions.sha256"

    def push(
        self, table: Table, batches: Iterable[pa.RecordBatch], published_at: datetime, total: int,
        progress: Progress = silent,
    ) -> int:  # fmt: skip
        """Write rows of a table's view under the time of publication; returns the rows written.

        A store that refuses older timestamps (Redis) thereby takes reruns and rollbacks.
        """
        from feature_repo.definitions import NIGHT, ONLINE, TIMESTAMP

        done = 0
        for batch in batches:
            if not batch.num_rows:
                continue
            frame = batch.select([*table.key, *ONLINE[table]]).to_pandas()
            frame[NIGHT] = [value.isoformat() for value in batch["as_of"].to_pylist()]
            frame[TIMESTAMP] = published_at
            self.store.write_to_online_store(table.name, df=frame)
            done += len(frame)
            progress(f"rows of {table.name} online", done, total)
        return done

    def clear(self, table: Table, keys: pa.Table, as_of: date, published_at: datetime) -> int:
        """Write null features for keys that the night being published does not have; returns how many."""
        from feature_repo.definitions import NIGHT, ONLINE, TIMESTAMP

        for batch in keys.to_batches(max_chunksize=20_000):
            frame = batch.to_pandas()
            for name in ONLINE[table]:
                frame[name] = None
            frame[NIGHT] = as_of.isoformat()
            frame[TIMESTAMP] = published_at
            self.store.write_to_online_store(table.name, df=frame)
        return int(keys.num_rows)

    def forget(self, customer_id: str) -> int:
        """Take every row of a customer away, for good; returns how many there were.

        Raises UserError for a store that cannot do it.
        """
        import sqlite3

        from feast.infra.key_encoding_utils import deserialize_entity_key

        if self.store.config.online_store.type != "sqlite":
            raise UserError(f"a store of type {self.store.config.online_store.type} cannot forget a customer yet")
        path = Path(self.store.config.online_store.path)
        if not path.exists():
            return 0
        gone = 0
        connection = sqlite3.connect(path)
        try:
            for view in self.store.list_feature_views():
                if "customer_id" not in view.join_keys:
                    continue
                name = f'"{self.store.project}_{view.name}"'
                found = connection.execute(f"SELECT DISTINCT entity_key FROM {name} WHERE instr(entity_key, ?)",  # noqa: S608
                                           [customer_id.encode()])  # fmt: skip
                for (key,) in found.fetchall():
                    entity = deserialize_entity_key(key, entity_key_serialization_version=3)
                    values = dict(zip(entity.join_keys, (v.string_val for v in entity.entity_values), strict=True))
                    if values["customer_id"] == customer_id:
                        connection.execute(f"DELETE FROM {name} WHERE entity_key = ?", [key])  # noqa: S608
                        gone += 1
            connection.commit()
            connection.execute("VACUUM")  # what was deleted is still in the file's free pages
        finally:
            connection.close()
        return gone

    def read(self, service: str, keys: list[dict[str, str]]) -> list[dict[str, Any]]:
        """The features of a service for each key; a key that is not there has null features.

        A service over several views names a feature `VIEW__FEATURE`.

        Raises UserError where nothing was ever registered.
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


def _definitions_digest() -> str:
    text = (REPO / "definitions.py").read_bytes() + (REPO.parent / "jobs" / "tables.py").read_bytes()
    return hashlib.sha256(text).hexdigest()
