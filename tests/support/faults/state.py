"""What is in a lake, as digests that are equal where the content is: tables, artefacts, and what readers see."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.gate.counts import FILE as COUNTS
from jobs.index import read_index
from jobs.lake.lake import Lake
from jobs.lake.live import publication_rows
from jobs.publish.step import SURFACES
from jobs.publish.store import REPO
from jobs.run import Run
from jobs.tables.records import PUBLISHED, RUNS
from jobs.tables.shop import ALL
from tests.support.feast_store import FeastStore

OF_THE_NIGHT = {
    RUNS.name: ("as_of", "run_id", "step", "status", "config_hash"),
    PUBLISHED.name: tuple(
        name for name in PUBLISHED.names if name not in ("published_at", "replaced_at", "table_version")
    ),
}
"""Columns of the tables that also tell when, how often and how fast something was run."""
UNNAMED = (".tmp", ".aside", ".writing")
"""How scratch files end; those that begin with a dot are scratch, too."""


def describe(root: Path, visible_only: bool = False, settings: Path = REPO / "feature_store.yaml") -> dict[str, Any]:
    """The whole state, or only what services and analysts see."""
    lake = Lake(root)
    seen = {"published": published(lake), "online": online(lake, settings)}
    if visible_only:
        return seen
    return seen | {"tables": tables(lake), "files": files(root), "scratch": scratch(root)}


def published(lake: Lake) -> dict[str, Any]:
    """Surface -> [night, digest of the night's rows and of its index], as an analyst reads them by `published`."""
    if not lake.exists(PUBLISHED):
        return {}
    by_name = {table.name: table for table in SURFACES}
    found = {}
    for row in publication_rows(lake):
        if not row["live"] or row["surface"] not in by_name:
            continue
        table, night = by_name[row["surface"]], row["as_of"]
        run = Run(night, "", datetime.min)
        index = read_index(lake, run, table).manifest["files"] if row["index_path"] else None
        found[table.name] = [night.isoformat(), digest(lake.arrow(table, as_of=night)), json_digest(index)]
    return found


def online(lake: Lake, settings: Path) -> dict[str, Any]:
    """Service -> [nights that answered, keys, digest of the answers] over every key that any night ever had."""
    from feature_repo.served import SERVICES

    if not (lake.root / "feast" / "registry.db").exists():
        return {}
    store = FeastStore(lake.root, settings)
    found = {}
    for service, (_, served) in SERVICES.items():
        if len({table.key for table in served}) > 1:
            continue  # a service that joins two kinds of keys shows nothing that those of each do not
        keys = lake.arrow(served[0], served[0].key).group_by(list(served[0].key)).aggregate([])
        keys = keys.sort_by([(name, "ascending") for name in served[0].key])
        asked = {name: keys[name].to_pylist() for name in keys.column_names}
        answers = store.columns(service, asked)
        features = [name for name in answers if name not in asked]
        # A key that has nothing online is as good as none: more of them are known once another night is staged.
        rows = [
            {name: values[row] for name, values in answers.items()}
            for row in range(keys.num_rows)
            if any(answers[name][row] is not None for name in features if not name.endswith("night"))
        ]
        nights = {row[name] for row in rows for name in features if name.endswith("night")}
        if rows:
            found[service] = [sorted(map(str, nights)), len(rows), json_digest(rows)]
    return found


def tables(lake: Lake) -> dict[str, list[Any]]:
    """Table -> [rows, digest] of all nights, but for the columns that only tell of the run."""
    found = {}
    for table in ALL:
        if lake.exists(table):
            rows = lake.arrow(table, OF_THE_NIGHT.get(table.name))
            found[table.name] = [rows.num_rows, digest(rows)]
    return found


def files(root: Path) -> dict[str, str]:
    """Artefact -> sha256; a page of the report tells how long things took, so only that it is whole. Which version of a
    table was counted tells how often it was written.
    """
    found = {}
    for folder in ("models", "indexes", "reports"):
        for file in sorted((root / folder).rglob("*")):
            if file.is_file() and not unnamed(file, root):
                content = file.read_bytes()
                if file.name == COUNTS:
                    content = re.sub(rb'"stamp": "[^"]*"', b"", content)
                whole = content.rstrip().endswith(b"</html>")
                found[file.relative_to(root).as_posix()] = (
                    f"whole: {whole}" if file.suffix == ".html" else hashlib.sha256(content).hexdigest()
                )
    return found


def scratch(root: Path) -> list[str]:
    """Scratch files and folders that lie about; data files that no commit names are a vacuum's business."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if unnamed(path, root) and "_delta_log" not in path.parts
    )


def unnamed(path: Path, root: Path) -> bool:
    """Whether a path is or lies in something that was never given its name."""
    return any(part.startswith(".") or part.endswith(UNNAMED) for part in path.relative_to(root).parts)


def digest(rows: pa.Table) -> str:
    """Of the rows in an order that their content alone decides.

    A plain double is an engine's mean or share: its last digits follow the order in which rows were added up.
    """
    plain = [
        {name: float(f"{value:.12g}") if isinstance(value, float) else value for name, value in row.items()}
        for row in rows.to_pylist()
    ]
    return json_digest(sorted(map(repr, plain)))


def json_digest(value: Any) -> str:
    """Of anything that reads as text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def differences(left: Any, right: Any, path: str = "") -> Iterable[str]:
    """Where two descriptions differ, as paths with both values."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted({*left, *right}):
            yield from differences(left.get(key), right.get(key), f"{path}/{key}")
    elif left != right:
        yield f"{path}: {left} instead of {right}"
