"""A disk that fills up and a Redis that goes away in the middle of a step: it fails, says why, and can be run again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jobs.publish.store import REPO
from tests.support.faults.harness import Nights, copied, zygote
from tests.support.faults.state import differences
from tests.support.nights import FIRST, SECOND, Shop

NAMESPACE = ("unshare", "--map-root-user", "--mount")
"""Runs a command where it may mount a small disk that nobody else sees."""
ROOMY = 1 << 30


@pytest.fixture(scope="module")
def small_disk(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """Nights in processes that can mount a disk of any size."""
    probe = tmp_path_factory.mktemp("probe")
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(probe)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this machine lets nobody mount a small disk")
    with zygote(tmp_path_factory.mktemp("small_disk"), *NAMESPACE) as forks:
        yield Nights(forks, source)


@pytest.mark.soak
@pytest.mark.parametrize("free", [16_384, 150_000])
@pytest.mark.parametrize("step", ["ingest", "index", "lists", "publish"])
def test_a_disk_that_fills_up_stops_the_step_and_nothing_is_lost(
    step: str, free: int, small_disk: Nights, second_night: Shop, raw_with_a_new_day: Path, tmp_path: Path
) -> None:
    def make_room(free: int) -> None:
        status, _, said = small_disk.zygote.job("disk", tmp_path, free=free, lake=second_night.lake.root)
        assert status == 0, said

    root = tmp_path / "lake"
    make_room(ROOMY)
    before = small_disk.describe(root)
    make_room(free)
    status, _, said = small_disk.run(root, (step,), SECOND, raw_with_a_new_day)
    assert status != 0 or free > 100_000, "the disk was not full"
    assert status == 0 or "there is no room left" in said, said[-2000:]
    # The night that is live is the one that is made again, so that readers must see it as it was all the time.
    assert list(differences(small_disk.describe(root, True), {k: before[k] for k in ("published", "online")})) == []
    make_room(ROOMY)
    status, _, said = small_disk.run(root, (step,), SECOND, raw_with_a_new_day)
    assert status == 0, said[-2000:]
    assert list(differences(small_disk.describe(root), before)) == []


@contextmanager
def redis(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Redis of our own that keeps its data in `folder`, answering."""
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--appendonly", "yes",
               "--appendfsync", "always", "--save", ""]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as asking:
                    asking.sendall(b"PING\r\n")
                    if asking.recv(16).startswith(b"+PONG"):
                        break
                time.sleep(0.1)
            yield server
        finally:
            server.kill()


@pytest.mark.soak
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_redis_that_goes_away_leaves_last_night_live(
    share: float, nights: Nights, second_night: Shop, night: Shop, raw: Path, raw_with_a_new_day: Path, tmp_path: Path
) -> None:
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = copied(night.lake.root, tmp_path / "lake")
    more: dict[str, Any] = {
        "feature_store": REPO / "redis.yaml", "environment": {"NIGHTRAIL_REDIS": f"127.0.0.1:{port}"}
    }  # fmt: skip
    with redis(port, tmp_path):
        assert nights.run(root, ("publish",), FIRST, raw, **more)[0] == 0
        before = nights.describe(root, True, **more)
        staged = ("ingest", "sequences", "train", "embed", "index", "lists", "audiences", "gate")
        assert nights.run(root, staged, SECOND, raw_with_a_new_day, **more)[0] == 0
    grown = appended(tmp_path)
    with redis(port, tmp_path) as server:
        Thread(target=kill_when, args=(server, tmp_path, grown * (1 + share / 4)), daemon=True).start()
        status, _, said = nights.run(root, ("publish",), SECOND, raw_with_a_new_day, hour=1, **more)
    with redis(port, tmp_path):
        seen = nights.describe(root, True, **more)
        assert status == 6 and "Redis" in said, said[-2000:]
        assert list(differences(seen, before)) == []
        status, _, said = nights.run(root, ("publish",), SECOND, raw_with_a_new_day, hour=2, **more)
        assert status == 0, said[-2000:]
        assert {answer[0][-1] for answer in nights.describe(root, True, **more)["online"].values()} == {str(SECOND)}


def appended(folder: Path) -> int:
    """Bytes that Redis has written."""
    return sum(file.stat().st_size for file in (folder / "appendonlydir").glob("*"))


def kill_when(server: subprocess.Popen[bytes], folder: Path, grown: float) -> None:
    """Kill the server once it has written so much."""
    while server.poll() is None and appended(folder) < grown:
        time.sleep(0.001)
    server.kill()
