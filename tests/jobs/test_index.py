"""The index goes on from the night before without another result."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from jobs.index import NEAREST, IndexConfig, NewIndex, nearest_of, read_index, write_index
from jobs.lake.lake import Lake
from jobs.run import Run
from jobs.tables.shop import YOU_MIGHT_ALSO_LIKE
from models.search import search
from models.search.nearest import nearest_products
from models.vocabulary import Vocabulary

CONFIG = IndexConfig(neighbours=5)


def test_nearest_products_are_those_of_a_search_over_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, random = Lake(tmp_path), np.random.default_rng(0)
    first = Run(date(2026, 4, 6), "first", datetime(2026, 5, 1, tzinfo=UTC))
    second = Run(first.as_of + timedelta(days=1), "second", first.started_at)
    ids = [f"p{number:02d}" for number in range(60)]
    before, new = random.normal(size=(60, 4)).astype(np.float32), random.normal(size=(2, 4)).astype(np.float32)
    known = nearest_of(lake, first, CONFIG, Vocabulary(ids), before)
    write_index(
        lake,
        first,
        CONFIG,
        YOU_MIGHT_ALSO_LIKE,
        NewIndex(Vocabulary(ids), before, before, {"vectors": before, **known}, {"fit": {}}),
    )
    products = Vocabulary(["new", *ids[:40], *ids[41:], "newer"])  # one has left
    vectors = np.concatenate([new[:1], before[:40], before[41:], new[1:]])
    monkeypatch.setattr("jobs.index.nearest_products", lambda *_: pytest.fail("all products were searched"))
    found = nearest_of(lake, second, CONFIG, products, vectors)
    expected = nearest_products(vectors, 5)
    assert found[NEAREST[1]].tolist() == expected.rows.tolist()
    assert found[NEAREST[0]].tolist() == expected.scores.tolist()
    write_index(
        lake,
        second,
        CONFIG,
        YOU_MIGHT_ALSO_LIKE,
        NewIndex(products, vectors, vectors, {"vectors": vectors, **found}, {"fit": {}}),
    )
    index = read_index(lake, second, YOU_MIGHT_ALSO_LIKE)
    for n in (3, 5, 7):  # kept, and searched where more are asked for
        scores, rows = index.nearest(n)
        wanted = search.search(index.index, vectors, n)
        assert (scores.tolist(), rows.tolist()) == (wanted[0].tolist(), wanted[1].tolist())
