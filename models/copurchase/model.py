"""Models which products j go into a basket that holds product i (People Also Bought).

It is asymmetric: P(j | i) is not P(i | j). Pair counts are the evidence; a low-rank model gives the expectation where
there are few counts:

    P(j | i) = (c_ij + a m_j|i) / (c_i + a)            a Dirichlet prior with mean m and strength a
    m_j|i    = softmax over j of (s_i . t_j + log p_j)  two tables, source s and target t
    score    = log P(j | i) - b log p_j + g log(p_j lately / p_j)

s and t are the truncated SVD of log(1 + c_ij / (shift p_j)), the log of how much more often than by chance j occurs
with i; it is 0, and the matrix sparse, where no pair was seen. After Levy and Goldberg (NIPS 2014), who show that
skip-gram factorises a matrix of this kind; here the shift is a prior and not subtracted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import PositiveFloat, PositiveInt

from models.arrays import BoolMask, Rows, top_n_of_scores
from models.contract import Config, FloatMatrix, Progress, Tensors, silent
from models.copurchase.pairs import Baskets, Floats, FloatVector, Integers, PairCounter, PairCounts, distinct
from models.ragged import offsets_of
from models.sequences import SECONDS_PER_DAY
from models.settings import Settings, Share

PAIRS_AT_ONCE = 1_000_000
STEP = 2.0**-32
"""Baskets' weights are multiples of it, which float64 sums exactly up to two million baskets of weight 1."""
PSEUDO_COUNT = 0.1
"""Added to every product's weight in p, so that log p exists for one never bought."""
LEARNED = ("sources", "targets", "log_share", "bias", "log_normaliser")
"""The arrays of a fitted model beside its pair counts."""


@dataclass(frozen=True)
class CoPurchaseConfig(Settings):
    """How baskets become People Also Bought."""

    half_life_days: PositiveFloat | None = 180.0
    """After how many days a basket counts half; None, or baskets without times: all count the same."""
    size_power: Share = 0.25
    """A pair in a basket of k products adds (k - 1) ** -size_power: 0 trusts bulk buyers, 1 levels baskets."""
    largest_basket: PositiveInt = 1000
    """Baskets with more distinct products are left out: they are wholesale, and cost memory quadratically."""
    rank: PositiveInt = 32
    """Dimensions of the source and target vectors."""
    shift: PositiveFloat = 30.0
    """Observations of a product before its pairs are believed by the vectors, in pairs."""
    prior_strength: PositiveFloat = 40.0
    """Weight of the low-rank expectation beside the counts, in pairs."""
    popularity_discount: Share = 0.1
    """b: 0 ranks by probability, 1 by lift; more keeps best-sellers out of every list."""
    trend: float = 0.3
    """g: how far a product that sells better lately than before rises; 0 without basket times."""
    trend_half_life_days: PositiveFloat = 14.0
    """After how many days a sale counts half in "lately"."""
    seed: int = 17
    """Of the randomised SVD."""


@dataclass(frozen=True)
class Neighbours:
    """The lists of q source products."""

    products: Rows
    """[q, n], best first, -1 past the last; never the source itself, no product twice."""
    scores: FloatMatrix
    """[q, n], log-probability with discount and trend; -inf where the product is -1."""
    seen: BoolMask
    """[q, n], true where the pair was bought together (source "co-purchase"), false: the model's guess."""


@dataclass(frozen=True)
class BasketCounts:
    """What baskets say: all that a model is fitted on. The order of baskets, and how they come in batches, change
    nothing.
    """

    config: CoPurchaseConfig
    pairs: PairCounts
    """Of distinct baskets, each weighted by its age and size, without the wholesale ones."""
    trend: FloatVector
    """[products], log of a product's share of lines lately over its share in the long run; 0 without basket times."""
    baskets: int

    @classmethod
    def of(
        cls,
        batches: Iterable[Baskets],
        n_products: int,
        config: CoPurchaseConfig = CoPurchaseConfig(),
        now: int | None = None,
    ) -> Self:
        """Count baskets, in which repeats of a product count once.

        `now`, the split time or the night's date, is in seconds since 1970 UTC. Raises ValueError on unknown products,
        on a basket at or after `now`, and where times are given without `now` or the other way round.
        """
        pairs, lately, before, count = PairCounter(n_products), np.zeros(n_products), np.zeros(n_products), 0
        for batch in batches:
            offsets, products = distinct(batch.offsets, batch.products, n_products)
            ages, sizes = _ages_in_days(batch, now), np.diff(offsets)
            long_run = _decay(ages, config.half_life_days)
            recent = np.repeat(_decay(ages, config.trend_half_life_days), sizes)
            lately += np.bincount(products, weights=recent, minlength=n_products)
            before += np.bincount(products, weights=np.repeat(long_run, sizes), minlength=n_products)
            weights = _in_steps(long_run * np.maximum(sizes - 1, 1) ** -config.size_power)
            within = sizes <= config.largest_basket
            pairs.add(offsets_of(sizes[within]), products[np.repeat(within, sizes)], weights[within])
            count += len(batch)
        return cls(config, pairs.counts(), np.log(_share(lately) / _share(before)), count)


def _ages_in_days(baskets: Baskets, now: int | None) -> FloatVector:
    times = baskets.times
    if (times is None) != (now is None):
        raise ValueError("basket times and `now` go together: give both, or none for baskets without time")
    if times is None or now is None:
        return np.zeros(len(baskets))
    if len(times) != len(baskets) or (len(times) and times.max() >= now):
        raise ValueError(f"{len(times)} times for {len(baskets)} baskets, all of which have to lie before now, {now}")
    return np.asarray((now - times) / SECONDS_PER_DAY)


def _decay(ages: FloatVector, half_life: float | None) -> FloatVector:
    return np.ones(len(ages)) if half_life is None else _in_steps(0.5 ** (ages / half_life))


def _in_steps(weights: FloatVector) -> FloatVector:
    """Weights as whole numbers of steps, whose sums are exact: in any order and any batches they are the same."""
    return np.asarray(np.maximum(np.rint(weights / STEP), 1.0) * STEP)


class CoPurchase:
    """The fitted state; make one with `fit` or `restore`."""

    def __init__(self, config: CoPurchaseConfig, counts: PairCounts, tensors: Tensors) -> None:
        self._config, self._counts = config, counts
        self._learned = {name: tensors[name] for name in LEARNED}
        self._totals = counts.row_sums()

    @classmethod
    def fit(cls, counts: BasketCounts, progress: Progress = silent) -> Self:
        """Learn from what was counted in baskets."""
        config, pairs = counts.config, counts.pairs
        share = _share(pairs.row_sums())
        sources, targets = factorise(pairs, share, config.shift, config.rank, config.seed)
        tensors = {
            "sources": sources,
            "targets": targets,
            "log_share": np.log(share),
            "bias": config.trend * counts.trend - config.popularity_discount * np.log(share),
            "log_normaliser": log_normaliser(sources, targets, np.log(share), progress),
        }
        return cls(config, pairs, tensors)

    @cached_property
    def _seen_scores(self) -> FloatVector:
        """[pairs], computed on first use: an index that reuses the model of another night never needs them."""
        return self._scores_of(self._counts.owners, self._counts.columns, self._counts.values)

    def config(self) -> Config:
        """Its settings as plain JSON values."""
        return asdict(self._config)

    def tensors(self) -> Tensors:
        """Every array by name, enough for `restore`."""
        return self._learned | {f"pair_{name}": value for name, value in vars(self._counts).items()}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Tensors) -> Self:
        """The state that `config` and `tensors` came from."""
        counts = PairCounts(*(tensors[f"pair_{field.name}"] for field in fields(PairCounts)))
        return cls(CoPurchaseConfig(**config), counts, tensors)

    def source_vectors(self) -> FloatMatrix:
        """[products, rank + 1]; search the index of `target_vectors` with these."""
        return np.column_stack((self._learned["sources"], np.ones(len(self._totals)))).astype(np.float32)

    def target_vectors(self) -> FloatMatrix:
        """[products, rank + 1]; the inner product with a source orders all pairs never seen as `score` does."""
        learned = self._learned
        return np.column_stack((learned["targets"], learned["log_share"] + learned["bias"])).astype(np.float32)

    def rescore(self, sources: Rows, candidates: Rows) -> tuple[FloatMatrix, BoolMask]:
        """(scores [q, k], seen [q, k]) of candidates [q, k] for source products [q], with the counts' evidence.

        -inf for a candidate that is -1 or the source itself.
        """
        from models.copurchase.kernels import find_pairs

        owner = np.repeat(sources, candidates.shape[1])
        column = candidates.ravel().astype(np.int32)  # as stored pairs have it: another type would compile another loop
        valid = (column >= 0) & (column != owner)
        at = find_pairs(self._counts.offsets, self._counts.columns, owner, np.where(valid, column, -1))
        seen, scores = at >= 0, np.full(len(column), -np.inf)
        unseen = valid & ~seen
        scores[unseen] = self._scores_of(owner[unseen], column[unseen], np.zeros(int(unseen.sum()), np.float32))
        scores[seen] = self._seen_scores[at[seen]]
        return scores.reshape(candidates.shape).astype(np.float32), seen.reshape(candidates.shape)

    def has_baskets(self) -> BoolMask:
        """[products], whether the product was ever bought together with another."""
        return np.asarray(self._totals > 0)

    def best_seen(self, sources: Rows, n: int) -> Rows:
        """[q, n], the n best-scored products bought together with each source product [q], -1 past the last."""
        from models.copurchase.kernels import best_pairs

        return np.asarray(best_pairs(self._counts.offsets, self._counts.columns, self._seen_scores, sources, n))

    def neighbours(
        self, sources: Rows, n: int, allowed: BoolMask | None = None, batch: int = 256, progress: Progress = silent
    ) -> Neighbours:
        """The n best products for each source product [q], exactly, of all or of the `allowed` [products].

        One matrix product scores every pair as if never seen; seen pairs then take their own score.
        """
        if not len(sources):
            return Neighbours(np.empty((0, n), np.int64), np.empty((0, n), np.float32), np.empty((0, n), bool))
        found = []
        import torch  # seconds to import: only fitting and exact search pay for it

        left, right = torch.from_numpy(self.source_vectors()), torch.from_numpy(self.target_vectors()).T
        buffer = torch.empty(min(batch, len(sources)), len(left))
        for start in range(0, len(sources), batch):
            rows = sources[start : start + batch]
            scores = torch.mm(left[rows], right, out=buffer[: len(rows)]).numpy()
            strength = self._config.prior_strength
            base = np.log(strength / (self._totals[rows] + strength)) - self._learned["log_normaliser"][rows]
            owner, pair = self._counts.pairs_of(rows)
            scores[owner, self._counts.columns[pair]] = self._seen_scores[pair] - base[owner]
            scores[np.arange(len(rows)), rows] = -np.inf
            if allowed is not None:
                scores[:, ~allowed] = -np.inf
            best, products = top_n_of_scores(scores, n)
            together = np.zeros(scores.shape, dtype=bool)
            together[owner, self._counts.columns[pair]] = True
            seen = np.take_along_axis(together, products, axis=1) & (products >= 0)
            found.append((products, best + base[:, None].astype(np.float32), seen))
            progress("products with co-purchases", start + len(rows), len(sources))
        return Neighbours(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _scores_of(self, owner: Rows, column: Integers, counts: Floats) -> FloatVector:
        """[pairs], the score of each pair (owner, column) that was seen `counts` times."""
        from models.copurchase.kernels import PairModel, score_pairs
        from models.search.search import threads

        scores = np.empty(len(owner))
        model = PairModel(totals=self._totals, strength=self._config.prior_strength, **self._learned)

        def work(start: int) -> None:
            part = slice(start, start + PAIRS_AT_ONCE)
            score_pairs(model, owner[part], column[part], counts[part], scores[part])

        with ThreadPoolExecutor(threads()) as pool:  # the compiled loop holds no lock
            list(pool.map(work, range(0, len(owner), PAIRS_AT_ONCE)))
        return scores


def _share(counts: npt.NDArray[np.number]) -> FloatVector:
    return np.asarray((counts + PSEUDO_COUNT) / (counts + PSEUDO_COUNT).sum())


def factorise(
    counts: PairCounts, share: FloatVector, shift: float, rank: int, seed: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """(sources, targets), [products, rank] each, whose product approximates log(1 + c_ij / (shift share_j)).

    `share` [products] is above 0. Randomised truncated SVD (Halko, Martinsson, Tropp 2011), 4 power
    rounds; equal input and seed give equal vectors. Fewer products than `rank` give fewer dimensions.
    """
    chance = (shift * share).astype(np.float32)
    surprise = np.log1p(counts.values / chance[counts.columns], dtype=np.float32)
    # Counts are symmetric and so is their pattern: the transpose differs in its values alone.
    transposed = np.log1p(counts.values / np.repeat(chance, counts.lengths), dtype=np.float32)
    matrix, other = replace(counts, values=surprise).torch(), replace(counts, values=transposed).torch()
    import torch  # seconds to import: only fitting pays for it

    random = torch.Generator().manual_seed(seed)
    width = min(rank + 16, len(counts))
    basis = torch.linalg.qr(matrix @ torch.randn(len(counts), width, generator=random)).Q
    for _ in range(4):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(other @ basis).Q).Q
    left, strength, right = torch.linalg.svd((other @ basis).T, full_matrices=False)
    sources = (basis @ left)[:, :rank] * strength[:rank]
    return sources.numpy(), right[:rank].T.contiguous().numpy()


def log_normaliser(
    sources: FloatMatrix, targets: FloatMatrix, log_share: FloatVector, progress: Progress = silent, tile: int = 1024
) -> FloatVector:
    """[products], log of the softmax's denominator for each source, over all products but itself."""
    import torch

    # The bias is one more dimension, and so is what is subtracted before exp: each source's best score of the first
    # tile. Tiles stay in the processor's cache, where scores of all products would not.
    count = len(sources)
    left = torch.from_numpy(np.column_stack((sources, np.ones(count), np.zeros(count))).astype(np.float32))
    right = torch.from_numpy(np.column_stack((targets, log_share, np.ones(count))).astype(np.float32)).T
    out = np.empty(count)
    for start in range(0, count, tile):
        rows, summed = left[start : start + tile], torch.zeros(min(tile, count - start), dtype=torch.float64)
        for first in range(0, count, tile):
            scores = rows @ right[:, first : first + tile]
            if first == start:
                scores.fill_diagonal_(-torch.inf)
            if first == 0:
                highest = scores.max(dim=1, keepdim=True).values
                rows[:, -1:] = -highest
                scores -= highest
            summed += scores.exp_().sum(dim=1)
        out[start : start + tile] = (summed.log() + highest[:, 0]).numpy()
        progress("products normalised", start + len(rows), count)
    return out
