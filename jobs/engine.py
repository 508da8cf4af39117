"""The two Spark engines behind one shape, and all that differs between them.

`sail`: pysail's Spark Connect server inside this process, no Java, local disk.
`spark`: real Spark with delta-spark through Spark Connect, a laptop's (`local[2]`) or, with a
remote address, a cluster's.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from jobs.errors import UserError
from jobs.storage import emptied, parquet_batches

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

EngineName = Literal["sail", "spark"]
ENGINES: tuple[EngineName, ...] = ("sail", "spark")
DELTA_JARS = "io.delta:delta-spark_4.2_2.13:4.4.0"
"""4.4.1 is on PyPI, but its jars are not published; the Python package is pinned to match."""

LOCAL_SPARK = {
    "spark.jars.packages": DELTA_JARS,
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.driver.memory": "2g",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    # Few rows on few cores: without these a trivial Delta write takes 10 s.
    "spark.sql.shuffle.partitions": "4",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Listing some hundred raw files is one task's work, not a job of as many tasks.
    "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
}


START_SECONDS = 180
"""A first start fetches Delta's jars."""


class LocalServer:
    """A Spark Connect server in a process of its own, ended with ours."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)


@dataclass
class Engine:
    """A running session and the operations that differ by engine."""

    name: EngineName
    spark: SparkSession
    server: Any = None
    """The server behind it, where we started one; it ends when stopped or when nothing refers to it."""

    def replace(self, frame: DataFrame, path: Path, predicate: str, schema: pa.Schema) -> None:
        """Replace the rows of the Delta table at `path` that match `predicate` by `frame`, in one commit.

        Sail 0.7 cannot replaceWhere into a table with an array column, so there the frame is written
        aside as Parquet and committed by deltalake, which streams it.
        """
        if self.name == "spark":
            frame.write.format("delta").mode("overwrite").option("replaceWhere", predicate).save(str(path))
            return
        import pyarrow as pa
        from deltalake import write_deltalake

        with emptied(path.parent / f".{path.name}.aside") as aside:
            frame.write.mode("overwrite").parquet(str(aside))
            # Sail carries column comments through renames; deltalake refuses those that differ from the table's.
            plain = (batch.cast(schema) for batch in parquet_batches(aside))
            rows = pa.RecordBatchReader.from_batches(schema, plain)
            write_deltalake(str(path), rows, mode="overwrite", predicate=predicate)

    def stop(self) -> None:
        """End the session and the server that was started for it."""
        self.spark.stop()
        if self.server is not None:
            self.server.stop()


def start(name: EngineName, remote: str | None = None, log: Path | None = None) -> Engine:
    """Start `name` embedded or locally, or connect to the Spark Connect server at `remote`.

    Raises UserError for an unknown engine, a missing Java or an address that does not answer.
    """
    from pyspark.sql import SparkSession

    if name not in ENGINES:
        raise UserError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    server: Any = None
    if remote:
        _check_answers(remote)
        session = SparkSession.builder.remote(remote).create()
        name = "spark"
    elif name == "sail":
        server, address = _sail_server()
        session = SparkSession.builder.remote(address).create()
    else:
        if not (shutil.which("java") or Path(os.environ.get("JAVA_HOME", "-"), "bin", "java").exists()):
            raise UserError("the engine 'spark' needs Java 17 or 21; install it, or use the engine 'sail'")
        server, address = _spark_server(log)
        session = SparkSession.builder.remote(address).create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return Engine(name, session, server)


def _check_answers(remote: str) -> None:
    """Raise UserError where nothing listens: Spark's own client would try for ten minutes."""
    try:
        parts = urlsplit(remote)
    except ValueError as error:
        raise UserError(f"SPARK_REMOTE is no address ({error}); it must look like sc://host:15002") from None
    try:
        if parts.scheme != "sc" or not parts.hostname:
            raise OSError("the address must look like sc://host:15002")
        socket.create_connection((parts.hostname, parts.port or 15002), timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"the Spark Connect server {parts.scheme}://{parts.hostname} (SPARK_REMOTE) does not answer: "
                        f"{error}") from None  # fmt: skip


def _sail_server() -> tuple[Any, str]:
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    host, port = server.listening_address
    return server, f"sc://{host}:{port}"


def _spark_server(log: Path | None) -> tuple[LocalServer, str]:
    """Start Spark's own Connect server on a free loopback port; its chatter goes to `log`."""
    import pyspark

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = LOCAL_SPARK | {"spark.connect.grpc.binding.port": str(port)}
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2]"]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with Path(log or os.devnull).open("ab") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    server = LocalServer(process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server, f"sc://127.0.0.1:{port}"
        time.sleep(0.2)
    server.stop()
    raise UserError(f"Spark's Connect server did not start within {START_SECONDS} s; its log: {log or 'not kept'}")
