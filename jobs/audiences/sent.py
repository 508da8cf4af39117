"""Knows what earlier nights chose for customers, which counts as sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.audiences.config import CampaignConfig
from jobs.lake.lake import Lake
from jobs.model_inputs import list_offsets
from jobs.run import Run
from jobs.tables.audiences import CAMPAIGNS, TRIGGERS
from models.arrays import Rows
from models.ragged import Ragged
from models.vocabulary import Vocabulary

WEEK = 7
NAMES = Vocabulary(list(TRIGGERS))


@dataclass(frozen=True)
class ToldProducts(Ragged):
    """Products of messages, as numbers; -1 for one that is not known any more."""

    products: npt.NDArray[np.int32]


@dataclass(frozen=True)
class SentMessages:
    """Messages of earlier nights, n of them."""

    customers: pa.Array
    trigger: npt.NDArray[np.int32]
    """[n], number of the trigger; -1 for one that is unknown."""
    days: Rows
    """[n], nights since then."""
    told: ToldProducts

    @staticmethod
    def read(lake: Lake, run: Run, config: CampaignConfig, products: Vocabulary) -> SentMessages:
        """Those that still count tonight; a night that is made again does not count itself, nor later ones."""
        first = run.as_of - timedelta(days=max(WEEK, config.trigger_days, config.product_days) - 1)
        night, columns = pc.field("as_of"), ("customer_id", "trigger", "product_ids", "as_of")
        types = (pa.string(), pa.string(), pa.list_(pa.string()), pa.date32())
        schema = pa.schema(list(zip(columns, types, strict=True)))
        where = (night >= pa.scalar(first)) & (night < pa.scalar(run.as_of))
        found = list(lake.batches(CAMPAIGNS, columns, where=where)) if lake.exists(CAMPAIGNS) else []
        rows = pa.Table.from_batches([batch.cast(schema) for batch in found], schema)
        lists = rows["product_ids"].combine_chunks()
        return SentMessages(
            rows["customer_id"].combine_chunks(),
            NAMES.encode(rows["trigger"], missing="negative"),
            (run.as_of - date(1970, 1, 1)).days - np.asarray(rows["as_of"].cast(pa.int32()), np.int64),
            ToldProducts(list_offsets(lists), products.encode(pc.list_flatten(lists), missing="negative")),
        )

    def to(self, customers: pa.Array) -> tuple[Rows, SentMessages]:
        """(the customer of each message, the messages) of some customers."""
        owner = np.asarray(
            pc.fill_null(pc.index_in(self.customers, value_set=customers.cast(pa.string())), -1), np.int64
        )
        at = np.flatnonzero(owner >= 0)
        return owner[at], SentMessages(
            self.customers.take(pa.array(at)), self.trigger[at], self.days[at], self.told.take(at)
        )
