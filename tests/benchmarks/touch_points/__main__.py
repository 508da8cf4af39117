"""How good is each touch point's list, on what it is for? Everything learned before a time T, judged after it.

    python -m tests.benchmarks.touch_points --data sample --json OUT
    python -m tests.benchmarks.touch_points --data online_retail --raw DIR/online_retail/raw --json OUT
    python -m tests.benchmarks.touch_points --data asos --raw DIR/asos_purchases --json OUT

You Might Also Like is judged by the customer's next session, People Also Bought by the rest of later baskets, A Little
Something Extra by a product taken out of a later basket, category pages by what the customer takes next there. The
whole catalogue, or page, is ranked, without sampled negatives; ties count against us. `sample` is synthetic, and is
written anew without --raw. online_retail knows purchases alone, so there You Might Also Like is judged by the next
basket, and has no category. asos is pairs without order: a fifth of them is held back. Recommended for you is not here:
the night and `tests.benchmarks.timestamped` measure it. --rules compares ways to combine the lists of a bag; choose
among them, and among other settings, with --split at an earlier time than the one that is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import UserError
from tests.benchmarks.common.log import Log

if TYPE_CHECKING:
    from tests.benchmarks.touch_points.data import Ground
    from tests.benchmarks.touch_points.judge import TouchPoint

DATA = ("sample", "online_retail", "asos")
MODELS = ("amf", "transformer")
NEXT_SESSION_DAYS, NEXT_BASKET_DAYS = 7, 30


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; raises UserError for a value that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.touch_points", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--raw", type=Path, help="the data set's files; `sample` is made where this is left out")
    parser.add_argument("--split", type=date.fromisoformat, metavar="DATE", help="T at 00:00 UTC, not for asos")
    parser.add_argument("--models", default=",".join(MODELS), help=f"trained models; by default {','.join(MODELS)}")
    parser.add_argument("--rules", action="store_true", help="compare ways to combine lists, and nothing else")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the figures go")
    chosen = parser.parse_args(given)
    chosen.models = [name.strip() for name in chosen.models.split(",") if name.strip()]
    if not chosen.models or set(chosen.models) - set(MODELS):
        raise UserError(f"--models {','.join(chosen.models)}: choose among {', '.join(MODELS)}")
    if chosen.raw is None and chosen.data != "sample":
        raise UserError(f"--data {chosen.data} needs --raw DIR, the folder with its files")
    if chosen.raw is not None and not chosen.raw.exists():
        raise UserError(f"--raw {chosen.raw} is not there; give the folder with the files of {chosen.data}")
    if chosen.split and chosen.data == "asos":
        raise UserError("--split is for data with times; asos has none, a fifth of its pairs is held back")
    if chosen.json and not chosen.json.parent.is_dir():
        raise UserError(f"--json {chosen.json}: the folder {chosen.json.parent} is not there; make it first")
    return chosen


def measure(chosen: argparse.Namespace, scratch: Path, log: Log) -> tuple[dict[str, Any], list[TouchPoint]]:
    """(what the data were, every touch point that the data can tell of)."""
    if chosen.data == "asos":
        return of_pairs(chosen, log)
    from jobs.lists.config import ListsConfig
    from tests.benchmarks.touch_points.data import retail, sample, truth_of

    if chosen.raw is None:
        from jobs.sample_shop import SIZES, write_shop

        chosen.raw = scratch / "shop"
        write_shop(chosen.raw, SIZES["sample"], log.progress("sample shop"))
    settings = ListsConfig()
    if chosen.data == "sample":
        ground = sample(chosen.raw, chosen.split, settings.popular.event_weights, settings.popular.days)
    else:
        ground = retail(chosen.raw, chosen.split)
    data = {
        "data": chosen.data, "synthetic": chosen.data == "sample",
        "split": datetime.fromtimestamp(ground.split, UTC).isoformat(),
        "days": (ground.until - ground.split) / 86_400,
        "products": ground.products, "train_events": len(ground.train.products),
    }  # fmt: skip
    log.say("; ".join(f"{name.replace('_', ' ')} {value}" for name, value in data.items()))
    truth = truth_of(chosen.raw, ground) if chosen.data == "sample" else None
    found = [] if chosen.rules else with_models(chosen.models, ground, truth, log)
    if not chosen.rules:
        found.append(bought_together(chosen, ground, truth))
        log.say("people_also_bought judged")
    found += in_bags(ground, chosen.rules)
    return data, found


def with_models(names: list[str], ground: Ground, truth: Any, log: Log) -> list[TouchPoint]:
    """The touch points that need a trained model: alternatives, and category pages where there are categories."""
    from models.contract import Compute
    from models.networks import artefacts
    from models.vocabulary import Vocabulary
    from tests.benchmarks.touch_points.alternatives import you_might_also_like
    from tests.benchmarks.touch_points.ranking import ranking

    encoded = {}
    for name in names:
        model = artefacts.create(name, Vocabulary(list(ground.ids)), Compute())
        known = ground.train.take((ground.train.lengths > 0).nonzero()[0])
        model.fit(known, ground.catalogue, log.progress(name))
        encoded[f"ours, {name}"] = model.encode(ground.train), model.product_vectors()
        log.say(f"{name} trained on {len(known):,} histories")
    vectors = {name: products for name, (_, products) in encoded.items()}
    days = NEXT_BASKET_DAYS if ground.category is None else NEXT_SESSION_DAYS
    found = [you_might_also_like(ground, vectors, days, truth)]
    log.say("you_might_also_like judged")
    if ground.markets is not None and ground.category is not None:
        found += [ranking(ground, encoded, bought_only) for bought_only in (False, True)]
        log.say("category pages judged")
    return found


def bought_together(chosen: argparse.Namespace, ground: Ground, truth: Any) -> TouchPoint:
    """People Also Bought; on online_retail with the windows of its own benchmark."""
    from datetime import timedelta

    from tests.benchmarks.touch_points.baskets import TEST_FROM, TEST_UNTIL, read_baskets, window
    from tests.benchmarks.touch_points.bought import people_also_bought, window_of

    if chosen.data == "sample":
        return people_also_bought(window_of(ground), truth)
    until = chosen.split + timedelta(days=NEXT_BASKET_DAYS) if chosen.split else TEST_UNTIL
    baskets = read_baskets(chosen.raw.parent.parent)
    return people_also_bought(window(baskets, chosen.split or TEST_FROM, until), None)


def in_bags(ground: Ground, rules: bool) -> list[TouchPoint]:
    """A Little Something Extra on later baskets."""
    from tests.benchmarks.touch_points.bag import bag_extras, extra_lists, fitted, ways_to_combine
    from tests.benchmarks.touch_points.bought import window_of
    from tests.benchmarks.touch_points.hidden import bags_of

    past, after = window_of(ground), ground.after(ground.baskets)
    train = past.offsets, past.products
    lists = extra_lists(fitted(train, ground.products, past.times, past.split), ground.products, ground.category)
    bags = bags_of(after.offsets, after.products, after.customers, ground.category)
    compare = ways_to_combine if rules else bag_extras
    return list(compare(train, lists, bags))


def of_pairs(chosen: argparse.Namespace, log: Log) -> tuple[dict[str, Any], list[TouchPoint]]:
    """The touch points that pairs without time can tell of: what is bought by the same people, and bags."""
    from tests.benchmarks.touch_points.bag import bag_extras, extra_lists, fitted, ways_to_combine
    from tests.benchmarks.touch_points.bought import asos, bought_by_same
    from tests.benchmarks.touch_points.hidden import bags_of_pairs

    pairs = asos(chosen.raw)
    data = {"data": "asos", "synthetic": False, "products": pairs.products, "train_pairs": len(pairs.kept)}
    log.say("; ".join(f"{name.replace('_', ' ')} {value}" for name, value in data.items()))
    train = pairs.offsets, pairs.kept
    lists = extra_lists(fitted(train, pairs.products, None, None), pairs.products, None)
    log.say("lists made")
    found = [] if chosen.rules else [bought_by_same(pairs, lists.products, log.progress("asos"))]
    log.say("people_also_bought judged")
    compare = ways_to_combine if chosen.rules else bag_extras
    return data, found + list(compare(train, lists, bags_of_pairs(pairs)))


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: threads that spin slow each other down
    log = Log()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            chosen = arguments()
            data, found = measure(chosen, Path(scratch), log)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None
    from tests.benchmarks.touch_points.judge import markdown

    documents = {one.name: one.figures() for one in found}
    for line in markdown(chosen.data, found, documents):
        print(line)
    log.say("done")
    if chosen.json:
        chosen.json.write_text(json.dumps({"data": data, "touch_points": documents}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
