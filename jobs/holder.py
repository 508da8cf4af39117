"""Who writes to a lake, and what is said to who comes second; the same whatever kind of lock holds it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import BusyError

NIGHT, STEP = "night", "step"
TRIES, PAUSE = 5, 0.05
"""A look at who holds a lock takes it for an instant, which must not turn anybody away."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as the lock's file says it to who comes second."""

    doing: str
    """A step, night, backfill or another command that writes."""
    night: str
    """The night it works on, or its first and last; empty where it is about none."""
    since: str
    """When it began, UTC."""
    host: str = ""
    pid: int = 0

    @property
    def token(self) -> str:
        """What the steps of a night show to be let in."""
        return f"{self.host}:{self.pid}:{self.since}"

    def __str__(self) -> str:
        of = f" of {self.night}" if self.night else ""
        return f"{self.doing}{of}, process {self.pid} on {self.host} since {self.since}"


def here(doing: str, night: str, since: str) -> Holder:
    """This process as a holder."""
    return Holder(doing, night, since, socket.gethostname(), os.getpid())


def busy(root: Path, holder: Holder, owner: Holder | None) -> BusyError:
    """What is raised by who comes second."""
    return BusyError(
        f"the lake {root} is in use by {owner or 'another process'}; {holder.doing} has changed nothing. Try "
        "again when that has ended (`python -m jobs status` shows it)"
    )
