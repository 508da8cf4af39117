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
7. **gate**: counts, coverage, availability, recall, churn. A night that fails here is bad: it is not tried again, and
   what is live stays live. Look at the table `gates`; `python -m jobs gate --as-of DATE --accept GATE` lets one
   failure through on purpose.
8. **publish**: push to Feast's online store, then flip `published`.
9. **report**: the night's HTML page.
10. **clean**: nights that the policy no longer keeps go; tables are compacted and vacuumed.

Every task is one command, `python -m jobs STEP --as-of DATE`, with its settings in the environment
(`NIGHTRAIL_ROOT`, `NIGHTRAIL_SOURCE`, `NIGHTRAIL_RAW`, `NIGHTRAIL_ENGINE`, `SPARK_REMOTE`), so that a cluster can
run it in its own kind of operator. Every task can be cleared and run again: the same command writes the same tables.

The scheduled run of a day uses all events before 00:00 UTC of that day. A run triggered by hand needs the
parameter `as_of`.

A task that fails is tried again, but not where that cannot help: `InputWrong` (exit code 2) says what is wrong with
what the night was given, `GateFailed` (3) which gate stopped it, with figure and limit. `LakeBusy` (4) waits for
another process to let the lake go. The XCom `return_value` of a task is what it did, `stopped` why it did not.

What Airflow's own processes read from their environment when they read this file:

- `NIGHTRAIL_SCHEDULE`: a cron expression (`0 2 * * *` where it is not set), or `none` for nights by hand only;
- `NIGHTRAIL_RETRY_SECONDS`: the pause before the first retry (60); the next one is longer;
- `NIGHTRAIL_POOLS=1`: Spark's steps run in the pool `nightrail_spark`, and training, encoding and lists in
  `nightrail_gpu`; both pools must be there. Where it is not set, everything runs in `default_pool`;
- `NIGHTRAIL_GPU_POD`: under the KubernetesExecutor, the pod template file of training, encoding and lists;
- `NIGHTRAIL_ALERT_COMMAND`: a shell command that gets one line on its standard input when a step fails for good.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from jobs.steps import GPU_POOL, NIGHT, Step

REPOSITORY = Path(__file__).resolve().parent.parent
ALERT_SECONDS = 60.0
"""What an alert command may take."""


class InputWrong(AirflowFailException):
    """Something the night was given is wrong; trying again cannot help."""


class GateFailed(AirflowFailException):
    """The night is not good enough to be published; what was live stays live."""


class LakeBusy(AirflowException):
    """Another process writes the lake; tried again later."""


class StepFailed(AirflowException):
    """A fault of another kind, or a killed process; tried again."""


STOPPED: dict[int, type[AirflowException]] = {2: InputWrong, 3: GateFailed, 4: LakeBusy}
"""Exit code of `python -m jobs` -> what that means."""


class StepOperator(BashOperator):
    """A command whose last line is what it did, or why it failed."""

    def execute(self, context: Any) -> Any:
        """Run the command and return its last line; raises one of the exceptions above with that line."""
        result = self.subprocess_hook.run_command(
            ["bash", "-c", self.bash_command], self.get_env(context), self.output_encoding, self.cwd
        )
        if result.exit_code == 0:
            return result.output
        why = f"{result.output.removeprefix('error: ')} (exit code {result.exit_code})"
        if task := context.get("ti"):
            task.xcom_push("stopped", why)
        raise STOPPED.get(result.exit_code, StepFailed)(why)


def alert(context: Any) -> None:
    """Say in one line which step of which night failed for good, and tell it to NIGHTRAIL_ALERT_COMMAND."""
    task, error, run = context["ti"], context.get("exception"), context["dag_run"]
    night = (run.conf or {}).get("as_of") or (run.logical_date and run.logical_date.date()) or run.run_id
    why = " ".join(f"{type(error).__name__}: {error}".split()) if error else "its process was killed"
    line = f"nightrail: alert: the night {night} stopped at {task.task_id}: {why}"
    print(line, flush=True)
    if command := os.environ.get("NIGHTRAIL_ALERT_COMMAND"):
        try:
            subprocess.run(["bash", "-c", command], input=line + "\n", text=True, check=True, timeout=ALERT_SECONDS)
        except (OSError, subprocess.SubprocessError) as failure:
            print(f"nightrail: the alert was not sent: {failure}", flush=True)


def step_task(step: Step) -> StepOperator:
    """`python -m jobs STEP` for the run's night."""
    pool = step.pool if os.environ.get("NIGHTRAIL_POOLS") == "1" else None
    pod = os.environ.get("NIGHTRAIL_GPU_POD") if step.pool == GPU_POOL else None
    return StepOperator(
        task_id=step.name,
        # The night comes in the environment: what a person types as `as_of` is never part of the command.
        bash_command=f'exec "{sys.executable}" -m jobs {step.name} --as-of "$NIGHTRAIL_AS_OF"',
        env={"NIGHTRAIL_AS_OF": "{{ params.as_of or ds }}"},
        append_env=True,
        **({"pool": pool} if pool else {}),
        **({"executor_config": {"pod_template_file": pod}} if pod else {}),
    )


def schedule() -> str | None:
    """When nights run by themselves."""
    given = os.environ.get("NIGHTRAIL_SCHEDULE", "0 2 * * *")
    return None if given == "none" else given


with DAG(
    "nightly_recommendations",
    description="Raw events in, carousels out",
    doc_md=__doc__,
    schedule=schedule(),
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
        "retry_delay": timedelta(seconds=float(os.environ.get("NIGHTRAIL_RETRY_SECONDS", "60"))),
        "retry_exponential_backoff": True,
        "execution_timeout": timedelta(hours=6),
        "on_failure_callback": alert,
    },
) as dag:
    chain(*(step_task(step) for step in NIGHT))
