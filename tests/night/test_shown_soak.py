"""The sample shop closes the loop: lists that are live are shown, and the next night knows what came of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.__main__ import app
from jobs.config import quick
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from tests.support.nights import SECOND, Shop

pytestmark = pytest.mark.soak


def test_the_next_night_knows_what_came_of_what_is_live(
    copied_night: Shop, raw: Path, source: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(raw, tmp_path / "raw"))
    root = copied_night.lake.root
    done = CliRunner().invoke(app, ["sample", "--size", "tiny", "--raw", str(own), "--days", "1", "--root", str(root)])
    assert done.exit_code == 0, done.output
    assert not copied_night.lake.exists(IMPRESSIONS), "a night without impressions makes no table of them"
    shop = Shop(copied_night.lake, replace(quick(source, own)))
    counts = shop.step("ingest", SECOND)
    outcomes = pl.DataFrame(shop.lake.arrow(OUTCOMES))
    assert f"{outcomes.height:,} outcomes of 1 days" in counts.note and outcomes.height > 1_000
    assert outcomes["source"].null_count() == 0, "every list that was shown is known"
    assert set(outcomes["touch_point"]) == {"you_might_also_like", "people_also_bought", "recommended_for_you"}
    assert outcomes["variant"].null_count() == 0
    rate = (outcomes["clicked"] == "visit").fill_null(False)
    first = outcomes["place"] <= 3
    assert rate.filter(first).mean() > 1.3 * rate.filter(outcomes["place"] > 6).mean()  # type: ignore[operator]
    assert (pl.Series(outcomes["last_clicked"]) & outcomes["clicked"].is_null()).sum() == 0
