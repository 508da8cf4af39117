"""Whether a night's steps ran in their order: what was made before its input was made anew is of another night."""

from __future__ import annotations

import json
from datetime import datetime

from jobs import folders
from jobs.gate_check import Check
from jobs.lake import Lake
from jobs.run import Run
from jobs.tables import PEOPLE_ALSO_BOUGHT, RUNS, STEPS, YOU_MIGHT_ALSO_LIKE

STAGING = STEPS[: STEPS.index("gate")]


def stale_check(lake: Lake, run: Run) -> Check:
    """How many staged things are older than what they are made from, by the ledger and by the indexes' manifests."""
    ended: dict[str, datetime] = {}
    for row in lake.arrow(RUNS, ("step", "ended_at", "status"), run.as_of).to_pylist():
        if row["status"] == "done":
            ended[row["step"]] = max(row["ended_at"], ended.get(row["step"], row["ended_at"]))
    steps = [step for step in STAGING if step in ended]
    late = [
        f"{step} ran before {earlier}" for at, step in enumerate(steps) for earlier in steps[:at]
        if ended[step] < ended[earlier]
    ]  # fmt: skip
    for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT):
        path = lake.directory(folders.INDEXES, run.as_of) / table.name / "manifest.json"
        if path.is_file() and (of := json.loads(path.read_text("utf-8")).get("as_of")) != run.as_of.isoformat():
            late.append(f"the index of {table.name} is of {of}")
    detail = "; ".join(late) or "every step ran after those before it"
    return Check("stale", len(late), most=0, detail=detail)
