"""A lake is of one shop: whose files are taken, and whose are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.errors import UserError
from jobs.ingest.lake_shop import RECORD, check_shop, record_shop, shop_files
from tests.support.command_line import jobs
from tests.support.tables import write_text

SOURCE = (
    "SELECT who AS customer_id, what AS product_id, 'purchase' AS event_type, at AS event_ts, '{market}' AS market "
    "FROM raw"
)


@dataclass(frozen=True)
class Files:
    """A lake and the files of a night in it."""

    root: Path
    source: Path
    raw: Path


def make(folder: Path, name: str = "shop", market: str = "GB") -> Files:
    """A shop's source and raw folder below `folder`, and the lake they share."""
    write_text(folder / "raw" / "orders.csv", "who,what,at\nc,p,2026-04-05 10:00:00\n")
    return Files(folder / "lake", write_text(folder / f"{name}.sql", SOURCE.format(market=market)), folder / "raw")


def held_by(files: Files) -> Files:
    """The same, after a night of them."""
    record_shop(files.root, shop_files(files.root, files.source, files.raw))
    return files


def edited(files: Files) -> Files:
    write_text(files.source, SOURCE.format(market="DE"))
    return files


def moved_whole(files: Files) -> Files:
    top = files.root.parent
    there = top.with_name("elsewhere")
    shutil.move(top, there)
    return Files(there / "lake", there / "shop.sql", there / "raw")


def lake_moved(files: Files) -> Files:
    there = files.root.parents[1] / "lakes" / "shop"
    there.parent.mkdir()
    shutil.move(files.root, there)
    return Files(there, files.source, files.raw)


def source_copied(files: Files) -> Files:
    return Files(files.root, Path(shutil.copy(files.source, files.root.parent / "release_2.sql")), files.raw)


def source_behind_a_link_that_changes(files: Files) -> Files:
    """As Kubernetes mounts a ConfigMap."""
    data = files.root.parent / "..data"
    for release in ("..1", "..2"):
        write_text(files.root.parent / release / "shop.sql", release)
    data.symlink_to("..1")
    files.source.unlink()
    files.source.symlink_to("..data/shop.sql")
    held_by(files)
    data.unlink()
    data.symlink_to("..2")
    return files


@pytest.mark.parametrize("change", [edited, moved_whole, lake_moved, source_copied, source_behind_a_link_that_changes])
def test_it_still_is_its_own_shop(change: Callable[[Files], Files], tmp_path: Path) -> None:
    now = change(held_by(make(tmp_path / "a")))
    check_shop(now.root, shop_files(now.root, now.source, now.raw))


def other_raw_folder(files: Files) -> Files:
    return Files(files.root, files.source, Path(shutil.copytree(files.raw, files.root.parent / "raw2")))


def other_source(files: Files) -> Files:
    return Files(files.root, make(files.root.parent, "shop2", "DE").source, files.raw)


def other_shop_of_that_name(files: Files) -> Files:
    other = make(files.root.parents[1] / "b", market="DE")
    return Files(files.root, other.source, other.raw)


@pytest.mark.parametrize("change", [other_raw_folder, other_source, other_shop_of_that_name])
def test_another_shop_is_refused_with_both_named_and_what_to_do(
    change: Callable[[Files], Files], tmp_path: Path
) -> None:
    before = held_by(make(tmp_path / "a"))
    now = change(before)
    with pytest.raises(UserError, match="two shops in one lake would be mixed") as refused:
        check_shop(now.root, shop_files(now.root, now.source, now.raw))
    for told in (before.source, before.raw, now.source, now.raw, "--root FOLDER", "--adopt (NIGHTRAIL_ADOPT=1)"):
        assert str(told) in str(refused.value)


def test_a_lake_without_a_record_takes_any_shop_and_a_damaged_record_is_named(tmp_path: Path) -> None:
    files = make(tmp_path)
    given = shop_files(files.root, files.source, files.raw)
    check_shop(files.root, given)
    for text in ("[]", "{", '{"root": "x"}'):
        write_text(files.root / RECORD, text)
        with pytest.raises(UserError, match=r"shop\.json is damaged; remove it"):
            check_shop(files.root, given)


@pytest.mark.parametrize("way", ["ingest", "backfill"])
def test_every_way_to_ingest_remembers_refuses_and_adopts(way: str, tmp_path: Path) -> None:
    days = {"ingest": ("--as-of", "2026-04-06"), "backfill": ("--from", "2026-04-06", "--to", "2026-04-06")}[way]
    more = () if way == "ingest" else ("--step", "ingest")
    root = tmp_path / "lake"
    mine, other = make(tmp_path / "a"), make(tmp_path / "b", market="DE")

    def run(files: Files, *options: str) -> tuple[int, str]:
        where = ("--source", str(files.source), "--raw", str(files.raw))
        done = jobs(root, way, *days, *more, *where, *options)
        return done.returncode, done.stderr + done.stdout

    wrong = write_text(tmp_path / "a" / "wrong.sql", "SELECT 1 AS customer_id FROM raw")
    assert run(Files(root, wrong, mine.raw))[0] == 2
    assert not (root / RECORD).exists(), "an ingest that failed says nothing about the lake"
    assert run(mine)[0] == 0
    code, said = run(other)
    assert code == 2 and f"holds the shop of the source {mine.source}" in said
    assert run(other, "--adopt")[0] == 0
    assert run(other)[0] == 0 and run(mine)[0] == 2


@pytest.mark.parametrize("way", ["night", "airflow"])
def test_two_sources_of_one_name_do_not_share_their_default_lake(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine, other = make(tmp_path / "a"), make(tmp_path / "b", market="DE")
    lake = tmp_path / "var" / "lakes" / "shop"
    record_shop(lake, shop_files(lake, mine.source, mine.raw))
    monkeypatch.setattr("jobs.nights.night.run_night", lambda *_: None)
    monkeypatch.setattr("jobs.nights.airflow.run_airflow", lambda *_: None)

    def run(files: Files, *options: str) -> Result:
        day = ("--as-of", "2026-04-06") if way == "night" else ()
        return CliRunner().invoke(app, [way, *day, "--source", str(files.source), "--raw", str(files.raw), *options])

    refused = run(other).exception
    assert isinstance(refused, UserError) and f"the lake {lake} holds the shop" in str(refused)
    assert run(mine).exit_code == 0
    assert run(other, "--root", str(tmp_path / "own")).exit_code == 0
    assert run(other, "--adopt").exit_code == 0 and run(mine).exit_code == 1
