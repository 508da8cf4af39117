"""Defines the commands of the model registry: `models`, `promote` and `demote`."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.cli.common import LAKE, Place, Root, command, day_of, now
from jobs.errors import UserError
from jobs.lake import storage

if TYPE_CHECKING:
    from rich.console import Console

    from jobs.lake.lake import Lake
    from jobs.train.champions import ChampionRecord

PANEL = "Models"
From = Annotated[str, typer.Option("--from", metavar="DATE", help="First night that it holds for.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@command(rich_help_panel=PANEL)
def models(root: Root = LAKE) -> None:
    """Every trained model: on what, by which code, with which figures, and who serves since when."""
    from rich.console import Console

    print_models(Place(root).lake(), Console())


@command(rich_help_panel=PANEL)
def promote(
    model: Annotated[str, typer.Argument(help="A model_id of `python -m jobs models`.")],
    first: From,
    reason: Reason = "",
    root: Root = LAKE,
) -> None:
    """Let a model serve the nights from a date on, whatever the last comparison said."""
    from rich.console import Console

    from jobs.train import champions

    if not reason.strip():
        raise UserError("give --reason TEXT: who asked for it and why is kept in the table champions")
    place = Place(root)
    with place.writing("promote", first):
        lake = place.lake()
        made = champions.promote(lake, model, day_of(first), reason, now())
    if made is None:
        Console().print(f"{model} serves the night {first} already; nothing is changed", soft_wrap=True, markup=False)
    else:
        print_decision(lake, made, Console())


@command(rich_help_panel=PANEL)
def demote(first: From, reason: Reason = "", root: Root = LAKE) -> None:
    """Let the champion before the present one serve the nights from a date on."""
    from rich.console import Console

    from jobs.train import champions

    place = Place(root)
    with place.writing("demote", first):
        lake = place.lake()
        made = champions.demote(lake, day_of(first), reason, now())
    print_decision(lake, made, Console())


def print_decision(lake: Lake, made: ChampionRecord, console: Console) -> None:
    """Print the decision, until when it holds, and how to apply it to a night that is live already."""
    from jobs.lake.live import live_night
    from jobs.train.champions import next_after

    later, live = next_after(lake, made), live_night(lake)
    until = f"until {later.model_id} takes over on {later.as_of}" if later else "until the next comparison or decision"
    console.print(f"{made.model_id} serves the nights from {made.as_of} on, {until}", soft_wrap=True, markup=False)
    if live is not None and live >= made.as_of:
        console.print(
            f"the live night {live} is as it was: run its steps from `python -m jobs embed --as-of {live}` to publish "
            "again to change it",
            soft_wrap=True,
            markup=False,
        )


def print_models(lake: Lake, console: Console) -> None:
    """Print the registry, newest model first, and the log of decisions."""
    from rich.table import Table as Grid

    from jobs.text import clean
    from jobs.train.champions import decisions, registered

    rows, log = registered(lake), decisions(lake)
    if not rows:
        raise UserError(f"no model was trained in {lake.root} yet; run the step train")
    grid = Grid(title="Models", title_justify="left", box=None, padding=(0, 1))
    for heading in ("model", "kind", "NDCG@10", "trained on", "code", "settings", "state"):
        grid.add_column(heading, overflow="fold")
    for row in reversed(rows):
        cells = (
            row["model_id"],
            row["kind"],
            _ndcg(row["ndcg"]),
            _trained_on(row),
            row["code_version"] or "",
            row["config_hash"] or "",
            state(lake, row, log),
        )
        grid.add_row(*(_text(clean(cell)) for cell in cells))
    console.print(grid)
    told = Grid(title="Decisions", title_justify="left", box=None, padding=(0, 1))
    for heading in ("from", "serves", "by", "decided", "reason"):
        told.add_column(heading, overflow="fold")
    for made in reversed(log):
        line = (str(made.as_of), made.model_id, made.decided_by, f"{made.decided_at:%Y-%m-%d %H:%M}", made.reason)
        told.add_row(*(_text(clean(cell)) for cell in line))
    console.print(told)


def state(lake: Lake, row: dict[str, Any], log: list[ChampionRecord]) -> str:
    """The state of a model in words: whether it serves or served, and whether its files are whole."""
    from models.networks.artefacts import ArtefactError, verify

    try:
        verify(lake.root / storage.MODELS / row["model_id"])
    except ArtefactError:
        whole = False
    else:
        whole = True
    if log and log[-1].model_id == row["model_id"]:
        text = f"serves since {_since(log)}"
    elif any(made.model_id == row["model_id"] for made in log):
        text = "served"
    else:
        text = "won, never served" if row["champion"] else "only compared"
    return text if whole else f"{text}; its files are missing or were changed"


def _since(log: list[ChampionRecord]) -> date:
    """The first night of the unbroken run of the serving model."""
    first = log[-1]
    for made in reversed(log):
        if made.model_id != first.model_id:
            break
        first = made
    return first.as_of


def _trained_on(row: dict[str, Any]) -> str:
    versions = json.loads(row["trained_on"]) if row["trained_on"] else {}
    of = ", ".join(f"{table} v{version}" for table, version in sorted(versions.items()))
    return f"events before {row['as_of']}" + (f" ({of})" if of else "")


def _ndcg(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _text(text: str) -> str:
    from rich.markup import escape

    return escape(text)
