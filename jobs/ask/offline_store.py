"""Adapts kept publications to Feast's offline store: rows joined to what was live at their times, without an engine.

Feast's settings name this class. The lake is read only when rows are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
import pyarrow as pa
from feast import FeatureView, Field, OnDemandFeatureView, RepoConfig, utils
from feast.data_source import DataSource
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import FeastConfigBaseModel
from feast.transformation.python_transformation import PythonTransformation
from feast.type_map import feast_value_type_to_pa

from feature_repo.served import NIGHT, ONLINE, TIMESTAMP
from jobs.tables.table import Table

if TYPE_CHECKING:
    from jobs.lake.lake import Lake

Dates = tuple[datetime | None, datetime | None]
TABLES = {table.name: table for table in ONLINE}


class KeptNightsOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the offline store, which has none."""

    type: Literal["jobs.ask.offline_store.KeptNightsOfflineStore"] = "jobs.ask.offline_store.KeptNightsOfflineStore"


class KeptRows(RetrievalJob):
    """Rows that are read when they are asked for; Feast computes on-demand features from them."""

    def __init__(
        self,
        rows: Callable[[], pa.Table],
        full_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._rows, self._full_names, self._on_demand, self._metadata = rows, full_names, list(on_demand), metadata

    @property
    def full_feature_names(self) -> bool:
        """Whether features have the names of their views before them."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that are computed from the rows."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._rows()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._rows().to_pandas()


class KeptNightsOfflineStore(OfflineStore):
    """Feast's OfflineStore over the publications that the lake keeps."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **dates: datetime,
    ) -> RetrievalJob:
        """Each row of `entity_df` with the features that were live at its time; see `jobs.lake.known`.

        Raises ValueError where it is no frame of rows, or has a column that is asked for as a feature too.
        """
        if not isinstance(entity_df, pd.DataFrame):
            raise ValueError("give entity_df as a pandas frame: each row has the keys of the views, and a time")
        time = offline_utils.infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        keys = offline_utils.get_expected_join_keys(project, feature_views, registry)
        if missing := keys - set(entity_df.columns):
            raise ValueError(f"entity_df has no column {', '.join(sorted(missing))}, which the views have as a key")
        computed = [*map(_computed, utils._get_requested_on_demand_feature_views(feature_refs, project, registry))]
        wanted, _ = utils._get_requested_feature_views_to_features_dict(feature_refs, feature_views, computed)
        named = {
            view: {f"{_name(view)}__{name}" if full_feature_names else name: name for name in names}
            for view, names in wanted.items()
        }
        if both := [name for names in named.values() for name in names if name in entity_df.columns]:
            raise ValueError(f"entity_df has a column {both[0]}, and so have the features: use full_feature_names=True")
        times = pd.to_datetime(entity_df[time], utc=True)
        asked = RetrievalMetadata(feature_refs, sorted(keys), times.min(), times.max())
        return KeptRows(lambda: _joined(config, named, entity_df, times), full_feature_names, computed, asked)

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The rows of the last publication between two times."""
        names = [*join_key_columns, *feature_name_columns]
        return KeptRows(lambda: _pulled(config, data_source, names, (start_date, end_date), last=True))

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The rows of every kept publication between two times."""
        names = [*join_key_columns, *feature_name_columns]
        return KeptRows(lambda: _pulled(config, data_source, names, (start_date, end_date), last=False))


def _name(view: FeatureView) -> str:
    name: str = view.projection.name_to_use()  # type: ignore[no-untyped-call]
    return name


class _Computed(PythonTransformation):
    """A function of rows: it is given lists as arrays, and what it returns under other names than its features' goes.

    Feast would make an object of every number. For online reads a function has to return full names; here Feast makes
    them.
    """

    def transform_arrow(self, pa_table: pa.Table, features: list[Field]) -> pa.Table:
        """The features of each row."""
        inputs = {
            name: column.to_numpy() if pa.types.is_list(column.type) else column.to_pylist()
            for name, column in zip(pa_table.column_names, pa_table.columns, strict=True)
        }
        made: dict[str, list[object]] = self.udf(inputs)
        types = [feast_value_type_to_pa(field.dtype.to_value_type()) for field in features]
        arrays = [pa.array(made[field.name], kind) for field, kind in zip(features, types, strict=True)]
        return pa.table(arrays, [field.name for field in features])


def _computed(view: OnDemandFeatureView) -> OnDemandFeatureView:
    made = view.feature_transformation
    if isinstance(made, PythonTransformation):
        view = copy(view)
        view.feature_transformation = _Computed(made.udf, made.udf_string)  # type: ignore[arg-type]  # a method
    return view


def _joined(
    config: RepoConfig, wanted: Mapping[FeatureView, Mapping[str, str]], rows: pd.DataFrame, times: pd.Series[datetime]
) -> pa.Table:
    """The rows with the columns of each view: name in the answer -> feature."""
    from jobs.lake.known import known_at

    instants = times.dt.tz_localize(None).to_numpy("datetime64[us]")
    found = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    given = found
    for view, columns in wanted.items():
        lake, table = _lake_and_table(config, view.batch_source)
        renamed = [view.projection.join_key_map.get(key, key) for key in table.key]
        keys = pa.table({key: given[name].cast(pa.string()) for key, name in zip(table.key, renamed, strict=True)})
        there = known_at(lake, table, keys, instants, [name for name in columns.values() if name != NIGHT])
        for column, name in columns.items():
            found = found.append_column(column, there[name])
    return found


def _pulled(config: RepoConfig, source: DataSource, names: Sequence[str], between: Dates, last: bool) -> pa.Table:
    """Columns of the rows of the publications between two times, or of the last of them, with TIMESTAMP."""
    from jobs.lake.known import LIVE_SINCE, live_between, nothing, published_rows

    lake, table = _lake_and_table(config, source)
    own = [name for name in names if name != NIGHT]
    chosen = live_between(lake, *between)[-1 if last else 0 :]
    found = pa.concat_tables([nothing(table, own), *(published_rows(lake, one, table, own) for one in chosen)])
    return found.rename_columns({LIVE_SINCE: TIMESTAMP}).select([*names, TIMESTAMP])


def _lake_and_table(config: RepoConfig, source: DataSource | None) -> tuple[Lake, Table]:
    """The lake that the registry lies in, else the one that the source was registered for, and the source's table.

    Raises ValueError for a source that is not ours.
    """
    from jobs.lake.lake import Lake
    from jobs.lake.storage import place

    path = place(source.path) if isinstance(source, FileSource) else None
    if path is None or path.name not in TABLES:
        raise ValueError(f"{source and source.name} is no table of a lake: this offline store reads those alone")
    registry = config.registry if isinstance(config.registry, str) else config.registry.path
    around = Path(registry).absolute().parents[1]
    return Lake(around if (around / "tables").is_dir() else path.parents[1]), TABLES[path.name]
