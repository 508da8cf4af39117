"""Reads the figures of one night: its state, steps, rejections, gates, held-out quality, and shares of its lists."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from textwrap import shorten

import pyarrow as pa
import pyarrow.compute as pc

from jobs.checks import ACCEPTED, FAILED, PASSED, WARNED, Outcomes, outcome_of, outcomes
from jobs.checks import gates_of as recorded_gates
from jobs.gate.counts import Catalogue, ListCounts
from jobs.lake.changes import unchanged
from jobs.lake.lake import Lake
from jobs.lake.live import Published, publications
from jobs.lake.reading import StoredRow, Tally, Wanted, matching, of_night, scan
from jobs.steps import STEPS
from jobs.tables.records import EVALUATIONS, REJECTED, RUNS
from jobs.tables.shop import RECOMMENDED_FOR_YOU, SOURCES, TITLES, TOUCH_POINTS
from jobs.tables.table import Table
from jobs.text import clean

RULES = {
    "department guard": "products of other departments are left out",
    "price window": "products too cheap or too dear beside the product (or bag) are left out",
    "brand cap": "a list shows only so many products of one brand",
    "category cap": "a list shows only so many products of one category",
    "diversity": "products of a brand that is shown already stand further down",
    "exploration": "this place is kept for a product that is new in the shop",
    "page duplicates": "a product that the page shows elsewhere is left out",
    "bought": "what the customer bought is left out",
    "usual size": "products without the customer's usual size are left out",
    "size run": "products of which few sizes are left step back behind all others",
}
"""Name of a default rule, as models/assembly/rulebook.py has it -> what it does."""
LONGEST_CAUSE = 220
"""Characters of an error in the headline; the table of steps has all of it."""


GATE_GROUPS = ("Input", "Model and vectors", *TITLES.values())
"""What gates are about, in the order of the night."""
LABELS = {"live": "Went live", "past": "Was live", "staged": "Staged", "failed": "Failed"}
"""State of a night's lists -> its label on a page, which is true for good."""


@dataclass(frozen=True)
class LiveState:
    """Whether services see the lists of a night, as some versions of the tables have them."""

    state: str
    """live, past, staged or failed."""
    sentence: str
    """The state in words."""
    model_id: str
    """The model behind the night's lists; empty where there are none."""

    @property
    def label(self) -> str:
        """The state in two words."""
        return LABELS[self.state]


@dataclass(frozen=True)
class LedgerStep:
    """A step of one run as the ledger has it."""

    name: str
    status: str
    rows_in: int
    rows_out: int
    rejected: int
    seconds: float
    memory_mb: float
    note: str
    code_version: str


@dataclass(frozen=True)
class Rejection:
    """Rows that were left out for one reason."""

    source: str
    reason: str
    rows: int
    expected: bool
    """Whether the source's own SELECT left them out on purpose."""


@dataclass(frozen=True)
class GateResult:
    """One check with its figure and limit."""

    gate: str
    group: str
    """The list it is about, as customers know it."""
    value: float
    rule: str
    outcome: str
    """passed, failed, accepted or warned."""
    detail: str


@dataclass(frozen=True)
class Quality:
    """One scorer's figure on one slice, with its 95 % interval."""

    scorer: str
    metric: str
    slice: str
    value: float
    low: float
    high: float
    customers: int
    trained: bool
    """Whether it is a trained candidate and no baseline."""
    champion: bool
    """Whether its vectors made the night's lists."""
    dataset: str
    as_of: date
    """The night of the comparison."""


def steps_of(lake: Lake, as_of: date, run_id: str) -> list[LedgerStep]:
    """The run's steps in the order of the night, without the report that is being written."""
    where = of_night(as_of) & (pc.field("run_id") == pa.scalar(run_id))
    where &= ~((pc.field("step") == "report") & (pc.field("status") == "running"))
    rows = {row["step"]: row for row in matching(lake, RUNS, RUNS.names, where)}
    order = [*STEPS, *sorted(set(rows) - set(STEPS))]
    return [_step(rows[name]) for name in order if name in rows]


def _step(row: StoredRow) -> LedgerStep:
    started, ended = row["started_at"], row["ended_at"]
    seconds = (ended - started).total_seconds() if started and ended else 0.0
    return LedgerStep(
        clean(row["step"]),
        clean(row["status"]),
        row["rows_in"] or 0,
        row["rows_out"] or 0,
        row["rejected"] or 0,
        seconds,
        row["memory_mb"] or 0.0,
        clean(row["note"]),
        clean(row["code_version"]),
    )


def list_versions(lake: Lake) -> dict[str, int]:
    """Table of lists -> its Delta version as it is now."""
    return {table.name: lake.version(table) for table in TOUCH_POINTS if lake.exists(table)}


def live_state_of(
    lake: Lake,
    as_of: date,
    steps: list[LedgerStep],
    gates: Outcomes,
    versions: Mapping[str, int] | None = None,
) -> LiveState:
    """The state of the night's lists at some versions, by default as they are now.

    A step or gate that failed counts more than what an earlier run of the night published.
    """
    versions = list_versions(lake) if versions is None else versions
    known = publications(lake)
    live = next((one for one in known if one.live), None)
    shown = [one for one in known if one.night == as_of and _has_lists(lake, one, versions)]
    # `report` is running now, so its row in the ledger is of an earlier attempt.
    stopped = [step for step in steps if step.status == "failed" and step.name != "report"]
    trouble = [shorten(f"The step {step.name} failed: {step.note}", LONGEST_CAUSE) for step in stopped]
    if gates.failed and not trouble:
        trouble = [f"{len(gates.failed)} of {gates.checked} gates failed: {', '.join(map(clean, gates.failed))}"]
    model = _model_of(lake, as_of)
    if trouble:
        kept = f"the night {live.night} (run {clean(live.run_id)}) stays live" if live else "nothing is live yet"
        return LiveState("failed", f"{trouble[0].rstrip('.')}. For services nothing changed: {kept}.", model)
    if live in shown:
        return LiveState("live", f"The lists went live{_at(live)} for services and analysts.", model)
    since = f"services and analysts read the night {live.night}, which went live{_at(live)}" if live else ""
    if shown:
        return LiveState("past", f"The lists were live{_at(shown[-1], 'from')}; now {since}.", model)
    staged = "The night has lists, but" if model else "The night has no lists yet;"
    if live and live.night == as_of:
        since = f"they were made again after it went live{_at(live)}, and services read those of before"
    return LiveState("staged", f"{staged} {since or 'nothing has been published yet'}.", model)


def _has_lists(lake: Lake, one: Published, versions: Mapping[str, int]) -> bool:
    """Whether a publication has the lists that the tables have at some versions."""
    return all(
        _same(lake, table, one.night, versions[table.name], one.versions.get(table.name))
        for table in TOUCH_POINTS
        if table.name in versions
    )


def _same(lake: Lake, table: Table, night: date, shown: int, published: int | None) -> bool:
    first, last = sorted((shown, lake.version(table) if published is None else published))
    return first == last or unchanged(lake.at({table.name: last}), table, first, night)


def _at(one: Published | None, word: str = "at") -> str:
    return f" {word} {moment(one.at)}" if one and one.at else ""


def moment(at: datetime) -> str:
    """A time for people, in UTC: 2026-04-06 02:13 UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _model_of(lake: Lake, as_of: date) -> str:
    for batch in scan(lake, RECOMMENDED_FOR_YOU, ("model_id",), of_night(as_of), batch_rows=1_024):
        return clean(batch["model_id"][0].as_py())
    return ""


def rejections_of(lake: Lake, as_of: date) -> list[Rejection]:
    """The rows that the night left out, counted by source and reason, most rows first."""
    tally = Tally(("source", "reason", "expected"))
    for batch in scan(lake, REJECTED, tally.keys, of_night(as_of)):
        tally.add(batch.columns)
    return [
        Rejection(clean(source), clean(reason).removeprefix("excluded: "), rows, bool(expected))
        for source, reason, expected, rows in tally.most_first()
    ]


def outcomes_of(lake: Lake, as_of: date) -> Outcomes:
    """How the night's gates came out."""
    return outcomes(recorded_gates(lake, of_night(as_of)))


def gates_of(lake: Lake, as_of: date) -> list[GateResult]:
    """The night's checks: failed ones, then accepted ones, then warnings, then by what they are about."""
    order = (FAILED, ACCEPTED, WARNED, PASSED)
    gates = [_gate(row) for row in recorded_gates(lake, of_night(as_of))]
    return sorted(gates, key=lambda gate: (order.index(gate.outcome), GATE_GROUPS.index(gate.group), gate.gate))


def _gate(row: StoredRow) -> GateResult:
    name = clean(row["gate"])
    value = math.nan if row["value"] is None else row["value"]
    return GateResult(name, group_of(name), value, clean(row["rule"]), outcome_of(row), clean(row["detail"]))


def group_of(gate: str) -> str:
    """What a gate is about, one of GATE_GROUPS."""
    title = next((title for table, title in TITLES.items() if gate.startswith(table)), "")
    return title or ("Input" if gate.startswith("input_") else "Model and vectors")


def quality_of(lake: Lake, as_of: date, model_id: str) -> list[Quality]:
    """Every figure of the newest comparison up to the night; those of the model with the id are marked."""
    known = matching(lake, EVALUATIONS, (*EVALUATIONS.names,), Wanted(where=pc.field("as_of") <= pa.scalar(as_of)))
    newest = max((row["as_of"] for row in known), default=None)
    return [_quality(row, model_id) for row in known if row["as_of"] == newest]


def _quality(row: StoredRow, model_id: str) -> Quality:
    scorer, low, high = clean(row["model_id"]), row["ci_low"], row["ci_high"]
    return Quality(
        scorer,
        clean(row["metric"]),
        clean(row["slice"]),
        row["value"],
        low,
        high,
        row["customers"],
        trained=scorer.endswith(f"-{clean(row['run_id'])}"),
        champion=scorer == model_id,
        dataset=clean(row["dataset"]),
        as_of=row["as_of"],
    )


# Shares of the places of the night's lists, by source, brand and category.

UNNAMED = "without one"


@dataclass(frozen=True)
class Share:
    """A name with its share of a whole."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class ListShares:
    """The lists of one table: how many there are, how full, and the sources of their places."""

    name: str
    title: str
    lists: int
    positions: int
    markets: int
    """Markets with lists."""
    short: int
    """Lists with a short_reason."""
    sources: tuple[Share, ...]
    """Every source, in the order in which lists are filled."""
    products: int
    """Products that are in at least one of the lists."""


@dataclass(frozen=True)
class GroupShare:
    """A brand or category: its share of the places of customers' lists beside its share of the catalogue."""

    name: str
    shown: float
    catalogue: float


@dataclass(frozen=True)
class Shares:
    """The lists of a night, summed up."""

    lists: tuple[ListShares, ...]
    products: int
    """Products of the catalogue."""
    brands: tuple[GroupShare, ...]
    categories: tuple[GroupShare, ...]


def shares_of(counts: Mapping[str, ListCounts], catalogue: Catalogue, most: int) -> Shares:
    """Shares of all places of all lists; brands and categories, at most `most`, of customers' lists."""
    customers = counts.get(RECOMMENDED_FOR_YOU.name, ListCounts(0, {}))
    return Shares(
        tuple(_summed(name, found) for name, found in counts.items()),
        len(catalogue),
        _groups([brand for brand, _ in catalogue.values()], customers.brands, most),
        _groups([category for _, category in catalogue.values()], customers.categories, most),
    )


def _summed(name: str, found: ListCounts) -> ListShares:
    positions = sum(found.sources.values())
    counted = sorted(found.sources, key=lambda source: (-found.sources[source], source))
    names = [*SOURCES, *(source for source in counted if source not in SOURCES)]
    parts = tuple(Share(n, found.sources.get(n, 0), found.sources.get(n, 0) / max(positions, 1)) for n in names)
    return ListShares(
        name, TITLES[name], found.lists, positions, len(found.markets), found.short, parts, found.products
    )


def _groups(group: Sequence[str], held: Mapping[str, int], most: int) -> tuple[GroupShare, ...]:
    """The groups with the most places; empty where no product has a group."""
    if not any(group):
        return ()
    stocked = Counter(group)
    order = sorted(held, key=lambda name: (-held[name], name or UNNAMED))[:most]
    shown = max(sum(held.values()), 1)
    return tuple(GroupShare(n or UNNAMED, held[n] / shown, stocked[n] / max(len(group), 1)) for n in order)
