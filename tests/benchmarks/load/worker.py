"""One process of the load test: requests at scheduled times, whatever became of those before them."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from feature_repo.client import Recommendations
from feature_repo.online.reader import backend_at
from tests.support.http_shop import HttpShop
from tests.support.synthetic import Shape, nights_in

MIX = {"product_page": 0.50, "category_page": 0.14, "home": 0.15, "product": 0.10, "bag": 0.07, "history": 0.02,
       "rank": 0.02}  # fmt: skip
"""Share of each page among the requests."""
SKEW = 1.05
"""Exponent of Zipf's law for customers and products."""
CANDIDATES = 500
Floats = npt.NDArray[np.float64]


def only_loopback(address: str) -> str:
    """The address; raises ValueError for one that is not on this machine."""
    host = urlsplit(address).hostname or ""
    if not (host == "localhost" or ipaddress.ip_address(host).is_loopback):
        raise ValueError(f"the load test asks this machine alone, not {host}")
    return address


@dataclass
class Result:
    """What became of some requests."""

    seconds: dict[str, Floats]
    """Page -> from the scheduled time to the answer, of each request."""
    took: float
    """Seconds from the first scheduled time to the last answer."""
    cpu: float
    counts: Counter[str] = field(default_factory=Counter)
    """requests, failed, mixed, fallback, away, cached."""
    examples: list[str] = field(default_factory=list)
    """Of failed and mixed answers."""


class Asker:
    """A client and the requests that it makes: of the store, or of an HTTP API, which has pages but no facts."""

    def __init__(self, address: str, shape: Shape, seed: int) -> None:
        client = HttpShop if address.startswith("http://") else Recommendations
        self.client: Any = client(only_loopback(address))
        self.shape, self.random = shape, np.random.default_rng(seed)
        self.products, self.customers, self.markets = shape.product_ids, shape.customer_ids, shape.market_names
        self.mix = {page: share for page, share in MIX.items() if hasattr(self.client, page)}
        self.pages = list(self.mix)

    def ask(self, page: str, product: int, customer: int) -> Any:
        """One request."""
        client, market = self.client, self.markets[customer % len(self.markets)]
        if page == "product_page":
            return client.product_page(self.products[product], market)
        if page == "category_page":
            return client.category_page(market, f"K{product % self.shape.categories}")
        if page == "home":
            return client.home(self.customers[customer], market)
        if page == "product":
            return client.product(self.products[product])
        if page == "bag":
            return client.bag([self.products[product], self.products[product // 2]], market)
        if page == "history":
            return client.history(self.customers[customer])
        start = product % max(1, len(self.products) - CANDIDATES)
        return client.rank(self.customers[customer], self.products[start : start + CANDIDATES], market, "K1")

    def run(self, rate: float, count: int, seconds: float) -> Result:
        """`count` requests at `rate` a second on average (a Poisson process), `seconds` at most."""
        times = np.cumsum(self.random.exponential(1 / rate, count)).tolist()
        shares = np.array(list(self.mix.values()))
        pages = self.random.choice(len(self.pages), count, p=shares / shares.sum()).tolist()
        products, customers = (self._zipf(len(ids), count).tolist() for ids in (self.products, self.customers))
        took: dict[str, list[float]] = {page: [] for page in self.pages}
        result = Result({}, 0.0, time.process_time())
        start = time.perf_counter()
        for at, place, product, customer in zip(times, pages, products, customers, strict=True):
            page, due = self.pages[place], start + at
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            try:
                answer = self.ask(page, product, customer)
            except Exception as error:
                took[page].append(time.perf_counter() - due)
                result.counts["failed"] += 1
                result.examples.append(f"{page}: {type(error).__name__}: {error}")
            else:
                took[page].append(time.perf_counter() - due)
                self._judge(page, answer, result)
            if time.perf_counter() - start > seconds:
                break
        result.took = time.perf_counter() - start
        result.cpu = time.process_time() - result.cpu
        result.seconds = {page: np.array(values) for page, values in took.items()}
        result.counts["requests"] = sum(map(len, took.values()))
        result.examples = result.examples[:5]
        return result

    def _judge(self, page: str, answer: Any, result: Result) -> None:
        nights = nights_in(answer)
        if len(nights) != 1:
            result.counts["mixed"] += 1
            result.examples.append(f"{page}: nights {nights}")
        result.counts["cached"] += answer.shown.cached
        result.counts["away"] += answer.shown.away
        result.counts[f"of publication {answer.shown.publication}"] += 1
        lists = [getattr(answer, name) for name in ("list", "you_might_also_like") if hasattr(answer, name)]
        known = [getattr(answer, "known", True), not hasattr(answer, "places") or answer.places[0].source == "model"]
        result.counts["fallback"] += any(shown.origin != "own list" for shown in lists) or not all(known)

    def _zipf(self, n: int, count: int) -> npt.NDArray[np.int64]:
        weights = 1 / np.arange(1, n + 1) ** SKEW
        found = np.searchsorted(np.cumsum(weights) / weights.sum(), self.random.random(count))
        return np.asarray(np.minimum(found, n - 1), np.int64)


def work(pipe: Any, address: str, shape: Shape, seed: int) -> None:
    """A process: runs what it is told through `pipe` until it is told None."""
    asker = Asker(address, shape, seed)
    asker.run(100.0, 50, 10.0)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        pipe.send(asker.run(*order))


def apart(act: Any, address: str, *arguments: Any) -> None:
    """Write to the store from a process of its own, as a night does."""
    act(backend_at(address), *arguments)
