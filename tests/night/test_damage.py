"""Damage done for real: one line that names the table and the file, the exit code, and `status` shows the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from jobs.errors import AwayError, DamageError, UserError
from jobs.lake.damage import damage_named
from jobs.tables.shop import CATALOGUE
from tests.support.command_line import jobs
from tests.support.nights import FIRST, Shop

REPORT = ("report", "--as-of", FIRST.isoformat())
LISTS = "you_might_also_like"


def own(path: Path) -> Path:
    """The file, apart from the lakes that share it by a link."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def last_commit(root: Path, table: str) -> Path:
    """The newest file of a table's log."""
    return own(max((root / "tables" / table / "_delta_log").glob("*.json")))


def data_file(root: Path) -> Path:
    """A data file of the lists."""
    return own(next((root / "tables" / LISTS).rglob("*.parquet")))


def scribble(path: Path) -> None:
    """Overwrite the beginning of a file behind its first bytes."""
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * 2_000)


def first_commit_gone(root: Path) -> None:
    """Take the first file of a log away."""
    (root / "tables" / "events" / "_delta_log" / f"{0:020}.json").unlink()


OF_LISTS = f"table {LISTS} is damaged: as_of={FIRST}/part"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a cut commit": (
        lambda root: os.truncate(last_commit(root, "catalogue"), 100), "table catalogue is damaged: _delta_log/0"
    ),
    "an empty commit": (lambda root: os.truncate(last_commit(root, "runs"), 0), "table runs is damaged: _delta_log/"),
    "a commit that is gone": (first_commit_gone, f"table events is damaged: _delta_log/{0:020}.json is gone"),
    "a log that is gone": (
        lambda root: shutil.rmtree(root / "tables" / "events" / "_delta_log"),
        "table events is damaged: _delta_log is gone",
    ),
    "a data file that is gone": (lambda root: data_file(root).unlink(), OF_LISTS),
    "a cut data file": (lambda root: os.truncate(data_file(root), 300), OF_LISTS),
    "a scribbled data file": (lambda root: scribble(data_file(root)), OF_LISTS),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line_with_table_and_file_and_status_shows_the_rest(damage: str, copied_night: Shop) -> None:
    root = copied_night.lake.root
    break_it, words = DAMAGES[damage]
    break_it(root)
    done = jobs(root, *REPORT)
    assert done.returncode == DamageError.exit_code, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and words in done.stderr and "Put " in done.stderr, done.stderr
    told = jobs(root, "status")
    assert f"Live: the night of {FIRST}" in told.stdout and "Traceback" not in told.stderr, told.stdout + told.stderr
    if "data file" not in damage:  # `status` looks at every log, and at no more than it shows
        assert told.returncode == DamageError.exit_code and words in told.stdout


def test_a_store_that_is_no_database_is_named(copied_night: Shop) -> None:
    file = copied_night.lake.root / "feast" / "online.db"
    for left in file.parent.glob("online.db-*"):
        left.unlink()
    file.unlink()
    file.write_bytes(os.urandom(8_192))
    done = jobs(copied_night.lake.root, "publish", "--as-of", FIRST.isoformat())
    assert done.returncode == DamageError.exit_code, done.stdout + done.stderr
    assert f"the online store {file} is damaged: file is not a database" in done.stderr and done.stderr.count("\n") == 1


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted at `folder`; skipped where this is not allowed."""
    if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a disk")
    try:
        yield
    finally:
        # A process that ends may hold a file there for a moment longer.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("place", [".", "feast", "tables"])
def test_what_cannot_be_written_is_named(place: str, copied_night: Shop) -> None:
    folder = (copied_night.lake.root / place).resolve()
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        done = jobs(copied_night.lake.root, "publish", "--as-of", FIRST.isoformat())
        assert jobs(copied_night.lake.root, "status").returncode == 0
    assert done.returncode == UserError.exit_code, done.stdout + done.stderr
    assert "cannot be written" in done.stderr and str(folder) in done.stderr and done.stderr.count("\n") == 1


def test_a_full_disk_is_named_and_the_step_can_be_run_again(copied_night: Shop) -> None:
    lake = copied_night.lake
    folder, aside = lake.path(CATALOGUE), lake.root / "aside"
    rows = lake.arrow(CATALOGUE, as_of=FIRST)
    folder.rename(aside)
    folder.mkdir()
    with mounted(folder, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        filler = folder / "filler"
        with suppress(OSError):  # until it is full
            filler.write_bytes(bytes(4 << 20))
        fresh = rows.drop_columns(["as_of", "run_id"])
        with pytest.raises(AwayError, match="there is no room left at"), damage_named(lake.root):
            lake.replace(CATALOGUE, fresh, copied_night.run_of(FIRST))
        filler.unlink()
        lake.replace(CATALOGUE, fresh, copied_night.run_of(FIRST))
        assert lake.count(CATALOGUE, FIRST) == rows.num_rows
