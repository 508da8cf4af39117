"""How often the statistics of experiments are wrong, on simulated experiments whose truth is known.

    python -m tests.benchmarks.experiments --experiments 400 --customers 20000 --days 28

Customers come back: how often, and how gladly they click, differs between them and hangs together with what they did
before the start. Every morning the experiment is looked at. Of experiments without an effect, the share called ahead or
behind on any day is printed, for the always-valid interval and for the fixed one, which is not made for that; of
experiments with one, how often the intervals hold it; and by how much behaviour before the start shortens intervals.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.experiments.comparison import Uplift, split_p, uplift
from models.experiments.moments import BEFORE, FloatVector, Moments, moments_of
from models.experiments.off_policy import OffPolicy, off_policy
from tests.support.logged import PLACES, truth, world


def main(arguments: list[str] | None = None) -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("experiments", 400), ("customers", 20_000), ("days", 28), ("seed", 17)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--effect", type=float, default=0.05)
    chosen = parser.parse_args(arguments)
    shape = (chosen.experiments, chosen.customers, chosen.days)
    _without_effect([*simulated(chosen.seed, 0.0, *shape)])
    _with_effect([*simulated(chosen.seed + 1, chosen.effect, *shape)], chosen.effect)
    _splits(np.random.default_rng(chosen.seed + 2), chosen.customers)
    _unseen(chosen.experiments)


@dataclass(frozen=True)
class Simulated:
    """One experiment as every morning sees it."""

    mornings: list[Uplift | None]
    purchases: list[Uplift | None]
    plain: Uplift | None
    """The last morning without behaviour before the start."""
    rho: float
    """Correlation of that behaviour with a customer's part of the ratio."""


def simulated(seed: int, effect: float, experiments: int, customers: int, days: int) -> Iterator[Simulated]:
    """Experiments with a true effect, each from numbers of its own."""
    for number in range(experiments):
        random = np.random.default_rng([seed, number])
        visits, liking = random.gamma(0.8, 1.0, customers), random.gamma(3.0, 1 / 3, customers)
        side = random.integers(0, 2, customers)
        rate = np.minimum(0.06 * liking * (1 + effect * side), 1.0)
        shown_before = random.poisson(6 * visits * random.binomial(days, 0.25, customers))
        before = random.binomial(shown_before, np.minimum(0.06 * liking, 1.0)) - 0.06 * shown_before
        base, clicks, bought = np.zeros(customers), np.zeros(customers), np.zeros(customers)
        mornings, purchases = [], []
        for _day in range(days):
            shown = random.poisson(6 * visits * random.binomial(1, 0.25, customers))
            base += shown
            new = random.binomial(shown, rate)
            clicks += new
            bought += random.binomial(new, 0.1)
            mornings.append(_look(side, clicks, base, before))
            purchases.append(_look(side, bought, base, before))
        seen = base > 0
        groups = moments_of(side[seen], 2, clicks[seen], base[seen], before[seen])
        rho = float(np.mean([_rho(m) for m in groups]))
        yield Simulated(mornings, purchases, uplift(groups[1], groups[0], adjust=False), rho)


def _look(side: np.ndarray, value: FloatVector, base: FloatVector, before: FloatVector) -> Uplift | None:
    """As the night computes it: customers without an impression do not take part."""
    seen = base > 0
    control, variant = moments_of(side[seen], 2, value[seen], base[seen], before[seen])
    return uplift(variant, control)


def _rho(m: Moments) -> float:
    shared = float(m.linear @ m.covariance[BEFORE])
    return shared / math.sqrt(m.variance * m.customers * m.covariance[BEFORE, BEFORE])


def _without_effect(found: list[Simulated]) -> None:
    def called(mornings: list[Uplift | None], fixed: bool = False) -> bool:
        return any(one and (one.low > 0 or one.high < 0 if fixed else one.decided) for one in mornings)

    print(f"{len(found)} experiments without an effect, looked at on {len(found[0].mornings)} mornings")
    for name, share in (
        ("called in clicks, always-valid interval", np.mean([called(one.mornings) for one in found])),
        ("called in purchases", np.mean([called(one.purchases) for one in found])),
        ("called in either", np.mean([called(one.mornings) or called(one.purchases) for one in found])),
        ("called in clicks, fixed interval, any morning", np.mean([called(one.mornings, True) for one in found])),
        ("called in clicks, fixed interval, last morning", np.mean([called(one.mornings[-1:], True) for one in found])),
    ):
        print(f"  {name}: {share:.1%}")


def _with_effect(found: list[Simulated], effect: float) -> None:
    last = [one.mornings[-1] for one in found]
    ends = [one for one in last if one]
    plain = [one.plain for one in found if one.plain]
    within = [one.low <= effect <= one.high for one in ends]
    always = [all(not m or m.always_low <= effect <= m.always_high for m in one.mornings) for one in found]
    print(f"{len(found)} experiments with an effect of {effect:+.1%}")
    print(f"  the fixed interval holds it on the last morning: {np.mean(within):.1%}")
    print(f"  without behaviour before: {np.mean([one.low <= effect <= one.high for one in plain]):.1%}")
    print(f"  the always-valid interval holds it on all mornings: {np.mean(always):.1%}")
    print(f"  called ahead by the last morning: {np.mean([one.decided for one in ends]):.1%}")
    days = [next((day for day, m in enumerate(one.mornings, 1) if m and m.decided), None) for one in found]
    called = [day for day in days if day]
    print(f"  median morning of the call: {np.median(called) if called else 'none'}")
    shorter = np.mean([_length(a) / _length(b) for a, b in zip(ends, plain, strict=True)])
    spread = np.std([np.log1p(one.value) for one in ends]) / np.std([np.log1p(one.value) for one in plain])
    rho = float(np.mean([one.rho for one in found]))
    theory = math.sqrt(1 - rho**2)
    print(f"  behaviour before (rho {rho:.3f}) shortens intervals to {shorter:.3f}, theory {theory:.3f};")
    print(f"  estimates of all experiments spread {spread:.3f} times as far")


def _length(one: Uplift) -> float:
    return math.log1p(one.high) - math.log1p(one.low)


def _splits(random: np.random.Generator, customers: int) -> None:
    for share in (0.5, 0.52):
        p = [split_p([n, customers - n], [1, 1]) for n in random.binomial(customers, share, 10_000)]
        print(f"{customers:,} customers split {share:.0%}, 50% meant: p < 0.001 in {np.mean(np.array(p) < 0.001):.2%}")


def _unseen(worlds: int) -> None:
    """Lists that nobody has seen: a mixture of both variants, the same with a third of the places unknown, new ones."""
    found: dict[str, list[tuple[float, OffPolicy]]] = {}
    for seed in range(worlds):
        logged, one, other, liked = world(seed)
        mixed = np.where(np.arange(PLACES) % 2, one, other)
        fresh = np.random.default_rng(seed).integers(0, len(liked), mixed.shape)
        for name, lists in (
            ("both variants mixed", mixed),
            ("a third of the places new", np.where(np.arange(PLACES) % 3 == 2, fresh, mixed)),
            ("all places new", fresh),
        ):
            if estimate := off_policy(logged, lists):
                found.setdefault(name, []).append((truth(lists, liked, logged), estimate))
    for name, pairs in found.items():
        support = np.mean([estimate.support for _, estimate in pairs])
        print(f"{len(pairs)} times lists that nobody saw, {name} ({support:.0%} of the places were shown there)")
        for kind in ("robust", "weighted") if support == 1 else ("robust",):  # weights know supported places alone
            ends = [(true, getattr(estimate, kind)) for true, estimate in pairs]
            held = np.mean([part.low <= true <= part.high for true, part in ends])
            error = np.mean([part.value / true - 1 for true, part in ends])
            print(f"  {kind}: error {error:+.1%}, the 95 % interval holds the truth in {held:.1%}")


if __name__ == "__main__":
    main()
