"""Feast's view of the store: its reads see one whole night, its own writes go into the night that is live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import FeatureView, RepoConfig, utils
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Int64List, StringList, Value

from feature_repo.online.backend import Backend
from feature_repo.online.encode import encode
from feature_repo.online.layout import DOUBLE, FLOATS, SECONDS, TEXT, WORD, WORDS, View, row_key, uvarint
from feature_repo.online.reader import OnlineRow, Reader
from feature_repo.online.store import writer
from feature_repo.online.versions import EPOCH, ROW, STAMPED, Record
from feature_repo.served import NIGHT, ONLINE, stored_view
from feature_repo.settings import RedisSettings, SqliteSettings

Written = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
FIELDS = {TEXT: "string_val", WORD: "string_val", DOUBLE: "double_val", FLOATS: "float_list_val",
          WORDS: "string_list_val", SECONDS: "unix_timestamp_list_val"}  # fmt: skip
ARROW = {TEXT: pa.string(), WORD: pa.string(), DOUBLE: pa.float64(), FLOATS: pa.list_(pa.float32()),
         WORDS: pa.list_(pa.string()), SECONDS: pa.list_(pa.int64())}  # fmt: skip
VIEWS = {table.name: table for table in ONLINE}


class VersionedOnlineStore(OnlineStore):
    """Feast's OnlineStore over `feature_repo.online`."""

    _backend: Backend | None = None
    _reader: Reader | None = None

    def backend(self, config: RepoConfig) -> Backend:
        """Where the bytes lie, opened once."""
        if self._backend is None:
            self._backend = config.online_store.open(Path(config.repo_path or "."))
        return self._backend

    def reader(self, config: RepoConfig) -> Reader:
        """The reader that all requests of this store share."""
        if self._reader is None:
            self._reader = Reader(self.backend(config))
        return self._reader

    def online_read(
        self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:  # fmt: skip
        """Features of some keys of one view."""
        wanted = requested_features or [feature.name for feature in table.features]
        keys = [dict(zip(key.join_keys, key.entity_values, strict=True)) for key in entity_keys]
        return self._read(config, [(table, wanted, keys)])[0]

    def _read_features_per_fv(
        self, config: RepoConfig, grouped_refs: list[Any], join_key_values: dict[str, Any],
        entity_name_to_join_key_map: dict[str, str], online_features_response: Any, full_feature_names: bool,
        include_feature_view_version_metadata: bool,
    ) -> None:  # fmt: skip
        """All views of a request in one round trip: Feast asks view by view, which could be of two nights."""
        asked, places = [], []
        for table, wanted in grouped_refs:
            keys, rows, count = utils._get_unique_entities(table, join_key_values, entity_name_to_join_key_map)
            asked.append((table, wanted, list(keys)))
            places.append((rows, count))
        found = self._read(config, asked)
        for (table, wanted, _), (rows, count), read in zip(asked, places, found, strict=True):
            utils._populate_response_from_feature_data(
                wanted, read, rows, online_features_response, full_feature_names, table, count,
                include_feature_view_version_metadata,
            )  # fmt: skip

    def _read(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, list[str], Sequence[dict[str, Value]]]]
    ) -> list[list[tuple[datetime | None, dict[str, Value] | None]]]:
        reader = self.reader(config)
        keys = [
            (table.name, [key[name].string_val for name in _key_of(table)]) for table, _, some in asked for key in some
        ]
        rows = iter(reader.read(keys).rows)
        return [
            [_values(reader, table.name, wanted, next(rows)) for _ in some] for table, wanted, some in asked
        ]  # fmt: skip

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Written], progress: Callable[[int], Any] | None
    ) -> None:
        """Write rows into the night that is live; each keeps the night and the time that it comes with."""
        with writer(self.backend(config), config.online_store.keep) as store:
            view = store.views({table.name: stored_view(VIEWS[_key_name(table)])})[table.name]
            nights = [values[NIGHT].string_val if NIGHT in values else store.live.as_of for _, values, _, _ in data]
            times = [at if at.tzinfo else at.replace(tzinfo=UTC) for _, _, at, _ in data]
            if data:
                store.start(nights[0], times[0])
            keys = [dict(zip(key.join_keys, key.entity_values, strict=True)) for key, *_ in data]
            columns = [
                pa.array([_plain(keys[row].get(feature.name) or values.get(feature.name))
                          for row, (_, values, _, _) in enumerate(data)], ARROW[feature.type])
                for feature in view.features
            ]  # fmt: skip
            payloads = encode(view.features, columns, store.words.code) if data else []
            rows = {}
            for key, payload, night, at in zip(keys, payloads, nights, times, strict=True):
                stored = row_key(store.backend.prefix, view, tuple(key[name].string_val for name in view.key))
                rows[stored] = _record(store.live, len(view.layouts) - 1, payload, night, at)
            store.amend(view, rows)
        if progress:
            progress(len(data))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: views are made when they are first written."""

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


def _key_name(table: FeatureView) -> str:
    if table.name not in VIEWS:
        raise ValueError(f"the online store holds {', '.join(VIEWS)}; it has no place for the view {table.name}")
    return str(table.name)


def _key_of(table: FeatureView) -> tuple[str, ...]:
    return VIEWS[_key_name(table)].key


def _record(live: Any, layout: int, payload: bytes, night: str, at: datetime) -> Record:
    if (night, at) == (live.as_of, live.published_at):
        return Record(live.seq, ROW, layout, payload)
    micros = (at - EPOCH) // timedelta(microseconds=1)
    text = night.encode()
    stamp = micros.to_bytes(8, "little", signed=True) + uvarint(len(text)) + text
    return Record(live.seq, STAMPED, layout, stamp + payload)


def _plain(value: Value | None) -> Any:
    """A Feast value as Python's; None for null."""
    kind = value.WhichOneof("val") if value is not None else None
    if kind is None:
        return None
    found = getattr(value, kind)
    return list(found.val) if hasattr(found, "val") else found


def _values(
    reader: Reader, view: str, wanted: Sequence[str], row: OnlineRow | None
) -> tuple[datetime | None, dict[str, Value] | None]:
    if row is None:
        return None, None
    types = _types(reader.views[view])
    values = {name: _value(types[name], row.features.get(name)) for name in wanted if name != NIGHT}
    if NIGHT in wanted:
        values[NIGHT] = Value(string_val=row.night)
    return row.published_at, values


def _types(view: View) -> dict[str, str]:
    return {feature.name: feature.type for layout in view.layouts for feature in layout}


def _value(kind: str, value: Any) -> Value:
    if value is None:
        return Value()
    if kind == FLOATS:
        return Value(float_list_val=FloatList(val=value.tolist()))
    if kind == WORDS:
        return Value(string_list_val=StringList(val=value))
    if kind == SECONDS:
        return Value(unix_timestamp_list_val=Int64List(val=value))
    return Value(**{FIELDS[kind]: value})
