"""Checks a night's outfits: what each market shows is sold there, once, and made of different roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import Check
from jobs.gate.config import GateConfig
from jobs.gate.lists import GateInputs
from jobs.lake.lake import Lake
from jobs.lake.live import Published
from jobs.lake.rows import codes_of
from jobs.model_inputs import list_offsets
from jobs.run import Run
from jobs.tables.shop import OUTFITS
from models.arrays import BoolMask, Rows

FAULTS = {
    "unavailable": "places that a market shows and does not sell, and looks of a product that it does not sell",
    "repeats": "products that a market shows twice with a product, or with themselves",
    "roles": "looks that no editor chose with a role twice, without one, or with a single product",
    "uneven": "rows whose lists differ in length, or that name a look or market that is not there",
}
"""Gate, after the table's name -> what it counts."""
OUTFIT_GATES = {f"{OUTFITS.name}_{kind}" for kind in (*FAULTS, "rows")}
AT_ONCE = 4_096
PIECES = ("product_ids", "scores", "sources", "rules", "looks", "roles")


def outfit_checks(
    lake: Lake, run: Run, config: GateConfig, inputs: GateInputs, live: Published | None
) -> Iterator[Check]:
    """The checks of a night's outfits; none where neither the night nor the live one has any."""
    if not lake.exists(OUTFITS):
        return
    rows = lake.count(OUTFITS, run.as_of)
    then = lake.at(live.versions).count(OUTFITS, live.night) if live and OUTFITS.name in live.versions else 0
    if live and then:
        share, detail = rows / then, f"rows as a share of {live.night}'s"
        yield Check(f"{OUTFITS.name}_rows", share, least=config.min_rows_of_last_night, detail=detail)
    if rows:
        found: Counter[str] = Counter()
        for batch in lake.snapshot(OUTFITS).encoded(("product_id", *PIECES, "shown_in"), run.as_of, AT_ONCE):
            found.update(_faults(batch, inputs))
        for kind, detail in FAULTS.items():
            yield Check(f"{OUTFITS.name}_{kind}", found[kind], most=0, detail=detail)


def _faults(batch: pa.RecordBatch, inputs: GateInputs) -> dict[str, int]:
    """What is wrong in some rows, by kind."""
    lengths = np.stack([np.diff(list_offsets(batch[name])) for name in PIECES])
    if (lengths != lengths[0]).any():
        return {"uneven": int((lengths != lengths[0]).any(axis=0).sum())}
    row = np.repeat(np.arange(batch.num_rows), lengths[0])
    look, product = _looks(batch), inputs.products.encode(pc.list_flatten(batch["product_ids"]), missing="negative")
    shown, unknown = _shown(batch, int(look.max(initial=0)) + 1, inputs)
    if unknown or (look < 0).any() or (product < 0).any():
        return {"uneven": unknown + int((look < 0).sum() + (product < 0).sum())}
    of_piece, owner = shown[row, look], inputs.products.encode(batch["product_id"], missing="negative")
    unsold = int((of_piece & ~inputs.available[:, product].T).sum())
    unsold += int((shown.any(axis=1) & ~inputs.available[:, owner].T).sum())
    order = np.lexsort((product, row))
    first = np.flatnonzero(np.diff(row[order], prepend=-1) | np.diff(product[order], prepend=-1))
    pieces, times = np.diff(first, append=len(order)), of_piece[order[first]].astype(np.int16)
    for place in range(1, int(pieces.max(initial=0))):  # a product is in few looks of a row
        more = np.flatnonzero(pieces > place)
        times[more] += of_piece[order[first[more] + place]]
    repeats = int((times > 1).sum()) + int((product == owner[row]).sum())
    return {"unavailable": unsold, "repeats": repeats, "roles": _odd_looks(batch, row, look)}


def _looks(batch: pa.RecordBatch) -> Rows:
    """[pieces], the look of each, 0 being the first; -1 for what is no number."""
    codes, words = codes_of(pc.list_flatten(batch["looks"]))
    return np.array([int(word) - 1 if word and word.isdecimal() else -1 for word in words], np.int64)[codes]


def _shown(batch: pa.RecordBatch, looks: int, inputs: GateInputs) -> tuple[BoolMask, int]:
    """([rows, looks, markets] which markets show each look, how many texts name a look or market that is not there)."""
    codes, words = codes_of(pc.list_flatten(batch["shown_in"]))
    parts = [(word or "").partition(":") for word in words]
    look = np.array([int(part[0]) - 1 if part[0].isdecimal() else -1 for part in parts], np.int64)[codes]
    market = inputs.markets.encode([part[2] for part in parts], missing="negative")[codes]
    row = np.repeat(np.arange(batch.num_rows), np.diff(list_offsets(batch["shown_in"])))
    shown, known = (
        np.zeros((batch.num_rows, looks, len(inputs.markets)), bool),
        (look >= 0) & (look < looks) & (market >= 0),
    )
    shown[row[known], look[known], market[known]] = True
    return shown, int((~known).sum())


def _odd_looks(batch: pa.RecordBatch, row: Rows, look: Rows) -> int:
    """Looks that are no editor's whose pieces are not two or more of different roles."""
    role, words = codes_of(pc.list_flatten(batch["roles"]))
    named = np.array([bool(word) for word in words])[role]
    rule, rules = codes_of(pc.list_flatten(batch["rules"]))
    composed = ~np.array([bool(word) for word in rules])[rule]
    of_look = row[composed] * (look.max(initial=0) + 1) + look[composed]
    _, pieces = np.unique(of_look, return_counts=True)
    _, times = np.unique(of_look * len(words) + role[composed], return_counts=True)
    return int((pieces < 2).sum() + (times > 1).sum() + (~named[composed]).sum())
