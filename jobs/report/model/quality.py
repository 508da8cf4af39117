"""Summarises a comparison of candidates: how they compare, where each is good, and how each learned."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.lake.reading import StoredRow
from jobs.report.charts import IntervalLine, IntervalPanel, Point, Series
from jobs.report.figures import HEADLINE, Quality
from jobs.text import clean
from jobs.train.decision import LAST_CHAMPION
from models.sequences import EVENT_TYPES

ALL, NEW = "all", "new to the customer"
SLICES = {ALL: "all products", NEW: "only products new to the customer"}
"""Slice of the comparison -> its name on pages; the second leaves out, for every scorer, what is in a history."""
METRICS = (HEADLINE, "hit_rate@10", "recall@20", "hit_rate@20")
"""Drawn in this order, where they were measured; the table has the others."""
TITLES = {"ndcg": "NDCG", "recall": "Recall", "hit_rate": "Hit rate", "mrr": "MRR"}
MOST_MARKETS = 12
"""Markets drawn, those with the most customers."""
QUESTIONS = {
    "history ": "By the length of the customer’s history, in events",
    "target ": "By what the customer did with the product",
    "market ": "By market",
}
"""Start of a slice's name in `evaluations` -> the heading above such slices."""
NEW_PRODUCTS = "new products"
"""Slice of targets that were not in training."""


@dataclass(frozen=True)
class Candidate:
    """A candidate for champion, with the reason why it became champion or not."""

    label: str
    champion: bool
    figure: Quality | None
    """Its headline figure."""
    reason: str
    costs: str
    """Its costs in words; empty where none were measured."""


@dataclass(frozen=True)
class Comparison:
    """What the tables and a manifest say of a comparison of candidates."""

    quality: tuple[Quality, ...]
    panels: tuple[IntervalPanel, ...]
    """One a metric."""
    slices: tuple[IntervalPanel, ...]
    """One a question, see QUESTIONS."""
    candidates: tuple[Candidate, ...]
    gaps: IntervalPanel | None
    verdict: str
    losses: tuple[Series, ...]
    """Training loss of each candidate, after each epoch."""
    validation: tuple[Series, ...]
    """Validation NDCG@10 likewise."""


def comparison_of(
    quality: Sequence[Quality], models: Sequence[StoredRow], metadata: Mapping[str, object]
) -> Comparison:
    """From figures, rows of `models` of the same night, and the metadata of the champion's manifest."""
    figures = named(quality, models)
    kind = next((clean(row["kind"]) for row in models if row["champion"]), "")
    return Comparison(
        tuple(figures),
        tuple(by_metric(figures)),
        tuple(by_slice(figures)),
        tuple(decision(figures, models)),
        gaps(figures),
        verdict(figures),
        tuple(learning(metadata, kind)),
        tuple(learning(metadata, kind, "validation")),
    )


def named(quality: Sequence[Quality], models: Sequence[StoredRow]) -> list[Quality]:
    """The finite figures with a candidate's kind for its id, and the champion marked.

    `models` are rows of that table, of the same night. Where none of them is champion, the last champion goes on.
    """
    kinds = {clean(row["model_id"]): clean(row["kind"]) for row in models}
    champions = {clean(row["kind"]) for row in models if row["champion"]} or {LAST_CHAMPION}
    called = [(q, kinds.get(q.scorer, q.scorer)) for q in quality if math.isfinite(q.value)]
    return [
        replace(
            q,
            scorer=name,
            champion=name in champions if models else q.champion,
            trained=q.trained or name == LAST_CHAMPION,
        )
        for q, name in called
    ]


def metric_title(metric: str) -> str:
    """A metric's name for people: NDCG@10 for `ndcg@10`."""
    name, _, depth = metric.partition("@")
    return f"{TITLES.get(name, name)}{'@' + depth if depth else ''}"


def by_metric(quality: Sequence[Quality]) -> list[IntervalPanel]:
    """A panel for each metric: every scorer on both slices, the best by the headline metric first."""
    at = {(q.scorer, q.metric, q.slice): q for q in quality}
    ranked = sorted((q for q in quality if (q.metric, q.slice) == (HEADLINE, ALL)), key=lambda q: (-q.value, q.scorer))
    panels = []
    for metric in METRICS:
        lines = [
            IntervalLine(best.scorer, best.champion, tuple(at.get((best.scorer, metric, part)) for part in SLICES))
            for best in ranked
            if (best.scorer, metric, ALL) in at
        ]
        if lines:
            panels.append(IntervalPanel(metric_title(metric), tuple(SLICES.values()), tuple(lines)))
    return panels


def by_slice(quality: Sequence[Quality]) -> list[IntervalPanel]:
    """A panel for each question: the headline metric of the champion, the other candidates and the best baseline.

    Names of the slices of a question begin alike, see QUESTIONS; a scorer that was measured on none of them is left
    out. Figures on new products have a panel of their own: they were ranked among new products alone.
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
            panels.append(IntervalPanel(title, tuple(called), tuple(lines)))
    new = sorted((q for q in figures if q.slice == NEW_PRODUCTS), key=lambda q: (-q.value, q.scorer))
    if new:
        title = "On products that were not in training"
        series = [f"ranked among themselves: {_counted(new)}"]
        panels.append(IntervalPanel(title, tuple(series), tuple(IntervalLine(q.scorer, q.champion, (q,)) for q in new)))
    return panels


def _part(label: str, figures: tuple[Quality | None, ...]) -> IntervalLine:
    return IntervalLine(f"{label}: {_counted([q for q in figures if q])}", False, figures)


def _counted(figures: Sequence[Quality]) -> str:
    customers = max((q.customers for q in figures), default=0)
    return f"{customers:,} {'customer' if customers == 1 else 'customers'}"


def _series(figures: Sequence[Quality]) -> list[str]:
    """The scorers shown: the champion, the other candidates from best to worst, the best baseline."""
    ranked = sorted((q for q in figures if q.slice == ALL), key=lambda q: (-q.value, q.scorer))
    trained = sorted((q for q in ranked if q.trained), key=lambda q: not q.champion)
    return [q.scorer for q in [*trained, *[q for q in ranked if not q.trained][:1]]]


def _slices(figures: Sequence[Quality], prefix: str) -> list[tuple[str, str]]:
    """(slice, its name without the prefix), in the order in which they are shown."""
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


def decision(quality: Sequence[Quality], models: Sequence[StoredRow]) -> list[Candidate]:
    """The candidates and the last champion: the champion first, then from best to worst."""
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


def gaps(quality: Sequence[Quality]) -> IntervalPanel | None:
    """The headline figure of each other candidate minus the champion's, on the same customers; None without any."""
    found = sorted((q for q in quality if q.slice == "decision"), key=lambda q: (-q.value, q.scorer))
    lines = tuple(IntervalLine(q.scorer, False, (q,)) for q in found)
    title = f"{metric_title(HEADLINE)} minus the champion’s"
    return IntervalPanel(title, ("difference on the same customers",), lines) if lines else None


def verdict(quality: Sequence[Quality]) -> str:
    """The comparison in a sentence: the champion beside the best baseline."""
    figures = [q for q in quality if (q.metric, q.slice) == (HEADLINE, ALL)]
    model = next((q for q in figures if q.champion), None)
    baselines = [q for q in figures if not q.trained and not q.champion]
    if model is None or not baselines:
        return ""
    best = max(baselines, key=lambda q: q.value)
    if best.value <= 0:
        return f"{model.scorer} reaches {model.value:.4f}; no baseline is above 0."
    gain = model.value / best.value - 1
    distinct = model.low > best.high or model.high < best.low
    return (
        f"{model.scorer} reaches {model.value:.4f}, {abs(gain):.0%} {'above' if gain >= 0 else 'below'} the best "
        f"baseline ({best.scorer}, {best.value:.4f}); their intervals "
        f"{'do not overlap' if distinct else 'overlap: it may be chance'}."
    )


def learning(metadata: Mapping[str, object], champion: str, key: str = "learning") -> list[Series]:
    """The curves that a manifest's metadata has under `key`, {name: [after each epoch, ..]}, the champion's first.

    Anything but a list of at least two finite numbers is ignored.
    """
    recorded = metadata.get(key)
    curves = {clean(str(name)): values for name, values in recorded.items()} if isinstance(recorded, Mapping) else {}
    found = [
        Series(name, tuple(Point(epoch, float(value)) for epoch, value in enumerate(values, start=1)))
        for name, values in curves.items()
        if isinstance(values, list)
        and len(values) > 1
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    ]
    return sorted(found, key=lambda series: (not series.name.startswith(champion), series.name))
