"""The documented stack's model: Transformers4Rec 23.12 reads Parquet through the Merlin dataloader and is evaluated
batch by batch, as its own `Trainer` does it.

`Trainer.predict` scores every product and keeps the best over the whole catalogue, which no market can use, and it
gives no vectors. So the loop here is the library's without that head: its loader, its padding to the full length, its
body in evaluation mode; what comes out goes to FAISS. That is cheaper than what is documented, which `predict` shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import torch
from deltalake import DeltaTable, write_deltalake
from merlin.io import Dataset
from merlin.schema import ColumnSchema, Schema, Tags
from transformers4rec.torch.utils.data_utils import MerlinDataLoader

from tests.benchmarks.documented_stack.task import Progress, StackTask, run_stage
from tests.benchmarks.peers.protocol import Task
from tests.benchmarks.peers.transformers4rec import COLUMN, build, products

NUMBER = "customer_number"
TRAIN_BATCH, TRAIN_STEPS, NEGATIVES = 128, 40, 1024
"""A brief fit: the quality of the vectors is not judged here."""
ENCODE_BATCH = 1024
"""Histories per batch: the fastest of 32 to 1,024 on two cores."""
PARTITION_ROWS = 100_000
"""Rows that the loader holds as tensors at once."""


def model_of(task: StackTask, items: int) -> Any:
    """The library's model in the shape of ours, with its sampled softmax."""
    shape = Task(
        "transformers4rec-sampled", "", "", task.width, task.layers, task.heads, task.length, 0, 1e-3, NEGATIVES, 0, 17,
        task.threads, 0.0, 1, ENCODE_BATCH,
    )  # fmt: skip
    return build(shape, items)


def batches(task: StackTask, size: int, shuffle: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids [b, length], 0 at padding, customer numbers [b]) from the Merlin dataloader."""
    tags = [Tags.CATEGORICAL, Tags.LIST, Tags.ITEM_ID]
    schema = Schema([
        ColumnSchema(COLUMN, dtype=np.int64, is_list=True, is_ragged=True, tags=tags),
        ColumnSchema(NUMBER, dtype=np.int64, tags=[Tags.CATEGORICAL]),
    ])  # fmt: skip
    # A frame, because the library's own Parquet engine does not work with the Dask that its other parts need here.
    rows = pd.read_parquet(f"{task.folder}/model_input", columns=[COLUMN, NUMBER])
    dask.config.set({"dataframe.convert-string": False})  # else Dask makes text of the lists
    dataset = Dataset(rows, npartitions=1 + len(rows) // PARTITION_ROWS, schema=schema)
    loader = MerlinDataLoader.from_schema(
        schema, dataset, batch_size=size, max_sequence_length=task.length, shuffle=shuffle, drop_last=False
    )
    for inputs, _ in loader:
        yield inputs[COLUMN].long(), inputs[NUMBER].flatten()


def train(task: StackTask, progress: Progress) -> None:
    """Fit briefly; not counted on either side."""
    torch.set_num_threads(task.threads)
    torch.manual_seed(17)
    model = model_of(task, len(_vocabulary(task)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for step, (ids, _) in enumerate(batches(task, TRAIN_BATCH, shuffle=True)):
        loss = model({COLUMN: ids[(ids > 0).sum(1) > 1]}, training=True)["loss"]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if not progress.tell(step + 1, TRAIN_STEPS) or step + 1 == TRAIN_STEPS:
            break
    torch.save(model.state_dict(), _weights(task))


def encode(task: StackTask, progress: Progress) -> None:
    """Tables customer_embeddings and product_embeddings."""
    model, vocabulary = _trained(task)
    body = model.heads[0].body
    known = ds.dataset(f"{task.folder}/model_input", format="parquet").to_table(columns=["customer_id", NUMBER])
    vectors, numbers, done = [], [], 0
    with torch.inference_mode():
        for ids, number in batches(task, ENCODE_BATCH, shuffle=False):
            states = body({COLUMN: ids}, training=False, testing=False)
            vectors.append(states[torch.arange(len(ids)), (ids > 0).sum(1) - 1].numpy())
            numbers.append(number.numpy())
            done += len(ids)
            if not progress.tell(done, len(known)):
                break
    place = np.argsort(known[NUMBER].to_numpy())
    at = place[np.searchsorted(known[NUMBER].to_numpy()[place], np.concatenate(numbers))]
    customers = known["customer_id"].take(pa.array(at))
    _write(task, "customer_embeddings", "customer_id", customers, np.concatenate(vectors))
    _write(task, "product_embeddings", "product_id", vocabulary, products(model))


def predict(task: StackTask, progress: Progress) -> None:
    """The documented batch prediction, for comparison: the head scores every product, the best of all are kept."""
    model, _ = _trained(task)
    model.eval()
    done = 0
    total = ds.dataset(f"{task.folder}/model_input", format="parquet").count_rows()
    with torch.inference_mode():
        for ids, _ in batches(task, ENCODE_BATCH, shuffle=False):
            torch.topk(model({COLUMN: ids}, training=False, testing=False), task.top_n, dim=-1)
            done += len(ids)
            if not progress.tell(done, total):
                break


def _trained(task: StackTask) -> tuple[Any, pa.Array]:
    torch.set_num_threads(task.threads)
    vocabulary = _vocabulary(task)
    model = model_of(task, len(vocabulary))
    model.load_state_dict(torch.load(_weights(task), weights_only=True))
    model.eval()
    return model, vocabulary


def _vocabulary(task: StackTask) -> pa.Array:
    """Product ids by number; the first one has number 1."""
    rows = DeltaTable(task.table("vocabulary")).to_pyarrow_table(columns=["product_id", "item_id"])
    return rows.sort_by("item_id")["product_id"].combine_chunks()


def _write(task: StackTask, name: str, key: str, ids: Any, vectors: npt.NDArray[np.float32]) -> None:
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    columns = {
        key: ids,
        "vector": pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).ravel())),
        "event_timestamp": pa.repeat(pa.scalar(task.published_at, pa.timestamp("us", "UTC")), len(vectors)),
    }
    write_deltalake(task.table(name), pa.table(columns), mode="overwrite")


def _weights(task: StackTask) -> Path:
    return Path(task.folder) / "model.pt"


if __name__ == "__main__":
    run_stage({"train": train, "encode": encode, "predict": predict})
