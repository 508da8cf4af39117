"""Loads the DAG folder with Airflow and prints what it found as JSON: run with AIRFLOW_HOME in a scratch folder."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def facts(dags: Path) -> dict[str, Any]:
    """Everything the tests ask about the DAG."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(dags))
    if bag.import_errors:
        return {"import_errors": {str(k): str(v) for k, v in bag.import_errors.items()}}
    dag = bag.dags["nightly_recommendations"]
    return {
        "import_errors": {},
        "dags": sorted(bag.dags),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "schedule": getattr(dag.timetable, "expression", None) or dag.timetable.summary,
        "start_date": dag.start_date.date().isoformat(),
        "doc": dag.doc_md,
        "tasks": {task.task_id: task_facts(task) for task in dag.tasks},
        "as_of": {text: accepted(dag, text) for text in AS_OF},
        "waits": waits(dags),
        "exit_codes": {code: outcome(dags, code) for code in (0, 1, 2, 3, 4, 6, 7, 99)},
    }


def task_facts(task: Any) -> dict[str, Any]:
    """A task's command, neighbours and policy."""
    return {
        "command": task.bash_command,
        "env": task.env,
        "append_env": task.append_env,
        "cwd": task.cwd,
        "upstream": sorted(task.get_flat_relative_ids(upstream=True)),
        "direct": sorted(task.upstream_task_ids),
        "retries": task.retries,
        "exponential": bool(task.retry_exponential_backoff),
        "timeout": task.execution_timeout.total_seconds(),
        "pool": task.pool,
        "pod": (task.executor_config or {}).get("pod_template_file"),
        "retry_seconds": task.retry_delay.total_seconds(),
        "alerts": [callback.__name__ for callback in task.on_failure_callback],
        "trigger_rule": str(getattr(task.trigger_rule, "value", task.trigger_rule)),
    }


AS_OF = ("", "2026-04-06", "tomorrow", "2026-13-01", "2026-4-6", '2026-04-06"; rm -rf /; "', "$(id)")


AWAY = 6


def waits(dags: Path) -> list[float | None]:
    """Minutes after which a task looks again for what is away: at first, after 118 minutes, and after 121."""
    module, now = dag_module(dags), datetime.now(UTC)
    found = []
    for since in (None, now - timedelta(minutes=118), now - timedelta(minutes=121)):
        task = SimpleNamespace(get_first_reschedule_date=lambda _, since=since: since)
        again = module.look_again(task, {})
        found.append(again and round((again - now).total_seconds() / 60, 1))
    return found


def accepted(dag: Any, text: str) -> bool:
    """Whether the parameter as_of takes a text; the empty one stands for none."""
    from airflow.sdk.exceptions import ParamValidationError

    try:
        dag.params.get_param("as_of").resolve(text or None)
    except ParamValidationError:
        return False
    return True


def outcome(dags: Path, code: int) -> dict[str, Any]:
    """What becomes of a task whose command says something and exits with `code`."""
    module = dag_module(dags)
    pushed: dict[str, str] = {}
    command = f"echo something; echo 'error: the figure is 3, must be at most 2' >&2; exit {code}"
    task = module.StepOperator(task_id=f"exits_{code}", bash_command=command, env={"NIGHTRAIL_AS_OF": "2026-04-06"})
    began = datetime.now(UTC) - timedelta(minutes=130 if code == AWAY else 0)
    instance = SimpleNamespace(
        task=task, task_id=task.task_id, xcom_push=pushed.__setitem__, get_first_reschedule_date=lambda _: began
    )
    try:
        return {"result": task.execute({"ti": instance})}
    except Exception as error:
        final = any(base.__name__ == "AirflowFailException" for base in type(error).__mro__)
        run = SimpleNamespace(conf={"as_of": "2026-04-06"}, logical_date=None, run_id="manual")
        module.alert({"ti": instance, "exception": error, "dag_run": run})
        return {"error": type(error).__name__, "says": str(error), "final": final, "pushed": pushed}


def dag_module(dags: Path) -> Any:
    """The DAG's file as a module."""
    sys.path.insert(0, str(dags))
    return importlib.import_module("nightly_recommendations")


if __name__ == "__main__":
    print(json.dumps(facts(Path(sys.argv[1]))))
