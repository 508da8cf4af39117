"""The benchmark with times: what it reads, that nothing from after T gets before it, what it asks and writes."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from jobs.errors import UserError
from models.catalogue import Catalogue
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common import comparison, presets
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.problem import Entrant, Problem
from tests.benchmarks.common.shops import Shop, online_retail, sample_shop, yoochoose
from tests.benchmarks.common.small_data import TINY
from tests.benchmarks.common.timed import (
    COLD,
    COLD_AMONG_ALL,
    known_at,
    problem_at,
    with_cold_products,
    with_event_targets,
    with_later_targets,
    with_slices_and_ablations,
)
from tests.benchmarks.common.worker import Outcome, give, result, work
from tests.benchmarks.timestamped import __main__ as timestamped
from tests.conftest import SampleShop

pytestmark = pytest.mark.soak

DAY = 86_400
SPLIT = 10 * DAY
CLICK, PURCHASE = 0, 3


def shop(*customers: list[tuple[int, int, int]], told: list[tuple[int, int, str]] | None = None) -> Shop:
    """Histories of (product, event, time) over the products a to f; the catalogue of (product, time, name)."""
    flat = [event for history in customers for event in history]
    offsets = np.cumsum([0, *map(len, customers)])
    columns = [np.array([event[place] for event in flat]) for place in range(3)]
    sequences = Sequences(offsets, columns[0].astype(np.int32), columns[1].astype(np.int8), columns[2])
    lines = told or [(product, 0, f"thing {product}") for product in range(6)]
    catalogue = pl.DataFrame(
        {"product": [line[0] for line in lines], "time": [line[1] for line in lines],
         "name": [line[2] for line in lines], "price": [9.0] * len(lines),
         "category": ["even" if line[0] % 2 == 0 else "odd" for line in lines]},
        schema_overrides={"product": pl.Int32},
    )  # fmt: skip
    return Shop(tuple("abcdef"), sequences, None, catalogue, SPLIT, horizon_days=7)


FIRST = [(0, CLICK, DAY), (1, PURCHASE, 2 * DAY)]
AFTER = [(2, CLICK, SPLIT), (0, PURCHASE, SPLIT + 60), (5, CLICK, SPLIT + 3 * DAY)]
SHOP = shop([*FIRST, *AFTER], [(2, CLICK, 3 * DAY), (3, CLICK, 4 * DAY)], [(1, CLICK, SPLIT + DAY)])


def plain(sequences: Sequences) -> list[list[int]]:
    return [values.tolist() for values in vars(sequences).values()]


def test_each_known_customers_first_basket_after_the_split_is_asked_for() -> None:
    problem, counts = problem_at(SHOP, SPLIT, None, 1)
    case = problem.cases[0]
    assert [row.tolist() for row in problem.histories[case.reads]] == [[0, 1]]
    assert [row.tolist() for row in case.targets] == [[2]]
    assert (problem.products, counts["new_products"], counts["cold_customers"]) == (4, 2, 1)
    assert len(problem.train) == 2


def test_nothing_from_after_the_split_changes_what_is_learned_from() -> None:
    later = [(4, PURCHASE, SPLIT + 2 * DAY), (2, CLICK, SPLIT + 9 * DAY)]
    lines = [(product, 0, f"thing {product}") for product in range(6)]
    other = shop(
        [*FIRST, *AFTER, *later], [(2, CLICK, 3 * DAY), (3, CLICK, 4 * DAY), (0, CLICK, SPLIT + 5)],
        [(1, CLICK, SPLIT + DAY)], told=[*lines, (0, SPLIT, "renamed"), (3, SPLIT + 1, "renamed")],
    )  # fmt: skip
    before, after = (problem_at(given, SPLIT, None, 1)[0] for given in (SHOP, other))
    assert plain(before.train) == plain(after.train)
    assert before.products == after.products
    assert before.catalogue is not None and after.catalogue is not None
    assert before.catalogue.features.tolist() == after.catalogue.features.tolist()
    assert plain(SHOP.before(SPLIT).sequences) == plain(replace(other).before(SPLIT).sequences)[:4]


def test_a_product_is_described_as_last_said_before_the_time_or_first_said_after_it() -> None:
    given = shop(FIRST, told=[(0, 1, "old"), (0, 5, "newer"), (0, 20, "later"), (1, 30, "first"), (1, 40, "second")])
    found = given.described(np.array([1, 0, 2]), 10)
    wanted = Catalogue.of({"category": ["odd", "even", None]}, ["first", "newer", None], [9.0, 9.0, None])
    assert found.features.tolist() == wanted.features.tolist()


def test_slices_events_and_later_windows_are_cases_of_their_own() -> None:
    problem, _ = problem_at(SHOP, SPLIT, None, 1)
    problem = with_slices_and_ablations(problem, ("transformer",), 1)
    problem = with_event_targets(problem, SHOP, None, 1)
    problem = with_later_targets(problem, SHOP, ("transformer",), None, 1)
    found = {case.name: case for case in problem.cases}
    targets = {name: [row.tolist() for row in case.targets] for name, case in found.items()}
    assert targets["next click"] == [[2]]
    assert targets["next purchase"] == [[0]]
    assert targets["all of the next day"] == targets["all of the next week"] == [[2, 0]]  # 5 is not known yet
    assert found["new to the customer"].exclude_seen
    assert [row.tolist() for row in problem.histories["only the last product"]] == [[1]]
    assert not found["history shuffled"].asks(Entrant("amf", "amf"))
    assert found["history shuffled"].asks(Entrant("transformer", "transformer"))
    assert not found["next basket"].asks(Entrant("random", "random", cases=(COLD,)))


def test_cold_products_are_asked_for_among_each_other_and_among_all() -> None:
    problem, _ = problem_at(SHOP, SPLIT, None, 1)
    problem = with_cold_products(problem, SHOP, None, 1)
    cold, among_all = problem.cases[1:]
    new = known_at(SHOP, SPLIT, SPLIT + 7 * DAY).new.tolist()
    assert new == [4, 5]
    assert [row.tolist() for row in cold.targets] == [[4 + new.index(5)]]
    assert cold.candidates is not None and cold.candidates.tolist() == [False] * 4 + [True] * 2
    assert (among_all.name, among_all.candidates.tolist()) == (COLD_AMONG_ALL, [True] * 6)  # type: ignore[union-attr]
    assert problem.categories is not None and problem.categories.tolist() == [0, 1, 0, 1, 0, 1]


def test_a_split_outside_the_data_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="choose one inside the data"):
        problem_at(SHOP, 10_000 * DAY, None, 1)


INVOICES = """InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,22222B,lamp,2,2011-11-01 09:00:00,1.5,7.0,France
1,11111,vase,1,2011-11-01 09:01:00,2.5,7.0,France
1,22222B,lamp,1,2011-11-01 09:00:00,1.5,7.0,France
C2,11111,vase,-1,2011-11-02 09:00:00,2.5,7.0,France
3,POST,postage,1,2011-11-03 09:00:00,9.0,7.0,France
4,33333,free,1,2011-11-03 09:00:00,0.0,7.0,France
5,33333,bowl,1,2011-11-04 09:00:00,1.0,,France
6,11111,vase,1,2011-11-11 09:00:00,2.5,7.0,France
"""


def test_online_retail_is_purchases_of_known_customers_by_invoice(tmp_path: Path) -> None:
    (tmp_path / "2011-11-01.csv.gz").write_bytes(gzip.compress(INVOICES.encode()))
    given = online_retail(tmp_path, None)
    assert given.ids == ("11111", "22222B")
    assert given.sequences.products.tolist() == [1, 0, 0]
    assert given.baskets is not None
    assert len(np.unique(given.sequences.times)) == len(np.unique(given.baskets)) == 2
    assert set(given.sequences.events.tolist()) == {PURCHASE}
    assert given.split == int(datetime(2011, 11, 10, tzinfo=UTC).timestamp())
    with pytest.raises(UserError, match="raw folder"):
        online_retail(tmp_path / "nothing", None)


def test_yoochoose_keeps_its_split_and_asks_after_every_prefix(tmp_path: Path) -> None:
    head = "SessionId\tItemId\tTime\n"
    train = head + "9\t50\t100.5\n9\t60\t130.2\n4\t60\t20.0\n4\t50\t30.0\n"
    test = head + "1\t60\t900.0\n1\t77\t910.0\n1\t50\t920.0\n"
    for name, text in (("train", train), ("test", test)):
        (tmp_path / f"{name}.tsv.gz").write_bytes(gzip.compress(text.encode()))
    clicks = yoochoose(tmp_path)
    assert clicks.vocabulary == Vocabulary(["50", "60"])
    assert [row.tolist() for row in clicks.train] == [[1, 0], [0, 1]]
    assert clicks.train.times.tolist() == [20, 30, 100, 130]
    assert [row.tolist() for row in clicks.prefixes] == [[1], [1]]
    assert (clicks.targets.tolist(), clicks.groups.tolist(), clicks.unknown_clicks) == ([-1, 0], [0, 0], 1)


def test_the_sample_shop_loses_its_dirty_rows_and_nothing_else(tiny_raw: SampleShop) -> None:
    given = sample_shop(tiny_raw.raw, None)
    assert len(given.sequences.products) == sum(tiny_raw.summary.clean_events.values())
    assert given.split == int(datetime.combine(tiny_raw.size.as_of, datetime.min.time(), UTC).timestamp()) - 7 * DAY
    assert not any(product.startswith(("D", "P-gone")) for product in np.array(given.ids)[given.sequences.products])
    early = sample_shop(tiny_raw.raw, date(2026, 3, 23))
    assert early.split < given.split


def in_this_process(entrant: Entrant, folder: Path, seeds: list[int], log: Log) -> Outcome:
    give(entrant, folder, seeds, log)
    work(folder)
    return result(entrant, folder)


def test_the_whole_benchmark_writes_cases_ablations_and_objectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_raw: SampleShop, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setitem(presets.TIMED, "quick", TINY)
    monkeypatch.setattr(comparison, "run", in_this_process)
    monkeypatch.setattr(timestamped, "METRICS", ("ndcg@10", "hr@20", "mrr@20"))
    out = tmp_path / "out.json"
    arguments = ["--data", "sample", "--raw", tiny_raw.raw, "--models", "amf,transformer,own_repeat", "--seeds", 1,
                 "--objectives", "--json", out]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["timestamped", *map(str, arguments)])
    timestamped.main()
    found = json.loads(out.read_text("utf-8"))
    models = found["models"]
    assert found["data"]["synthetic"] is True
    assert set(models["amf"]["cases"]) == {"next basket", "new to the customer", "next click", "next purchase"}
    assert models["transformer"]["ndcg@10"] == models["transformer"]["cases"]["next basket"]["ndcg@10"]
    assert set(models["own_repeat"]["uplift_over_amf"]) == {"ndcg@10", "hr@20", "mrr@20"}
    assert set(found["ablations"]) == {"history shuffled", "only the last product", "no side information"}
    assert set(found["objectives"]) == {
        f"transformer_{name}" for name in ("7_days", "28_days", "purchases", "7_days_purchases")
    }
    assert models["transformer_28_days"]["params"]["future_days"] == 28.0
    if COLD in found["data"]["cases"]:
        assert {name for name in models if COLD in models[name]["cases"]} == {
            "transformer", "category_popularity", "random",
        }  # fmt: skip
    shown = capsys.readouterr().out
    assert "What the transformer loses without" in shown


def test_options_that_do_not_fit_the_data_are_refused(tmp_path: Path) -> None:
    out = ["--json", str(tmp_path / "out.json")]
    faults = {
        "needs --raw": ["--data", "online_retail"],
        "given split": ["--data", "yoochoose", "--raw", ".", "--objectives"],
        "in other ways": ["--data", "sample", "--models", "amf", "--objectives"],
        "there is no bert": ["--data", "sample", "--models", "bert"],
    }
    for message, given in faults.items():
        with pytest.raises(UserError, match=message):
            timestamped.arguments([*given, *out])


def test_a_problem_with_products_of_all_sorts_comes_back_from_disk(tmp_path: Path) -> None:
    problem, _ = problem_at(SHOP, SPLIT, None, 1)
    problem = with_cold_products(with_slices_and_ablations(problem, ("transformer",), 1), SHOP, None, 1)
    problem.save(tmp_path)
    loaded = Problem.load(tmp_path)
    assert loaded.catalogue is not None and problem.catalogue is not None
    assert loaded.catalogue.features.tolist() == problem.catalogue.features.tolist()
    assert loaded.new_products is not None and len(loaded.new_products) == 2
    assert [case.name for case in loaded.cases] == [case.name for case in problem.cases]
    assert loaded.cases[-1].candidates is not None and loaded.cases[-1].only == problem.cases[-1].only
