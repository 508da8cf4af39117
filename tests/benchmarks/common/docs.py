"""Writes a computed table between its two comments, on the page of the documentation that has them."""

from __future__ import annotations

from pathlib import Path

from tests.support.repository import REPOSITORY


def page_with(name: str) -> Path:
    """README.md, or the page below docs/ that holds the table `name`."""
    pages = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))
    return next(page for page in pages if f"<!-- {name}: begin -->" in page.read_text("utf-8"))


def with_table(page: str, name: str, table: str) -> str:
    """The page's text with the table between its comments."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def write_table(name: str, table: str) -> None:
    """Replace the table on its page."""
    page = page_with(name)
    page.write_text(with_table(page.read_text("utf-8"), name, table), "utf-8")


def assert_current(name: str, table: str) -> None:
    """Fail where the page shows another table."""
    text = page_with(name).read_text("utf-8")
    assert text == with_table(text, name, table), f"the table `{name}` of the documentation is stale; run its --write"
