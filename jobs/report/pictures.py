"""Finds the silhouette and the paint of a product by the words of its category, name and colour."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).resolve().parent / "templates"
_DATA: dict[str, Any] = json.loads((TEMPLATES / "silhouettes.json").read_text("utf-8"))
PAINT: dict[str, str] = _DATA["colours"]
"""Colour name -> sRGB, toned like dyed cloth."""
SPELLINGS: dict[str, str] = _DATA["colour_spellings"]
SILHOUETTES: dict[str, list[str]] = {kind: drawn["paths"] for kind, drawn in _DATA["kinds"].items()}
"""Kind -> SVG path data in a box of 100 by 125: the body filled with the product's colour, seams upon it, straps."""
KIND: dict[str, str] = {word: kind for kind, drawn in _DATA["kinds"].items() for word in drawn["words"].split()}


UNPAINTED = "#cdc5b8"
DARK = 120
"""Brightness, 0 to 255, below which a paint needs light lines."""


@dataclass(frozen=True)
class Drawing:
    """How a product is drawn."""

    paths: list[str]
    """Of its silhouette; empty where its kind is unknown."""
    paint: str
    """sRGB; empty where its colour is unknown."""

    @property
    def fill(self) -> str:
        """sRGB of the silhouette."""
        return self.paint or UNPAINTED

    @property
    def dark(self) -> bool:
        """Whether lines and letters upon the fill have to be light."""
        red, green, blue = (int(self.fill[at : at + 2], 16) for at in (1, 3, 5))
        return 0.3 * red + 0.59 * green + 0.11 * blue < DARK


def drawing(category: str, name: str, colour: str) -> Drawing:
    """The picture of a product, from words of the catalogue."""
    return Drawing(SILHOUETTES.get(silhouette(category, name), []), paint(colour))


def silhouette(category: str, name: str) -> str:
    """The kind to draw; empty where none is known.

    By the last known word of the category; without one by the last word of the name up to a comma, since the words
    before it say what it is for: a coat rack is no coat.
    """
    for word in [*reversed(_words(category)), *_words(name.partition(",")[0])[-1:]]:
        if word in KIND:
            return KIND[word]
    return ""


def paint(colour: str) -> str:
    """The sRGB of a colour name such as `dark navy`, by its last known word; empty where none is known.

    The result always comes from PAINT, never from data, so a page can put it into a style.
    """
    known = (PAINT.get(SPELLINGS.get(word, word), "") for word in reversed(re.findall(r"[a-z]+", colour.lower())))
    return next(filter(None, known), "")


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"[-’']", "", text.lower()))
