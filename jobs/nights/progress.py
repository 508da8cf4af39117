"""Progress of a step as plain lines, in one form that the night's runner shows live."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

LINE = re.compile(r"nightrail: (?P<step>[a-z_]+): (?P<text>.*?)(?: +\[airflow\..*)?$")
"""What a line of a step looks like, wherever a log puts it and whatever Airflow adds behind it."""
SECONDS_BETWEEN = 2.0


@dataclass
class StepLines:
    """Writes `nightrail: STEP: what done/total, seconds left` at most every two seconds, and always the last."""

    step: str
    clock: Callable[[], float]
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _began: dict[str, float] = field(default_factory=dict)
    _said: float = -SECONDS_BETWEEN

    def say(self, text: str) -> None:
        """Write one line."""
        print(f"nightrail: {self.step}: {' '.join(text.split())}", file=self.stream, flush=True)

    def __call__(self, what: str, done: int, total: int) -> None:
        """A Progress: (what is counted, done so far, total)."""
        now = self.clock()
        began = self._began.setdefault(what, now)
        if done < total and now - self._said < SECONDS_BETWEEN:
            return
        self._said = now
        left = f", {(now - began) / done * (total - done):.0f} s left" if 0 < done < total and now > began else ""
        self.say(f"{what} {done:,}/{total:,}{left}")
