"""
### The recommendation night

Raw shop events up to midnight become the lists that services look up tomorrow:

1. **ingest**: the source's SELECTs over raw files become events, catalogue and availability; bad rows are
   kept in `rejected` with their reason.
2. **sequences**: each customer's most recent events.
3. **train**: once a week the candidate models compete on held-out days and the champion is refitted; on other
   nights this step finds a young champion and does nothing.
4. **embed**: every customer and product as a vector of the champion.
5. **index**: FAISS indexes for You Might Also Like and People Also Bought.
6. **lists**: top-N lists per market, staged under the night's date.
7. **gate**: counts, coverage, availability, recall, churn. It never retries: a night that fails here is bad, and
   what is live stays live. Look at the table `gates`; `python -m jobs gate --as-of DATE --accept GATE` lets one
   failure through on purpose.
8. **publish**: push to Feast's online store, then flip `published`.
9. **report**: the night's HTML page.
10. **clean**: nights that the policy no longer keeps go; tables are compacted and vacuumed.

Every task is one command, `python -m jobs STEP --as-of DATE`, with its settings in the environment
(`NIGHTRAIL_ROOT`, `NIGHTRAIL_SOURCE`, `NIGHTRAIL_RAW`, `NIGHTRAIL_ENGINE`, `SPARK_REMOTE`), so that a cluster can
run it in its own kind of operator. Every task can be cleared and run again: the same command writes the same tables.

The scheduled run of a day uses all events before 00:00 UTC of that day. A run triggered by hand needs the
parameter `as_of`. A task whose input is wrong (exit code 2) or whose gate fails (3) is not retried.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from jobs.tables import STEPS

REPOSITORY = Path(__file__).resolve().parent.parent
FINAL_EXIT_CODES = (2, 3)
"""A user's mistake and a failed gate: trying again cannot help."""


class StepOperator(BashOperator):
    """A command whose failure is retried unless its exit code says that trying again cannot help."""

    def execute(self, context: Any) -> Any:
        """Run the command; exit codes 2 and 3 fail the task for good."""
        try:
            return super().execute(context)
        except AirflowException as error:
            if any(str(error).endswith(f"exit code {code}.") for code in FINAL_EXIT_CODES):
                raise AirflowFailException(str(error)) from error
            raise


def step_task(step: str, **policy: Any) -> StepOperator:
    """`python -m jobs STEP` for the run's night."""
    return StepOperator(
        task_id=step,
        # The night comes in the environment: what a person types as `as_of` is never part of the command.
        bash_command=f'exec "{sys.executable}" -m jobs {step} --as-of "$NIGHTRAIL_AS_OF"',
        env={"NIGHTRAIL_AS_OF": "{{ params.as_of or ds }}"},
        append_env=True,
        **policy,
    )


with DAG(
    "nightly_recommendations",
    description="Raw events in, carousels out",
    doc_md=__doc__,
    schedule="0 2 * * *",
    start_date=datetime(2000, 1, 1),  # Airflow runs no task for a night before it, not even by hand
    catchup=False,
    max_active_runs=1,
    tags=["nightrail", "recommendations"],
    params={
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Night",
            description="All events before 00:00 UTC of this day. Needed for a run triggered by hand.",
        )
    },
    default_args={
        "owner": "recommendations",
        "cwd": str(REPOSITORY),
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=6),
    },
) as dag:
    ingest, sequences, train, embed, index, lists, gate, publish, report, clean = (
        step_task(step, retries=0) if step == "gate" else step_task(step) for step in STEPS
    )
    ingest >> sequences >> train >> embed >> index >> lists >> gate >> publish >> report >> clean
