"""The terminal's summary of a very small lake, and the examples it shares with the report."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from jobs.lake.forgotten import own_salt
from jobs.lake.lake import Lake
from jobs.nights.summary import print_summary
from jobs.report.examples import customer_examples, product_examples
from jobs.report.pages import page_path
from jobs.tables.shop import EVENTS
from jobs.text import clean
from tests.support.toy_shop import HOSTILE, NIGHT, RUN, event, finish, shop


def summary(lake: Lake, width: int = 100) -> str:
    """What a file, and no terminal, gets of the summary."""
    out = io.StringIO()
    console = Console(file=out, width=width)
    places = {"tables": lake.root / "tables", "report": page_path(lake, NIGHT)}
    print_summary(lake, NIGHT, RUN.run_id, console, places)
    return out.getvalue()


def test_a_run_without_steps_or_lists_is_said(tmp_path: Path) -> None:
    text = summary(Lake(tmp_path))
    assert "no step of this run" in text
    assert "No product has a list" in text


def test_a_failed_step_says_what_stays_live(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake, failed="gate")
    text = " ".join(summary(lake).split())
    assert "The step gate failed" in text
    assert "stays live" in text


def test_examples_are_well_known_products_of_different_categories(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    pages = product_examples(lake, NIGHT, 2)
    assert [page.product.product_id for page in pages] == ["p1", "p3"]
    assert [place.product.product_id for place in pages[0].alternatives] == ["p2", "p3", "p4"]
    assert [page.product.product_id for page in product_examples(lake, NIGHT, 2, markup_name=True)] == ["p1", "p2"]
    names = [own_salt(lake).pseudonym(customer) for customer in ("c2", "c1")]
    assert [page.customer for page in customer_examples(lake, NIGHT, 2)] == names
    assert customer_examples(lake, NIGHT, 1)[0].history[-1].product.name == "gone"


def test_a_shop_without_recent_events_has_examples_too(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    old = event("old", "p4", days_ago=200)
    lake.replace_rows(EVENTS, [old], RUN)
    assert [page.product.product_id for page in product_examples(lake, NIGHT, 3)] == ["p4"]


def test_the_summary_is_plain_text_of_the_width_asked_for(tmp_path: Path) -> None:
    lake = shop(tmp_path)
    finish(lake)
    text = summary(lake)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    places = [line for line in text.splitlines() if str(tmp_path) in line]
    assert len(places) == 2, "a path must be on one line, to be copied"
    assert all(len(line) <= 100 for line in text.splitlines() if line not in places)
    for shown in ("Scarf [bold red]soft[/] :smile: red end", HOSTILE, "You Might Also Like", "People Also Bought",
                  "Recommended for you", "1,234,567", "read [red]12[/] files", "purchase"):  # fmt: skip
        assert shown in text, shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("a\x1b[31mb", "ab"), ("a\x1b]8;;x\x07b", "ab"), ("a\r\nb\tc", "a b c"), ("x\u200by", "x y"), (None, ""),
     ("[red]&<b>", "[red]&<b>"), ("Café ☕", "Café ☕")],
)  # fmt: skip
def test_clean_leaves_one_visible_line(raw: str | None, shown: str) -> None:
    assert clean(raw) == shown
