"""Collects the settings of all steps, and names the sets of settings that --config chooses from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.clean.step import CleanConfig
from jobs.embed import EmbedConfig
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


@dataclass(frozen=True)
class NightConfig:
    """The settings of a night, one field for each step."""

    ingest: IngestConfig
    sequences: SequencesConfig = field(default_factory=SequencesConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    embed: EmbedConfig = field(default_factory=EmbedConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    lists: ListsConfig = field(default_factory=ListsConfig)
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
