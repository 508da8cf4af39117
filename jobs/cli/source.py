"""Defines the commands for a new source: `draft` writes a first one, `check` tells what it would give."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.common import AllowEmptyDay, Raw, Source, command, day_of, lines_of, now
from jobs.errors import UserError
from jobs.lake import storage
from jobs.text import clean

if TYPE_CHECKING:
    from jobs.ingest.check import SourceCheck
    from jobs.ingest.step import IngestConfig

PANEL = "A new source"
WIDTH = 110
MOST_SHOWN = 6
"""Values that a line names."""


@command(rich_help_panel=PANEL)
def draft(
    *,
    raw: Raw,
    source: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there, where no file is yet, and not to the screen.")
    ] = None,
) -> None:
    """Write a first source for raw files from their headers and some rows, with guesses for a person to correct."""
    from jobs.ingest.draft_folder import draft_of_folder

    if source is not None and source.exists():
        raise UserError(f"--source {source} is there already and is not overwritten; give another name")
    storage.check_reachable(raw)
    text = draft_of_folder(raw)
    if source is None:
        typer.echo(text, nl=False)
        return
    storage.write_new(source, text.encode())
    source.chmod(0o644)
    todo = text.count("TODO:") - 1  # the heading explains the word
    typer.echo(
        f"{source} is a draft with {todo:,} to decide (TODO) and {text.count('guess:') - 1:,} guessed. Correct "
        f"it, then: python -m jobs check --source {shlex.quote(str(source))} --raw {shlex.quote(str(raw))}"
    )


@command(rich_help_panel=PANEL)
def check(
    *,
    source: Source,
    raw: Raw,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The night; the day after the last event by default.")
    ] = None,
    allow_empty_day: AllowEmptyDay = False,
) -> None:
    """Tell what a source would give, and what looks odd, without writing anything; 2 where no night could be made."""
    from jobs.ingest.step import IngestConfig

    found = checked(IngestConfig(source, raw, allow_empty_day), as_of)
    if found.stops:
        raise typer.Exit(UserError.exit_code)


def checked(config: IngestConfig, as_of: str | None) -> SourceCheck:
    """Check a source and its raw files in a temporary folder, and print what was found."""
    from jobs.ingest.check import check_source
    from jobs.lake.engine import start
    from jobs.lake.lake import Lake

    storage.check_reachable(config.raw)
    night = None if as_of is None else day_of(as_of)
    with TemporaryDirectory(prefix="nightrail-check-") as folder:
        # Embedded, whatever runs the nights: a cluster sees no temporary folder.
        lake = Lake(Path(folder), lambda: start("sail"))
        try:
            found = check_source(lake, config, night, now().date(), lines_of("check"))
        finally:
            lake.stop()
    for line in report(found):
        typer.echo(line)
    return found


def report(found: SourceCheck) -> Iterator[str]:
    """The lines of a check: what is fine, what looks odd, and whether a night could be made."""
    from jobs.ingest.check import odd

    yield f"{found.source} over {found.raw}"
    yield ""
    rows = [*_what_is_read(found), *_what_comes_out(found)]
    width = max((len(label) for label, _ in rows), default=0)
    for label, text in rows:
        yield from _wrapped(f"  {label:{width}}  ", text)
    if strange := odd(found):
        yield from ("", "Looks odd:", *(line for text in strange for line in _wrapped("  - ", text)))
    yield ""
    where = f"SOURCE={shlex.quote(str(found.source))} RAW={shlex.quote(str(found.raw))} AS_OF={found.as_of}"
    if found.stops:
        yield "A night would be stopped:"
        yield from (line for text in found.stops for line in _wrapped("  - ", text))
    else:
        yield f"A night could be made: make night {where}"


def _wrapped(label: str, text: str) -> list[str]:
    """Lines of text behind a label."""
    indent = " " * len(label)
    return textwrap.wrap(
        clean(text),
        WIDTH,
        initial_indent=label,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _what_is_read(found: SourceCheck) -> Iterator[tuple[str, str]]:
    if found.given or found.facts:
        why = "" if found.given else " (the day after the last event; --as-of DATE names another)"
        yield "night", f"{found.as_of}{why}"
    if found.files:
        views: dict[str, int] = {}
        for file in found.files:
            views[file.view] = views.get(file.view, 0) + 1
        told = ", ".join(f"{count:,} in {view}" for view, count in views.items()) if len(views) > 1 else ""
        yield "files", f"{len(found.files):,} read, {found.rows:,} rows" + (f" ({told})" if told else "")
    if found.not_read:
        yield "not read", found.not_read


def _what_comes_out(found: SourceCheck) -> Iterator[tuple[str, str]]:
    facts = found.facts
    if facts:
        yield (
            "events",
            (
                f"{facts['events']:,}, {facts['first']:%Y-%m-%d %H:%M} to {facts['last']:%Y-%m-%d %H:%M} UTC, on "
                f"{facts['days']:,} days"
            ),
        )
        yield "types", _shares(found.types)
        yield "customers", f"{facts['customers']:,}, of whom {facts['returning']:,} come on several days"
        yield "products", f"{facts['products']:,}"
        named = facts["no_market"] < facts["events"]
        yield "markets", f"{facts['markets']:,}: {_shares(found.markets)}" if named else "one; none is named (market)"
        yield "baskets", f"{facts['baskets']:,}" if facts["baskets"] else "none (basket_id)"
        share = f"{facts['priced'] / facts['events']:.0%} of the events have one"
        yield "prices", share if facts["priced"] else "none (price)"
    if found.catalogue:
        whole = found.catalogue["product_id"]
        others = {name: count for name, count in found.catalogue.items() if count and name != "product_id"}
        told = ", ".join(f"{name} {count / max(whole, 1):.0%}" for name, count in others.items())
        yield "catalogue", f"{whole:,} products: {told or 'ids alone'}"
    if found.touch_points:
        yield "impressions", f"{sum(found.touch_points.values()):,}: {_shares(found.touch_points)}"
    if found.left_out:
        told = ", ".join(f"{reason} ({count:,})" for reason, count in _first(found.left_out))
        yield "left out", f"{sum(found.left_out.values()):,} rows by the source: {told}"
    for line in found.rejected:
        yield "rejected", line
    if facts and not found.rejected:
        yield "rejected", "no row"


def _first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:MOST_SHOWN]


def _shares(counts: Mapping[str, int]) -> str:
    whole = sum(counts.values())
    told = ", ".join(f"{name} {count / whole:.1%}" for name, count in _first(counts))
    return told + (" .." if len(counts) > MOST_SHOWN else "")
