"""Gates: what stands between staged lists and services. A failed gate changes nothing that anybody reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.errors import GateError, UserError
from jobs.evaluate import HEADLINE
from jobs.index import read_index
from jobs.lake import Lake
from jobs.policy import read_policy
from jobs.run import Counts, Run
from jobs.shelf import read_availability
from jobs.tables import (
    AVAILABILITY,
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVALUATIONS,
    EVENTS,
    GATES,
    LISTS,
    MARKET_RANKING,
    PRODUCT_EMBEDDINGS,
    PUBLISHED,
    RECOMMENDED_FOR_YOU,
    Table,
)
from jobs.touch_points import CAROUSELS
from jobs.train import champion

CHECKED = (*LISTS, MARKET_RANKING)


@dataclass(frozen=True)
class GateConfig:
    """The limits; `--accept GATE` lets one failed gate pass on purpose, which is recorded."""

    min_coverage: float = 1.0
    """Least share of live products per market, and of known customers, that have a row."""
    min_full: float = 0.9
    """Least share of lists that are as long as asked for; what a page holds, and what is cheap beside a bag, varies."""
    min_rows_of_last_night: float = 0.5
    """Least rows as a share of those of the night that is live."""
    min_index_recall: float = 0.95
    """Least recall of the indexes against exact search."""
    max_churn: float = 0.9
    """Most of the positions of the live night's lists that may be gone, as a mean share."""
    accepted: list[str] = field(default_factory=list)
    """Gates that may fail tonight."""


@dataclass(frozen=True)
class Check:
    """One gate's figure beside its limit; `passed` follows from them."""

    gate: str
    value: float
    least: float | None = None
    most: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the limit; NaN keeps none."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def rule(self) -> str:
        """The limit in words."""
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"


def execute(lake: Lake, run: Run, config: GateConfig) -> Counts:
    """Check the staged night, record every figure, and raise GateError when one fails."""
    live = live_night(lake)
    checks = [*_model_checks(lake, run, config)]
    expected = _expected_rows(lake, run)
    for place, table in enumerate(CHECKED):
        run.progress("tables checked", place, len(CHECKED))
        checks += _list_checks(lake, run, config, table, expected[table])
        if live and live != run.as_of:
            checks += _change_checks(lake, run, config, table, live)
    unknown = set(config.accepted) - {check.gate for check in checks}
    if unknown:
        raise UserError(f"--accept {sorted(unknown)}: no such gate; there are {', '.join(c.gate for c in checks)}")
    rows = [
        {"gate": c.gate, "value": c.value, "rule": c.rule, "passed": c.passed or c.gate in config.accepted,
         "detail": c.detail if c.passed or c.gate not in config.accepted else f"accepted on purpose; {c.detail}"}
        for c in checks
    ]  # fmt: skip
    lake.replace_rows(GATES, rows, run)
    failed = [c for c in checks if not c.passed and c.gate not in config.accepted]
    if failed:
        figures = "; ".join(f"{c.gate} is {c.value:g}, must be {c.rule} ({c.detail})" for c in failed)
        raise GateError(
            f"the night {run.as_of} is not published: {figures}. What was live stays live. Look at the table gates; to "
            f"publish all the same: {' '.join(f'--accept {c.gate}' for c in failed)}"
        )
    return Counts(len(checks), len(checks), note=f"{len(checks)} gates passed")


def require_passed(lake: Lake, as_of: date) -> None:
    """Raise GateError unless the night went through its gates."""
    rows = lake.arrow(GATES, ("gate", "passed", "run_id"), as_of).to_pylist()
    if not rows:
        raise GateError(f"the night {as_of} never went through its gates; run `python -m jobs gate --as-of {as_of}`")
    staged = set(lake.arrow(RECOMMENDED_FOR_YOU, ("run_id",), as_of)["run_id"].to_pylist())
    if staged != {row["run_id"] for row in rows}:
        raise GateError(
            f"the night {as_of} was staged again by {', '.join(sorted(staged)) or 'nobody'} after its gates; run "
            f"`python -m jobs gate --as-of {as_of}` again"
        )
    failed = [row["gate"] for row in rows if not row["passed"]]
    if failed:
        raise GateError(f"the night {as_of} failed its gates ({', '.join(failed)}) and cannot be published")


def live_night(lake: Lake) -> date | None:
    """The night that is live, if any."""
    rows = lake.arrow(PUBLISHED, ("as_of",)).to_pylist()
    return rows[0]["as_of"] if rows else None


def _list_checks(lake: Lake, run: Run, config: GateConfig, table: Table, expected: int) -> Iterator[Check]:
    lists = lake.frame(table, run.as_of)
    owner = table.key[0]
    size = F.size("product_ids")
    self_shown = F.array_contains("product_ids", F.col(owner)) if owner == "product_id" else F.lit(False)
    figures = lists.agg(
        F.count("*").alias("rows"),
        _share(F.col("short_reason").isNull()).alias("full"),
        _share((size > 0) | F.col("short_reason").isNotNull()).alias("explained"),
        F.sum((F.size(F.array_distinct("product_ids")) < size).cast("int")).alias("repeats"),
        F.sum(self_shown.cast("int")).alias("selves"),
    ).toArrow().to_pylist()[0]  # fmt: skip
    name, rows = table.name, figures["rows"]
    expected *= max(lists.select("variant").distinct().count(), 1) if "variant" in table.key else 1
    yield Check(
        f"{name}_coverage", rows / max(expected, 1), least=config.min_coverage, detail=f"{rows:,} of {expected:,}"
    )
    if not rows:
        return
    if table not in (BAG_EXTRAS, MARKET_RANKING):
        yield Check(f"{name}_full", figures["full"], least=config.min_full, detail="lists without a short_reason")
    yield Check(f"{name}_explained", figures["explained"], least=1.0, detail="empty lists need a short_reason")
    yield Check(f"{name}_repeats", figures["repeats"], most=0, detail="lists with a product twice")
    if owner == "product_id":
        yield Check(f"{name}_selves", figures["selves"], most=0, detail="lists that show the product itself")
    shown = lists.select(F.col(owner).alias("owner"), "market", F.explode("product_ids").alias("shown"))
    yield Check(
        f"{name}_unavailable", _unavailable(lake, run, shown), most=0, detail="places not for sale in the market"
    )
    if table is RECOMMENDED_FOR_YOU:
        yield Check(f"{name}_bought", _bought(lake, run, shown), most=0, detail="places the customer bought before")


def _share(condition: Column) -> Column:
    return F.avg(condition.cast("double"))


def _expected_rows(lake: Lake, run: Run) -> dict[Table, int]:
    """Rows that each table must have for one variant."""
    _, markets, available = read_availability(lake, run)
    categories = lake.frame(CATALOGUE, run.as_of).where("category IS NOT NULL").select("category").distinct()
    return dict.fromkeys(LISTS, int(available.sum())) | {
        RECOMMENDED_FOR_YOU: lake.frame(CUSTOMER_SEQUENCES, run.as_of).count(),
        MARKET_RANKING: len(markets) * (categories.count() + 1),
    }


def _unavailable(lake: Lake, run: Run, shown: DataFrame) -> int:
    sold = lake.frame(AVAILABILITY, run.as_of).where("available")
    sold = sold.select(F.col("product_id").alias("sold_id"), F.col("market").alias("sold_in"))
    return shown.join(
        sold, (shown["shown"] == sold["sold_id"]) & (shown["market"] == sold["sold_in"]), "left_anti"
    ).count()


def _bought(lake: Lake, run: Run, shown: DataFrame) -> int:
    before = F.col("event_ts") < F.lit(run.midnight.isoformat()).cast("timestamp")
    bought = lake.frame(EVENTS).where((F.col("event_type") == "purchase") & before)
    bought = bought.select(F.col("customer_id").alias("buyer"), F.col("product_id").alias("bought"))
    again = [rule.value for rule in read_policy(lake, run.as_of).rules if rule.kind == "repeat_purchase"]
    if again:
        # Which of them may return, and after how many days, depends on the market and variant.
        bound = lake.frame(CATALOGUE, run.as_of).where(~F.coalesce(F.col("category").isin(again), F.lit(False)))
        bought = bought.join(bound.select("product_id"), F.col("bought") == F.col("product_id"), "left_semi")
    same = (shown["owner"] == bought["buyer"]) & (shown["shown"] == bought["bought"])
    return shown.join(bought, same, "left_semi").count()


def _change_checks(lake: Lake, run: Run, config: GateConfig, table: Table, live: date) -> Iterator[Check]:
    now, then = lake.frame(table, run.as_of), lake.frame(table, live)
    before = then.select(*[F.col(k).alias(f"old_{k}") for k in table.key], F.col("product_ids").alias("old_ids"))
    rows = now.count() / max(before.count(), 1)
    yield Check(f"{table.name}_rows", rows, least=config.min_rows_of_last_night, detail=f"rows as a share of {live}'s")
    same = [now[key] == before[f"old_{key}"] for key in table.key]
    gone = F.size(F.array_except("old_ids", "product_ids")) / F.greatest(F.size("old_ids"), F.lit(1))
    churn = now.join(before, same, "inner").agg(F.avg(gone).alias("churn")).toArrow().to_pylist()[0]["churn"]
    if churn is not None:
        yield Check(f"{table.name}_churn", churn, most=config.max_churn, detail=f"of {live}'s positions are gone")


def _model_checks(lake: Lake, run: Run, config: GateConfig) -> Iterator[Check]:
    for table in dict.fromkeys(point.index for point in CAROUSELS if point.index):
        recall = read_index(lake, run, table).manifest["recall"]
        yield Check(f"{table.name}_recall", recall, least=config.min_index_recall, detail="against exact search")
    ids = set()
    for table in (CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS, RECOMMENDED_FOR_YOU):
        ids |= set(pc.unique(lake.arrow(table, ("model_id",), run.as_of)["model_id"]).to_pylist())
    yield Check("one_model", len(ids), most=1, detail=f"models behind the night: {', '.join(sorted(ids))}")
    best = champion(lake, run)
    assert best is not None, "the lists were made with a champion"
    rows = lake.arrow(EVALUATIONS, ("model_id", "metric", "slice", "value"), best["as_of"]).to_pylist()
    popular = [r["value"] for r in rows if (r["model_id"], r["metric"], r["slice"]) == ("popularity", HEADLINE, "all")]
    if popular:
        yield Check(
            "champion_quality", best["ndcg"], least=popular[0], detail=f"{HEADLINE} of {best['model_id']}, popularity's"
        )
