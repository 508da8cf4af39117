"""Report: the night as one HTML page that needs nothing from outside, for operators, analysts and merchandisers."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import PositiveInt

from jobs.gate.counts import Catalogue, ListCounts, counts_of, read_catalogue, read_counts, write_counts
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.reading import count_rows
from jobs.report import drift
from jobs.report.drift import DriftConfig
from jobs.report.examples import customer_examples, product_examples
from jobs.report.figures import GateResult, gates_of, rejections_of, shares_of, standing_of, steps_of
from jobs.report.model import page as model_page
from jobs.report.model.page import ModelReportConfig
from jobs.report.pages import environment, write_page
from jobs.report.recent import RECENT_CUSTOMERS, Recent
from jobs.report.window import page as window_page
from jobs.report.window.contexts import context_pairs
from jobs.report.window.data import ShopWindowConfig
from jobs.run import Counts, Run
from jobs.settings import Settings
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, EVENTS, LISTS

Counted = tuple[dict[str, ListCounts], Catalogue]
PARTS = 8
"""What is counted while the pages are made, the model's first and the night's own last."""


@dataclass(frozen=True)
class ReportConfig(Settings):
    """How much the page shows."""

    examples: PositiveInt = 6
    """Products whose carousels are shown."""
    customers: PositiveInt = 3
    """Customers whose history and list are shown."""
    shown: PositiveInt = 6
    """Products of each list that are shown."""
    history: PositiveInt = 8
    """Most recent events of each customer that are shown."""
    groups: PositiveInt = 10
    """Brands, and categories, in the tables of shares."""
    model: ModelReportConfig = field(default_factory=ModelReportConfig)
    """Of the page about the model, which lies beside this one."""
    window: ShopWindowConfig = field(default_factory=ShopWindowConfig)
    """Of the shop window, which lies beside this page too."""
    drift: DriftConfig = field(default_factory=DriftConfig)
    """Of the page about the last nights, beside it as well."""


def execute(lake: Lake, run: Run, config: ReportConfig) -> Counts:
    """Write the page of the night; it tells what is there, so it can be written after any step."""
    with ThreadPoolExecutor(1) as aside:
        # Hundreds of millions of positions, read and counted without Python's lock: the model's page is made beside it.
        counted = aside.submit(_counted, lake, run.as_of)
        return _written(lake, run, config, counted)


def _counted(lake: Lake, as_of: date) -> Counted:
    catalogue = read_catalogue(lake, as_of)
    return counts_of(lake, as_of, LISTS, catalogue), catalogue


def _written(lake: Lake, run: Run, config: ReportConfig, counted: Future[Counted]) -> Counts:
    recent = Recent(lake, run.as_of, max(RECENT_CUSTOMERS, config.model.looked_at))
    path = report_path(lake, run.as_of)
    beside, window, drifted = model_page.path_beside(path), window_page.path_beside(path), drift.path_beside(path)
    served = model_page.champion_of(lake, run, config.model, recent)
    write_page(beside, model_page.written_of(lake, run, config.model, path.name, served, recent))
    run.progress("parts of the page read", 1, PARTS)
    contexts = context_pairs(lake, run.as_of, served, recent)
    run.progress("parts of the page read", 2, PARTS)
    context = _context(lake, run, config, recent, counted)
    lists = counted.result()[0]
    write_counts(lake, run.as_of, read_counts(lake, run.as_of) | lists)
    write_page(window, window_page.written_of(lake, run, config.window, contexts, recent, lists))
    run.progress("parts of the page read", 7, PARTS)
    write_page(drifted, drift.written_of(lake, run, config.drift, path.name))
    run.progress("parts of the page read", PARTS, PARTS)
    page = (
        environment()
        .get_template("report.html")
        .render(context, model_page=beside.name, shop_page=window.name, drift_page=drifted.name)
    )
    write_page(path, page)
    read = sum(counts.lists for counts in lists.values())
    pages = (path, beside, window, drifted)
    size = sum(each.stat().st_size for each in pages) / 1024
    note = f"{lake.relative(path)}, {beside.name}, {window.name} and {drifted.name} beside it, {size:,.0f} KiB"
    return Counts(read, len(pages), note=note)


def report_path(lake: Lake, as_of: date) -> Path:
    """Where the page of a night lies."""
    return lake.directory(storage.REPORTS, as_of) / "index.html"


def _context(
    lake: Lake, run: Run, config: ReportConfig, recent: Recent, counted: Future[Counted]
) -> dict[str, Any]:  # fmt: skip
    as_of = run.as_of
    steps, gates = steps_of(lake, as_of, run.run_id), gates_of(lake, as_of)
    standing = standing_of(lake, as_of, steps, gates)
    rejections = rejections_of(lake, as_of)
    compared = model_page.read_comparison(lake, as_of, standing.model_id)
    run.progress("parts of the page read", 3, PARTS)
    pages = product_examples(lake, as_of, config.examples, markup_name=True, recent=recent)
    run.progress("parts of the page read", 4, PARTS)
    customers = customer_examples(lake, as_of, config.customers, recent)
    run.progress("parts of the page read", 5, PARTS)
    shares = shares_of(*counted.result(), config.groups)
    run.progress("parts of the page read", 6, PARTS)
    return {
        "as_of": as_of, "run_id": run.run_id, "config": config, "standing": standing, "steps": steps, "gates": gates,
        "gate_groups": _by_group(gates),
        "faults": [r for r in rejections if not r.expected], "exclusions": [r for r in rejections if r.expected],
        "compared": compared,
        "shares": shares, "pages": pages, "customers": customers,
        "totals": {
            "products": shares.products or count_rows(lake, CATALOGUE, as_of),
            "customers": count_rows(lake, CUSTOMER_SEQUENCES, as_of),
            "events": count_rows(lake, EVENTS, as_of),
        },
    }  # fmt: skip


def _by_group(gates: list[GateResult]) -> dict[str, list[GateResult]]:
    """Heading -> its gates in their order; what failed stands apart, first."""
    groups: dict[str, list[GateResult]] = {}
    for gate in gates:
        groups.setdefault(gate.group if gate.passed else "Failed", []).append(gate)
    return groups
