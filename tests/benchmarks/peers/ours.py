"""Our model in the benchmark of peers: `python -m tests.benchmarks.peers.ours TASK.json`, started by `peers`.

A point of the curve is a whole fit with its whole learning rate schedule, so a later point does not continue an
earlier one: its seconds are those of its own fit.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.contract import Compute
from models.networks.artefacts import create, model_class
from models.vocabulary import Vocabulary
from tests.benchmarks.peers.data import sequences
from tests.benchmarks.peers.protocol import Run, Task, warm_up

ALONE = 64


def settings(task: Task) -> dict[str, Any]:
    """The common shape in the words of our kind of model, then the settings given for it."""
    known = {field.name for field in fields(model_class(task.kind).config_class)}
    common = {
        "width": task.width,
        "layers": task.layers,
        "blocks": task.layers,
        "heads": task.heads,
        "max_length": task.length,
        "batch_events": task.batch_events,
    }
    return {name: value for name, value in common.items() if name in known} | task.config


def main() -> None:
    run = Run(Path(sys.argv[1]))
    task, data = run.task, run.data
    warm_up(task.threads, task.device)
    vocabulary = Vocabulary([f"{i:07d}" for i in range(data.products)])
    compute = Compute(task.device, task.seed)
    train, validation, test = (sequences(part) for part in (data.train, data.validation, data.test))
    shape = settings(task)
    told, before = False, 0.0
    for epochs in task.epochs:
        # The next fit is known to outlast the budget: it is not begun, because it could not be stopped half-way.
        if before * epochs > task.budget_seconds:
            break
        run.begin()
        model = create(task.kind, vocabulary, compute, **shape | {"epochs": epochs})
        model.fit(train)
        before = run.seconds / epochs
        if not told:
            config = {name: value for name, value in model.config().items() if name != "epochs"}
            run.tell("about", versions={"torch": torch.__version__}, settings={"kind": task.kind, **config})
            told = True
        if not run.point(epochs, lambda model=model: (model.encode(validation), model.product_vectors())):  # type: ignore[misc]
            break
    vectors = run.encoding("vectors", lambda: model.encode(test))
    first = np.arange(min(ALONE, len(test)))
    alone = np.concatenate([model.encode(test.take(first[i : i + 1])) for i in first])
    difference = float(np.abs(alone - vectors[first]).max())
    run.check("largest difference between a vector encoded alone and in a batch", difference)


if __name__ == "__main__":
    main()
