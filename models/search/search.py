"""Builds, stores and searches inner-product indexes; the one module that imports FAISS.

A higher score is closer; equal scores are ordered by row. Flat indexes are exact, and searched by our own kernel, which
is faster than FAISS's. Any other factory is approximate, searched by FAISS, and the gate demands a measured recall.
Exact searches run on a GPU where the products were `placed` on one, and find the same within
`models.search.device.score_tolerance`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from models.arrays import BoolMask, Rows, ordered
from models.contract import Compute, FloatMatrix
from models.search.exact import QUERIES, Excluded, best_products, pack

if TYPE_CHECKING:
    from models.search.device import DeviceProducts

Index = Any
"""A faiss.Index; FAISS has no type annotations."""
ON_CPU = Compute("cpu")
DRIVER = "libcuda.so.1"
"""Library of every NVIDIA driver; without it nothing is gained by importing torch, which takes seconds."""


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


def save(index: Index, path: Path) -> str:
    """Write the index and then, beside it, `NAME.json` with its sha256 and shape; returns the sha256.

    A crash between the two leaves files that `load` refuses.
    """
    faiss.write_index(index, str(path))
    digest = _sha256(path)
    manifest = {"sha256": digest, "rows": int(index.ntotal), "dimensions": int(index.d)}
    _manifest(path).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    return digest


def load(path: Path) -> Index:
    """The index that `save` wrote. Raises ValueError when file and manifest are not of one save."""
    expected = json.loads(_manifest(path).read_text())
    found = _sha256(path)
    if found != expected["sha256"]:
        raise ValueError(f"{path} has sha256 {found}, its manifest says {expected['sha256']}: rebuild the index")
    return faiss.read_index(str(path))


def search(index: Index, queries: FloatMatrix, n: int, compute: Compute = ON_CPU) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]), best first; where the index holds fewer than n: row -1, score -inf.

    A Flat index is searched where `compute` says, any other on the CPU.
    """
    vectors = _flat_vectors(index)
    if vectors is not None:
        return exact_top_n(queries, placed(vectors, compute), n)
    return ordered(*index.search(_checked(queries, "queries"), n))


def placed(vectors: FloatMatrix, compute: Compute) -> FloatMatrix | DeviceProducts:
    """Product vectors [p, d] for `exact_top_n`: copied to a GPU where `compute` has one, as they are on a CPU.

    Raises ValueError on vectors that are not finite, on an unknown device, and for `cuda` on a machine without one.
    """
    if compute.device == "cpu" or (compute.device == "auto" and not _driver()):
        return vectors
    from models.networks.device import pick
    from models.search.device import DeviceProducts

    if pick(compute).type == "cpu":
        return vectors
    return DeviceProducts.of(_checked(vectors, "product vectors"), compute)


def exact_top_n(
    queries: FloatMatrix,
    vectors: FloatMatrix | DeviceProducts,
    n: int,
    allowed: BoolMask | Rows | None = None,
    excluded: Excluded | None = None,
    batch: int = QUERIES,
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]) of the n best of `vectors` [p, d] by inner product, exactly.

    `allowed` restricts the products of all queries: a mask [p] or rising row numbers; `excluded` takes products from
    each query. Order: score falling, then row rising, also across the cut after n. Missing places hold row -1 and score
    -inf. `batch` is the number of queries that a CPU thread works on at once. Products that were `placed` on a GPU are
    searched there, with scores within `models.search.device.score_tolerance`. Raises ValueError on vectors that are not
    finite, and where shapes or rows do not fit together.
    """
    queries = _checked(queries, "queries")
    if allowed is None:
        subset = np.arange(len(vectors))
    else:
        subset = np.flatnonzero(allowed) if allowed.dtype == np.bool_ else np.asarray(allowed, dtype=np.int64)
        if len(subset) and (subset.min() < 0 or subset.max() >= len(vectors)):
            raise ValueError(f"allowed rows reach from {subset.min()} to {subset.max()}, products are {len(vectors)}")
    if not isinstance(vectors, np.ndarray):
        from models.search.device import best_on_device

        return best_on_device(queries, vectors, subset, n, excluded)
    vectors = _checked(vectors, "product vectors")
    return best_products(queries, pack(vectors, subset, threads()), n, excluded, threads(), batch)


def threads() -> int:
    """Threads that a search may use: OpenMP's number, which OMP_NUM_THREADS limits."""
    return int(faiss.omp_get_max_threads())


def recall_against_exact(
    index: Index, vectors: FloatMatrix, queries: FloatMatrix, n: int, compute: Compute = ON_CPU
) -> float:
    """The share of the exact top n of `vectors` that the index finds, mean over the queries.

    A row of the same score as the last exact one counts as found: either answer is right.
    """
    exact, _ = exact_top_n(queries, placed(vectors, compute), n)
    _, rows = search(index, queries, n, compute)
    inner = np.einsum("qd,qnd->qn", queries, vectors[rows])
    last = exact[:, [min(n, len(vectors)) - 1]]
    close = inner >= last - 1e-5 * np.maximum(1.0, np.abs(last))
    return float(((rows >= 0) & close).sum() / (len(queries) * min(n, len(vectors))))


def _flat_vectors(index: Index) -> FloatMatrix | None:
    """The vectors [p, d] of a Flat inner-product index, not copied; None for any other."""
    if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT or not index.ntotal:
        return None
    flat: FloatMatrix = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return flat.reshape(index.ntotal, index.d)


def _driver() -> bool:
    """Whether there is an NVIDIA driver."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _checked(vectors: FloatMatrix, what: str) -> FloatMatrix:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    flat = vectors.reshape(-1)
    # One pass at the speed of memory: the sum of squares is finite only if every number is.
    if not np.isfinite(np.vdot(flat, flat)) and not np.isfinite(flat).all():
        raise ValueError(f"{what} hold NaN or infinity; a search over them would return nonsense without an error")
    return vectors


def _manifest(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
