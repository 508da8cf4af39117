"""Memory and time of the exact cross-entropy over a whole catalogue: in chunks, and with plain logits.

    python -m tests.benchmarks.softmax_memory [--pairs 4096] [--products 50000] [--width 128]

Each way runs in a process of its own, forward and backward; printed is what the peak of the process's memory rose by
over what the inputs and their gradients take, and the median seconds of three runs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import time
from multiprocessing.connection import Connection

REPEATS = 3


def measure(way: str, pairs: int, products: int, width: int, answer: Connection) -> None:
    """Send (extra peak bytes, median seconds, loss) of one way."""
    import torch
    import torch.nn.functional as F

    from models.networks.losses import LinearSoftmax

    random = torch.Generator().manual_seed(1)
    states = torch.randn(pairs, width, generator=random).div_(4).requires_grad_()
    table = torch.randn(products, width, generator=random).div_(4).requires_grad_()
    targets = torch.randint(0, products, (pairs,), generator=random)
    states.grad, table.grad = torch.zeros_like(states), torch.zeros_like(table)
    hits, weights = (torch.arange(pairs), targets), torch.full((pairs,), 1 / pairs)

    def plain() -> torch.Tensor:
        return F.cross_entropy(states @ table.T, targets)

    def chunked() -> torch.Tensor:
        wanted = (states * F.embedding(targets, table)).sum(-1)
        loss: torch.Tensor = LinearSoftmax.apply(states, table, torch.zeros(products), wanted, hits, weights)  # type: ignore[no-untyped-call]
        return loss

    before, seconds, loss = _peak(), [], torch.zeros(())
    for _ in range(REPEATS):
        began = time.perf_counter()
        loss = plain() if way == "plain" else chunked()
        loss.backward()  # type: ignore[no-untyped-call]
        seconds.append(time.perf_counter() - began)
    answer.send((_peak() - before, statistics.median(seconds), float(loss.detach())))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("pairs", 4096), ("products", 50_000), ("width", 128)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = vars(parser.parse_args())
    results = {}
    context = multiprocessing.get_context("spawn")
    for way in ("plain", "chunked"):
        ours, theirs = context.Pipe()
        process = context.Process(target=measure, args=(way, *given.values(), theirs))
        process.start()
        theirs.close()
        memory, seconds, loss = ours.recv()
        process.join()
        results[way] = {"extra_mb": memory / 1e6, "seconds": seconds, "loss": loss}
        print(f"{way:8} {memory / 1e6:8,.0f} MB  {seconds:6.2f} s  loss {loss:.6f}", flush=True)
    plain, chunked = results["plain"], results["chunked"]
    print(f"plain takes {plain['extra_mb'] / chunked['extra_mb']:.1f} times the memory and "
          f"{plain['seconds'] / chunked['seconds']:.2f} times the time of chunked")  # fmt: skip
    print(json.dumps({**given, **results}))


if __name__ == "__main__":
    main()
