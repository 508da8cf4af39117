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

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import PositiveFloat, PositiveInt

from models.arrays import BoolMask, Rows, top_n_of_scores
from models.contract import Config, FloatMatrix, Progress, Tensors, silent
from models.copurchase.pairs import FloatVector, PairCounts, count_together, distinct
from models.ragged import offsets_of
from models.sequences import SECONDS_PER_DAY
from models.settings import Settings, Share

PAIRS_AT_ONCE = 1_000_000
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


class CoPurchase:
    """The fitted state; make one with `fit` or `restore`."""

    def __init__(self, config: CoPurchaseConfig, counts: PairCounts, tensors: Tensors) -> None:
        self._config, self._counts = config, counts
        self._learned = {name: tensors[name] for name in LEARNED}
        self._totals = counts.row_sums()

    @classmethod
    def fit(
        cls,
        offsets: npt.NDArray[np.integer],
        products: npt.NDArray[np.integer],
        n_products: int,
        config: CoPurchaseConfig = CoPurchaseConfig(),
        times: npt.NDArray[np.integer] | None = None,
        now: int | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Learn from baskets: basket k holds `products[offsets[k]:offsets[k+1]]`, repeats count once.

        `times` [baskets] and `now` (the split time or the night's date) are seconds since 1970 UTC.
        Raises ValueError on unknown products, on a basket at or after `now`, and when only one of the
        two is given.
        """
        offsets, products = distinct(offsets, products, n_products)
        ages = _ages_in_days(times, now, len(offsets) - 1)
        counts = _weighted_counts(offsets, products, n_products, config, ages)
        progress("distinct pairs counted", len(counts.columns), len(counts.columns))
        share = _share(counts.row_sums())
        sources, targets = factorise(counts, share, config.shift, config.rank, config.seed)
        trend = np.zeros(n_products) if times is None else _trend(offsets, products, n_products, config, ages)
        tensors = {
            "sources": sources,
            "targets": targets,
            "log_share": np.log(share),
            "bias": config.trend * trend - config.popularity_discount * np.log(share),
            "log_normaliser": log_normaliser(sources, targets, np.log(share), progress),
        }
        return cls(config, counts, tensors)

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
        column = candidates.ravel()
        valid = (column >= 0) & (column != owner)
        at = find_pairs(self._counts.offsets, self._counts.columns, owner, np.where(valid, column, -1))
        seen, scores = at >= 0, np.full(len(column), -np.inf)
        unseen = valid & ~seen
        scores[unseen] = self._scores_of(owner[unseen], column[unseen], np.zeros(int(unseen.sum())))
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

    def _scores_of(self, owner: Rows, column: Rows, counts: FloatVector) -> FloatVector:
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


def _ages_in_days(times: npt.NDArray[np.integer] | None, now: int | None, baskets: int) -> FloatVector:
    if (times is None) != (now is None):
        raise ValueError("basket times and `now` go together: give both, or none for baskets without time")
    if times is None or now is None:
        return np.zeros(baskets)
    if len(times) != baskets or (len(times) and times.max() >= now):
        raise ValueError(f"{len(times)} times for {baskets} baskets, all of which have to lie before now, {now}")
    return np.asarray((now - times) / SECONDS_PER_DAY)


def _decay(ages: FloatVector, half_life: float | None) -> FloatVector:
    return np.ones(len(ages)) if half_life is None else np.asarray(0.5 ** (ages / half_life))


def _weighted_counts(
    offsets: Rows, products: Rows, n_products: int, config: CoPurchaseConfig, ages: FloatVector
) -> PairCounts:
    """Pairs of distinct baskets, each basket weighted by its age and size, without the wholesale ones."""
    sizes = np.diff(offsets)
    weights = _decay(ages, config.half_life_days) * np.maximum(sizes - 1, 1) ** -config.size_power
    within = sizes <= config.largest_basket
    return count_together(offsets_of(sizes[within]), products[np.repeat(within, sizes)], weights[within], n_products)


def _trend(offsets: Rows, products: Rows, n_products: int, config: CoPurchaseConfig, ages: FloatVector) -> FloatVector:
    """[products], log of a product's share of lines lately over its share in the long run."""
    sizes = np.diff(offsets)
    lately = np.repeat(_decay(ages, config.trend_half_life_days), sizes)
    before = np.repeat(_decay(ages, config.half_life_days), sizes)
    return np.log(
        _share(np.bincount(products, weights=lately, minlength=n_products))
        / _share(np.bincount(products, weights=before, minlength=n_products))
    )


def _share(counts: npt.NDArray[np.number]) -> FloatVector:
    return np.asarray((counts + PSEUDO_COUNT) / (counts + PSEUDO_COUNT).sum())


def factorise(
    counts: PairCounts, share: FloatVector, shift: float, rank: int, seed: int
) -> tuple[FloatMatrix, FloatMatrix]:
    """(sources, targets), [products, rank] each, whose product approximates log(1 + c_ij / (shift share_j)).

    `share` [products] is above 0. Randomised truncated SVD (Halko, Martinsson, Tropp 2011), 4 power
    rounds; equal input and seed give equal vectors. Fewer products than `rank` give fewer dimensions.
    """
    surprise = np.log1p(counts.values / (shift * share[counts.columns]))
    # Counts are symmetric and so is their pattern: the transpose differs in its values alone.
    transposed = np.log1p(counts.values / (shift * share[counts.owners]))
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
    sources: FloatMatrix, targets: FloatMatrix, log_share: FloatVector, progress: Progress = silent, batch: int = 256
) -> FloatVector:
    """[products], log of the softmax's denominator for each source, over all products but itself."""
    out = np.empty(len(sources))
    import torch

    # The bias is one more dimension, and all batches share a buffer: allocating one costs more than the product.
    left = torch.from_numpy(np.column_stack((sources, np.ones(len(sources)))).astype(np.float32))
    right = torch.from_numpy(np.column_stack((targets, log_share)).astype(np.float32)).T
    buffer = torch.empty(min(batch, len(left)), len(left))
    for start in range(0, len(sources), batch):
        rows = left[start : start + batch]
        scores = torch.mm(rows, right, out=buffer[: len(rows)])
        own = torch.arange(len(scores))
        scores[own, own + start] = -torch.inf
        highest = scores.max(dim=1, keepdim=True).values
        summed = scores.sub_(highest).exp_().sum(dim=1)
        out[start : start + batch] = (summed.log() + highest[:, 0]).numpy()
        progress("products normalised", start + len(scores), len(sources))
    return out
