"""Fill lists that a model left short, from ranked alternatives, without repeats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.contract import FloatMatrix
from models.top_n import Rows

Labels = npt.NDArray[np.int8]
"""[q, n], which source filled each place; -1 for an empty place."""


def fill(
    rows: Rows,
    scores: FloatMatrix,
    labels: Labels,
    group: Rows,
    ranked: Rows,
    ranked_scores: FloatMatrix,
    label: int,
    forbidden: Rows,
) -> None:
    """Fill the -1 places of lists [q, n] in place from `ranked` [groups, k], best first, -1 past the last.

    List i takes from row `group[i]` (-1: none) what it does not hold and what is not in `forbidden` [q, f], such as
    the product itself or what the customer bought (-1 pads). Filled places get `label` and the ranking's score.
    """
    n = rows.shape[1]
    short = np.flatnonzero((rows[:, -1] < 0) & (group >= 0))
    for start in range(0, len(short), 2048):
        chosen = short[start : start + 2048]
        offered = ranked[group[chosen]]
        taken = np.concatenate((rows[chosen], forbidden[chosen]), axis=1)
        fresh = (offered >= 0) & ~(offered[:, :, None] == taken[:, None, :]).any(axis=2)
        held = (rows[chosen] >= 0).sum(axis=1)
        place = held[:, None] + np.cumsum(fresh, axis=1) - 1
        query, column = np.nonzero(fresh & (place < n))
        where = (chosen[query], place[query, column])
        rows[where] = offered[query, column]
        scores[where] = ranked_scores[group[chosen[query]], column]
        labels[where] = label


def rank_by_group(
    weights: npt.NDArray[np.floating], allowed: npt.NDArray[np.bool_], group: Rows, groups: int, k: int
) -> tuple[Rows, FloatMatrix]:
    """(rows [groups, k], scores [groups, k]): the heaviest allowed products of each group, -1 and -inf past the last.

    `weights`, `allowed` and `group` are [p]; equal weights go by row.
    """
    rows = np.full((groups, k), -1, dtype=np.int64)
    scores = np.full((groups, k), -np.inf, dtype=np.float32)
    candidates = np.flatnonzero(allowed & (group >= 0))
    order = candidates[np.lexsort((candidates, -weights[candidates], group[candidates]))]
    place = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    kept = place < k
    rows[group[order[kept]], place[kept]] = order[kept]
    scores[group[order[kept]], place[kept]] = weights[order[kept]]
    return rows, scores
