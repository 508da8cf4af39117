"""Hostile rows among good ones: each is an event or rejected, none is lost, and nothing is written elsewhere."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import UserError
from jobs.ingest import step as ingest
from jobs.lake.engine import Engine
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.records import REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from tests.support.hostile import COLUMNS, GOOD, table

NIGHT = date(2026, 4, 6)
SOURCE = Path(ingest.__file__).parents[1] / "sources" / "sample.sql"
MakeLake = Callable[[Engine, Path], Lake]
KINDS = ("products", "availability", "events")


def ingested(lake: Lake, raw: Path, directives: str = "") -> Counts:
    source = raw.parent / "shop.sql"
    of_any_format = SOURCE.read_text().replace('--! format = "csv"\n', "")
    source.write_text(f"--! max_rejected_share = 1.0\n{directives}{of_any_format}")
    return ingest.execute(lake, Run(NIGHT, "fuzz", datetime(2026, 5, 1, tzinfo=UTC)), ingest.IngestConfig(source, raw))


def deliver(raw: Path, kind: str, content: bytes, name: str = "2026-04-05.csv") -> None:
    (raw / kind).mkdir(parents=True, exist_ok=True)
    (raw / kind / name).write_bytes(content)


def files_but(folder: Path, root: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if root not in path.parents}


def check_rows(lake: Lake, folder: Path, seed: int, hostile: int, good: int = 500) -> None:
    print(f"seed {seed}")
    raw = folder / "raw"
    for kind in KINDS:
        deliver(raw, kind, table(kind, seed, hostile, good))
    (folder / "shop.sql").touch()
    before = files_but(folder, lake.root)
    counts = ingested(lake, raw)
    assert files_but(folder, lake.root) == before | {lake.root}, "nothing is written outside of the lake"
    assert counts.rows_in == len(KINDS) * (hostile + good), "every row was read as one"
    sources = lake.arrow(REJECTED)["source"].to_pylist()
    assert lake.arrow(EVENTS).num_rows + sources.count("events") == hostile + good
    numbers = {f"g{number}" for number in range(good)}
    assert numbers <= set(lake.arrow(EVENTS)["event_id"].to_pylist())
    assert {f"p{number}" for number in numbers} <= set(lake.arrow(CATALOGUE)["product_id"].to_pylist())
    assert {f"M{number}" for number in numbers} <= set(lake.arrow(AVAILABILITY)["market"].to_pylist())


def test_hostile_rows_cost_no_good_one(lake_factory: MakeLake, sail_engine: Engine, tmp_path: Path) -> None:
    check_rows(lake_factory(sail_engine, tmp_path / "lake"), tmp_path, seed=1, hostile=1_000)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_hostile_rows(lake_factory: MakeLake, sail_engine: Engine, tmp_path: Path, seed: int) -> None:
    check_rows(lake_factory(sail_engine, tmp_path / "lake"), tmp_path, seed, hostile=5_000)


def test_one_folder_of_several_formats(lake_factory: MakeLake, sail_engine: Engine, tmp_path: Path) -> None:
    """A part of the rows each as csv with other columns first, tab-separated, JSON lines and Parquet."""
    raw = tmp_path / "raw"
    for kind in ("products", "availability"):
        deliver(raw, kind, table(kind, 5, 0, 400))
    rows = list(csv.reader(io.StringIO(table("events", 5, 600, 400).decode(), newline="")))[1:]
    (raw / "events").mkdir()
    names = COLUMNS["events"]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL).writerows(row[::-1] for row in [list(names), *rows[:250]])
    deliver(raw, "events", text.getvalue().encode("utf-16"), "a 2026-04-05.CSV")
    text = io.StringIO(newline="")
    csv.writer(text, delimiter="\t", quoting=csv.QUOTE_ALL).writerows([names, *rows[250:500]])
    deliver(raw, "events", gzip.compress(text.getvalue().encode()), "b 2026-04-05.tsv.gz")
    objects = [dict(zip(names, row, strict=True)) for row in rows[500:]]
    lines = [json.dumps({name: value for name, value in row.items() if value}) for row in objects[:250]]
    deliver(raw, "events", "\n".join(lines).encode(), "c 2026-04-05.jsonl")
    pq.write_table(pa.Table.from_pylist(objects[250:]), raw / "events" / "d 2026-04-05.parquet")
    lake = lake_factory(sail_engine, tmp_path / "lake")
    assert ingested(lake, raw).rows_in == 400 + 400 + 1_000, "every row was read as one"
    assert lake.arrow(EVENTS).num_rows + lake.arrow(REJECTED)["source"].to_pylist().count("events") == 1_000
    assert {f"g{number}" for number in range(400)} <= set(lake.arrow(EVENTS)["event_id"].to_pylist())


# --- files that cannot be rows

HEADER = ",".join(COLUMNS["events"]).encode() + b"\n"
LINES = b"".join(",".join(GOOD["events"]).format(f"g{n}").encode() + b"\n" for n in range(400))
PACKED = gzip.compress(HEADER + LINES)
FILES = {
    "cut short": ("2026-04-05.csv.gz", PACKED[: len(PACKED) // 2], "damaged or cut short"),
    "cut before its checksum": ("2026-04-05.csv.gz", PACKED[:-4], "damaged or cut short"),
    "with a wrong checksum": ("2026-04-05.csv.gz", PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "damaged or cut short"),
    "with garbage behind it": ("2026-04-05.csv.gz", PACKED + b"garbage", "damaged or cut short"),
    "random bytes": ("2026-04-05.csv", bytes(range(256)) * 40, "no header of text"),
    "a header twice": ("2026-04-05.csv", HEADER.replace(b"market", b"Price") + LINES, "more than once"),
    "a quote never closed": (
        "2026-04-05.csv",
        HEADER + LINES + b'x,c,p,click,t,GB,,1,"9.5\n' + LINES,
        "ends within a quoted field",
    ),
    "one endless line": ("2026-04-05.csv", HEADER + b"x" * (2 << 20), "row of more than"),
    "one endless field": ("2026-04-05.csv", HEADER + b'"' + b"x\n" * (1 << 20) + b'"\n', "row of more than"),
    "a line end in its name": ("2026-04-05\n.csv", HEADER + LINES, "rename it"),
    "an empty file": ("2026-04-05.csv", b"", "without even a header"),
    "a zip in a zip": ("2026-04-05.csv.gz", gzip.compress(PACKED), "no header of text"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_cannot_be_rows_is_named(
    what: str, lake_factory: MakeLake, sail_engine: Engine, tmp_path: Path
) -> None:
    name, content, said = FILES[what]
    lake = lake_factory(sail_engine, tmp_path / "lake")
    for kind in ("products", "availability"):
        deliver(tmp_path / "raw", kind, table(kind, 1, 0, 3))
    deliver(tmp_path / "raw", "events", content, name)
    with pytest.raises(UserError, match=said) as caught:
        ingested(lake, tmp_path / "raw")
    assert "2026-04-05" in str(caught.value)
    assert not lake.exists(EVENTS), "nothing is written"


def test_a_row_that_is_too_short_is_rejected_with_its_line(
    lake_factory: MakeLake, sail_engine: Engine, tmp_path: Path
) -> None:
    for kind in ("products", "availability"):
        deliver(tmp_path / "raw", kind, table(kind, 1, 0, 3))
    deliver(tmp_path / "raw", "events", HEADER + LINES + b"x,y\n")
    note = ingested(lake_factory(sail_engine, tmp_path / "lake"), tmp_path / "raw").note
    assert "too few fields (1: 'events/2026-04-05.csv, line 402')" in note


BOMB = """
import resource, sys
from pathlib import Path
from jobs.errors import UserError
from jobs.ingest.formats import Findings, format_of
from jobs.ingest.raw_files import list_raw_files
from jobs.ingest.source import read_source
source = read_source(Path(sys.argv[2]))
file = list_raw_files(Path(sys.argv[1]), source).files[0]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for _ in format_of(file, source.directives).batches(file, Findings()):
        pass
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("megabytes", "limit"), [(96, 64), pytest.param(2048, 1024, marks=pytest.mark.soak)])
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, megabytes: int, limit: int) -> None:
    (tmp_path / "raw").mkdir()
    member = gzip.compress(b"a,b\n" * (4 << 20))  # 16 MiB
    (tmp_path / "raw" / "2026-04-05.csv.gz").write_bytes(member * (megabytes // 16))
    source = tmp_path / "shop.sql"
    source.write_text(f"--! max_file_mb = {limit}\nSELECT 1")
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path / "raw"), str(source)], capture_output=True, text=True
    )
    assert f"max_file_mb = {limit} MiB when it is unpacked" in done.stdout, done.stderr
    assert int(done.stdout.split()[-1]) < 48, "MiB more than before"
