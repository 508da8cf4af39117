"""A night, files of rules, and what the command says of them."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console

from jobs.cli.policy import run_policy
from jobs.lake.lake import Lake

NIGHT = date(2026, 4, 6)
SAMPLE = Path(__file__).resolve().parents[2] / "jobs" / "sources" / "sample_policy.csv"
BOOST = "rule_id,kind,attribute,value,amount\nr1,boost,brand,Acme,3\n"


def said_by(lake: Lake, file: Path | None = None, check: bool = False, show: bool = False, variants: Any = None) -> str:
    """What the command prints."""
    console = Console(file=io.StringIO(), width=200)
    run_policy(lake, NIGHT, file, check, show, console, variants)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
