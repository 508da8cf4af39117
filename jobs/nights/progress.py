"""Writes the progress of a step as lines that `python -m jobs night` finds in Airflow's log."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

LINE = re.compile(r"nightrail: (?P<step>[a-z_]+): (?P<text>.*?)(?: +\[airflow\..*)?$")
"""Matches a step's progress line anywhere in a line of Airflow's log."""
SECONDS_BETWEEN = 2.0
"""Least time between two progress lines of a step."""


@dataclass
class StepLines:
    """Writes `nightrail: STEP: COUNTED done/total, N s left` at most every SECONDS_BETWEEN, and always the last."""

    step: str
    clock: Callable[[], float]
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _began: dict[str, float] = field(default_factory=dict)
    _said: float = -SECONDS_BETWEEN

    def say(self, text: str) -> None:
        """Write one line; the last one of a command is its XCom in Airflow."""
        print(f"nightrail: {self.step}: {' '.join(text.split())}", file=self.stream, flush=True)

    def __call__(self, counted: str, done: int, total: int) -> None:
        """Report progress: the name of what is counted, how much is done, the total (`jobs.run.Progress`)."""
        now = self.clock()
        began = self._began.setdefault(counted, now)
        if done < total and now - self._said < SECONDS_BETWEEN:
            return
        self._said = now
        left = f", {(now - began) / done * (total - done):.0f} s left" if 0 < done < total and now > began else ""
        self.say(f"{counted} {done:,}/{total:,}{left}")
