"""What the benchmark of peers and the processes it starts agree on: data, task, clock, and a line each way.

Needs NumPy and PyTorch alone, because one peer runs in an environment without anything of ours.
A peer's process gets the path of a JSON task, writes one JSON object a line on its standard output, and after each
point of its curve waits for `on` or `stop` on its standard input. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatMatrix = npt.NDArray[np.float32]
Vectors = tuple[FloatMatrix, FloatMatrix]
"""Customers [n, d] and products [V, d] in the order of the shared vocabulary; their inner product is the score."""

ENCODE_REPEATS = 3


@dataclass(frozen=True)
class Histories:
    """n histories of dense product indexes, oldest first: history i is `items[offsets[i]:offsets[i + 1]]`."""

    offsets: IntArray
    items: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """[n], events in each."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> IntArray:
        """[events], the history of each event."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def places(self) -> IntArray:
        """[events], 0 for the first event of its history."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)

    def head(self, n: int) -> Histories:
        """The first n histories."""
        offsets = self.offsets[: n + 1]
        return Histories(offsets, self.items[: offsets[-1]])

    def padded(self, length: int, side: Literal["left", "right"]) -> IntArray:
        """[n, length]: the last `length` products plus 1 of each history, 0 where padding is, on the given side."""
        from_end = np.repeat(self.lengths, self.lengths) - self.places
        keep = from_end <= length
        kept = np.minimum(self.lengths, length)[self.owners]
        column = (length if side == "left" else kept) - from_end
        result = np.zeros((len(self), length), dtype=np.int64)
        result[self.owners[keep], column[keep]] = self.items[keep] + 1
        return result


@dataclass(frozen=True)
class Data:
    """What every peer gets. Products are indexes by falling frequency in the training sessions, all of which occur."""

    products: int
    train: Histories
    """Sessions of at least two events, cut to their last `length + 1`."""
    validation: Histories
    """Prefixes whose next product is asked for, at each point of a curve."""
    test: Histories
    """Prefixes that are turned into vectors, for the encoding speed."""

    def save(self, path: Path) -> None:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        arrays = {f"{name}_{key}": value for name, part in parts.items() for key, value in vars(part).items()}
        np.savez(path, products=np.array(self.products), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Data:
        with np.load(path, allow_pickle=False) as arrays:
            names = ("train", "validation", "test")
            parts = {name: Histories(arrays[f"{name}_offsets"], arrays[f"{name}_items"]) for name in names}
            return cls(int(arrays["products"]), **parts)


@dataclass(frozen=True)
class Task:
    """What one peer is asked to do; the same for all but for `peer`."""

    peer: str
    data: str
    """Path of the saved Data."""
    vectors: str
    """Path where the vectors of a point are left for the judge."""
    width: int
    layers: int
    heads: int
    length: int
    batch_events: int
    """Cells of a batch, padding included: a library that pads every history to `length` gets batch_events // length."""
    learning_rate: float
    """Of the peers; ours has its own default."""
    shared_negatives: int
    """Of Transformers4Rec's sampled softmax, which shares one draw among the positions of a batch."""
    own_negatives: int
    """Of RecTools' sampled softmax, which draws anew for every position."""
    seed: int
    threads: int
    budget_seconds: float
    points_per_epoch: int
    encode_batch: int
    """Histories per batch of a peer's encoding."""
    device: str = "cpu"
    """cpu or cuda, the same for all; on cuda all train in bfloat16 autocast."""
    kind: str = "transformer"
    """Ours: kind of model."""
    config: dict[str, Any] = field(default_factory=dict)
    """Ours: settings of that kind."""
    epochs: tuple[int, ...] = (1,)
    """Ours: one whole fit for each."""

    @property
    def batch_sessions(self) -> int:
        return max(1, self.batch_events // self.length)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> Task:
        values = json.loads(path.read_text("utf-8"))
        return cls(**values | {"epochs": tuple(values["epochs"])})


class Run:
    """A peer's side: its clock, which runs while the peer works and stands while it is judged, and its messages."""

    def __init__(self, task_file: Path) -> None:
        self.task = Task.load(task_file)
        self.data = Data.load(Path(self.task.data))
        self._channel = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # from here on, what a library prints is log
        self._spent, self._since = 0.0, time.perf_counter()

    def tell(self, event: str, **figures: object) -> None:
        """One message to the benchmark."""
        print(json.dumps({"event": event, **figures}), file=self._channel, flush=True)

    def begin(self) -> None:
        """Set the clock to 0 and let it run; everything from the sessions in memory to the model counts."""
        self._spent, self._since = 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """On the clock, while it runs."""
        return self._spent + time.perf_counter() - self._since

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether a point belongs after batch `step` (counted from 1 over all epochs)."""
        every = max(1, steps_per_epoch // self.task.points_per_epoch)
        return step % every == 0 or self.seconds >= self.task.budget_seconds

    def point(self, epochs: float, vectors: Callable[[], Vectors]) -> bool:
        """A point of the curve after that many passes; the clock stands. Returns whether to go on."""
        self._spent = self.seconds
        peak = peak_mib()
        customers, products = vectors()
        np.savez(self.task.vectors, customers=customers, products=products)
        self.tell("point", seconds=self._spent, epochs=epochs, peak_mib=peak)
        reply = sys.stdin.readline().strip()
        if not reply:
            raise SystemExit("the benchmark has gone away")
        self._since = time.perf_counter()
        return reply == "on"

    def encoding(self, name: str, encode: Callable[[], FloatMatrix]) -> FloatMatrix:
        """Time `encode` over the test histories: once to warm up, then the median of some repeats."""
        vectors = encode()
        took = []
        for _ in range(ENCODE_REPEATS):
            started = time.perf_counter()
            encode()
            took.append(time.perf_counter() - started)
        finite = bool(np.isfinite(vectors).all())
        rate = len(vectors) / statistics.median(took)
        self.tell("encoding", name=name, customers=len(vectors), customers_per_second=rate, finite=finite)
        return vectors

    def check(self, what: str, value: float) -> None:
        """A figure that shows that the vectors are the library's own scores."""
        self.tell("check", what=what, value=value)


def mixed_precision(device: str) -> Any:
    """What the peers compute in: bfloat16 on a card, float32 on a CPU."""
    import torch

    return torch.autocast("cuda", dtype=torch.bfloat16) if device == "cuda" else contextlib.nullcontext()


def warm_up(threads: int, device: str = "cpu") -> None:
    """Let torch do what it does once per process: the first step of any optimiser imports its compiler, some 7 s."""
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.Linear(2, 1).to(device)
    for kind in (torch.optim.Adam, torch.optim.AdamW):
        optimiser = kind(layer.parameters(), lr=0.0)
        layer(torch.ones(1, 2, device=device)).sum().backward()
        optimiser.step()
        optimiser.zero_grad()


def peak_mib() -> float:
    """Peak resident memory of this process so far; unlike getrusage's it does not start at the parent's."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: this benchmark measures memory on Linux only")
