"""RecTools 0.19 in the benchmark of peers: started by `peers`, in an environment of RecTools' own.

Its two paths, by the names that its change log and pull request #306 use:

- native: `SASRecModel` on a `Dataset` made of a pandas table, trained by PyTorch Lightning.
- fast: `rectools.fast_transformers`, tensors from end to end: `build_sequences`, `SequenceBatchDataset` in torch's
  DataLoader, and `FlatSASRecNet`. The package brings no trainer for this network, so the loop is ours; loss and
  negatives are those of its `UniSRecLightning`, initial weights those of its `UniSRecNet`, Adam that of the native
  path. The network's own initial weights, embeddings of variance 1, rank the last product seen first before any
  training and got worse from there (NDCG@10 .129 to .111 in three epochs of a small slice, against .001 to .092).

Either with the library's default loss, the softmax over all products, or (`-sampled`) its sampled softmax, whose
negatives are uniform and drawn anew for every position. All else is the library's default, dropout included.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.fast_transformers import FlatSASRecNet, SequenceBatchDataset, build_sequences
from rectools.models import SASRecModel
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tests.benchmarks.peers.protocol import FloatMatrix, Histories, Run, Vectors, mixed_precision, warm_up

CHECKED = 64
ADAM_BETAS = (0.9, 0.98)
"""Of the native path; the fast one leaves the optimiser to the caller."""


def sampled(run: Run) -> bool:
    """Whether this peer trains with sampled negatives."""
    return run.task.peer.endswith("-sampled")


# --- native


def interactions(histories: Histories) -> pd.DataFrame:
    """One row per event; a history is a user, the time is the event's place in it."""
    times = pd.to_datetime(histories.places, unit="s")
    columns = {Columns.User: histories.owners, Columns.Item: histories.items, Columns.Datetime: times}
    return pd.DataFrame(columns | {Columns.Weight: 1.0})


class Points(Callback):
    """Lightning's hook after every batch; it must survive the model's deep copy of its trainer as it is."""

    def __init__(self, run: Run, vectors: Callable[[], Vectors]) -> None:
        self.run, self.vectors, self.step = run, vectors, 0

    def __deepcopy__(self, _memo: object) -> Points:
        return self

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.step += 1
        if self.run.due(self.step, int(trainer.num_training_batches)):
            if not self.run.point(self.step / int(trainer.num_training_batches), self.vectors):
                trainer.should_stop = True
            pl_module.train()


def native_loader(model: SASRecModel, dataset: Dataset, users: np.ndarray[Any, Any]) -> DataLoader[Any]:
    """The batches that the library's own `recommend` would encode."""
    known = model.data_preparator.transform_dataset_u2i(dataset, users)
    return model.data_preparator.get_dataloader_recommend(known, model.recommend_batch_size)


def native_vectors(model: SASRecModel, loader: Any, device: str) -> Vectors:
    """Customers in the order of the loader's users, products in the order of ours."""
    customers, table = model.lightning_model._get_user_item_embeddings(loader, device)
    products = np.zeros((len(table) - 1, table.shape[1]), dtype=np.float32)
    products[model.data_preparator.get_known_item_ids().astype(int)] = table[1:].float().cpu().numpy()
    return customers.float().cpu().numpy(), products


def native(run: Run) -> None:
    """Train, encode and check `SASRecModel`."""
    task, data = run.task, run.data
    table, asked, test = (interactions(part) for part in (data.train, data.validation, data.test))
    asked_users, test_users = np.arange(len(data.validation)), np.arange(len(data.test))
    seed_everything(task.seed, verbose=False)
    loss = {"loss": "sampled_softmax", "n_negatives": task.own_negatives} if sampled(run) else {"loss": "softmax"}
    model = SASRecModel(
        n_blocks=task.layers,
        n_heads=task.heads,
        n_factors=task.width,
        session_max_len=task.length,
        lr=task.learning_rate,
        batch_size=task.batch_sessions,
        recommend_batch_size=task.encode_batch,
        recommend_torch_device=task.device,
        **loss,
    )

    def asked_vectors() -> Vectors:
        return native_vectors(model, native_loader(model, Dataset.construct(asked), asked_users), task.device)

    points, card = Points(run, asked_vectors), task.device == "cuda"
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    where: dict[str, Any] = {"accelerator": "gpu" if card else "cpu", "precision": "bf16-mixed" if card else "32-true"}
    model._trainer = Trainer(max_epochs=-1, callbacks=[points], enable_model_summary=False, **where, **quiet)
    run.begin()
    model.fit(Dataset.construct(table))

    dataset = Dataset.construct(test)
    vectors = run.encoding(
        "vectors", lambda: native_vectors(model, native_loader(model, dataset, test_users), task.device)[0]
    )
    batches = list(native_loader(model, dataset, test_users))
    run.encoding("vectors, batches made before", lambda: native_vectors(model, batches, task.device)[0])
    products = native_vectors(model, batches[:1], task.device)[1]
    users = test_users[:CHECKED]
    shown = model.recommend(users, dataset, k=10, filter_viewed=False).groupby(Columns.User)[Columns.Item].agg(set)
    best = np.argsort(-(vectors[users] @ products.T), axis=1, kind="stable")[:, :10]
    same = [len(shown[user] & set(best[user].tolist())) / 10 for user in users]
    run.check("share of the library's own top 10 that the vectors give", float(np.mean(same)))


# --- fast


def negatives(targets: torch.Tensor, products: int, n: int) -> torch.Tensor:
    """[B, L, n] uniform ids that are not the position's target, as the library's sampler draws them."""
    drawn = torch.randint(1, products + 1, (*targets.shape, n), device=targets.device)
    hits = drawn == targets.unsqueeze(-1)
    drawn[hits] = torch.randint(1, products + 1, (int(hits.sum()),), device=targets.device)
    return drawn


def fast_loss(net: FlatSASRecNet, batch: dict[str, torch.Tensor], run: Run) -> torch.Tensor:
    """Cross-entropy of the target among all products, or among itself and its negatives; padding does not count."""
    targets = batch["y"]
    if not sampled(run):
        return cross_entropy(net(batch).flatten(0, 1), targets.flatten() - 1, ignore_index=-1)
    logits = net(batch | {"negatives": negatives(targets, run.data.products, run.task.own_negatives)})
    return cross_entropy(logits.flatten(0, 1), torch.where(targets > 0, 0, -1).flatten(), ignore_index=-1)


def fast_customers(net: FlatSASRecNet, ids: torch.Tensor, batch: int) -> FloatMatrix:
    """[n, width] by the library's `encode_last`, from ids padded on the left."""
    net.eval()
    with torch.inference_mode(), mixed_precision(ids.device.type):
        return torch.cat([net.encode_last(rows).float() for rows in ids.split(batch)]).cpu().numpy()


def initialise(module: torch.nn.Module) -> None:
    """The initial weights of the package's other network: normal of 0.02, no bias, nothing at padding."""
    if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
        torch.nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, torch.nn.Linear) and module.bias is not None:
        torch.nn.init.zeros_(module.bias)
    if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()


def train_fast(run: Run) -> FlatSASRecNet:
    """Fit until told to stop."""
    task, data = run.task, run.data
    validation = torch.from_numpy(data.validation.padded(task.length, "left")).to(task.device)
    # Ids are dense already and the library keeps their order, so its ids are ours plus 1.
    users, items, times = (torch.from_numpy(a) for a in (data.train.owners, data.train.items, data.train.places))
    torch.manual_seed(task.seed)
    run.begin()
    x, y, *_ = build_sequences(users, items, times, max_len=task.length)
    net = FlatSASRecNet(data.products, task.width, task.layers, task.heads, task.length)
    net.apply(initialise)
    net.to(task.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=task.learning_rate, betas=ADAM_BETAS)
    loader = DataLoader(SequenceBatchDataset(x, y), batch_size=task.batch_sessions, shuffle=True)

    def vectors() -> Vectors:
        customers = fast_customers(net, validation, task.encode_batch)
        return customers, net.all_item_embeddings().detach().float().cpu().numpy()

    step = 0
    while True:
        for batch in loader:
            net.train()
            with mixed_precision(task.device):
                loss = fast_loss(net, {name: part.to(task.device) for name, part in batch.items()}, run)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            step += 1
            if run.due(step, len(loader)) and not run.point(step / len(loader), vectors):
                return net


def fast(run: Run) -> None:
    """Train, encode and check `FlatSASRecNet`."""
    # As it ships, the network encodes every padded history to NaN: torch's fast attention has no answer for a padded
    # first position, which may attend to nothing.
    torch.backends.mha.set_fastpath_enabled(False)
    net = train_fast(run)
    test = torch.from_numpy(run.data.test.padded(run.task.length, "left")).to(run.task.device)
    vectors = run.encoding("vectors", lambda: fast_customers(net, test, run.task.encode_batch))
    rows = test[:CHECKED]
    with torch.inference_mode():
        own = net({"x": rows, "y": rows})[:, -1].cpu().numpy()
        mine = vectors[:CHECKED] @ net.all_item_embeddings().cpu().numpy().T
    run.check("largest difference to the library's own scores", float(np.abs(own - mine).max()))
    torch.backends.mha.set_fastpath_enabled(True)
    broken = np.isnan(fast_customers(net, rows, run.task.encode_batch)).any(1)
    run.check("share of vectors that are NaN with torch's fast attention, as shipped", float(broken.mean()))


def main() -> None:
    warnings.simplefilter("ignore")
    run = Run(Path(sys.argv[1]))
    warm_up(run.task.threads, run.task.device)
    versions = {name: importlib.metadata.version(name) for name in ("rectools", "pytorch-lightning", "torch")}
    task = run.task
    shape = {"optimiser": "Adam", "learning_rate": task.learning_rate, "sessions per batch": task.batch_sessions}
    if sampled(run):
        shape["negatives of each position"] = task.own_negatives
    run.tell("about", versions=versions, settings=shape)
    (fast if task.peer.startswith("rectools-fast") else native)(run)


if __name__ == "__main__":
    main()
