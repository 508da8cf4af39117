"""Writes the page about the night's model: its comparison, learning, attention, and customers in context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import PositiveInt

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.forgotten import own_salt
from jobs.lake.lake import Lake
from jobs.lake.reading import StoredRow, Wanted, matching, of_night, scan
from jobs.model_inputs import to_histories, with_new_products
from jobs.report.examples import read_products
from jobs.report.figures import quality_of
from jobs.report.model.attention import AttentionView, Attentive, attention_views
from jobs.report.model.contexts import ContextView, context_view
from jobs.report.model.quality import Comparison, comparison_of
from jobs.report.model.sample import ModelSample
from jobs.report.pages import environment
from jobs.report.recent import Recent
from jobs.run import Run
from jobs.settings import StepSettings
from jobs.tables.records import MODELS
from jobs.tables.shop import CATALOGUE
from jobs.text import clean
from jobs.train.champions import champion
from jobs.train.step import load_champion
from models.contract import Compute, Recommender
from models.networks import artefacts


@dataclass(frozen=True)
class ModelReportConfig(StepSettings):
    """How much the page shows, and the device that computes it."""

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
class Examples:
    """The model's attention and alternatives for chosen customers."""

    products: int
    customers: int
    attentive: bool
    """Whether the model reports attention."""
    attention: tuple[AttentionView, ...]
    attention_of: str
    """The candidate whose attention is shown, if the champion has none; empty for the champion itself."""
    contexts: ContextView | None


def examples_of(
    sample: ModelSample, config: ModelReportConfig, attentive: ModelSample | None = None, attention_of: str = ""
) -> Examples:
    """Examples of a model; those that no customer allows are None or empty. `attentive` is the model with attention."""
    reader = attentive or sample
    return Examples(
        len(sample.products),
        len(sample.customers),
        isinstance(reader.model, Attentive),
        tuple(attention_views(reader, config.attention_customers, config.attention_events)),
        attention_of,
        context_view(sample),
    )


def page(title: Mapping[str, str], compared: Comparison, examples: Examples | None) -> str:
    """The page. `title` has as_of, run_id, model_id and kind (the last two empty where no model was trained).

    `examples` is None where no model could be loaded.
    """
    template = environment().get_template("model_report.html")
    return template.render(title=title, compared=compared, examples=examples)


@dataclass(frozen=True)
class Champion:
    """The model of the night's lists, as far as it can be read."""

    model_id: str = ""
    """Empty where no model was trained."""
    kind: str = ""
    readable: bool = False
    """Whether its files are complete."""
    sample: ModelSample | None = None
    """The model with recent customers; None where it is not readable or nobody has a history."""


def champion_of(lake: Lake, run: Run, config: ModelReportConfig, recent: Recent) -> Champion:
    """Load the night's champion and the customers that examples are chosen among."""
    row = champion(lake, run) if lake.exists(MODELS) else None
    if row is None:
        return Champion()
    try:
        model = load_champion(lake, run, Compute(config.device))[1]
    except UserError:  # the steps that need the artefact say that it is missing or damaged
        return Champion(row["model_id"], row["kind"])
    # With the products that were not in its training, as the night's vectors have them.
    model = with_new_products(lake, run.as_of, model) if lake.exists(CATALOGUE) else model
    return Champion(row["model_id"], row["kind"], True, _sample(lake, model, config, recent))


def written_of(
    lake: Lake,
    run: Run,
    config: ModelReportConfig,
    served: Champion | None = None,
    recent: Recent | None = None,
) -> str:
    """The page of a night as HTML; it shows what is there, so it can be written after any step.

    `served` is the champion, and `recent` what is read of customers, where the caller has them already.
    """
    recent = recent or Recent(lake, run.as_of, config.looked_at)
    served = served or champion_of(lake, run, config, recent)
    metadata = artefacts.read_manifest(lake.root / storage.MODELS / served.model_id).metadata if served.readable else {}
    compared = read_comparison(lake, run.as_of, served.model_id, metadata)
    title = {"as_of": f"{run.as_of}", "run_id": run.run_id, "model_id": clean(served.model_id)}
    title["kind"] = clean(served.kind)
    if served.sample is None:
        return page(title, compared, None)
    reader, model_id = _attentive(lake, run.as_of, served.sample, config, recent)
    shown = _with_pseudonyms(lake, served.sample), _with_pseudonyms(lake, reader) if reader else None
    return page(title, compared, examples_of(shown[0], config, shown[1], clean(model_id)))


def read_comparison(
    lake: Lake, as_of: date, model_id: str = "", metadata: Mapping[str, object] = MappingProxyType({})
) -> Comparison:
    """The newest comparison up to `as_of`, where `model_id` serves and `metadata` is of its manifest."""
    model_id = clean(model_id)
    quality = quality_of(lake, as_of, model_id)
    rows = _registered(lake, as_of)
    served = next((row for row in rows if clean(row["model_id"]) == model_id), {})
    kind, reason = (clean(served.get(name)) for name in ("kind", "reason"))
    measured = {figure.scorer for figure in quality}  # runs of the same night with other settings are not
    models = [row for row in rows if clean(row["model_id"]) in measured]
    return comparison_of(quality, models, metadata, model_id, kind, reason)


def _registered(lake: Lake, as_of: date) -> list[StoredRow]:
    """The models of all comparisons up to a night."""
    return matching(lake, MODELS, MODELS.names, Wanted(where=pc.field("as_of") <= pa.scalar(as_of)))


def _attentive(
    lake: Lake, as_of: date, served: ModelSample, config: ModelReportConfig, recent: Recent
) -> tuple[ModelSample | None, str]:
    """A candidate with attention, and its model_id; (None, "") if the champion has attention or no candidate has."""
    if isinstance(served.model, Attentive):
        return None, ""
    rows = _registered(lake, as_of)
    newest = max((row["as_of"] for row in rows), default=None)
    for row in (row for row in rows if row["as_of"] == newest):
        try:
            model = artefacts.read(lake.root / storage.MODELS / row["model_id"], Compute(config.device))[0]
        except artefacts.ArtefactError:
            continue
        if isinstance(model, Attentive):
            return _sample(lake, model, config, recent), row["model_id"]
    return None, ""


def _sample(lake: Lake, model: Recommender, config: ModelReportConfig, recent: Recent) -> ModelSample | None:
    """The most recent customers with a long history, in id order; None where there is no history at all."""
    rows = recent.customers(config.fewest_events)
    rows = (rows if len(rows) else recent.customers(1)).slice(0, config.looked_at)
    if not len(rows):
        return None
    histories = to_histories(rows.sort_by("customer_id").combine_chunks(), model.vocabulary)
    ids = model.vocabulary.ids.to_pylist()
    products = read_products(lake, recent.as_of, ids)
    sold = {p for batch in scan(lake, CATALOGUE, ("product_id",), of_night(recent.as_of)) for p in batch[0].to_pylist()}
    on_sale = np.array([product in sold for product in ids], dtype=bool)
    customers = tuple(histories.customers.to_pylist())
    return ModelSample(model, customers, histories.sequences, tuple(products[each] for each in ids), on_sale)


def _with_pseudonyms(lake: Lake, sample: ModelSample) -> ModelSample:
    return replace(sample, customers=tuple(map(own_salt(lake).pseudonym, sample.customers)))
