"""Lists the eleven steps of a night in the order in which they run.

The command line, the DAG, the ledger, the gates, the pages and the documentation read this table; it is inert.
`jobs.nights.execute` calls the function of each step.
"""

from __future__ import annotations

from dataclasses import dataclass

SPARK_POOL, GPU_POOL = "nightrail_spark", "nightrail_gpu"
"""Airflow pools that limit how many such steps run at once, whatever DAG they belong to."""


@dataclass(frozen=True)
class Step:
    """One step of the night."""

    name: str
    """The command, the task, the field of NightConfig and the `step` of its row in `runs`."""
    text: str
    """What the step does, in one sentence: the help of its command and the documentation."""
    pool: str | None = None
    """The Airflow pool it runs in where pools are switched on; the default pool without one."""


NIGHT = (
    Step(
        "ingest",
        "Raw files to events, catalogue, availability and rejected; exit code 3 where the input looks wrong.",
        SPARK_POOL,
    ),
    Step("sequences", "Each customer's recent events.", SPARK_POOL),
    Step("train", "Compare the candidates and refit the champion, if that is due.", GPU_POOL),
    Step("embed", "Customers and products to vectors.", GPU_POOL),
    Step("index", "FAISS indexes for both carousels.", SPARK_POOL),
    Step("lists", "Stage the top-N lists.", GPU_POOL),
    Step("audiences", "What each customer turns to, and whom to write to about what.", SPARK_POOL),
    Step("gate", "Check the staged night; exit code 3 keeps last night live.", SPARK_POOL),
    Step("publish", "Push the checked night online and flip `published`."),
    Step("report", "Write the night's HTML pages."),
    Step("clean", "Remove old nights by policy; compact and vacuum the tables."),
)
"""The night: its steps, each of which needs those before it."""

STEPS = tuple(step.name for step in NIGHT)
"""The names of the steps in their order."""
STAGING = STEPS[: STEPS.index("gate")]
"""The steps that stage a night: what the gates check."""
