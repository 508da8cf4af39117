"""A product's colour by name as a colour to paint; what is not known here is painted plain, never from data."""

from __future__ import annotations

import re

PAINT = {
    "amber": "#d08a2e", "apricot": "#eeb58a", "aqua": "#8ccfd0", "beige": "#d9c7a8", "black": "#23211f",
    "blue": "#3f68a8", "blush": "#e6bcb4", "bordeaux": "#5f1f2d", "brown": "#6e4b35", "burgundy": "#6b2334",
    "camel": "#b98d5d", "charcoal": "#45474b", "cobalt": "#2749a0", "copper": "#a9643c", "coral": "#e67a64",
    "cream": "#f1e7d2", "denim": "#4a6587", "ecru": "#e5dac3", "emerald": "#21755a", "fuchsia": "#c03484",
    "gold": "#c2a14d", "green": "#4c7c50", "grey": "#8f9193", "indigo": "#373f7d", "ivory": "#f4eee0",
    "khaki": "#8d8660", "lavender": "#b7aed6", "lemon": "#f0de7a", "lilac": "#b9a3cf", "lime": "#a9c44f",
    "magenta": "#b03a86", "maroon": "#662a2f", "mint": "#a9d3bd", "mustard": "#c99a2e", "navy": "#25324f",
    "nude": "#dfc0a8", "olive": "#6c6b3c", "orange": "#da7c35", "peach": "#f2bd9e", "petrol": "#235966",
    "pink": "#e0a0ae", "plum": "#643754", "purple": "#6d4a92", "red": "#b5372f", "rose": "#cf7f88",
    "rust": "#a04f2c", "sage": "#a3ad92", "salmon": "#e89a86", "sand": "#d8c29b", "silver": "#c3c5c9",
    "stone": "#bdb4a4", "tan": "#bf9768", "taupe": "#95877a", "teal": "#2f7478", "terracotta": "#b8603f",
    "turquoise": "#4fb0ae", "violet": "#7d62a8", "white": "#fbfaf7", "wine": "#5d2335", "yellow": "#e8c64b",
}  # fmt: skip
"""Colour name -> sRGB, toned like dyed cloth."""
SPELLINGS = {"gray": "grey", "anthracite": "charcoal", "offwhite": "ivory"}


def paint(colour: str) -> str:
    """The sRGB of a colour name such as `dark navy`, by its last known word; empty where none is known."""
    for word in reversed(re.findall(r"[a-z]+", colour.lower())):
        known = PAINT.get(SPELLINGS.get(word, word))
        if known:
            return known
    return ""
