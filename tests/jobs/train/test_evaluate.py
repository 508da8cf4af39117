"""Checks the figures of a comparison: slices, intervals, uplifts, new products, and models of another vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jobs.train.evaluate import (
    FEWEST,
    HEADLINE,
    UPLIFT,
    Figure,
    SliceMetrics,
    baselines,
    drawn,
    measure,
    new_products,
    sliced,
    uplifts,
)
from models.catalogue import Catalogue
from models.contract import Compute, FloatMatrix, Recommender
from models.evaluation.baselines import CategoryPopularity, OwnRepeat, PopularityScorer
from models.evaluation.bootstrap import mean_interval
from models.evaluation.days import CustomerDays, customer_days
from models.evaluation.metrics import Allowed, RecommenderScorer, allowing, from_scorer
from models.networks.artefacts import create
from models.sequences import SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary
from tests.support.strategies import histories

CUSTOMERS, PRODUCTS = 120, 12
DAY = SECONDS_PER_DAY
T = 100 * DAY


def shop() -> Sequences:
    """Customer c clicks on (c mod 4) + 1 products before T, and after it buys (even c) or clicks (odd c) product c mod
    12, in the order of time."""
    rows, offsets = [], [0]
    for c in range(CUSTOMERS):
        before = [((c + k) % PRODUCTS, 0, T - 100 + k) for k in range(c % 4 + 1)]
        rows += [*before, (c % PRODUCTS, 3 if c % 2 == 0 else 0, T + 5)]
        offsets.append(len(rows))
    products, events, times = (np.array(column) for column in zip(*rows, strict=True))
    return Sequences(np.array(offsets), products.astype(np.int32), events.astype(np.int8), times.astype(np.int64))


class Knows:
    """Scores the customer's first product highest if its number is even, lowest if not."""

    def scores(self, sequences: Sequences) -> FloatMatrix:
        first = sequences.products[sequences.offsets[:-1]]
        scores = np.tile(np.linspace(0.1, 0, PRODUCTS, dtype=np.float32), (len(sequences), 1))
        scores[np.arange(len(first)), first] = np.where(first % 2 == 0, 1, -1)
        return scores


EVERY = np.ones(PRODUCTS, dtype=bool)
EVERYTHING = allowing(EVERY)


def on_all(days: CustomerDays, shown: Allowed = EVERYTHING) -> SliceMetrics:
    """The metrics of `Knows` on one slice, called `all`."""
    return measure("knows", from_scorer(Knows(), days.histories), days, {"all": shown})["all"]


@pytest.fixture
def days() -> CustomerDays:
    return customer_days(shop(), T, 7, EVERY, EVERY)


def test_a_slice_is_the_mean_over_its_customers(days: CustomerDays) -> None:
    row_scores = from_scorer(Knows(), days.histories)
    whole = on_all(days)
    markets = ["GB" if c % 3 else "FR" for c in days.customers]
    found = {f.slice: f for f in sliced(whole, row_scores, days, EVERYTHING, markets)}
    assert found["target purchase"].value == 1.0  # bought by even customers, whose product is even
    assert found["target click"].value == 0.0  # the last of 12
    assert found["history 1-4"].value == pytest.approx(0.5)
    assert "history 20+" not in found and "target bag" not in found  # nobody is there
    assert (found["market FR"].customers, found["market GB"].customers) == (40, 80)
    assert {f.metric for f in found.values()} == {HEADLINE}


def test_every_metric_of_every_model_is_a_row(days: CustomerDays) -> None:
    found = list(on_all(days).figures())
    assert {(f.model, f.slice, f.customers) for f in found} == {("knows", "all", CUSTOMERS)}
    assert [f.metric for f in found] == [f"{m}@{k}" for k in (10, 20) for m in ("hit_rate", "recall", "ndcg", "mrr")]
    assert {f.metric: f.value for f in found}[HEADLINE] == pytest.approx(0.5)


def test_a_slice_of_few_customers_gets_no_row(days: CustomerDays) -> None:
    whole = on_all(days)
    few = np.arange(CUSTOMERS) < FEWEST - 1
    assert list(whole.within("few", few)) == []
    assert [f.customers for f in whole.within("enough", np.arange(CUSTOMERS) < FEWEST)] == [FEWEST]


def test_many_days_of_few_customers_are_few() -> None:
    owners = np.repeat(np.arange(FEWEST - 1), 30)
    whole = SliceMetrics("m", "all", np.arange(len(owners)), owners, {HEADLINE: np.ones(len(owners))})
    assert list(whole.within("few", np.ones(len(owners), dtype=bool))) == []


def test_a_customer_without_a_target_that_may_be_shown_is_in_no_mean(days: CustomerDays) -> None:
    odd = allowing(np.arange(PRODUCTS) % 2 == 1)
    found = on_all(days, odd)
    assert (found.customers % 2 == 1).all() and len(found.rows) == CUSTOMERS // 2
    assert days.customers[found.rows].tolist() == found.customers.tolist()
    assert next(found.figures()).customers == CUSTOMERS // 2
    nothing = on_all(days, allowing(~EVERY))
    assert list(nothing.figures()) == []


# --- customers and their days


def comings() -> Sequences:
    """Customer c comes on c % 3 + 1 days and looks at a product on each."""
    rows = [[(c % PRODUCTS, T - 50), *(((c + d) % PRODUCTS, T + d * DAY) for d in range(c % 3 + 1))] for c in range(60)]
    return histories(*rows)


def week() -> CustomerDays:
    return customer_days(comings(), T, 7, EVERY, EVERY)


def test_drawn_customers_keep_all_of_their_days() -> None:
    days = week()
    part = drawn(days, 25, seed=1)
    assert len(np.unique(part.customers)) == 25
    rows = np.flatnonzero(np.isin(days.customers, part.customers))
    assert part.days.tolist() == days.days[rows].tolist() and part.customers.tolist() == days.customers[rows].tolist()
    assert part.targets.products.tolist() == days.targets.take(rows).products.tolist()
    assert part.customers.tolist() == drawn(days, 25, seed=1).customers.tolist()
    assert part.customers.tolist() != drawn(days, 25, seed=2).customers.tolist()
    assert drawn(days, 60, seed=1) is days


def test_an_interval_draws_customers_with_all_of_their_days() -> None:
    """Three values of each customer that are the same say no more than one, so the interval is as wide."""
    of_customers = np.random.default_rng(1).random(50)
    owners = np.tile(np.arange(50), 3)  # day by day, as the pairs come
    figure = Figure.mean("m", HEADLINE, "all", of_customers[owners], owners)
    assert figure.customers == 50 and figure.value == pytest.approx(of_customers.mean())
    plain = mean_interval(of_customers)
    assert (figure.low, figure.high) == pytest.approx((plain.low, plain.high))
    apart = Figure.mean("m", HEADLINE, "all", of_customers[owners], np.arange(150))
    assert apart.high - apart.low < 0.7 * (figure.high - figure.low)


def test_figures_of_a_model_draw_customers() -> None:
    days = week()
    found = on_all(days)
    assert found.customers.tolist() == days.customers.tolist()
    figure = next(f for f in found.figures() if f.metric == HEADLINE)
    wanted = mean_interval(found.metrics[HEADLINE], days.customers)
    assert (figure.value, figure.low, figure.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert figure.customers == 60 < len(days)


def test_uplifts_are_over_amf_on_the_same_customers() -> None:
    customers = np.repeat(np.arange(40), 2)
    amf = np.repeat(np.random.default_rng(2).random(40), 2)
    other = np.random.default_rng(3).random(80)
    found = {f.model: f for f in uplifts({"amf": amf, "double": 2 * amf, "other": other}, customers)}
    assert found.keys() == {"double", "other"}
    double = found["double"]
    assert (double.metric, double.slice, double.customers) == (HEADLINE, UPLIFT, 40)
    assert (double.value, double.low, double.high) == pytest.approx((1, 1, 1)), "paired: no draw differs"
    assert found["other"].value == pytest.approx(other.mean() / amf.mean() - 1)
    assert found["other"].low < found["other"].value < found["other"].high
    assert list(uplifts({"double": amf}, customers)) == [], "there is no AMF to compare with"
    assert list(uplifts({"amf": np.zeros(80), "double": amf}, customers)) == [], "nor an uplift over nothing"


# --- baselines


def test_popularity_is_that_before_each_day_and_a_chain_that_before_the_first() -> None:
    early, first, second = T - 9 * DAY, T + 5, T + DAY + 5
    data = histories(
        [(0, early), (1, first), (2, second)],
        [(0, early), (1, first), (1, first + 1), (1, first + 2), (2, second)],
        [(0, early), (3, early + 1), (3, second)],
    )
    days = customer_days(data, T, 2, np.ones(4, dtype=bool), np.ones(4, dtype=bool))
    assert list(zip(days.customers.tolist(), days.days.tolist(), strict=True)) == [
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
        (2, 1),
    ]
    found = baselines(data, days, 4)
    rows = np.arange(5)
    assert {name: scores(rows).shape for name, scores in found.items()} == dict.fromkeys(found, (5, 4))
    on_first, on_second = np.array([3, 0, 0, 1]) / 4, np.array([3, 4, 0, 1]) / 8
    np.testing.assert_allclose(found["popularity"](rows), [on_first] * 2 + [on_second] * 3)
    np.testing.assert_allclose(found["popularity"](np.array([4, 1])), [on_second, on_first])
    week = found["popularity of 7 days"](rows)
    np.testing.assert_allclose(week[0], 1e-4 * on_first)  # nothing in the seven days before, so all events decide
    np.testing.assert_allclose(week[2], [0, 1, 0, 0] + 1e-4 * on_second)
    chain = found["markov chain"](rows)
    assert chain[2].argmax() == 0, (
        "who looked at 1 on the first day: nothing before it had followed 1, the rest is ties"
    )
    assert chain[4].argmax() == 0
    own = found["own repeat"](rows)
    assert own[2, 1] > own[2, 0] > 1 > own[2, 2], "own products lead, the latest first"


def test_a_baseline_is_the_scorer_of_its_day() -> None:
    days, data = week(), comings()
    found = baselines(data, days, PRODUCTS)
    for day in range(3):
        rows = np.flatnonzero(days.days == day)
        midnight = T + day * DAY
        before = data.where(data.times < midnight)
        popular = PopularityScorer(before, PRODUCTS, until=midnight, days=14)
        wanted = OwnRepeat(popular, recency=1.0).scores(days.histories.take(rows))
        np.testing.assert_array_equal(found["own counts, then popularity of 14 days"](rows), wanted)


def test_products_beyond_the_vocabulary_count_for_no_baseline() -> None:
    data = histories([(0, T - 9), (7, T - 8), (1, T + 5), (7, T + 6)], [(1, T - 9), (-1, T - 8), (0, T + 5)])
    known = np.arange(8) < 2
    days = customer_days(data, T, 1, known, known)
    clean = data.where((data.products >= 0) & (data.products < 2))
    rows = np.arange(2)
    for name, scores in baselines(data, days, 2).items():
        np.testing.assert_array_equal(scores(rows), baselines(clean, days, 2)[name](rows), err_msg=name)


# --- new products


def coloured(products: int) -> Catalogue:
    names = [f"article{p}" for p in range(products)]  # a word of its own each: without one, new products would tie
    return Catalogue.of({"colour": [str(p % 2) for p in range(products)]}, names, [None] * products)


def of_one_colour() -> Sequences:
    """Customer c clicks four products of parity c % 2 out of 12."""
    rng = np.random.default_rng(1)
    products = 2 * rng.integers(0, 6, (CUSTOMERS, 4)) + np.arange(CUSTOMERS)[:, None] % 2
    offsets = np.arange(CUSTOMERS + 1, dtype=np.int64) * 4
    times = np.tile(T - 100 + np.arange(4), CUSTOMERS)
    return Sequences(offsets, products.ravel().astype(np.int32), np.zeros(len(times), np.int8), times)


def trained(kind: str) -> Recommender:
    model = create(kind, Vocabulary([f"p{p:02}" for p in range(PRODUCTS)]), Compute("cpu", 2), width=16, epochs=15,
                   table_learning_rate=0.05, max_length=8, batch_events=128)  # fmt: skip
    model.fit(of_one_colour(), coloured(PRODUCTS))
    return model


def test_new_products_are_ranked_by_what_the_catalogue_says() -> None:
    model = trained("transformer")
    past, new = of_one_colour(), 12
    products = PRODUCTS + 2 * np.random.default_rng(6).integers(0, new // 2, CUSTOMERS) + np.arange(CUSTOMERS) % 2
    times = np.full(CUSTOMERS, T + 5)
    wanted = Sequences(np.arange(CUSTOMERS + 1), products.astype(np.int32), np.zeros(CUSTOMERS, np.int8), times)
    days = CustomerDays(T, np.arange(CUSTOMERS), np.zeros(CUSTOMERS, np.int64), past, wanted)
    allowed = allowing(np.arange(PRODUCTS + new) >= PRODUCTS)
    larger = model.extended([f"n{p}" for p in range(new)], Catalogue(coloured(PRODUCTS + new).features[PRODUCTS:]))
    categories = [str(p % 2) for p in range(PRODUCTS + new)]
    found: dict[str, Figure] = {f.model: f for f in new_products({"transformer": larger}, days, allowed, categories)}
    assert found["random order"].value == pytest.approx(sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / 12)
    # Either knows the colour and nothing else: the target is somewhere in the first six of twelve.
    within_colour = sum(1 / np.log2(rank + 1) for rank in range(1, 7)) / 6
    assert found["category popularity"].value == pytest.approx(within_colour, abs=0.06)
    assert found["transformer"].value == pytest.approx(within_colour, abs=0.06)


def test_random_order_is_what_many_random_orders_come_to() -> None:
    """Customers with one to five targets among what each market shows: six, twelve or twenty new products."""
    rng, new = np.random.default_rng(5), 20
    rows = [[(PRODUCTS + int(p), T + 5) for p in rng.choice(new, c % 5 + 1, replace=False)] for c in range(60)]
    past = histories(*[[(0, T - 5)]] * 60)
    days = CustomerDays(T, np.arange(60), np.zeros(60, np.int64), past, histories(*rows))
    numbers = np.arange(PRODUCTS + new) - PRODUCTS
    markets = np.stack([(numbers >= 0) & (numbers < sold) for sold in (6, 12, 20)])
    allowed = allowing(markets, None, np.arange(60) % 3)
    found = {f.model: f for f in new_products({}, days, allowed, ["all"] * (PRODUCTS + new))}
    assert found.keys() == {"category popularity", "random order"}
    simulated = []
    for draw in range(400):
        order = np.random.default_rng(draw).random((60, PRODUCTS + new)).astype(np.float32)
        simulated.append(
            measure("chance", lambda rows, order=order: order[rows], days, {"all": allowed})["all"].metrics[HEADLINE]
        )
    assert found["random order"].value == pytest.approx(np.mean(simulated), abs=0.01)
    assert found["random order"].customers == found["category popularity"].customers == len(np.mean(simulated, axis=0))


def test_few_customers_of_new_products_get_no_row() -> None:
    few = FEWEST - 1
    past, wanted = histories(*[[(0, T - 5)]] * few), histories(*[[(1, T + 5)]] * few)
    days = CustomerDays(T, np.arange(few), np.zeros(few, np.int64), past, wanted)
    assert list(new_products({}, days, allowing(np.array([False, True])), ["", ""])) == []


def test_a_model_of_another_vocabulary_ranks_by_its_own_vectors() -> None:
    model = trained("amf")
    past = of_one_colour()
    ids = ["unknown", *reversed(model.vocabulary.ids.to_pylist())]
    own = model.vocabulary.encode(ids, missing="negative")
    theirs = RecommenderScorer(model).scores(past)
    reversed_products = replace(past, products=(PRODUCTS - past.products).astype(np.int32))
    ours = RecommenderScorer(model, own).scores(reversed_products)
    np.testing.assert_array_equal(ours[:, 1:], theirs[:, ::-1])
    assert (ours[:, 0] < ours[:, 1:].min(axis=1)).all()


def test_category_popularity_prefers_the_customers_own() -> None:
    past = Sequences(
        np.array([0, 3, 4]), np.array([0, 0, 1, 2], np.int32), np.zeros(4, np.int8), np.arange(4).astype(np.int64)
    )
    scores = CategoryPopularity(past, np.array([0, 1, 1, 1])).scores(past)
    assert (scores[0, 0] > scores[0, 1]) and (scores[1, 1] > scores[1, 0])
    assert scores[0, 1] == pytest.approx(scores[0, 3], abs=2e-6)
    assert PopularityScorer(past, 4).scores(past)[0, 3] == 0
