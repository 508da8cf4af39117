"""One figure beside its limit, and what becomes of a step's figures: recorded in `gates`, and the night goes on or
stops.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobs.errors import GateError
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.run import Run
from jobs.tables.records import GATES

ACCEPT = "NIGHTRAIL_ACCEPT"
"""In the environment: gates that may fail on a whole night, with commas between them."""


@dataclass(frozen=True)
class Check:
    """One gate's figure beside its limit; `passed` follows from them."""

    gate: str
    value: float
    least: float | None = None
    most: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the figure keeps the limit; NaN keeps none."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def rule(self) -> str:
        """The limit in words."""
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def decide(lake: Lake, run: Run, step: str, checks: Sequence[Check], accepted: Collection[str]) -> None:
    """Record what `step` checked in the place of what it checked before.

    Raises GateError, which names figure, limit and the way to let it through, where a check failed that is not among
    the `accepted` gates.
    """
    failed = [check for check in checks if not check.passed]
    on_purpose = {check.gate for check in failed if check.gate in accepted}
    rows = [
        {"gate": c.gate, "value": c.value, "rule": c.rule, "passed": c.passed or c.gate in on_purpose,
         "detail": f"accepted on purpose; {c.detail}" if c.gate in on_purpose else c.detail,
         "step": step, "accepted": c.gate in on_purpose}
        for c in checks
    ]  # fmt: skip
    # Rows from before there were two steps have none: they are the step gate's.
    own = "(step = 'gate' OR step IS NULL)" if step == "gate" else f"step = '{step}'"
    lake.replace_rows(GATES, rows, run, where=f"{night(run.as_of)} AND {own}")
    stopping = [check for check in failed if check.gate not in on_purpose]
    if stopping:
        figures = "; ".join(f"{c.gate} is {c.value:g}, must be {c.rule} ({c.detail})" for c in stopping)
        options = " ".join(f"--accept {c.gate}" for c in stopping)
        raise GateError(
            f"the night {run.as_of} is not published: {figures}. What was live stays live. Look at the table gates; to "
            f"let it through on purpose, which is recorded: `python -m jobs {step} --as-of {run.as_of} {options}`, or "
            f"{ACCEPT}={','.join(c.gate for c in stopping)} in the environment of the whole night"
        )
