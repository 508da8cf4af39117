"""Chooses whom the night writes to about what, and writes the table campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.audiences.affinities import best_of
from jobs.audiences.config import AudiencesConfig
from jobs.audiences.sent import NAMES, WEEK, SentMessages
from jobs.audiences.settled import SettledShop, type_weights, weights_of
from jobs.audiences.tonight import AFTER_DAYS, Tonight
from jobs.lake.lake import Lake
from jobs.model_inputs import HISTORY_COLUMNS, Histories
from jobs.run import Run
from jobs.tables.audiences import CAMPAIGNS
from jobs.tables.shop import CUSTOMER_SEQUENCES
from models.arrays import Rows
from models.offers import CustomerOffers, Interest, among, of_interest, of_new
from models.sequences import SECONDS_PER_DAY

BAG_HOURS = (3, 72)
"""Hours after a bag-add in which it is told, from and to."""
LOOKS, LOOKED_DAYS = 2, 3
"""A product was looked at so many times in seven days, the last time within so many days."""
CAPS = ("weekly", "trigger_days", "product_days")
"""Settings that a row records."""
TIME = pa.timestamp("us", "UTC")
SECOND = 1_000_000
"""In microseconds."""


def stage_campaigns(
    lake: Lake, run: Run, shop: SettledShop, tonight: Tonight, config: AudiencesConfig
) -> dict[str, int]:
    """Write the night's messages; returns how many each trigger has."""
    sent = SentMessages.read(lake, run, config.campaigns, shop.vocabulary)
    night = CampaignNight(run, config, shop, tonight, sent)
    counts = dict.fromkeys(config.campaigns.triggers, 0)

    def rows() -> Iterator[pa.RecordBatch]:
        columns = (*HISTORY_COLUMNS, "last_event_at")
        since = pa.scalar(run.midnight - timedelta(days=config.campaigns.quiet_days), TIME)
        done = 0
        for batch in lake.snapshot(CUSTOMER_SEQUENCES).encoded(columns, run.as_of, config.batch_customers):
            awake = batch.filter(pc.greater_equal(batch["last_event_at"].cast(TIME), since))
            for trigger, messages in CustomerMessages(night, awake).choose() if awake.num_rows else ():
                counts[trigger] += messages.num_rows
                yield messages
            done += batch.num_rows
            run.progress("customers' messages", done, done)

    lake.replace(CAMPAIGNS, rows(), run)
    return counts


@dataclass(frozen=True)
class CampaignNight:
    """What the messages of a night depend on beside its customers."""

    run: Run
    config: AudiencesConfig
    shop: SettledShop
    tonight: Tonight
    sent: SentMessages

    @property
    def now(self) -> int:
        """Seconds since 1970 UTC."""
        return int(self.run.midnight.timestamp())


class CustomerMessages:
    """Chooses the messages of a batch of customers, n of them."""

    def __init__(self, night: CampaignNight, rows: pa.RecordBatch) -> None:
        self.night, self.rows, self.settings = night, rows, night.config.campaigns
        self.histories: Histories = night.shop.histories(rows)
        self.market = night.tonight.markets.encode(self.histories.markets, missing="negative").astype(np.int64)
        """[n], -1 for one that sells nothing: the last row of what the night allows."""

    def choose(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """(trigger, rows of campaigns): each customer gets the first trigger that may and can say something."""
        settings, (owner, sent) = self.settings, self.night.sent.to(self.histories.customers)
        count = np.bincount(owner[sent.days < WEEK], minlength=len(self.histories.customers))
        free = count < settings.weekly
        for number, trigger in zip(NAMES.encode(settings.triggers), settings.triggers, strict=True):
            same, open_to = sent.trigger == number, free.copy()
            open_to[owner[same & (sent.days < settings.trigger_days)]] = False
            told = np.flatnonzero(same & (sent.days < settings.product_days))
            lists = sent.told.take(told)
            known = self._keys(owner[told][lists.owners], lists.products.astype(np.int64))
            offers = self._offers(trigger)
            allowed = self.night.tonight.allowed[self.market[offers.owner], offers.product]
            offers = offers.where(allowed & open_to[offers.owner])
            best = offers.where(~among(self._keys(offers.owner, offers.product), np.sort(known))).best(
                settings.products
            )
            free[best.owner] = False
            if len(best.owner):
                yield trigger, self._messages(trigger, best)

    @cached_property
    def interest(self) -> Interest:
        """What the customers did in the last days."""
        now, days = self.night.now, self.settings.interest_days
        weights = type_weights(self.night.config.affinities)
        since = now - days * SECONDS_PER_DAY
        return Interest.of(self.histories.sequences, weights, len(self.night.shop.vocabulary), since, now)

    def _offers(self, trigger: str) -> CustomerOffers:
        """All that a trigger could say."""
        found, tonight, now = self.interest, self.night.tonight, self.night.now
        wanted = ~found.bought
        match trigger:
            case "back_in_stock":
                return of_interest(found, wanted & tonight.back[self.market[found.owner], found.product])
            case "price_fell":
                fall = tonight.fall[found.product]
                return of_interest(found, wanted & (fall >= self.settings.least_fall), amount=fall)
            case "bag_left":
                first, last = (now - hours * 3600 for hours in reversed(BAG_HOURS))
                return of_interest(found, wanted & (found.bagged >= first) & (found.bagged < last), at=found.bagged)
            case "looked_not_bought":
                often = (found.looks >= LOOKS) & (found.last >= now - LOOKED_DAYS * SECONDS_PER_DAY)
                return of_interest(found, wanted & often & (found.bagged == 0))
            case "new_in_your_brands":
                return self._new()
            case "after_purchase":
                last, first = (now - days * SECONDS_PER_DAY for days in AFTER_DAYS)
                return tonight.companions.result().offers(self.histories.sequences, self.market, (first, last))
        raise AssertionError(f"{trigger} is no trigger")

    def _new(self) -> CustomerOffers:
        """New products of brands that they turn to, without those that they looked at."""
        shop, found, new = self.night.shop, self.interest, self.night.tonight.new
        weights = weights_of(self.histories, self.night.config.affinities)
        brands, lifts = best_of(shop, self.histories, weights, "brand", self.night.config)
        brands = np.where(lifts >= self.settings.least_lift, brands, -1)
        liked = best_of(shop, self.histories, weights, "category", self.night.config)
        code = shop.codes["brand"][new]
        offers = of_new((new[code >= 0], code[code >= 0]), (brands, lifts), (shop.codes["category"], *liked))
        return offers.where(~among(self._keys(offers.owner, offers.product), self._keys(found.owner, found.product)))

    def _keys(self, owner: Rows, product: Rows) -> Rows:
        return owner * len(self.night.shop.vocabulary) + product

    def _messages(self, trigger: str, best: CustomerOffers) -> pa.RecordBatch:
        """Rows of campaigns from the offers of each customer, by customer."""
        first = np.flatnonzero(np.diff(best.owner, prepend=-1))
        offsets, products = np.append(first, len(best.owner)), self.night.shop.vocabulary
        customers, at = best.owner[first], np.maximum.reduceat(best.at, first)
        amount = np.maximum.reduceat(best.amount, first)
        about = pa.nulls(len(first), pa.string())
        if trigger == "after_purchase":
            about = products.decode(best.amount[first].astype(np.int64))
        elif trigger == "new_in_your_brands":
            about = self.night.shop.words["brand"].decode(self.night.shop.codes["brand"][best.product[first]])
        day = np.datetime_as_string(at.astype("datetime64[s]"), "D")
        told = zip(np.diff(offsets).tolist(), day.tolist(), amount.tolist(), strict=True)
        time = pa.array(np.where(at > 0, at, 0) * SECOND, mask=at == 0).cast(TIME)
        mine = self.rows.take(pa.array(customers))
        return pa.RecordBatch.from_pydict(
            {
                "customer_id": self.histories.customers.take(pa.array(customers)),
                "market": mine["market"],
                "trigger": pa.repeat(trigger, len(first)),
                "about": about,
                "product_ids": pa.ListArray.from_arrays(
                    pa.array(offsets.astype(np.int32)), products.decode(best.product)
                ),
                "reason": pa.array([reason(trigger, *facts) for facts in told]),
                "score": best.score[first],
                "event_at": time,
                "last_event_at": mine["last_event_at"],
                **{name: pa.repeat(getattr(self.settings, name), len(first)) for name in CAPS},
            }
        )


def reason(trigger: str, products: int, day: str, amount: float) -> str:
    """Why a customer gets a message, in fixed words, numbers and dates: nothing in it has to be escaped."""
    some = f"{products} product{'s' * (products > 1)}"
    match trigger:
        case "back_in_stock":
            return f"back in stock: {some}, last seen on {day}"
        case "price_fell":
            return f"price fell by {100 * amount:.0f} %: {some}, last seen on {day}"
        case "bag_left":
            return f"left in the bag on {day}: {some}"
        case "looked_not_bought":
            return f"looked at {amount:.0f} times in a week and not bought: {some}, last seen on {day}"
        case "new_in_your_brands":
            return f"new: {some} of a brand that the customer turns to {amount:.1f} times as much as is usual"
        case "after_purchase":
            return f"goes with what was bought on {day}: {some}"
    raise AssertionError(f"{trigger} is no trigger")
