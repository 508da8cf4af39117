"""Which model predicts what customers take next, where events have real times? One global split time T, no leak.

    python -m tests.benchmarks.timestamped --data sample --preset quick --json result.json
    python -m tests.benchmarks.timestamped --data online_retail --raw DIR/online_retail/raw --json result.json
    python -m tests.benchmarks.timestamped --data yoochoose --raw DIR/yoochoose --json result.json

online_retail and sample: models learn from the events before T and predict the next basket of every customer known
then. yoochoose: its own training and test sessions; every prefix of a test session predicts the next click. `sample`
is synthetic, and is written anew without --raw. Hyper-parameters are chosen inside the events before T, by the same
number of trials for every trained model, on a window as long as the one after T; the model is then fitted on all events
before T, once per seed. The whole catalogue is ranked. Intervals are 95 %, over customers (yoochoose: over sessions).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from jobs.errors import UserError
from tests.benchmarks.common.judge import POLICY
from tests.benchmarks.common.log import Log
from tests.benchmarks.common.presets import TIMED, Preset
from tests.benchmarks.common.problem import Entrant, Problem
from tests.benchmarks.common.timed import (
    COLD,
    COLD_AMONG_ALL,
    COLD_ENTRANTS,
    NEW_TO_CUSTOMER,
    NEXT_DAY,
    NEXT_WEEK,
    problem_at,
    with_cold_products,
    with_event_targets,
    with_later_targets,
    with_slices_and_ablations,
)
from tests.benchmarks.common.worker import Outcome
from tests.benchmarks.sessions.__main__ import check_models

BASELINES = ("popularity", "popularity_7_days", "markov", "itemknn", "own_repeat")
MODELS = ("amf", "transformers4rec", "transformer", *BASELINES)
METRICS = ("ndcg@10", "ndcg@20", "hr@10", "hr@20", "mrr@20", "recall@20")
RULES = (
    f"{POLICY}; products of the history are excluded in the case 'new to the customer' and in no other; baskets' "
    "targets that nobody touched before T are left out and counted, those of a session are misses"
)
OURS = "transformer"
NO_SIDE = "transformer_no_side_information"
PURCHASES_COUNT = (1.0, 1.0, 1.0, 3.0)
DATA = ("online_retail", "yoochoose", "sample")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; raises UserError for a value that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.timestamped", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--raw", type=Path, help="the data set's files; `sample` is made where this is left out")
    parser.add_argument("--split", type=date.fromisoformat, metavar="DATE", help="T at 00:00 UTC, not for yoochoose")
    parser.add_argument("--models", default=",".join(MODELS), help=f"by default {','.join(MODELS)}")
    parser.add_argument("--seeds", type=int, default=3, help="final fits of each trained model; 3 by default")
    parser.add_argument("--preset", choices=TIMED, default="quick", help="quick: minutes for all; full: everything")
    parser.add_argument("--objectives", action="store_true", help="also train the transformer for days and purchases")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    chosen = parser.parse_args(given)
    chosen.models = [name.strip() for name in chosen.models.split(",") if name.strip()]
    check_models(chosen.models, MODELS)
    if chosen.seeds < 1:
        raise UserError(f"--seeds {chosen.seeds} must be at least 1; 3 show how much a seed matters")
    if not chosen.json.parent.is_dir():
        raise UserError(f"--json {chosen.json}: the folder {chosen.json.parent} is not there; make it first")
    if chosen.raw is None and chosen.data != "sample":
        raise UserError(f"--data {chosen.data} needs --raw DIR, the folder with its files")
    if chosen.data == "yoochoose" and (chosen.split or chosen.objectives):
        raise UserError("--split and --objectives are for data of customers; yoochoose has sessions with a given split")
    if chosen.objectives and OURS not in chosen.models:
        raise UserError(f"--objectives trains the {OURS} in other ways; name it in --models")
    return chosen


def entrants_of(chosen: argparse.Namespace, problem: Problem) -> list[Entrant]:
    """The models that were asked for, and what stands beside the transformer: ablation, objectives, new products."""
    cases = {case.name for case in problem.cases}
    found = [Entrant(name, name) for name in chosen.models]
    if OURS not in chosen.models:
        return found
    main = problem.cases[0].name
    found.append(Entrant(NO_SIDE, OURS, like=OURS, cases=(main, NEW_TO_CUSTOMER), side_information=False))
    if chosen.objectives:
        weights = {"target_weights": PURCHASES_COUNT}
        variants: dict[str, dict[str, Any]] = {"7_days": {"future_days": 7.0}, "28_days": {"future_days": 28.0}}
        if "next purchase" in cases:
            variants |= {"purchases": weights, "7_days_purchases": {"future_days": 7.0, **weights}}
        asked = (main, NEXT_DAY, NEXT_WEEK, "next purchase")
        found += [Entrant(f"{OURS}_{name}", OURS, more, OURS, asked) for name, more in variants.items()]
    if COLD in cases:
        beside = [
            name for name in COLD_ENTRANTS if name != OURS and (name == "random" or problem.categories is not None)
        ]
        found += [Entrant(name, name, cases=(COLD, COLD_AMONG_ALL)) for name in beside]
    return found


def prepare(chosen: argparse.Namespace, preset: Preset, scratch: Path, log: Log) -> tuple[Problem, Problem, Any]:
    """(what is judged at the end, what settings are chosen on, counts); raises UserError for data that cannot do."""
    if chosen.data == "yoochoose":
        return prepare_sessions(chosen, preset)
    from tests.benchmarks.common.shops import online_retail, sample_shop

    if chosen.raw is None:
        from jobs.sample_shop import SIZES, write_shop

        chosen.raw = scratch / "shop"
        write_shop(chosen.raw, SIZES["sample"], log.progress("sample shop"))
    shop = (online_retail if chosen.data == "online_retail" else sample_shop)(chosen.raw, chosen.split)
    rows, seed = preset.test_rows, preset.seed
    problem, counts = problem_at(shop, shop.split, rows, seed)
    problem = with_slices_and_ablations(problem, (OURS,), seed)
    problem = with_event_targets(problem, shop, rows, seed)
    if chosen.objectives:
        trained = (OURS, *(f"{OURS}_{name}" for name in ("7_days", "28_days", "purchases", "7_days_purchases")))
        problem = with_later_targets(problem, shop, trained, rows, seed)
    problem = with_cold_products(problem, shop, rows, seed)
    earlier = shop.split - int(shop.horizon_days * 86_400)
    finale, _ = problem_at(shop.before(shop.split), earlier, preset.validation_rows, seed)
    counts = {"split": datetime.fromtimestamp(shop.split, UTC).isoformat(), "horizon_days": shop.horizon_days, **counts}
    return problem, finale, counts


def prepare_sessions(chosen: argparse.Namespace, preset: Preset) -> tuple[Problem, Problem, Any]:
    """The same for sessions with a given test file."""
    from tests.benchmarks.common.clicks import final_problem, newest, validation_problem
    from tests.benchmarks.common.shops import yoochoose

    clicks = yoochoose(chosen.raw)
    window = preset.validation_share, preset.validation_rows, preset.seed
    finale = validation_problem(clicks, newest(clicks.train, preset.sessions), *window)
    problem = final_problem(clicks, preset.sessions, preset.test_rows, preset.seed)
    counts = {
        "train_sessions": len(clicks.train),
        "train_events": len(clicks.train.products),
        "products": problem.products,
        "test_rows": len(clicks.targets),
        "asked_rows": len(problem.cases[0].groups),
        "cold_targets": int((clicks.targets < 0).sum()),
    }
    return with_slices_and_ablations(problem, (OURS,), preset.seed), finale, counts


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin slow each other down
    log = Log()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        try:
            chosen = arguments()
            preset = TIMED[chosen.preset]
            problem, finale, counts = prepare(chosen, preset, scratch, log)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
        log.say("; ".join(f"{name.replace('_', ' ')} {value}" for name, value in counts.items()))
        log.say("cases: " + ", ".join(f"{case.name} ({len(case.groups):,} rows)" for case in problem.cases))
        log.say(f"rules: {RULES}")
        try:
            compare(chosen, problem, finale, counts, preset, scratch, log)
        except RuntimeError as error:  # the process of a final fit; it has said why
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None


def compare(
    chosen: argparse.Namespace, problem: Problem, finale: Problem, counts: dict[str, Any], preset: Preset,
    scratch: Path, log: Log,
) -> None:  # fmt: skip
    """Search, fit and judge every entrant, write the figures after each, and print them at the end."""
    from tests.benchmarks.common.comparison import contest, with_uplifts
    from tests.benchmarks.common.report import console, costs, machine, write
    from tests.benchmarks.timestamped.report import ablations, cases_of, objectives, tables

    data = {
        "data": chosen.data, **counts, "synthetic": chosen.data == "sample", "policy": RULES,
        "preset": {"name": chosen.preset, **asdict(preset)}, "seeds": chosen.seeds, "machine": machine(),
        "cases": {case.name: {"rows": len(case.groups), "exclude_seen": case.exclude_seen} for case in problem.cases},
    }  # fmt: skip
    outcomes: dict[str, Outcome] = {}
    models: dict[str, dict[str, Any]] = {}
    main = problem.cases[0].name
    for outcome, searched in contest(entrants_of(chosen, problem), problem, finale, preset, chosen.seeds, scratch, log):
        name = outcome.entrant.name
        outcomes[name] = outcome
        models[name] = costs(outcome, searched) | {"cases": cases_of(problem, outcome, METRICS)}
        for case in problem.cases:
            asked = {key: model["cases"][case.name] for key, model in models.items() if case.name in model["cases"]}
            with_uplifts(asked, outcomes, case.name, case.groups, METRICS)
        document = {
            "data": data,
            "models": {key: model["cases"].get(main, {}) | model for key, model in models.items()},
            "ablations": {},
            "objectives": {},
        }
        write(document, chosen.json)
    document["ablations"] = ablations(problem, outcomes, OURS, NO_SIDE, METRICS)
    document["objectives"] = objectives(problem, outcomes, OURS, METRICS)
    write(document, chosen.json)
    screen = console()
    for table in tables(document, problem):
        screen.print(table)


if __name__ == "__main__":
    main()
