"""Builds the night's two product indexes: FAISS index, vectors, ids and measured recall in a dated directory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from jobs.errors import UserError
from jobs.index_manifest import FILES, checked_files, sha256_of
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import staged_folder
from jobs.model_inputs import HISTORY_COLUMNS, ProductVectors, key_column, list_offsets, to_histories
from jobs.run import Counts, Run, fingerprint
from jobs.settings import StepSettings
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, EVENTS, PEOPLE_ALSO_BOUGHT, YOU_MIGHT_ALSO_LIKE
from jobs.tables.table import Table
from models.arrays import Rows
from models.contract import Compute, FloatMatrix
from models.copurchase.candidates import over_products
from models.copurchase.model import BasketCounts, CoPurchase, CoPurchaseConfig
from models.copurchase.pairs import Baskets, visits
from models.ragged import offsets_of
from models.search import search
from models.search.nearest import NearestProducts, nearest_products, renewed
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from models.search.device import DeviceProducts

CUSTOMERS_AT_ONCE = 16_384
"""Histories held in memory at once."""
CO_VIEWS = "co_views."
"""Prefix of the tensors of the model of views."""
NEAREST = ("nearest_scores", "nearest_rows")
"""The tensors of the nearest products of each product."""
LOOKED_AT = CoPurchaseConfig(half_life_days=30.0, popularity_discount=0.0, trend=0.0)
"""Chosen on the week before the sample shop's test week (`tests.benchmarks.touch_points`)."""


@dataclass(frozen=True)
class IndexConfig(StepSettings):
    """How the two indexes are built."""

    factory: str = "Flat"
    """FAISS factory string; any but Flat is approximate, and the gate demands a recall of it."""
    recall_queries: int = 1_000
    """Products whose neighbours are also searched exactly, to measure recall."""
    recall_depth: int = 24
    """k of the measured recall@k."""
    basket_days: int = 365
    """Purchases older than so many days are not used for People Also Bought."""
    pause_minutes: int = 30
    """A pause of so many minutes ends a visit; products viewed in one visit are alternatives to each other."""
    refit_days: PositiveInt = 7
    """Nights that one fit of the co-purchase and co-view models serves."""
    neighbours: PositiveInt = 97
    """Nearest products that the index of You Might Also Like keeps of each product, where its factory is Flat and it is
    searched on a CPU; lists with more candidates (`lists.top_n` times `lists.search_depth`, and one) search it."""
    device: str = "auto"
    """Where the exact search that recall is measured against runs: auto (CUDA where there is one, else CPU), cpu or
    cuda."""


@dataclass(frozen=True)
class ProductIndex:
    """An index directory, loaded."""

    vocabulary: Vocabulary
    """Row i of the index is product i."""
    index: search.Index
    tensors: Mapping[str, npt.NDArray[Any]]
    manifest: dict[str, Any]
    compute: Compute = search.ON_CPU
    """Where it is searched."""

    @cached_property
    def vectors(self) -> FloatMatrix | DeviceProducts:
        """Product vectors [p, d], on the device that searches them."""
        return search.placed(self.tensors["vectors"], self.compute)

    def nearest(self, n: int) -> tuple[FloatMatrix, Rows]:
        """(scores [p, n], rows [p, n]) of each product's nearest ones, itself among them: kept or searched."""
        kept = [self.tensors.get(name) for name in NEAREST]
        if kept[0] is None or kept[1] is None or kept[1].shape[1] < n:
            return search.search(self.index, self.tensors["vectors"], n, self.compute)
        return kept[0][:, :n], kept[1][:, :n].astype(np.int64)

    @cached_property
    def co_purchase(self) -> CoPurchase:
        """The co-purchase model behind the index of People Also Bought."""
        return CoPurchase.restore(self.manifest["config"], self.tensors)

    @cached_property
    def co_views(self) -> CoPurchase | None:
        """The same model of products viewed together, stored with You Might Also Like; None without views."""
        if self.manifest.get("co_views") is None:
            return None
        own = {name.removeprefix(CO_VIEWS): value for name, value in self.tensors.items() if name.startswith(CO_VIEWS)}
        return CoPurchase.restore(self.manifest["co_views"], own)


def execute(lake: Lake, run: Run, config: IndexConfig) -> Counts:
    """Write the night's two index directories."""
    similar = _write_similar(lake, run, config)
    bought = _write_bought(lake, run, config)
    note = (
        f"{similar['products']:,} products, recall@{config.recall_depth} {similar['recall']:.4f}; "
        f"{bought['baskets']:,} baskets, recall {bought['recall']:.4f}; views fitted on {similar['fit']['on']}, "
        f"baskets on {bought['fit']['on']}"
    )
    return Counts(similar["products"] + bought["baskets"], similar["products"] + bought["products"], note=note)


def read_index(lake: Lake, run: Run, table: Table, compute: Compute = search.ON_CPU) -> ProductIndex:
    """The night's index behind a table of lists, to be searched on `compute`.

    Raises UserError where it is absent or was changed.
    """
    with checked_files(lake, run.as_of, table) as (folder, manifest):  # before FAISS, which trusts what it reads
        try:
            index = search.load(folder / "index.faiss")
            vocabulary = Vocabulary(json.loads((folder / "products.json").read_bytes()))
            tensors = load_file(folder / "tensors.safetensors")
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            place = lake.directory(storage.INDEXES, run.as_of) / table.name
            raise UserError(f"the index {place} cannot be read: {error}; run the step index again") from None
        return ProductIndex(vocabulary, index, tensors, manifest, compute)


def similarity_vectors(vectors: FloatMatrix) -> FloatMatrix:
    """Product vectors [p, d + 1] without their bias and of length 1: alternatives are alike, not popular."""
    plain = vectors[:, :-1]
    return np.ascontiguousarray(plain / np.maximum(np.linalg.norm(plain, axis=1, keepdims=True), 1e-12))


def _write_similar(lake: Lake, run: Run, config: IndexConfig) -> dict[str, Any]:
    products = ProductVectors.read(lake, run.as_of)
    if not len(products.ids):
        raise UserError(f"no product has a vector on {run.as_of}; run the step embed first")
    unit = similarity_vectors(products.vectors)
    views, fit = _co_views(lake, run, config, products.ids)
    tensors = {"vectors": unit} | nearest_of(lake, run, config, products.ids, unit)
    manifest = {"model_id": products.model_id, "products": len(products.ids)} | fit
    if views is not None:
        tensors |= {CO_VIEWS + name: value for name, value in views.tensors().items()}
        manifest |= {"co_views": views.config()}
    return write_index(lake, run, config, YOU_MIGHT_ALSO_LIKE, NewIndex(products.ids, unit, unit, tensors, manifest))


def nearest_of(
    lake: Lake, run: Run, config: IndexConfig, vocabulary: Vocabulary, unit: FloatMatrix
) -> dict[str, npt.NDArray[Any]]:
    """NEAREST, from those of the night before as far as its products are the same."""
    if config.factory != "Flat" or search.placed(unit, Compute(config.device)) is not unit:
        return {}
    n, yesterday = min(config.neighbours, len(unit)), replace(run, as_of=run.as_of - timedelta(days=1))
    found = None
    with suppress(UserError):  # there is none, or it is damaged
        earlier = read_index(lake, yesterday, YOU_MIGHT_ALSO_LIKE)
        known = [earlier.tensors.get(name) for name in NEAREST]
        if known[0] is not None and known[1] is not None and earlier.tensors["vectors"].shape[1] == unit.shape[1]:
            rows = earlier.vocabulary.encode(vocabulary.ids, missing="negative").astype(np.int64)
            found = renewed(unit, n, earlier.tensors["vectors"], NearestProducts(known[0], known[1]), rows)
    found = found or nearest_products(unit, n)
    return dict(zip(NEAREST, (found.scores, found.rows.astype(np.int32)), strict=True))


def _co_views(
    lake: Lake, run: Run, config: IndexConfig, vocabulary: Vocabulary
) -> tuple[CoPurchase | None, dict[str, Any]]:
    """(the model of products viewed together, what the manifest records of its fit); None without views."""
    settings = {"pause_minutes": config.pause_minutes} | asdict(LOOKED_AT)
    earlier = _recent_fit(lake, run, config, YOU_MIGHT_ALSO_LIKE, settings)
    if earlier is not None and earlier.co_views is not None:
        rows = earlier.vocabulary.encode(vocabulary.ids, missing="negative").astype(np.int64)
        return over_products(earlier.co_views, rows), {name: earlier.manifest[name] for name in ("fit", "visits")}
    histories = lake.snapshot(CUSTOMER_SEQUENCES).encoded(HISTORY_COLUMNS, run.as_of, CUSTOMERS_AT_ONCE)
    pause = config.pause_minutes * 60
    batches = (visits(to_histories(rows, vocabulary).sequences, pause) for rows in histories)
    counts = BasketCounts.of(batches, len(vocabulary), LOOKED_AT, int(run.midnight.timestamp()))
    fit = {"fit": _fit(run, settings), "visits": counts.baskets}
    return CoPurchase.fit(counts, run.progress) if counts.baskets else None, fit


def _write_bought(lake: Lake, run: Run, config: IndexConfig) -> dict[str, Any]:
    vocabulary = Vocabulary(key_column(lake, CATALOGUE, run.as_of, "product_id"))
    settings = {"basket_days": config.basket_days} | asdict(CoPurchaseConfig())
    earlier = _recent_fit(lake, run, config, PEOPLE_ALSO_BOUGHT, settings)
    if earlier is not None:
        rows = earlier.vocabulary.encode(vocabulary.ids, missing="negative").astype(np.int64)
        model = over_products(earlier.co_purchase, rows)
        fit = {name: earlier.manifest[name] for name in ("fit", "baskets", "model_id")}
    else:
        batches = _baskets(lake, run, config, vocabulary)
        counts = BasketCounts.of(batches, len(vocabulary), now=int(run.midnight.timestamp()))
        model = CoPurchase.fit(counts, run.progress)
        fit = {"fit": _fit(run, settings), "baskets": counts.baskets, "model_id": f"co-purchase-{run.run_id}"}
    paired = float(model.has_baskets().mean())
    manifest = {"products": len(vocabulary), "paired": paired, "config": model.config()} | fit
    new = NewIndex(vocabulary, model.target_vectors(), model.source_vectors(), model.tensors(), manifest)
    return write_index(lake, run, config, PEOPLE_ALSO_BOUGHT, new)


def _fit(run: Run, settings: dict[str, Any]) -> dict[str, Any]:
    return {"on": run.as_of.isoformat(), "settings": settings}


def _recent_fit(
    lake: Lake, run: Run, config: IndexConfig, table: Table, settings: dict[str, Any]
) -> ProductIndex | None:
    """The index of the newest earlier night that fitted its model with these settings less than `refit_days` ago."""
    for days in range(1, config.refit_days):
        night = run.as_of - timedelta(days=days)
        if not (lake.directory(storage.INDEXES, night) / table.name).is_dir():
            continue
        try:
            earlier = read_index(lake, replace(run, as_of=night), table)
        except UserError:  # damaged: tonight fits its own
            continue
        if earlier.manifest.get("fit") == {"on": night.isoformat(), "settings": settings}:
            return earlier
    return None


@dataclass(frozen=True)
class NewIndex:
    """What is written as one index; p products."""

    vocabulary: Vocabulary
    vectors: FloatMatrix
    """[p, d], searched."""
    queries: FloatMatrix
    """[p, d], whose neighbours are searched."""
    tensors: Mapping[str, npt.NDArray[Any]]
    manifest: dict[str, Any]


def write_index(lake: Lake, run: Run, config: IndexConfig, table: Table, new: NewIndex) -> dict[str, Any]:
    """Build one index, measure its recall, and put its directory in place whole; returns the manifest."""
    place = lake.directory(storage.INDEXES, run.as_of) / table.name
    vectors, queries = new.vectors, new.queries
    with staged_folder(place) as staging:
        index = search.build_index(vectors, config.factory)
        search.save(index, staging / "index.faiss")
        tensors = {name: np.ascontiguousarray(value) for name, value in new.tensors.items()}
        save_file(tensors, staging / "tensors.safetensors")
        ids = new.vocabulary.ids.to_pylist()
        (staging / "products.json").write_text(json.dumps(ids, ensure_ascii=False), "utf-8")
        sample = queries[np.linspace(0, len(queries) - 1, min(config.recall_queries, len(queries)), dtype=np.int64)]
        depth = min(config.recall_depth, len(vectors))
        whole = new.manifest | {
            "as_of": run.as_of.isoformat(),
            "run_id": run.run_id,
            "factory": config.factory,
            "recall": search.recall_against_exact(index, vectors, sample, depth, Compute(config.device)),
            "recall_depth": depth,
            "recall_queries": len(sample),
            "vocabulary": new.vocabulary.digest,
            "files": {name: sha256_of(staging / name) for name in FILES},
        }
        signed = whole | {"sha256": fingerprint(whole)}
        (staging / "manifest.json").write_text(json.dumps(signed, indent=1, sort_keys=True), "utf-8")
    run.progress(f"index {table.name}", len(vectors), len(vectors))
    return whole


BASKETS = pa.schema([("product_ids", pa.list_(pa.string())), ("second", pa.int64())])


def _baskets(lake: Lake, run: Run, config: IndexConfig, vocabulary: Vocabulary) -> Iterator[Baskets]:
    rows = basket_rows(lake.frame(EVENTS), run.midnight, config.basket_days)
    staging = lake.path(EVENTS).with_name(".baskets.aside")
    with lake.engine.staged_rows(rows, BASKETS, staging, run.progress, "tasks of baskets") as batches:
        for batch in batches:
            yield to_baskets(batch, vocabulary)


def basket_rows(events: DataFrame, before: datetime, days: int) -> DataFrame:
    """Purchases strictly before `before` and at most `days` old, by basket: product_ids and the first second.

    Purchases without a basket id belong together where customer and time are equal. Products and baskets come in any
    order, a product as often as it was bought: to order them would cost the engine several times as much.
    """
    night = F.lit(before.isoformat()).cast("timestamp")
    oldest = F.lit((before - timedelta(days=days)).isoformat()).cast("timestamp")
    bought = events.where(
        (F.col("event_type") == "purchase") & (F.col("event_ts") < night) & (F.col("event_ts") >= oldest)
    )
    basket = F.coalesce("basket_id", F.col("event_ts").cast("string"))
    grouped = bought.groupBy("customer_id", basket.alias("basket")).agg(
        F.collect_list("product_id").alias("product_ids"), F.unix_timestamp(F.min("event_ts")).alias("second")
    )
    return grouped.select("product_ids", "second")


def to_baskets(rows: pa.RecordBatch | pa.Table, vocabulary: Vocabulary) -> Baskets:
    """`basket_rows` as arrays; products outside the vocabulary are left out."""
    products = vocabulary.encode(pc.list_flatten(rows["product_ids"]), missing="negative")
    known_before = offsets_of(products >= 0)
    return Baskets(
        known_before[list_offsets(rows["product_ids"])],
        products[products >= 0],
        np.asarray(rows["second"]).astype(np.int64),
    )
