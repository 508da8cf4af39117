"""From nearest neighbours to what may be recommended: without what a customer bought."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix
from models.exact_search import QUERIES
from models.search import exact_top_n
from models.top_n import BoolMask, Rows

if TYPE_CHECKING:
    from models.device_search import DeviceProducts


def top_n_excluding(
    queries: FloatMatrix,
    vectors: FloatMatrix | DeviceProducts,
    n: int,
    excluded_offsets: npt.NDArray[np.int64],
    excluded_rows: npt.NDArray[np.integer],
    allowed: BoolMask | None = None,
    batch: int = QUERIES,
) -> tuple[FloatMatrix, Rows]:
    """(scores [q, n], rows [q, n]): exact top n of `vectors` [p, d] without what each query excludes;
    on a card where they were `models.search.placed` on one.

    Query i excludes `excluded_rows[excluded_offsets[i]:excluded_offsets[i+1]]`: the products a
    customer bought, or the product itself. `allowed` [p] is what the market has. `batch` is the
    number of queries that a thread works on at once.
    """
    return exact_top_n(queries, vectors, n, allowed, (excluded_offsets, excluded_rows), batch)
