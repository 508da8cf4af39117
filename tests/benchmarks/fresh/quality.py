"""Asks for the next click of a visit: what the night knows of the customer, with and without the visit so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.client.answers import OWN, ProductList
from feature_repo.client.network import Events
from feature_repo.client.sessions import NOW, in_context
from jobs.lake.lake import Lake
from jobs.lists.config import ListsConfig
from jobs.networks import read_network, stage_network
from jobs.run import Run
from jobs.sample_shop import SIZES, write_shop
from models.arrays import BoolMask, Rows
from models.contract import Compute
from models.evaluation.bootstrap import paired_uplift
from models.evaluation.metrics import Metrics
from models.networks.artefacts import create
from models.sequences import EVENT_TYPES, SECONDS_PER_DAY, Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.shops import sample_shop
from tests.benchmarks.common.timed import known_at
from tests.benchmarks.touch_points.alternatives import alternatives
from tests.benchmarks.touch_points.data import SESSION_GAP, sample

CLICK, PURCHASE = (EVENT_TYPES.index(name) for name in ("click", "purchase"))
K, PLACES, LISTED = 10, 24, 60
"""Places that count; places of a list; alternatives searched before a market leaves some out."""
PAGE, PAGE_IN_VISIT = "alternatives to the page", "alternatives in the visit"


@dataclass(frozen=True)
class Click:
    """One click that follows another event of the same visit; products and customers are numbers."""

    customer: int
    target: int
    page: int
    """Product of the event before it: the page that the customer is on."""
    night: Events
    """What the night knows: events before midnight."""
    visit: Events
    """What the customer has done since then."""
    bought: Rows

    @property
    def both(self) -> Events:
        """All events."""
        joined = zip(vars(self.night).values(), vars(self.visit).values(), strict=True)
        return Events(*(np.concatenate(pair) for pair in joined))


def clicks_of(
    sequences: Sequences, split: int, until: int, sold: Callable[[int], BoolMask], most: int, seed: int
) -> list[Click]:
    """At most `most` clicks from `split` to `until`, drawn evenly: on products that the visit has not had before, that
    are `sold` to the customer and that they never bought. Products are -1 where no event before the split has them.
    """
    owners, found = np.repeat(np.arange(len(sequences)), sequences.lengths), []
    same = (np.diff(owners, prepend=-1) == 0) & (np.diff(sequences.times, prepend=0) <= SESSION_GAP)
    asked = same & (sequences.events == CLICK) & (sequences.times >= split) & (sequences.times < until)
    for at in np.random.default_rng(seed).permutation(np.flatnonzero(asked)).tolist():
        customer, target = int(owners[at]), int(sequences.products[at])
        first = int(sequences.offsets[customer])
        opened = at - int(np.argmin(same[first : at + 1][::-1]))  # a customer's first event opens a visit
        midnight = sequences.times[at] // SECONDS_PER_DAY * SECONDS_PER_DAY
        night = first + int(np.searchsorted(sequences.times[first:at], midnight))
        before = slice(first, at)
        bought = sequences.products[before][sequences.events[before] == PURCHASE]
        page = int(sequences.products[at - 1])
        if min(target, page) < 0 or target in bought or target in sequences.products[opened:at]:
            continue
        if sold(customer)[target]:
            night_events, visit = (_events(sequences, a, b) for a, b in ((first, night), (night, at)))
            found.append(Click(customer, target, page, night_events, visit, bought[bought >= 0]))
        if len(found) == most:
            break
    return found


def _events(sequences: Sequences, start: int, stop: int) -> Events:
    rows = start + np.flatnonzero(sequences.products[start:stop] >= 0)
    return Events(
        *(column[rows].astype(np.int64) for column in (sequences.products, sequences.events, sequences.times))
    )


def figures(raw: Path | None, kind: str, most: int, scratch: Path, log: Log) -> dict[str, Any]:
    """Entrant -> NDCG@10 and hit rate over the clicks, with the uplift of what serves over the night."""
    if raw is None:
        write_shop(raw := scratch / "shop", SIZES["sample"], log.progress("sample shop"))
    settings = ListsConfig().popular
    ground, shop = sample(raw, None, settings.event_weights, settings.days), sample_shop(raw, None)
    model = create(kind, Vocabulary(list(ground.ids)), Compute())
    model.fit(ground.train.take(np.flatnonzero(ground.train.lengths)), ground.catalogue, log.progress(kind))
    run = Run(date(2026, 1, 1), "fresh", datetime(2026, 1, 1, tzinfo=UTC))
    stage_network(Lake(scratch / "lake"), run, model, kind)
    network, markets = read_network(Lake(scratch / "lake"), run.as_of), ground.markets
    assert network is not None and markets is not None
    anywhere = markets.available.any(axis=0)

    def sold(customer: int) -> BoolMask:
        return markets.available[markets.home[customer]] if markets.home[customer] >= 0 else anywhere

    sequences = known_at(shop, ground.split, ground.until).only_known(shop.sequences)
    clicks = clicks_of(sequences, ground.split, ground.until, sold, most, seed=7)
    log.say(f"{len(clicks):,} clicks of {len({click.customer for click in clicks}):,} customers")
    lists = alternatives(model.product_vectors(), ground, LISTED, with_views=True)
    places = {name: [] for name in ("night", "with the visit", "the visit alone", "as served", PAGE, PAGE_IN_VISIT)}
    for click in clicks:
        vectors = [network.encode(events) for events in (click.night, click.both, click.visit)]
        both, visit = vectors[1:]
        if both is None or visit is None:
            continue
        vectors.append(NOW * visit + (1 - NOW) * both)
        shown = sold(click.customer).copy()
        shown[click.bought] = shown[click.visit.products] = False
        for name, vector in zip(places, vectors, strict=False):
            scores = network.vectors[-1] if vector is None else vector @ network.vectors
            places[name].append(int((scores[shown] >= scores[click.target]).sum()))
        own = lists[click.page]
        names = [network.product_ids[row] for row in own[(own >= 0) & sold(click.customer)[own]][:PLACES]]
        visit = [(network.product_ids[product], "click", 0) for product in click.visit.products.tolist()]
        page = ProductList(tuple(names), (0.0,) * len(names), ("model",) * len(names), OWN)
        for name, shown_page in ((PAGE, page), (PAGE_IN_VISIT, in_context(page, visit))):
            places[name].append(_place(list(shown_page.product_ids), network.product_ids[click.target]))
    who, told = np.array([click.customer for click in clicks]), dict[str, Any]()
    measured = {name: metrics(np.array(found)) for name, found in places.items()}
    for name, of in measured.items():
        told[name] = {key: round(float(values.mean()), 4) for key, values in of.items()}
    for ours, base in (("as served", "night"), (PAGE_IN_VISIT, PAGE)):
        uplift = paired_uplift(measured[ours]["ndcg@10"], measured[base]["ndcg@10"], who)
        told[ours]["ndcg@10 over " + base] = str(uplift)
    return told


def _place(shown: list[str], target: str) -> int:
    return shown.index(target) + 1 if target in shown else 0


def metrics(places: Rows) -> Metrics:
    """NDCG@10 and hit rate of one target each, from its place; 0 is not in the list."""
    hit = (places >= 1) & (places <= K)
    return {"ndcg@10": np.where(hit, 1 / np.log2(1 + np.maximum(places, 1)), 0.0), "hit_rate@10": hit.astype(float)}
