"""Opens the online store of a lake; only registering definitions and Feast's own reads import Feast."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from feature_repo.client import Recommendations
from feature_repo.online.backend import (
    Backend,
    StoreBusyError,
    StoreMissingError,
    StoreSettingsError,
    StoreUnableError,
)
from feature_repo.online.reader import Reader
from feature_repo.online.store import Writer, nights, writer
from feature_repo.online.versions import NO_PUBLICATION, Publication
from feature_repo.served import OWNER
from feature_repo.settings import StoreSettings, store_settings
from jobs.errors import AwayError, BusyError, DamageError, UserError
from jobs.lake.lake import Lake
from jobs.publish.load import Loaded, load_night
from jobs.run import Run
from jobs.tables.table import Table

REPO = Path(__file__).resolve().parents[2] / "feature_repo"


class OnlineStore:
    """The online store of the lake at `root`, as Feast's file `settings` describes it.

    `work` is the lake's folder on this machine, which holds Feast's registry and the embedded store; by default `root`.
    """

    def __init__(self, root: Path, settings: Path, work: Path | None = None) -> None:
        self.root, self.settings, self.work = root, settings, work or root
        self._backend: Backend | None = None

    # --- Feast, whose import takes ten seconds

    @cached_property
    def store(self) -> Any:
        """Feast's FeatureStore."""
        from feast import FeatureStore

        # Feast switches its own warnings on when it is imported; an operator has no use for them.
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"feast\.")
        self.work.joinpath("feast").mkdir(parents=True, exist_ok=True)
        return FeatureStore(repo_path=str(self.settings.parent), fs_yaml_file=self.settings)

    def apply(self) -> int:
        """Register entities, views and services; returns how many. Belongs to deployment, not to every night.

        Deletes our services that are no longer defined: their views may have other keys by now.
        """
        from feature_repo.definitions import definitions

        objects = definitions(self.root)
        self.store.apply(objects)
        names = {made.name for made in objects}
        for service in self.store.list_feature_services():
            if service.owner == OWNER and service.name not in names:
                self.store.delete_feature_service(service.name)
        self._stamp.write_text(_definitions_digest())
        return len(objects)

    def ensure_applied(self) -> None:
        """Apply where this lake's registry is missing or was written from other definitions."""
        if not self._stamp.exists() or self._stamp.read_text() != _definitions_digest():
            self.apply()

    @property
    def _stamp(self) -> Path:
        return self.work / "feast" / "definitions.sha256"

    # --- the store itself

    @cached_property
    def _settings(self) -> StoreSettings:
        return store_settings(self.settings)

    @property
    def backend(self) -> Backend:
        """Where the rows are stored.

        Raises UserError where the settings name another kind of store or do not say where it is.
        """
        try:
            if self._backend is None:
                self._backend = self._settings.open()
            return self._backend
        except StoreSettingsError as error:
            raise UserError(str(error)) from None

    def client(self) -> Recommendations:
        """The services' client, over this store; raises UserError where no night was ever published."""
        if not self.live().seq:
            raise UserError(f"no night of {self.root} is online; publish a night there first, or name another lake")
        return Recommendations(self.backend, timeout=5.0)

    def service_client(self) -> Recommendations:
        """A client with connections of its own and the short waits of a service; nothing is asked yet."""
        try:
            return Recommendations(self._settings.for_services().open())
        except StoreSettingsError as error:
            raise UserError(str(error)) from None

    def live(self) -> Publication:
        """The live publication; its number is 0 where none is live."""
        with self._answering():
            try:
                return Reader(self.backend).live
            except StoreMissingError:
                return NO_PUBLICATION

    def nights(self) -> list[Publication]:
        """The publications whose versions are online, oldest first."""
        with self._answering():
            try:
                return nights(self.backend)
            except StoreMissingError:
                return []

    def load(self, lake: Lake, run: Run, tables: Sequence[Table], batch_rows: int) -> Loaded:
        """Make the night `run.as_of` live online as a whole, writing only what differs from the live one.

        Raises UserError where the store does not answer or another process writes to it; the same call again
        continues where it stopped.
        """
        with self._answering():
            return load_night(lake, self.backend, run, tables, batch_rows, self._settings.keep)

    def forget(self, customers: Sequence[str]) -> dict[str, int]:
        """Remove every version of every row of some customers; returns customer -> the number of keys removed."""
        with self._writer() as store:
            return {customer: store.forget(customer) for customer in customers}

    def scrub(self) -> None:
        """Erase removed rows from the store's files, too; raises UserError where that cannot be done now."""
        with self._writer():
            self.backend.scrub()
        self.backend.close()  # only then SQLite deletes its log, which holds removed rows

    def clear(self) -> int:
        """Remove everything from the online store; returns the number of keys. The next night is loaded whole."""
        with self._writer() as store:
            return store.clear()

    @contextmanager
    def _writer(self) -> Iterator[Writer]:
        with self._answering(), writer(self.backend, self._settings.keep) as store:
            yield store

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turns the errors of a store that does not answer, that another process writes to, or that is damaged, into
        UserError and its kinds.
        """
        from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, RedisError

        try:
            yield
        except StoreBusyError as error:
            raise BusyError(str(error)) from None
        except StoreUnableError as error:
            if isinstance(error.__cause__, self.backend.away):
                raise self._told(error.__cause__) from error
            raise UserError(str(error)) from None
        except (RedisError, RedisClusterException) as error:
            kind = UserError if isinstance(error, (AuthenticationError, NoPermissionError)) else AwayError
            raise kind(
                f"Redis, the online store, does not answer as it should: {error}. The live night stays live; start "
                "Redis and run the same command again, which continues where this one stopped"
            ) from None
        except self.backend.away as error:
            if isinstance(error, OSError):
                raise
            raise self._told(error) from error

    def _told(self, error: Exception) -> UserError:
        """What an error of SQLite says about the store's file."""
        file, why = getattr(self.backend, "path", self.settings), str(error)
        if "locked" in why:
            return BusyError(f"the online store {file} is in use by another process ({why}); try again later")
        if "full" in why:
            return AwayError(f"there is no room left for the online store {file}; make room there, and run it again")
        if "readonly" in why or "unable to open" in why:
            return UserError(f"the online store {file} cannot be written ({why}): let this process write the file")
        return DamageError(
            f"the online store {file} is damaged: {why}. Put it back from a backup, or move it away and run `python -m "
            "jobs publish` again for the live night, which loads it whole"
        )


def _definitions_digest() -> str:
    tables = sorted((REPO.parent / "jobs" / "tables").glob("*.py"))
    files = (REPO / "definitions.py", REPO / "served.py", *tables)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
