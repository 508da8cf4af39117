"""The command line's mistakes: exit code 2 and one readable line, never a traceback."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from jobs.cli.common import Place
from jobs.errors import AwayError, BusyError, DamageError, EngineLostError, GateError, UserError
from jobs.lake.locks import here, one_airflow
from jobs.steps import STEPS
from jobs.tables.shop import CATALOGUE, CUSTOMER_SEQUENCES
from tests.support.command_line import jobs, jobs_process, python_process
from tests.support.nights import Shop

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
        ("rollback", "--to", "2026-04-06"), "2026-04-06 cannot be made live; what can: nothing"
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
    (tmp_path / "tables").mkdir()
    done = jobs(tmp_path, *arguments)
    said = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert said[-1].startswith("error: ") and words in said[-1]
    assert [line for line in said if line.startswith("error: ")] == said[-1:]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_process_ends_with_the_exit_code_of_the_mistake(tmp_path: Path) -> None:
    done = jobs_process(tmp_path, "ingest", "--as-of", "yesterday")
    assert (done.returncode, done.stderr) == (2, "error: --as-of 'yesterday' is no date; write it as 2026-04-06\n")


def test_the_help_names_every_exit_code(tmp_path: Path) -> None:
    text = " ".join(jobs(tmp_path, "--help").stdout.split())
    errors = (UserError, GateError, BusyError, EngineLostError, AwayError, DamageError)
    for code, error in enumerate(errors, start=2):
        assert error.exit_code == code and f" {code} " in text


OF_A_LAKE = {
    "status": (), "models": (), "sql": ("SELECT 1",),
    "explain": ("--product", "P1", "--market", "GB", "--position", "1"),
    "rollback": ("--dry-run",), "policy": ("--show",), "clean": ("--dry-run", "--as-of", "2026-04-06"),
    "sequences": ("--as-of", "2026-04-06"), "report": ("--as-of", "2026-04-06"), "forget": ("--customer", "C1"),
    "promote": ("amf-1", "--from", "2026-04-06", "--reason", "asked for"),
    "demote": ("--from", "2026-04-06", "--reason", "-"),
}  # fmt: skip


@pytest.mark.parametrize("command", OF_A_LAKE)
def test_a_mistyped_root_is_told_and_nothing_is_made_there(command: str, tmp_path: Path) -> None:
    root = tmp_path / "lakes" / "smaple"
    done = jobs(root, command, *OF_A_LAKE[command])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: there is no lake at {root}: give --root")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_what_may_begin_a_lake_leaves_nothing_at_a_mistyped_root(tmp_path: Path) -> None:
    root, missing = tmp_path / "lakes" / "smaple", tmp_path / "none"
    done = jobs(root, "ingest", "--as-of", "2026-04-06", "--raw", str(missing))
    assert (done.returncode, done.stderr) == (2, f"error: the raw folder {missing} is not there; give the folder that "
                                                  "holds the shop's raw files\n")  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    place = Place(root)
    with place.writing("ingest"):
        Place(root).check_there()  # the first night of a lake, which has no table yet
    with pytest.raises(AwayError, match="not there yet"), place.writing("ingest"):
        raise AwayError("the raw file of the first night is not there yet")
    assert [path.name for path in root.iterdir()] == ["locks"]
    with pytest.raises(UserError, match="there is no lake at"):
        place.check_there()
    (root / "tables" / "runs").mkdir(parents=True)
    with pytest.raises(UserError, match="wrong"), place.whole_night("night", "2026-04-06"):
        raise UserError("a lake that was there before stays, whatever is wrong")
    place.check_there()


def test_airflow_refuses_a_taken_port_and_a_second_start_before_anything_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ("airflow", "--port", str(port), "--root", str(tmp_path / "lake"))
        done = jobs(tmp_path / "lake", *command)
    assert done.returncode == 2 and f"port {port} of 127.0.0.1 is taken" in done.stderr, done.stderr
    with one_airflow(tmp_path / "lake", here("airflow", "", "today")):
        done = jobs(tmp_path / "lake", *command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1), done.stderr
    assert re.search(rf"runs already: airflow, process {os.getpid()} on \S+ since today; nothing", done.stderr)
    assert not (tmp_path / "lake" / "airflow").exists()


QUESTIONS = {
    "lookup": ("--customer", "C1"), "rank": ("--customer", "C1", "--category", "*"), "status": (),
    "bag": ("--products", "P1", "--market", "GB"), "rollback": ("--dry-run",),
}  # fmt: skip
HEAVY = ("torch", "feast", "pyspark", "transformers", "faiss", "numba", "matplotlib", "airflow")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_loads_no_heavy_library(question: str, night: Shop) -> None:
    """Importing Feast or torch alone takes longer than an answer may."""
    market, customer = next((r["market"], r["customer_id"]) for r in night.rows(CUSTOMER_SEQUENCES))
    product = night.rows(CATALOGUE)[0]["product_id"]
    names = {"C1": customer, "P1": product, "GB": market}
    arguments = [question, *(names.get(given, given) for given in QUESTIONS[question])]
    code = (
        f"import sys\nfrom jobs.__main__ import main\nsys.argv = ['jobs', *{arguments}]\ntry:\n    main()\n"
        f"except SystemExit as left:\n    print(left.code, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = python_process(night.lake.root, "-c", code)
    code_of = 2 if question == "rollback" else 0  # one night alone has none before it
    assert done.stdout.splitlines()[-1] == f"{code_of} []", done.stdout + done.stderr


def test_a_missing_option_is_a_users_mistake_too(tmp_path: Path) -> None:
    done = jobs(tmp_path, "ingest")
    assert done.returncode == 2
    assert "--as-of" in done.stderr and "Traceback" not in done.stderr


def test_spark_without_java_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
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
    text = jobs(tmp_path, step, "--help").stdout
    for option in ("--as-of", "--root", "--source", "--raw", "--engine", "--config"):
        assert option in text, f"{step} has no {option}"


def test_further_days_of_the_sample_go_on_where_the_folder_ends(tmp_path: Path) -> None:
    raw = str(tmp_path / "raw")
    nights = []
    for days in ((), ("--days", "1"), ("--days", "2")):
        done = jobs(tmp_path, "sample", "--size", "tiny", "--raw", raw, *days)
        assert done.returncode == 0, done.stderr
        nights.append(re.findall(r"last night is (?:--as-of )?([\d-]+)", done.stdout + done.stderr))
    assert nights == [["2026-04-06"], ["2026-04-07"], ["2026-04-09"]]
    assert len(list((tmp_path / "raw" / "events").iterdir())) == 31
    done = jobs(tmp_path, "sample", "--raw", raw, "--days", "1")
    assert done.returncode == 2 and "holds another shop than the size 'sample'" in done.stderr


def test_facts_stand_beside_the_recorded_ones(tmp_path: Path) -> None:
    raw = tmp_path / "none"
    done = jobs(tmp_path, "sample", "--facts", "--size", "tiny", "--raw", str(raw), REAL_DATA="")
    assert done.returncode == 0, done.stderr
    assert "online_retail" in done.stdout and "GRU4Rec .180" in done.stdout
    assert not raw.exists()
