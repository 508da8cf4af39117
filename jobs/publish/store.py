"""The online store: the one module that talks to Feast, whose import takes seconds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.publish.load import Loaded, load_night
from jobs.run import Progress, Run, silent
from jobs.tables.table import Table

REPO = Path(__file__).resolve().parents[2] / "feature_repo"


class OnlineStore:
    """Feast over the lake at `root`, as `feature_store.yaml` at `settings` configures it.

    `work` is the lake's folder on this machine, in which its registry and embedded store lie (by default `root`).
    """

    def __init__(self, root: Path, settings: Path, work: Path | None = None) -> None:
        self.root, self.settings, self.work = root, settings, work or root

    @cached_property
    def store(self) -> Any:
        """Feast's FeatureStore."""
        from feast import FeatureStore
        from feast.infra.offline_stores.contrib.spark_offline_store import spark  # noqa: F401 - see below

        # Feast's modules switch their own warnings on when they are imported; an operator has no use for them.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"feast\.")
        self.work.joinpath("feast").mkdir(parents=True, exist_ok=True)
        return FeatureStore(repo_path=str(self.settings.parent), fs_yaml_file=self.settings)

    def apply(self) -> int:
        """Register entities, views and services; returns how many. Belongs to deployment, not to every night.

        A service of ours that is defined no more is taken away: its views may have other keys by now.
        """
        from feature_repo.definitions import definitions
        from feature_repo.served import OWNER

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
        return self.work / "feast" / "definitions.sha256"

    @property
    def backend(self) -> Any:
        """Where the rows lie (`feature_repo.online.backend.Backend`).

        Raises UserError where the settings name another kind of store or do not say where it is.
        """
        from feature_repo.online.backend import StoreSettingsError
        from feature_repo.online.feast_store import VersionedOnlineStore

        made = self.store._get_provider().online_store
        if not isinstance(made, VersionedOnlineStore):
            raise UserError(f"{self.settings} names the online store {type(made).__name__}; nights can be published to "
                            "the two of feature_repo/feature_store.yaml and feature_repo/redis.yaml")  # fmt: skip
        try:
            return made.backend(self.store.config)
        except StoreSettingsError as error:
            raise UserError(str(error)) from None

    @cached_property
    def reader(self) -> Any:
        """Rows of several views in one round trip, without Feast (`feature_repo.online.reader.Reader`)."""
        from feature_repo.online.reader import Reader

        return Reader(self.backend)

    @property
    def keep(self) -> int:
        """How many publications can be taken back at once."""
        return int(self.store.config.online_store.keep)

    def live(self) -> Any:
        """What is live online (`feature_repo.online.versions.Live`); number 0 where nothing is."""
        from feature_repo.online.reader import Reader

        with self._answering():
            return Reader(self.backend).live

    def nights(self) -> list[Any]:
        """The publications whose versions are online, oldest first (`feature_repo.online.versions.Live`)."""
        from feature_repo.online.store import nights

        with self._answering():
            return nights(self.backend)

    def load(self, lake: Lake, run: Run, tables: Sequence[Table], batch_rows: int) -> Loaded:
        """Make the night `run.as_of` live online, whole, writing only what differs from the one that is.

        Raises UserError where the store does not answer or somebody else is writing to it; the same call again goes
        on where it stopped.
        """
        with self._answering():
            return load_night(lake, self.backend, run, tables, batch_rows, self.keep)

    def push(
        self, table: Table, batches: Iterable[pa.RecordBatch], published_at: datetime, total: int,
        progress: Progress = silent,
    ) -> int:  # fmt: skip
        """Write rows of a table's view into the night that is live, at once and through Feast; returns how many.

        For corrections by hand: the next night writes over them.
        """
        from feature_repo.served import NIGHT, ONLINE, TIMESTAMP

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

    def forget(self, customers: Sequence[str]) -> dict[str, int]:
        """Remove every version of every row of some customers; returns customer -> the keys removed."""
        with self._writer() as store:
            return {customer: int(store.forget(customer)) for customer in customers}

    def scrub(self) -> None:
        """Leave nothing of what was removed in the store's files; raises UserError where that cannot be done now."""
        with self._writer():
            self.backend.scrub()
        self.backend.close()  # SQLite's file holds what was removed until its log is worked in

    def clear(self) -> int:
        """Remove everything from the online store; returns the keys removed. The next night is loaded whole."""
        with self._writer() as store:
            return int(store.clear())

    @contextmanager
    def _writer(self) -> Iterator[Any]:
        from feature_repo.online.store import writer

        with self._answering(), writer(self.backend, self.keep) as store:
            yield store

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """A store that is away, or that somebody else writes to, is a UserError."""
        from redis.exceptions import RedisError

        from feature_repo.online.backend import StoreBusyError, StoreUnableError

        try:
            yield
        except (StoreBusyError, StoreUnableError) as error:
            raise UserError(str(error)) from None
        except RedisError as error:
            raise UserError(f"Redis, the online store, does not answer as it should: {error}. What was live there "
                            "stays live; start it and run the same command again, which goes on where this one "
                            "stopped") from None  # fmt: skip

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
    tables = sorted((REPO.parent / "jobs" / "tables").glob("*.py"))
    files = (REPO / "definitions.py", REPO / "served.py", *tables)
    text = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(text).hexdigest()
