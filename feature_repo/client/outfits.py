"""Defines the answer about a product's outfits, and makes it of the row that all markets share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feature_repo.client.answers import NO_LIST, NOTHING, STORE_AWAY, Shown

NO_LOOK = "nothing that the market sells makes a look with it"


@dataclass(frozen=True, slots=True)
class Look:
    """Products that go together and with the product asked for; the columns are parallel."""

    product_ids: tuple[str, ...]
    roles: tuple[str, ...]
    """top, bottom, dress, shoes, outer layer, bag or accessory; empty where an editor chose a product without one."""
    sources: tuple[str, ...]
    """Source of each product; `policy` where an editor chose it."""
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class MarketLooks:
    """The looks of a product over all markets."""

    looks: tuple[Look, ...]
    shown_in: frozenset[str]
    """`1:GB` where the market GB shows the first look."""


@dataclass(frozen=True, slots=True)
class OutfitPage:
    """The outfits of a product page in a market, an editor's first; no product is in two of them."""

    shown: Shown
    looks: tuple[Look, ...]
    origin: str
    """OWN, DEFAULT_VARIANT or NOTHING, as of a ProductList."""
    reason: str = ""
    """Why there is no look: NO_LOOK, NO_LIST or STORE_AWAY; empty where there is one."""
    list_id: str = ""
    """Name of the list, to be logged with what a page shows of it; places count through all looks."""


def market_looks(features: Mapping[str, Any]) -> MarketLooks | None:
    """The looks of a row; None where it has none."""
    if features["product_ids"] is None:
        return None
    rows = zip(
        *(features[name] for name in ("product_ids", "roles", "sources")), features["scores"].tolist(), strict=True
    )
    looks: dict[str, list[tuple[Any, ...]]] = {}
    for look, row in zip(features["looks"], rows, strict=True):
        looks.setdefault(look, []).append(row)
    return MarketLooks(
        tuple(Look(*zip(*found, strict=True)) for found in looks.values()), frozenset(features["shown_in"])
    )


def outfit_page(shown: Shown, found: MarketLooks | None, market: str, origin: str, name: str) -> OutfitPage:
    """The page of a market."""
    if found is None:
        return OutfitPage(shown, (), NOTHING, STORE_AWAY if shown.away else NO_LIST)
    looks = tuple(look for number, look in enumerate(found.looks, 1) if f"{number}:{market}" in found.shown_in)
    return OutfitPage(shown, looks, origin, "" if looks else NO_LOOK, name)
