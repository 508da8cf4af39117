"""Models and indexes that somebody changed: refused by their checksums, and where those fit as well, in words."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import UserError
from jobs.index import IndexConfig, NewIndex, read_index, write_index
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.storage import staged_folder
from jobs.run import Run
from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from models.contract import Compute
from models.networks import artefacts
from models.networks.artefacts import ArtefactError, create
from models.vocabulary import Vocabulary
from tests.support.hostile import CELLS, mutated
from tests.support.strategies import histories

NIGHT = Run(date(2026, 4, 6), "fuzz", datetime(2026, 5, 1, tzinfo=UTC))
COMPUTE = Compute(device="cpu", seed=3)
IDS = ["p1", "p2", "p3", "ünï"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "amf"
    made = create("amf", Vocabulary(IDS), COMPUTE, width=8, epochs=1)
    made.fit(histories(*[[(0, 60), (1, 120), (2, 180), (3, 240)] for _ in range(8)]))
    artefacts.write(made, folder, {"as_of": "2026-04-06"}, staged_folder)
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = Lake(tmp_path_factory.mktemp("index"))
    vectors = np.eye(4, dtype=np.float32)
    manifest = {"model_id": "m", "products": 4}
    new = NewIndex(Vocabulary(IDS), vectors, vectors, {"vectors": vectors}, manifest)
    write_index(lake, NIGHT, IndexConfig(), YOU_MIGHT_ALSO_LIKE, new)
    return lake.root


def damage(folder: Path, contents: dict[str, bytes], rng: random.Random, file: str | None = None) -> str:
    """One file changed, cut, replaced by a pickle, or taken away; its name."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    name = file or rng.choice(sorted(contents))
    if rng.random() < 0.1:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(mutated(rng, contents[name]))
    return name


def refused(read: Callable[[], Any], folder: Path, original: Path, inputs: int, seed: int) -> int:
    """Damage a copy so often; how many times it was refused. What is taken must be as it was."""
    shutil.copytree(original, folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    count = 0
    for number in range(inputs):
        rng = random.Random(f"{seed}-{number}")
        name = damage(folder, contents, rng)
        try:
            read()
            there = folder / name
            same = there.exists() and _content(there.read_bytes()) == _content(contents[name])
            # Of the manifest beside the FAISS file its checksum alone is read; the index's own manifest has that too.
            assert same or name == "index.faiss.json", f"seed {seed}, input {number}: {name} was changed and taken"
        except (ArtefactError, UserError):
            count += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, input {number}, {name}: {error!r}") from error
    return count


def _content(raw: bytes) -> Any:
    """JSON by what it says: a blank more between two words is no other manifest."""
    try:
        return json.loads(raw)
    except ValueError:
        return raw


@pytest.mark.parametrize("inputs", [100, pytest.param(4_000, marks=pytest.mark.soak)])
def test_a_changed_model_is_refused(model: Path, tmp_path: Path, inputs: int) -> None:
    folder = tmp_path / "amf"
    assert refused(lambda: artefacts.read(folder, COMPUTE), folder, model, inputs, seed=1) > 0


@pytest.mark.parametrize("inputs", [100, pytest.param(4_000, marks=pytest.mark.soak)])
def test_a_changed_index_is_refused(indexed: Path, tmp_path: Path, inputs: int) -> None:
    lake = Lake(tmp_path)
    folder = lake.directory(storage.INDEXES, NIGHT.as_of) / YOU_MIGHT_ALSO_LIKE.name
    folder.parent.mkdir(parents=True)
    original = Lake(indexed).directory(storage.INDEXES, NIGHT.as_of) / YOU_MIGHT_ALSO_LIKE.name
    assert refused(lambda: read_index(lake, NIGHT, YOU_MIGHT_ALSO_LIKE), folder, original, inputs, seed=2) > 0


VALUES: tuple[Any, ...] = (*CELLS, None, 0, -1, 1e9, [], [1], {}, {"../../../etc/passwd": "0" * 64}, True, ["p1"] * 4)


@pytest.mark.parametrize("inputs", [100, pytest.param(3_000, marks=pytest.mark.soak)])
def test_a_model_whose_checksums_were_made_anew_is_read_or_refused(model: Path, tmp_path: Path, inputs: int) -> None:
    """Who can write the folder can make checksums too; what they cannot do is crash the night or run code."""
    folder = tmp_path / "amf"
    shutil.copytree(model, folder)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    taken = 0
    for number in range(inputs):
        rng = random.Random(f"3-{number}")
        damage(folder, contents, rng, rng.choice((artefacts.WEIGHTS, artefacts.VOCABULARY)))
        body = json.loads(contents[artefacts.MANIFEST])
        del body["sha256"]
        for name in body["files"]:
            if (folder / name).exists():
                body["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if rng.random() < 0.5:
            body[rng.choice(sorted(body))] = rng.choice(VALUES)
        if rng.random() < 0.2:
            del body[rng.choice(sorted(body))]
        plain = json.dumps(body, indent=1, sort_keys=True).encode()
        (folder / artefacts.MANIFEST).write_text(json.dumps({**body, "sha256": hashlib.sha256(plain).hexdigest()}))
        try:
            artefacts.read(folder, COMPUTE)
            taken += 1
        except ArtefactError:
            pass
        except Exception as error:
            raise AssertionError(f"input {number}: {error!r}") from error
    assert taken < inputs
