"""Who may write to a lake below s3:// at once, and places that are none."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.cli.common import NIGHT_TOKEN
from jobs.errors import BusyError
from jobs.lake import locks, storage
from jobs.lake.lake import Lake
from tests.night.test_lock import held_elsewhere
from tests.support.command_line import jobs_process as jobs
from tests.support.repository import REPOSITORY
from tests.support.s3_server import SECRET, S3Server

STEP = ("sequences", "--as-of", "2026-04-06")
LATER = timedelta(seconds=locks.LEASE_SECONDS + 1)


@pytest.fixture
def root(s3_root: Path) -> Path:
    """Where a new lake may be."""
    return s3_root


APPEND = """
import sys
from datetime import UTC, date, datetime, timedelta
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.shop import REJECTED
root, who, first = sys.argv[1:]
lake = Lake(storage.place(root))
for day in range(8):
    night = date.fromisoformat(first) + timedelta(days=day)
    row = {"source": who, "raw": "{}", "reason": "none"}
    lake.replace_rows(REJECTED, [row], Run(night, who, datetime(2026, 1, 1, tzinfo=UTC)))
"""


def test_nights_that_two_processes_write_into_one_table_all_land(root: Path) -> None:
    from jobs.tables.records import REJECTED

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
        assert [owner.pid for owner in locks.lock_owners(root)] == [process.pid]
        assert content(root) == []
        inside = jobs(root, *STEP, **{NIGHT_TOKEN: token})
        assert inside.returncode == (2 if kind == "night" else 4), "a night lets its own steps in"
    assert locks.lock_owners(root) == []


def begin_night(root: Path) -> str:
    """Hold the lake for a night, for an instant."""
    holder = locks.here("night", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with locks.whole_night(root, holder) as token:
        assert token == holder.token
    return token


def test_a_night_waits_for_a_step_and_for_a_night(root: Path) -> None:
    with held_elsewhere("step", root, "lists"), pytest.raises(BusyError, match="in use by lists"):
        begin_night(root)
    with held_elsewhere("night", root, "backfill"), pytest.raises(BusyError, match="in use by backfill"):
        begin_night(root)
    assert begin_night(root)


def test_the_lease_of_a_killed_holder_is_taken_over_when_it_has_run_out(root: Path, s3_server: S3Server) -> None:
    holder = locks.here("lists", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with held_elsewhere("step", root, "train") as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
    with pytest.raises(BusyError, match="in use by train"), locks.writing(root, holder):
        pass
    s3_server.age(root / storage.LOCKS / "step", LATER)
    assert locks.lock_owners(root) == []
    with locks.writing(root, holder):
        assert [owner.doing for owner in locks.lock_owners(root)] == ["lists"]


def test_a_lease_is_renewed_while_it_is_held(root: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEW_SECONDS", 0.05)
    holder = locks.here("lists", "2026-04-06", "2026-04-06 02:00:01 UTC")
    with locks.writing(root, holder):
        s3_server.age(root / storage.LOCKS / "step", LATER)
        deadline = time.monotonic() + 20
        while not locks.lock_owners(root) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [owner.doing for owner in locks.lock_owners(root)] == ["lists"]


LOSE = """
import sys, time
from jobs.lake import locks, storage
locks.RENEW_SECONDS = 0.2
with locks.writing(storage.place(sys.argv[1]), locks.here("lists", "2026-04-06", "now")):
    print("held", flush=True)
    time.sleep(60)
print("went on")
"""


def test_a_process_that_lost_its_lease_ends_at_once(root: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOSE, str(root)], cwd=REPOSITORY, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        (root / storage.LOCKS / "step").write_bytes(b"somebody else's")
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
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == (6 if "there is no answer" in said else 2), done.stderr
    assert words in said and "Traceback" not in said and SECRET not in said


def test_raw_files_that_are_not_there_are_named(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.bucket()
    done = jobs(tmp_path / "lake", "ingest", "--as-of", "2026-04-06", "--raw", f"s3://{bucket}/raw")
    assert done.returncode == 2
    assert f"the raw folder s3://{bucket}/raw is not there" in done.stderr
