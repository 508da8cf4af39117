"""Lines about a long benchmark: what runs, how far it is, how long it will take."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from models.contract import Progress

SECONDS_BETWEEN = 20.0


@dataclass
class Log:
    """Plain lines on standard output, each with the minutes since the benchmark began."""

    began: float = field(default_factory=time.time)
    """Seconds since 1970 UTC, so that the processes of one benchmark can share it."""
    _said: float = field(default_factory=time.time)

    def say(self, text: str) -> None:
        """Write one line."""
        minutes, seconds = divmod(int(time.time() - self.began), 60)
        print(f"[{minutes:3}:{seconds:02}] {text}", flush=True)
        self._said = time.time()

    def progress(self, doing: str) -> Progress:
        """A Progress that writes a line with count and time left, if nothing else was written for 20 seconds."""
        started: dict[str, float] = {}

        def report(what: str, done: int, total: int) -> None:
            now = time.time()
            since = now - started.setdefault(what, now)
            if now - self._said < SECONDS_BETWEEN or since < 1 or not 0 < done < total:
                return
            self.say(f"{doing}: {what} {done:,}/{total:,}, about {readable(since / done * (total - done))} left")

        return report


def readable(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def peak_memory_mb() -> float:
    """Peak resident memory of this process in units of 10^6 bytes.

    From the kernel's own record where there is one: `getrusage` of a started process begins at its parent's peak.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as lines:  # noqa: PTH123
            kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
        return kilobytes * 1024 / 1e6
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
