"""Counts how each touch point did on a day: clicks per impression by place, source, rule, age and market."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.experiments.days import BATCH_ROWS, newest_nights
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow
from jobs.lake.rows import codes_of
from jobs.run import Run
from jobs.tables.experiments import TOUCH_POINT_DAYS
from jobs.tables.impressions import OUTCOMES
from jobs.tables.shop import CATALOGUE
from models.arrays import Rows
from models.digests import of_texts
from models.experiments.comparison import FEWEST, NORMAL
from models.experiments.moments import FloatVector, moments_of

BLOCKS = 200
"""Groups that customers are put in by a digest of their ids: the spread between them tells how far chance moves a rate,
with customers as the unit, in little memory. It knows the interval's length to 5 %."""
PLACES = 100
"""Places that are told apart; those beyond count as the last of these. Place 0 is an unknown one."""
ALL, UNKNOWN, NO_RULE = "all", "unknown", "none"
COLUMNS = (
    "customer_id",
    "touch_point",
    "market",
    "variant",
    "product_id",
    "place",
    "source",
    "rule",
    "clicked",
    "bagged",
    "last_clicked",
    "last_bagged",
)
DIMENSIONS = (ALL, "place", "source", "rule", "market", "variant", "product age", "brand age")
AGES = {
    "product age": (14, 90, ("under 14 days", "14 to 90 days", "over 90 days")),
    "brand age": (90, 365, ("under 90 days", "90 days to a year", "over a year")),
}
"""Dimension -> two limits in days since the launch, and the names of the three ages; a brand is launched with its first
product."""
DAYS = 7
"""Newest days that are counted where they were not yet."""
SHOWN, CLICKS, BAGS = 0, 1, 2
Counts = npt.NDArray[np.float64]


def count_days(lake: Lake, run: Run) -> None:
    """Count each of the last days that has outcomes and was not counted, or was counted this night."""
    counted = newest_nights(lake, TOUCH_POINT_DAYS)
    for day in sorted(newest_nights(lake, OUTCOMES)):
        if 0 < (run.as_of - day).days <= DAYS and counted.get(day, run.as_of) >= run.as_of:
            where = f"shown_date = '{day.isoformat()}'"
            lake.replace_rows(TOUCH_POINT_DAYS, [*_rows_of(lake, run, day)], run, where)


class SliceCounts:
    """Counts of the slices of one dimension: by block of customers, and by place."""

    def __init__(self) -> None:
        self.slices: dict[tuple[str, str], int] = {}
        """(touch point, slice) -> its place in the counts."""
        self.blocks: Counts = np.zeros((0, 3, BLOCKS))
        """[slices, 3, BLOCKS] of SHOWN, CLICKS, BAGS."""
        self.places: Counts = np.zeros((0, 2, PLACES + 1))
        """[slices, 2, PLACES + 1] of SHOWN, CLICKS."""

    def add(self, batch: ShownBatch, texts: pa.Array) -> None:
        """Count a batch; `texts` [n] is the slice of each impression."""
        codes, words = codes_of(texts)
        of_pair = batch.touch_points * len(words) + codes
        there = np.bincount(of_pair) > 0
        pairs, own = np.flatnonzero(there), (np.cumsum(there) - 1)[of_pair]
        named = [(batch.names[pair // len(words)], words[pair % len(words)] or UNKNOWN) for pair in pairs.tolist()]
        at = np.array([self.slices.setdefault(name, len(self.slices)) for name in named], np.int64)
        more = len(self.slices) - len(self.blocks)
        self.blocks = np.concatenate([self.blocks, np.zeros((more, 3, BLOCKS))])
        self.places = np.concatenate([self.places, np.zeros((more, 2, PLACES + 1))])
        for kind, weights in enumerate((None, batch.clicked, batch.bagged)):
            self.blocks[at, kind] += _table(own, batch.blocks, weights, len(pairs), BLOCKS)
        for kind, weights in enumerate((None, batch.clicked)):
            self.places[at, kind] += _table(own, batch.places, weights, len(pairs), PLACES + 1)


class ShownBatch:
    """A batch of outcomes as numbers."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self.touch_points, names = codes_of(rows["touch_point"])
        self.names = [name or UNKNOWN for name in names]
        self.blocks = (of_texts(rows["customer_id"])[:, 0] % np.uint64(BLOCKS)).astype(np.int64)
        self.places = np.clip(np.asarray(pc.fill_null(rows["place"], 0), np.int64), 0, PLACES)
        self.clicked, self.bagged = (in_visit(rows, name) for name in ("clicked", "bagged"))


def in_visit(rows: pa.RecordBatch | pa.Table, name: str) -> FloatVector:
    """[n] 1 where the impression is the last touch of such an event in the same visit."""
    found = pc.and_(rows[f"last_{name}"], pc.fill_null(pc.equal(rows[name], "visit"), False))
    return np.asarray(found).astype(np.float64)


def _table(rows: Rows, columns: Rows, weights: FloatVector | None, height: int, width: int) -> Counts:
    counted = np.bincount(rows * width + columns, weights=weights, minlength=height * width)
    return counted.reshape(height, width).astype(np.float64)


def _rows_of(lake: Lake, run: Run, day: date) -> Iterator[StoredRow]:
    counts = {name: SliceCounts() for name in DIMENSIONS}
    ages = _ages(lake, run.as_of, day)
    for rows in lake.batches(OUTCOMES, COLUMNS, rows=BATCH_ROWS, where=pc.field("shown_date") == pa.scalar(day)):
        batch = ShownBatch(rows)
        for name, counted in counts.items():
            counted.add(batch, _slices(name, rows, batch, ages))
    place_rates = _place_rates(counts[ALL])
    for name, counted in counts.items():
        for (touch_point, part), at in counted.slices.items():
            shown = counted.places[at, SHOWN]
            yield {
                "shown_date": day,
                "touch_point": touch_point,
                "dimension": name,
                "slice": part,
                "expected": float(shown @ place_rates[touch_point]),
                **_rate(counted.blocks[at]),
            }


def _slices(name: str, rows: pa.RecordBatch, batch: ShownBatch, ages: dict[str, tuple[pa.Array, pa.Array]]) -> pa.Array:
    if name == ALL:
        return pa.repeat(pa.scalar(ALL), rows.num_rows)
    if name == "place":
        return pa.array(batch.places).cast(pa.string())
    if name == "rule":
        return pc.fill_null(rows[name], NO_RULE)
    if name in ages:
        products, words = ages[name]
        return words.take(pc.index_in(rows["product_id"], value_set=products))
    return rows[name]


def _ages(lake: Lake, as_of: date, day: date) -> dict[str, tuple[pa.Array, pa.Array]]:
    """Dimension of AGES -> (products, the age of each on the day, null where it is not known)."""
    catalogue = lake.arrow(CATALOGUE, ("product_id", "brand", "launched_at"), as_of)
    products, launched = catalogue["product_id"].combine_chunks(), catalogue["launched_at"].combine_chunks()
    first = catalogue.group_by("brand").aggregate([("launched_at", "min")])
    of_brand = pc.index_in(catalogue["brand"].combine_chunks(), value_set=first["brand"].combine_chunks())
    brand_launched = pc.if_else(
        pc.is_valid(catalogue["brand"].combine_chunks()), first["launched_at_min"].combine_chunks().take(of_brand), None
    )
    found = {}
    for name, dates in (("product age", launched), ("brand age", brand_launched)):
        young, grown, words = AGES[name]
        days = pc.days_between(dates, pa.scalar(day))
        known = pc.add(pc.greater_equal(days, young).cast(pa.int8()), pc.greater(days, grown).cast(pa.int8()))
        found[name] = (products, pa.array(words).take(known))
    return found


def _place_rates(whole: SliceCounts) -> dict[str, FloatVector]:
    """Touch point -> [PLACES + 1] clicks per impression at each place."""
    return {
        touch_point: whole.places[at, CLICKS] / np.maximum(whole.places[at, SHOWN], 1)
        for (touch_point, _), at in whole.slices.items()
    }


def _rate(blocks: Counts) -> StoredRow:
    """The columns of a slice from its counts [3, BLOCKS]."""
    shown, clicks, bags = blocks.sum(axis=1).tolist()
    (found,) = moments_of(np.zeros(BLOCKS, np.int64), 1, blocks[CLICKS], blocks[SHOWN], np.zeros(BLOCKS))
    half = NORMAL * found.variance**0.5
    ends: Sequence[float | None] = (
        (max(found.ratio - half, 0.0), found.ratio + half) if clicks >= FEWEST else (None, None)
    )
    return {
        "impressions": int(shown),
        "clicks": int(clicks),
        "bags": int(bags),
        "rate": found.ratio,
        "low": ends[0],
        "high": ends[1],
    }
