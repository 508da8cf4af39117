"""The benchmark of the touch points: its questions, its judge, and a whole run on small shops."""

from __future__ import annotations

import gzip
import json
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from jobs.errors import UserError
from jobs.lists.config import ListsConfig
from models.arrays import Rows
from models.catalogue import Catalogue
from models.sequences import Sequences
from tests.benchmarks.touch_points import __main__ as touch_points
from tests.benchmarks.touch_points.alternatives import next_visit_questions, next_visits
from tests.benchmarks.touch_points.bag import RULES, ExtraLists, _by_rule, combined
from tests.benchmarks.touch_points.baskets import Baskets
from tests.benchmarks.touch_points.bought import held_back
from tests.benchmarks.touch_points.data import Ground, Markets, sample
from tests.benchmarks.touch_points.hidden import bags_of, bags_of_pairs
from tests.benchmarks.touch_points.judge import DEPTH, Questions, judge
from tests.benchmarks.touch_points.ranking import page_metrics, pages_of, rank_on_pages
from tests.conftest import SampleShop

pytestmark = pytest.mark.soak

DAY = 86_400


def groups(*rows: tuple[int, int, list[int]]) -> Baskets:
    """Baskets or sessions from (customer, time, products)."""
    offsets = np.cumsum([0, *(len(row[2]) for row in rows)])
    products = np.array([product for row in rows for product in row[2]])
    return Baskets(offsets, products, np.array([row[1] for row in rows]), np.array([row[0] for row in rows]))


def ground(visits: Baskets, category: list[int], markets: Markets | None = None) -> Ground:
    """A shop whose T is second 0."""
    nothing = Sequences(np.zeros(9, np.int64), np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.int64))
    products = len(category)
    return Ground(0, 30 * DAY, products, tuple("abcdefgh"[:products]), nothing, Catalogue.empty(products),
                  np.array(category), np.full(products, 9.0), visits, visits, markets)  # fmt: skip


def shown(*rows: list[int]) -> Rows:
    return np.array([row + [-1] * (DEPTH - len(row)) for row in rows])


def test_the_next_visit_is_the_same_customers_and_soon() -> None:
    visits = groups((1, 0, [0]), (2, 10, [0]), (1, DAY, [1]), (1, 20 * DAY, [2]), (2, 8 * DAY, [1]))
    assert next_visits(visits, 7).tolist() == [2, -1, -1, -1, -1]
    assert next_visits(visits, 8).tolist() == [2, 4, -1, -1, -1]


def test_alternatives_are_asked_for_in_the_products_own_category() -> None:
    visits = groups((1, -DAY, [0]), (1, DAY, [0, 3, 3]), (1, 2 * DAY, [0, 1, 2, 3, -1]))
    sources, questions, unanswered = next_visit_questions(ground(visits, [0, 0, 1, 1]), 7)
    assert sources.tolist() == [0, 3]
    assert (questions.offsets.tolist(), questions.targets.tolist()) == ([0, 1, 2], [1, 2])
    assert unanswered == 4  # what stands in the last visit, which nothing follows


def test_lists_are_judged_by_place() -> None:
    questions = Questions(np.array([1, 2, 3]), np.array([0, 1, 3, 4]), np.array([5, 6, 7, 8]))
    found = judge(shown([5, 1], [1, 7, 6], [1, 2]), questions)
    assert found["hit_rate@6"].tolist() == [1, 1, 0]
    assert found["mrr@10"].tolist() == [1, 0.5, 0]
    ideal = 1 + 1 / np.log2(3)
    assert found["ndcg@10"] == pytest.approx([1, (1 / np.log2(3) + 1 / np.log2(4)) / ideal, 0])
    for fault, lists in {"twice": shown([1, 1], [2], [3]), "do not answer": shown([1])}.items():
        with pytest.raises(ValueError, match=fault):
            judge(lists, questions)


def test_a_page_is_ranked_among_what_its_market_sells_and_ties_count_against_the_target() -> None:
    markets = Markets(
        np.array([0, 1, -1]), np.array([[True] * 4, [True, False, True, True]]), np.zeros((2, 4), np.float32)
    )
    visits = groups((0, 1, [1, 0, 3]), (1, 2, [1]), (1, 3, [2]), (2, 4, [0]))
    shop = ground(visits, [0, 0, 0, 1], markets)
    pages = pages_of(shop.after(visits), shop)
    assert list(zip(pages.customers.tolist(), pages.targets.tolist(), strict=True)) == [(0, 1), (0, 3)]
    assert (pages.unavailable, pages.unknown) == (1, 1)
    even, _ = (rank_on_pages(lambda rows: np.ones((len(rows), 4), np.float32), pages, shop)[k] for k in (0, 1))
    assert even.tolist() == [3, 1]
    with pytest.raises(ValueError, match="NaN"):
        rank_on_pages(lambda rows: np.full((len(rows), 4), np.nan, np.float32), pages, shop)
    found = page_metrics(np.array([1, 3, 1]), np.array([5, 5, 1]))
    assert found["auc"].tolist() == [1, 0.5, 0.5]
    assert found["mrr"] == pytest.approx([1, 1 / 3, 1])


def test_a_hidden_product_of_a_category_in_the_bag_is_not_asked_for() -> None:
    offsets, products = np.array([0, 3, 5, 6]), np.array([0, 1, 2, 3, -1, 4])
    bags = bags_of(offsets, products, np.array([7, 8, 9]), np.array([0, 0, 1, 1, 1]))
    assert (bags.questions.targets.tolist(), bags.held.tolist(), bags.same_category) == ([2], [0, 1], 2)
    everything = bags_of(offsets, products, np.array([7, 8, 9]), None)
    assert everything.questions.targets.tolist() == [0, 1, 2]
    assert everything.sizes.tolist() == [2, 2, 2]


def test_the_rule_that_won_is_what_combine_does() -> None:
    random = np.random.default_rng(3)
    products, count = 60, 40
    rows = np.array([random.permutation(np.delete(np.arange(products), own))[:DEPTH] for own in range(products)])
    lists = ExtraLists(rows, -np.sort(-random.random(rows.shape), axis=1), random.integers(-1, 9, products))
    baskets = [random.permutation(products)[: random.integers(2, 6)] for _ in range(count)]
    offsets = np.cumsum([0, *map(len, baskets)])
    bags = bags_of(offsets, np.concatenate(baskets), np.arange(count), lists.category)
    assert combined(lists, bags).tolist() == _by_rule(lists, bags, RULES["mean of the best two"]).tolist()


def test_pairs_are_held_back_without_loss() -> None:
    customers = np.repeat(np.arange(40), 5)
    products = np.tile(np.arange(5), 40)
    pairs = held_back(customers, products, seed=1)
    assert len(pairs.kept) + len(pairs.held.targets) == 200
    bags = bags_of_pairs(pairs)
    for row, target in enumerate(bags.questions.targets):
        held = bags.held[bags.offsets[row] : bags.offsets[row + 1]]
        assert target not in held and len(held) < 5


def test_nothing_from_after_the_split_is_learned_from(tiny_raw: SampleShop, tmp_path: Path) -> None:
    settings = ListsConfig()
    split = date(2026, 3, 23)
    first = sample(tiny_raw.raw, split, settings.popular.event_weights, settings.popular.days)
    raw = tmp_path / "raw"
    for folder in ("events", "products", "availability"):
        (raw / folder).mkdir(parents=True)
        for path in sorted((tiny_raw.raw / folder).glob("*.csv.gz")):
            lines = gzip.decompress(path.read_bytes()).splitlines()
            kept = lines if path.name[:10] < "2026-03-23" else lines[:1] + lines[1::2]
            (raw / folder / path.name).write_bytes(gzip.compress(b"\n".join(kept) + b"\n"))
    second = sample(raw, split, settings.popular.event_weights, settings.popular.days)
    learned = [
        sorted(zip(g.train.times.tolist(), np.array(g.ids)[g.train.products], strict=True)) for g in (first, second)
    ]
    assert learned[0] == learned[1] and first.ids == second.ids
    assert first.category is not None and second.category is not None
    assert first.catalogue.features.tolist() == second.catalogue.features.tolist()
    assert first.price.tolist() == second.price.tolist()
    assert first.markets is not None and second.markets is not None
    assert first.markets.wanted.tolist() == second.markets.wanted.tolist()
    assert first.markets.available.tolist() == second.markets.available.tolist()
    before = [g.before(g.baskets) for g in (first, second)]
    assert before[0].products.tolist() == before[1].products.tolist()


def run(monkeypatch: pytest.MonkeyPatch, *given: object) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(sys, "argv", ["touch_points", *map(str, given)])
    touch_points.main()


def test_the_whole_benchmark_runs_on_the_tiny_shop(
    tiny_raw: SampleShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    run(monkeypatch, "--data", "sample", "--raw", tiny_raw.raw, "--models", "amf", "--json", out)
    found = json.loads(out.read_text("utf-8"))
    names = set(found["touch_points"])
    assert {"you_might_also_like", "people_also_bought", "bag_extras", "ranking of category pages"} <= names
    assert found["data"]["synthetic"] is True
    for one in found["touch_points"].values():
        ours = next(name for name in one["entrants"] if name.startswith("ours"))
        for name, figures in one["entrants"].items():
            assert (f"uplift of {ours}" in figures) == (name != ours)
    printed = capsys.readouterr().out
    assert all(f"\n{name}, sample: " in printed for name in names)


def test_pairs_without_time_have_lists_and_bags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    customers = np.repeat(np.arange(60), 5)
    # Two tastes: products 0 to 29 and 30 to 59.
    products = random.integers(0, 30, 300) + 30 * (customers % 2)
    frame = pl.DataFrame({"dummyUserId": [b"u%d" % c for c in customers], "productId": products})
    frame.write_parquet(tmp_path / "train.parquet")
    out = tmp_path / "out.json"
    monkeypatch.setattr("tests.benchmarks.touch_points.bought.AMF_SETTINGS", {"epochs": 1, "width": 8, "negatives": 16})
    run(monkeypatch, "--data", "asos", "--raw", tmp_path, "--json", out)
    found = json.loads(out.read_text("utf-8"))["touch_points"]
    assert "AMF, two tables" in found["people_also_bought"]["entrants"]
    assert "ours" in found["bag_extras"]["entrants"]


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    faults = {
        "needs --raw": ["--data", "online_retail"],
        "is not there": ["--data", "asos", "--raw", str(tmp_path / "none")],
        "asos has none": ["--data", "asos", "--raw", str(tmp_path), "--split", "2026-01-01"],
        "choose among": ["--data", "sample", "--models", "bert"],
        "make it first": ["--data", "sample", "--json", str(tmp_path / "none" / "out.json")],
    }
    for message, given in faults.items():
        with pytest.raises(UserError, match=message):
            touch_points.arguments(given)
