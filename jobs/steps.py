"""Lists the ten steps of a night in the order in which they run.

The command line, the DAG, the ledger, the gates, the pages and the documentation read this table. Importing it loads
the standard library alone; a step's own code is imported when the step runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.config import NightConfig
    from jobs.lake.lake import Lake
    from jobs.run import Counts, Run

SPARK_POOL, GPU_POOL = "nightrail_spark", "nightrail_gpu"
"""Airflow pools that limit how many such steps run at once, whatever DAG they belong to."""


@dataclass(frozen=True)
class Step:
    """One step of the night."""

    name: str
    """The command, the task, the field of NightConfig and the `step` of its row in `runs`."""
    execute: Callable[[Lake, Run, NightConfig], Counts]
    text: str
    """What the step does, in one sentence: the help of its command and the documentation."""
    pool: str | None = None
    """The Airflow pool it runs in where pools are switched on; the default pool without one."""


def _ingest(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.ingest.step import execute

    return execute(lake, run, config.ingest)


def _sequences(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.sequences.step import execute

    return execute(lake, run, config.sequences)


def _train(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.train.step import execute

    return execute(lake, run, config.train)


def _embed(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.embed import execute

    return execute(lake, run, config.embed)


def _index(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.index import execute

    return execute(lake, run, config.index)


def _lists(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.lists.step import execute

    return execute(lake, run, config.lists)


def _gate(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.gate.step import execute

    return execute(lake, run, config.gate)


def _publish(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.publish.step import execute

    return execute(lake, run, config.publish)


def _report(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.report.step import execute

    return execute(lake, run, config.report)


def _clean(lake: Lake, run: Run, config: NightConfig) -> Counts:
    from jobs.clean.step import execute

    return execute(lake, run, config.clean)


NIGHT = (
    Step(
        "ingest",
        _ingest,
        "Raw files to events, catalogue, availability and rejected; exit code 3 where the input looks wrong.",
        SPARK_POOL,
    ),
    Step("sequences", _sequences, "Each customer's recent events.", SPARK_POOL),
    Step("train", _train, "Compare the candidates and refit the champion, if that is due.", GPU_POOL),
    Step("embed", _embed, "Customers and products to vectors.", GPU_POOL),
    Step("index", _index, "FAISS indexes for both carousels.", SPARK_POOL),
    Step("lists", _lists, "Stage the top-N lists.", GPU_POOL),
    Step("gate", _gate, "Check the staged night; exit code 3 keeps last night live.", SPARK_POOL),
    Step("publish", _publish, "Push the checked night online and flip `published`."),
    Step("report", _report, "Write the night's HTML pages."),
    Step("clean", _clean, "Remove old nights by policy; compact and vacuum the tables."),
)
"""The night: its steps, each of which needs those before it."""

STEPS = tuple(step.name for step in NIGHT)
"""The names of the steps in their order."""
STAGING = STEPS[: STEPS.index("gate")]
"""The steps that stage a night: what the gates check."""


def step_named(name: str) -> Step:
    """The step of that name; raises KeyError for any other name."""
    return {step.name: step for step in NIGHT}[name]
