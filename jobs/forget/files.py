"""Deletes what else below the lake's root names a customer, and reads every file back to prove that nothing does.

Pages show pseudonyms and no log line names a customer, but pages and logs of older code may hold ids. Pages and logs
that hold an id or its pseudonym are deleted whole: the step report writes a page again.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.forget.tables import CUSTOMER, Spellings, rejected_ids
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.tables.records import REJECTED

SHOWN = (".html", ".log", ".jsonl")
"""Pages and logs."""
PACKED = re.compile(r"eJ[A-Za-z0-9+/]{16,}={0,2}")
"""Base64 of what zlib compressed at its usual level."""
WEIGHTS = (".safetensors", ".faiss")
"""Files of numbers alone."""
STORE = "online.db"
"""What the names of the embedded online store's files begin with; the store itself is asked for its keys."""
WORTH_SEARCHING = 4
"""Least characters of an id to look for in other files; a shorter one is found everywhere."""


def delete_files(lake: Lake, shown: Spellings) -> list[str]:
    """Delete the pages and logs that hold one of `shown`, and what killed steps left; returns the deleted paths."""
    deleted = _scratch(lake)
    for folder in deleted:
        storage.remove(folder)
    for path in _files(lake):
        if path.suffix in SHOWN and shown.within(_shown_text(path)):
            path.unlink()
            deleted.append(path)
    return sorted(lake.relative(path) for path in deleted)


def read_back(lake: Lake, spellings: Spellings, shown: Spellings) -> tuple[dict[str, int], dict[str, int], int]:
    """(places that still name a customer, places where the same text is something else's name, files read).

    Every file below the root is read: Parquet by column, pages and logs for the names of `shown`, everything else as
    text; weights hold numbers alone, and the online store was asked for its keys.
    """
    left: Counter[str] = Counter()
    elsewhere: Counter[str] = Counter()
    files = 0
    for path in _files(lake):
        if not path.exists():
            continue  # SQLite takes its log away when it is closed
        files += 1
        place = lake.relative(path)
        if path.suffix == ".parquet":
            with path.open("rb") as stream:
                _read_parquet(pq.ParquetFile(stream), place, spellings, left, elsewhere)
        elif path.suffix in SHOWN:
            left.update({place: len(shown.within(_shown_text(path)))})
        elif "_delta_log" in path.parts:
            left.update({place: _named_in_log(path, spellings)})
        elif path.suffix not in WEIGHTS and not path.name.startswith(STORE):
            known = Spellings(id for id in spellings.ids if len(id) >= WORTH_SEARCHING)
            elsewhere.update({place: len(known.within(path.read_bytes().decode("utf-8", "replace")))})
    return {k: n for k, n in left.items() if n}, {k: n for k, n in elsewhere.items() if n}, files


def _read_parquet(
    file: pq.ParquetFile, place: str, spellings: Spellings, left: Counter[str], elsewhere: Counter[str]
) -> None:
    ids = pa.array(spellings.ids, pa.string())
    if "_delta_log" in place.split("/"):
        stats = [add.get("stats") for add in file.read(["add"])["add"].to_pylist() if add]
        left[place] += sum(_names_customer(text, spellings) for text in stats if text)
        return
    names = [field.name for field in file.schema_arrow if _is_text(field.type)]
    table = place.split("/")[1] if place.startswith("tables/") else place
    for batch in file.iter_batches(columns=names):
        for name, column in zip(batch.schema.names, batch.cast(_plain(batch.schema)).columns, strict=True):
            found = pc.sum(pc.is_in(column, ids)).as_py() or 0
            if name == CUSTOMER:
                left[f"{table}.{name}"] += found
            elif name == "raw" and table == REJECTED.name:
                left[f"{table}.{name}"] += sum(bool(raw and rejected_ids(raw, spellings)) for raw in column.to_pylist())
            else:
                elsewhere[f"{table}.{name}"] += found


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return plain in (pa.string(), pa.large_string(), pa.string_view())


def _plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in schema.names])


def _named_in_log(path: Path, spellings: Spellings) -> int:
    """Lines of a table's log that name a customer, in the bounds of a file's ids."""
    if path.suffix != ".json":
        return 0
    adds = [json.loads(line).get("add", {}) for line in path.read_text("utf-8").splitlines()]
    return sum(bool(add.get("stats")) and _names_customer(add["stats"], spellings) for add in adds)


def _names_customer(stats: str, spellings: Spellings) -> bool:
    bounds = json.loads(stats)
    return any(bounds.get(end, {}).get(CUSTOMER) in spellings.set for end in ("minValues", "maxValues"))


def _shown_text(path: Path) -> str:
    """A page or log, with the data that a page carries compressed in clear at its end."""
    text = path.read_text("utf-8", errors="surrogateescape")
    parts = [text]
    for block in PACKED.findall(text):
        with suppress(ValueError, zlib.error):
            parts.append(zlib.decompress(base64.b64decode(block)).decode("utf-8", "replace"))
    return "\n".join(parts)


def _files(lake: Lake) -> list[Path]:
    """Every file below the root, and below the work folder where that is another; links not followed."""
    roots = dict.fromkeys((lake.root, lake.work))
    return [path for root in roots for path, size in storage.files(root) if size is not None and not path.is_symlink()]


def _scratch(lake: Lake) -> list[Path]:
    """Hidden folders: the staging folders that a step leaves behind only where it is killed."""
    hidden = []
    for path in _files(lake):
        above = [folder for folder in path.parents if folder.name.startswith(".") and folder not in lake.root.parents]
        hidden += above[-1:]
    return list(dict.fromkeys(hidden))
