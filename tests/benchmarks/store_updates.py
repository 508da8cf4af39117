"""What a night costs the embedded store for each row that differs, over many nights in a row.

    python -m tests.benchmarks.store_updates --rows 5000000 --nights 16 --json OUT

One view of `--rows` keys, products of 50,000 by market, each a payload of 200 to 300 bytes, is loaded fresh; then
nights follow on which a share of the rows differs, spread evenly, and every seventh one on which most do. Seconds are
the store's own part (`Writer.write` and `publish`), without making and encoding rows: processor seconds, since wall
seconds depend on who else uses the disk. A night in which what was added is folded in has it in its figure; the last
line is the mean of all nights after the first seven. Reads are of four rows at random, through a `Reader`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from feature_repo.online.layout import TEXT, Feature, View, row_key, uvarint
from feature_repo.online.reader import Reader
from feature_repo.online.sqlite_backend import SqliteBackend
from feature_repo.online.store import writer

START = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCTS, BATCH, WEEK, READS, ROWS_A_READ = 50_000, 100_000, 7, 2_000, 4


@dataclass
class Night:
    """What a night took."""

    night: int
    share: float
    rows: int
    cpu_us: float
    """Processor microseconds a row."""
    wall_us: float
    publish_s: float
    """Processor seconds of its end, with what it folds in."""
    written_mb: float
    """What the kernel counted as written to the disk."""
    file_mb: float
    read_us: float
    """Processor microseconds of a read: the best of five rounds."""


def key_of(row: int) -> tuple[str, str]:
    """The product and market of a row."""
    return f"P{row % PRODUCTS:06d}", f"M{row // PRODUCTS:03d}"


def payload(row: int, night: int) -> bytes:
    """One text of 200 to 300 bytes that no other night has, after the bitmap of nulls."""
    size = 200 + (row * 31 + night) % 100
    text = f"{row} {night} ".encode().ljust(size, b".")
    return b"\0" + uvarint(size) + text


def written() -> int:
    """Bytes this process has caused to be written."""
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counted["write_bytes"])


def read_us(backend: SqliteBackend, rows: int, random: np.random.Generator) -> float:
    """Processor microseconds of reading some rows at random."""
    reader, best = Reader(backend), float("inf")
    asked = [
        [("lists", key_of(row)) for row in some] for some in random.integers(0, rows, (READS, ROWS_A_READ)).tolist()
    ]
    for _ in range(5):
        began = time.process_time()
        for keys in asked:
            assert None not in reader.read(keys).rows
        best = min(best, time.process_time() - began)
    return best / READS * 1e6


def chunks(
    backend: SqliteBackend, view: View, night: int, rows: list[int]
) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Keys and payloads, in key order."""
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        yield [row_key(backend.prefix, view, key_of(row)) for row in some], [payload(row, night) for row in some]


def run(backend: SqliteBackend, night: int, share: float, rows: int, random: np.random.Generator) -> Night:
    """Load and publish a night, and read."""
    chosen = np.flatnonzero(random.random(rows) < share).tolist()
    cpu, wall, before = 0.0, 0.0, written()
    with writer(backend) as store:
        view = store.views({"lists": (("product_id", "market"), 2, (Feature("value", TEXT),))})["lists"]
        at = START + timedelta(days=night)
        load, fresh = store.begin(at.date().isoformat(), str(night), at), not store.filled(view)
        for keys, payloads in chunks(backend, view, night, chosen):
            began = time.process_time(), time.perf_counter()
            store.write(load, view, keys, payloads, fresh, differing=True)
            store.save(load)
            cpu, wall = cpu + time.process_time() - began[0], wall + time.perf_counter() - began[1]
        began = time.process_time(), time.perf_counter()
        store.publish(load)
        publish, ended = time.process_time() - began[0], time.perf_counter() - began[1]
    each = 1e6 / len(chosen)
    size = sum(file.stat().st_size for file in backend.path.parent.glob(f"{backend.path.name}*"))
    return Night(night, share, len(chosen), (cpu + publish) * each, (wall + ended) * each, publish,
                 (written() - before) / 1e6, size / 1e6, read_us(backend, rows, random))  # fmt: skip


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--nights", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.12, help="of the rows differs on an ordinary night")
    parser.add_argument("--most", type=float, default=0.8, help="of the rows differs on every seventh night")
    parser.add_argument("--folder", type=Path, help="where the store lies meanwhile")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    random, nights = np.random.default_rng(0), []
    print("night  differs       rows  cpu us/row  wall us/row  publish s  written MB  file MB  read us")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        backend = SqliteBackend(Path(folder) / "online.db")
        for night in range(given.nights):
            share = 1.0 if not night else given.most if night % WEEK == 0 else given.share
            one = run(backend, night, share, given.rows, random)
            nights.append(one)
            print(f"{one.night:5} {one.share:8.0%} {one.rows:10,} {one.cpu_us:11.2f} {one.wall_us:12.2f} "
                  f"{one.publish_s:10.2f} {one.written_mb:11.0f} {one.file_mb:8.0f} {one.read_us:8.1f}")  # fmt: skip
        backend.close()
    steady = nights[WEEK + 1 :] or nights
    rows = sum(one.rows for one in steady)
    mean = sum(one.cpu_us * one.rows for one in steady) / rows
    print(f"nights from {steady[0].night} on: {mean:.2f} processor us a row, "
          f"{sum(one.written_mb for one in steady) / rows * 1e6:,.0f} bytes written a row")  # fmt: skip
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(one) for one in nights], indent=2))


if __name__ == "__main__":
    main()
