"""Defines the commands of operators: `apply`, `policy`, `rollback`, `serve` and `forget`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.common import LAKE, Place, Root, command, day_of, lines_of, now, secret
from jobs.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.forget.step import Forgotten
    from jobs.lake.lake import Lake
    from jobs.lake.live import Published
    from jobs.publish.store import OnlineStore


@command()
def apply(root: Root = LAKE) -> None:
    """Register the Feast definitions: part of a deployment, not of a night."""
    place = Place(root)
    with place.writing("apply"):
        typer.echo(f"{place.online_store().apply()} Feast objects registered")


@command()
def policy(
    file: Annotated[Path | None, typer.Option(help="CSV of all rules, to replace those of the table.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check the file.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the rules with their state.")] = False,
    as_of: Annotated[str | None, typer.Option("--as-of", metavar="DATE", help="Today (UTC) by default.")] = None,
    root: Root = LAKE,
) -> None:
    """Check, load or show the merchandisers' rules."""
    from rich.console import Console

    from jobs.cli.policy import run_policy

    place, day = Place(root), now().date() if as_of is None else day_of(as_of)
    with place.writing("policy") if file and not check else nullcontext():
        run_policy(place.lake("policy" if file else ""), day, file, check, show, Console())


@command()
def rollback(
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DATE", help="The night; by default the publication before the live one."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", help="With --to: the night as it is staged now, not as it was published.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    place: Place,
) -> None:
    """Make an earlier publication live again, online store and `published` together."""
    lake = place.lake()
    chosen = chosen_rollback(lake, None if to is None else day_of(to), staged)
    if not dry_run:
        place.run_step("publish", chosen.night.isoformat(), replace_newer=True, published_at=chosen.at)
        return
    from rich.console import Console

    print_plan(lake, place.online_store(), chosen, Console())


def chosen_rollback(lake: Lake, to: date | None, staged: bool = False) -> Published:
    """What to make live: the newest publication of the night `to` that is not live, its staged rows where they are
    asked for or nothing of it was published, or without a night the publication before the live one.

    Raises UserError where there is none.
    """
    from jobs.lake.live import Published
    from jobs.publish.step import rollbacks

    known = rollbacks(lake)
    can = f"what can: {', '.join(map(described, known)) or 'nothing'}"
    if staged:
        if to is None:
            raise UserError("--staged needs the night; give --to DATE as well")
        return Published(to, "", None, None, False, {})
    at = next((place for place, one in enumerate(known) if one.live), 0)
    found = [one for one in known if one.night == to and not one.live] if to else known[:at]
    if not found:
        wanted = f"{to} cannot be made live" if to else "there is nothing before what is live that can be made live"
        raise UserError(f"{wanted}; {can}")
    return found[-1]


def described(one: Published) -> str:
    """A publication in words: 2026-04-06, published 2026-04-06 02:13 UTC."""
    if one.at is None:
        return f"{one.night}, staged"
    return f"{one.night}, published {one.at:%Y-%m-%d %H:%M} UTC" + (" (live)" if one.live else "")


def print_plan(lake: Lake, store: OnlineStore, to: Published, console: Console) -> None:
    """Print for each surface the live night and what a rollback would write."""
    from rich.table import Table as Grid

    from jobs.lake.live import publication
    from jobs.publish.load import kept_night
    from jobs.publish.step import SURFACES

    live, shown = publication(lake), lake.at(to.versions)
    published = str(live.night) if live else "nothing"
    online = store.live().as_of or "nothing"
    kept = kept_night(shown, store.nights(), SURFACES, to.night)
    title = f"Rollback to {described(to)}: nothing is changed by this"
    grid = Grid(title=title, title_justify="left", box=None, padding=(0, 1))
    for heading in ("surface", "published", "online", "would be", "online rows to write"):
        grid.add_column(heading, no_wrap=heading == "surface")
    for table in SURFACES:
        rows = "none" if kept is not None else f"those of {shown.count(table, to.night):,} that differ"
        grid.add_row(table.name, published, online, str(to.night), rows)
    console.print(grid)
    console.print(
        "The night's rows are still online: one value is moved, and every reader sees the night whole at once."
        if kept is not None
        else "The night's rows are not online any more, or its tables have changed since: they are loaded beside the "
        "live night and shown at once when all are there.",
        soft_wrap=True,
    )


@command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 6566,
    workers: Annotated[int, typer.Option(help="Processes; one a core.")] = 1,
    tls_key: Annotated[Path | None, typer.Option(help="TLS key file.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="TLS certificate file.")] = None,
    feast: Annotated[bool, typer.Option("--feast", help="Feast's own server, for Feast's SDKs.")] = False,
    root: Root = LAKE,
) -> None:
    """Serve the lists over HTTP; stop it with Ctrl-C. NIGHTRAIL_TOKEN is what requests must bear."""
    from jobs.serve.guard import ServeConfig

    config = ServeConfig(host, port, workers, secret("NIGHTRAIL_TOKEN"), tls_key, tls_cert)
    store = Place(root).online_store()
    scheme, guarded = "http" if tls_key is None else "https", "with a token" if config.token else "without a token"
    what = "Feast's POST /get-online-features" if feast else "the API, described at /docs and /openapi.json"
    typer.echo(f"serving on {scheme}://{host}:{port} {guarded}: {what}; GET /health /ready /metrics")
    if feast:
        from jobs.serve.feast_server import serve_feast

        serve_feast(store, config)
        return
    # The workers' metrics are added up from files; prometheus_client reads the variable when it is first imported.
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="nightrail-metrics-")
    from jobs.serve.workers import serve_api

    serve_api(store, config, Path(folder))


@command()
def forget(
    customer: Annotated[list[str] | None, typer.Option(help="A customer id; repeat it for several.")] = None,
    file: Annotated[Path | None, typer.Option(help="File with one customer id a line.")] = None,
    root: Root = LAKE,
) -> None:
    """Remove customers from every table, old version, page, log and the online store, and keep them out.

    Pages that showed them are written anew.
    """
    from rich.console import Console

    from jobs.forget.step import forget as run
    from jobs.report.step import ReportConfig, write_missing_pages
    from jobs.text import clean

    ids = [*(customer or []), *(ids_in(file) if file else [])]
    if not ids:
        raise UserError("no customer is named; give --customer ID, or --file with one id a line")
    place, lines, console = Place(root), lines_of("forget"), Console()
    with place.writing("forget"):
        lake = place.lake()
        for line in forgotten_lines(run(lake, place.online_store(), ids, now(), lines)):
            console.print(clean(line), highlight=False, markup=False, soft_wrap=True)
        for page in write_missing_pages(lake, now(), ReportConfig(), lines):
            console.print(f"written again: {lake.relative(page)}", highlight=False, markup=False, soft_wrap=True)


def forgotten_lines(done: Forgotten) -> Iterator[str]:
    """What a call of `forget` did, for people."""
    for customer, rows in done.rows.items():
        found = ", ".join(f"{n:,} of {name}" for name, n in sorted(rows.items()))
        before = "nothing was left; removed earlier: " if customer in done.earlier else "removed "
        yield f"{customer}: {before + found if found else 'nothing was there'}"
    for path in done.deleted:
        yield f"deleted: {path}"
    for where, count in sorted(done.elsewhere.items()):
        yield f"note: {where} has the same text, {count:,} times, as the name of something else"
    yield f"read back {done.files:,} files: none names them; recorded in forgotten"


def ids_in(file: Path) -> list[str]:
    """The ids of a file, one a line, empty lines left out; raises UserError where it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the ids {file} cannot be read: {error}; give a UTF-8 file with one id a line") from None
    return [line.strip(" \r") for line in text.split("\n") if line.strip(" \r")]
