"""What customers looked at together: the views of a visit, which a pause ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.sequences import EVENT_TYPES, Sequences

VIEWS = tuple(EVENT_TYPES.index(name) for name in ("click", "save", "bag"))
"""What looking is; what is bought together goes together, but is no alternative."""


def visits(
    sequences: Sequences, pause: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """(offsets [v + 1], products, times [v]) of v visits: each customer's views, cut where `pause` seconds pass.

    `times` are the seconds since 1970 UTC of the first view.
    """
    views = sequences.where(np.isin(sequences.events, VIEWS))
    total = len(views.products)
    opens = np.zeros(total + 1, dtype=bool)
    opens[views.offsets] = True
    opens[1:-1] |= np.diff(views.times) > pause
    offsets = np.flatnonzero(opens)
    if not total:
        return np.zeros(1, np.int64), views.products, np.empty(0, np.int64)
    return offsets, views.products, views.times[offsets[:-1]]
