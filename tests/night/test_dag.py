"""The DAG's vital dependencies and policies, read by Airflow itself in a process of its own."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from jobs.steps import STEPS
from tests.support.repository import REPOSITORY

DAGS = REPOSITORY / "dags"


def read_by_airflow(home: Path, **settings: str) -> dict[str, Any]:
    """What Airflow makes of the DAG folder, with some settings in its environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "NIGHTRAIL"))}
    environment |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": str(REPOSITORY),
    }
    probe = Path(__file__).parents[1] / "support" / "dag_probe.py"
    done = subprocess.run(
        [sys.executable, str(probe), str(DAGS)], env=environment | settings, capture_output=True, text=True, cwd=home,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["import_errors"] == {}
    return found


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAG as it is without settings."""
    return read_by_airflow(tmp_path_factory.mktemp("airflow"))


@pytest.fixture(scope="module")
def set_dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAG as an operator set it, whose alerts go to the file `alerts` in its `home`."""
    home = tmp_path_factory.mktemp("airflow_set")
    settings = {"SCHEDULE": "30 3 * * *", "RETRY_SECONDS": "5", "POOLS": "1", "GPU_POD": "/pods/gpu.yaml",
                "ALERT_COMMAND": f"cat >> {home}/alerts"}  # fmt: skip
    return {"home": home} | read_by_airflow(home, **{f"NIGHTRAIL_{name}": value for name, value in settings.items()})


def test_the_folder_holds_the_night_and_its_steps(dag: dict[str, Any]) -> None:
    assert dag["dags"] == ["nightly_recommendations"]
    assert set(dag["tasks"]) == set(STEPS)


@pytest.mark.parametrize(
    ("step", "needs"),
    [
        ("sequences", {"ingest"}),
        ("train", {"ingest", "sequences"}),
        ("embed", {"sequences", "train"}),
        ("index", {"embed"}),
        ("lists", {"index", "embed", "sequences"}),
        ("gate", {"lists", "index", "embed"}),
        ("publish", {"gate"}),
        ("report", {"gate"}),
    ],
)
def test_a_step_waits_for_what_it_reads(step: str, needs: set[str], dag: dict[str, Any]) -> None:
    assert needs <= set(dag["tasks"][step]["upstream"])


def test_nothing_is_published_but_behind_the_gate(dag: dict[str, Any]) -> None:
    assert dag["tasks"]["publish"]["direct"] == ["gate"]
    assert {task["trigger_rule"] for task in dag["tasks"].values()} == {"all_success"}


def test_every_step_is_retried_with_growing_pauses(dag: dict[str, Any]) -> None:
    assert all(task["retries"] > 0 and task["exponential"] for task in dag["tasks"].values())
    assert {task["retry_seconds"] for task in dag["tasks"].values()} == {60.0}
    assert all(0 < task["timeout"] <= 24 * 3600 for task in dag["tasks"].values())


def test_without_settings_a_night_runs_at_two_in_the_default_pool(dag: dict[str, Any]) -> None:
    assert dag["schedule"] == "0 2 * * *"
    # A task in a pool that is not there never runs, and nobody is told.
    assert {task["pool"] for task in dag["tasks"].values()} == {"default_pool"}


def test_operators_set_schedule_retries_and_pools_in_the_environment(set_dag: dict[str, Any]) -> None:
    assert set_dag["schedule"] == "30 3 * * *"
    assert {task["retry_seconds"] for task in set_dag["tasks"].values()} == {5.0}
    pools = {step: task["pool"] for step, task in set_dag["tasks"].items()}
    assert {pools[step] for step in ("ingest", "sequences", "gate")} == {"nightrail_spark"}
    assert {pools[step] for step in ("train", "embed", "lists")} == {"nightrail_gpu"}
    assert pools["publish"] == "default_pool"


def test_steps_for_a_card_get_a_pod_with_one_where_there_is_a_template(
    dag: dict[str, Any], set_dag: dict[str, Any]
) -> None:
    assert {task["pod"] for task in dag["tasks"].values()} == {None}
    pods = {step: task["pod"] for step, task in set_dag["tasks"].items() if task["pod"]}
    assert pods == dict.fromkeys(("train", "embed", "lists"), "/pods/gpu.yaml")


def test_one_night_runs_at_a_time_and_none_is_caught_up(dag: dict[str, Any]) -> None:
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False


def test_a_night_of_any_shops_past_may_be_run(dag: dict[str, Any]) -> None:
    # Airflow starts no task of a run before the start date, and calls the run a success.
    assert dag["start_date"] <= "2010-12-01"


def test_the_documentation_names_every_step(dag: dict[str, Any]) -> None:
    assert [step for step in STEPS if f"**{step}**" not in dag["doc"]] == []


def test_every_task_is_one_command_with_the_night_in_its_environment(dag: dict[str, Any]) -> None:
    for step, task in dag["tasks"].items():
        assert task["command"].endswith(f'-m jobs {step} --as-of "$NIGHTRAIL_AS_OF"')
        assert "{{" not in task["command"], "what a person types as a parameter must not become part of a command"
        assert task["append_env"] is True
        assert task["cwd"] == str(REPOSITORY)


def test_the_night_is_the_parameter_or_else_the_day_of_the_run(dag: dict[str, Any]) -> None:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        dag["tasks"]["ingest"]["env"]["NIGHTRAIL_AS_OF"]
    )
    assert template.render(params={"as_of": "2026-04-06"}, ds="2026-05-01") == "2026-04-06"
    assert template.render(params={"as_of": None}, ds="2026-05-01") == "2026-05-01"
    with pytest.raises(jinja2.UndefinedError):
        template.render(params={"as_of": None})


def test_a_run_may_change_settings_on_top_of_the_deployments(dag: dict[str, Any]) -> None:
    for task in dag["tasks"].values():
        given = {
            name: jinja2.Template(text).render(params={"as_of": None, "settings": "train.holdout_days=3"}, ds="")
            for name, text in task["env"].items()
        }
        command = task["command"].replace(f'exec "{sys.executable}" -m jobs', "echo $NIGHTRAIL_SET #")
        for before, after in (({}, ""), ({"NIGHTRAIL_SET": "lists.top_n=9"}, "lists.top_n=9 ")):
            done = subprocess.run(
                ["bash", "-c", command], env=given | before, capture_output=True, text=True, check=True
            )
            assert done.stdout == f"{after}train.holdout_days=3\n"
        assert jinja2.Template(task["env"]["NIGHTRAIL_RUN_SET"]).render(params={"settings": None}) == ""


def test_only_a_date_is_taken_as_the_night(dag: dict[str, Any]) -> None:
    assert {text for text, taken in dag["as_of"].items() if taken} == {"", "2026-04-06"}
    assert len(dag["as_of"]) > 5


def test_a_users_mistake_and_a_failed_gate_are_not_tried_again(dag: dict[str, Any]) -> None:
    outcomes = dag["exit_codes"]
    assert outcomes["0"] == {"result": "error: the figure is 3, must be at most 2"}
    named = {code: (found["error"], found["final"]) for code, found in outcomes.items() if code != "0"}
    assert named == {
        "1": ("StepFailed", False), "2": ("InputWrong", True), "3": ("GateFailed", True), "4": ("LakeBusy", False),
        "6": ("Away", False), "7": ("LakeDamaged", True), "99": ("StepFailed", False),
    }  # fmt: skip


def test_what_is_away_is_looked_for_again_until_the_time_is_over(dag: dict[str, Any]) -> None:
    assert dag["waits"] == [5.0, 2.0, None]


def test_a_failed_gate_says_its_figure_and_limit_where_airflow_shows_it(dag: dict[str, Any]) -> None:
    gate = dag["exit_codes"]["3"]
    assert gate["says"] == "the figure is 3, must be at most 2 (exit code 3)"
    assert gate["pushed"] == {"stopped": gate["says"]}


def test_a_failure_for_good_alerts_in_one_line(dag: dict[str, Any], set_dag: dict[str, Any]) -> None:
    assert {tuple(task["alerts"]) for task in dag["tasks"].values()} == {("alert",)}
    lines = (set_dag["home"] / "alerts").read_text("utf-8").splitlines()
    assert len(lines) == 7
    assert lines[2] == (
        "nightrail: alert: the night 2026-04-06 stopped at exits_3: GateFailed: the figure is 3, must be at most 2 "
        "(exit code 3)"
    )


def test_the_dag_file_imports_airflow_and_our_constants_only() -> None:
    foreign = []
    for file in DAGS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = {"airflow", *sys.stdlib_module_names}
            foreign += [name for name in names if name != "jobs.steps" and name.split(".")[0] not in allowed]
    assert foreign == []
