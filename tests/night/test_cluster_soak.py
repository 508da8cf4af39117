"""A whole night on a real Spark cluster with a worker killed in the middle, and a server that goes away."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.sample_shop import SIZES
from tests.benchmarks.cluster.nights import Killer, compare, executed, on_cluster, run_night
from tests.support.repository import REPOSITORY
from tests.support.spark_cluster import SparkCluster, running_cluster, wait_for

AS_OF = SIZES["tiny"].as_of
WORKS = ("jobs.embed:Encoder", "jobs.lists.customer_lists:Ranker")


@pytest.mark.soak
def test_a_night_on_a_cluster_survives_a_killed_worker(raw: Path, tmp_path: Path) -> None:
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("a Spark cluster needs Java, and there is no `java` here")
    embedded = run_night(tmp_path / "embedded", raw, AS_OF)
    with running_cluster(tmp_path / "cluster") as cluster:
        killer = Killer(cluster, "embed")
        spark = run_night(tmp_path / "spark", raw, AS_OF, on_cluster(cluster), killer)
        assert killer.said, "no task ran that could be hit"
        assert compare(embedded, spark) == []
        ran = executed(cluster.folder)
        assert {work for _, _, work in ran} == set(WORKS)
        assert all(counts["reads"] == 1 for counts in ran.values()), "once for each Python process"
        a_server_that_goes_away(cluster, spark.root, raw)


def a_server_that_goes_away(cluster: SparkCluster, root: Path, raw: Path) -> None:
    """A step whose server is killed ends with one line and an exit code that is tried again; then it helps."""
    command = [sys.executable, "-m", "jobs", "embed", "--as-of", AS_OF.isoformat(), "--root", str(root), "--raw",
               str(raw), "--config", "quick"]  # fmt: skip
    environment = os.environ | on_cluster(cluster)
    step = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)  # fmt: skip
    wait_for("its tasks", lambda: [one for one in cluster.executors() if one["activeTasks"]])
    cluster.kill_server()
    cluster.start_server()
    said = step.communicate(timeout=400)[0].splitlines()
    assert step.returncode == 5, "\n".join(said[-6:])
    # Which of the two depends on whether the step was waiting for an answer or about to ask.
    assert re.search("Spark went away in the middle of the step|does not answer", said[-1]), said[-1]
    assert not any("Traceback" in line for line in said)
    again = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
    assert again.returncode == 0
