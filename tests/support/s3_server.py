"""A local S3 server on loopback (moto's), in a process of its own; what it holds goes with it.

Not a thread of the tests: deltalake asks without letting go of the interpreter, which then could not answer.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.support.repository import REPOSITORY

SECRET = f"the-secret-{secrets.token_hex(8)}"
"""The secret key of the tests: it must never be found anywhere."""
AGE = "/-/age"
"""A path of the server that no bucket has: PUT seconds, bucket and key."""


@dataclass(frozen=True)
class S3Server:
    """A running server, which the environment names while it runs."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ACCESS_KEY_ID": "the-key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": self._url, "AWS_ALLOW_HTTP": "true",
        }  # fmt: skip

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _put(self, path: str, data: bytes) -> None:
        request = urllib.request.Request(self._url + path, data, method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def bucket(self) -> str:
        """A new bucket's name."""
        name = f"shop-{secrets.token_hex(4)}"
        self._put(f"/{name}", b"")
        return name

    def age(self, path: Path, by: timedelta) -> None:
        """Let an object have been written longer ago."""
        self._put(AGE, f"{by.total_seconds()} {str(path).removeprefix('s3://')}".encode())


class Door:
    """A way to a server on loopback that can be shut, as a network that fails, and opened again."""

    def __init__(self, port: int) -> None:
        self.behind, self.passed, self.most = port, 0, 0
        """The server's port; pieces that were passed to it; how many of them shut the door, 0 for none."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse new connections, and cut those there are."""
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def open(self) -> None:
        """Let everybody in again, at the same address."""
        self.passed = self.most = 0
        self._listener = socket.create_server(("127.0.0.1", self.port))
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, server = listener.accept()[0], socket.create_connection(("127.0.0.1", self.behind))
                self._open += [client, server]
                for ends in ((client, server), (server, client)):
                    Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                if to.getpeername()[1] == self.behind:
                    self.passed += 1
                    if self.passed == self.most:
                        self.shut()
                to.sendall(piece)
            to.shutdown(socket.SHUT_WR)


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """The server, and the environment that names it."""
    with subprocess.Popen([sys.executable, "-m", "tests.support.s3_server"], stdout=subprocess.PIPE,
                          text=True, cwd=REPOSITORY) as process:  # fmt: skip
        assert process.stdout is not None
        server = S3Server(int(process.stdout.readline()))
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ |= server.environment
        try:
            yield server
        finally:
            process.kill()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def listed(request: Any) -> tuple[int, dict[str, str], str]:
    """A page of a list of objects. (Moto's own takes a millisecond an object to write it.)"""
    asked = {name: values[0] for name, values in request.querystring.items()}
    names, truncated, token = request.backend.list_objects_v2(
        bucket=request.backend.get_bucket(request.bucket_name), prefix=asked.get("prefix"),
        delimiter=asked.get("delimiter"), continuation_token=asked.get("continuation-token"),
        start_after=asked.get("start-after"), max_keys=int(asked.get("max-keys", 1000)),
    )  # fmt: skip
    encoded = quote if asked.get("encoding-type") == "url" else escape
    listed = [
        f"<CommonPrefixes><Prefix>{encoded(one)}</Prefix></CommonPrefixes>"
        if isinstance(one, str)
        else f"<Contents><Key>{encoded(one.name)}</Key><LastModified>{one.last_modified_ISO8601}</LastModified>"
        f"<ETag>{escape(one.etag)}</ETag><Size>{one.size}</Size></Contents>"
        for one in names
    ]
    more = f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else ""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{more}<KeyCount>{len(listed)}</KeyCount>"
        f"{''.join(listed)}</ListBucketResult>"
    )
    return 200, {"Content-Type": "application/xml"}, body


def read(buckets: Any, environ: dict[str, Any], start: Any) -> list[bytes]:
    """The answer to a plain GET or HEAD of an object that is there; [] for all else, which Moto has to answer.

    Most requests are such reads; through Moto each costs 2 ms.
    """
    bucket, _, name = environ["PATH_INFO"].encode("latin-1").decode().lstrip("/").partition("/")
    conditional = any(header.startswith("HTTP_IF_") for header in environ)
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") or environ.get("QUERY_STRING") or conditional:
        return []
    if bucket not in buckets or not hasattr(found := buckets[bucket].keys.get(name), "etag"):
        return []
    value, status = found.value, "200 OK"
    headers = [("ETag", found.etag), ("Last-Modified", found.last_modified_RFC1123), ("Accept-Ranges", "bytes")]
    if given := environ.get("HTTP_RANGE"):
        first, _, last = given.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(len(value) - int(last), 0)
        end = min(int(last), len(value) - 1) if first and last else len(value) - 1
        if begin > end:
            return []
        headers.append(("Content-Range", f"bytes {begin}-{end}/{len(value)}"))
        value, status = value[begin : end + 1], "206 Partial Content"
    start(status, [*headers, ("Content-Length", str(len(value)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else value]


def serve() -> None:
    """Serve until killed."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import create_backend_app
    from moto.s3.models import s3_backends
    from moto.s3.responses import S3Response
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open, as they do at S3

        def log_request(self, *_: Any) -> None:
            pass

    S3Response.list_objects_v2 = listed  # type: ignore[method-assign]
    application, one = create_backend_app("s3"), Lock()
    buckets = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        # Moto looks and then writes; S3's conditional writes are one step.
        with one:
            if environ["PATH_INFO"] != AGE:
                return read(buckets, environ, start) or [b"".join(application(environ, start))]
            seconds, path = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode().split(" ")
            bucket, _, key = path.partition("/")
            found = buckets[bucket].keys[key]
            found.last_modified -= timedelta(seconds=float(seconds))
        start("200 OK", [("Content-Length", "0")])
        return [b""]

    made = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=Quiet)
    print(made.port, flush=True)
    made.serve_forever()


if __name__ == "__main__":
    serve()
