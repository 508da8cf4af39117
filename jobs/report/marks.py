"""Says on a night's pages whether its lists are live, and says it anew on older pages when that changes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from jobs.lake.lake import Lake
from jobs.report.figures import LiveState, list_versions, live_state_of, outcomes_of, steps_of
from jobs.report.pages import environment, page_path, reported_nights, write_page

MARKED = {"index": "state.html", "shop": "shop_state.html"}
"""Page with a mark -> the template of the mark."""
MARK = re.compile(r"<!--state (.*?)-->(.*?)<!--/state-->", re.DOTALL)
"""The mark in a page: the run and the versions of the tables that the page shows, and what it says of them."""


def mark_of(lake: Lake, page: str, as_of: date, run_id: str, versions: Mapping[str, int] | None = None) -> str:
    """The mark of a page that shows the night's lists at some versions of the tables, by default as they are now."""
    versions = list_versions(lake) if versions is None else versions
    state = live_state_of(lake, as_of, steps_of(lake, as_of, run_id), outcomes_of(lake, as_of), versions)
    return _mark(page, as_of, run_id, versions, state)


def mark_pages(lake: Lake) -> int:
    """Let the pages of all nights say what is live now; returns how many were written. Others stay as they are."""
    changed = 0
    for as_of in reported_nights(lake):
        changed += sum(_marked_anew(lake, page, page_path(lake, as_of, page), as_of) for page in MARKED)
    return changed


def _marked_anew(lake: Lake, page: str, path: Path, as_of: date) -> bool:
    text = path.read_text("utf-8") if path.exists() else ""
    found = MARK.search(text)
    if found is None:  # a page of older code
        return False
    shown = json.loads(html.unescape(found[1]))
    now = mark_of(lake, page, as_of, shown["run_id"], shown["versions"])
    if now == found[0]:
        return False
    write_page(path, text[: found.start()] + now + text[found.end() :])
    return True


def _mark(page: str, as_of: date, run_id: str, versions: Mapping[str, int], state: LiveState) -> str:
    shown = html.escape(json.dumps({"run_id": run_id, "versions": dict(versions)}))
    inside = environment().get_template(MARKED[page]).render(as_of=as_of, live_state=state)
    return f"<!--state {shown}-->{inside}<!--/state-->"
