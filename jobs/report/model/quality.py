"""What the evaluations say of the candidates: how they compare, where they are good, and how they learned."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.report.figures import HEADLINE, Quality
from jobs.text import clean
from jobs.train.decision import LAST_CHAMPION
from models.sequences import EVENT_TYPES

ALL, NEW = "all", "new to the customer"
SLICES = {ALL: "all products", NEW: "only products new to the customer"}
"""Slices of the comparison and what they are called; the second leaves out what stands in a history, for all alike."""
METRICS = (HEADLINE, "hit_rate@10", "recall@20", "hit_rate@20")
"""Drawn in this order, where they were measured; another metric stands in the table."""
TITLES = {"ndcg": "NDCG", "recall": "Recall", "hit_rate": "Hit rate", "mrr": "MRR"}
MOST_MARKETS = 12
"""Markets drawn, those with the most customers."""
QUESTIONS = {
    "history ": "By the length of the customer’s history, in events",
    "target ": "By what the customer did with the product",
    "market ": "By market",
}
"""Prefix of a slice in `evaluations` -> the question that the slices with it answer."""
NEW_PRODUCTS = "new products"
"""Slice of targets that were not in training."""


@dataclass(frozen=True)
class Panel:
    """One plot's figures: lines from top to bottom, in each a figure for some of the series."""

    title: str
    series: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Line:
    """The figures of one scorer, or of one slice."""

    label: str
    marked: bool
    """Whether it is the champion's."""
    figures: tuple[Quality | None, ...]
    """One a series; None where it was not measured."""


@dataclass(frozen=True)
class Candidate:
    """One that could have become champion, and why it did or did not."""

    label: str
    champion: bool
    figure: Quality | None
    """Its headline figure."""
    reason: str
    costs: str
    """What it costs, in words; empty where nothing was measured."""


@dataclass(frozen=True)
class Curve:
    """One candidate's course while it learned."""

    label: str
    values: tuple[float, ...]
    """After each epoch, the first first."""


def named(quality: Sequence[Quality], models: Sequence[Mapping[str, Any]]) -> list[Quality]:
    """The figures with a candidate's kind for its id, and the champion marked; what is not finite is left out.

    `models` are rows of that table, of the same night. Where none of them is champion, the model that served goes on.
    """
    kinds = {clean(row["model_id"]): clean(row["kind"]) for row in models}
    champions = {clean(row["kind"]) for row in models if row["champion"]} or {LAST_CHAMPION}
    called = [(q, kinds.get(q.scorer, q.scorer)) for q in quality if math.isfinite(q.value)]
    return [
        replace(q, scorer=name, champion=bool(models) and name in champions, trained=q.trained or name == LAST_CHAMPION)
        for q, name in called
    ]


def metric_title(metric: str) -> str:
    """`ndcg@10` as people write it: NDCG@10."""
    name, _, depth = metric.partition("@")
    return f"{TITLES.get(name, name)}{'@' + depth if depth else ''}"


def comparison(quality: Sequence[Quality]) -> list[Panel]:
    """A panel a metric, of every scorer on both slices, the best by the headline metric first."""
    at = {(q.scorer, q.metric, q.slice): q for q in quality}
    ranked = sorted((q for q in quality if (q.metric, q.slice) == (HEADLINE, ALL)), key=lambda q: (-q.value, q.scorer))
    panels = []
    for metric in METRICS:
        lines = [
            Line(best.scorer, best.champion, tuple(at.get((best.scorer, metric, part)) for part in SLICES))
            for best in ranked if (best.scorer, metric, ALL) in at
        ]  # fmt: skip
        if lines:
            panels.append(Panel(metric_title(metric), tuple(SLICES.values()), tuple(lines)))
    return panels


def by_slice(quality: Sequence[Quality]) -> list[Panel]:
    """A panel a question, of the headline metric of the champion, the other candidates and the best baseline.

    The slices of a question are told by the start of their names, see QUESTIONS; who was not measured on any of them
    is left out. Figures on new products stand in a panel of their own: they were ranked among such products alone.
    """
    figures = [q for q in quality if q.metric == HEADLINE]
    at = {(q.scorer, q.slice): q for q in figures}
    panels = []
    for prefix, title in QUESTIONS.items():
        slices = _slices(figures, prefix)
        measured = {q.scorer: q.champion for q in figures if q.slice in dict(slices)}
        series = [name for name in _series(figures) if name in measured]
        lines = [_part(label, tuple(at.get((name, part)) for name in series)) for part, label in slices]
        if lines:
            called = (f"{name}, the champion" if measured[name] else name for name in series)
            panels.append(Panel(title, tuple(called), tuple(lines)))
    new = sorted((q for q in figures if q.slice == NEW_PRODUCTS), key=lambda q: (-q.value, q.scorer))
    if new:
        title = "On products that were not in training"
        series = [f"ranked among themselves: {_counted(new)}"]
        panels.append(Panel(title, tuple(series), tuple(Line(q.scorer, q.champion, (q,)) for q in new)))
    return panels


def _part(label: str, figures: tuple[Quality | None, ...]) -> Line:
    return Line(f"{label}: {_counted([q for q in figures if q])}", False, figures)


def _counted(figures: Sequence[Quality]) -> str:
    customers = max((q.customers for q in figures), default=0)
    return f"{customers:,} {'customer' if customers == 1 else 'customers'}"


def _series(figures: Sequence[Quality]) -> list[str]:
    """The champion, the other candidates from best to worst, the best baseline."""
    ranked = sorted((q for q in figures if q.slice == ALL), key=lambda q: (-q.value, q.scorer))
    trained = sorted((q for q in ranked if q.trained), key=lambda q: not q.champion)
    return [q.scorer for q in [*trained, *[q for q in ranked if not q.trained][:1]]]


def _slices(figures: Sequence[Quality], prefix: str) -> list[tuple[str, str]]:
    """(slice, its name without the prefix) in the order to show."""
    customers: dict[str, int] = {}
    for q in figures:
        if q.slice.startswith(prefix) and len(q.slice) > len(prefix):
            customers[q.slice] = max(q.customers, customers.get(q.slice, 0))
    if prefix == "market ":
        order = sorted(customers, key=lambda part: (-customers[part], part))[:MOST_MARKETS]
    elif prefix == "target ":
        types = [f"{prefix}{kind}" for kind in EVENT_TYPES]
        order = sorted(customers, key=lambda part: (types.index(part) if part in types else len(types), part))
    else:
        order = sorted(customers, key=lambda part: (_first_number(part), part))
    return [(part, part.removeprefix(prefix)) for part in order]


def _first_number(text: str) -> int:
    found = re.search(r"\d+", text)
    return int(found[0]) if found else 0


def decision(quality: Sequence[Quality], models: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """The candidates and the model that served until then, the champion first, then from best to worst."""
    figures = {q.scorer: q for q in quality if (q.metric, q.slice) == (HEADLINE, ALL)}
    reasons = {clean(row["kind"]): clean(row["reason"]) for row in models}
    if LAST_CHAMPION in figures:
        reasons.setdefault(LAST_CHAMPION, "the model that served until then, as it is")
    champions = {clean(row["kind"]) for row in models if row["champion"]} or {LAST_CHAMPION}
    found = [
        Candidate(name, name in champions, figures.get(name), reason, _costs(quality, name))
        for name, reason in reasons.items()
    ]
    return sorted(found, key=lambda c: (not c.champion, -(c.figure.value if c.figure else 0.0), c.label))


def _costs(quality: Sequence[Quality], name: str) -> str:
    at = {q.metric: q.value for q in quality if (q.scorer, q.slice) == (name, "cost")}
    texts = {
        "train seconds": "trained in {:,.0f} s",
        "customers encoded per second": "encodes {:,.0f} customers a second",
    }
    return ", ".join(text.format(at[metric]) for metric, text in texts.items() if metric in at)


def gaps(quality: Sequence[Quality]) -> Panel | None:
    """The headline of each other contestant minus the champion's, on the same customers; None where not recorded."""
    found = sorted((q for q in quality if q.slice == "decision"), key=lambda q: (-q.value, q.scorer))
    lines = tuple(Line(q.scorer, False, (q,)) for q in found)
    title = f"{metric_title(HEADLINE)} minus the champion’s"
    return Panel(title, ("difference on the same customers",), lines) if lines else None


def learning(metadata: Mapping[str, Any], champion: str, key: str = "learning") -> list[Curve]:
    """The curves that a manifest's metadata has under `key`, {name: [after each epoch, ..]}, the champion's first.

    What is no list of at least two finite numbers is no curve.
    """
    recorded = metadata.get(key)
    recorded = recorded if isinstance(recorded, Mapping) else {}
    found = [Curve(clean(str(name)), _finite(values)) for name, values in recorded.items()]
    return sorted((c for c in found if len(c.values) > 1), key=lambda c: (not c.label.startswith(champion), c.label))


def _finite(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return ()
    return tuple(float(v) for v in values)
