"""The tiny shop's nights, each made once: two on Sail, one on Spark. Copy a lake before changing it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jobs.config import quick
from jobs.lake import storage
from jobs.lake.engine import Engine
from jobs.sample_shop import SIZES, write_days
from tests.support.nights import SAMPLE_SQL, SECOND, STAGING, LakeFactory, Shop
from tests.support.s3_server import S3Server


@pytest.fixture(scope="session")
def raw(tiny_raw: object) -> Path:
    """The raw files up to the first night."""
    folder: Path = tiny_raw.raw  # type: ignore[attr-defined]
    return folder


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's SELECTs, copied: its text is part of a run's identity, and somebody may be editing it."""
    return Path(shutil.copy(SAMPLE_SQL, tmp_path_factory.mktemp("source") / "sample.sql"))


@pytest.fixture(scope="session")
def raw_with_a_new_day(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The raw files up to the second night."""
    size = SIZES["tiny"]
    folder = tmp_path_factory.mktemp("one_more_day") / "raw"
    shutil.copytree(raw, folder)
    write_days(folder, size, range(size.days, size.days + 1), lambda *_: None)
    return folder


@pytest.fixture(scope="session")
def night(
    raw: Path, source: Path, sail_engine: Engine, lake_factory: LakeFactory, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """The first night on Sail, published and reported."""
    root = tmp_path_factory.mktemp("night") / "lake"
    shop = Shop(lake_factory(sail_engine, root), quick(source, raw))
    shop.steps()
    return shop


@pytest.fixture(scope="session")
def spark_night(
    raw: Path, source: Path, spark_engine: Engine, lake_factory: LakeFactory, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """The first night on Spark."""
    root = tmp_path_factory.mktemp("spark_night") / "lake"
    shop = Shop(lake_factory(spark_engine, root), quick(source, raw))
    shop.steps()
    return shop


@pytest.fixture(scope="session")
def staged_second(
    night: Shop, raw_with_a_new_day: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """The first night live, the second one staged and not yet through its gates."""
    shop = night.copy(tmp_path_factory.mktemp("staged_second"), quick(source, raw_with_a_new_day))
    shop.steps(STAGING, SECOND)
    return shop


@pytest.fixture(scope="session")
def second_night(staged_second: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The second night published over the first."""
    shop = staged_second.copy(tmp_path_factory.mktemp("second_night"))
    shop.steps(("gate", "publish", "report"), SECOND)
    return shop


@pytest.fixture
def copied_night(night: Shop, tmp_path: Path) -> Shop:
    """The first night, free to be damaged."""
    return night.copy(tmp_path)


@pytest.fixture
def copied_second(staged_second: Shop, tmp_path: Path) -> Shop:
    """The second night, staged over the live first one, free to be damaged."""
    return staged_second.copy(tmp_path)


@pytest.fixture
def s3_root(s3_server: S3Server) -> Path:
    """Where a new lake may be."""
    return storage.place(f"s3://{s3_server.bucket()}/lake")
