"""The command line's mistakes: exit code 2 and one readable line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.steps import STEPS
from tests.support.repository import REPOSITORY


def jobs(root: Path | str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m jobs ..` in a process of its own, without settings of whoever runs the tests."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTRAIL", "SPARK"))} | variables
    environment |= {"NIGHTRAIL_ROOT": str(root), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


MISTAKES = {
    "no date": (("ingest", "--as-of", "yesterday"), "'yesterday' is no date; write it as 2026-04-06"),
    "an impossible date": (("lists", "--as-of", "2026-02-30"), "'2026-02-30' is no date"),
    "unknown settings": (
        ("ingest", "--as-of", "2026-04-06", "--config", "slow"), "'slow' is not one of standard, quick"
    ),
    "a missing source": (
        ("gate", "--as-of", "2026-04-06", "--source", "/nowhere/shop.sql"), "the source /nowhere/shop.sql is not there"
    ),
    "an unknown engine": (
        ("sequences", "--as-of", "2026-04-06", "--engine", "flink"), "engine 'flink' is not one of sail, spark"
    ),
    "a missing raw folder": (
        ("ingest", "--as-of", "2026-04-06", "--raw", "/nowhere/raw"), "the raw folder /nowhere/raw is not there"
    ),
    "customer and product": (
        ("lookup", "--customer", "C1", "--product", "P1"), "give --customer ID or --product ID, one of them"
    ),
    "neither customer nor product": (("lookup",), "give --customer ID or --product ID, one of them"),
    "a night of one's own shop without its date": (
        ("night", "--raw", "/nowhere/raw"), "give --as-of DATE with a source or raw folder of your own"
    ),
    "an unknown sample": (("sample", "--size", "huge"), "'huge' is not one of tiny, sample, million"),
    "a rollback to nothing": (
        ("rollback", "--to", "2026-04-06"), "2026-04-06 cannot be made live; nights that can: none"
    ),
    "models of a lake without any": (("models",), "no model was trained in "),
    "an unknown model": (
        ("promote", "amf-of-dreams", "--from", "2026-04-06", "--reason", "asked for"),
        "no model is called 'amf-of-dreams'; champions so far: none yet",
    ),
    "a promotion without a reason": (("promote", "amf-1", "--from", "2026-04-06"), "give --reason TEXT"),
    "nobody to go back to": (("demote", "--from", "2026-04-06"), "nothing was trained yet"),
    "a step before its input": (("report", "--as-of", "2026-02-30"), "is no date"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_readable_line(mistake: str, tmp_path: Path) -> None:
    arguments, words = MISTAKES[mistake]
    done = jobs(tmp_path, *arguments)
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert said[-1].startswith("error: ") and words in said[-1]
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_missing_option_is_a_users_mistake_too(tmp_path: Path) -> None:
    done = jobs(tmp_path, "ingest")
    assert done.returncode == 2
    assert "--as-of" in done.stderr and "Traceback" not in done.stderr


def test_spark_without_java_says_what_to_do(tmp_path: Path) -> None:
    done = jobs(tmp_path, "sequences", "--as-of", "2026-04-06", "--engine", "spark", PATH="/nowhere", JAVA_HOME="/none")
    assert done.returncode == 2, done.stderr
    assert "needs Java 17 or 21; install it, or use the engine 'sail'" in done.stderr


def test_help_lists_every_step_in_order(tmp_path: Path) -> None:
    text = jobs(tmp_path, "--help").stdout
    assert ", ".join(STEPS) in " ".join(text.replace("│", " ").split())
    first_words = [line.strip("│ ").split(" ")[0] for line in text.splitlines() if line.startswith("│")]
    assert [word for word in first_words if word in STEPS] == list(STEPS)
    assert {"rollback", "lookup", "apply", "sample", "night", "airflow"} <= set(first_words)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_takes_the_same_options(step: str, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from jobs.cli.app import app

    text = CliRunner().invoke(app, [step, "--help"], env={"COLUMNS": "200"}, prog_name="jobs").output
    for option in ("--as-of", "--root", "--source", "--raw", "--engine", "--config"):
        assert option in text, f"{step} has no {option}"
