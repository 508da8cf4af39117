"""Writes the night as HTML pages that load nothing, for operators, analysts and merchandisers."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path

from pydantic import PositiveInt

from jobs.checks import PASSED
from jobs.experiments.measure import ExperimentsConfig, measure
from jobs.gate.counts import Catalogue, ListCounts, counts_of, read_catalogue, read_counts, write_counts
from jobs.lake.lake import Lake
from jobs.lake.reading import count_rows, matching, of_night
from jobs.report import drift, experiments
from jobs.report.drift import DriftConfig
from jobs.report.examples import ProductExample, customer_examples, product_examples
from jobs.report.figures import (
    GateResult,
    gates_of,
    live_state_of,
    outcomes_of,
    rejections_of,
    shares_of,
    steps_of,
)
from jobs.report.marks import mark_of
from jobs.report.model import page as model_page
from jobs.report.model.page import Champion, ModelReportConfig
from jobs.report.model.story import document
from jobs.report.pages import comparison_path, environment, model_link, page_path, reported_nights, write_page
from jobs.report.recent import RECENT_CUSTOMERS, Recent
from jobs.report.window import page as window_page
from jobs.report.window.choice import ShopWindowConfig
from jobs.report.window.contexts import context_pairs
from jobs.run import Counts, Progress, Run, silent
from jobs.settings import StepSettings
from jobs.tables.records import MODELS, RUNS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES, EVENTS, LISTS, SOURCES

Counted = tuple[dict[str, ListCounts], Catalogue]
PARTS = 5
"""Parts that the step counts aloud, the night's own page last."""


@dataclass(frozen=True)
class ReportConfig(StepSettings):
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
    experiments: ExperimentsConfig = field(default_factory=ExperimentsConfig)
    """Of what came of the lists, where the shop logs what it shows."""


def execute(lake: Lake, run: Run, config: ReportConfig) -> Counts:
    """Measure what came of the lists, and write the pages of the night; they show what is there, so they can be written
    after any step.
    """
    warned = measure(lake, run, config.experiments)
    counts = _write_pages(lake, run, config)
    return replace(counts, note="; ".join([counts.note, *(f"warning: {text}" for text in warned)]))


def _write_pages(lake: Lake, run: Run, config: ReportConfig) -> Counts:
    """A night that compared models has a page about the model. The others link the newest one there is."""
    recent = Recent(lake, run.as_of, max(RECENT_CUSTOMERS, config.model.looked_at))
    with ThreadPoolExecutor(1) as pool:
        # Arrow reads and counts lists without Python's lock, beside the model and the shop window.
        counting = pool.submit(_counted, lake, run.as_of)
        examples = pool.submit(product_examples, lake, run.as_of, config.examples, markup_name=True, recent=recent)
        served = model_page.champion_of(lake, run, config.model, recent)
        pages = []
        if matching(lake, MODELS, ("model_id",), of_night(run.as_of)):
            pages += _write_model_page(lake, run, config, served, recent)
        night_page = pool.submit(lambda: _night_page(lake, run, config, recent, counting.result(), examples.result()))
        run.progress("parts of the report", 1, PARTS)
        contexts = context_pairs(lake, run.as_of, served, recent)
        run.progress("parts of the report", 2, PARTS)
        counts, _ = counting.result()
        write_counts(lake, run.as_of, read_counts(lake, run.as_of) | counts)
        pages.append(page_path(lake, run.as_of, "shop"))
        write_page(pages[-1], window_page.written_of(lake, run, config.window, contexts, recent, counts))
        run.progress("parts of the report", 3, PARTS)
    pages.append(page_path(lake, run.as_of, "drift"))
    write_page(pages[-1], drift.written_of(lake, run, config.drift))
    run.progress("parts of the report", 4, PARTS)
    if experiments.is_measured(lake, run.as_of):
        pages.append(page_path(lake, run.as_of, "experiments"))
        write_page(pages[-1], experiments.written_of(lake, run))
    pages.append(page_path(lake, run.as_of))
    write_page(pages[-1], night_page.result())
    run.progress("parts of the report", PARTS, PARTS)
    size = sum(page.stat().st_size for page in pages) / 1024
    names = ", ".join(page.name for page in pages)
    note = f"{names} in {lake.relative(pages[-1].parent)}, {size:,.0f} KiB"
    return Counts(sum(one.lists for one in counts.values()), len(pages), note=note)


def write_missing_pages(lake: Lake, now: datetime, config: ReportConfig, progress: Progress = silent) -> list[Path]:
    """Write the pages anew of nights that have some of them and lack others, as `forget` leaves them.

    Returns the pages that were missing and are there again. They name the night's newest run.
    """
    lacking = {night: missing for night in reported_nights(lake) if (missing := _missing(lake, night))}
    for place, (night, missing) in enumerate(lacking.items()):
        runs = matching(lake, RUNS, ("run_id", "started_at"), of_night(night))
        newest = max(runs, key=lambda row: row["started_at"], default={"run_id": f"{night}-again"})
        run = Run(night, newest["run_id"], now)
        _write_pages(lake, run, config)
        if not all(page.exists() for page in missing):
            write_model_page(lake, run, config)  # it was asked for on a night that compared no models
        progress("nights with pages written again", place + 1, len(lacking))
    return [page for missing in lacking.values() for page in missing]


def _missing(lake: Lake, night: date) -> list[Path]:
    """The pages that a night's folder lacks; a page about the model has a document beside it that names nobody."""
    names = ["index", "shop", "drift", *(["model"] if comparison_path(lake, night).exists() else [])]
    names += ["experiments"] if experiments.is_measured(lake, night) else []
    return [path for path in (page_path(lake, night, name) for name in names) if not path.exists()]


def write_model_page(lake: Lake, run: Run, config: ReportConfig) -> Path:
    """Write the page about the night's model, and the comparison for programs, also on a night that compared none;
    returns the page's path.
    """
    recent = Recent(lake, run.as_of, config.model.looked_at)
    return _write_model_page(lake, run, config, model_page.champion_of(lake, run, config.model, recent), recent)[0]


def _write_model_page(lake: Lake, run: Run, config: ReportConfig, served: Champion, recent: Recent) -> list[Path]:
    paths = [page_path(lake, run.as_of, "model"), comparison_path(lake, run.as_of)]
    write_page(paths[0], model_page.written_of(lake, run, config.model, served, recent))
    compared = model_page.read_comparison(lake, run.as_of, served.model_id)
    found = document(compared.quality, compared.champion)
    write_page(paths[1], json.dumps(found, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    return paths


def _counted(lake: Lake, as_of: date) -> Counted:
    catalogue = read_catalogue(lake, as_of)
    return counts_of(lake, as_of, LISTS, catalogue), catalogue


def _night_page(
    lake: Lake, run: Run, config: ReportConfig, recent: Recent, counted: Counted, products: list[ProductExample]
) -> str:
    as_of = run.as_of
    steps, gates, came_out = steps_of(lake, as_of, run.run_id), gates_of(lake, as_of), outcomes_of(lake, as_of)
    state = live_state_of(lake, as_of, steps, came_out)
    rejections = rejections_of(lake, as_of)
    shares = shares_of(*counted, config.groups)
    return (
        environment()
        .get_template("report.html")
        .render(
            as_of=as_of,
            run_id=run.run_id,
            config=config,
            mark=mark_of(lake, "index", as_of, run.run_id),
            model_id=state.model_id,
            steps=steps,
            outcomes=came_out,
            gate_groups=_by_group(gates),
            faults=[rejection for rejection in rejections if not rejection.expected],
            exclusions=[rejection for rejection in rejections if rejection.expected],
            compared=model_page.read_comparison(lake, as_of, state.model_id),
            shares=shares,
            sources=SOURCES,
            products=products,
            customers=customer_examples(lake, as_of, config.customers, recent),
            model_page=model_link(lake, as_of),
            measured=experiments.is_measured(lake, as_of),
            totals={
                "products": shares.products or count_rows(lake, CATALOGUE, as_of),
                "customers": count_rows(lake, CUSTOMER_SEQUENCES, as_of),
                "events": count_rows(lake, EVENTS, as_of),
            },
        )
    )


def _by_group(gates: list[GateResult]) -> dict[str, list[GateResult]]:
    """Heading -> its gates in their order; those that did not pass have headings of their own, first."""
    groups: dict[str, list[GateResult]] = {}
    for gate in gates:
        groups.setdefault(gate.group if gate.outcome == PASSED else gate.outcome.capitalize(), []).append(gate)
    return groups
