"""Stages what each customer turns to, and the campaigns of the night."""

from __future__ import annotations

from jobs.audiences.affinities import stage_affinities
from jobs.audiences.campaigns import stage_campaigns
from jobs.audiences.config import AudiencesConfig
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.audiences import AFFINITIES
from jobs.tables.shop import CUSTOMER_SEQUENCES


def execute(lake: Lake, run: Run, config: AudiencesConfig) -> Counts:
    """Write the night's affinities and campaigns."""
    shop, written = stage_affinities(lake, run, config)
    counts = stage_campaigns(lake, run, shop, config)
    messages = sum(counts.values())
    told = ", ".join(f"{count:,} {trigger}" for trigger, count in counts.items() if count)
    note = f"{written:,} rows of {AFFINITIES.name}, relative to the shares of {shop.settled}; {messages:,} messages"
    return Counts(
        lake.count(CUSTOMER_SEQUENCES, run.as_of), written + messages, note=f"{note}: {told}" if told else note
    )
