"""What an invented fashion shop sells: categories, what follows what, styles, colours, brands and markets."""

from __future__ import annotations

from dataclasses import dataclass

DEPARTMENTS = {"w": "women", "m": "men", "c": "children"}
STYLES = ("outdoor", "street", "sporty", "minimal", "classic", "party", "vintage", "boho")
COLOURS = (
    "black", "white", "navy", "grey", "beige", "red", "olive", "brown", "pink", "blue", "mustard", "teal", "lilac",
    "cream",
)  # fmt: skip
COUNTRIES = (
    "GB", "FR", "DE", "US", "IE", "ES", "IT", "NL", "BE", "AT", "CH", "SE", "DK", "NO", "FI", "PL", "PT", "CZ",
    "AU", "CA", "NZ", "GR", "HU", "RO", "JP", "KR", "SG", "HK", "IL", "ZA", "AE", "SA", "MX", "BR", "CL", "CO",
    "SK", "SI", "HR", "BG", "EE", "LV", "LT", "LU", "MT", "CY", "IS", "TR", "IN", "MY", "TH", "PH", "ID", "VN",
    "TW", "EG", "MA", "KE", "QA", "KW",
)  # fmt: skip


@dataclass(frozen=True)
class Category:
    """One category of the shop."""

    name: str
    """As in the catalogue."""
    noun: str
    """As in a product's name."""
    price: float
    """Typical price in the catalogue's currency."""
    departments: str
    """Letters of the departments that carry it, the main one first."""
    peak_month: float
    """Month (1 to 12) of its highest demand."""
    season: float
    """Strength of its season, 0 (none) to 1."""
    follows: tuple[str, ...]
    """Categories bought to go with it, the strongest first. The reverse need not hold."""


def _row(name: str, noun: str, price: float, departments: str, season: tuple[float, float], follows: str) -> Category:
    return Category(name, noun, price, departments, *season, tuple(follows.split(", ")))


# A prefix of this list must be a sensible shop: the first 6 and the next 6 categories are closed worlds of their own,
# and so are the first 24. Accessories (belts, socks, bibs ..) follow many categories that do not follow them.
CATEGORIES = (
    _row("dresses", "Dress", 55, "wc", (6, 0.5), "jewellery, bags"),
    _row("jeans", "Jeans", 60, "wmc", (10, 0.2), "belts, tops"),
    _row("tops", "Top", 25, "wmc", (6, 0.3), "jeans, jewellery"),
    _row("belts", "Belt", 22, "wmc", (9, 0.1), "bags, jeans"),
    _row("bags", "Bag", 45, "wm", (4, 0.1), "jewellery"),
    _row("jewellery", "Necklace", 18, "wm", (12, 0.4), "bags"),
    _row("coats", "Coat", 120, "mwc", (11, 0.8), "scarves, gloves"),
    _row("scarves", "Scarf", 24, "mwc", (12, 0.8), "gloves, hats"),
    _row("gloves", "Gloves", 20, "mwc", (12, 0.9), "scarves, hats"),
    _row("hiking boots", "Hiking Boots", 110, "mwc", (4, 0.6), "socks, backpacks"),
    _row("socks", "Socks", 9, "mwc", (1, 0.2), "gloves, trainers, underwear"),
    _row("backpacks", "Backpack", 65, "mwc", (5, 0.4), "socks, hats"),
    _row("trainers", "Trainers", 75, "mwc", (4, 0.2), "socks, joggers"),
    _row("hoodies", "Hoodie", 45, "mwc", (10, 0.4), "joggers, t-shirts"),
    _row("t-shirts", "T-shirt", 18, "wmc", (7, 0.5), "jeans, hoodies"),
    _row("shirts", "Shirt", 40, "mwc", (5, 0.2), "trousers, ties"),
    _row("trousers", "Trousers", 50, "wmc", (9, 0.1), "belts, shirts"),
    _row("joggers", "Joggers", 35, "mwc", (1, 0.3), "hoodies, trainers"),
    _row("skirts", "Skirt", 38, "wc", (6, 0.5), "tops, belts"),
    _row("hats", "Hat", 20, "wmc", (12, 0.5), "scarves, gloves"),
    _row("boots", "Boots", 95, "wm", (10, 0.6), "socks, bags"),
    _row("rompers", "Romper", 22, "c", (6, 0.4), "bibs, sleepsuits"),
    _row("sleepsuits", "Sleepsuit", 18, "c", (1, 0.2), "bibs, rompers"),
    _row("bibs", "Bib", 8, "c", (1, 0.0), "sleepsuits"),
    _row("ties", "Tie", 19, "mc", (5, 0.2), "shirts"),
    _row("blazers", "Blazer", 130, "mwc", (9, 0.3), "shirts, trousers, ties"),
    _row("knitwear", "Jumper", 48, "wmc", (11, 0.8), "scarves, jeans"),
    _row("underwear", "Briefs", 15, "mwc", (1, 0.1), "socks"),
    _row("slippers", "Slippers", 26, "wmc", (12, 0.8), "pyjamas, socks"),
    _row("pyjamas", "Pyjamas", 34, "wmc", (12, 0.6), "slippers, underwear"),
    _row("swimwear", "Swimsuit", 32, "wmc", (7, 1.0), "beach towels, sunglasses"),
    _row("beach towels", "Beach Towel", 21, "wmc", (7, 1.0), "sunglasses"),
    _row("sunglasses", "Sunglasses", 35, "wmc", (7, 0.9), "hats"),
    _row("sandals", "Sandals", 42, "wmc", (7, 0.9), "sunglasses, shorts"),
    _row("shorts", "Shorts", 28, "mwc", (7, 0.9), "t-shirts, sandals, belts"),
    _row("leggings", "Leggings", 27, "wc", (1, 0.2), "sports tops, socks"),
    _row("sports tops", "Sports Top", 30, "wmc", (1, 0.3), "leggings, shorts"),
    _row("wallets", "Wallet", 33, "mw", (12, 0.3), "watches"),
    _row("watches", "Watch", 90, "mw", (12, 0.4), "wallets"),
    _row("loafers", "Loafers", 85, "mwc", (5, 0.3), "trousers, socks, belts"),
)

_FIRST = (
    "Zor", "Qui", "Blu", "Snar", "Fep", "Wex", "Mub", "Klo", "Vash", "Drim", "Yot", "Plin", "Gro", "Jax", "Thwe",
    "Nif", "Hob", "Crul", "Spo", "Ulp",
)  # fmt: skip
_SECOND = (
    "vane", "bblo", "dora", "nix", "zette", "mple", "roo", "gus", "lani", "quor", "shwick", "tta",
)  # fmt: skip
_THIRD = ["Mockwear", "Testwear", "Fauxline", "Sampleworks"]


def brand_names(count: int) -> list[str]:
    """`count` distinct brand names that nobody could take for real ones."""
    words = [f"{first}{second}" for second in _SECOND for first in _FIRST]
    names = [f"{word} {third}" for third in _THIRD for word in words]
    return [names[i] if i < len(names) else f"{names[i % len(names)]} {i // len(names) + 1}" for i in range(count)]


def market_codes(count: int) -> list[str]:
    """Country codes, then invented codes: "M061" is the sixty-first market."""
    return [COUNTRIES[i] if i < len(COUNTRIES) else f"M{i + 1:03d}" for i in range(count)]
