"""What a card gives: `python -m tests.benchmarks.gpu [--customers N] [--products 50000] [--json OUT]`.

1. Training: our transformer, Transformers4Rec and RecTools on the card, by the benchmark of peers on made-up sessions,
   each for `--peer-seconds`; then ours on the CPU. A peer whose environment is not there is left out, with the reason.
2. Encoding: histories to vectors, everything from arrays in memory to arrays in memory, in the night's batches of
   customers; on the card, and a part of them on the CPU.
3. Ranking: every market's customers searched among what it sells, without what they bought, as the night does; on the
   card, and some markets on the CPU.
4. Agreement: how far the card's vectors lie from the CPU's, NDCG@10 of both and how much of their lists is the same;
   whether searches find the same to the bit; recall of both.

Without a card it says so, and shows the CPU's figures alone; what bfloat16 does to vectors is then measured by the
same autocast on the CPU. Made-up data: figures are of speed and agreement, not of quality. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.contract import Compute, FloatMatrix, Recommender
from models.evaluation.metrics import from_vectors, per_customer, rank_targets
from models.networks import recommender
from models.networks.artefacts import create, restore
from models.networks.device import BF16_TOLERANCE
from models.search import search
from models.search.search import top_n_excluding
from models.sequences import Sequences
from models.vocabulary import Vocabulary
from tests.benchmarks.gpu_shop import make_histories, write_sessions
from tests.benchmarks.peers import machine
from tests.benchmarks.peers_environment import REPOSITORY, rectools_is_made
from tests.benchmarks.retrieval_shop import RetrievalShop, make_shop

OURS = "ours"
PEERS = ("transformers4rec-full", "transformers4rec-sampled", "rectools-native-sampled", "rectools-fast-sampled")
AT_ONCE, CANDIDATES = 50_000, 48
"""Customers that the night encodes and ranks at once, and candidates of a list of 24."""
CPU_SHARE = 10
"""The CPU gets one customer or market of so many: it only shows its rate."""
COMPARED = 2_000
"""Customers whose vectors and lists are compared."""


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--customers", type=int, default=1_000_000, help="to encode and to rank")
    add("--products", type=int, default=50_000)
    add("--markets", type=int, default=200)
    add("--sessions", type=int, default=60_000, help="to train on")
    add("--width", type=int, default=64)
    add("--batch-events", type=int, default=2_048, help="cells of a training batch, for all")
    add("--peer-seconds", type=float, default=30, help="of training, for each peer")
    add("--peers", default=",".join(PEERS), help="beside ours, separated by commas; empty for none")
    add("--json", type=Path, help="write everything here too")
    return parser.parse_args(words)


def card() -> str | None:
    """Its name, None where torch sees none."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    given, name = arguments(words), card()
    result: dict[str, Any] = {
        "card": name,
        "machine": machine(),
        "versions": {"torch": torch.__version__, "CUDA": torch.version.cuda},
        "settings": {key: value for key, value in vars(given).items() if key != "json"},
    }
    print(f"card: {name}" if name else "card: none, torch sees no NVIDIA GPU here; these are the CPU's figures alone")
    print(result["machine"])
    parts = {"training": training, "encoding": encoding, "ranking": ranking}
    for part, measure in parts.items():
        result[part] = measure(given, name)
        print(f"\n{part}")
        for key, value in result[part].items():
            print(f"  {key:<56} {value:>14,.6g}" if isinstance(value, float) else f"  {key:<56} {value!s:>14}")
        if given.json:  # after every part, so that a run cut short leaves what it has
            given.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return result


# --- training


def training(given: argparse.Namespace, name: str | None) -> dict[str, Any]:
    """Sessions per second of everybody, and NDCG@10 after that time."""
    wanted, found = [peer for peer in given.peers.split(",") if peer], {}
    if not rectools_is_made():
        for peer in [peer for peer in wanted if peer.startswith("rectools")]:
            found[f"{peer}, left out"] = "no environment: run tests.benchmarks.peers once where packages can be had"
            wanted.remove(peer)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "train.jsonl.gz", Path(folder) / "test.jsonl.gz"
        tested = max(1, given.sessions // 10)
        write_sessions(make_histories(given.sessions + tested, given.products, seed=1), *files, tested)
        if name:
            found |= peers(given, *files, "cuda", [OURS, *wanted]) | peers(given, *files, "cpu", [OURS])
        else:
            found |= peers(given, *files, "cpu", [OURS, *wanted])
    return found


def peers(given: argparse.Namespace, train: Path, test: Path, device: str, names: list[str]) -> dict[str, Any]:
    """Run the benchmark of peers; a peer that fails is named with its reason."""
    out = train.with_name(f"{device}.json")
    options = {
        "train": train, "test": test, "device": device, "peers": ",".join(names), "json": out, "epochs": "1",
        "budget-seconds": given.peer_seconds, "points-per-epoch": 1, "patience": 1_000, "width": given.width,
        "batch-events": given.batch_events, "encode": 2_000,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.benchmarks.peers"]
    command += [word for option, value in options.items() for word in (f"--{option}", str(value))]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if not out.exists():
        return {f"peers on {device} failed": (done.stderr or done.stdout)[-500:]}
    found: dict[str, Any] = {}
    for peer in json.loads(out.read_text("utf-8"))["peers"]:
        label = f"{peer['peer']} on {device}"
        if peer["curve"]:
            found[f"{label}, sessions/s"] = peer["sessions_per_second"]
            found[f"{label}, NDCG@10"] = peer["curve"][-1]["ndcg"]
        if peer["error"]:
            found[f"{label}, failed"] = peer["error"][-500:]
    return found


# --- encoding


def encoding(given: argparse.Namespace, name: str | None) -> dict[str, Any]:
    """Customers per second, and how far the card's vectors lie from the CPU's."""
    vocabulary = Vocabulary([f"{number:08d}" for number in range(given.products)])
    plain = create("transformer", vocabulary, Compute("cpu"), width=given.width, batch_events=given.batch_events,
                   epochs=1)  # fmt: skip
    plain.fit(make_histories(min(given.sessions, 20_000), given.products, seed=2))
    histories = make_histories(given.customers, given.products, seed=3)
    some = histories.take(np.arange(max(1, given.customers // CPU_SHARE)))
    found: dict[str, Any] = {"customers/s on the CPU": len(some) / encode(plain, some)}
    other: Recommender = plain
    if name:
        other = restore("transformer", vocabulary, plain.config(), plain.tensors(), Compute("cuda"))  # type: ignore[attr-defined]
        encode(other, some)
        torch.cuda.reset_peak_memory_stats()
        found[f"customers/s on {name}"] = len(histories) / encode(other, histories)
        found["MiB of the card at most"] = torch.cuda.max_memory_allocated() / 2**20
    return found | agreement(plain, other, make_histories(COMPARED, given.products, seed=4))


def encode(model: Recommender, histories: Sequences) -> float:
    """Seconds for all histories, in the night's batches."""
    began = time.perf_counter()
    for first in range(0, len(histories), AT_ONCE):
        model.encode(histories.take(np.arange(first, min(first + AT_ONCE, len(histories)))))
    return time.perf_counter() - began


def agreement(plain: Recommender, other: Recommender, histories: Sequences) -> dict[str, Any]:
    """`other` against `plain`; the same model is compared with itself in the CPU's bfloat16."""
    last = histories.offsets[1:] - 1
    before = histories.where(~np.isin(np.arange(len(histories.products)), last))
    targets = Sequences(
        np.arange(len(last) + 1), histories.products[last], histories.events[last], histories.times[last]
    )
    products, vectors = plain.product_vectors(), plain.encode(before)
    usual = recommender.mixed_precision
    if other is plain:
        recommender.mixed_precision = lambda _device: torch.autocast("cpu", dtype=torch.bfloat16)
    try:
        theirs = other.encode(before)
    finally:
        recommender.mixed_precision = usual
    gap = np.abs(theirs - vectors)[:, :-1]
    lists = [search.exact_top_n(each, products, 24)[1] for each in (vectors, theirs)]
    same = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(*lists, strict=True)]
    everything = np.ones(len(products), dtype=bool)

    def ndcg(customers: FloatMatrix) -> float:
        ranking = rank_targets(from_vectors(customers, products), before, targets, everything, exclude_seen=False)
        return float(per_customer(ranking, [10])["ndcg@10"].mean())

    return {
        "largest difference of a number of a vector": float(gap.max()),
        "mean difference": float(gap.mean()),
        "tolerance": BF16_TOLERANCE,
        "within it": bool(gap.max() < BF16_TOLERANCE),
        "NDCG@10, float32 on the CPU": ndcg(vectors),
        "NDCG@10, bfloat16": ndcg(theirs),
        "share of 24 places with the same products": float(np.mean(same)),
    }


# --- ranking


def ranking(given: argparse.Namespace, name: str | None) -> dict[str, Any]:
    """Customers per second, market by market, and whether both find the same."""
    shop = make_shop(given.products, given.markets, given.customers, given.width)
    few = list(range(0, given.markets, CPU_SHARE))
    rank(shop, shop.vectors, few[:1])  # loads the kernels
    seconds, plain = rank(shop, shop.vectors, few)
    found: dict[str, Any] = {"customers/s on the CPU": len(few) * shop.customers_each / seconds}
    index = search.build_index(shop.unit())
    sample = shop.unit()[:COMPARED]
    found["recall on the CPU"] = search.recall_against_exact(index, shop.unit(), sample, 24)
    if name is None:
        return found
    compute = Compute("cuda")
    rank(shop, search.placed(shop.vectors, compute), few[:1])
    began = time.perf_counter()
    on_card = search.placed(shop.vectors, compute)
    sending = time.perf_counter() - began
    seconds, lists = rank(shop, on_card, list(range(given.markets)))
    found[f"customers/s on {name}"] = given.markets * shop.customers_each / (seconds + sending)
    found["recall on the card"] = search.recall_against_exact(index, shop.unit(), sample, 24, compute)
    found["the same to the bit"] = all(lists[market] == plain[market] for market in few)
    return found


def rank(shop: RetrievalShop, vectors: Any, markets: list[int]) -> tuple[float, dict[int, bytes]]:
    """Seconds of searching the markets, without making their customers up, and what was found."""
    spent, found = 0.0, {}
    for market in markets:
        queries, (offsets, bought) = shop.customers(market), shop.bought(market)
        began = time.perf_counter()
        scores, rows = top_n_excluding(queries, vectors, CANDIDATES, offsets, bought, shop.available[market])
        spent += time.perf_counter() - began
        found[market] = scores.tobytes() + rows.tobytes()
    return spent, found


if __name__ == "__main__":
    main()
