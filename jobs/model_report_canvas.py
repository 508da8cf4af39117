"""Plots as inline SVG in the page's own colours and type. The one module that imports matplotlib."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 352
"""Natural width of a plot in CSS pixels: what a phone has beside the page's margins."""
TEXT = 11
"""Pixels of the smallest text."""
VARIABLES = ("ink", "soft", "line", "faint", "paper", "c0", "c1", "c2", "c3", "c4", "c5")
"""CSS variables of the page that a plot may be painted with; c0 .. c5 tell series apart."""
SERIES = 6
STAND_INS = {name: f"#fe01{number:02x}" for number, name in enumerate(VARIABLES)}
SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "nightrail",  # equal plots are equal bytes
    "text.parse_math": False,  # a $ in a product's name is a $
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so every machine measures text alike
    "font.size": TEXT,
    "axes.edgecolor": STAND_INS["line"],
    "axes.labelcolor": STAND_INS["soft"],
    "text.color": STAND_INS["ink"],
    "xtick.color": STAND_INS["line"],
    "ytick.color": STAND_INS["line"],
    "xtick.labelcolor": STAND_INS["soft"],
    "ytick.labelcolor": STAND_INS["soft"],
    "axes.formatter.useoffset": False,
}
NAMESPACE = re.compile(r"\{[^}]*\}")
FONT = re.compile(r"\s*font-family:[^;]*;?")
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def colour(name: str) -> str:
    """The stand-in to paint with where the page shall put its variable of that name; KeyError for another name."""
    return STAND_INS[name]


def series_colour(number: int) -> str:
    """The colour of a series; from the seventh on they repeat."""
    return STAND_INS[f"c{number % SERIES}"]


def draw(paint: Callable[[Figure], None], height: float, label: str, name: str) -> Markup:
    """An `svg` element of WIDTH x `height` pixels, safe to put into HTML.

    `paint` draws on an empty figure whose unit of text and lines is a pixel; text must hold no control characters.
    `label` is what a screen reader says instead of the plot. `name` keeps ids apart: one per plot of a page.
    """
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    with rc_context(), warnings.catch_warnings():
        # matplotlib measures with its own font; a letter that only the reader's browser has is no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        rcdefaults()
        rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        paint(figure)
        written = StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
    return Markup(_inline(written.getvalue(), label, name))  # noqa: S704 - matplotlib and ElementTree escape all text


def _inline(svg: str, label: str, name: str) -> str:
    """matplotlib's document as an element: no address, no style sheet, the page's colours, ids with `name` in front."""
    root = ElementTree.fromstring(svg)  # noqa: S314 - just written by matplotlib
    used = {value.lstrip("#") for node in root.iter() for key, value in node.items() if key.endswith("}href")}
    used |= {found for node in root.iter() for found in re.findall(r"url\(#([^)]*)\)", node.get("clip-path", ""))}
    ids = {old: f"{name}-{number}" for number, old in enumerate(sorted(used))}
    for parent in list(root.iter()):
        for child in list(parent):
            if NAMESPACE.sub("", child.tag) in ("metadata", "style"):
                parent.remove(child)
    for node in root.iter():
        node.tag = NAMESPACE.sub("", node.tag)
        attributes = {NAMESPACE.sub("", key): _page_value(value, ids) for key, value in node.items()}
        if attributes.get("id") not in ids.values():
            attributes.pop("id", None)
        node.attrib.clear()
        node.attrib.update(attributes)
        if node.tag != "text":
            node.text = None
        node.tail = None
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"class": "plot", "viewBox": box, "role": "img", "aria-label": label})
    return ElementTree.tostring(root, encoding="unicode")


def _page_value(value: str, ids: dict[str, str]) -> str:
    """An attribute with the page's variables for their stand-ins and the page's ids; embedded pictures as they are."""
    value = " ".join(value.split())
    if value.startswith("data:"):
        return value.replace(" ", "")
    value = FONT.sub("", value)
    for name, stand_in in STAND_INS.items():
        value = value.replace(stand_in, f"var(--{name})")
    if value in ids:
        return ids[value]
    return re.sub(r"#([\w.-]+)", lambda found: f"#{ids.get(found[1], found[1])}", value)
