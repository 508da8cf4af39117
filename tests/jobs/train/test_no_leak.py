"""Nothing that happens from a held-out midnight on reaches a figure of that day, or a model: both are garbage here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.lake.lake import Lake
from jobs.tables.shop import AVAILABILITY, CATALOGUE, CUSTOMER_SEQUENCES, POLICY
from jobs.train.comparison import EvaluationSplit, HeldOutDays, SplitSizes, TrainedCandidate, compare, prepare
from jobs.train.decision import LAST_CHAMPION
from jobs.train.evaluate import HEADLINE_SLICE, baselines
from jobs.train.held_out import SLICES
from models.arrays import Rows
from models.contract import Compute
from models.evaluation.days import CustomerDays
from models.evaluation.metrics import Allowed
from models.networks import artefacts
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences
from tests.support.toy_shop import MIDNIGHT, NIGHT, product, run_of

CUSTOMERS, KNOWN, NEW = 150, 40, 6
HELD_OUT, VALIDATION = 3, 4
"""Days before the night, and days before those."""
SIZES = SplitSizes(HELD_OUT, VALIDATION, 1_000, 60)
OLD = NIGHT - timedelta(days=20)
"""The newest night up to the split that says what is sold."""
IDS = [f"p{p:02}" for p in range(KNOWN + NEW)]
STRANGERS = [f"x{p}" for p in range(5)]
"""Products that no catalogue has."""
LIGHT = {"round_steps": 1, "patience": 1, "most_steps": 12, "batch_events": 512, "width": 8}
CANDIDATES: dict[str, dict[str, Any]] = {"amf": LIGHT, "closed_form": {}, "transformer": {**LIGHT, "layers": 1}}
COMPUTE = Compute("cpu", 3)
Event = tuple[str, str, float]
"""(product, event type, days before the night)."""


def truth() -> list[list[Event]]:
    """Each customer comes on some days of the last thirty and looks at products near their own, and at one of any kind;
    new products appear on held-out days, and nobody buys one.
    """
    rng, every = np.random.default_rng(8), list[list[Event]]()
    for customer in range(CUSTOMERS):
        row = list[Event]()
        for day in np.sort(rng.choice(30, 14, replace=False)):
            own = (customer * 3 + np.append(rng.integers(0, 6, 2), rng.integers(0, KNOWN))) % KNOWN
            row += [(IDS[p], str(rng.choice(EVENT_TYPES)), 30 - day - 0.1 * (n + 1)) for n, p in enumerate(own)]
            if day >= 30 - HELD_OUT:
                row.append((IDS[KNOWN + int(rng.integers(NEW))], "click", 30 - day - 0.5))
        every.append(row)
    return every


def garbage(ago: int) -> list[list[Event]]:
    """The same up to a midnight so many days before the night, and from it on whatever comes, for new customers too."""
    rng, every = np.random.default_rng(ago), list[list[Event]]()
    for row in [*truth(), *[[]] * 25]:
        late = list[Event]()
        for ids in (IDS[:KNOWN], IDS[KNOWN:], [*IDS, *STRANGERS], [*IDS, *STRANGERS]):
            late.append((str(rng.choice(ids)), str(rng.choice(EVENT_TYPES)), ago - rng.random() * 0.99))
        late += [(str(rng.choice(IDS)), "purchase", ago * rng.random()) for _ in range(5)]
        late.append((str(rng.choice(IDS[:KNOWN])), "purchase", ago))  # on the first second of the day
        every.append([event for event in row if event[2] > ago] + sorted(late, key=lambda event: -event[2]))
    return every


def sequences(every: list[list[Event]], market_of: Iterable[str]) -> list[dict[str, Any]]:
    """Rows of customer_sequences."""
    rows = []
    for number, (events, market) in enumerate(zip(every, market_of, strict=True)):
        times = [MIDNIGHT - timedelta(seconds=round(ago * SECONDS_PER_DAY)) for _, _, ago in events]
        last = {p: at for (p, kind, _), at in zip(events, times, strict=True) if kind == "purchase"}
        rows.append({
            "customer_id": f"c{number:03}", "market": market, "product_ids": [p for p, _, _ in events],
            "event_types": [kind for _, kind, _ in events], "event_timestamps": times, "last_event_at": times[-1],
            "bought": sorted(last), "bought_at": [last[p] for p in sorted(last)],
        })  # fmt: skip
    return rows


def markets(customers: int) -> list[str]:
    return [("GB", "FR", "GB", "Atlantis")[customer % 4] for customer in range(customers)]


def available(but: int) -> list[dict[str, Any]]:
    """Every market sells what its own remainder by 7 does not leave out."""
    sold = ((p, market) for n, market in enumerate(("FR", "GB")) for p in range(len(IDS)) if (p + n) % 7 != but)
    return [{"product_id": IDS[p], "market": market, "available": True} for p, market in sold]


def products(word: str) -> list[dict[str, Any]]:
    return [product(p, f"{word} {p}", f"B{n % 4}", f"kind {n % 5}", "red", 1.0 + n) for n, p in enumerate(IDS)]


def lake_of(root: Path, every: list[list[Event]], later: bool) -> Lake:
    """A lake of the night; with `later` also of the night after, and of what is sold since the split, all garbage."""
    lake, run = Lake(root), run_of(NIGHT)
    rule = {"rule_id": "r", "kind": "repeat_purchase", "attribute": "category", "value": "kind 1", "amount": 9.0}
    lake.replace_rows(POLICY, [rule], run)
    lake.replace_rows(CUSTOMER_SEQUENCES, sequences(every, markets(len(every))), run)
    for night, but in ((OLD, 0), (NIGHT, 3 if later else 0)):
        lake.replace_rows(CATALOGUE, products("article"), run_of(night))
        lake.replace_rows(AVAILABILITY, available(but), run_of(night))
    if later:
        after = run_of(NIGHT + timedelta(days=1))
        lake.replace_rows(CUSTOMER_SEQUENCES, sequences(garbage(1)[::-1], ["FR"] * len(every)), after)
        lake.replace_rows(CATALOGUE, products("other"), after)
        lake.replace_rows(AVAILABILITY, available(5), after)
    return lake


@dataclass(frozen=True)
class Compared:
    """A lake's split and the models that learned from it."""

    split: EvaluationSplit
    trained: dict[str, TrainedCandidate]

    @staticmethod
    def of(lake: Lake) -> Compared:
        split = prepare(lake, run_of(NIGHT), SIZES, seed=5)
        validation, trained = split.validation, {}
        assert validation is not None
        for kind, settings in CANDIDATES.items():
            model = artefacts.create(kind, split.vocabulary, COMPUTE, **settings)
            choice = model.choose(validation.train, split.catalogue, validation.headline)
            trained[kind] = TrainedCandidate(model, choice.settings, 0.0, list(choice.losses), list(choice.figures))
        return Compared(split, trained)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    return Compared.of(lake_of(tmp_path_factory.mktemp("truth"), truth(), later=False))


@pytest.fixture(scope="module", params=range(HELD_OUT))
def day(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def false(day: int, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """The same shop where everything from that day's midnight on is garbage."""
    return Compared.of(lake_of(tmp_path_factory.mktemp("garbage"), garbage(HELD_OUT - day), later=True))


def assert_same(ours: Sequences, theirs: Sequences) -> None:
    for field in fields(Sequences):
        np.testing.assert_array_equal(getattr(ours, field.name), getattr(theirs, field.name))


def rows_of(found: CustomerDays, day: int, wanted: Rows) -> Rows:
    """Where the pairs of those customers and the day are."""
    rows = np.flatnonzero((found.days == day) & np.isin(found.customers, wanted))
    np.testing.assert_array_equal(found.customers[rows], wanted)
    return rows


def at(rows: Rows, allowed: Allowed) -> Allowed:
    return lambda chosen: allowed(rows[chosen])


def on_day(compared: Compared, day: int, truth: Compared) -> EvaluationSplit:
    """A split of one day alone, with its true customers and what they truly turned to."""
    split, true = compared.split, truth.split
    parts = dict[str, Any]()
    for name, own, theirs in (("test", split.test.days, true.test.days), ("new", split.test_of_new, true.test_of_new)):
        wanted = np.flatnonzero(theirs.days == day)
        rows = rows_of(own, day, theirs.customers[wanted])
        parts[name] = rows, replace(own.take(rows), targets=theirs.targets.take(wanted))
    rows, days = parts["test"]
    of_new, days_of_new = parts["new"]
    shown = {label: at(rows, allowed) for label, allowed in split.test.shown.items()}
    return replace(
        split,
        test=HeldOutDays(split.test.train, days, shown),
        markets=[split.markets[row] for row in rows],
        test_of_new=days_of_new,
        shown_of_new=at(of_new, split.shown_of_new),
    )


def test_the_garbage_is_garbage(real: Compared, false: Compared, day: int) -> None:
    """Else the other tests would prove nothing."""
    true, made = real.split, false.split
    assert len(made.sequences) == CUSTOMERS + 25 and len(made.sequences.products) != len(true.sequences.products)
    rows = np.flatnonzero(true.test.days.days == day)
    theirs = made.test.days.take(rows_of(made.test.days, day, true.test.days.customers[rows]))
    changed = [
        set(a.tolist()) != set(b.tolist())
        for a, b in zip(true.test.days.targets.take(rows), theirs.targets, strict=True)
    ]
    assert len(rows) > 40 and np.mean(changed) > 0.9


def test_models_and_what_they_learn_from_stay_the_same_to_the_last_bit(real: Compared, false: Compared) -> None:
    true, made = real.split, false.split
    assert made.vocabulary == true.vocabulary and made.new == true.new and made.categories == true.categories
    np.testing.assert_array_equal(made.catalogue.features, true.catalogue.features)
    assert_same(made.test.train.take(np.arange(CUSTOMERS)), true.test.train)
    assert not made.test.train.take(np.arange(CUSTOMERS, len(made.test.train))).products.size
    ours, theirs = made.validation, true.validation
    assert ours is not None and theirs is not None
    assert_same(ours.train.take(np.arange(CUSTOMERS)), theirs.train)
    assert_same(ours.days.histories, theirs.days.histories)
    assert_same(ours.days.targets, theirs.days.targets)
    every = np.arange(len(theirs.days))
    for label in SLICES:
        np.testing.assert_array_equal(ours.shown[label](every), theirs.shown[label](every))
    for kind, candidate in real.trained.items():
        other = false.trained[kind]
        assert (other.settings, other.losses, other.validation) == (
            candidate.settings,
            candidate.losses,
            candidate.validation,
        )
        tensors = other.model.tensors()
        assert tensors.keys() == candidate.model.tensors().keys()
        for name, value in candidate.model.tensors().items():
            assert tensors[name].tobytes() == value.tobytes(), (kind, name)


def test_a_days_customers_look_the_same_to_every_model_and_baseline(real: Compared, false: Compared, day: int) -> None:
    true, made = on_day(real, day, real), on_day(false, day, real)
    every = np.arange(len(true.test.days))
    assert_same(made.test.days.histories, true.test.days.histories)
    assert_same(made.test_of_new.histories, true.test_of_new.histories)
    for label in SLICES:
        np.testing.assert_array_equal(made.test.shown[label](every), true.test.shown[label](every), err_msg=label)
    assert not true.test.shown[HEADLINE_SLICE](every).all(), "something is left out"
    every_new = np.arange(len(true.test_of_new))
    np.testing.assert_array_equal(made.shown_of_new(every_new), true.shown_of_new(every_new))
    for kind, candidate in real.trained.items():
        other = false.trained[kind].model
        assert other.encode(made.test.days.histories).tobytes() == candidate.model.encode(
            true.test.days.histories).tobytes(), kind  # fmt: skip
        assert other.product_vectors().tobytes() == candidate.model.product_vectors().tobytes()
    ours, theirs = (baselines(split.sequences, split.test.days, len(split.vocabulary)) for split in (made, true))
    for name, scores in theirs.items():
        np.testing.assert_array_equal(ours[name](every), scores(every), err_msg=name)


def test_every_figure_of_the_day_stays_the_same(real: Compared, false: Compared, day: int) -> None:
    found = [
        compare(on_day(each, day, real), each.trained, each.trained["amf"].model, run_of(NIGHT))
        for each in (real, false)
    ]
    assert found[0].figures == found[1].figures
    for kind, candidate in found[0].candidates.items():
        assert candidate.ndcg.tobytes() == found[1].candidates[kind].ndcg.tobytes()
    models, slices = {f.model for f in found[0].figures}, {f.slice for f in found[0].figures}
    assert models >= {*CANDIDATES, LAST_CHAMPION, "popularity", "own repeat", "markov chain", "item-knn"}
    assert slices >= {*SLICES, "uplift over amf", "new products", "market GB"}


def test_chosen_customers_are_left_out_of_learning_on_the_days_that_choose(real: Compared) -> None:
    true, validation = real.split, real.split.validation
    assert validation is not None
    chosen = np.unique(validation.days.customers)
    first, end = true.test.days.first - VALIDATION * SECONDS_PER_DAY, true.test.days.first
    assert validation.days.first == first and 20 <= len(chosen) <= CUSTOMERS // 3
    late = validation.train.times >= first
    assert not np.isin(validation.train.owners[late], chosen).any(), "their last days teach nothing"
    assert (validation.train.times < end).all() and late.any(), "those of everybody else do"
    others = ~np.isin(true.test.train.owners, chosen) | (true.test.train.times < first)
    assert_same(validation.train, true.test.train.where(others))
    assert (validation.days.targets.times < end).all() and (validation.days.histories.times < end).all()
