"""The drawings of the model report; every place is in pixels of the plot, so that text keeps its size."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from jobs.report.examples import Touch
from jobs.report.model.attention import HeadMap
from jobs.report.model.quality import Curve, Line, Panel
from jobs.report.model.shop import short_name, shortened
from jobs.report.model.views import Mix
from jobs.report.pictures import paint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "oDs^vP"
LEGEND_LINE = 18
LETTER = 6.4
"""Pixels of a letter on average, generously."""
LONGEST_LABEL = 44
"""Letters of a label that has a line of its own."""
HEAT = (0.29, 0.5, 0.88)
"""The blue of an attention map; how opaque it is tells the weight, so it suits light and dark pages."""
SUM = (0.55, 0.55, 0.58)
"""The grey of the column that sums many events, which is no event's cell."""


def intervals(panel: Panel, name: str) -> Markup:
    """A line a scorer or slice; on it a mark a series, its 95 % interval as a bar, and its figure in digits."""
    drawn = [f for line in panel.lines for f in line.figures if f]
    top = max((max(f.high, f.value, 0.0) for f in drawn), default=0.0)
    least = min((min(f.low, f.value, 0.0) for f in drawn), default=0.0)
    top = top if top > least else 1.0
    head, row = LEGEND_LINE * len(panel.series) + 6, 20 + 15 * len(panel.series)
    height = head + row * len(panel.lines) + 22

    def draw_on(figure: Figure) -> None:
        _legend(figure, height, panel.series)
        axes = figure.add_axes((14 / WIDTH, 22 / height, (WIDTH - 72) / WIDTH, row * len(panel.lines) / height))
        axes.set(xlim=(1.02 * least, 1.02 * top), ylim=(row * len(panel.lines), 0), yticks=[])
        axes.locator_params(axis="x", nbins=4)
        axes.grid(axis="x", color=colour("line"), linewidth=1)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for place, line in enumerate(panel.lines):
            _line(axes, line, row * place)

    said = "; ".join(f"{line.label}: {_said(line, panel.series)}" for line in panel.lines)
    return draw(draw_on, height, f"{panel.title}. {said}.", name)


def _line(axes: Axes, line: Line, top: float) -> None:
    label = f"{line.label} (champion)" if line.marked else line.label
    weight = "bold" if line.marked else "normal"
    axes.text(0, top + 15, shortened(label, LONGEST_LABEL), transform=axes.get_yaxis_transform(), fontweight=weight)
    for number, figure in enumerate(line.figures):
        if figure is None:
            continue
        y, paint_with = top + 25 + 15 * number, series_colour(number)
        axes.plot([figure.low, figure.high], [y, y], color=paint_with, linewidth=3, alpha=0.45,
                  solid_capstyle="round", clip_on=False)  # fmt: skip
        axes.plot([figure.value], [y], MARKERS[number % len(MARKERS)], color=paint_with, markersize=7, clip_on=False)
        axes.text(1.18, y, f"{figure.value:.4f}", transform=axes.get_yaxis_transform(), ha="right", va="center",
                  fontweight=weight if number == 0 else "normal")  # fmt: skip


def _said(line: Line, series: Sequence[str]) -> str:
    figures = [f"{name} {f.value:.4f}" for name, f in zip(series, line.figures, strict=True) if f]
    return ("champion, " if line.marked else "") + ", ".join(figures)


def _legend(figure: Figure, height: float, series: Sequence[str]) -> None:
    """A line a series, from the top; names are data, so each has the plot's whole width."""
    axes = _pixels(figure, height)
    for number, name in enumerate(series):
        y = LEGEND_LINE * (number + 0.6)
        axes.plot([2, 24], [y, y], color=series_colour(number), linewidth=3, alpha=0.45, solid_capstyle="round")
        axes.plot([13], [y], MARKERS[number % len(MARKERS)], color=series_colour(number), markersize=7)
        axes.text(34, y, shortened(name, LONGEST_LABEL), va="center")


def _pixels(figure: Figure, height: float) -> Axes:
    """Invisible axes over the whole plot: x from the left, y from the top, in pixels."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def curves(found: Sequence[Curve], what: str, name: str) -> Markup:
    """A line a candidate over its epochs."""
    head = LEGEND_LINE * len(found) + 12
    height = head + 210

    def draw_on(figure: Figure) -> None:
        _legend(figure, height, [curve.label for curve in found])
        axes = figure.add_axes((48 / WIDTH, 40 / height, (WIDTH - 60) / WIDTH, 165 / height))
        for number, curve in enumerate(found):
            every = max(1, len(curve.values) // 12)
            axes.plot(range(1, len(curve.values) + 1), curve.values, MARKERS[number % len(MARKERS)] + "-", linewidth=2,
                      color=series_colour(number), markersize=6, markevery=every, clip_on=False)  # fmt: skip
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y", color=colour("line"), linewidth=1)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)

    said = "; ".join(f"{c.label} from {c.values[0]:.4g} to {c.values[-1]:.4g} in {len(c.values)} epochs" for c in found)
    return draw(draw_on, height, f"{what} by epoch. {said}.", name)


def attention_map(events: Sequence[Touch], found: HeadMap, name: str) -> Markup:
    """Rows read columns; both are the history's events, oldest first, and what lies before them is one column."""
    earlier = bool(found.earlier.any())
    columns = len(events) + earlier
    read = [f"{touch.event_type} {short_name(touch.product, 24 - len(touch.event_type))}" for touch in events]
    below = [short_name(touch.product, 17) for touch in events]
    left, bottom, top = 20 + LETTER * max(map(len, read)), 24 + LETTER * max(14, *map(len, below)), 6
    cell = (WIDTH - left - 8) / columns
    grid = cell * len(events)
    height = top + grid + bottom

    def draw_on(figure: Figure) -> None:
        axes = _pixels(figure, height)
        weights = np.column_stack([found.earlier, found.weights]) if earlier else found.weights
        shades = np.zeros((*weights.shape, 4))
        shades[..., :3] = HEAT
        shades[:, :earlier, :3] = SUM
        shades[..., 3] = np.sqrt(np.minimum(weights / (found.weights.max() or 1.0), 1.0))
        right = left + cell * columns
        axes.imshow(shades, interpolation="none", extent=(left, right, top + grid, top), aspect="auto", zorder=2)
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        across, down = left + cell * np.arange(columns + 1), top + cell * np.arange(len(events) + 1)
        axes.vlines(across, top, top + grid, colors=colour("line"), linewidth=0.75)
        axes.hlines(down, left, right, colors=colour("line"), linewidth=0.75)
        if earlier:
            axes.text(left + cell / 2, top + grid + 8, "earlier events", rotation=90, ha="center", va="top",
                      color=colour("soft"))  # fmt: skip
        rows = top + cell * (np.arange(len(events)) + 0.5)
        places = left + cell * (np.arange(len(events)) + earlier + 0.5)
        for y, x, reads, is_read in zip(rows, places, read, below, strict=True):
            axes.text(left - 16, y, reads, ha="right", va="center")
            axes.text(x, top + grid + 17, is_read, rotation=90, ha="center", va="top")
        colours = [paint(touch.product.colour) or "none" for touch in events] * 2
        axes.scatter([*np.full(len(events), left - 8), *places], [*rows, *np.full(len(events), top + grid + 8)], s=64,
                     marker="s", c=colours, edgecolors=colour("soft"), linewidths=0.75)  # fmt: skip

    said = f"{found.title}: attention over the last {len(events)} events. {found.reading}"
    return draw(draw_on, height, said, name)


def mix(found: Mix, name: str) -> Markup:
    """Two bars a moment: what the customer did since the moment before, and what the model then recommends."""
    moment = 74
    head = LEGEND_LINE * len(found.names) + 10
    height = head + moment * len(found.moments)

    def draw_on(figure: Figure) -> None:
        axes = _pixels(figure, height)
        for number, called in enumerate(found.names):
            y = LEGEND_LINE * (number + 0.6)
            axes.plot([8], [y], "s", markersize=10, color=series_colour(number))
            axes.text(22, y, shortened(called, LONGEST_LABEL), va="center")
        for place, at in enumerate(found.moments):
            y = head + moment * place
            axes.text(0, y + 12, f"{at.label}, {at.events} events", fontweight="bold")
            _stack(axes, "did", at.did, y + 20)
            _stack(axes, "is shown", at.shown, y + 43)

    said = "; ".join(
        f"{at.label}: did {_shares(found.names, at.did)}, is shown {_shares(found.names, at.shown)}"
        for at in found.moments
    )
    return draw(draw_on, height, f"{found.title}. {said}.", name)


def _stack(axes: Axes, label: str, shares: Sequence[float], y: float) -> None:
    left, width, thick = 62, WIDTH - 64, 19
    axes.text(left - 8, y + thick / 2, label, ha="right", va="center", color=colour("soft"))
    ends = np.concatenate(([0.0], np.cumsum(shares))) * width + left
    for number, (start, end) in enumerate(pairwise(ends)):
        if end - start < 1:
            continue
        axes.broken_barh([(start, max(end - start - 1.5, 1.0))], (y, thick), facecolors=series_colour(number))
        if end - start > 34:
            axes.text((start + end) / 2, y + thick / 2, f"{shares[number]:.0%}", ha="center", va="center",
                      color=colour("paper"), fontsize=TEXT)  # fmt: skip


def _shares(names: Sequence[str], shares: Sequence[float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True) if share >= 0.005)


# Plots as inline SVG in the page's own colours and type. The one module that imports matplotlib.

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
