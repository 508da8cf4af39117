"""Tells a comparison in a sentence, and as a document that programs read."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.report.figures import Quality
from jobs.train.decision import LAST_CHAMPION
from jobs.train.evaluate import AMF, HEADLINE, HEADLINE_SLICE, UPLIFT
from jobs.train.held_out import ALL, NEW
from models.networks.artefacts import POPULARITY

SLICES = {
    HEADLINE_SLICE: "as served",
    ALL: "all products",
    NEW: "new to the customer",
}
"""Slice of the comparison -> its name on pages, the headline's first; nights of older code lack it."""
METRIC = "NDCG@10"
KINDS = {
    AMF: "AMF",
    "closed_form": "the closed form",
    "transformer": "the transformer",
    "transformers4rec": "Transformers4Rec",
    LAST_CHAMPION: "the last champion",
}
"""Kind of model -> its name in a sentence. Baselines are called as in `evaluations`."""
EXPLAINED = {
    AMF: "adds up learned vectors of the history’s products, in no order. It is the baseline to beat.",
    "closed_form": "is computed without training by gradient: the main directions (eigenvectors) of which products are "
    "seen in one visit, or bought in one basket. A history is the sum of its products’ vectors.",
    "transformer": "reads the events in their order with attention: product, type and time. It may carry the closed "
    "form’s vectors beside its own, with the weight that did best on held-out days.",
    "transformers4rec": "is the GPT-2 block of NVIDIA’s library, trained under the same rules.",
    LAST_CHAMPION: "is the model that served until then, as it is.",
}
"""Kind of model -> what it is, after its name."""
ALWAYS_EXPLAINED = 3
"""So many kinds are explained on every page, the others where they were compared."""


def label(scorer: str) -> str:
    """A scorer's name in charts and tables: closed form, AMF, item-knn."""
    return KINDS.get(scorer, scorer).removeprefix("the ")


def headline_slice(quality: Sequence[Quality]) -> str:
    """The slice that decides: the first of SLICES that was measured."""
    there = {q.slice for q in quality if q.metric == HEADLINE}
    return next((part for part in SLICES if part in there), HEADLINE_SLICE)


def headlines(quality: Sequence[Quality]) -> list[Quality]:
    """Every scorer's headline figure, best first."""
    part = headline_slice(quality)
    return sorted((q for q in quality if (q.metric, q.slice) == (HEADLINE, part)), key=lambda q: (-q.value, q.scorer))


def uplifts(quality: Sequence[Quality]) -> dict[str, Quality]:
    """Scorer -> its uplift over AMF as a fraction; empty where AMF was not compared, and on nights of older code."""
    return {q.scorer: q for q in quality if (q.metric, q.slice) == (HEADLINE, UPLIFT)}


def explained(quality: Sequence[Quality]) -> list[tuple[str, str]]:
    """(name, what it is) of the kinds of models."""
    compared = {q.scorer for q in quality}
    shown = [kind for place, kind in enumerate(EXPLAINED) if place < ALWAYS_EXPLAINED or kind in compared]
    return [(_capital(KINDS[kind]), EXPLAINED[kind]) for kind in shown]


def measured(quality: Sequence[Quality]) -> str:
    """What the headline counts, on which days and for how many customers; empty where nothing was measured."""
    ranked = headlines(quality)
    if not ranked:
        return ""
    served = "as served: what Recommended for you would have shown, bought products left out and repeat rules kept"
    what = served if ranked[0].slice == HEADLINE_SLICE else "over all products"
    customers = f"{ranked[0].customers:,} {'customer' if ranked[0].customers == 1 else 'customers'}"
    return f"{METRIC} {what}. Held-out days: {ranked[0].dataset}; {customers}."


def sentence(quality: Sequence[Quality], kind: str, other: str = "", reason: str = "") -> str:
    """Who serves and by how much it beats AMF, in one or two sentences; empty where no model serves.

    `kind` is the kind of the model that serves, `reason` why it does, and `other` its id where it is not the winner of
    the comparison.
    """
    ranked = headlines(quality)
    best = next((q for q in ranked if q.champion), None)
    if best is None and kind == POPULARITY and reason:
        return f"{_capital(kind)} serves: {reason}."
    if best is None:
        return f"{_capital(KINDS.get(kind, kind))} serves; no comparison has measured it." if kind else ""
    name = KINDS.get(best.scorer, best.scorer)
    if best.scorer == LAST_CHAMPION and kind:
        name = f"{name} ({label(kind)})"
    head = f"{_capital(name)} serves"
    if other:
        head = f"{other} serves, though it did not win the newest comparison. There {name} came first"
    gains = uplifts(quality)
    if best.scorer == AMF:
        others = [q for q in ranked if q.trained and q is not best]
        return _where_amf_leads(head, best, others[0] if others else None, gains)
    if best.scorer in gains:
        return f"{head}{_beside_amf(gains[best.scorer], 'a new AMF' if best.scorer == LAST_CHAMPION else 'AMF')}."
    amf = next((q for q in ranked if q.scorer == AMF), None)
    if amf:
        return f"{head}. {against(best, amf)}"
    return f"{head}; AMF was not compared. {against_baselines(quality)}".rstrip()


def _beside_amf(gain: Quality, amf: str) -> str:
    """The end of a sentence about the model with this uplift over AMF."""
    if gain.low > 0:
        interval = f"95% interval: {gain.low:.1%} to {gain.high:.1%}"
        return f" and beats {amf} by {gain.value:.1%} in {METRIC} ({interval})"
    if gain.high < 0:
        interval = f"95% interval: {-gain.high:.1%} to {-gain.low:.1%}"
        return f" although it falls behind {amf} by {-gain.value:.1%} in {METRIC} ({interval})"
    return f", but nothing shows that it beats {amf}: its {METRIC} is {_moved(gain)}"


def _moved(gain: Quality) -> str:
    """An uplift in words: 5.0% lower (95% interval: -8.0% to 1.0%, which crosses 0: it may be chance)."""
    chance = ", which crosses 0: it may be chance" if gain.low <= 0 <= gain.high else ""
    way = "higher" if gain.value >= 0 else "lower"
    return f"{abs(gain.value):.1%} {way} (95% interval: {gain.low:.1%} to {gain.high:.1%}{chance})"


def _where_amf_leads(head: str, amf: Quality, other: Quality | None, gains: dict[str, Quality]) -> str:
    """The sentence where AMF itself serves."""
    if other is None:
        return f"{head}, the baseline itself; no other model was compared with it."
    none = f"{head}, the baseline itself, so there is no uplift over it"
    if other.scorer not in gains:
        return f"{none}. {against(amf, other)}"
    name = KINDS.get(other.scorer, other.scorer)
    return f"{none}: the best of the other models, {name}, has an {METRIC} that is {_moved(gains[other.scorer])}."


def against(model: Quality, rival: Quality, called: str = "") -> str:
    """Two headline figures in a sentence; `called` stands before the rival's name."""
    name = f"{called}{KINDS.get(rival.scorer, rival.scorer)}"
    own = _capital(KINDS.get(model.scorer, model.scorer))
    if rival.value <= 0:
        return f"{own}’s {METRIC} is {model.value:.4f}, and that of {name} is 0."
    gain = model.value / rival.value - 1
    apart = model.low > rival.high or model.high < rival.low
    return (
        f"{own}’s {METRIC} of {model.value:.4f} is {abs(gain):.0%} {'above' if gain >= 0 else 'below'} that of {name} "
        f"({rival.value:.4f}); their intervals {'do not overlap' if apart else 'overlap: it may be chance'}."
    )


def against_baselines(quality: Sequence[Quality]) -> str:
    """The champion beside the best baseline; empty without either."""
    ranked = headlines(quality)
    model = next((q for q in ranked if q.champion), None)
    best = next((q for q in ranked if not q.trained and not q.champion), None)
    return against(model, best, "the best baseline, ") if model and best else ""


def document(quality: Sequence[Quality], champion: str) -> dict[str, object]:
    """The comparison of named, finite figures as JSON values; docs/tables.md has its schema."""
    ranked = [q.scorer for q in headlines(quality)]
    gains = uplifts(quality)
    parts = [q for q in quality if q.metric == HEADLINE and q.slice != UPLIFT]
    return {
        "headline": {"metric": HEADLINE, "slice": headline_slice(quality)},
        "champion": champion or None,
        "models": {name: {q.slice: _interval(q) for q in parts if q.scorer == name} for name in ranked},
        "uplift_over_amf": {name: _interval(gains[name]) for name in ranked if name in gains},
    }


def _interval(figure: Quality) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
