"""Adapts the store to Feast: its reads see one whole night, and its writes go into the live one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value

from feature_repo.online.backend import Backend, StoreMissingError
from feature_repo.online.encode import encode
from feature_repo.online.layout import DOUBLE, FLOATS, SECONDS, TEXT, WORD, WORDS, row_key, uvarint
from feature_repo.online.reader import OnlineRow, Reader
from feature_repo.online.store import writer
from feature_repo.online.versions import EPOCH, ROW, STAMPED, Publication, Record
from feature_repo.served import NIGHT, ONLINE, stored_view
from feature_repo.settings import RedisSettings, SqliteSettings

Written = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
Features = tuple[datetime | None, dict[str, Value] | None]
"""(event timestamp, feature -> value) of a key; None and None where it has no row"""
TYPES: dict[str, tuple[pa.DataType, Callable[[Any], Value]]] = {
    TEXT: (pa.string(), lambda value: Value(string_val=value)),
    WORD: (pa.string(), lambda value: Value(string_val=value)),
    DOUBLE: (pa.float64(), lambda value: Value(double_val=value)),
    FLOATS: (pa.list_(pa.float32()), lambda value: Value(float_list_val=FloatList(val=value.tolist()))),
    WORDS: (pa.list_(pa.string()), lambda value: Value(string_list_val=StringList(val=value))),
    SECONDS: (pa.list_(pa.int64()), lambda value: Value(unix_timestamp_list_val=Int64List(val=value))),
}
"""Stored type -> its Arrow type, and the Feast value of a plain one."""
TABLES = {table.name: table for table in ONLINE}


class VersionedOnlineStore(OnlineStore):
    """Feast's OnlineStore over `feature_repo.online`."""

    _backend: Backend | None = None
    _reader: Reader | None = None

    def backend(self, config: RepoConfig) -> Backend:
        """The opened store, which all requests share."""
        if self._backend is None:
            self._backend = config.online_store.open()
        return self._backend

    def reader(self, config: RepoConfig) -> Reader:
        """The reader that all requests share."""
        if self._reader is None:
            self._reader = Reader(self.backend(config))
        return self._reader

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Features]:
        """Features of some keys of one view."""
        wanted = requested_features or [feature.name for feature in table.features]
        return self._read(config, [(table, wanted, [_parts(key) for key in entity_keys])])[0]

    def _read_features_per_fv(
        self, config: RepoConfig, grouped_refs: Any, keys: Any, entities: Any, response: Any, full: bool, version: bool
    ) -> None:
        """All views of a request in one round trip; Feast reads view by view, which may mix two nights."""
        asked, places = [], []
        for table, wanted in grouped_refs:
            unique, rows, size = utils._get_unique_entities(table, keys, entities)
            asked.append((table, wanted, list(unique)))
            places.append((rows, size))
        found = self._read(config, asked)
        for (table, wanted, _), (rows, size), read in zip(asked, places, found, strict=True):
            utils._populate_response_from_feature_data(wanted, read, rows, response, full, table, size, version)

    def _read(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, list[str], Sequence[dict[str, Value]]]]
    ) -> list[list[Features]]:
        reader = self.reader(config)
        keys = [
            (table.name, [key[name].string_val for name in _key(table)]) for table, _, some in asked for key in some
        ]
        answer = reader.read(keys)
        if not answer.live.seq:
            raise StoreMissingError(
                "no night was ever published in the online store; publish one, or correct its address"
            )
        rows = iter(answer.rows)
        return [[_features(reader, table.name, wanted, next(rows)) for _ in some] for table, wanted, some in asked]

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Written], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows into the live publication; each keeps the night and the time that it comes with."""
        key_columns = _key(table)
        if not data:
            return
        with writer(self.backend(config), config.online_store.keep) as store:
            view = store.views({table.name: stored_view(TABLES[table.name])})[table.name]
            rows = [{**values, **_parts(key)} for key, values, _, _ in data]
            nights = [row[NIGHT].string_val if NIGHT in row else store.live.as_of for row in rows]
            times = [at if at.tzinfo else at.replace(tzinfo=UTC) for _, _, at, _ in data]
            store.start(nights[0], times[0])
            columns = [
                pa.array([_plain(row.get(feature.name)) for row in rows], TYPES[feature.type][0])
                for feature in view.features
            ]
            records = {}
            payloads = encode(view.features, columns, store.words.code)
            for row, payload, night, at in zip(rows, payloads, nights, times, strict=True):
                key = row_key(store.backend.prefix, view, tuple(row[name].string_val for name in key_columns))
                records[key] = _record(store.live, len(view.layouts) - 1, payload, night, at)
            store.amend(view, records)
        if progress:
            progress(len(data))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the first write to a view adds it."""

    def teardown(self, config: RepoConfig, *args: Any, **kwargs: Any) -> None:
        """Remove everything."""
        with writer(self.backend(config)) as store:
            store.clear()


class NightSqliteOnlineStore(VersionedOnlineStore):
    """The store in one SQLite file."""


class NightRedisOnlineStore(VersionedOnlineStore):
    """The store in Redis."""


class NightSqliteOnlineStoreConfig(SqliteSettings):
    """Settings of NightSqliteOnlineStore; Feast finds the class by this name."""


class NightRedisOnlineStoreConfig(RedisSettings):
    """Settings of NightRedisOnlineStore; Feast finds the class by this name."""


def _key(view: FeatureView) -> tuple[str, ...]:
    if view.name not in TABLES:
        raise ValueError(f"the view {view.name} is not stored online; the views that are: {', '.join(TABLES)}")
    return TABLES[view.name].key


def _parts(key: EntityKey) -> dict[str, Value]:
    return dict(zip(key.join_keys, key.entity_values, strict=True))


def _record(live: Publication, layout: int, payload: bytes, night: str, at: datetime) -> Record:
    """A record of the live publication, stamped where it has another night or time."""
    if (night, at) == (live.as_of, live.published_at):
        return Record(live.seq, ROW, layout, payload)
    micros, text = (at - EPOCH) // timedelta(microseconds=1), night.encode()
    stamp = micros.to_bytes(8, "little", signed=True) + uvarint(len(text)) + text
    return Record(live.seq, STAMPED, layout, stamp + payload)


def _plain(value: Value | None) -> Any:
    """A Feast value as Python's; None for null."""
    kind = value.WhichOneof("val") if value is not None else None
    if kind is None:
        return None
    found = getattr(value, kind)
    return list(found.val) if hasattr(found, "val") else found


def _features(reader: Reader, view: str, wanted: Sequence[str], row: OnlineRow | None) -> Features:
    if row is None:
        return None, None
    types = {feature.name: feature.type for layout in reader.views[view].layouts for feature in layout}
    found: dict[str, Value] = {}
    for name in wanted:
        value = row.night if name == NIGHT else row.features.get(name)
        kind = TEXT if name == NIGHT else types[name]
        found[name] = Value() if value is None else TYPES[kind][1](value)
    return row.published_at, found
