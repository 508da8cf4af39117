"""A lake and raw files below s3://: the same tables, commands and promises as in a folder of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.clean.retention import RetentionConfig
from jobs.config import quick
from jobs.forget.step import forget
from jobs.lake import storage
from jobs.lake.engine import Engine, start
from jobs.lake.live import live_night, publications
from jobs.lake.locks import STEP
from jobs.nights.status import status_of
from jobs.publish.step import rollbacks
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import RECOMMENDED_FOR_YOU
from models.contract import Compute
from models.networks import artefacts
from tests.benchmarks.cluster.nights import compare, run_night
from tests.night.test_night_again import contents, differing
from tests.support.nights import FIRST, SECOND, STAGING, LakeFactory, Shop, feast_below
from tests.support.repository import REPOSITORY
from tests.support.s3_server import SECRET, Door, S3Server


def put_folder(folder: Path, place: Path) -> None:
    """Copy everything below one place to another."""
    for path, _ in storage.files(folder):
        copy = place / path.relative_to(folder).as_posix()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def both_nights(
    raw_with_a_new_day: Path, raw: Path, source: Path, sail_engine: Engine, s3_server: S3Server,
    lake_factory: LakeFactory, tmp_path_factory: pytest.TempPathFactory,
) -> Shop:  # fmt: skip
    """Two nights whose lake and raw files are in a bucket, made as the fixture `second_night` makes its own."""
    bucket = storage.place(f"s3://{s3_server.bucket()}/of/the-shop")
    put_folder(raw, bucket / "raw")
    lake = lake_factory(sail_engine, bucket / "lake", tmp_path_factory.mktemp("work"))
    shop = Shop(lake, quick(source, bucket / "raw"))
    shop.steps()
    put_folder(raw_with_a_new_day, bucket / "raw")
    shop.steps((*STAGING, "gate", "publish", "report"), SECOND)
    return shop


@pytest.fixture
def copied(both_nights: Shop, s3_server: S3Server, lake_factory: LakeFactory, tmp_path: Path) -> Shop:
    """Both nights, free to be damaged."""
    lake = both_nights.lake
    root = storage.place(f"s3://{s3_server.bucket()}/lake")
    put_folder(lake.root, root)
    shutil.copytree(lake.work, tmp_path / "work")
    return Shop(lake_factory(lake.engine, root, tmp_path / "work"), both_nights.config)


@pytest.mark.soak
def test_both_nights_are_those_of_a_local_lake(both_nights: Shop, second_night: Shop) -> None:
    assert both_nights.config.hash == second_night.config.hash, "where it lies is no part of what is computed"
    assert differing(contents(both_nights), contents(second_night)) == []


@pytest.mark.soak
def test_the_indexes_are_those_of_a_local_lake(both_nights: Shop, second_night: Shop) -> None:
    def files(shop: Shop) -> dict[str, bytes]:
        folder = shop.lake.directory("indexes", SECOND)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path, _ in storage.files(folder)}

    assert len(files(both_nights)) >= 8
    assert files(both_nights) == files(second_night)


@pytest.mark.soak
def test_models_pages_and_the_online_store_can_be_read(both_nights: Shop) -> None:
    lake = both_nights.lake
    published = both_nights.rows(PUBLISHED, SECOND)
    model_id = next(row["model_id"] for row in published if row["surface"] == RECOMMENDED_FOR_YOU.name)
    model, _ = artefacts.read(lake.root / "models" / model_id, Compute("cpu"))
    assert len(model.vocabulary)
    assert "</html>" in (lake.directory("reports", SECOND) / "shop.html").read_text("utf-8")
    with feast_below(lake.work):
        store = both_nights.online()
        assert store.live().as_of == SECOND.isoformat()
        keys = lake.arrow(RECOMMENDED_FOR_YOU, RECOMMENDED_FOR_YOU.key, SECOND).to_pandas()
        times = keys.assign(event_timestamp=[one.at for one in publications(lake)][-1])
        found = store.store.get_historical_features(times, [f"{RECOMMENDED_FOR_YOU.name}:night"]).to_df()
        assert len(found) and set(found["night"]) == {SECOND.isoformat()}
    assert status_of(lake, 5, datetime(2026, 5, 3, tzinfo=UTC)).at_work == ()


@pytest.mark.soak
def test_only_what_this_machine_alone_needs_is_on_it(both_nights: Shop) -> None:
    lake = both_nights.lake
    assert {path.name for path in lake.work.iterdir()} <= {"feast", "logs"}
    inside = {path.relative_to(lake.root).parts[0] for path, _ in storage.files(lake.root)}
    assert inside == {"tables", "models", "indexes", "lists", "reports", "forgotten.salt"}, "nothing was left aside"
    assert not (REPOSITORY / "s3:").exists() and not Path("s3:").exists()


@pytest.mark.soak
def test_no_file_holds_the_secret_key(both_nights: Shop) -> None:
    for place in (both_nights.lake.root, both_nights.lake.work):
        assert [path for path, _ in storage.files(place) if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.soak
def test_an_earlier_night_is_made_live_again(copied: Shop) -> None:
    assert FIRST in [one.night for one in rollbacks(copied.lake)]
    copied.step("publish", FIRST, replace_newer=True)
    assert live_night(copied.lake) == FIRST
    with feast_below(copied.lake.work):
        assert copied.online().live().as_of == FIRST.isoformat()


@pytest.mark.soak
def test_clean_takes_an_old_night_away(copied: Shop) -> None:
    lake = copied.lake
    (lake.root / "models" / ".amf.aside" / "weights").write_bytes(b"left by a training that was killed")
    config = RetentionConfig(keep_nights=1, keep_to_roll_back=1)
    counts = copied.step("clean", SECOND, retention=config)
    assert "1 nights kept" in counts.note, counts.note
    assert lake.directory("indexes", SECOND).is_dir() and not lake.directory("indexes", FIRST).is_dir()
    assert not (lake.root / "models" / ".amf.aside").exists()
    assert live_night(lake) == SECOND


@pytest.mark.soak
def test_a_forgotten_customer_is_in_no_object(copied: Shop) -> None:
    lake = copied.lake
    customer = lake.arrow(RECOMMENDED_FOR_YOU, as_of=SECOND)["customer_id"][0].as_py()
    (lake.root / "tables" / ".events.aside" / "left.csv").write_text(customer)
    (lake.work / "logs").mkdir(exist_ok=True)
    (lake.work / "logs" / "night.log").write_text(f"a line of {customer}\n")
    with feast_below(lake.work):
        told = forget(lake, copied.online(), [customer], datetime(2026, 5, 3, tzinfo=UTC))
    assert told.rows[customer]["online store"] and "tables/.events.aside" in told.deleted
    assert not (lake.work / "logs" / "night.log").exists()
    assert customer not in lake.arrow(RECOMMENDED_FOR_YOU)["customer_id"].to_pylist()
    assert len((lake.root / "forgotten.salt").read_text("ascii").strip()) == 64


@pytest.fixture(scope="module")
def spark_on_objects(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Path]]:
    """A local Spark that can read and write below s3://, and its log."""
    if not shutil.which("java"):
        pytest.skip("the engine spark needs Java, and there is no `java` here")
    log = tmp_path_factory.mktemp("spark") / "spark.log"
    engine = start("spark", log=log, object_storage=True)
    yield engine, log
    engine.stop()


@pytest.mark.soak
def test_a_night_on_spark_is_that_of_a_local_lake(
    spark_on_objects: tuple[Engine, Path], raw: Path, source: Path, s3_root: Path, night: Shop,
    lake_factory: LakeFactory, tmp_path: Path,
) -> None:  # fmt: skip
    engine, log = spark_on_objects
    put_folder(raw, s3_root / "raw")
    shop = Shop(lake_factory(engine, s3_root / "lake", tmp_path), quick(source, s3_root / "raw"))
    shop.steps()
    assert differing(contents(shop), contents(night)) == []
    assert SECRET not in log.read_text()
    command = Path(f"/proc/{engine.server.process.pid}/cmdline").read_bytes()
    assert SECRET.encode() not in command


@pytest.mark.soak
def test_a_night_under_airflow_is_that_of_one_process_in_a_local_lake(raw: Path, s3_root: Path, tmp_path: Path) -> None:
    put_folder(raw, s3_root / "raw")
    local = run_night(tmp_path / "lake", raw, FIRST)
    work = tmp_path / "work"
    distant = run_night(s3_root / "lake", s3_root / "raw", FIRST, {"NIGHTRAIL_WORK": str(work)}, airflow=True)
    assert compare(local, distant) == []
    kept = [path for path in work.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if SECRET.encode() in path.read_bytes()]


@pytest.mark.soak
@pytest.mark.parametrize("step", ["sequences", "lists", "publish"])
def test_storage_that_goes_away_in_the_midst_of_a_step_is_waited_for(
    step: str, copied: Shop, s3_server: S3Server
) -> None:
    door = Door(s3_server.port)
    command = [sys.executable, "-m", "jobs", step, "--as-of", str(SECOND), "--root", str(copied.lake.root)]
    command += ["--source", str(copied.config.ingest.source), "--raw", str(copied.config.ingest.raw)]
    command += ["--config", "quick"]
    there = os.environ | {"NIGHTRAIL_WORK": str(copied.lake.work), "AWS_ENDPOINT_URL": f"http://127.0.0.1:{door.port}"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=there, cwd=REPOSITORY, capture_output=True, text=True, timeout=400)

    done = run()
    assert done.returncode == 0, done.stderr[-2000:]
    whole = door.passed
    for share in (0.3, 0.7):
        door.passed, door.most = 0, int(whole * share)
        done = run()
        assert done.returncode == 6, done.stdout[-1000:] + done.stderr[-3000:]
        assert done.stderr.splitlines()[-1].startswith("error: ") and "Traceback" not in done.stderr
        door.open()
        # The lease could not be given back; it runs out after two minutes.
        s3_server.age(copied.lake.root / storage.LOCKS / STEP, timedelta(minutes=3))
    done = run()
    assert done.returncode == 0, done.stderr[-2000:]
