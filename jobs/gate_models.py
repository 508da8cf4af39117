"""Gates of the models behind a night: one model everywhere, vectors that say something, better than popularity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

import pyarrow.compute as pc

from jobs.champions import champion
from jobs.coded import coded_batches
from jobs.errors import GateError, UserError
from jobs.evaluate import HEADLINE
from jobs.gate_check import Check
from jobs.gate_config import GateConfig
from jobs.gate_fresh import fresh_lead
from jobs.gate_vectors import Vectors, read_vectors
from jobs.index import read_index, read_manifest
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import (
    BAG_EXTRAS,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVALUATIONS,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
    Table,
)

Models = Mapping[str, set[str]]
"""What was made -> the model_ids behind it."""
ONE_MODEL = "one_model"
ROWS = 131_072
BY_CHAMPION = (CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS, RECOMMENDED_FOR_YOU, YOU_MIGHT_ALSO_LIKE)
"""Tables that one champion must stand behind, beside the index of the last."""


def model_checks(lake: Lake, run: Run, config: GateConfig, lists: Mapping[Table, set[str]]) -> Iterator[Check]:
    """Every check of the night's models; `lists` has the models behind each table of lists."""
    manifests = {table: read_index(lake, run, table).manifest for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT)}
    for table, manifest in manifests.items():
        yield Check(
            f"{table.name}_recall", manifest["recall"], least=config.min_index_recall, detail="against exact search"
        )
    products = read_vectors(lake, PRODUCT_EMBEDDINGS, run.as_of)
    customers = read_vectors(lake, CUSTOMER_EMBEDDINGS, run.as_of, products.width)
    best = champion(lake, run)
    assert best is not None, "the lists were made with a champion"
    behind = {
        "champion": {best["model_id"]},
        CUSTOMER_EMBEDDINGS.name: customers.models,
        PRODUCT_EMBEDDINGS.name: products.models,
        f"index of {YOU_MIGHT_ALSO_LIKE.name}": {manifests[YOU_MIGHT_ALSO_LIKE]["model_id"]},
        RECOMMENDED_FOR_YOU.name: lists[RECOMMENDED_FOR_YOU],
        YOU_MIGHT_ALSO_LIKE.name: lists[YOU_MIGHT_ALSO_LIKE],
    }
    yield Check(ONE_MODEL, len(set().union(*behind.values())), most=1, detail=_named(behind))
    bought = {
        f"index of {PEOPLE_ALSO_BOUGHT.name}": {manifests[PEOPLE_ALSO_BOUGHT]["model_id"]},
        PEOPLE_ALSO_BOUGHT.name: lists[PEOPLE_ALSO_BOUGHT],
        BAG_EXTRAS.name: lists[BAG_EXTRAS],
    }
    yield Check("one_co_purchase_model", len(set().union(*bought.values())), most=1, detail=_named(bought))
    yield from _vector_checks(PRODUCT_EMBEDDINGS, products, config)
    yield from _vector_checks(CUSTOMER_EMBEDDINGS, customers, config)
    known = lake.count(CUSTOMER_SEQUENCES, run.as_of)
    yield Check(f"{CUSTOMER_EMBEDDINGS.name}_coverage", customers.rows / max(known, 1), least=1.0, most=1.0,
                detail=f"{customers.rows:,} vectors of {known:,} customers")  # fmt: skip
    yield from _quality(lake, run, config, best, products)


def require_one_model(lake: Lake, as_of: date) -> None:
    """Raise GateError unless the night's vectors, lists and indexes come from one model, whoever made them since."""
    behind = {table.name: distinct(lake, table, "model_id", as_of) for table in BY_CHAMPION}
    try:
        manifest = read_manifest(lake, as_of, YOU_MIGHT_ALSO_LIKE)
    except UserError as error:
        raise GateError(f"the night {as_of} cannot be published: {error}") from None
    behind[f"index of {YOU_MIGHT_ALSO_LIKE.name}"] = {manifest["model_id"]}
    if len(set().union(*behind.values())) > 1:
        raise GateError(
            f"the night {as_of} cannot be published, it mixes models: {_named(behind)}; run its steps from "
            f"`python -m jobs embed --as-of {as_of}` on again"
        )


def distinct(lake: Lake, table: Table, column: str, as_of: date) -> set[str]:
    """The values of a column on a night, streamed."""
    lake.create(table)
    found: set[str] = set()
    of_products = table.has_ends  # millions of rows, whose keys are told apart as codes
    for batch in (coded_batches(lake, table, (column,), as_of, ROWS) if of_products
                  else lake.batches(table, (column,), as_of)):  # fmt: skip
        found |= set(pc.unique(batch[column]).to_pylist())
    return found


def _named(behind: Models) -> str:
    """Who stands behind what: one name where all agree."""
    names = set().union(*behind.values())
    if len(names) == 1:
        return f"{names.pop()} behind all of it"
    return "; ".join(f"{what}: {', '.join(sorted(map(str, ids))) or 'nobody'}" for what, ids in behind.items())


def _vector_checks(table: Table, found: Vectors, config: GateConfig) -> Iterator[Check]:
    name = table.name
    yield Check(f"{name}_finite", found.broken, most=0, detail="vectors with NaN, infinity or another width")
    yield Check(f"{name}_empty", found.empty / max(found.rows, 1), most=config.max_empty_vectors,
                detail=f"share of the {found.rows:,} vectors that are all zeros")  # fmt: skip
    yield Check(f"{name}_spread", found.spread, least=config.min_spread,
                detail=f"effective directions of {found.told:,} vectors; 1 when all are one point")  # fmt: skip
    yield Check(f"{name}_norm", found.longest_over_mean, most=config.max_norm,
                detail="length of the longest vector as a multiple of the mean one's")  # fmt: skip


def _quality(lake: Lake, run: Run, config: GateConfig, best: dict[str, object], products: Vectors) -> Iterator[Check]:
    trained = best["as_of"]
    assert isinstance(trained, date)
    rows = lake.arrow(EVALUATIONS, ("model_id", "metric", "slice", "value"), trained).to_pylist()
    popular = [r["value"] for r in rows if (r["model_id"], r["metric"], r["slice"]) == ("popularity", HEADLINE, "all")]
    if popular:
        ndcg = float(str(best["ndcg"]))
        detail = f"held-out {HEADLINE} of {best['model_id']} of {trained}; the limit is popularity's"
        yield Check("champion_quality", ndcg, least=popular[0], detail=detail)
    fresh = None if products.broken else fresh_lead(lake, run, config)
    if fresh:
        lead, compared = fresh
        detail = (
            f"upper end of the 95 % interval of {HEADLINE} of {best['model_id']} minus popularity's on the newest "
            f"events, {lead}, {compared:,} customers"
        )
        yield Check("champion_fresh", lead.high, least=0.0, detail=detail)
