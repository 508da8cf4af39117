"""Gives out the campaigns of a published night, for e-mail tools."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import UserError
from jobs.lake.lake import Lake
from jobs.lake.live import Published, publications, readable
from jobs.lake.reading import matching, of_night
from jobs.lake.rows import among
from jobs.tables.audiences import AFFINITIES, AFFINITY_COLUMNS, CAMPAIGNS, TRIGGERS
from jobs.text import clean

COLUMNS = ("customer_id", "market", "trigger", "about", "product_ids", "reason", "score", "event_at", "last_event_at",
           "as_of")  # fmt: skip
TOLD = 3
"""Of each kind, so many are told in words."""


def published_campaigns(lake: Lake, as_of: date | None = None, trigger: str | None = None) -> pa.Table:
    """The messages of the live night, or of the newest publication of a night, in order of customer.

    Raises UserError for a night that was not published, and for an unknown trigger.
    """
    if trigger is not None and trigger not in TRIGGERS:
        raise UserError(f"--trigger {trigger!r} is not one of {', '.join(TRIGGERS)}")
    one = _publication(lake, as_of)
    rows = lake.at(one.versions).arrow(CAMPAIGNS, COLUMNS, one.night)
    return rows if trigger is None else rows.filter(pc.equal(rows["trigger"], trigger))


def _publication(lake: Lake, as_of: date | None) -> Published:
    """What is live, or the newest publication of a night."""
    found = [one for one in publications(lake) if (one.live if as_of is None else one.night == as_of)]
    if not found:
        of = "nothing is live" if as_of is None else f"the night {as_of} was not published"
        raise UserError(f"{of}: only what went through its gates is given out; publish the night first")
    if CAMPAIGNS.name not in found[-1].versions or not readable(lake, found[-1], [CAMPAIGNS]):
        raise UserError(f"the publication of {found[-1].night} has no campaigns; publish the night again")
    return found[-1]


def turned_to(lake: Lake, as_of: date, customer: str) -> str:
    """What a customer turns to, in words; empty where nothing is known."""
    columns = (*(name for pair in AFFINITY_COLUMNS.values() for name in pair), "price_level")
    found = lake.chosen(AFFINITIES, columns, as_of, lambda keys: among(keys["customer_id"], [customer]))
    parts = []
    for row in (row for batch in found for row in batch.to_pylist()):
        for names, lifts in AFFINITY_COLUMNS.values():
            parts += [
                f"{name} {lift:.1f} times" for name, lift in list(zip(row[names], row[lifts], strict=True))[:TOLD]
            ]
        parts += [] if row["price_level"] is None else [f"price level {row['price_level']:.2f}"]
    return clean(", ".join(parts))


def written_to(lake: Lake, as_of: date, customer: str) -> str:
    """What the night writes to a customer about, in words; empty where it does not."""
    rows = matching(
        lake, CAMPAIGNS, ("trigger", "reason", "product_ids"), of_night(as_of) & (pc.field("customer_id") == customer)
    )
    return clean("; ".join(f"{row['trigger']}: {row['reason']} ({', '.join(row['product_ids'])})" for row in rows))
