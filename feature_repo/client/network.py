"""Encodes a visitor's events with the network of a night, in NumPy, and finds the products nearest to them.

Legend: L events, Q queries, D width, H heads, P products. The numbers are those of `models.networks`, to rounding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.client.arguments import EVENT_TYPES

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
NETWORK = "network"
"""The part that has the weights; all others have products."""
GAPS = 32
DISTANCE = "distance"
SECONDS_PER_DAY = 86_400
SPARE, PER_GROUP = 8, 16
"""Candidates found for each place before caps are counted; products of a group of `_low_bound`."""


def part_name(place: int) -> str:
    """The name of a part of the products; names sort as the parts do."""
    return f"{place:05d}"


@dataclass(frozen=True)
class Events:
    """A visitor's events that a network can read, oldest first."""

    products: Ints
    """[L], numbers of products."""
    types: Ints
    """[L], positions in EVENT_TYPES."""
    times: Ints
    """[L], Unix seconds."""

    def last(self, length: int) -> Events:
        """The most recent ones."""
        return Events(self.products[-length:], self.types[-length:], self.times[-length:])


@dataclass(frozen=True)
class Network:
    """A night's network with its products."""

    kind: str
    """transformer, amf or closed_form."""
    settings: Mapping[str, Any]
    """Of the model."""
    weights: Mapping[str, Floats]
    """By their names in the network, without those of single products."""
    product_ids: Sequence[str]
    brands: Sequence[str]
    categories: Sequence[str]
    """[P] each, empty where the catalogue has none."""
    vectors: Floats
    """[d + 1, P], what products are scored by, the bias last; a product a column, which is read twice as fast."""
    inputs: Floats
    """[any, P], what amf reads products with; for all others [0, P]."""
    model_id: str

    @cached_property
    def number(self) -> dict[str, int]:
        """Product -> its column."""
        return {product: column for column, product in enumerate(self.product_ids)}

    @cached_property
    def biases(self) -> dict[str, Floats]:
        """Name of an attention -> [H, L, L] for the longest history: what a row adds for each event that it reads;
        minus infinity for later ones.
        """
        found = {}
        for name, distance in self.weights.items():
            if name.endswith(DISTANCE):
                ages = np.arange(distance.shape[1])[:, None] - np.arange(distance.shape[1])
                bias = np.where(ages < 0, np.float32(-np.inf), distance[:, np.maximum(ages, 0)])
                found[name.removesuffix(DISTANCE)] = bias
        return found

    def events(self, given: Iterable[tuple[str, str, int]]) -> Events:
        """Of (product, type, Unix seconds) the ones whose product the network knows, in the order of time."""
        known = [
            (self.number[product], EVENT_TYPES.index(kind), at)
            for product, kind, at in sorted(given, key=lambda event: event[2])
            if product in self.number and kind in EVENT_TYPES
        ]
        return Events(*np.array(known, np.int64).reshape(-1, 3).T)

    def encode(self, events: Events) -> Floats | None:
        """[d + 1], the vector of somebody with these events; None where there is none that the network can read."""
        if not len(events.products):
            return None
        encoder = {"transformer": _transformer, "amf": _amf, "closed_form": _closed_form}[self.kind]
        return np.append(encoder(self, events), np.float32(1))

    def best(
        self,
        vector: Floats,
        allowed: npt.NDArray[np.bool_],
        without: Iterable[str],
        places: int,
        brand_cap: int = 0,
        category_cap: int = 0,
    ) -> tuple[list[str], list[float]]:
        """(products, scores) of the highest inner products with `vector` among the `allowed` [P], best first.

        Not those of `without`; at most `brand_cap` of a brand and `category_cap` of a category (0: any number). Exact:
        all products are scored.
        """
        scores = np.where(allowed, vector @ self.vectors, np.float32(-np.inf))
        scores[[self.number[product] for product in without if product in self.number]] = -np.inf
        wanted = places * SPARE
        while True:
            least = _low_bound(scores, wanted)
            first = np.flatnonzero(scores >= least if np.isfinite(least) else np.isfinite(scores))
            ranked = first[np.argsort(-scores[first], kind="stable")]
            chosen = self._capped(ranked, places, ((self.brands, brand_cap), (self.categories, category_cap)))
            if len(chosen) == places or not np.isfinite(least):
                return [self.product_ids[column] for column in chosen], scores[chosen].tolist()
            wanted *= SPARE

    def _capped(self, ranked: Ints, places: int, caps: Iterable[tuple[Sequence[str], int]]) -> list[int]:
        """The first `places` that no cap, (group of each product, most of a group), keeps out."""
        limits, chosen = [(groups, cap, Counter[str]()) for groups, cap in caps if cap], list[int]()
        for column in ranked.tolist():
            if all(shown[groups[column]] < cap or not groups[column] for groups, cap, shown in limits):
                chosen.append(column)
                for groups, _, shown in limits:
                    shown[groups[column]] += 1
                if len(chosen) == places:
                    break
        return chosen


def network_of(rows: Sequence[Mapping[str, Any]]) -> Network | None:
    """The network from its parts in order, the part NETWORK first; None for a kind that only the night can encode."""
    about, *parts = rows
    plain = json.loads(about["settings"])
    if "tensors" not in plain:
        return None
    weights, at = {}, 0
    for name, shape in plain["tensors"]:
        size = int(np.prod(shape))
        weights[name] = np.asarray(about["numbers"][at : at + size], np.float32).reshape(shape)
        at += size
    numbers = [np.asarray(part["numbers"], np.float32).reshape(len(part["product_ids"]), -1) for part in parts]
    whole = np.concatenate(numbers).T
    return Network(
        plain["kind"],
        plain["settings"],
        weights,
        [product for part in parts for product in part["product_ids"]],
        [brand for part in parts for brand in part["brands"]],
        [category for part in parts for category in part["categories"]],
        np.ascontiguousarray(whole[: plain["width"]]),
        np.ascontiguousarray(whole[plain["width"] :]),
        about["model_id"],
    )


def _low_bound(scores: Floats, n: int) -> float:
    """A number that at least n of the scores reach, and few others; minus infinity for few scores.

    The n-th highest of the maxima of small groups: found several times as fast as the n-th highest of all.
    """
    groups = len(scores) // PER_GROUP
    if groups < n:
        return -np.inf
    highest = scores[: groups * PER_GROUP].reshape(PER_GROUP, groups).max(axis=0)
    return float(np.partition(highest, groups - n)[groups - n])


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


# amf and closed_form: weighted sums of the history.


def _amf(network: Network, events: Events) -> Floats:
    events = events.last(network.settings["max_length"])
    weight = network.weights["event_weight"][events.types]
    state = network.inputs[:, events.products] @ weight
    state *= np.float32(len(weight) ** -network.settings["exponent"])
    return state if network.settings["temperature"] is None else _unit(state)


def _closed_form(network: Network, events: Events) -> Floats:
    return _by_age(network.vectors[:-1], network.settings, events)


def _by_age(vectors: Floats, settings: Mapping[str, Any], events: Events) -> Floats:
    """Of the closed form: the sum of the products [r, P] with weights that fall with their age, of length 1."""
    events = events.last(settings["max_length"])
    age = (events.times - events.times[-1]) / (SECONDS_PER_DAY * settings["memory_days"])
    return _unit(vectors[:, events.products] @ np.exp(age).astype(np.float32))


# transformer: `models.networks.transformer` for one history and its last event.


def _transformer(network: Network, events: Events) -> Floats:
    settings, weights, width = network.settings, network.weights, network.settings["width"]
    recent = events.last(settings["max_length"])
    products = np.ascontiguousarray(network.vectors[:width, recent.products].T)
    gaps = np.maximum(np.diff(recent.times, prepend=recent.times[:1]), 0)
    codes = np.minimum(np.log2((gaps + 1).astype(np.float32)).astype(np.int64), GAPS - 2)
    codes[0] = GAPS - 1
    states = products + weights["event.weight"].T[recent.types] + weights["gap.weight"].T[codes]
    before = states
    for layer in range(settings["layers"]):
        last = layer == settings["layers"] - 1
        before, states = states, _block(network, f"blocks.{layer}.", states, 1 if last else len(states))
    query = _normed(states, weights, "norm.")
    found = _attention(network, "readout.", query, _normed(before, weights, "read."), products)
    answer = (found + query @ weights["state.weight"].T)[0]
    answer = answer if settings["temperature"] is None else _unit(answer)
    if len(network.vectors) == width + 1:
        return answer
    beside = _by_age(network.vectors[width:-1], settings["visits"], events)
    return np.concatenate([answer, np.float32(settings["visits_weight"]) * beside])


def _block(network: Network, name: str, states: Floats, queries: int) -> Floats:
    """[Q, D], the states of the last Q events after a block over [L, D]."""
    weights = network.weights
    read = _normed(states, weights, f"{name}read.")
    states = states[-queries:]
    states = states + _attention(network, f"{name}attention.", read[-queries:], read) @ weights[f"{name}join.weight"].T
    inner = _normed(states, weights, f"{name}network.0.") @ weights[f"{name}network.1.weight"].T
    inner = _gelu(inner + weights[f"{name}network.1.bias"])
    return np.asarray(states + inner @ weights[f"{name}network.3.weight"].T + weights[f"{name}network.3.bias"])


def _attention(network: Network, name: str, query: Floats, read: Floats, values: Floats | None = None) -> Floats:
    """[Q, D] from query [Q, D], the last Q events, and read [L, D]. `values` [L, D]: what is summed, in one head; by
    default what the matrix of values makes of `read`.
    """
    weights, bias, length = network.weights, network.biases[name], len(read)
    heads = len(bias)

    def split(vectors: Floats) -> Floats:
        """[L, D] as [H, L, D / H]."""
        return vectors.reshape(len(vectors), heads, -1).transpose(1, 0, 2)

    q, k = split(query @ weights[f"{name}query.weight"].T), split(read @ weights[f"{name}key.weight"].T)
    scores = q @ k.transpose(0, 2, 1) * np.float32(q.shape[-1] ** -0.5)
    scores += bias[:, length - len(query) : length, :length]
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    summed = scores @ split(read @ weights[f"{name}value.weight"].T if values is None else values)
    joined: Floats = summed.transpose(1, 0, 2).reshape(len(query), -1)
    return joined


def _normed(states: Floats, weights: Mapping[str, Floats], name: str) -> Floats:
    """Each row with mean 0 and variance 1, scaled and shifted."""
    share = np.float32(1 / states.shape[-1])
    centred = states - np.add.reduce(states, axis=-1, keepdims=True) * share
    deviation = np.sqrt(np.add.reduce(centred * centred, axis=-1, keepdims=True) * share + np.float32(1e-5))
    return np.asarray(centred / deviation * weights[f"{name}weight"] + weights[f"{name}bias"])


def _gelu(x: Floats) -> Floats:
    """x times the normal distribution's probability of at most x, within 2e-7 (Abramowitz and Stegun 7.1.26)."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * np.exp(-z * z)
    series = np.full_like(t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(coefficient)
    erf = np.copysign(1 - tail * series, x)
    return np.asarray(x * (1 + erf) * np.float32(0.5))
