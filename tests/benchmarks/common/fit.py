"""Entrants fitted and asked: the trained models through the registry, the baselines as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.contract import Compute, FloatMatrix, Progress, silent
from models.evaluation.baselines import ItemNeighbours, MarkovChain, OwnRepeat, PopularityScorer
from models.evaluation.metrics import RowScores, Scorer, from_scorer, from_vectors
from models.networks import artefacts
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common.new_products import CategoryPopularity, RandomScores
from tests.benchmarks.common.problem import Case, Entrant, IntArray, Problem, without_side_information

BASELINES: dict[str, Callable[[Problem, Sequences], Scorer]] = {
    "popularity": lambda problem, train: PopularityScorer(train, problem.products),
    "popularity_7_days": lambda problem, train: PopularityScorer(train, problem.products, problem.until, 7),
    "markov": lambda problem, train: MarkovChain(train, problem.products),
    "itemknn": lambda problem, train: ItemNeighbours(train, problem.products),
    "own_repeat": lambda problem, train: OwnRepeat(PopularityScorer(train, problem.products, problem.until, 7)),
    "category_popularity": CategoryPopularity,
    "random": lambda problem, train: RandomScores(problem),
}
"""Name -> from a problem and its training histories to the scorer."""
WARM_UP = 200
"""Histories, of two events each, of the fit that only loads libraries and starts threads, so that neither is timed."""


def is_trained(kind: str) -> bool:
    """Whether an entrant of this kind has hyper-parameters and seeds."""
    return kind in artefacts.KINDS


@dataclass
class Asked:
    """A fitted entrant's answers to one case, and what they cost."""

    case: Case
    row_scores: RowScores
    histories: Sequences


class Contestant:
    """An entrant after its fit. `fit_seconds` is the fit alone, `encode_per_second` the histories of the first case's
    encoding; a baseline encodes nothing, and gets the rate at which it scores histories against all products.
    """

    def __init__(self, entrant: Entrant, problem: Problem, seed: int, progress: Progress = silent) -> None:
        """Fit; raises what `Recommender.fit` raises."""
        self._entrant, self._problem = entrant, problem
        train = self._read(problem.train)
        self._products = Vocabulary([str(product) for product in range(problem.products)])
        self._seed = seed
        started = time.perf_counter()
        if is_trained(entrant.kind):
            self.model = artefacts.create(entrant.kind, self._products, Compute(seed=seed), **entrant.settings)
            catalogue = problem.catalogue if entrant.side_information else None
            self.model.fit(train, catalogue, progress)
        else:
            self.scorer = BASELINES[entrant.kind](problem, train)
        self.fit_seconds = time.perf_counter() - started
        self.encode_per_second = 0.0

    def answers(self) -> Iterator[Asked]:
        """To every case that this entrant is asked, each set of histories encoded once."""
        for name, histories in self._problem.histories.items():
            cases = [c for c in self._problem.cases if c.reads == name and c.asks(self._entrant)]
            if not cases:
                continue
            told = self._read(histories)
            if not is_trained(self._entrant.kind):
                scores = self._timed(from_scorer(self.scorer, told))
                yield from (Asked(case, scores, told) for case in cases)
                continue
            started = time.perf_counter()
            vectors = self.model.encode(told)
            self.encode_per_second = self.encode_per_second or len(told) / (time.perf_counter() - started)
            yield from (Asked(case, from_vectors(vectors, self._product_vectors(case)), told) for case in cases)

    def _read(self, histories: Sequences) -> Sequences:
        return histories if self._entrant.side_information else without_side_information(histories)

    def _product_vectors(self, case: Case) -> FloatMatrix:
        new = self._problem.new_products
        if case.candidates is None or len(case.candidates) == self._problem.products or new is None:
            return self.model.product_vectors()
        ids = [f"new {product}" for product in range(len(new))]
        return self.model.extended(ids, new).product_vectors()

    def _timed(self, row_scores: RowScores) -> RowScores:
        spent = rows_scored = 0.0

        def scores(rows: IntArray) -> FloatMatrix:
            nonlocal spent, rows_scored
            started = time.perf_counter()
            found = row_scores(rows)
            spent, rows_scored = spent + time.perf_counter() - started, rows_scored + len(rows)
            self.encode_per_second = rows_scored / spent
            return found

        return scores


def warm_up(entrant: Entrant, problem: Problem) -> None:
    """Load what a fit loads, by a small one that is thrown away."""
    if is_trained(entrant.kind) and entrant.kind != "closed_form":
        products, events = np.zeros(2 * WARM_UP, np.int32), np.zeros(2 * WARM_UP, np.int8)
        pairs = Sequences(2 * np.arange(WARM_UP + 1), products, events, np.tile([0, 1], WARM_UP))
        small = Problem(pairs, problem.products, {}, (), problem.until, problem.catalogue)
        settings = entrant.settings | {"epochs": 1, "recency": 0.0}
        Contestant(replace(entrant, settings=settings), small, seed=0)


def sessions_read(train: Sequences, settings: dict[str, object]) -> float:
    """Histories of two events or more that the fit's epochs read in all, as expected under `recency`."""
    useful = train.take(np.flatnonzero(train.lengths > 1))
    newest = useful.times[useful.offsets[1:] - 1]
    age = (newest.max() - newest) / max(1, np.ptp(newest))
    epochs, recency = (float(str(settings.get(name, default))) for name, default in (("epochs", 1), ("recency", 0)))
    return float(epochs * np.exp(-recency * age).sum())
