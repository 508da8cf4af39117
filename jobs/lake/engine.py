"""Starts one of the two Spark engines, and hides what differs between them.

`sail`: pysail's Spark Connect server inside this process, without Java.
`spark`: Apache Spark with delta-spark through Spark Connect, on this machine (`local[2]`) or, with a remote address,
on a cluster.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from jobs.errors import EngineLostError, UserError
from jobs.lake.storage import FEW_AHEAD, emptied, parquet_batches
from jobs.run import Progress

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

EngineName = Literal["sail", "spark"]
ENGINES: tuple[EngineName, ...] = ("sail", "spark")
DELTA_JARS = "io.delta:delta-spark_4.2_2.13:4.4.0"
"""4.4.1 is on PyPI, but its jars are not published; the Python package is pinned to match."""

PLAIN_FRAMES = {"spark.python.sql.dataFrameDebugging.enabled": "false"}
"""PySpark else notes the line of our code behind each expression, and looks for IPython each time."""
WITH_DELTA = PLAIN_FRAMES | {
    "spark.jars.packages": DELTA_JARS,
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
"""Settings that every Connect server needs, wherever its executors are."""

WITH_OBJECT_STORAGE = {
    # Hadoop's version is PySpark's own. Its S3 client comes in parts (15 MB): the bundle it asks for has 600.
    "spark.jars.packages": ",".join(
        [
            DELTA_JARS,
            "org.apache.hadoop:hadoop-aws:3.5.0",
            *(f"software.amazon.awssdk:{part}:2.35.4" for part in ("s3", "s3-transfer-manager", "sts")),
        ]
    ),
    "spark.jars.excludes": "software.amazon.awssdk:bundle",
    # Paths begin with s3:// as everywhere else. Keys and end point come from the process's environment.
    "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    "spark.hadoop.fs.s3a.path.style.access": "true",
}
"""Settings that a Connect server also needs where the lake or its raw files are below s3://."""

LOCAL_SPARK = WITH_DELTA | {
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


RETRIES = 6
"""Retries of a call that gets no answer, about a minute; Spark's own limit is ten minutes."""
START_SECONDS = 180
"""The first start downloads Delta's jars."""


class Server(Protocol):
    """A server that a session is connected to."""

    def stop(self) -> None:
        """End it."""
        ...


class LocalServer:
    """A Spark Connect server in a process of its own, which ends with ours."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        # However our process ends, its end of this pipe is closed.
        watch, quiet = f"read _; kill {process.pid}", subprocess.DEVNULL
        self._watch = subprocess.Popen(["sh", "-c", watch], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the process and wait for it."""
        self._watch.kill()
        self._watch.wait()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)


@dataclass
class Engine:
    """A running session, and the operations that differ between engines."""

    name: EngineName
    spark: SparkSession
    server: Server | None = None
    """The server that was started for the session, if any; it ends when stopped or no longer referred to."""

    def replace(self, frame: DataFrame, path: Path, predicate: str, schema: pa.Schema) -> None:
        """Replace the rows of the Delta table at `path` that match `predicate` by `frame`, in one commit.

        Sail 0.7 cannot replaceWhere into a table with an array column; there it writes the frame to a staging folder as
        Parquet, and deltalake streams that into the table.
        """
        if self.name == "spark" or not any(pa.types.is_list(field.type) for field in schema):
            if self.name == "sail":
                frame = self._with_columns_of(frame, path)
            frame.write.format("delta").mode("overwrite").option("replaceWhere", predicate).save(str(path))
            return
        from deltalake import write_deltalake

        with emptied(path.parent / f".{path.name}.aside") as staging:
            frame.write.mode("overwrite").parquet(str(staging))
            # Sail carries column comments through renames; deltalake refuses those that differ from the table's.
            plain = (batch.cast(schema) for batch in parquet_batches(staging))
            rows = pa.RecordBatchReader.from_batches(schema, plain)
            write_deltalake(str(path), rows, mode="overwrite", predicate=predicate, schema_mode="merge")

    def _with_columns_of(self, frame: DataFrame, path: Path) -> DataFrame:
        """The frame with every column of the table at `path`, null where the frame has none.

        A newer version of the code may have added columns, which Sail would not fill in.
        """
        from pyspark.sql import functions as F

        there = self.spark.read.format("delta").load(str(path)).schema
        named = {field.name: F.lit(None).cast(field.dataType).alias(field.name) for field in there}
        return frame.select(*[name if name in frame.columns else nothing for name, nothing in named.items()])

    @contextmanager
    def staged_rows(
        self, frame: DataFrame, schema: pa.Schema, staging: Path, progress: Progress, what: str
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """The rows of a Spark frame, computed once when the block begins and kept at `staging` until its end.

        They are kept as a Delta table: its one commit names the files of the tasks that succeeded, whatever failed,
        repeated or duplicate tasks left beside them. `progress` counts tasks, under the name `what`.
        """
        from deltalake import DeltaTable, Schema

        def counted(stages: Iterable[Any] | None, *_: object, **__: object) -> None:
            known = list(stages or [])
            if total := sum(stage.num_tasks for stage in known):
                progress(what, sum(stage.num_completed_tasks for stage in known), total)

        handler: Any = counted
        with emptied(staging):
            self.spark.registerProgressHandler(handler)
            try:
                # Created by Spark, it would have types (strings with a collation) that deltalake cannot read.
                DeltaTable.create(str(staging), Schema.from_arrow(schema))
                frame.write.format("delta").mode("append").save(str(staging))
                yield DeltaTable(str(staging)).to_pyarrow_dataset().to_batches(batch_size=16_384, **FEW_AHEAD)
            finally:
                self.spark.removeProgressHandler(handler)

    def stop(self) -> None:
        """End the session and the server that was started for it."""
        self.spark.stop()
        if self.server is not None:
            self.server.stop()


def start(name: EngineName, remote: str | None = None, log: Path | None = None, object_storage: bool = False) -> Engine:
    """Start `name` embedded or locally, or connect to the Spark Connect server at `remote`.

    `object_storage` lets a local Spark read and write below s3://; Sail can anyway, and a remote server has its own
    settings. Raises UserError for an unknown engine, a missing Java or a malformed address, EngineLostError if a server
    does not answer.
    """
    from pyspark.sql import SparkSession

    if name not in ENGINES:
        raise UserError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    server: Server | None = None
    if remote:
        from pyspark.sql.connect.client.retries import DefaultPolicy

        _check_answers(remote)
        session = SparkSession.builder.remote(remote).create()
        session.client.set_retry_policies([DefaultPolicy(max_retries=RETRIES)])
        name = "spark"
    elif name == "sail":
        server, address = _sail_server()
        session = SparkSession.builder.remote(address).create()
        for key, value in PLAIN_FRAMES.items():
            session.conf.set(key, value)
    else:
        if not (shutil.which("java") or Path(os.environ.get("JAVA_HOME", "-"), "bin", "java").exists()):
            raise UserError("the engine 'spark' needs Java 17 or 21; install it, or use the engine 'sail'")
        server, address = connect_server("local[2]", LOCAL_SPARK | (WITH_OBJECT_STORAGE if object_storage else {}), log)
        session = SparkSession.builder.remote(address).create()
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return Engine(name, session, server)


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _check_answers(remote: str) -> None:
    """Raise EngineLostError if nothing listens, where Spark's client would go on trying; UserError for no address."""
    try:
        parts = urlsplit(remote)
        host, port = parts.hostname, parts.port or 15002
    except ValueError as error:
        raise UserError(f"SPARK_REMOTE is no address ({error}); it must look like sc://host:15002") from None
    if parts.scheme != "sc" or not host:
        raise UserError("SPARK_REMOTE is no address; it must look like sc://host:15002")
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise EngineLostError(
            f"the Spark Connect server sc://{host}:{port} (SPARK_REMOTE) does not answer: {error}"
        ) from None


def _sail_server() -> tuple[Server, str]:
    from pysail.spark import SparkConnectServer

    server: Any = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    host, port = server.listening_address
    return server, f"sc://{host}:{port}"


def connect_server(
    master: str,
    settings: Mapping[str, str],
    log: Path | None,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
) -> tuple[LocalServer, str]:
    """Start Spark's Connect server on a port of the loopback interface, a free one for None: (server, its address).

    Its output goes to `log`. `master` is where its executors run, `settings` are Spark's, `environment` is that of the
    process, ours by default. Executors on this machine run the same Python, with the same import path. Raises UserError
    if it does not start.
    """
    import pyspark

    environment = dict(os.environ if environment is None else environment)
    environment |= {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}

    port = port or free_port()
    settings = {**settings, "spark.connect.grpc.binding.port": str(port)}
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", master]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with Path(log or os.devnull).open("ab") as sink:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    server = LocalServer(process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return server, f"sc://127.0.0.1:{port}"
        time.sleep(0.2)
    server.stop()
    raise UserError(f"Spark's Connect server did not start within {START_SECONDS} s; its log: {log or 'not kept'}")


# --- a Spark server that goes away in the middle of a step, distinguished from errors of the step itself

LOST_MESSAGES = ("ExecutorLostFailure", "SparkContext was shut down", "stopped SparkContext")
"""Parts of Spark's messages when too many executors were lost, or the server ends while it works."""

HALF_ANSWERED = "RESPONSE_ALREADY_RECEIVED"
"""Condition that Spark's client reports when the server was restarted in the middle of a response."""


def is_lost(error: BaseException) -> bool:
    """Whether an error says that the server does not answer any more, or does not know the session."""
    from grpc import StatusCode
    from pyspark.errors import PySparkException
    from pyspark.errors.exceptions.connect import SparkConnectGrpcException

    if isinstance(error, PySparkException) and error.getCondition() == HALF_ANSWERED:
        return True
    if not isinstance(error, SparkConnectGrpcException):
        return False
    gone = error.getGrpcStatusCode() == StatusCode.UNAVAILABLE
    unknown = (error.getCondition() or "").startswith("INVALID_HANDLE")
    return gone or unknown or any(words in str(error) for words in LOST_MESSAGES)


@contextmanager
def told_if_lost() -> Iterator[None]:
    """Raise EngineLostError, which says what to do, if the server behind the session goes away in the block."""
    try:
        yield
    except Exception as error:
        if not is_lost(error):
            raise
        why = str(error).strip().splitlines()[0][:300]
        raise EngineLostError(
            f"Spark went away in the middle of the step ({why}); no table is half written: run the step again when "
            "Spark is back"
        ) from error
