"""What docs/deploy.md says, held against the code: variables, image, pod template, and what the DAG needs."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from typing import Any

import pytest
import yaml

from jobs.steps import STEPS
from tests.night.test_rules import PRODUCT, calls, commands, modules
from tests.support.repository import REPOSITORY

VARIABLE = re.compile(r"\b(?:NIGHTRAIL_[A-Z_]*[A-Z]|SPARK_REMOTE)\b")
DOCUMENTS = ("README.md", "docs/data.md", "docs/deploy.md", "docs/operations.md", "docs/serving.md")


@cache
def text(path: str) -> str:
    return (REPOSITORY / path).read_text("utf-8")


def block(language: str) -> str:
    """The one code block of docs/deploy.md in a language."""
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", text("docs/deploy.md"), re.DOTALL)
    assert len(found) == 1
    return found[0]


def variables_of_the_code() -> set[str]:
    files = [file for folder in PRODUCT for kind in ("py", "yaml") for file in (REPOSITORY / folder).rglob(f"*.{kind}")]
    return {name for file in files for name in VARIABLE.findall(file.read_text("utf-8"))}


def test_every_variable_of_the_code_is_documented() -> None:
    documented = {name for path in DOCUMENTS for name in VARIABLE.findall(text(path))}
    assert sorted(variables_of_the_code() - documented) == []


@pytest.mark.parametrize("path", DOCUMENTS)
def test_every_documented_variable_is_in_the_code(path: str) -> None:
    assert sorted(set(VARIABLE.findall(text(path))) - variables_of_the_code()) == []


def test_the_image_copies_what_is_there_and_installs_what_make_does() -> None:
    lines = block("dockerfile").splitlines()
    sources = [line.split()[-2] for line in lines if line.startswith("COPY")]
    assert sources == ["requirements.txt", "."]
    assert all((REPOSITORY / source).exists() for source in sources)
    pin = re.search(r"^uv==\S+$", text("requirements.txt"), re.MULTILINE)
    assert pin and pin[0] in block("dockerfile") and pin[0] in text("Makefile")
    assert "uv pip sync" in text("Makefile") and any("uv pip sync" in line for line in lines)
    # The pod of a task has arguments and no command: an entry point would take them for its own.
    assert not any(line.startswith("ENTRYPOINT") for line in lines)
    assert any("PYTHONPATH=/opt/nightrail" in line for line in lines)


def test_the_pod_template_is_one_that_airflow_and_the_steps_can_use() -> None:
    pod: dict[str, Any] = yaml.safe_load(block("yaml"))
    assert (pod["apiVersion"], pod["kind"], pod["spec"]["restartPolicy"]) == ("v1", "Pod", "Never")
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "base"  # by this name Airflow finds the container of the task
    assert not {"command", "args"} & container.keys()
    names = [variable["name"] for variable in container["env"]]
    assert {name for name in names if not name.startswith("AIRFLOW__")} <= variables_of_the_code()
    resources = container["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 1
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["spec"]["volumes"]
    }
    user = re.search(r"--uid (\d+)", block("dockerfile"))
    assert user and pod["spec"]["securityContext"]["runAsUser"] == int(user[1])
    assert not [name for name in names if "PASSWORD" in name or "TOKEN" in name], "secrets come from a secret"


def test_what_a_managed_airflow_needs_is_what_the_dag_imports() -> None:
    code = "import sys, jobs.steps; print(*sorted(m for m in sys.modules if m.split('.')[0] == 'jobs'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    files = {name.replace(".", "/") + ".py" for name in done.stdout.split()} - {"jobs.py"} | {"jobs/__init__.py"}
    named = set(re.findall(r"`(jobs/\w+\.py)`", text("docs/deploy.md").partition("managed service")[2]))
    assert files == {name for name in named if name in files} and len(files) == 2
    assert "KubernetesPodOperator" in text("docs/deploy.md")
    assert any(name == "StepOperator" for name, _ in calls(modules()["dags/nightly_recommendations.py"]))


def test_every_command_it_names_is_one() -> None:
    named = set(re.findall(r"python -m jobs ([a-z]+)", text("docs/deploy.md")))
    assert named and named <= {*commands(), *STEPS}
