"""Writes and reads trained models as directories of safetensors, JSON and checksums; creates models by kind."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file

from models.contract import Compute, Config, Recommender
from models.vocabulary import Vocabulary

if TYPE_CHECKING:
    from models.most_popular import MostPopular
    from models.networks.closed_form import ClosedForm
    from models.networks.recommender import TorchRecommender

FORMAT = 1
KINDS: Mapping[str, str] = {
    "closed_form": "models.networks.closed_form:ClosedForm",
    "amf": "models.networks.amf:AMF",
    "transformer": "models.networks.transformer:Transformer",
    "transformers4rec": "models.networks.transformers4rec:Transformers4Rec",
}
"""kind -> module:class, of what may compete; the module is imported when the kind is first used."""
POPULARITY = "popularity"
"""The kind that serves where no other can be measured, or none is better; no candidate, every model is compared with
it."""
ALL_KINDS = {**KINDS, POPULARITY: "models.most_popular:MostPopular"}
WEIGHTS, VOCABULARY, MANIFEST = "weights.safetensors", "vocabulary.json", "manifest.json"
FILES = {WEIGHTS, VOCABULARY}


class ArtefactError(ValueError):
    """The directory is not a model that this code wrote, or it was changed since."""


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`, except for its own checksum."""

    format: int
    """Version of this layout."""
    kind: str
    """Key of ALL_KINDS."""
    config: Config
    """The model's settings."""
    vocabulary_digest: str
    """`Vocabulary.digest` of the ids in vocabulary.json."""
    files: dict[str, str]
    """sha256 of each other file, by name; that of the weights identifies the trained model."""
    metadata: dict[str, Any]
    """The caller's: as_of, versions of the Delta tables, metrics."""


def write(
    model: Recommender,
    directory: Path,
    metadata: Mapping[str, Any],
    staged_folder: Callable[[Path], AbstractContextManager[Path]],
) -> Manifest:
    """Write `model` to the folder that `staged_folder(directory)` gives, which replaces `directory` in the end.

    Raises TypeError or ValueError for metadata that strict JSON cannot hold (NaN is one).
    """
    with staged_folder(directory) as staging:
        tensors = {name: np.ascontiguousarray(value) for name, value in model.tensors().items()}
        save_file(tensors, staging / WEIGHTS)
        (staging / VOCABULARY).write_text(json.dumps(model.vocabulary.ids.to_pylist(), ensure_ascii=False), "utf-8")
        files = {name: _sha256((staging / name).read_bytes()) for name in (WEIGHTS, VOCABULARY)}
        manifest = Manifest(
            FORMAT, model.kind, model.config(), model.vocabulary.digest, files, json.loads(_json(dict(metadata)))
        )
        body = asdict(manifest)
        (staging / MANIFEST).write_text(_json({**body, "sha256": _sha256(_json(body).encode())}) + "\n", "utf-8")
    return manifest


def read_manifest(directory: Path) -> Manifest:
    """The checked manifest alone; raises ArtefactError where it is absent, altered or of another format."""
    try:
        body = json.loads((directory / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        there = sorted(p.name for p in directory.iterdir()) if directory.is_dir() else "no such directory"
        raise ArtefactError(f"{directory} holds no {MANIFEST} (there: {there}); train a model there first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{directory / MANIFEST} is not JSON ({error}); restore it or train again") from None
    if not isinstance(body, dict) or body.pop("sha256", None) != _digest(body):
        raise ArtefactError(f"{directory / MANIFEST} was changed after it was written; restore it or train again")
    if body.get("format") != FORMAT:
        raise ArtefactError(f"{directory} has format {body.get('format')!r:.40}, this code reads {FORMAT}; train again")
    files = body.get("files")
    if (
        body.keys() != {field.name for field in fields(Manifest)}
        or not isinstance(files, dict)
        or files.keys() != FILES
    ):
        raise ArtefactError(f"{directory / MANIFEST} has other entries than this code writes; train again")
    return Manifest(**body)


def verify(directory: Path) -> Manifest:
    """The manifest, after every file was checked against it; raises ArtefactError naming the file that is wrong."""
    manifest, _ = _verified(directory)
    return manifest


def read(directory: Path, compute: Compute) -> tuple[Recommender, Manifest]:
    """The model in `directory`, every file checked first; raises ArtefactError naming the file that is wrong."""
    manifest, content = _verified(directory)
    try:
        return _restored(directory, manifest, content, compute), manifest
    except (TypeError, KeyError, ValueError, RuntimeError, RecursionError, SafetensorError) as error:
        if isinstance(error, ArtefactError):
            raise
        raise ArtefactError(f"{directory} matches its checksums but is no model ({error}); train again") from None


def _restored(directory: Path, manifest: Manifest, content: Mapping[str, bytes], compute: Compute) -> Recommender:
    vocabulary = Vocabulary(json.loads(content[VOCABULARY]))
    if vocabulary.digest != manifest.vocabulary_digest:
        raise ArtefactError(
            f"the ids in {directory / VOCABULARY} are not those the model was trained with; train again"
        )
    return model_class(manifest.kind).restore(vocabulary, manifest.config, load(content[WEIGHTS]), compute)


def _verified(directory: Path) -> tuple[Manifest, dict[str, bytes]]:
    manifest = read_manifest(directory)
    return manifest, {name: _checked(directory / name, sha256) for name, sha256 in manifest.files.items()}


def _checked(path: Path, wanted: str) -> bytes:
    if not path.is_file():
        raise ArtefactError(f"{path} is missing, though {MANIFEST} lists it; restore it or train again")
    content = path.read_bytes()
    if (found := _sha256(content)) != wanted:
        raise ArtefactError(
            f"{path} was changed after it was written: its sha256 is {found[:12]}.., {MANIFEST} says {wanted[:12]}..; "
            "restore it or train again"
        )
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest(body: dict[str, Any]) -> str | None:
    """Checksum of a manifest; None for values that strict JSON cannot hold, which `write` never writes."""
    try:
        return _sha256(_json(body).encode())
    except (ValueError, RecursionError):
        return None


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False)


def model_class(kind: str) -> type[TorchRecommender | ClosedForm | MostPopular]:
    """The class of `kind`; raises ValueError for a kind that does not exist."""
    if kind not in ALL_KINDS:
        raise ValueError(f"there is no model kind {kind!r}; there are {', '.join(sorted(ALL_KINDS))}")
    module, name = ALL_KINDS[kind].split(":")
    found: type[TorchRecommender | ClosedForm | MostPopular] = getattr(importlib.import_module(module), name)
    return found


def create(kind: str, vocabulary: Vocabulary, compute: Compute, **config: Any) -> Recommender:
    """An untrained model; `config` are fields of the kind's config class, ValueError names one that is wrong."""
    return model_class(kind).create(vocabulary, compute, **config)
