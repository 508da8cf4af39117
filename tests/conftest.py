"""Sessions that the whole suite shares: both engines, lakes on top of them, and the tiny sample shop."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from jobs.lake import engine as engines
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.sample_shop import SIZES, ShopSize, ShopSummary, write_shop
from tests.support.redis_server import MISSING, RedisServer, running_redis
from tests.support.s3_server import S3Server, running_s3

REAL_DATA = Path(os.environ["REAL_DATA"]) if os.environ.get("REAL_DATA") else None
"""The folder of public data sets; tests on real data are skipped without it."""


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """A test that leaves torch other threads than it found changes the last bits of what later tests fit."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture
def real_data() -> Path:
    """The folder of public data sets."""
    if REAL_DATA is None:
        pytest.skip("REAL_DATA is not set to the folder of public data sets")
    return REAL_DATA


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A real Redis, started once; skipped where it is not installed. Use a prefix of your own, or flush it before."""
    if not shutil.which("redis-server"):
        pytest.skip(MISSING)
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A local S3 server, started once. Use a bucket of your own."""
    with running_s3() as server:
        yield server


@pytest.fixture(scope="session")
def sail_engine() -> Iterator[engines.Engine]:
    """Sail, started once."""
    engine = engines.start("sail")
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def spark_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """Spark, started once; skipped where there is no Java."""
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("the engine spark needs Java, and there is no `java` here")
    engine = engines.start("spark", log=tmp_path_factory.mktemp("spark") / "spark.log")
    yield engine
    engine.stop()


@pytest.fixture(scope="session", params=engines.ENGINES)
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """Each engine in turn."""
    found: engines.Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


class SharedLake(Lake):
    """A lake on an engine that other tests go on using."""

    def stop(self) -> None:
        """Leave the engine running."""


def lake_on(engine: engines.Engine, root: Path, work: Path | None = None) -> Lake:
    """A lake below `root` whose engine is already running."""
    return SharedLake(root, lambda: engine, work, on_executors=engine.name == "spark")


@pytest.fixture(scope="session")
def lake_factory() -> Callable[[engines.Engine, Path], Lake]:
    """lake_factory(engine, tmp_path): a new lake on a shared engine."""
    return lake_on


@pytest.fixture
def lake(engine: engines.Engine, tmp_path: Path) -> Lake:
    """An empty lake on each engine in turn."""
    return lake_on(engine, tmp_path / "lake")


@pytest.fixture
def sail_lake(sail_engine: engines.Engine, tmp_path: Path) -> Lake:
    """An empty lake on Sail."""
    return lake_on(sail_engine, tmp_path / "lake")


def run_of(as_of: date) -> Run:
    """The run of a night; its identity follows from the night alone."""
    return Run(as_of, f"test-{as_of.isoformat()}", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="session")
def run() -> Callable[[date], Run]:
    """run(as_of): the run of a night."""
    return run_of


@dataclass(frozen=True)
class SampleShop:
    """The tiny sample shop as it was written."""

    raw: Path
    size: ShopSize
    summary: ShopSummary
    """Clean events and dirty rows per day."""
    truth: Path
    """products.parquet and dirt.json."""


@pytest.fixture(scope="session")
def tiny_raw(tmp_path_factory: pytest.TempPathFactory) -> SampleShop:
    """The tiny sample shop, written once. Copy its files before changing any."""
    folder = tmp_path_factory.mktemp("tiny_shop")
    summary = write_shop(folder / "raw", SIZES["tiny"], lambda *_: None, folder / "truth")
    return SampleShop(folder / "raw", SIZES["tiny"], summary, folder / "truth")
