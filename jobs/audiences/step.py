"""Stages what each customer turns to, and the campaigns of the night."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from jobs.audiences.affinities import shop_of, stage_affinities
from jobs.audiences.campaigns import stage_campaigns
from jobs.audiences.config import AudiencesConfig
from jobs.audiences.tonight import read_tonight
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.audiences import AFFINITIES
from jobs.tables.shop import CUSTOMER_SEQUENCES


def execute(lake: Lake, run: Run, config: AudiencesConfig) -> Counts:
    """Write the night's affinities and campaigns."""
    shop, since = shop_of(lake, run, config)
    with ThreadPoolExecutor(1) as pool:
        tonight = read_tonight(lake, run, shop.vocabulary, pool)
        written = stage_affinities(lake, run, shop, since, config)
        counts = stage_campaigns(lake, run, shop, tonight, config)
    messages = sum(counts.values())
    told = ", ".join(f"{count:,} {trigger}" for trigger, count in counts.items() if count)
    note = f"{written:,} rows of {AFFINITIES.name}, relative to the shares of {shop.settled}; {messages:,} messages"
    return Counts(
        lake.count(CUSTOMER_SEQUENCES, run.as_of), written + messages, note=f"{note}: {told}" if told else note
    )
