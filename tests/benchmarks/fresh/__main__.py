"""What does a visit tell beside the night, and what does it cost to read it?

    python -m tests.benchmarks.fresh [--raw DIR] [--model transformer] [--clicks 3000] [--products 50000] [--json OUT]

Of the sample shop (synthetic, written anew without --raw) everything is learned before its last seven days. Then
customers' clicks are drawn that follow another event of the same visit, on products that the visit has not had before.
Ranked is all that the customer's market sells, without what they bought and what the visit has had. Entrants: the
history up to midnight, as the night reads it; with what was done since; what was done since alone; and the vector that
the client makes of both. Product pages are asked for the same clicks: the page's own list, and with what the visit has
had at its end. Then processor milliseconds of the client's answers by one thread, with --products products and the
standard network. Set OPENBLAS_NUM_THREADS=1 for one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.common.log import Log
from tests.benchmarks.touch_points.__main__ import MODELS

KINDS = (*MODELS, "closed_form")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.fresh", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--raw", type=Path, help="the sample shop's files; made where this is left out")
    parser.add_argument("--model", choices=KINDS, default="transformer")
    parser.add_argument("--clicks", type=int, default=3_000, help="clicks that are asked for; 0: only the times")
    parser.add_argument("--products", type=int, default=50_000, help="products of the times; 0: only the clicks")
    parser.add_argument("--calls", type=int, default=400, help="calls of each kind")
    parser.add_argument("--json", type=Path, metavar="OUT", help="where the figures go")
    return parser.parse_args(given)


def main() -> None:
    chosen, log, found = arguments(), Log(), dict[str, Any]()
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.clicks:
            from tests.benchmarks.fresh.quality import figures

            found["clicks"] = figures(chosen.raw, chosen.model, chosen.clicks, Path(scratch), log)
            for name, shown in found["clicks"].items():
                log.say(f"{name}: {shown}")
        if chosen.products:
            from tests.benchmarks.fresh.speed import times_of

            found["milliseconds"] = times_of(chosen.products, chosen.calls, Path(scratch))
            for name, spent in found["milliseconds"].items():
                log.say(f"{name}: {spent:.2f} ms")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
