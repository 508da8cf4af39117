"""What customers bought, as arrays over the night's products: what their own lists must not show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.top_n import BoolMask, Rows
from models.vocabulary import Vocabulary

COLUMNS = ("bought", "bought_at")
"""Of customer_sequences."""


@dataclass(frozen=True)
class Bought:
    """Customer i bought `products[offsets[i] : offsets[i + 1]]`."""

    offsets: Rows
    """[customers + 1]."""
    products: Rows
    """Numbers of products; those that the vocabulary lacks are left out."""
    days: npt.NDArray[np.float32]
    """Days from each product's last purchase to the night."""

    @staticmethod
    def of(rows: pa.Table | pa.RecordBatch, products: Vocabulary, midnight: datetime) -> Bought:
        """From rows of customer_sequences, customer by customer; null is nothing bought."""
        lengths = np.asarray(pc.fill_null(pc.list_value_length(rows["bought"]), 0)).astype(np.int64)
        number = products.encode(pc.list_flatten(rows["bought"]), missing="negative").astype(np.int64)
        seconds = pc.list_flatten(rows["bought_at"]).cast(pa.int64())
        days = (midnight.timestamp() - np.asarray(seconds) / 1e6) / 86_400.0
        whole = Bought(np.concatenate(([0], np.cumsum(lengths))), number, days.astype(np.float32))
        return whole.where(number >= 0)

    def where(self, kept: BoolMask) -> Bought:
        """Only the purchases [any] that are `kept`."""
        offsets = np.concatenate(([0], np.cumsum(kept)))[self.offsets]
        return Bought(offsets, self.products[kept], self.days[kept])

    def __getitem__(self, chosen: Rows) -> Bought:
        """That of some customers."""
        lengths = np.diff(self.offsets)[chosen]
        starts = np.concatenate(([0], np.cumsum(lengths)))
        at = np.repeat(self.offsets[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return Bought(starts, self.products[at], self.days[at])

    def lasting(self, category: Rows, again: npt.NDArray[np.float32]) -> BoolMask:
        """[purchases], whether it still keeps the product out of a list: bought at most `again` [categories] days ago.
        `category` is [products], -1 for none.
        """
        within = np.append(again, np.float32(np.inf))  # the last one stands for no category
        return np.asarray(self.days <= within[category[self.products]])
