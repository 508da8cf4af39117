"""Names a list in one short text, which pages log with what they show: its publication, place, market, variant and key.

`mlm3q8zk.ymal.GB.default.P000120`: time of publication (milliseconds since 1970 to the base of 36), code of the place,
market, variant that was asked for, and key: the product or category page, nothing for a customer's own list and a bag
of several products. It has letters, digits and `. _ ~ -` alone; other bytes of a part are `~` and two hex digits.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from urllib.parse import quote

PLACES = {
    "ymal": "you_might_also_like",
    "pab": "people_also_bought",
    "bag": "bag_extras",
    "look": "outfits",
    "home": "recommended_for_you",
    "page": "market_ranking",
    "rank": "market_ranking",
    "instead": "sold_out_alternatives",
    "trend": "trending",
    "sale": "reduced",
    "new": "new_in",
    "again": "buy_again",
    "viewed": "recently_viewed",
}
"""Code of a place -> table of its lists; `rank` is a page in a customer's own order, which no table holds."""
PART = "(?:[0-9A-Za-z_-]|~[0-9A-F][0-9A-F])*"
FORM = f"^[0-9a-z]+[.](?:{'|'.join(PLACES)})[.]{PART}[.]{PART}[.]{PART}$"
"""Regular expression of a list's name."""
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@lru_cache(maxsize=64)
def stamp_of(published_at: datetime) -> str:
    """The first part of the names of a publication's lists."""
    left, digits = round(published_at.timestamp() * 1000), ""
    while left:
        left, digit = divmod(left, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits or "0"


def list_id(published_at: datetime, place: str, market: str, variant: str, key: str = "") -> str:
    """The name of a list; `place` is one of PLACES."""
    return f"{stamp_of(published_at)}.{place}.{_escaped(market)}.{_escaped(variant)}.{_escaped(key)}"


def of_variant(name: str, variant: str) -> str:
    """The name of the same list for those who asked for another variant."""
    stamp, place, market, _, key = name.split(".")
    return ".".join((stamp, place, market, _escaped(variant), key))


def _escaped(part: str) -> str:
    if part.isascii() and part.isalnum():
        return part
    return quote(part, safe="").replace("~", "%7E").replace(".", "%2E").replace("%", "~")
