"""`python -m jobs serve` over a whole night: the examples of the docs, and Feast's own server with our services."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from tests.support.http_shop import Served, served
from tests.support.nights import Shop
from tests.support.repository import REPOSITORY

TOKEN = "a-token-for-this-test-alone"


@pytest.fixture(scope="module")
def server(night: Shop) -> Iterator[httpx.Client]:
    """A client of a server over the first night."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTRAIL")}
    environment |= {"NIGHTRAIL_TOKEN": TOKEN, "NIGHTRAIL_FEAST": str(night.lake.root / "feast")}
    command = [sys.executable, "-m", "jobs", "serve", "--feast", "--port", str(port), "--root", str(night.lake.root)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20
        ) as client:
            deadline = time.monotonic() + 120
            while True:
                try:
                    client.get("/health")
                    break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < deadline
                    time.sleep(0.3)
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_the_server_answers_with_the_published_lists(night: Shop, server: httpx.Client) -> None:
    assert server.get("/health").status_code == 200
    assert server.get("/ready").status_code == 200
    row = night.rows(YOU_MIGHT_ALSO_LIKE)[0]
    entities = {name: [row[name]] for name in YOU_MIGHT_ALSO_LIKE.key}
    request = {"feature_service": "product_page_v2", "entities": entities, "full_feature_names": True}
    assert server.post("/get-online-features", json=request, headers={"Authorization": "no"}).status_code == 401
    answer = server.post("/get-online-features", json=request)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    names = found["metadata"]["feature_names"]
    place = names.index("you_might_also_like__product_ids")
    assert found["results"][place]["values"][0] == row["product_ids"]
    assert server.post("/push", json={}).status_code == 404


def test_the_server_tells_its_metrics(server: httpx.Client) -> None:
    text = server.get("/metrics").text
    assert 'feast_feature_server_request_total{endpoint="/get-online-features",status="success"}' in text


@pytest.fixture(scope="module")
def api(night: Shop) -> Iterator[Served]:
    """The API over the first night."""
    root = night.lake.root
    with served(root, NIGHTRAIL_FEAST=str(root / "feast")) as server:
        yield server


def examples(language: str, server: Served) -> list[str]:
    """The docs' blocks in a language, against this server."""
    text = (REPOSITORY / "docs" / "serving.md").read_text("utf-8").replace("http://127.0.0.1:6566", server.url)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_curl_examples_of_the_docs(api: Served) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    (block,) = examples("bash", api)
    answers = []
    for command in re.split(r"\n(?=curl)", block):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        answers.append(json.loads(done.stdout))
    lists = [one["you_might_also_like"] if "you_might_also_like" in one else one.get("list") for one in answers]
    assert all(one["shown"]["publication"] for one in answers) and len(answers) == 8
    assert len(answers[-1]["places"]) == 2 and lists[3]["product_ids"]


def test_the_node_example_of_the_docs(api: Served) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    (block,) = examples("js", api)
    command = ["node", "--input-type=module", "-e", block]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("2026-"), done.stdout + done.stderr
