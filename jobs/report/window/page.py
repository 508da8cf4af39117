"""Writes the shop window: every list of a night as a shopper sees it, as one HTML page that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from jobs.gate.counts import ListCounts, counts_of
from jobs.lake.forgotten import own_salt
from jobs.lake.lake import Lake
from jobs.report.marks import mark_of
from jobs.report.pages import environment, model_link
from jobs.report.pictures import TEMPLATES
from jobs.report.recent import Recent
from jobs.report.window.choice import ContextPair, ShopWindowConfig
from jobs.report.window.data import ShopWindow, read_window
from jobs.run import Run
from jobs.tables.shop import PRODUCT_LISTS

STYLES = ("report.css", "shop_window.css")
SCRIPTS = (
    "shop_window_data.js",
    "shop_window_bag.js",
    "shop_window_parts.js",
    "shop_window_find.js",
    "shop_window_views.js",
    "shop_window.js",
)
"""Parts of the page's one script, in their order."""
SHOWN = {
    "products": "those with the most recent events",
    "markets": "the busiest",
    "customers": "recent ones with a history",
}


def written_of(
    lake: Lake,
    run: Run,
    config: ShopWindowConfig,
    contexts: Sequence[ContextPair] = (),
    recent: Recent | None = None,
    counts: Mapping[str, ListCounts] | None = None,
) -> str:
    """The page of a night as HTML; parts that the night does not have yet are left out.

    `recent` and `counts` are what the caller has read already.
    """
    counts = counts_of(lake, run.as_of, PRODUCT_LISTS, {}) if counts is None else counts
    recent = recent or Recent(lake, run.as_of)
    window = read_window(lake, run.run_id, config, contexts, recent, counts, own_salt(lake))
    style, script = _joined(STYLES), _joined(SCRIPTS)
    parts = {"page": window.page, **window.lists}
    with ThreadPoolExecutor(2) as pool:  # zlib compresses without Python's lock
        data = dict(zip(parts, pool.map(packed, parts.values()), strict=True))
    return (
        environment()
        .get_template("shop_window.html")
        .render(
            as_of=run.as_of,
            run_id=run.run_id,
            model_page=model_link(lake, run.as_of),
            mark=mark_of(lake, "shop", run.as_of, run.run_id),
            left_out=_left_out(window, config.places),
            data=data,
            style=style,
            script=script,
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def packed(value: object) -> str:
    """JSON, compressed by zlib, in base64: text that cannot leave its script block."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode("utf-8", "replace"), 6)).decode("ascii")


def _left_out(window: ShopWindow, places: int) -> str:
    """How much of the night the page shows, in a sentence."""
    parts = []
    for name, (count, known) in window.shown.items():
        total = max(known, count)
        some = f"{count:,} of {total:,} {name} ({SHOWN[name]})"
        parts.append(f"no {name}" if not total else f"all {total:,} {name}" if count == total else some)
    return f"The page holds {', '.join(parts)}, and up to {places} places of each list."


def _joined(names: Sequence[str]) -> str:
    return "\n".join((TEMPLATES / name).read_text("utf-8") for name in names)


def _hash(text: str) -> str:
    """The name of a script or style in a Content-Security-Policy: nothing else may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
