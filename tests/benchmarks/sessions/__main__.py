"""Which model predicts the next click of a session best? Any two files of sessions; AMF is the base of the uplift.

    python -m tests.benchmarks.sessions --train train.jsonl.gz --test test.jsonl.gz --preset quick --json result.json

A line of --train is {"items": [..]}, in the order of time; a line of --test is {"items": [..], "target": id}. Ids are
integers or strings. Nothing has to be tuned: the hyper-parameters of every trained model come from the same number of
trials on the last sessions of --train; the model is then fitted on all of them, once per seed, and only then is --test
ranked, once. The whole catalogue is ranked, without sampled negatives. Intervals are 95 %, from drawing whole sessions
of the test file; the uplift over AMF is the ratio of the two means on the same draws.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import UserError
from tests.benchmarks.common.clicks import TEST, Clicks, final_problem, newest, read, validation_problem
from tests.benchmarks.common.judge import KS, POLICY
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.presets import SESSIONS, Preset
from tests.benchmarks.common.problem import Entrant, Problem

MODELS = ("amf", "transformers4rec", "transformer", "popularity", "markov", "itemknn")
METRICS = tuple(f"{name}@{k}" for k in KS for name in ("ndcg", "hr", "mrr"))
RULES = f"{POLICY}; products of the prefix are not excluded; a target outside the catalogue is a miss"
SHOWN = ("ndcg@10", "hr@20", "mrr@20")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; raises UserError for a value that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.sessions", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--train", type=Path, required=True, help="sessions to learn from, oldest first")
    parser.add_argument("--test", type=Path, required=True, help="sessions to continue")
    parser.add_argument(
        "--models", default=",".join(MODELS), help=f"separated by commas; by default {','.join(MODELS)}"
    )
    parser.add_argument("--seeds", type=int, default=3, help="final fits of each trained model; 3 by default")
    parser.add_argument("--preset", choices=SESSIONS, default="quick", help="quick: minutes for all; full: everything")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    chosen = parser.parse_args(given)
    chosen.models = [name.strip() for name in chosen.models.split(",") if name.strip()]
    check_models(chosen.models, MODELS)
    if chosen.seeds < 1:
        raise UserError(f"--seeds {chosen.seeds} must be at least 1; 3 show how much a seed matters")
    if not chosen.json.parent.is_dir():
        raise UserError(f"--json {chosen.json}: the folder {chosen.json.parent} is not there; make it first")
    return chosen


def check_models(models: list[str], known: tuple[str, ...]) -> None:
    """Raise UserError for a name that is unknown or given twice, and where there is none."""
    if unknown := sorted(set(models) - set(known)):
        raise UserError(f"--models: there is no {', '.join(unknown)}; choose among {', '.join(known)}")
    if not models or len(set(models)) < len(models):
        raise UserError(f"--models {','.join(models)!r}: name every model once, and at least one")


def about(clicks: Clicks, problem: Problem, chosen: argparse.Namespace, preset: Preset) -> dict[str, Any]:
    """What was read, what of it is used, and by which rules."""
    case = problem.cases[0]
    from tests.benchmarks.common.report import machine

    fitted = np.bincount(problem.train.products, minlength=problem.products)
    return {
        "train_file": chosen.train.name,
        "test_file": chosen.test.name,
        "train_sessions": len(clicks.train),
        "train_clicks": len(clicks.train.products),
        "products": problem.products,
        "fitted_sessions": len(problem.train),
        "fitted_clicks": len(problem.train.products),
        "test_rows": len(clicks.targets),
        "test_sessions": int(clicks.groups[-1]) + 1,
        "judged_rows": len(case.groups),
        "judged_sessions": len(np.unique(case.groups)),
        "cold_targets": int((clicks.targets < 0).sum()),
        "judged_cold_targets": int((case.targets.lengths == 0).sum()),
        "judged_targets_not_fitted": int((fitted[case.targets.products] == 0).sum()),
        "unknown_clicks_in_prefixes": clicks.unknown_clicks,
        "judged_empty_prefixes": int((problem.histories[case.reads].lengths == 0).sum()),
        "policy": RULES,
        "seen_products": "not excluded",
        "preset": {"name": chosen.preset, **asdict(preset)},
        "seeds": chosen.seeds,
        "machine": machine(),
    }  # fmt: skip


def describe(data: dict[str, Any], log: Log) -> None:
    """Say it in words."""
    log.say(f"{data['train_sessions']:,} training sessions of {data['train_clicks']:,} clicks and {data['products']:,} "
            f"products; the newest {data['fitted_sessions']:,} are fitted")  # fmt: skip
    log.say(f"{data['test_rows']:,} test rows of {data['test_sessions']:,} sessions, {data['judged_rows']:,} of them "
            f"judged; {data['judged_cold_targets']:,} of those ask for a product that is in no training session and "
            "count as misses for every model")  # fmt: skip
    log.say(f"rules: {data['policy']}")


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin slow each other down
    log = Log()
    try:
        chosen = arguments()
        clicks = read(chosen.train, chosen.test)
        preset = SESSIONS[chosen.preset]
        train = newest(clicks.train, preset.sessions)
        window = preset.validation_share, preset.validation_rows, preset.seed
        finale = validation_problem(clicks, train, *window)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    problem = final_problem(clicks, preset.sessions, preset.test_rows, preset.seed)
    data = about(clicks, problem, chosen, preset)
    describe(data, log)
    try:
        compare(chosen, problem, finale, data, preset, log)
    except RuntimeError as error:  # the process of a final fit; it has said why
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def compare(
    chosen: argparse.Namespace, problem: Problem, finale: Problem, data: dict[str, Any], preset: Preset, log: Log
) -> None:
    """Search, fit and judge every model, write the figures after each, and print them at the end."""
    from tests.benchmarks.common.comparison import contest, with_uplifts
    from tests.benchmarks.common.report import console, cost_table, costs, figures, quality_table, uplift_table, write

    entrants = [Entrant(name, name) for name in chosen.models]
    groups = {TEST: problem.cases[0].groups}
    models: dict[str, dict[str, Any]] = {}
    outcomes = {}
    with tempfile.TemporaryDirectory() as scratch:
        for outcome, searched in contest(entrants, problem, finale, preset, chosen.seeds, Path(scratch), log):
            name = outcome.entrant.name
            outcomes[name] = outcome
            models[name] = figures(outcome.answers[TEST], groups[TEST], METRICS) | costs(outcome, searched)
            log.say(f"{name}: NDCG@10 {models[name]['ndcg@10']['value']:.4f}")
            with_uplifts(models, outcomes, TEST, groups[TEST], METRICS)
            write({"data": data, "models": models}, chosen.json)
    screen = console()
    for table in (quality_table("Next click, in percent, with 95 % intervals", models, SHOWN),
                  uplift_table(models, SHOWN), cost_table(models)):  # fmt: skip
        screen.print(table)
    screen.print(LEGEND)


LEGEND = """NDCG, HR (hit rate) and MRR are higher where the clicked product stands higher in a model's list of all
products; HR@20 is the share of rows where it is among the first 20. An uplift is claimed by the lower end of its
interval: above 0 the model is better than AMF beyond chance. Coverage is the share of the catalogue in anybody's first
20; "to top 1 %" is the share of recommendations that goes to the 1 % best-sellers. Baselines are not tuned."""


if __name__ == "__main__":
    main()
