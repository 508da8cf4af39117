"""One step of `tests.benchmarks.night` in its own process: prints what it took as one line of JSON."""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import resource
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from jobs.cli.common import set_process_defaults
from jobs.lake.storage import staged_folder
from tests.support.repository import REPOSITORY

LEARNED_FROM = 50_000
"""Customers that the model is fitted on."""


def main() -> None:
    """Run the step that the arguments name."""
    step, as_of, root, raw, engine = sys.argv[1:6]
    set_process_defaults()
    os.environ.setdefault("NIGHTRAIL_FEAST", str(Path(root) / "feast"))
    profile = cProfile.Profile()
    began = time.perf_counter()
    profile.enable()
    counts = _run(step, date.fromisoformat(as_of), Path(root), Path(raw), engine)
    profile.disable()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print()
    print(json.dumps({
        "step": step, "seconds": time.perf_counter() - began, "processor_seconds": used.ru_utime + used.ru_stime,
        "rows": max(counts.rows_in, counts.rows_out), "memory_mb": used.ru_maxrss / 1024, "note": counts.note,
        "spent": spent(profile),
    }))  # fmt: skip
    sys.stdout.flush()
    os._exit(0)


def _run(step: str, as_of: date, root: Path, raw: Path, engine: str) -> Any:
    from jobs.cli.common import feature_store_file
    from jobs.config import standard
    from jobs.lake.engine import start
    from jobs.lake.lake import Lake
    from jobs.nights.ledger import run_step
    from jobs.run import Run

    config = standard(REPOSITORY / "jobs" / "sources" / "sample.sql", raw)
    accepted = [name for name in os.environ.get("NIGHTRAIL_ACCEPT", "").split(",") if name]
    publish = replace(config.publish, feature_store=feature_store_file())
    config = replace(config, gate=replace(config.gate, accepted=accepted), publish=publish)
    remote, log = os.environ.get("SPARK_REMOTE"), root / "spark.log"
    lake = Lake(root, lambda: start(engine, remote, log), on_executors=engine == "spark")  # type: ignore[arg-type]
    root.mkdir(parents=True, exist_ok=True)
    run = Run(as_of, f"{as_of}-bench", datetime.now(UTC), clock=time.monotonic)
    if step == "train":
        return _fit_briefly(lake, run)
    return run_step(step, lake, run, config, "benchmark", lambda: datetime.now(UTC))


def _fit_briefly(lake: Any, run: Any) -> Any:
    """A transformer fitted on some customers, written as the champion; nothing where there is one."""
    from jobs.model_inputs import HISTORY_COLUMNS as COLUMNS
    from jobs.model_inputs import product_ids_seen, read_features, to_histories
    from jobs.run import Counts
    from jobs.tables.records import MODELS
    from jobs.tables.shop import CUSTOMER_SEQUENCES
    from jobs.train.champions import champion
    from models.contract import Compute
    from models.networks import artefacts
    from models.vocabulary import Vocabulary

    if champion(lake, run):
        return Counts(note="a model is there")
    vocabulary = Vocabulary.build(product_ids_seen(lake, run.as_of))
    stored = lake.batches(CUSTOMER_SEQUENCES, COLUMNS, run.as_of, LEARNED_FROM)
    histories = to_histories(next(batch for batch in stored if batch.num_rows), vocabulary)
    model = artefacts.create("transformer", vocabulary, Compute("auto", 17), epochs=1)
    model.fit(histories.sequences, read_features(lake, run.as_of, vocabulary), run.progress)
    model_id = f"transformer-{run.run_id}"
    artefacts.write(model, lake.root / "models" / model_id, {"as_of": run.as_of.isoformat()}, staged_folder)
    row = {"model_id": model_id, "kind": "transformer", "champion": True, "ndcg": 1.0, "reason": "for the benchmark"}
    lake.replace_rows(MODELS, [row], run)
    return Counts(len(histories.customers), 1, note=f"{model_id} fitted on {len(histories.customers):,} customers")


def spent(profile: cProfile.Profile) -> dict[str, float]:
    """Seconds of the main thread by kind: imports, our own Python, everything else."""
    found = {"imports": 0.0, "our Python": 0.0, "libraries": 0.0}
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if "importlib" in file or name in ("<built-in method marshal.loads>", "<built-in method _imp.create_dynamic>",
                                           "<built-in method _imp.exec_dynamic>"):  # fmt: skip
            found["imports"] += own
        elif file.startswith(str(REPOSITORY)) and "site-packages" not in file:
            found["our Python"] += own
        else:
            found["libraries"] += own
    return found


if __name__ == "__main__":
    main()
