"""Transformers4Rec 23.12 in the benchmark of peers: started by `peers` with the path of a task.

All of it is the library's: input features, causal masking, GPT-2 block, weight-tied next-item head and its loss, by
full softmax or by its own sampled softmax, with its defaults (dropout 0.3, embeddings from a normal of 0.05). Ours is
only the loop around `model(batch, training=True)`: batches are slices of one tensor padded in advance to the full
length, which its own loader would pad again in every epoch; its Trainer's extra work is not counted against it.

GPT-2 and not XLNet, because XLNet with causal masking reads later events (the library's issues #746, #761).
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers4rec.torch as tr
from merlin.schema import ColumnSchema, Schema, Tags

from tests.benchmarks.peers.protocol import FloatMatrix, Histories, Run, Task, Vectors, mixed_precision, warm_up

COLUMN = "product"
SCORED = 256


def build(task: Task, products: int) -> Any:
    """The library's Model; product i has the id i + 1, 0 is padding, and ids fall in frequency as its sampler asks."""
    column = ColumnSchema(
        COLUMN,
        dtype=np.int64,
        is_list=True,
        tags=[Tags.ITEM_ID, Tags.CATEGORICAL],
        properties={"domain": {"min": 0, "max": products}, "value_count": {"min": 0, "max": task.length}},
    )
    inputs = tr.TabularSequenceFeatures.from_schema(
        Schema([column]),
        max_sequence_length=task.length,
        embedding_dims={COLUMN: task.width},
        aggregation="concat",
        masking="causal",
    )
    shape = tr.GPT2Config.build(
        d_model=task.width, n_head=task.heads, n_layer=task.layers, total_seq_length=task.length
    )
    body = tr.SequentialBlock(inputs, tr.TransformerBlock(shape, masking=inputs.masking))
    sampled = task.peer.endswith("-sampled")
    goal = tr.NextItemPredictionTask(
        weight_tying=True, sampled_softmax=sampled, max_n_samples=task.shared_negatives, metrics=[]
    )
    return tr.Model(tr.Head(body, goal, inputs=inputs))


def padded(histories: Histories, task: Task) -> torch.Tensor:
    """[n, length] ids on the task's device, padded on the right as the library does."""
    return torch.from_numpy(histories.padded(task.length, "right")).to(task.device)


def customers(model: Any, ids: torch.Tensor, batch: int) -> FloatMatrix:
    """[n, width], the hidden state after the last event of each row of `ids`, by the library's inference mode."""
    model.eval()
    body = model.heads[0].body
    found = []
    with torch.inference_mode(), mixed_precision(ids.device.type):
        for rows in ids.split(batch):
            states = body({COLUMN: rows}, training=False, testing=False)
            found.append(states[torch.arange(len(rows), device=ids.device), (rows > 0).sum(1) - 1].float())
    return torch.cat(found).cpu().numpy()


def products(model: Any) -> FloatMatrix:
    """[V, width], the tied table without its padding row."""
    return model.heads[0].body.inputs.item_embedding_table.weight.detach()[1:].cpu().numpy().copy()


def train(run: Run) -> Any:
    """Fit until told to stop."""
    task = run.task
    validation = padded(run.data.validation, task)

    def vectors() -> Vectors:
        return customers(model, validation, task.encode_batch), products(model)

    torch.manual_seed(task.seed)
    run.begin()
    ids = padded(run.data.train, task)
    model = build(task, run.data.products).to(task.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=task.learning_rate, weight_decay=0.0)
    step = 0
    while True:
        batches = torch.randperm(len(ids)).to(task.device).split(task.batch_sessions)
        for rows in batches:
            model.train()
            with mixed_precision(task.device):
                loss = model({COLUMN: ids[rows]}, training=True)["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
            if run.due(step, len(batches)) and not run.point(step / len(batches), vectors):
                return model


def main() -> None:
    run = Run(Path(sys.argv[1]))
    task = run.task
    warm_up(task.threads, task.device)
    versions = {name: importlib.metadata.version(name) for name in ("transformers4rec", "transformers", "torch")}
    shape = {"optimiser": "AdamW", "learning_rate": task.learning_rate, "sessions per batch": task.batch_sessions}
    if task.peer.endswith("-sampled"):
        shape["negatives, shared by a batch"] = task.shared_negatives
    run.tell("about", versions=versions, settings=shape)
    model = train(run)
    test = padded(run.data.test, task)
    vectors = run.encoding("vectors", lambda: customers(model, test, task.encode_batch))
    with torch.inference_mode():
        scores = model({COLUMN: test[:SCORED]}, training=False)
    own = np.asarray(scores)[:, 1:]
    difference = np.abs(own - vectors[:SCORED] @ products(model).T).max()
    run.check("largest difference to the library's own scores", float(difference))


if __name__ == "__main__":
    main()
