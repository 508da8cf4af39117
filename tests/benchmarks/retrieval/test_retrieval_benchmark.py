"""The retrieval benchmark on a tiny shop: every contender answers, and the exact ones agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.common.retrieval_shop import AVAILABLE, make_shop
from tests.benchmarks.lists.__main__ import main as lists_main
from tests.benchmarks.retrieval.__main__ import OURS, main

pytestmark = pytest.mark.soak

TINY = ["--products", "600", "--markets", "3", "--customers", "60", "--dimensions", "8", "--top", "10"]


def test_it_compares_answers_that_agree(tmp_path: Path) -> None:
    result = main([*TINY, "--repeats", "1", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == result
    contenders = result["contenders"]
    assert len(contenders) == 5 and contenders[OURS]["ours is faster by"] == 1
    for name, row in contenders.items():
        if "HNSW" in name:
            assert row["recall"] >= 0.98  # it was raised on another comparison, which counts no ties
        else:
            assert row["recall"] == 1 and row["same place"] > 0.99
    assert result["customer lists"]["lists/s"] > 0


def test_its_shop_is_the_same_every_time() -> None:
    shop, again = make_shop(500, 4, 40, 6), make_shop(500, 4, 40, 6)
    assert np.array_equal(shop.vectors, again.vectors) and np.array_equal(shop.available, again.available)
    assert np.array_equal(shop.customers(2), again.customers(2)) and shop.customers(2).shape == (10, 7)
    assert shop.available.mean() == AVAILABLE
    offsets, bought = shop.bought(1)
    assert len(offsets) == 11 and offsets[-1] == len(bought) and bought.max() < 500


def test_lists_are_measured_with_and_without_rules(tmp_path: Path) -> None:
    sizes = {"products": 400, "markets": 2, "customers": 60, "dimensions": 8}
    given = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    result = lists_main([*given, "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text("utf-8")) == result
    assert result["you_might_also_like"]["lists"] == result["people_also_bought"]["lists"] == 560
    assert result["recommended_for_you"]["lists"] == 60
    assert all(result[name]["positions moved"] > 0 for name in ("you_might_also_like", "recommended_for_you"))
