"""Inner-product search: the one module that imports FAISS. Higher is closer; equal scores go by row.

Flat indexes are exact. Any other factory is approximate, and is accepted at a measured recall only.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from models.contract import FloatMatrix
from models.top_n import BoolMask, Rows, ordered, stable_top

Index = Any
"""A faiss.Index; FAISS ships no types."""


def build_index(vectors: FloatMatrix, factory: str = "Flat") -> Index:
    """Inner-product index over `vectors` [p, d]; row i is found as i. `factory` is a FAISS factory string.

    Raises ValueError on vectors that are not finite, and on a factory that FAISS cannot read.
    """
    vectors = _checked(vectors, "product vectors")
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ValueError(
            f"{factory!r} is no FAISS factory string for {vectors.shape[1]} dimensions: {error}"
        ) from error
    if not index.is_trained:
        index.train(vectors)
    index.add(vectors)
    return index


def on_gpus(index: Index) -> Index:
    """The index spread over all GPUs, or itself where FAISS sees none. Saving wants the CPU original."""
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return faiss.index_cpu_to_all_gpus(index) if gpus else index


def save(index: Index, path: Path) -> str:
    """Write the index and, beside it, `NAME.json` with its sha256 and shape; returns the sha256.

    Both are written aside and renamed; a crash between the two leaves a pair that `load` refuses.
    """
    aside = path.with_name(path.name + ".writing")
    faiss.write_index(index, str(aside))
    digest = _sha256(aside)
    manifest = {"sha256": digest, "rows": int(index.ntotal), "dimensions": int(index.d)}
    manifest_aside = aside.with_name(aside.name + ".json")
    manifest_aside.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    os.replace(aside, path)
    os.replace(manifest_aside, _manifest(path))
    return digest


def load(path: Path) -> Index:
    """The index that `save` wrote. Raises ValueError when file and manifest are not of one save."""
    expected = json.loads(_manifest(path).read_text())
    found = _sha256(path)
    if found != expected["sha256"]:
        raise ValueError(f"{path} has sha256 {found}, its manifest says {expected['sha256']}: rebuild the index")
    return faiss.read_index(str(path))


def search(index: Index, queries: FloatMatrix, n: int) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]), best first; where the index holds fewer than n: row -1, score -inf."""
    scores, rows = index.search(_checked(queries, "queries"), n)
    return ordered(scores, rows)


def exact_top_n(
    queries: FloatMatrix, vectors: FloatMatrix, n: int, allowed: BoolMask | Rows | None = None, batch: int = 8192
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]) of the n best of `vectors` [p, d] by inner product, exactly.

    `allowed` restricts them: a mask [p] or rising row numbers. Order: score falling, then row
    rising, also across the cut after n. Missing places hold row -1 and score -inf.
    """
    queries, vectors = _checked(queries, "queries"), _checked(vectors, "product vectors")
    if allowed is not None:
        subset = np.flatnonzero(allowed) if allowed.dtype == np.bool_ else np.asarray(allowed, dtype=np.int64)
        vectors = np.ascontiguousarray(vectors[subset])
    scores = np.full((len(queries), n), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), n), -1, dtype=np.int64)
    found = min(n, len(vectors))
    for start in range(0, len(queries) if found else 0, batch):
        end = min(start + batch, len(queries))
        scores[start:end, :found], rows[start:end, :found] = _best(queries[start:end], vectors, found)
    if allowed is not None:
        rows = np.where(rows >= 0, subset[rows], -1) if found else rows
    return scores, rows


def recall_against_exact(index: Index, vectors: FloatMatrix, queries: FloatMatrix, n: int) -> float:
    """The share of the exact top n of `vectors` that the index finds, mean over the queries.

    A row of the same score as the last exact one counts as found: either answer is right.
    """
    exact, _ = exact_top_n(queries, vectors, n)
    _, rows = search(index, queries, n)
    inner = np.einsum("qd,qnd->qn", queries, vectors[rows])
    last = exact[:, [min(n, len(vectors)) - 1]]
    close = inner >= last - 1e-5 * np.maximum(1.0, np.abs(last))
    return float(((rows >= 0) & close).sum() / (len(queries) * min(n, len(vectors))))


def _best(queries: FloatMatrix, vectors: FloatMatrix, n: int) -> tuple[FloatMatrix, Rows]:
    """FAISS cuts a run of equal scores where it likes; those queries are settled by a stable sort."""
    deeper = min(n + 1, len(vectors))
    scores, rows = ordered(*faiss.knn(queries, vectors, deeper, metric=faiss.METRIC_INNER_PRODUCT))
    if deeper > n:
        for query in np.flatnonzero(scores[:, n - 1] == scores[:, n]):
            # A tie is a fact of the vectors, so their own products decide, not those of a blocked matmul.
            dense = (vectors * queries[query]).sum(axis=1)
            rows[query, :n] = stable_top(dense, n)
            scores[query, :n] = dense[rows[query, :n]]
    return scores[:, :n], rows[:, :n]


def _checked(vectors: FloatMatrix, what: str) -> FloatMatrix:
    if not np.isfinite(vectors).all():
        raise ValueError(f"{what} hold NaN or infinity; a search over them would return nonsense in silence")
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _manifest(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
