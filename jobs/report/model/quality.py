"""Summarises a comparison of candidates: how they compare, where each is good, and how each learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jobs.lake.reading import StoredRow
from jobs.report.charts import IntervalLine, IntervalPanel, Point, Series
from jobs.report.figures import Quality
from jobs.report.model.story import (
    SLICES,
    against_baselines,
    explained,
    headlines,
    label,
    measured,
    sentence,
    uplifts,
)
from jobs.text import clean
from jobs.train.decision import LAST_CHAMPION
from jobs.train.evaluate import FEWEST, HEADLINE, HISTORY_LENGTHS, NEW_PRODUCTS, UPLIFT
from models.sequences import EVENT_TYPES

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
ELSEWHERE = ("cost", "decision", UPLIFT)
"""Slices that the table of figures leaves out: pages say them in words or draw them."""


@dataclass(frozen=True)
class Candidate:
    """A candidate for champion, with the reason why it became champion or not."""

    label: str
    champion: bool
    figures: tuple[Quality | None, ...]
    """Its figure in the headline metric on each of the slices; None where it was not measured."""
    reason: str
    costs: str
    """Its costs in words; empty where none were measured."""


@dataclass(frozen=True)
class Comparison:
    """What the tables and a manifest say of a comparison of candidates."""

    quality: tuple[Quality, ...]
    """Every finite figure, the headline's first, then from best to worst."""
    table: tuple[Quality, ...]
    """The same for people."""
    champion: str
    """The kind that won, LAST_CHAMPION where no candidate did; empty where nothing was compared."""
    sentence: str
    """Who serves and by how much it beats AMF."""
    measured: str
    """What the headline counts, on which days."""
    uplifts: IntervalPanel | None
    """None where AMF was not compared."""
    explained: tuple[tuple[str, str], ...]
    """(name, what it is) of each kind of model."""
    parts: tuple[str, ...]
    """Names of the slices that all were measured on, the one that decides first."""
    panels: tuple[IntervalPanel, ...]
    """One a metric."""
    slices: tuple[IntervalPanel, ...]
    """One a question, see QUESTIONS."""
    candidates: tuple[Candidate, ...]
    gaps: IntervalPanel | None
    verdict: str
    """The champion beside the best baseline; empty where the sentence has it."""
    losses: tuple[Series, ...]
    """Training loss of each candidate, after each epoch."""
    validation: tuple[Series, ...]
    """Validation NDCG@10 likewise."""
    without_loss: tuple[str, ...]
    """Candidates that have no curve."""


def comparison_of(
    quality: Sequence[Quality],
    models: Sequence[StoredRow],
    metadata: Mapping[str, object],
    model_id: str = "",
    kind: str = "",
    reason: str = "",
) -> Comparison:
    """From figures, rows of `models` of the same comparison, and the metadata of the manifest of the model that serves,
    whose id and kind are given, with the reason why it serves.
    """
    figures = named(quality, models)
    champion = next(iter(_champions(models)), "") if models else ""
    losses = tuple(learning(metadata, champion))
    baselines = against_baselines(figures)
    won = [clean(row["model_id"]) for row in models if row["champion"]]
    said = sentence(figures, kind, model_id if won and model_id not in won else "", reason)
    return Comparison(
        quality=tuple(figures),
        table=tuple(replace(q, scorer=label(q.scorer)) for q in figures if q.slice not in ELSEWHERE),
        champion=champion,
        sentence=said,
        measured=measured(figures),
        uplifts=over_amf(figures),
        explained=tuple(explained(figures)),
        parts=tuple(SLICES[part] for part in _parts(figures)),
        panels=tuple(by_metric(figures)),
        slices=tuple(by_slice(figures)),
        candidates=tuple(decision(figures, models)),
        gaps=gaps(figures),
        verdict="" if baselines in said else baselines,
        losses=losses,
        validation=tuple(learning(metadata, champion, "validation")),
        without_loss=tuple(_without_curve(losses, models)),
    )


def named(quality: Sequence[Quality], models: Sequence[StoredRow]) -> list[Quality]:
    """The finite figures with a candidate's kind for its id, and the champion marked; the headline's first.

    `models` are rows of that table, of the same comparison. Where none of them is champion, the last champion goes on.
    """
    kinds = {clean(row["model_id"]): clean(row["kind"]) for row in models}
    champions = _champions(models)
    finite = [q for q in quality if all(map(math.isfinite, (q.value, q.low, q.high)))]
    called = [(q, kinds.get(q.scorer, q.scorer)) for q in finite]
    found = [
        replace(
            q,
            scorer=name,
            champion=name in champions if models else q.champion,
            trained=q.trained or name == LAST_CHAMPION,
        )
        for q, name in called
    ]
    order = {name: place for place, name in enumerate([*SLICES, *METRICS])}
    last = len(order)

    def rank(q: Quality) -> tuple[int, str, int, str, float, str]:
        return order.get(q.slice, last), q.slice, order.get(q.metric, last), q.metric, -q.value, q.scorer

    return sorted(found, key=rank)


def _champions(models: Sequence[StoredRow]) -> list[str]:
    return [clean(row["kind"]) for row in models if row["champion"]] or [LAST_CHAMPION]


def _parts(quality: Sequence[Quality]) -> list[str]:
    """The slices of SLICES that were measured."""
    there = {q.slice for q in quality}
    return [part for part in SLICES if part in there]


def over_amf(quality: Sequence[Quality]) -> IntervalPanel | None:
    """The uplift of each model, and of the best baseline, over AMF in percent; None without any."""
    found = uplifts(quality)
    shown = [
        replace(q, value=100 * q.value, low=100 * q.low, high=100 * q.high)
        for q in map(found.get, _series(quality))
        if q
    ]
    lines = [IntervalLine(label(q.scorer), q.champion, (q,)) for q in sorted(shown, key=lambda q: (-q.value, q.scorer))]
    title = f"{metric_title(HEADLINE)} compared with AMF’s"
    return IntervalPanel(title, ("difference on the same customers",), tuple(lines), percent=True) if lines else None


def metric_title(metric: str) -> str:
    """A metric's name for people: NDCG@10 for `ndcg@10`."""
    name, _, depth = metric.partition("@")
    return f"{TITLES.get(name, name)}{'@' + depth if depth else ''}"


def by_metric(quality: Sequence[Quality]) -> list[IntervalPanel]:
    """A panel for each metric: every scorer on the slices of SLICES, the best by the headline first."""
    at = {(q.scorer, q.metric, q.slice): q for q in quality}
    parts, ranked = _parts(quality), headlines(quality)
    panels = []
    for metric in METRICS:
        lines = [
            IntervalLine(
                label(best.scorer), best.champion, tuple(at.get((best.scorer, metric, part)) for part in parts)
            )
            for best in ranked
            if (best.scorer, metric, best.slice) in at
        ]
        if lines:
            panels.append(IntervalPanel(metric_title(metric), tuple(SLICES[part] for part in parts), tuple(lines)))
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
        lines = [_part(called, tuple(at.get((name, part)) for name in series)) for part, called in slices]
        if lines:
            legend = (f"{label(name)}, the champion" if measured[name] else label(name) for name in series)
            panels.append(IntervalPanel(title, tuple(legend), tuple(lines)))
    new = sorted((q for q in figures if q.slice == NEW_PRODUCTS), key=lambda q: (-q.value, q.scorer))
    if new:
        title = "On products that were not in training"
        series = [f"ranked among themselves: {_counted(new)}"]
        lines = [IntervalLine(label(q.scorer), q.champion, (q,)) for q in new]
        panels.append(IntervalPanel(title, tuple(series), tuple(lines)))
    return panels


def _part(name: str, figures: tuple[Quality | None, ...]) -> IntervalLine:
    there = [q for q in figures if q]
    counted = _counted(there) if there else f"no figures, because fewer than {FEWEST} customers are in it"
    return IntervalLine(f"{name}: {counted}", False, figures)


def _counted(figures: Sequence[Quality]) -> str:
    customers = max((q.customers for q in figures), default=0)
    return f"{customers:,} {'customer' if customers == 1 else 'customers'}"


def _series(figures: Sequence[Quality]) -> list[str]:
    """The scorers shown: the champion, the other candidates from best to worst, the best baseline."""
    ranked = headlines(figures)
    trained = sorted((q for q in ranked if q.trained), key=lambda q: not q.champion)
    return [q.scorer for q in [*trained, *[q for q in ranked if not q.trained][:1]]]


def _slices(figures: Sequence[Quality], prefix: str) -> list[tuple[str, str]]:
    """(slice, its name without the prefix), in the order in which they are shown; those that could have been measured
    with others of the prefix, but were not, too.
    """
    customers: dict[str, int] = {}
    for q in figures:
        if q.slice.startswith(prefix) and len(q.slice) > len(prefix):
            customers[q.slice] = max(q.customers, customers.get(q.slice, 0))
    lengths = [f"{least}-{most}" if most else f"{least}+" for least, most in HISTORY_LENGTHS]
    known = {"history ": lengths, "target ": EVENT_TYPES}.get(prefix, ()) if customers else ()
    expected = [f"{prefix}{name}" for name in known]
    others = sorted(customers.keys() - set(expected), key=lambda part: (-customers[part], part))[:MOST_MARKETS]
    return [(part, part.removeprefix(prefix)) for part in [*expected, *others]]


def decision(quality: Sequence[Quality], models: Sequence[StoredRow]) -> list[Candidate]:
    """The candidates and the last champion: the champion first, then from best to worst."""
    figures = {(q.scorer, q.slice): q for q in quality if q.metric == HEADLINE}
    parts, champions = _parts(quality), _champions(models)
    reasons = {clean(row["kind"]): clean(row["reason"]) for row in models}
    best = {q.scorer: q.value for q in headlines(quality)}
    if LAST_CHAMPION in best:
        reasons.setdefault(LAST_CHAMPION, "the model that served until then, as it is")
    order = sorted(reasons, key=lambda name: (name not in champions, -best.get(name, 0.0), name))
    return [
        Candidate(
            label(name),
            name in champions,
            tuple(figures.get((name, part)) for part in parts),
            reasons[name],
            _costs(quality, name),
        )
        for name in order
    ]


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
    lines = tuple(IntervalLine(label(q.scorer), False, (q,)) for q in found)
    title = f"{metric_title(HEADLINE)} minus the champion’s"
    return IntervalPanel(title, ("difference on the same customers",), lines) if lines else None


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


def _without_curve(losses: Sequence[Series], models: Sequence[StoredRow]) -> list[str]:
    """Names of the candidates that none of the recorded curves is of."""
    recorded = {series.name.partition(",")[0] for series in losses}
    return [label(kind) for kind in sorted(clean(row["kind"]) for row in models) if kind not in recorded]
