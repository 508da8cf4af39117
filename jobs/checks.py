"""Compares figures with their limits, records them in the table gates, and stops the night where one fails."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.errors import GateError
from jobs.lake.lake import Lake
from jobs.lake.reading import Wanted, matching_old
from jobs.lake.rows import night
from jobs.run import Run
from jobs.tables.records import GATES
from jobs.text import clean

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


def warn(lake: Lake, run: Run, checks: Sequence[Check]) -> list[str]:
    """Record what the step report checked in place of its earlier checks of the night; it stops nothing.

    Returns the details of those that failed.
    """
    rows = [
        {
            "gate": check.gate,
            "value": check.value,
            "rule": check.rule,
            "passed": check.passed,
            "detail": check.detail,
            "step": WARNS,
            "accepted": False,
        }
        for check in checks
    ]
    lake.replace_rows(GATES, rows, run, where=f"{night(run.as_of)} AND step = '{WARNS}'")
    return [
        f"{check.gate} is {check.value:.2g}, should be {check.rule}: {check.detail}"
        for check in checks
        if not check.passed
    ]


# --- what a night's gates came to: every page and command counts them here

PASSED, FAILED, ACCEPTED, WARNED = "passed", "failed", "accepted", "warned"
WARNS = "report"
"""The step whose checks only warn: it runs when the night is live."""


def gates_of(lake: Lake, rows: Wanted) -> list[dict[str, Any]]:
    """The recorded checks of some nights, those of the input among them; older lakes lack columns, which are null."""
    return matching_old(lake, GATES, GATES.names, rows)


def outcome_of(gate: Mapping[str, Any]) -> str:
    """PASSED, FAILED, ACCEPTED: it failed and an operator let it pass, or WARNED: it failed and stops nothing.

    `gate` is a row of GATES.
    """
    if gate["accepted"]:
        return ACCEPTED
    if gate["passed"]:
        return PASSED
    return WARNED if gate["step"] == WARNS else FAILED


@dataclass(frozen=True)
class Outcomes:
    """How a night's gates came out."""

    checked: int
    failed: tuple[str, ...]
    """Gates that stopped it."""
    accepted: tuple[str, ...]
    """Gates that failed and that an operator let pass."""
    warned: tuple[str, ...] = ()
    """Gates that failed and only warn."""

    @property
    def passed(self) -> int:
        """Gates whose figure is within the limit: an accepted one is not."""
        return self.checked - len(self.failed) - len(self.accepted) - len(self.warned)

    def __str__(self) -> str:
        """84 of 87 passed; failed: NAME; accepted: NAME; warned: NAME."""
        parts = [f"{self.passed} of {self.checked} passed"]
        parts += [
            f"{word}: {', '.join(map(clean, of))}"
            for word, of in ((FAILED, self.failed), (ACCEPTED, self.accepted), (WARNED, self.warned))
            if of
        ]
        return "; ".join(parts)


def outcomes(gates: Iterable[Mapping[str, Any]]) -> Outcomes:
    """The outcomes of one night's rows of GATES."""
    found = [(row["gate"], outcome_of(row)) for row in gates]
    failed, accepted, warned = (tuple(name for name, of in found if of == word) for word in (FAILED, ACCEPTED, WARNED))
    return Outcomes(len(found), failed, accepted, warned)
