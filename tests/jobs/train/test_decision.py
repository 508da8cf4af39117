"""Checks the rule that picks the champion."""

from __future__ import annotations

import numpy as np

from jobs.train.decision import LAST_CHAMPION, Budget, CandidateResult, decide
from models.networks.artefacts import POPULARITY

RNG = np.random.default_rng(4)
BASE = RNG.random(400)


def result(lead: float, noise: float = 0.05, seconds: float = 60, rate: float = 5_000) -> CandidateResult:
    return CandidateResult(BASE + lead + RNG.normal(0, noise, len(BASE)), seconds, rate)


def test_without_a_champion_the_highest_wins() -> None:
    decision = decide({"amf": result(0), "transformer": result(0.1)}, None, None, Budget())
    assert decision.winner == "transformer"
    assert decision.differences["amf"].high < 0


def test_the_kind_that_serves_stays_while_a_lead_is_within_the_interval() -> None:
    decision = decide({"amf": result(0), "transformer": result(0.001, noise=0.3)}, "amf", None, Budget())
    beaten = decide({"amf": result(0), "transformer": result(0.1)}, "amf", None, Budget())
    assert (decision.winner, beaten.winner) == ("amf", "transformer")
    assert "beats amf, which served, by 0.1" in beaten.reasons["transformer"]


def test_a_new_model_that_falls_behind_the_one_that_serves_does_not_replace_it() -> None:
    worse = decide({"amf": result(-0.2)}, "amf", BASE, Budget())
    equal = decide({"amf": result(0)}, "amf", BASE, Budget())
    assert (worse.winner, equal.winner) == (LAST_CHAMPION, "amf")
    assert worse.reasons["amf"].startswith("ndcg@10 minus that of last champion: -0.2")


def test_what_costs_too_much_cannot_win_unless_everything_does() -> None:
    budget = Budget(train_minutes=10, encode_per_second=100)
    slow, lame = result(0.3, seconds=3_600), result(0.2, rate=3)
    decision = decide({"amf": result(0), "slow": slow, "lame": lame}, None, None, budget)
    assert decision.winner == "amf"
    assert decision.reasons["slow"] == "over budget: training took 60 of 10 minutes"
    assert decision.reasons["lame"] == "over budget: encodes 3 customers a second of 100"
    assert decide({"slow": slow, "lame": result(0.2, seconds=7_200)}, None, None, budget).winner == "slow"


def test_a_lead_counts_customers_and_not_their_days() -> None:
    """Ten equal days of each of forty customers: a lead that four hundred would prove is within the interval."""
    customers = np.repeat(np.arange(40), 10)
    served, lead = RNG.random(40), RNG.normal(0.02, 0.1, 40)
    lead += 0.02 - lead.mean()
    candidates = {
        "amf": CandidateResult(served[customers], 60, 5_000),
        "transformer": CandidateResult((served + lead)[customers], 60, 5_000),
    }
    by_pair = decide(candidates, "amf", None, Budget())
    by_customer = decide(candidates, "amf", None, Budget(), customers)
    assert (by_pair.winner, by_customer.winner) == ("transformer", "amf")
    assert "within the interval" in by_customer.reasons["amf"]
    gap, narrow = by_customer.differences["transformer"], by_pair.differences["amf"]
    assert gap.low < 0 < gap.high and gap.high - gap.low > 2 * (narrow.high - narrow.low)


def test_the_last_champion_is_kept_for_customers_and_not_for_their_days() -> None:
    customers = np.repeat(np.arange(40), 10)
    last, loss = RNG.random(40), RNG.normal(0.02, 0.1, 40)
    loss += 0.02 - loss.mean()
    candidates = {"amf": CandidateResult((last - loss)[customers], 60, 5_000)}
    assert decide(candidates, "amf", last[customers], Budget()).winner == LAST_CHAMPION
    assert decide(candidates, "amf", last[customers], Budget(), customers).winner == "amf"


def test_popularity_serves_only_where_it_is_better_and_no_other_model_served() -> None:
    models = {"amf": result(0), "transformer": result(-0.1)}

    def winner(served: str | None, popularity: float) -> str:
        return decide(models, served, None, Budget(), popularity=BASE + popularity).winner

    assert (winner(None, 0.1), winner(POPULARITY, 0.1), winner("amf", 0.1)) == (POPULARITY, POPULARITY, "amf")
    assert winner(None, -0.1) == winner(POPULARITY, -0.1) == "amf"
    nothing = CandidateResult(np.zeros(9), 60, 5_000)
    assert decide({"amf": nothing}, None, None, Budget(), popularity=np.zeros(9)).winner == POPULARITY
    beaten = decide(models, None, None, Budget(), popularity=BASE + 0.1)
    assert beaten.differences["amf"].high < 0 and "and that of the best model, amf, is" in beaten.reasons[POPULARITY]
