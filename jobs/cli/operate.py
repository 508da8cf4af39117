"""Defines the commands of operators: `apply`, `policy`, `rollback`, `serve` and `forget`."""

from __future__ import annotations

import os
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.common import LAKE, Place, Root, command, day_of, lines_of, now, secret
from jobs.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.lake.lake import Lake
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
        run_policy(place.lake(), day, file, check, show, Console())


@command()
def rollback(
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="The night; by default the newest before the live one.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would change.")] = False,
    place: Place,
) -> None:
    """Make an earlier checked night live again, online store and `published` together."""
    lake = place.lake()
    night = chosen_night(lake, None if to is None else day_of(to))
    if not dry_run:
        place.run_step("publish", night.isoformat(), replace_newer=True)
        return
    from rich.console import Console

    print_plan(lake, place.online_store(), night, Console())


def chosen_night(lake: Lake, to: date | None) -> date:
    """The night to make live: `to`, or the newest one before the live one; raises UserError where it cannot be."""
    from jobs.lake.live import live_night
    from jobs.publish.step import nights_to_roll_back_to

    nights, live = nights_to_roll_back_to(lake), live_night(lake)
    can = f"nights that can: {', '.join(map(str, nights)) or 'none'}"
    if to is not None:
        if to not in nights:
            raise UserError(f"{to} cannot be made live; {can}")
        return to
    earlier = [night for night in nights if live and night < live]
    if not earlier:
        raise UserError(f"there is no night before the live one ({live}) that can be made live; {can}")
    return earlier[-1]


def print_plan(lake: Lake, store: OnlineStore, to: date, console: Console) -> None:
    """Print for each surface the live night and what a rollback would write."""
    from rich.table import Table as Grid

    from jobs.publish.load import kept_night
    from jobs.publish.step import SURFACES
    from jobs.tables.records import PUBLISHED

    published = {row["surface"]: row["as_of"] for row in lake.arrow(PUBLISHED, ("surface", "as_of")).to_pylist()}
    online = store.live().as_of or "nothing"
    kept = kept_night(lake, store.nights(), SURFACES, to)
    grid = Grid(title=f"Rollback to {to}: nothing is changed by this", title_justify="left", box=None, padding=(0, 1))
    for heading in ("surface", "published", "online", "would be", "online rows to write"):
        grid.add_column(heading)
    for table in SURFACES:
        rows = "none" if kept is not None else f"those of {lake.count(table, to):,} that differ"
        grid.add_row(table.name, str(published.get(table.name, "nothing")), online, str(to), rows)
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
    """Remove customers from every table, old version, page, log and the online store, and keep them out."""
    from rich.console import Console

    from jobs.forget.step import forget as run
    from jobs.text import clean

    ids = [*(customer or []), *(ids_in(file) if file else [])]
    if not ids:
        raise UserError("no customer is named; give --customer ID, or --file with one id a line")
    place = Place(root)
    with place.writing("forget"):
        done = run(place.lake(), place.online_store(), ids, now(), lines_of("forget"))
    lines = [
        f"{customer}: {', '.join(f'{n:,} of {name}' for name, n in sorted(rows.items())) or 'nothing was there'}"
        for customer, rows in done.rows.items()
    ]
    lines += [f"deleted: {path}" for path in done.deleted]
    lines += [
        f"note: {where} has the same text, {count:,} times, as the name of something else"
        for where, count in sorted(done.elsewhere.items())
    ]
    lines += [f"read back {done.files:,} files: none names them; recorded in forgotten"]
    for line in lines:
        Console().print(clean(line), highlight=False, markup=False, soft_wrap=True)


def ids_in(file: Path) -> list[str]:
    """The ids of a file, one a line, empty lines left out; raises UserError where it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the ids {file} cannot be read: {error}; give a UTF-8 file with one id a line") from None
    return [line.strip(" \r") for line in text.split("\n") if line.strip(" \r")]
