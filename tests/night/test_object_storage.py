"""A lake and raw files below s3://: the same tables, commands and promises as in a folder of this machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs import lease, lock, storage
from jobs.command import NIGHT_TOKEN
from jobs.config import quick
from jobs.engine import Engine, start
from jobs.errors import BusyError
from jobs.forget import forget
from jobs.lake import Lake
from jobs.publish import nights_to_roll_back_to
from jobs.retention import RetentionConfig
from jobs.status import status_of
from jobs.tables import PUBLISHED, RECOMMENDED_FOR_YOU
from models import artefacts
from models.contract import Compute
from tests.night.nights import FIRST, REPOSITORY, SECOND, STAGING, LakeFactory, Shop, feast_below
from tests.night.test_cli import jobs
from tests.night.test_lock import held_elsewhere
from tests.night.test_night_again import contents, differing
from tests.s3_server import SECRET, S3Server

STEP = ("sequences", "--as-of", "2026-04-06")
LATER = timedelta(seconds=lease.LEASE_SECONDS + 1)


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


@pytest.fixture
def root(s3_server: S3Server) -> Path:
    """Where a new lake may be."""
    return storage.place(f"s3://{s3_server.bucket()}/lake")


# --- nights


def test_both_nights_are_those_of_a_local_lake(both_nights: Shop, second_night: Shop) -> None:
    assert both_nights.config.hash == second_night.config.hash, "where it lies is no part of what is computed"
    assert differing(contents(both_nights), contents(second_night)) == []


def test_the_indexes_are_those_of_a_local_lake(both_nights: Shop, second_night: Shop) -> None:
    def files(shop: Shop) -> dict[str, bytes]:
        folder = shop.lake.directory("indexes", SECOND)
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path, _ in storage.files(folder)}

    assert len(files(both_nights)) >= 8
    assert files(both_nights) == files(second_night)


def test_models_pages_and_the_online_store_can_be_read(both_nights: Shop) -> None:
    lake = both_nights.lake
    published = both_nights.rows(PUBLISHED, SECOND)
    model_id = next(row["model_id"] for row in published if row["surface"] == RECOMMENDED_FOR_YOU.name)
    model, _ = artefacts.read(lake.root / "models" / model_id, Compute("cpu"))
    assert len(model.vocabulary)
    assert "</html>" in (lake.directory("reports", SECOND) / "shop.html").read_text("utf-8")
    with feast_below(lake.work):
        assert both_nights.online().live().as_of == SECOND.isoformat()
    assert status_of(lake, 5, datetime(2026, 5, 3, tzinfo=UTC)).at_work == ()


def test_only_what_this_machine_alone_needs_is_on_it(both_nights: Shop) -> None:
    lake = both_nights.lake
    assert {path.name for path in lake.work.iterdir()} <= {"feast", "logs"}
    inside = {path.relative_to(lake.root).parts[0] for path, _ in storage.files(lake.root)}
    assert inside == {"tables", "models", "indexes", "lists", "reports"}, "nothing was left aside"
    assert not (REPOSITORY / "s3:").exists() and not Path("s3:").exists()


def test_no_file_holds_the_secret_key(both_nights: Shop) -> None:
    for place in (both_nights.lake.root, both_nights.lake.work):
        assert [path for path, _ in storage.files(place) if SECRET.encode() in path.read_bytes()] == []


def test_an_earlier_night_is_made_live_again(copied: Shop) -> None:
    assert FIRST in nights_to_roll_back_to(copied.lake)
    copied.step("publish", FIRST, replace_newer=True)
    assert {row["as_of"] for row in copied.lake.arrow(PUBLISHED).to_pylist()} == {FIRST}
    with feast_below(copied.lake.work):
        assert copied.online().live().as_of == FIRST.isoformat()


def test_clean_takes_an_old_night_away(copied: Shop) -> None:
    lake = copied.lake
    (lake.root / "models" / ".amf.aside" / "weights").write_bytes(b"left by a training that was killed")
    config = RetentionConfig(keep_nights=1, keep_to_roll_back=1)
    counts = copied.step("clean", SECOND, retention=config)
    assert "1 nights kept" in counts.note, counts.note
    assert lake.directory("indexes", SECOND).is_dir() and not lake.directory("indexes", FIRST).is_dir()
    assert not (lake.root / "models" / ".amf.aside").exists()
    assert lake.nights(PUBLISHED) == [SECOND]


def test_a_forgotten_customer_is_in_no_object(copied: Shop) -> None:
    lake = copied.lake
    customer = lake.arrow(RECOMMENDED_FOR_YOU, as_of=SECOND)["customer_id"][0].as_py()
    (lake.root / "tables" / ".events.aside" / "left.csv").write_text(customer)
    (lake.work / "logs").mkdir(exist_ok=True)
    (lake.work / "logs" / "night.log").write_text(f"a line of {customer}\n")
    with feast_below(lake.work):
        told = forget(lake, copied.online(), [customer], datetime(2026, 5, 3, tzinfo=UTC))
    assert told.rows[customer]["online store"] and "tables/.events.aside" in told.changed
    assert (lake.work / "logs" / "night.log").read_text() == "a line of (forgotten)\n"
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
    spark_on_objects: tuple[Engine, Path], raw: Path, source: Path, root: Path, night: Shop, lake_factory: LakeFactory,
    tmp_path: Path,
) -> None:  # fmt: skip
    engine, log = spark_on_objects
    put_folder(raw, root / "raw")
    shop = Shop(lake_factory(engine, root / "lake", tmp_path), quick(source, root / "raw"))
    shop.steps()
    assert differing(contents(shop), contents(night)) == []
    assert SECRET not in log.read_text()
    command = Path(f"/proc/{engine.server.process.pid}/cmdline").read_bytes()
    assert SECRET.encode() not in command


# --- who may write at once


APPEND = """
import sys
from datetime import UTC, date, datetime, timedelta
from jobs import storage
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import REJECTED
root, who, first = sys.argv[1:]
lake = Lake(storage.place(root))
for day in range(8):
    night = date.fromisoformat(first) + timedelta(days=day)
    row = {"source": who, "raw": "{}", "reason": "none"}
    lake.replace_rows(REJECTED, [row], Run(night, who, datetime(2026, 1, 1, tzinfo=UTC)))
"""


def test_nights_that_two_processes_write_into_one_table_all_land(root: Path) -> None:
    from jobs.tables import REJECTED

    Lake(root).create(REJECTED)
    command = [sys.executable, "-c", APPEND, str(root)]
    writers = [subprocess.Popen([*command, who, first], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
               for who, first in (("one", "2026-01-01"), ("other", "2026-02-01"))]  # fmt: skip
    errors = [writer.communicate(timeout=100)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], errors
    rows = Lake(root).arrow(REJECTED, ["source", "as_of"])
    assert rows.num_rows == len(set(rows["as_of"].to_pylist())) == 16
    assert Lake(root).version(REJECTED) == 16, "each in a commit of its own"


def content(root: Path) -> list[str]:
    """What lies below the root, locks aside."""
    return [
        name for path, _ in storage.files(root) if not (name := path.relative_to(root).as_posix()).startswith("locks/")
    ]


@pytest.mark.parametrize("kind", ["step", "night"])
def test_who_comes_second_says_so_and_changes_nothing(kind: str, root: Path) -> None:
    with held_elsewhere(kind, root, "lists") as (process, token):
        done = jobs(root, *STEP)
        assert done.returncode == 4, done.stderr
        words = rf"in use by lists of 2026-04-06, process {process.pid} on \S+ since 2026-04-06 02:00:00 UTC"
        assert re.search(words, done.stderr) and "Traceback" not in done.stderr
        assert [owner.pid for owner in lock.holders(root)] == [process.pid]
        assert content(root) == []
        inside = jobs(root, *STEP, **{NIGHT_TOKEN: token})
        assert inside.returncode == (2 if kind == "night" else 4), "a night lets its own steps in"
    assert lock.holders(root) == []


def begin_night(root: Path) -> str:
    """Hold the lake for a night, for an instant."""
    holder = lock.here("night", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with lock.whole_night(root, holder) as token:
        assert token == holder.token
    return token


def test_a_night_waits_for_a_step_and_for_a_night(root: Path) -> None:
    with held_elsewhere("step", root, "lists"), pytest.raises(BusyError, match="in use by lists"):
        begin_night(root)
    with held_elsewhere("night", root, "backfill"), pytest.raises(BusyError, match="in use by backfill"):
        begin_night(root)
    assert begin_night(root)


def test_the_lease_of_a_killed_holder_is_taken_over_when_it_has_run_out(root: Path, s3_server: S3Server) -> None:
    holder = lock.here("lists", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with held_elsewhere("step", root, "train") as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(BusyError, match="in use by train"), lock.writing(root, holder):
        pass
    s3_server.age(root / lock.FOLDER / "step", LATER)
    assert lock.holders(root) == []
    with lock.writing(root, holder):
        assert [owner.doing for owner in lock.holders(root)] == ["lists"]


def test_a_lease_is_renewed_while_it_is_held(root: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    holder = lock.here("lists", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with lock.writing(root, holder):
        s3_server.age(root / lock.FOLDER / "step", LATER)
        deadline = time.monotonic() + 20
        while not lock.holders(root) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [owner.doing for owner in lock.holders(root)] == ["lists"]


LOSE = """
import sys, time
from jobs import lease, lock, storage
lease.RENEW_SECONDS = 0.2
with lock.writing(storage.place(sys.argv[1]), lock.here("lists", "2026-04-06", "now")):
    print("held", flush=True)
    time.sleep(60)
print("went on")
"""


def test_a_process_that_lost_its_lease_ends_at_once(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOSE, str(root)], cwd=REPOSITORY, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        (root / lock.FOLDER / "step").write_bytes(b"somebody else's")
        said, complained = process.communicate(timeout=30)
    assert process.returncode == BusyError.exit_code
    assert said == "" and "was lost; lists ends at once" in complained


# --- what a person gives


WRONG: dict[str, tuple[str, dict[str, str | None], str]] = {
    "no such bucket": ("s3://no-such-bucket/lake", {}, "the answer is NoSuchBucket; check the bucket's name"),
    "no credentials": ("s3://{bucket}/lake", {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
                       "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    "nothing answers": ("s3://{bucket}/lake", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "there is no answer"),
    "no prefix": ("s3://{bucket}", {}, "names no place in a bucket; write it as s3://BUCKET/PREFIX"),
    "another scheme": ("gs://{bucket}/lake", {}, "is neither a folder nor s3://BUCKET/PREFIX"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_place_is_a_users_mistake(what: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    given, variables, words = WRONG[what]
    for name, value in variables.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    done = jobs(given.format(bucket=s3_server.bucket()), "status")
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.replace("│", " ").split())
    assert words in said and "Traceback" not in said and SECRET not in said


def test_raw_files_that_are_not_there_are_named(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    done = jobs(tmp_path / "lake", "ingest", "--as-of", "2026-04-06", "--raw", f"s3://{bucket}/raw")
    assert done.returncode == 2
    assert f"the raw folder s3://{bucket}/raw is not there" in done.stderr
