"""Model report: the champion in pictures, as one HTML page that needs nothing from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching, of_night
from jobs.model_inputs import to_histories, with_new_products
from jobs.report import charts
from jobs.report.figures import Quality, quality_of
from jobs.report.model.attention import AttentionView, Attentive, attention_views
from jobs.report.model.quality import Candidate, Curve, Panel, by_slice, comparison, decision, gaps, learning, named
from jobs.report.model.shop import COLUMNS, Shop, products_of
from jobs.report.model.views import ContextView, SessionView, ShiftView, context_view, session_view, shift_view
from jobs.report.pages import environment
from jobs.report.recent import Recent
from jobs.run import Run
from jobs.settings import Settings
from jobs.tables.records import MODELS
from jobs.tables.shop import CATALOGUE
from jobs.text import clean
from jobs.train.champions import champion
from jobs.train.decision import LAST_CHAMPION
from jobs.train.step import load_champion
from models.contract import Compute, Recommender
from models.networks import artefacts


@dataclass(frozen=True)
class ModelReportConfig(Settings):
    """How much the page shows, and where it computes."""

    looked_at: PositiveInt = 2_000
    """Most recent customers with a long history that the examples are chosen among."""
    fewest_events: PositiveInt = 8
    """Events of a long history."""
    attention_customers: PositiveInt = 2
    """Customers whose attention is drawn."""
    attention_events: PositiveInt = 12
    """Last events of each that are drawn."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu or cuda."""


@dataclass(frozen=True)
class Comparison:
    """What the tables and the manifest say of the candidates."""

    quality: tuple[Quality, ...]
    panels: tuple[Panel, ...]
    slices: tuple[Panel, ...]
    candidates: tuple[Candidate, ...]
    gaps: Panel | None
    verdict: str
    losses: tuple[Curve, ...]
    validation: tuple[Curve, ...]


@dataclass(frozen=True)
class Examples:
    """What the model makes of chosen customers."""

    products: int
    customers: int
    attentive: bool
    """Whether the model tells what it reads."""
    attention: tuple[AttentionView, ...]
    attention_of: str
    """The candidate that tells it, where the champion does not; empty for the champion itself."""
    contexts: ContextView | None
    session: SessionView | None
    shift: ShiftView | None


def comparison_of(
    quality: Sequence[Quality], models: Sequence[Mapping[str, Any]], metadata: Mapping[str, Any]
) -> Comparison:
    """From figures, rows of `models` of the same night, and the metadata of the champion's manifest."""
    figures = named(quality, models)
    kind = next((clean(row["kind"]) for row in models if row["champion"]), "")
    rules = [q for q in figures if q.scorer != LAST_CHAMPION or q.champion]
    return Comparison(
        tuple(figures), tuple(comparison(figures)), tuple(by_slice(figures)), tuple(decision(figures, models)),
        gaps(figures), charts.verdict(rules), tuple(learning(metadata, kind)),
        tuple(learning(metadata, kind, "validation")),
    )  # fmt: skip


def examples_of(
    shop: Shop, config: ModelReportConfig, attentive: Shop | None = None, attention_of: str = ""
) -> Examples:  # fmt: skip
    """The pictures of a model; what the customers do not allow is None or empty. `attentive` tells what is read."""
    reader = attentive or shop
    return Examples(
        len(shop.products), len(shop.customers), isinstance(reader.model, Attentive),
        tuple(attention_views(reader, config.attention_customers, config.attention_events)), attention_of,
        context_view(shop), session_view(shop), shift_view(shop),
    )  # fmt: skip


def page(title: Mapping[str, str], compared: Comparison, examples: Examples | None, link: str = "") -> str:
    """The page. `title` has as_of, run_id, model_id and kind (the last two empty where no model was trained).

    `examples` is None where no model could be loaded. `link` is the relative address of the night's page, if any.
    """
    # Drawing is the one thing here that needs matplotlib.
    from jobs.report.model import plots as plots

    return environment().get_template("model_report.html").render(
        title=title, compared=compared, examples=examples, link=link, plots=plots
    )  # fmt: skip


@dataclass(frozen=True)
class Champion:
    """The model behind the night's lists, as far as it can be read."""

    model_id: str = ""
    """Empty where no model was trained."""
    kind: str = ""
    readable: bool = False
    """Whether its files are there and whole."""
    shop: Shop | None = None
    """The model with recent customers; None where it is not readable or nobody has a history."""


def champion_of(lake: Lake, run: Run, config: ModelReportConfig, recent: Recent | None = None) -> Champion:
    """Load the night's champion and the customers that examples are chosen among."""
    row = champion(lake, run) if lake.exists(MODELS) else None
    if row is None:
        return Champion()
    loaded = _load(lake, run, config)
    shop = _shop(lake, loaded, config, recent or _recent(lake, run, config)) if loaded else None
    return Champion(row["model_id"], row["kind"], loaded is not None, shop)


def written_of(
    lake: Lake, run: Run, config: ModelReportConfig, link: str = "", served: Champion | None = None,
    recent: Recent | None = None,
) -> str:  # fmt: skip
    """The page of a night; it tells what is there, so it can be made after any step, and writes nothing.

    `served` is the champion, and `recent` what is read of customers, where the caller has them already.
    """
    recent = recent or _recent(lake, run, config)
    served = served or champion_of(lake, run, config, recent)
    models = _newest_contest(lake, run.as_of)
    metadata = artefacts.read_manifest(lake.root / storage.MODELS / served.model_id).metadata if served.readable else {}
    compared = comparison_of(quality_of(lake, run.as_of, ""), models, metadata)
    title = {"as_of": f"{run.as_of}", "run_id": run.run_id, "model_id": clean(served.model_id),
             "kind": clean(served.kind)}  # fmt: skip
    if served.shop is None:
        return page(title, compared, None, link)
    reader, model_id = _attentive(lake, models, served.shop, config, recent)
    return page(title, compared, examples_of(served.shop, config, reader, clean(model_id)), link)


def _attentive(
    lake: Lake, models: Sequence[Mapping[str, Any]], served: Shop, config: ModelReportConfig, recent: Recent
) -> tuple[Shop | None, str]:
    """A candidate that tells what it attends to, and its model_id; (None, "") where the champion tells it itself."""
    if isinstance(served.model, Attentive):
        return None, ""
    for row in models:
        try:
            model = artefacts.read(lake.root / storage.MODELS / row["model_id"], Compute(config.device))[0]
        except artefacts.ArtefactError:
            continue
        if isinstance(model, Attentive):
            return _shop(lake, model, config, recent), row["model_id"]
    return None, ""


def _newest_contest(lake: Lake, as_of: date) -> list[dict[str, Any]]:
    rows = matching(lake, MODELS, MODELS.names, Wanted(where=pc.field("as_of") <= pa.scalar(as_of)))
    newest = max((row["as_of"] for row in rows), default=None)
    return [row for row in rows if row["as_of"] == newest]


def _load(lake: Lake, run: Run, config: ModelReportConfig) -> Recommender | None:
    """The champion, with the products that were not in its training, as the night's vectors have them."""
    try:
        model = load_champion(lake, run, Compute(config.device))[1]
    except UserError:
        return None  # a missing or damaged artefact is for the steps that need it to complain about
    return with_new_products(lake, run.as_of, model) if lake.exists(CATALOGUE) else model


def _shop(lake: Lake, model: Recommender, config: ModelReportConfig, recent: Recent) -> Shop | None:
    """The most recent customers with a long history, in id order; None where there is no history at all."""
    rows = recent.customers(config.fewest_events)
    rows = (rows if len(rows) else recent.customers(1)).slice(0, config.looked_at)
    if not len(rows):
        return None
    histories = to_histories(rows.sort_by("customer_id").combine_chunks(), model.vocabulary)
    catalogue = matching(lake, CATALOGUE, COLUMNS, of_night(recent.as_of))
    products, departments, on_sale = products_of(catalogue, model.vocabulary.ids.to_pylist())
    customers = tuple(clean(customer) for customer in histories.customers.to_pylist())
    return Shop(model, customers, histories.sequences, products, departments, on_sale)


def _recent(lake: Lake, run: Run, config: ModelReportConfig) -> Recent:
    return Recent(lake, run.as_of, config.looked_at)


def path_beside(report: Path) -> Path:
    """Where the page lies: beside the night's own."""
    return report.with_name("model.html")
