"""Checks what customers turn to, and whom the night writes to about what."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.audiences.config import CampaignConfig
from jobs.audiences.sent import NAMES, WEEK, SentMessages
from jobs.audiences.tonight import excluded
from jobs.checks import Check
from jobs.gate.lists import GateInputs
from jobs.lake.lake import Lake
from jobs.model_inputs import list_offsets
from jobs.policy.compile import read_policy
from jobs.policy.rules import ATTRIBUTES
from jobs.run import Run
from jobs.tables.audiences import AFFINITIES, AFFINITY_COLUMNS, CAMPAIGNS
from jobs.tables.shop import CATALOGUE
from models.arrays import Rows
from models.offers import among

BATCH = 131_072
LIFTS = tuple(lifts for _, lifts in AFFINITY_COLUMNS.values())
COLUMNS = ("customer_id", "market", "trigger", "product_ids", "reason", "weekly", "trigger_days", "product_days")


def audience_checks(lake: Lake, run: Run, inputs: GateInputs) -> Iterator[Check]:
    """Every check of the night's affinities and campaigns."""
    rows = broken = 0
    if lake.exists(AFFINITIES):
        for batch in lake.snapshot(AFFINITIES).encoded((*LIFTS, "price_level"), run.as_of, BATCH):
            rows += batch.num_rows
            lifts = np.concatenate([np.asarray(pc.list_flatten(batch[name])) for name in LIFTS])
            level = np.asarray(batch["price_level"].drop_null())
            broken += int((~(np.isfinite(lifts) & (lifts > 1))).sum() + (~((level >= 0) & (level <= 1))).sum())
    known = len(inputs.customers)
    detail = f"{rows:,} of {known:,} customers; the step audiences writes them"
    yield Check(f"{AFFINITIES.name}_coverage", rows / max(known, 1), 1.0, 1.0, detail)
    detail = "lifts that are no number above 1, and price levels beyond 0 and 1"
    yield Check(f"{AFFINITIES.name}_broken", broken, most=0, detail=detail)
    if lake.exists(CAMPAIGNS):
        yield from _campaign_checks(lake, run, inputs)


def _campaign_checks(lake: Lake, run: Run, inputs: GateInputs) -> Iterator[Check]:
    name, told = CAMPAIGNS.name, lake.arrow(CAMPAIGNS, COLUMNS, run.as_of).combine_chunks()
    products = inputs.products.encode(pc.list_flatten(told["product_ids"]), missing="negative").astype(np.int64)
    market = inputs.markets.encode(told["market"], missing="negative")
    offsets = list_offsets(told["product_ids"])
    owner = np.repeat(np.arange(len(told)), np.diff(offsets))
    policy, catalogue = read_policy(lake, run.as_of), lake.arrow(CATALOGUE, ATTRIBUTES, run.as_of)
    sold = inputs.available & ~excluded(policy, catalogue, inputs.markets)
    there = (products >= 0) & (market[owner] >= 0)
    wrong = int((~there).sum() + (~sold[market[owner][there], products[there]]).sum())
    detail = f"products of {len(told):,} messages that are not in stock, or that a rule excludes"
    yield Check(f"{name}_unavailable", wrong, most=0, detail=detail)
    trigger = NAMES.encode(told["trigger"], missing="negative")
    nobody = ~np.asarray(pc.is_in(told["customer_id"], value_set=inputs.customers))
    bare = np.asarray(pc.fill_null(pc.equal(told["reason"], ""), True)) | (np.diff(offsets) == 0) | (trigger < 0)
    detail = "messages to nobody, or without product, trigger or reason"
    yield Check(f"{name}_unfounded", int((nobody | bare).sum()), most=0, detail=detail)
    detail = "messages beyond the customer's caps, or a product that the trigger told before"
    often = _too_often(lake, run, inputs, told, (trigger.astype(np.int64), owner, products))
    yield Check(f"{name}_too_often", often, most=0, detail=detail)


def _too_often(lake: Lake, run: Run, inputs: GateInputs, told: pa.Table, of: tuple[Rows, Rows, Rows]) -> int:
    """Messages of tonight that the caps forbid; `of` is (trigger of each, message of each product, product)."""
    if not len(told):
        return 0
    trigger, message, product = of
    weekly, trigger_days, product_days = (told[name][0].as_py() for name in COLUMNS[-3:])
    config = CampaignConfig(weekly=weekly, trigger_days=trigger_days, product_days=product_days)
    customers = told["customer_id"].combine_chunks()
    names = pc.unique(customers)
    who = np.asarray(pc.index_in(customers, value_set=names), np.int64)
    before, sent = SentMessages.read(lake, run, config, inputs.products).to(names)
    week = np.bincount(before[sent.days < WEEK], minlength=len(names))[who] >= weekly

    def keys(customer: Rows, kind: Rows) -> Rows:
        return customer * len(NAMES) + kind

    soon = sent.days < trigger_days
    early = among(keys(who, trigger), np.sort(keys(before, sent.trigger.astype(np.int64))[soon]))
    lists = sent.told.take(recent := np.flatnonzero(sent.days < product_days))
    old = keys(before, sent.trigger.astype(np.int64))[recent][lists.owners] * len(inputs.products) + lists.products
    again = among(keys(who, trigger)[message] * len(inputs.products) + product, np.sort(old[lists.products >= 0]))
    forbidden = week | early
    forbidden[message[again]] = True
    return int(forbidden.sum()) + len(customers) - len(names)
