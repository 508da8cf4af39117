"""Sessions that the whole suite shares: both engines, lakes on top of them, and the tiny sample shop."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from jobs.lake import engine as engines
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.sample_shop import SIZES, ShopSize, ShopSummary, write_shop
from tests.support.once import made_once
from tests.support.redis_server import MISSING, RedisServer, running_redis
from tests.support.s3_server import S3Server, running_s3

REAL_DATA = Path(os.environ["REAL_DATA"]) if os.environ.get("REAL_DATA") else None
"""The folder of public data sets; tests on real data are skipped without it."""


SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""A JVM of the tests spends most of its time on compiling: it does so quickly instead of well."""
LONGEST = (
    "spark", "tests/night/test_object_storage.py", "tests/night/test_killed_anywhere.py", "tests/night/test_gates.py",
    "tests/night/test_backfill.py", "tests/night/test_forget.py", "tests/night/test_input_gates.py",
    "tests/night/test_night_again.py", "tests/night/test_lock.py",
)  # fmt: skip
"""Groups that workers begin with, so that neither is left with a long one at the end."""


def group_of(test: str) -> str:
    """The group of a test's id: its file, or "spark" for every test with that parameter, so that one JVM starts."""
    return "spark" if re.search(r"\[(.*-)?spark(-.*)?\]$", test) else test.split("::")[0]


class Groups(LoadScopeScheduling):
    """Gives whole groups to workers. (xdist's own loadgroup does not find its marks under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """What gives tests to workers."""
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups first."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group_of(item.nodeid), len(LONGEST)))


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
def started_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Engine]:
    """Spark, started once; skipped where there is no Java."""
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("the engine spark needs Java, and there is no `java` here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", SHORT_LIVED)
        engine = engines.start("spark", log=tmp_path_factory.mktemp("spark") / "spark.log")
    yield engine
    engine.stop()


@pytest.fixture(scope="session", params=["spark"])
def spark_engine(started_spark: engines.Engine) -> engines.Engine:
    """Spark; the parameter puts every test that uses it into the group of that name."""
    return started_spark


@pytest.fixture(scope="session", params=engines.ENGINES)
def engine(request: pytest.FixtureRequest) -> engines.Engine:
    """Each engine in turn."""
    found: engines.Engine = request.getfixturevalue("started_spark" if request.param == "spark" else "sail_engine")
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
    """The tiny sample shop, written once for all workers. Copy its files before changing any."""
    size = SIZES["tiny"]

    def make(folder: Path) -> None:
        summary = write_shop(folder / "raw", size, lambda *_: None, folder / "truth")
        (folder / "summary.json").write_text(json.dumps(asdict(summary)))

    folder = made_once(tmp_path_factory, "tiny_shop", make)
    summary = ShopSummary(**json.loads((folder / "summary.json").read_text()))
    return SampleShop(folder / "raw", size, summary, folder / "truth")
