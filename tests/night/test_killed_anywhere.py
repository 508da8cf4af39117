"""A night killed by `kill -9` at any point: nothing half-published is seen, and the same step again finishes it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from jobs.steps import STEPS
from jobs.tables.records import RUNS
from tests.support.faults.harness import KILLED, Nights, copied, sample
from tests.support.faults.state import describe, differences
from tests.support.nights import FIRST, SECOND, Shop, feast_below

POINTS = int(os.environ.get("NIGHTRAIL_KILL_POINTS", "8"))
"""Points at which each step of each night is killed; a very large number means all."""
NIGHTS = ("first", "second", "second again")
"""The first night of a lake, the next one over it while it is live, and that one again while itself is live."""


@dataclass
class Undisturbed:
    """Lakes as they were before each step of nights that nobody killed, and the points each step came by."""

    nights: Nights
    folder: Path
    raw: dict[date, Path]
    points: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def before(self, night: str, step: str) -> Path:
        """The lake before a step."""
        return self.folder / night / step

    def after(self, night: str, step: str) -> Path:
        """The lake after a step, which is the one before the next."""
        steps = [(name, each) for name in NIGHTS for each in STEPS]
        following = steps.index((night, step)) + 1
        return self.before(*steps[following]) if following < len(steps) else self.folder / "end"

    def make(self) -> None:
        """Run the nights."""
        live = self.folder / "end"
        for night in NIGHTS:
            as_of = night_of(night)
            for step in STEPS:
                if live.exists():
                    copied(live, self.before(night, step))
                else:
                    self.before(night, step).mkdir(parents=True)
                status, points, said = self.nights.run(live, (step,), as_of, self.raw[as_of])
                assert status == 0, said[-3000:]
                self.points[night, step] = points


def night_of(name: str) -> date:
    """The date of one of NIGHTS."""
    return FIRST if name == "first" else SECOND


@pytest.fixture(scope="module")
def undisturbed(
    nights: Nights, raw: Path, raw_with_a_new_day: Path, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    """The nights as they should come out."""
    made = Undisturbed(nights, tmp_path_factory.mktemp("undisturbed"), {FIRST: raw, SECOND: raw_with_a_new_day})
    made.make()
    return made


@pytest.fixture(scope="module")
def state(undisturbed: Undisturbed) -> Any:
    """state(lake): its description, made once."""
    return cache(undisturbed.nights.describe)


def seen_of(described: dict[str, Any]) -> dict[str, Any]:
    """What services and analysts see."""
    return {name: described[name] for name in ("published", "online")}


def mixed(seen: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What neither the old nor the new night is, for each reader of its own."""
    return [
        f"{reader} is no whole night: {', '.join(list(differences(seen[reader], after[reader]))[:3])}"
        for reader in ("published", "online")
        if seen[reader] not in (before[reader], after[reader])
    ]


@pytest.mark.soak
def test_there_are_enough_points(undisturbed: Undisturbed) -> None:
    assert sum(min(len(found), POINTS) for found in undisturbed.points.values()) >= 40
    places = {name.split(" #")[0] for found in undisturbed.points.values() for name in found}
    assert len(places) >= 100
    for kind in ("before commit of", "after batch", "after the last batch", "within save_file", "within write_index",
                 "within write_text", "within rmtree", "after commit of published", "of the online store"):  # fmt: skip
        assert any(kind in name for name in places), f"no point {kind}"


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("which", NIGHTS)
def test_a_step_killed_anywhere_is_finished_by_running_it_again(
    which: str, step: str, undisturbed: Undisturbed, state: Any, tmp_path: Path
) -> None:
    before, after = state(undisturbed.before(which, step)), state(undisturbed.after(which, step))
    as_of, nights = night_of(which), undisturbed.nights
    wrong = []
    for point in sample(undisturbed.points[which, step], POINTS):
        root = copied(undisturbed.before(which, step), tmp_path / "lake")
        status, _, said = nights.run(root, (step,), as_of, undisturbed.raw[as_of], point)
        assert status == KILLED, f"not killed {point}: {said[-2000:]}"
        wrong += [f"killed {point}: {fault}" for fault in mixed(nights.describe(root, True), before, after)]
        status, _, said = nights.run(root, (step,), as_of, undisturbed.raw[as_of])
        if status:
            wrong.append(f"killed {point}: run again it ends with {status}: {said[-500:]}")
            continue
        wrong += [f"killed {point}, run again: {each}" for each in differences(nights.describe(root), after)]
    assert not wrong, "\n".join(wrong)


KILLS = (
    (("ingest",), "after a Spark write #1"),
    (("ingest", "sequences", "train", "embed", "index"), "within save_file indexes/*"),
    (("index", "lists"), "after the last batch for recommended_for_you #1"),
    (("lists", "audiences", "gate", "publish"), "before commit of published #1"),
    (("publish",), "after commit of published #1"),
    (("publish", "report"), "within write_bytes reports/*"),
)
"""(steps that are run, where the last of them is killed), one after the other: the whole of it is one night."""


@pytest.mark.soak
def test_a_night_killed_six_times_ends_as_if_undisturbed(
    night: Shop, second_night: Shop, nights: Nights, raw_with_a_new_day: Path, tmp_path: Path
) -> None:
    root = tmp_path / "lake"
    shutil.copytree(night.lake.root, root)
    with feast_below(night.lake.root):
        before = describe(night.lake.root, True)
    with feast_below(second_night.lake.root):
        after = describe(second_night.lake.root)
    for steps, point in KILLS:
        status, _, said = nights.run(root, steps, SECOND, raw_with_a_new_day, point)
        assert status == KILLED, f"not killed {point}: {said[-2000:]}"
        with feast_below(root):
            assert mixed(describe(root, True), before, after) == [], point
    done = {row["step"] for row in second_night.rows(RUNS, SECOND)}
    left = tuple(step for step in STEPS[STEPS.index("report") :] if step in done)
    status, _, said = nights.run(root, left, SECOND, raw_with_a_new_day)
    assert status == 0, said[-2000:]
    with feast_below(root):
        assert list(differences(describe(root), after)) == []
