"""`python -m jobs forget`: who is to be forgotten, and what a person is told about it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.command import LAKE, Root, lake_at, online_store, writing
from jobs.errors import UserError


def add_forget(app: typer.Typer, clock: Callable[[], datetime], seconds: Callable[[], float]) -> None:
    """Register the command of this module; `clock` gives the time in UTC, `seconds` those that pass."""

    def forget(
        customer: Annotated[list[str] | None, typer.Option(help="A customer id; repeat it for several.")] = None,
        file: Annotated[Path | None, typer.Option(help="File with one customer id a line.")] = None,
        root: Root = LAKE,
    ) -> None:
        """Remove customers from every table, old version, page, log and the online store, and keep them out."""
        ids = [*(customer or []), *(ids_in(file) if file else [])]
        if not ids:
            raise UserError("nobody is named; give --customer ID, or --file with one id a line")
        _run(ids, root, clock(), seconds)

    app.command()(forget)


def ids_in(file: Path) -> list[str]:
    """The ids of a file, one a line, empty lines left out; raises UserError where it cannot be read."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the ids {file} cannot be read: {error}; give a UTF-8 file with one id a line") from None
    return [line.strip(" \r") for line in text.split("\n") if line.strip(" \r")]


def _run(ids: list[str], root: Path, now: datetime, seconds: Callable[[], float]) -> None:
    from rich.console import Console
    from rich.markup import escape

    from jobs.forget import forget as forgotten
    from jobs.progress import StepLines
    from jobs.reading import clean

    lake = lake_at(root, "sail")
    with writing(root, "forget"):
        done = forgotten(lake, online_store(lake), ids, now, StepLines("forget", seconds))
    console = Console()
    for customer, rows in done.rows.items():
        there = ", ".join(f"{n:,} of {name}" for name, n in sorted(rows.items())) or "nothing was there"
        console.print(f"{escape(clean(customer))}: {there}", highlight=False, soft_wrap=True)
    for path in done.changed:
        console.print(f"changed: {escape(clean(path))}", highlight=False, soft_wrap=True)
    for place, count in sorted(done.elsewhere.items()):
        console.print(f"note: {escape(clean(place))} has the same text, {count:,} times, as the name of something else",
                      highlight=False, soft_wrap=True)  # fmt: skip
    console.print(f"read back {done.files:,} files: none names them; recorded in forgotten", highlight=False)
