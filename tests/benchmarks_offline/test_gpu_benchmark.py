"""The benchmark of a card on a tiny shop: it runs to its end where there is none, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import gpu
from tests.benchmarks.gpu_shop import make_histories

TINY = ["--customers", "300", "--products", "80", "--markets", "11", "--sessions", "200", "--width", "8"]


def test_it_has_all_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "card", lambda: None)
    monkeypatch.setattr(gpu, "rectools_is_made", lambda: False)
    out = tmp_path / "out.json"
    options = ["--peers", "rectools-fast-sampled", "--peer-seconds", "1", "--json", str(out)]
    result = gpu.main([*TINY, *options])
    assert json.loads(out.read_text("utf-8")) == result
    assert result["card"] is None and "torch sees no NVIDIA GPU" in capsys.readouterr().out
    training, encoding, ranking = (result[part] for part in ("training", "encoding", "ranking"))
    assert training["ours on cpu, sessions/s"] > 0
    assert "where packages can be had" in training["rectools-fast-sampled, left out"]
    assert encoding["customers/s on the CPU"] > 0 and ranking["customers/s on the CPU"] > 0
    assert 0 < encoding["largest difference of a number of a vector"] < encoding["tolerance"]
    assert ranking["recall on the CPU"] == 1


def test_its_histories_are_the_same_every_time_and_have_something_to_learn() -> None:
    histories, again = make_histories(400, 100, seed=1), make_histories(400, 100, seed=1)
    assert np.array_equal(histories.products, again.products)
    assert histories.lengths.min() >= 2 and histories.products.max() < 100
    before, after = histories.products[:-1] % 50, histories.products[1:] % 50
    inside = np.ones(len(before), dtype=bool)
    inside[histories.offsets[1:-1] - 1] = False
    assert ((7 * before + 3) % 50 == after)[inside].mean() > 0.4
