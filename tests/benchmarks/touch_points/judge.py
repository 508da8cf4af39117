"""Questions put to lists, and how each entrant answered them: figures, uplifts, tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from models.arrays import BoolMask, Rows
from models.evaluation.bootstrap import mean_interval, paired_uplift
from models.evaluation.metrics import Metrics, TargetRanks, per_customer
from tests.benchmarks.common.catalogue_metrics import coverage, most_popular, share_of_slots

KS = (6, 10, 24)
DEPTH = max(KS)
SHOWN = ("hit_rate@6", "hit_rate@10", "ndcg@10", "mrr@10")
HEADLINE = "ndcg@10"
FIRST = 6
"""Places that coverage and the share of best-sellers look at: what a page shows at once."""
OURS = "ours"
"""How the name of an entrant of ours begins; the first one is compared with every baseline."""


@dataclass(frozen=True)
class Questions:
    """q questions, each with what would have been right."""

    customers: Rows
    """[q], who asked: the bootstrap draws whole customers."""
    offsets: Rows
    """[q + 1] over `targets`; no question is without a target."""
    targets: Rows
    """Products, distinct within a question."""

    def __len__(self) -> int:
        return len(self.customers)


@dataclass(frozen=True)
class Answers:
    """How one entrant did."""

    metrics: Metrics
    """Each [q]."""
    beside: Mapping[str, float] = field(default_factory=dict)
    """Figures that are not means over questions, such as coverage."""


@dataclass(frozen=True)
class TouchPoint:
    """One touch point on one data set."""

    name: str
    asked: str
    """What the questions are and what could not be asked, in words, with counts."""
    customers: Rows
    """[q], who asked."""
    entrants: Mapping[str, Answers]
    """By name, best known first: ours, then the baselines."""
    shown: tuple[str, ...] = SHOWN
    headline: str = HEADLINE

    def figures(self) -> dict[str, Any]:
        """Everything as JSON values; the uplift is of the first entrant of ours over each of the others."""
        names = list(self.entrants)
        ours = next(name for name in names if name.startswith(OURS))
        found = {}
        for name in names:
            answers = self.entrants[name]
            found[name] = {
                metric: asdict(mean_interval(answers.metrics[metric], self.customers)) for metric in self.shown
            } | dict(answers.beside)
            if name != ours:
                found[name][f"uplift of {ours}"] = self._uplift(ours, name)
        return {"asked": self.asked, "questions": len(self.customers), "entrants": found}

    def _uplift(self, ours: str, theirs: str) -> dict[str, float] | None:
        pair = (self.entrants[name].metrics[self.headline] for name in (ours, theirs))
        try:
            return asdict(paired_uplift(*pair, self.customers))
        except ValueError:  # no ratio to a mean of 0
            return None


def judge(shown: Rows, questions: Questions, batch: int = 65_536) -> Metrics:
    """hit_rate, recall, ndcg and mrr at 6, 10 and 24 of each question from what it was shown, [q, >= 24].

    A place that is -1 is empty. Raises ValueError where there are not as many lists as questions, where lists are too
    short, and where one names a product twice.
    """
    if len(shown) != len(questions) or shown.shape[1] < DEPTH:
        raise ValueError(f"lists {shown.shape} do not answer {len(questions)} questions with {DEPTH} places each")
    rising = np.sort(shown, axis=1)
    if ((rising[:, 1:] == rising[:, :-1]) & (rising[:, 1:] >= 0)).any():
        raise ValueError("a list names a product twice")
    owner = np.repeat(np.arange(len(questions)), np.diff(questions.offsets))
    ranks = np.empty(len(owner), dtype=np.int64)
    for start in range(0, len(owner), batch):
        part = slice(start, start + batch)
        there = shown[owner[part], :DEPTH] == questions.targets[part, None]
        ranks[part] = np.where(there.any(axis=1), there.argmax(axis=1) + 1, DEPTH + 1)
    ranks = ranks[np.lexsort((ranks, owner))]
    lists = shown[:, :DEPTH]
    return per_customer(TargetRanks(np.arange(len(questions)), questions.offsets, ranks, lists, 0, 0), KS)


def diversity(shown: Rows, counts: Rows) -> dict[str, float]:
    """coverage@6, and the share of the first 6 places that goes to the 1 % of products with the highest `counts`."""
    everything = np.ones(len(counts), dtype=bool)
    return {
        f"coverage@{FIRST}": coverage(shown, FIRST, everything),
        f"best-sellers@{FIRST}": share_of_slots(shown, FIRST, most_popular(counts)),
    }


def answers(shown: Rows, questions: Questions, counts: Rows, **beside: float) -> Answers:
    """An entrant that showed these lists; `counts` [products] say what was popular before T."""
    return Answers(judge(shown, questions), diversity(shown, counts) | beside)


def first_kept(rows: Rows, keep: BoolMask, n: int) -> Rows:
    """The first n kept places of each list, moved to the left, -1 past the last."""
    order = np.argsort(~keep, axis=1, kind="stable")[:, :n]
    found = np.take_along_axis(np.where(keep, rows, -1), order, axis=1)
    return np.pad(found, ((0, 0), (0, n - found.shape[1])), constant_values=-1)


def markdown(data: str, touch_points: list[TouchPoint], documents: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """A table for each touch point; `documents` are their `figures`."""
    for one in touch_points:
        entrants = documents[one.name]["entrants"]
        beside = list(dict.fromkeys(key for answers in one.entrants.values() for key in answers.beside))
        ours = next(name for name in entrants if name.startswith(OURS))
        yield f"\n{one.name}, {data}: {one.asked}\n"
        header = ["", *one.shown, f"{ours} over it, {one.headline}", *beside]
        yield "| " + " | ".join(header) + " |"
        yield "|" + "---|" * len(header)
        for name, figures in entrants.items():
            cells = [_interval(figures[metric]) for metric in one.shown]
            cells.append(_percent(figures.get(f"uplift of {ours}")))
            cells += [f"{figures[key]:.3f}" if key in figures else "" for key in beside]
            yield f"| {name} | " + " | ".join(cells) + " |"


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _percent(figure: Mapping[str, float] | None) -> str:
    return "" if figure is None else f"{figure['value']:+.1%} [{figure['low']:+.1%}, {figure['high']:+.1%}]"
