"""Defines the DAG of the night: one task for each step, each the command `python -m jobs STEP --as-of DATE`.

Raw shop events up to midnight become the lists that services look up tomorrow. The scheduled run of a day uses all
events before 00:00 UTC of that day; a run triggered by hand needs the parameter `as_of`. Every task can be cleared and
run again: the same command writes the same tables. Its settings are environment variables (`NIGHTRAIL_ROOT`,
`NIGHTRAIL_SOURCE`, `NIGHTRAIL_RAW`, `NIGHTRAIL_ENGINE`, `NIGHTRAIL_CONFIG`, `NIGHTRAIL_SET`, `SPARK_REMOTE`), so that a
cluster can run it with an operator of its own. The parameter `settings` changes some for one run, on top of
`NIGHTRAIL_SET`: `train.holdout_days=3 lists.top_n=12`.

A failed task is retried where that can help. `InputWrong` (exit code 2) names a mistake in the night's input or
settings and `GateFailed` (3) the gate that stopped the night, with figure and limit; both fail at once, and the live
night stays live. See the table `gates`; `python -m jobs gate --as-of DATE --accept GATE` lets one failed gate pass.
`LakeBusy` (4) waits for another process that writes to the lake. What is away (6: Redis, object storage, a raw file,
room on a disk) is looked for every five minutes, without holding a worker, for `NIGHTRAIL_WAIT` minutes (default 120);
then the task is retried as any other (`Away`). `LakeDamaged` (7) names a broken file, and fails at once. The
XCom `return_value` of a task is the last line of
its command, with its figures; `stopped` is the reason of a failure.

Airflow's own processes read these variables when they parse this file:

- `NIGHTRAIL_SCHEDULE`: a cron expression (default `0 2 * * *`), or `none` for nights by hand only;
- `NIGHTRAIL_RETRY_SECONDS`: the pause before the first retry (default 60); the next one is longer;
- `NIGHTRAIL_POOLS=1`: steps on Spark run in the pool `nightrail_spark`, training, encoding and lists in
  `nightrail_gpu`; both pools must exist. By default everything runs in `default_pool`;
- `NIGHTRAIL_GPU_POD`: under the KubernetesExecutor, the pod template file of training, encoding and lists;
- `NIGHTRAIL_ALERT_COMMAND`: a shell command that gets one line on its standard input when a step fails for good.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRescheduleException

from jobs.steps import GPU_POOL, NIGHT, Step

REPOSITORY = Path(__file__).resolve().parent.parent
ALERT_SECONDS = 60.0
"""Time limit of an alert command."""
AWAY = 6
"""Exit code of a command that misses what may come by itself."""
LOOK_AGAIN = timedelta(minutes=5)
"""Pause between two looks for what is away; the task holds no worker meanwhile."""


class InputWrong(AirflowFailException):
    """The night's input or settings are wrong; a retry cannot help."""


class GateFailed(AirflowFailException):
    """A gate stopped the night; the live night stays live."""


class LakeDamaged(AirflowFailException):
    """A file of the lake or the online store is broken; a person has to put that right."""


class Away(AirflowException):
    """A service, a raw file or room on a disk is still missing after NIGHTRAIL_WAIT; retried."""


class LakeBusy(AirflowException):
    """Another process writes to the lake; retried later."""


class StepFailed(AirflowException):
    """Any other failure, or a killed process; retried."""


STOPPED: dict[int, type[AirflowException]] = {2: InputWrong, 3: GateFailed, 4: LakeBusy, 6: Away, 7: LakeDamaged}
"""Exit code of `python -m jobs` -> exception of the task."""


class StepOperator(BashOperator):
    """Runs a command whose last line says what it did, or why it failed."""

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
            if result.exit_code == AWAY and (again := look_again(task, context)):
                raise AirflowRescheduleException(again)
        raise STOPPED.get(result.exit_code, StepFailed)(why)


def look_again(task: Any, context: Any) -> datetime | None:
    """When the task shall look again for what was away; None once it has waited for NIGHTRAIL_WAIT minutes."""
    began, now = task.get_first_reschedule_date(context), datetime.now(UTC)
    until = (began or now) + timedelta(minutes=float(os.environ.get("NIGHTRAIL_WAIT", "120")))
    return min(now + LOOK_AGAIN, until) if now < until else None


def alert(context: Any) -> None:
    """Log which step of which night failed for good, and pass the line to NIGHTRAIL_ALERT_COMMAND."""
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
    """The task of a step for the run's night."""
    pool = step.pool if os.environ.get("NIGHTRAIL_POOLS") == "1" else None
    pod = os.environ.get("NIGHTRAIL_GPU_POD") if step.pool == GPU_POOL else None
    return StepOperator(
        task_id=step.name,
        # Parameters are environment variables, so that no text typed as one becomes part of the command.
        bash_command='export NIGHTRAIL_SET="$NIGHTRAIL_SET $NIGHTRAIL_RUN_SET"; '
        f'exec "{sys.executable}" -m jobs {step.name} --as-of "$NIGHTRAIL_AS_OF"',
        env={"NIGHTRAIL_AS_OF": "{{ params.as_of or ds }}", "NIGHTRAIL_RUN_SET": "{{ params.settings or '' }}"},
        append_env=True,
        **({"pool": pool} if pool else {}),
        **({"executor_config": {"pod_template_file": pod}} if pod else {}),
    )


def schedule() -> str | None:
    """The cron expression of the schedule; None for nights by hand only."""
    given = os.environ.get("NIGHTRAIL_SCHEDULE", "0 2 * * *")
    return None if given == "none" else given


STEPS = "\n".join(f"{place}. **{step.name}**: {step.text}" for place, step in enumerate(NIGHT, start=1))
"""The steps with what they do, in Markdown."""

with DAG(
    "nightly_recommendations",
    description="Raw events in, carousels out",
    doc_md=f"{__doc__}\n### Steps\n\n{STEPS}\n",
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
        ),
        "settings": Param(
            None,
            type=["null", "string"],
            title="Settings",
            description="Changes for this run, such as train.holdout_days=3, separated by blanks.",
        ),
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
