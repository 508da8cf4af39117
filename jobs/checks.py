"""Compares figures with their limits, records them in the table gates, and stops the night where one fails."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jobs.errors import GateError
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.run import Run
from jobs.tables.records import GATES

ACCEPT = "NIGHTRAIL_ACCEPT"
"""Environment variable: gates that may fail in a whole night, separated by commas."""


@dataclass(frozen=True)
class Check:
    """One gate's figure and its limit."""

    gate: str
    value: float
    least: float | None = None
    most: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the figure is within the limit; NaN never is."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def rule(self) -> str:
        """The limit in words."""
        bounds = (("at least", self.least), ("at most", self.most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def decide(lake: Lake, run: Run, step: str, checks: Sequence[Check], accepted: Collection[str]) -> None:
    """Record what `step` checked in place of its earlier checks of the night.

    Raises GateError, which names figure, limit and the way to accept it, where a check failed that is not among the
    `accepted` gates.
    """
    failed = [check for check in checks if not check.passed]
    on_purpose = {check.gate for check in failed if check.gate in accepted}
    rows = [
        {
            "gate": check.gate,
            "value": check.value,
            "rule": check.rule,
            "passed": check.passed or check.gate in on_purpose,
            "detail": f"accepted on purpose; {check.detail}" if check.gate in on_purpose else check.detail,
            "step": step,
            "accepted": check.gate in on_purpose,
        }
        for check in checks
    ]
    # Rows that older code wrote without a step are the step gate's.
    own = "(step = 'gate' OR step IS NULL)" if step == "gate" else f"step = '{step}'"
    lake.replace_rows(GATES, rows, run, where=f"{night(run.as_of)} AND {own}")
    stopping = [check for check in failed if check.gate not in on_purpose]
    if stopping:
        figures = "; ".join(f"{c.gate} is {c.value:g}, must be {c.rule} ({c.detail})" for c in stopping)
        options = " ".join(f"--accept {c.gate}" for c in stopping)
        raise GateError(
            f"the night {run.as_of} is not published: {figures}. What was live stays live. Look at the table gates; to "
            f"let it through on purpose, which is recorded: `python -m jobs {step} --as-of {run.as_of} {options}`, or "
            f"{ACCEPT}={','.join(c.gate for c in stopping)} in the environment of the whole night or backfill"
        )
