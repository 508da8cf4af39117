"""Nightrail's model, Transformers4Rec and RecTools side by side: same data, machine, size and stopping rule.

    python -m tests.benchmarks.peers --train train.jsonl.gz --test test.jsonl.gz --json result.json

Lines of the training file are {"items": [..]} in the order of time, of the test file {"items": [..], "target": ..}.
Each peer trains in a process of its own, one after the other: on the CPU, or with `--device cuda` all on one card in
bfloat16 autocast. While it trains it is stopped now and again,
and NDCG@10 over the whole catalogue is computed from its customer and product vectors by one function for all, on
prefixes of the last 7 % of the sessions; its clock stands meanwhile. All stop by one rule: the budget is spent, or
`--patience` epochs brought nothing better, or the target is reached. Then each turns `--encode` test prefixes into
vectors. Imports are on no peer's clock, preparing its own inputs from sessions in memory is.

A library that trains by more than one loss is several peers: `-sampled` is its own sampled softmax. What each peer is
in detail stands at the top of peers_ours, peers_transformers4rec and peers_rectools.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np

from tests.benchmarks.peers.data import Prepared, ndcg_at_10, prepare
from tests.benchmarks.peers.environment import rectools_python
from tests.benchmarks.peers.protocol import Task
from tests.benchmarks.peers.report import OURS, Point, Result, lines, ratios
from tests.support.repository import REPOSITORY

MODULES = {
    OURS: "ours",
    "transformers4rec-full": "transformers4rec",
    "transformers4rec-sampled": "transformers4rec",
    "rectools-native": "rectools",
    "rectools-native-sampled": "rectools",
    "rectools-fast": "rectools",
    "rectools-fast-sampled": "rectools",
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train", type=Path, required=True)
    add("--test", type=Path, required=True)
    add("--peers", default=",".join(MODULES), help="which ones, separated by commas; all by default")
    add("--sessions", type=int, help="only the first so many training sessions, for a trial")
    add("--budget-seconds", type=float, default=1800, help="of training, for each peer")
    add("--patience", type=float, default=2, help="epochs without a better NDCG@10 before a peer stops")
    add("--target-ndcg", type=float, help="stop a peer here, and report the seconds to it")
    add("--points-per-epoch", type=int, default=4, help="of a peer's curve; ours has whole epochs only")
    add("--width", type=int, default=128)
    add("--layers", type=int, default=2)
    add("--heads", type=int, default=4)
    add("--length", type=int, default=20, help="events of history")
    add("--batch-events", type=int, default=2560, help="cells of a training batch, padding included")
    add("--learning-rate", type=float, default=1e-3, help="of the peers; 0.001 is RecTools' default")
    add("--shared-negatives", type=int, default=512, help="of transformers4rec-sampled")
    add("--own-negatives", type=int, default=32, help="of each position, for rectools-*-sampled")
    add("--kind", default="transformer", help="which of our models")
    add("--config", type=json.loads, default={}, help="settings of our model, as JSON")
    add("--epochs", default="1,2,3,4,5,6,8,10,12", help="ours: a whole fit for each")
    add("--encode", type=int, default=20_000, help="test prefixes to turn into vectors")
    add("--encode-batch", type=int, default=256, help="histories per batch of a peer; 256 is RecTools' default")
    add("--threads", type=int, default=os.cpu_count() or 1)
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--seed", type=int, default=17)
    add("--json", type=Path, help="write everything here too")
    given = parser.parse_args()
    if unknown := sorted(set(given.peers.split(",")) - set(MODULES)):
        parser.error(f"there is no peer {', '.join(unknown)}; there are {', '.join(MODULES)}")
    return given


def task_of(given: argparse.Namespace, scratch: Path) -> Task:
    """What all peers are asked; the peer's name is filled in for each."""
    same = {name: value for name, value in vars(given).items() if name in Task.__dataclass_fields__}
    epochs = tuple(int(epoch) for epoch in given.epochs.split(","))
    files = {"data": str(scratch / "data.npz"), "vectors": str(scratch / "vectors.npz")}
    return Task(peer="", **same | files | {"epochs": epochs})


def run_peer(task: Task, prepared: Prepared, given: argparse.Namespace, scratch: Path) -> Result:
    """Start the peer's process, answer its points, and collect what it tells."""
    python = str(rectools_python()) if task.peer.startswith("rectools") else sys.executable
    file, log = scratch / f"{task.peer}.json", scratch / f"{task.peer}.log"
    task.save(file)
    threads = {name: str(task.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    # A waiting thread must not spin; on the CPU there is no GPU, also where there is one.
    hidden = {} if task.device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | threads | hidden
    result = Result(task.peer, len(prepared.data.train))
    print(f"\n{task.peer}", flush=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, "-m", f"tests.benchmarks.peers.{MODULES[task.peer]}", str(file)],
            cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        try:
            _listen(process.stdout, process.stdin, result, task, prepared, given)
        except ValueError as problem:  # vectors that are not finite: the peer's failure, not the benchmark's
            result.error = str(problem)
        finally:
            process.stdin.close()
            if result.error:
                process.kill()
            code = process.wait()
    if code and result.error is None:
        result.error = f"exit code {code}; its last words:\n{log.read_text('utf-8', 'replace')[-2000:]}"
    return result


def _listen(
    heard: IO[str], answer: IO[str], result: Result, task: Task, prepared: Prepared, given: argparse.Namespace
) -> None:
    for line in heard:
        message: dict[str, Any] = json.loads(line)
        event = message.pop("event")
        if event == "point":
            with np.load(task.vectors, allow_pickle=False) as vectors:
                ndcg = ndcg_at_10(vectors["customers"], vectors["products"], prepared)
            point = Point(message["seconds"], message["epochs"], ndcg)
            result.curve.append(point)
            result.peak_mib = message["peak_mib"]
            print(f"  {point.seconds:9.1f} s  {point.epochs:6.2f} epochs  NDCG@10 {ndcg:.4f}", flush=True)
            answer.write("on\n" if goes_on(result, given) else "stop\n")
            answer.flush()
        elif event == "about":
            result.about = message
            print(f"  {json.dumps(message)}", flush=True)
        elif event == "encoding":
            result.encoding[message["name"]] = message["customers_per_second"]
            print(f"  {message['name']}: {message['customers_per_second']:,.0f} customers/s", flush=True)
            if not message["finite"]:
                raise ValueError("some of the test vectors are NaN or infinite")
        elif event == "check":
            result.checks[message["what"]] = message["value"]


def goes_on(result: Result, given: argparse.Namespace) -> bool:
    """The stopping rule, the same for all."""
    last = result.curve[-1]
    reached = given.target_ndcg is not None and last.ndcg >= given.target_ndcg
    stale = last.epochs - result.best.epochs >= given.patience
    return not (reached or stale or last.seconds >= given.budget_seconds)


def machine() -> dict[str, Any]:
    """Where this runs."""
    names = [line for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines() if line.startswith("model name")]
    processor = names[0].partition(":")[2].strip() if names else platform.machine()
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version(), "when": when}


def main() -> None:
    given = arguments()
    prepared = prepare(given.train, given.test, given.length, given.seed, given.encode, given.sessions)
    print(f"{machine()}\n{prepared.about}", flush=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        task = task_of(given, scratch)
        prepared.data.save(Path(task.data))
        for peer in given.peers.split(","):
            results.append(run_peer(replace(task, peer=peer), prepared, given, scratch))
            if given.json:  # after every peer, so that a run cut short leaves what it has
                given.json.write_text(json.dumps(document(given, prepared, results), indent=1), "utf-8")
    print("\n".join(lines(results, given.target_ndcg)))
    if any(result.error for result in results):
        raise SystemExit(1)


def document(given: argparse.Namespace, prepared: Prepared, results: list[Result]) -> dict[str, Any]:
    """Everything as JSON values."""
    ours = next((r for r in results if r.peer == OURS and r.curve), None)
    compared = {r.peer: ratios(ours, r) for r in results if ours and r is not ours and r.curve}
    settings = {name: value.name if isinstance(value, Path) else value for name, value in vars(given).items()}
    rows = [result.plain() for result in results]
    return {
        "machine": machine(), "settings": settings, "data": prepared.about, "peers": rows, "against_ours": compared
    }  # fmt: skip


if __name__ == "__main__":
    main()
