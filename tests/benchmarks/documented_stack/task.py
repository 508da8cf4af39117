"""What the stages of the documented stack are told, and what each says of how far it is. Inert: standard library alone.

A stage is a process of its own: `python -m MODULE STAGE TASK PROGRESS DEADLINE`. It appends lines
[seconds since 1970, done, total] to its progress file, so that a stage that ends at its limit still says how much of
its work it did.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

VIEWS = {
    "customer_sequences": ("customer_id",),
    "customer_embeddings": ("customer_id",),
    "product_embeddings": ("product_id",),
    "recommended_for_you": ("customer_id", "market"),
    "you_might_also_like": ("product_id", "market"),
    "people_also_bought": ("product_id", "market"),
}
"""Tables that go online, with their keys, in the order in which they are loaded."""


@dataclass(frozen=True)
class StackTask:
    """Paths and settings; the settings are those of our own night."""

    raw: str
    """Raw files of the shop."""
    folder: str
    """Where tables, model and feature repository go."""
    as_of: str
    """The night, ISO."""
    width: int
    """Numbers of a vector."""
    layers: int
    heads: int
    length: int
    """Most recent events that the model reads."""
    kept_events: int
    """Most recent events kept per customer."""
    top_n: int
    """Products per list."""
    popular_days: int
    """Days of events that make a product popular."""
    event_weights: dict[str, float]
    """What each event counts for popularity."""
    basket_days: int
    """Purchases older than so many days are not counted together."""
    threads: int
    redis: str = ""
    """host:port of the online store; empty: SQLite."""

    @property
    def published_at(self) -> datetime:
        """Feast's event timestamp of every row."""
        return datetime.fromisoformat(f"{self.as_of}T03:00:00+00:00")

    def table(self, name: str) -> str:
        """Path of a Delta table."""
        return str(Path(self.folder) / "tables" / name)

    def day(self, before: int) -> str:
        """The day so many days before the night, ISO."""
        return (date.fromisoformat(self.as_of) - timedelta(days=before)).isoformat()

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> StackTask:
        return cls(**json.loads(path.read_text("utf-8")))


@dataclass(frozen=True)
class Progress:
    """A stage's word on how far it is, and the time at which it has to stop between two of its parts."""

    path: Path
    deadline: float
    """Seconds since 1970."""

    def tell(self, done: int, total: int) -> bool:
        """Note it; returns whether there is time for more."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([round(time.time(), 3), done, total]) + "\n")
        return time.time() < self.deadline


Stage = Callable[[StackTask, Progress], None]


def run_stage(stages: Mapping[str, Stage]) -> None:
    """Run the stage that the arguments name."""
    name, task, progress, deadline = sys.argv[1:5]
    stages[name](StackTask.load(Path(task)), Progress(Path(progress), float(deadline)))
