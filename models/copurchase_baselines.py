"""Classic item-to-item scores from basket counts: what People Also Bought is measured against.

All are unweighted: one basket, one count. c_ij is the number of baskets with both, n_i with i.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from models.pairs import count_together, distinct
from models.top_n import Rows, top_n_of_scores

Formula = Literal["cosine", "lift", "conditional", "popularity"]
FORMULAS: tuple[Formula, ...] = get_args(Formula)


def basket_baseline(
    offsets: npt.NDArray[np.integer],
    products: npt.NDArray[np.integer],
    n_products: int,
    formula: Formula,
    n: int,
    batch: int = 1024,
) -> Rows:
    """The n best products for every source product, [n_products, n], -1 where no pair was seen.

    cosine c_ij / sqrt(n_i n_j), lift c_ij / (n_i n_j), conditional c_ij / n_i, popularity n_j; equal
    scores go by popularity. Basket k is `products[offsets[k]:offsets[k+1]]`.
    """
    offsets, products = distinct(offsets, products, n_products)
    sold = np.bincount(products, minlength=n_products).astype(np.float64)
    tie_break = sold / (1e6 * max(1.0, sold.max(initial=0.0)))
    counts = count_together(offsets, products, np.ones(len(offsets) - 1), n_products)
    source, target = sold[counts.owners], sold[counts.columns]
    values = {
        "cosine": counts.values / np.sqrt(source * target),
        "lift": counts.values / (source * target),
        "conditional": counts.values / source,
        "popularity": counts.values,
    }[formula]
    values = values * (1.0 + tie_break[counts.columns])
    lists = []
    for start in range(0, n_products, batch):
        rows = np.arange(start, min(start + batch, n_products))
        scores = np.full((len(rows), n_products), -np.inf, dtype=np.float32)
        if formula == "popularity":
            scores[:] = sold
            scores[rows - start, rows] = -np.inf
        else:
            owner, pair = counts.pairs_of(rows)
            scores[owner, counts.columns[pair]] = values[pair]
        lists.append(top_n_of_scores(scores, n)[1])
    return np.concatenate(lists)
