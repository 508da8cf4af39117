"""Collects the settings of all steps, and names the sets of settings that --config chooses from."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from jobs.audiences.config import AudiencesConfig
from jobs.clean.step import CleanConfig
from jobs.embed import EmbedConfig
from jobs.errors import UserError
from jobs.gate.config import GateConfig
from jobs.index import IndexConfig
from jobs.ingest.step import IngestConfig
from jobs.lake.storage import is_remote
from jobs.lists.config import ListsConfig
from jobs.publish.step import PublishConfig
from jobs.report.step import ReportConfig
from jobs.run import fingerprint
from jobs.sequences.step import SequencesConfig
from jobs.train.step import STANDARD, TrainConfig
from models.settings import in_words


@dataclass(frozen=True)
class NightConfig:
    """The settings of a night, one field for each step."""

    ingest: IngestConfig
    sequences: SequencesConfig = field(default_factory=SequencesConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    lists: ListsConfig = field(default_factory=ListsConfig)
    audiences: AudiencesConfig = field(default_factory=AudiencesConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    clean: CleanConfig = field(default_factory=CleanConfig)

    @property
    def hash(self) -> str:
        """Identifies what is computed: all settings and the source's text, without paths of this machine."""
        plain: dict[str, Any] = dataclasses.asdict(self)
        del plain["clean"]  # retention changes nothing that is computed
        for paths in (plain["ingest"], plain["publish"]):
            for name in [key for key, value in paths.items() if isinstance(value, Path) or is_remote(value)]:
                del paths[name]
        return fingerprint(plain | {"source_text": self.ingest.source.read_text("utf-8", errors="replace")})


def standard(source: Path, raw: Path) -> NightConfig:
    """The settings of `make night` and of the DAG."""
    return NightConfig(IngestConfig(source, raw))


def quick(source: Path, raw: Path) -> NightConfig:
    """Settings with little training, for tests and for a first try of a new source."""
    small: dict[str, dict[str, Any]] = {
        "amf": {"epochs": 2},
        "transformer": {"epochs": 2, "layers": 1, "width": 16},
    }
    small["closed_form"] = {"rank": 32}
    return dataclasses.replace(standard(source, raw), train=TrainConfig(candidates=small, validation_days=0))


def with_transformers4rec(source: Path, raw: Path) -> NightConfig:
    """The standard settings, with NVIDIA Transformers4Rec as one more candidate."""
    return dataclasses.replace(standard(source, raw), train=TrainConfig(candidates=STANDARD | {"transformers4rec": {}}))


CONFIGS: dict[str, Callable[[Path, Path], NightConfig]] = {
    "standard": standard,
    "quick": quick,
    "with_transformers4rec": with_transformers4rec,
}


def with_settings(config: NightConfig, given: Iterable[str]) -> NightConfig:
    """The settings with those `given` in their place, each as `STEP.FIELD=VALUE`, the later ones on top.

    A field may lie deeper (`train.budget.train_minutes`, `train.candidates.amf.epochs`). A value is written as in TOML;
    anything else is a text. Raises UserError for a name that does not exist, and for a value that it cannot have.
    """
    for text in given:
        path, is_set, value = text.partition("=")
        if not is_set:
            raise UserError(f"--set {text!r} has no value; write it like train.holdout_days=3")
        try:
            config = _with(config, NightConfig, path.strip().split("."), _plain_value(value.strip()))
        except UserError as error:
            raise UserError(f"--set {text}: {error}") from None
    return config


def _plain_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ("[", "{"):  # no text, but a slip
            raise UserError(f'is not TOML: {error}; a list of tables is [{{name = "b", share = 0.5}}]') from None
        return text


def _with(group: Any, kind: Any, path: list[str], value: Any) -> Any:
    """`group`, settings or a mapping of the type `kind`, with the value at `path` in it."""
    name, deeper = path[0], path[1:]
    if isinstance(group, dict):
        inner = (*get_args(kind), Any, Any)[1]
        new = _with(group.get(name, {}), inner, deeper, value) if deeper else _checked(inner, value)
        return {**group, name: new}
    if not dataclasses.is_dataclass(group) or isinstance(group, type):
        raise UserError(f"{group!r} has no setting {name}; leave .{'.'.join(path)} out")
    hints = get_type_hints(type(group), include_extras=True)
    known = {field.name: hints[field.name] for field in dataclasses.fields(group)}
    paths = {name for name, hint in known.items() if Path in (hint, *get_args(hint))}
    if name not in known or name in paths:
        own = "given with --source, --raw or NIGHTRAIL_FEATURE_STORE" if name in paths else "unknown"
        raise UserError(f"{type(group).__name__}.{name} is {own}; there are {', '.join(sorted(known.keys() - paths))}")
    new = _with(getattr(group, name), known[name], deeper, value) if deeper else _checked(known[name], value)
    return dataclasses.replace(group, **{name: new})


def _checked(kind: Any, value: Any) -> Any:
    """The value as its type wants it: a whole number where a float is asked becomes one, a list a tuple."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as found:
        mistake = found.errors()[0]
        where = "".join(f"{part}: " for part in mistake["loc"])
        raise UserError(f"{where}{mistake['input']!r:.80} {in_words(mistake['msg'])}") from None
