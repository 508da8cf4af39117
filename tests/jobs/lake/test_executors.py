"""Encoding and ranking on Spark's executors: the same rows and counts as here, with what they need read once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark import SparkFiles

from jobs import embed
from jobs.lake import executors
from jobs.lake.engine import Engine
from jobs.lake.executors import Parcel, Task
from jobs.lake.lake import Lake
from jobs.lists.config import ListsConfig
from jobs.lists.customer_lists import COUNTED, Ranker
from jobs.policy.variants import Variant
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, RECOMMENDED_FOR_YOU
from tests.conftest import lake_on
from tests.jobs.test_embed import KNOWN, NIGHTS, catalogue, run_of, sequences
from tests.jobs.test_embed import lake as embedded  # noqa: F401 - the fixture
from tests.support.small_shop import FIRST, SmallShop
from tests.support.tables import assert_same_rows

CONFIG = ListsConfig(top_n=4, variants=(Variant("a", 0.5), Variant("b", 0.5, policy=False)))
RULES = [
    {"rule_id": "gone", "kind": "exclude", "attribute": "brand", "value": "Ash", "market": "DE"},
    {"rule_id": "up", "kind": "boost", "attribute": "category", "value": "socks", "amount": 3.0},
    {"rule_id": "again", "kind": "repeat_purchase", "attribute": "category", "value": "tops", "amount": 2.0},
]


def copy_of(lake: Lake, engine: Engine, folder: Path) -> Lake:
    """The same lake on another engine."""
    return lake_on(engine, Path(shutil.copytree(lake.root, folder / "copy")))


@pytest.mark.soak
def test_vectors_are_the_same_to_the_last_bit(embedded: Lake, spark_engine: Engine, tmp_path: Path) -> None:  # noqa: F811
    """A night of changes, with a product that came to the catalogue; test_whole_night has a complete one."""
    on_spark = copy_of(embedded, spark_engine, tmp_path)
    for lake in (embedded, on_spark):
        sequences(lake, NIGHTS[2], {"C3": ["P4"]}, NIGHTS[0])
        catalogue(lake, NIGHTS[2], dict.fromkeys([*KNOWN, "NEW"], "Ash"))
        embed.execute(lake, run_of(NIGHTS[2]), embed.EmbedConfig("cpu"))
    assert_same_rows(embedded.arrow(CUSTOMER_EMBEDDINGS), on_spark.arrow(CUSTOMER_EMBEDDINGS), ("here", "executors"))
    assert not [path for path in on_spark.root.rglob(".*") if path.is_dir()]


def staged(lake: Lake) -> Iterator[tuple[pa.Table, Any, list[dict[str, Any]]]]:
    """(lists, counts, rule effects) of a shop's night, then of the night of changes after it."""
    shop = SmallShop.new(lake, 7)
    shop.rules(RULES)
    for night, since in ((FIRST, None), (FIRST + timedelta(days=1), FIRST)):
        if since:
            shop.touch("C003", night)
            shop.touch("C999", night)
        shop.write(night, since)
        builder = shop.builder(night, CONFIG)
        shop.stage(builder, night, CONFIG)
        yield lake.arrow(RECOMMENDED_FOR_YOU), dict(builder.counts), builder.effects()


@pytest.mark.soak
def test_lists_and_what_rules_did_are_the_same(sail_lake: Lake, spark_engine: Engine, tmp_path: Path) -> None:
    for here, on_spark in zip(staged(sail_lake), staged(lake_on(spark_engine, tmp_path / "spark")), strict=True):
        assert_same_rows(here[0], on_spark[0], ("here", "executors"))
        assert here[1] == on_spark[1] and sum(count.lists for count in here[1].values()) > 0
        order = sorted(here[2], key=str)
        assert order == sorted(on_spark[2], key=str) and any(row["changed"] for row in order)


def ranked(ranker: Ranker, batches: Iterator[pa.RecordBatch]) -> tuple[list[dict[str, Any]], int]:
    """Rows by customer, and how many lists were counted."""
    rows = [row for batch in ranker(batches) for row in batch.to_pylist()]
    counted = [row.pop(COUNTED.name) for row in rows]
    lists = sum(sum(int(part[0]) for part in json.loads(text).values()) for text in counted if text)
    return sorted(rows, key=lambda row: str(row["customer_id"])), lists


def test_a_ranker_that_was_packed_makes_the_same_lists_whatever_the_batches(sail_lake: Lake, tmp_path: Path) -> None:
    shop = SmallShop.new(sail_lake, 3)
    shop.rules(RULES)
    shop.write(FIRST)
    ranker = shop.ranker(FIRST, CONFIG)
    again = Ranker.of(Parcel.read(ranker.parcel().write(tmp_path)))
    whole = shop.ranked_rows(FIRST)
    order = np.random.default_rng(0).permutation(len(whole))
    parts = whole.take(order).to_batches(max_chunksize=7)
    assert ranked(ranker, iter(whole.combine_chunks().to_batches())) == ranked(again, iter(parts))


def test_a_parcel_that_was_damaged_is_not_used(tmp_path: Path) -> None:
    path = Parcel({"name": "é"}, {"none": np.zeros((0, 3), np.int32), "one": np.ones((), bool)}).write(tmp_path)
    read = Parcel.read(path)
    assert read.header == {"name": "é"} and read.arrays["none"].shape == (0, 3) and read.arrays["one"].shape == ()
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="damaged on its way"):
        Parcel.read(path)


def test_a_process_reads_what_it_needs_once(sail_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = SmallShop.new(sail_lake, 3)
    shop.write(FIRST)
    parcel = shop.ranker(FIRST, CONFIG).parcel().write(tmp_path)
    monkeypatch.setattr(SparkFiles, "get", classmethod(lambda _, name: str(tmp_path / name)))
    reads: list[Path] = []
    read = Parcel.read
    monkeypatch.setattr(Parcel, "read", staticmethod(lambda path: (reads.append(path), read(path))[1]))
    executors.unpacked.cache_clear()
    for _ in range(3):  # three tasks of one process
        rows = list(Task("jobs.lists.customer_lists:Ranker", parcel.name)(iter(shop.ranked_rows(FIRST).to_batches())))
        assert sum(batch.num_rows for batch in rows) == len(shop.people)
    assert reads == [parcel]
