"""What a command started ends with it, wherever it has gone."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.repository import REPOSITORY

COMMAND = """
import subprocess, time
from jobs.nights import processes
processes.ROUND_SECONDS = 0.05
with processes.all_ended():
    for script in (
        "exec sleep 300",
        "setsid sleep 300 & exit",  # an orphan in a session of its own
        "trap '' TERM HUP INT; while :; do sleep 300; done",
    ):
        subprocess.Popen(["sh", "-c", script])
    time.sleep(0.2)
    print(*(p.pid for p in processes.psutil.Process().children(recursive=True)), flush=True)
    time.sleep(300)
"""


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_no_process_outlives_the_command(stop: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", COMMAND]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        started = [int(pid) for pid in process.stdout.readline().split()]
        process.send_signal(stop)
        assert process.wait(20) == code
    assert len(started) >= 4
    assert [pid for pid in started if psutil.pid_exists(pid)] == []
