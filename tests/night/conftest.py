"""The tiny shop's nights, each made once for all workers: two on Sail, one on Spark. Copy a lake before changing it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.config import quick
from jobs.lake import storage
from jobs.lake.engine import Engine
from jobs.sample_shop import SIZES, write_days
from tests.support.faults.harness import Nights, zygote
from tests.support.nights import SAMPLE_SQL, SECOND, STAGING, LakeFactory, Shop
from tests.support.once import made_once
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

    def make(folder: Path) -> None:
        shutil.copytree(raw, folder / "raw")
        write_days(folder / "raw", size, range(size.days, size.days + 1), lambda *_: None)

    return made_once(tmp_path_factory, "one_more_day", make) / "raw"


@pytest.fixture(scope="session")
def made_night(
    raw: Path, source: Path, lake_factory: LakeFactory, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Engine], Shop]:
    """made_night(engine): a first night, published and reported; made by one worker, and a copy of it for each."""

    def night_on(engine: Engine) -> Shop:
        config = quick(source, raw)

        def make(folder: Path) -> None:
            Shop(lake_factory(engine, folder / "lake"), config).steps()

        made = Shop(lake_factory(engine, made_once(tmp_path_factory, f"night_{engine.name}", make) / "lake"), config)
        return made.copy(tmp_path_factory.mktemp("night"))

    return night_on


@pytest.fixture(scope="session")
def night(made_night: Callable[[Engine], Shop], sail_engine: Engine) -> Shop:
    """The first night on Sail, published and reported."""
    return made_night(sail_engine)


@pytest.fixture(scope="session")
def spark_night(made_night: Callable[[Engine], Shop], spark_engine: Engine) -> Shop:
    """The first night on Spark."""
    return made_night(spark_engine)


@pytest.fixture(scope="session")
def staged_second(
    night: Shop, raw_with_a_new_day: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Shop:
    """The first night live, the second one staged and not yet through its gates."""
    config = quick(source, raw_with_a_new_day)

    def make(folder: Path) -> None:
        night.copy(folder, config).steps(STAGING, SECOND)

    folder = made_once(tmp_path_factory, "staged_second", make)
    return night.at(folder / "copy", config).copy(tmp_path_factory.mktemp("staged_second"))


@pytest.fixture(scope="session")
def second_night(staged_second: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The second night published over the first."""

    def make(folder: Path) -> None:
        staged_second.copy(folder).steps(("gate", "publish", "report"), SECOND)

    folder = made_once(tmp_path_factory, "second_night", make)
    return staged_second.at(folder / "copy").copy(tmp_path_factory.mktemp("second_night"))


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


@pytest.fixture(scope="session")
def nights(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """Nights in children that can be killed."""
    with zygote(tmp_path_factory.mktemp("zygote")) as forks:
        yield Nights(forks, source)
