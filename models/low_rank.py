"""The low-rank half of People Also Bought: source and target vectors, and their softmax's denominator."""

from __future__ import annotations

import numpy as np

from models.contract import FloatMatrix, Progress, silent
from models.pairs import FloatVector, PairCounts


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
    matrix, other = counts.with_values(surprise).torch(), counts.with_values(transposed).torch()
    import torch  # seconds to import: only fitting pays for it

    random = torch.Generator().manual_seed(seed)
    width = min(rank + 16, counts.products)
    basis = torch.linalg.qr(matrix @ torch.randn(counts.products, width, generator=random)).Q
    for _ in range(4):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(other @ basis).Q).Q
    left, strength, right = torch.linalg.svd((other @ basis).T, full_matrices=False)
    sources = (basis @ left)[:, :rank] * strength[:rank]
    return sources.numpy(), right[:rank].T.contiguous().numpy()


def log_normaliser(
    sources: FloatMatrix,
    targets: FloatMatrix,
    log_share: FloatVector,
    progress: Progress = silent,
    batch: int = 256,
) -> FloatVector:
    """[products], log of the softmax's denominator for each source, over all products but itself."""
    out = np.empty(len(sources))
    # The bias rides along as a dimension, and one buffer serves all batches: fresh ones cost more than the product.
    import torch

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
