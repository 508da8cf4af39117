"""Shop window: every carousel of a night as a shopper sees it, as one HTML page that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from jobs.gate.counts import ListCounts, counts_of
from jobs.lake.lake import Lake
from jobs.report.pages import TEMPLATES, environment
from jobs.report.recent import Recent
from jobs.report.window.data import ContextPair, ShopWindow, ShopWindowConfig, read_window
from jobs.report.window.pack import packed
from jobs.run import Run
from jobs.tables.shop import PRODUCT_LISTS
from jobs.text import clean

STYLES = ("report.css", "shop_window.css")
SCRIPTS = (
    "shop_window_data.js", "shop_window_bag.js", "shop_window_parts.js", "shop_window_find.js", "shop_window_views.js",
    "shop_window.js",
)  # fmt: skip
"""Parts of the page's one script, in their order."""


def written_of(
    lake: Lake, run: Run, config: ShopWindowConfig, contexts: Sequence[ContextPair] = (), recent: Recent | None = None,
    lists: Mapping[str, ListCounts] | None = None,
) -> str:  # fmt: skip
    """The page of a night; it shows what is there, so it can be made after any step, and writes nothing.

    `recent` and `lists` are what the caller has read already.
    """
    held = counts_of(lake, run.as_of, PRODUCT_LISTS, {}) if lists is None else lists
    return page(read_window(lake, run.run_id, config, contexts, recent or Recent(lake, run.as_of), held))


def page(window: ShopWindow) -> str:
    """The page of what was read."""
    style, script = _joined(STYLES), _joined(SCRIPTS)
    return environment().get_template("shop_window.html").render(
        as_of=window.as_of, run_id=clean(window.run_id), left_out=left_out(window), data=packed(window),
        style=style, script=script, style_hash=_hash(style), script_hash=_hash(script),
    )  # fmt: skip


def left_out(window: ShopWindow) -> str:
    """What the page shows of the night, and so what it leaves out, in a sentence."""
    shown = {"products": len(window.products), "markets": len(window.markets), "customers": len(window.customers)}
    which = {"products": "the most wanted of late", "markets": "the busiest", "customers": "recent ones with a history"}
    parts = []
    for name, count in shown.items():
        total = max(window.totals[name], count)
        some = f"{count:,} of {total:,} {name} ({which[name]})"
        parts.append(f"no {name}" if not total else f"all {total:,} {name}" if count == total else some)
    return f"The page holds {', '.join(parts)}, and up to {window.config.places} places of each list."


def path_beside(report: Path) -> Path:
    """Where the page lies: beside the night's own."""
    return report.with_name("shop.html")


def _joined(names: Sequence[str]) -> str:
    return "\n".join((TEMPLATES / name).read_text("utf-8") for name in names)


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls a script or style by: only it may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
