"""Runs the code blocks of the README and of the pages below docs/ against the tiny shop's night."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_repo.client import Recommendations
from jobs.__main__ import app
from jobs.ingest.source import read_source
from jobs.lake.engine import Engine
from tests.support.nights import REPOSITORY, Shop

PAGES = ("README.md", *(f"docs/{page.name}" for page in sorted((REPOSITORY / "docs").glob("*.md"))))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
JOBS = re.compile(r"^\.venv/bin/python -m jobs (.+?)(?:   #.*)?$", re.MULTILINE)
PLACEHOLDERS = re.compile(r"\b(MODEL|DATE|TEXT|GATE|TABLE|rules\.csv|my_shop)\b|\.\. ")


@cache
def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of every code block in a language; '' is a block of shell commands or output."""
    texts = ((page, (REPOSITORY / page).read_text("utf-8")) for page in PAGES)
    return [(page, text) for page, whole in texts for kind, text in BLOCK.findall(whole) if kind == language]


def commands() -> Iterator[tuple[str, str]]:
    """(page, arguments) of every command that can run as it is written."""
    for page, text in blocks(""):
        for arguments in JOBS.findall(text):
            if not PLACEHOLDERS.search(arguments):
                yield page, arguments


@pytest.fixture
def checkout(night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A working directory in which the tiny night lies where the docs have the sample shop's; two nights for code that
    trains on the past.
    """
    code = request.node.callspec.params.get("code", "")
    made = request.getfixturevalue("second_night") if "get_historical_features" in code else night
    (tmp_path / "var" / "lakes").mkdir(parents=True)
    (tmp_path / "var" / "lakes" / "sample").symlink_to(made.copy(tmp_path).lake.root)
    (tmp_path / "feature_repo").symlink_to(REPOSITORY / "feature_repo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REAL_DATA", raising=False)  # test_facts measures the public sets
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(tmp_path / "var" / "lakes" / "sample" / "feast"))
    return tmp_path


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python(page: str, code: str, checkout: Path) -> None:
    names = {"__name__": "example"}
    exec(compile(code, page, "exec"), names)
    if isinstance(shop := names.get("shop"), Recommendations):
        best = shop.category_page("GB").list
        assert best.product_ids and best.origin == "own list", "the address leads to the night"


@pytest.mark.parametrize(("page", "arguments"), commands())
def test_commands(page: str, arguments: str, checkout: Path) -> None:
    done = CliRunner().invoke(app, shlex.split(arguments))
    # The tiny shop has one night: there is nothing to roll back to, and the command says so.
    expected = "nothing before what is live" if arguments.startswith("rollback") else ""
    assert (done.exit_code == 0 and done.output.strip()) or (expected and expected in str(done.exception)), done.output
    for made in re.findall(r"--out (\S+)", arguments):
        assert (checkout / made).stat().st_size > 0


@pytest.mark.parametrize(("page", "query"), [block for block in blocks("sql") if block[1].startswith("SELECT")])
def test_queries(page: str, query: str, checkout: Path, sail_engine: Engine) -> None:
    if "delta.`" in query:  # for engines that have no schema `live`
        where = str((checkout / "var" / "lakes" / "sample").resolve())
        assert sail_engine.spark.sql(query.replace("var/lakes/sample", where)).count() > 0
        return
    done = CliRunner().invoke(app, ["sql", query])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "row" in done.output


@pytest.mark.parametrize(("page", "source"), [block for block in blocks("sql") if block[1].startswith("--!")])
def test_sources(page: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "source.sql"
    path.write_text(source)
    assert "FROM raw" in read_source(path).statements["events"]


def test_every_command_and_make_target_in_the_pages_exists() -> None:
    from typer.main import get_command

    named = set(get_command(app).commands)  # type: ignore[attr-defined]
    said = {w for p in PAGES for w in re.findall(r"python -m jobs ([a-z]+)\b", (REPOSITORY / p).read_text("utf-8"))}
    assert said - named == set()
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {w for p in PAGES for w in re.findall(r"`make ([a-z]+)", (REPOSITORY / p).read_text("utf-8"))} <= targets


def test_links_lead_somewhere() -> None:
    pages = [REPOSITORY / page for page in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    broken = []
    for page in [*pages, *sorted((REPOSITORY / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith("http") and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_paths_in_the_pages_exist() -> None:
    named = {
        (page.name, path)
        for page in [
            REPOSITORY / "README.md",
            REPOSITORY / "CONTRIBUTING.md",
            *sorted((REPOSITORY / "docs").rglob("*.md")),
        ]
        for path in re.findall(r"`((?:jobs|models|feature_repo|tests|dags|docs)/[\w./]+?)`", page.read_text("utf-8"))
    }
    assert sorted((page, path) for page, path in named if not (REPOSITORY / path).exists()) == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text("utf-8").splitlines()) <= 260
