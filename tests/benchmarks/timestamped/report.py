"""Figures and tables of the benchmark with times: one table a case, and what each part of the transformer is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from tests.benchmarks.common.problem import Case, Problem
from tests.benchmarks.common.report import Figures, cost_table, figures, grid, label, percent, signed, uplifts
from tests.benchmarks.common.timed import LAST_ONLY, SHUFFLED
from tests.benchmarks.common.worker import Outcome

SHOWN = ("ndcg@10", "hr@20", "mrr@20")


def cases_of(problem: Problem, outcome: Outcome, metrics: tuple[str, ...]) -> dict[str, Figures]:
    """Case -> figures of one entrant, for the cases that it was asked."""
    return {
        case.name: figures(outcome.answers[case.name], case.groups, metrics)
        for case in problem.cases
        if case.name in outcome.answers
    }


def ablations(
    problem: Problem, outcomes: Mapping[str, Outcome], ours: str, no_side: str, metrics: tuple[str, ...]
) -> dict[str, Any]:
    """What is taken away -> metric -> change relative to the whole model, -0.1 being 10 % less, on the same rows."""
    if ours not in outcomes:
        return {}
    main = problem.cases[0]
    whole = outcomes[ours].answers[main.name]
    parts = {SHUFFLED: (ours, SHUFFLED), LAST_ONLY: (ours, LAST_ONLY), "no side information": (no_side, main.name)}
    found = {}
    for part, (entrant, case) in parts.items():
        answers = outcomes[entrant].answers.get(case) if entrant in outcomes else None
        if answers is not None:
            found[part] = uplifts(answers, whole, main.groups, metrics)
    return found


def objectives(
    problem: Problem, outcomes: Mapping[str, Outcome], ours: str, metrics: tuple[str, ...]
) -> dict[str, Any]:
    """Entrant -> case -> metric -> change relative to the transformer that was trained for the next basket."""
    found: dict[str, Any] = {}
    for name, outcome in outcomes.items():
        if outcome.entrant.like == ours and outcome.entrant.side_information:
            base = outcomes[ours].answers
            found[name] = {
                case.name: uplifts(outcome.answers[case.name], base[case.name], case.groups, metrics)
                for case in problem.cases
                if case.name in outcome.answers
            }
    return found


def tables(document: Mapping[str, Any], problem: Problem) -> Iterator[Table]:
    """What is printed at the end."""
    for case in problem.cases:
        if case.name not in (SHUFFLED, LAST_ONLY):
            yield _case_table(document["models"], case)
    if document["ablations"]:
        table = grid("What the transformer loses without .., in percent of the whole", "without", *map(label, SHOWN))
        for part, change in document["ablations"].items():
            table.add_row(part, *(signed(change[metric]) for metric in SHOWN))
        yield table
    if document["objectives"]:
        cases = list(next(iter(document["objectives"].values())))
        table = grid("NDCG@10 when trained for .., against training for the next basket, in percent", "model", *cases)
        for name, change in document["objectives"].items():
            table.add_row(name, *(signed(change[case]["ndcg@10"]) for case in cases))
        yield table
    yield cost_table(document["models"])


def _case_table(models: Mapping[str, Any], case: Case) -> Table:
    title = f"{case.name}{' (seen products excluded)' if case.exclude_seen else ''}: in percent, with 95 % intervals"
    table = grid(title, "model", *map(label, SHOWN), "NDCG@10 over AMF", "coverage@20", "to top 1 %")
    for name, model in models.items():
        if found := model["cases"].get(case.name):
            shares = (f"{100 * found[key]:.1f}" for key in ("coverage@20", "popular_1_percent_share@20"))
            over = signed(found["uplift_over_amf"].get("ndcg@10"))
            table.add_row(name, *(percent(found[metric]) for metric in SHOWN), over, *shares)
    return table
