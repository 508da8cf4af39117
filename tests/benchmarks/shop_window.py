"""How soon the shop window opens: milliseconds from the address to the first list painted, in headless Chromium.

    python -m tests.benchmarks.shop_window [--page SHOP_HTML] [--times 7] [--picture PNG] [--view "#market=GB&.."]

Without a page, one of 5,000 invented products with three full lists in as many markets as the budget of positions
allows is written aside and opened. Each time is a fresh navigation, in a desktop's window and in a phone's; with
`--picture` a screenshot of 1280 by 920 is kept of the desktop's.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.lake.lake import Lake
from jobs.report.window.data import ShopWindowConfig
from jobs.report.window.page import written_of
from jobs.sample_shop.world import CATEGORIES, COLOURS, brand_names, market_codes
from jobs.tables.shop import CATALOGUE, PRODUCT_LISTS
from jobs.tables.table import Table
from tests.jobs.browser import chromium
from tests.jobs.small_night import RUN

PRODUCTS, MARKETS, PLACES = 5_000, 6, 24
PAINTED = "performance.getEntriesByName('first list drawn')"
SIZES = {"desktop": (1280, 920), "phone": (390, 844)}


def invented(folder: Path) -> Path:
    """The page of a shop of PRODUCTS with every list full."""
    lake, random = Lake(folder / "lake"), np.random.default_rng(1)
    ids, brands = np.array([f"P{number:06d}" for number in range(PRODUCTS)]), brand_names(900)
    rows = []
    for product in ids.tolist():
        category, colour = CATEGORIES[random.integers(len(CATEGORIES))], COLOURS[random.integers(len(COLOURS))]
        brand = brands[random.integers(len(brands))]
        name = f"{brand} Street {category.noun}, {colour}"
        rows.append({"product_id": product, "name": name, "brand": brand, "category": category.name,
                     "colour": colour, "price": category.price, "currency": "GBP"})  # fmt: skip
    lake.replace_rows(CATALOGUE, rows, RUN)
    for table in PRODUCT_LISTS:
        lake.replace(table, lists(table, ids, random), RUN)
    path = folder / "shop.html"
    path.write_text(written_of(lake, RUN, ShopWindowConfig()), "utf-8")
    return path


def lists(table: Table, ids: np.ndarray, random: np.random.Generator) -> Iterator[pa.RecordBatch]:
    """Full lists; those of a product differ from market to market by what is on sale there."""
    similar = random.integers(0, len(ids), (len(ids), 2 * PLACES))
    for market in market_codes(MARKETS):
        sold = random.random(len(ids)) < 0.85
        order = np.argsort(~sold[similar], axis=1, kind="stable")[:, :PLACES]
        shown = np.take_along_axis(similar, order, 1).ravel()
        scores = (1 - order / 100 - random.random((len(ids), 1)) / 10).astype(np.float32).ravel()
        ends = np.arange(0, len(shown) + 1, PLACES, dtype=np.int32)
        texts = {"sources": np.where(shown % 7, "model", "co-purchase"), "rules": np.where(shown % 20, "", "brand cap"),
                 "product_ids": ids[shown], "categories": ids[shown]}  # fmt: skip
        columns = {name: pa.ListArray.from_arrays(ends, pa.array(values)) for name, values in texts.items()}
        columns["scores"] = pa.ListArray.from_arrays(ends, pa.array(scores))
        fixed = {"market": market, "variant": "default", "short_reason": None, "model_id": "transformer-2026-04-06"}
        columns |= {name: pa.array([value] * len(ids), pa.string()) for name, value in fixed.items()}
        columns["product_id"] = pa.array(ids)
        names = [name for name in table.names if name in columns]
        yield pa.record_batch([columns[name] for name in names], names=names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--view", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        page = (given.page or invented(Path(name))).resolve()
        print(f"page of {page.stat().st_size / 1e6:.1f} MB")
        profile = Path(name) / "chromium"
        profile.mkdir()
        with chromium(profile) as browser:
            for device, size in SIZES.items():
                browser.size(*size)
                times = []
                for _ in range(given.times):
                    browser.open(page.as_uri() + given.view, f"{PAINTED}.length")
                    times.append(float(browser.value(f"{PAINTED}[0].startTime")))
                if given.picture and device == "desktop":
                    browser.picture(given.picture)
                shown = ", ".join(f"{each:.0f}" for each in sorted(times))
                print(f"{device}: median {statistics.median(times):.0f} ms of {shown}")
            assert not browser.complaints, browser.complaints


if __name__ == "__main__":
    main()
