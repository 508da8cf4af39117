"""The final fits of one entrant in a process of its own, so that the peak of its memory is that entrant's.

    python -m tests.benchmarks.common.worker FOLDER

FOLDER holds a saved Problem and `job.json`; `result.npz` and `result.json` are written beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.common.fit import Contestant, is_trained, sessions_read, warm_up
from tests.benchmarks.common.judge import Judged, judge
from tests.benchmarks.common.log import Log, peak_memory_mb
from tests.benchmarks.common.problem import Entrant, IntArray, Problem
from tests.support.repository import REPOSITORY

JOB, ARRAYS, PLAIN = "job.json", "result.npz", "result.json"


@dataclass(frozen=True)
class Answers:
    """How one entrant did in one case, over its seeds."""

    rows: IntArray
    """[m], the rows of the case that are counted; the same for every entrant."""
    metrics: Mapping[str, npt.NDArray[np.float64]]
    """Name -> [seeds, m]."""
    coverage: float
    popular_share: float
    """Both averaged over the seeds; see `judge.Judged`."""


@dataclass(frozen=True)
class Outcome:
    """What the process reports."""

    entrant: Entrant
    answers: Mapping[str, Answers]
    """Case -> answers."""
    train_seconds: float
    """Of one fit: the mean over the seeds."""
    sessions_per_second: float
    """Histories read by all epochs per second of fit."""
    encode_per_second: float
    """Histories turned into vectors; for a baseline, scored against all products."""
    peak_memory_mb: float
    """Of the whole process, Python and libraries included, in 10^6 bytes."""


def give(entrant: Entrant, problem_folder: Path, seeds: list[int], log: Log) -> None:
    """Leave the job where `work` looks for it; what draws nothing at random needs no second seed."""
    job = {"entrant": entrant.plain(), "seeds": seeds if is_trained(entrant.kind) else seeds[:1], "began": log.began}
    (problem_folder / JOB).write_text(json.dumps(job), "utf-8")


def run(entrant: Entrant, problem_folder: Path, seeds: list[int], log: Log) -> Outcome:
    """Fit and judge `entrant` in another process; raises RuntimeError where that fails, its message being above."""
    give(entrant, problem_folder, seeds, log)
    command = [sys.executable, "-m", "tests.benchmarks.common.worker", str(problem_folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}, check=False)
    if done.returncode:
        raise RuntimeError(f"the final fit of {entrant.name} ended with code {done.returncode}; see above")
    return result(entrant, problem_folder)


def result(entrant: Entrant, folder: Path) -> Outcome:
    """What `work` left."""
    plain = json.loads((folder / PLAIN).read_text("utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    answers = {}
    for name, shares in plain.pop("cases").items():
        own = {key.split("\n")[1]: value for key, value in arrays.items() if key.split("\n")[0] == name}
        answers[name] = Answers(own.pop("rows"), own, **shares)
    return Outcome(entrant, answers, **plain)


def work(folder: Path) -> None:
    """Do the job that lies in `folder`, and leave its result there."""
    job = json.loads((folder / JOB).read_text("utf-8"))
    entrant, log = Entrant.of(job["entrant"]), Log(job["began"])
    problem = Problem.load(folder)
    warm_up(entrant, problem)
    counts = np.bincount(problem.train.products, minlength=problem.products)
    judged: dict[str, list[Judged]] = {}
    costs = []
    for number, seed in enumerate(job["seeds"], 1):
        doing = f"{entrant.name}: final fit {number} of {len(job['seeds'])}"
        fitted = Contestant(entrant, problem, seed, log.progress(doing))
        for asked in fitted.answers():
            found = judge(asked.row_scores, asked.case, asked.histories, counts, log.progress(doing))
            judged.setdefault(asked.case.name, []).append(found)
        read = sessions_read(problem.train, entrant.settings)
        costs.append((fitted.fit_seconds, read / fitted.fit_seconds, fitted.encode_per_second))
        log.say(f"{doing}: fitted in {fitted.fit_seconds:.1f} s")
        del fitted, asked
    write(folder, judged, [float(mean) for mean in np.mean(costs, axis=0)])


def write(folder: Path, judged: Mapping[str, list[Judged]], costs: list[float]) -> None:
    """Leave the result of all seeds where `run` looks for it."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for case, seeds in judged.items():
        arrays[f"{case}\nrows"] = seeds[0].rows
        for metric in seeds[0].metrics:
            arrays[f"{case}\n{metric}"] = np.stack([found.metrics[metric] for found in seeds])
    np.savez(folder / ARRAYS, **arrays)  # type: ignore[arg-type]
    cases = {
        case: {
            name: float(np.mean([getattr(found, name) for found in seeds])) for name in ("coverage", "popular_share")
        }
        for case, seeds in judged.items()
    }
    names = ("train_seconds", "sessions_per_second", "encode_per_second")
    plain = {"cases": cases, **dict(zip(names, costs, strict=True)), "peak_memory_mb": peak_memory_mb()}
    (folder / PLAIN).write_text(json.dumps(plain), "utf-8")


if __name__ == "__main__":
    work(Path(sys.argv[1]))
