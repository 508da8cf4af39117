"""Keeps the log of decisions about which model serves which night, and reads the registry of models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from jobs.errors import UserError
from jobs.lake import storage
from jobs.lake.lake import Lake
from jobs.lake.rows import night
from jobs.run import Run, fingerprint
from jobs.tables.records import CHAMPIONS, MODELS
from models.networks import artefacts

ModelRow = dict[str, Any]
"""A row of `models`."""
COMPARISON, PROMOTE, DEMOTE = "contest", "promote", "demote"
"""Values of `champions.decided_by`; a model comparison of the step train is stored as `contest`."""
COLUMNS = ("as_of", "decided_at", "model_id", "decided_by", "reason")


@dataclass(frozen=True)
class ChampionRecord:
    """One row of `champions`: `model_id` serves nights from `as_of` on, until the next decision."""

    as_of: date
    decided_at: datetime
    model_id: str
    decided_by: str
    reason: str

    @property
    def order(self) -> tuple[date, bool, datetime]:
        """Later nights win; for one night a person wins over a comparison, whenever that is run again."""
        return self.as_of, self.decided_by != COMPARISON, self.decided_at


def decisions(lake: Lake, up_to: date | None = None) -> list[ChampionRecord]:
    """Every decision for nights up to `up_to`, the one that holds for that night last.

    Lakes from before there was a log have champions in `models` alone: each is the decision of its own comparison.
    """
    rows = lake.arrow(CHAMPIONS, COLUMNS).to_pylist() if lake.exists(CHAMPIONS) else []
    log = [ChampionRecord(**{name: row[name] for name in COLUMNS}) for row in rows]
    logged = {record.as_of for record in log if record.decided_by == COMPARISON}
    for row in registered(lake):
        if row["champion"] and row["as_of"] not in logged:
            midnight = datetime.combine(row["as_of"], time(), UTC)
            log.append(ChampionRecord(row["as_of"], midnight, row["model_id"], COMPARISON, row["reason"] or ""))
    return [record for record in sorted(log, key=lambda each: each.order) if up_to is None or record.as_of <= up_to]


def registered(lake: Lake) -> list[ModelRow]:
    """The rows of `models`, oldest night first."""
    rows = lake.arrow(MODELS).to_pylist() if lake.exists(MODELS) else []
    return sorted(rows, key=lambda row: (row["as_of"], row["model_id"]))


def champion(lake: Lake, run: Run) -> ModelRow | None:
    """The row of `models` whose vectors serve this night; None where nothing was decided up to it.

    Raises UserError where the log names a model that the registry does not have.
    """
    log = decisions(lake, run.as_of)
    return _registered_row(lake, log[-1].model_id) if log else None


def record_comparison(lake: Lake, run: Run, model_id: str, reason: str) -> None:
    """Log the winner of a comparison, in place of an earlier one of the same night; people's decisions stay."""
    row = {"decided_at": run.started_at, "model_id": model_id, "decided_by": COMPARISON, "reason": reason}
    lake.replace_rows(CHAMPIONS, [row], run, where=f"{night(run.as_of)} AND decided_by = '{COMPARISON}'")


def promote(lake: Lake, model_id: str, first: date, reason: str, now: datetime) -> ChampionRecord | None:
    """Let a refitted model serve the nights from `first` on; None where it serves that night already.

    Raises UserError for a model that is unknown, was only compared, is newer than `first`, or whose artefact is
    missing or was changed.
    """
    row = _registered_row(lake, model_id)
    if not row["champion"]:
        raise UserError(
            f"{model_id} was only compared: it has not seen the last days before {row['as_of']} and was never fitted "
            f"on everything, so it cannot serve. Run the step train with {row['kind']} as its only candidate, which "
            "fits it on everything"
        )
    if row["as_of"] > first:
        raise UserError(
            f"{model_id} was trained on events up to {row['as_of']}, so it cannot serve the night {first}; "
            f"give --from {row['as_of']} or later"
        )
    _require_intact(lake, model_id)
    return _decide(lake, model_id, first, PROMOTE, reason, now)


def demote(lake: Lake, first: date, reason: str, now: datetime) -> ChampionRecord:
    """Let the previous champion serve the nights from `first` on.

    Raises UserError where there is none, or its artefact is missing or was changed.
    """
    served = _succession(decisions(lake, first))
    if len(served) < 2:
        there = f"{served[0]} is the only one so far" if served else "nothing was trained yet"
        raise UserError(
            f"there is no champion before that of {first} to go back to: {there}; "
            "`python -m jobs models` lists the models"
        )
    previous = served[-2]
    _registered_row(lake, previous)
    _require_intact(lake, previous)
    record = _decide(lake, previous, first, DEMOTE, reason or f"in place of {served[-1]}", now)
    assert record is not None, "the previous champion is another model"
    return record


def next_after(lake: Lake, record: ChampionRecord) -> ChampionRecord | None:
    """The decision of a later night that ends this one; None where it holds until the next decision."""
    return next((other for other in decisions(lake) if other.as_of > record.as_of), None)


def _succession(log: list[ChampionRecord]) -> list[str]:
    """The champions in the order that demotions go back in, the present one last."""
    served: list[str] = []
    for record in log:
        if record.decided_by == DEMOTE and record.model_id in served:
            del served[served.index(record.model_id) + 1 :]
        elif not served or served[-1] != record.model_id:
            served.append(record.model_id)
    return served


def _registered_row(lake: Lake, model_id: str) -> ModelRow:
    rows = registered(lake)
    found = [row for row in rows if row["model_id"] == model_id]
    if not found:
        there = ", ".join(row["model_id"] for row in rows if row["champion"]) or "none yet"
        raise UserError(f"no model is called {model_id!r}; champions so far: {there} (see `python -m jobs models`)")
    return found[-1]


def _require_intact(lake: Lake, model_id: str) -> None:
    try:
        artefacts.verify(lake.root / storage.MODELS / model_id)
    except artefacts.ArtefactError as error:
        raise UserError(f"{model_id} cannot serve: {error}") from None


def _decide(lake: Lake, model_id: str, first: date, by: str, reason: str, now: datetime) -> ChampionRecord | None:
    log = decisions(lake, first)
    if log and log[-1].model_id == model_id:
        return None
    run_id = f"{first}-{fingerprint([model_id, by, now.isoformat()])[:8]}"
    row = {"decided_at": now, "model_id": model_id, "decided_by": by, "reason": reason}
    lake.replace_rows(CHAMPIONS, [row], Run(first, run_id, now), where=f"run_id = '{run_id}'")
    return ChampionRecord(first, now, model_id, by, reason)
