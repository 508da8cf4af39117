"""Exact retrieval beside its peers: `python -m tests.benchmarks.retrieval [--products 50000] [--markets 200] ..`.

Customers are searched market by market among the products that the market has; all contenders answer the same
queries in turn, several times over, and a ratio is that of two runs of one turn: of seconds by the clock, and of
processor seconds, which other programs on the machine disturb less. Ours packs a market's products
inside its time; the peers' indexes and matrices stand ready before theirs begins. Then ours alone: every customer of
every market without what was bought. What is made of the candidates is in `tests.benchmarks.lists`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from models.arrays import Rows
from models.contract import FloatMatrix
from models.search.search import exact_top_n
from tests.benchmarks.common.retrieval_shop import RetrievalShop, make_shop

OURS = "ours, exact"
HNSW_LINKS, HNSW_BUILD, WANTED_RECALL, JUDGED = 32, 80, 0.99, 200
Seconds = tuple[float, float]
"""By the clock, and of all processors together."""
Search = Callable[[FloatMatrix], Rows]
"""From queries [q, d + 1] to rows of the shop's products [q, n]."""


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("products", 50_000), ("markets", 200), ("customers", 100_000), ("dimensions", 64),
                          ("top", 100), ("repeats", 5), ("peer-markets", 3), ("hnsw-markets", 1)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    shop = make_shop(given.products, given.markets, given.customers, given.dimensions)
    exact_top_n(shop.customers(0)[:8], shop.vectors, given.top, shop.available[0])  # loads the kernels
    result: dict[str, Any] = {"settings": {key: value for key, value in vars(given).items() if key != "json"}}
    result |= compare(shop, given.top, given.repeats, given.peer_markets, given.hnsw_markets)
    result["customer lists"] = customer_lists(shop, given.top)
    result["peak memory MiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print_result(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n")
    return result


def compare(shop: RetrievalShop, n: int, repeats: int, markets: int, hnsw_markets: int) -> dict[str, Any]:
    """Every contender in every turn on the first markets; seconds are summed over the markets it takes part in."""
    markets = min(markets, len(shop.available))
    contenders: dict[str, list[Search]] = {
        name: []
        for name in (
            OURS,
            "FAISS Flat, bitmap",
            "FAISS Flat per market",
            "torch matmul + topk",
            "FAISS HNSW per market",
        )
    }
    notes = {}
    for market in range(markets):
        contenders[OURS].append(ours(shop, market, n))
        contenders["FAISS Flat, bitmap"].append(flat_with_bitmap(shop, market, n))
        contenders["FAISS Flat per market"].append(flat_per_market(shop, market, n))
        contenders["torch matmul + topk"].append(torch_top(shop, market, n))
        if market < hnsw_markets:
            search, notes[f"HNSW, market {market}"] = hnsw(shop, market, n)
            contenders["FAISS HNSW per market"].append(search)
    seconds: dict[str, list[list[Seconds]]] = {name: [] for name in contenders}
    peaks = []
    for _ in range(repeats):
        peaks.append(matmul_flops())
        for name, searches in contenders.items():
            seconds[name].append([_seconds(search, shop.customers(m)) for m, search in enumerate(searches)])
    peak = np.max(peaks, axis=0)
    table = {}
    for name, searches in contenders.items():
        if not searches:
            continue
        span = range(len(searches))
        queries = sum(len(shop.customers(m)) for m in span)
        scored = sum(len(shop.customers(m)) * int(shop.available[m].sum()) for m in span)
        took = np.array([np.sum(turn, axis=0) for turn in seconds[name]])
        own = np.array([np.sum(turn[: len(searches)], axis=0) for turn in seconds[OURS]])
        ratio, typical = took / own, np.median(took, axis=0)
        share = 2 * scored * shop.vectors.shape[1] / typical / peak
        table[name] = {
            "queries/s": round(queries / float(typical[0])),
            "ours is faster by": round(float(np.median(ratio[:, 0])), 2),
            "from": round(float(ratio[:, 0].min()), 2),
            "to": round(float(ratio[:, 0].max()), 2),
            "processor seconds of ours": round(float(np.median(ratio[:, 1])), 2),
            "share of peak": round(float(share[0]), 3),
            "share of peak, processor": round(float(share[1]), 3),
            "markets": len(searches),
        } | judge(shop, searches, n)
    rates = [round(float(rate) / 1e9, 1) for rate in peak]
    return {"matmul peak GFLOP/s": rates[0], "per processor second": rates[1], "contenders": table, "notes": notes}


def judge(shop: RetrievalShop, searches: list[Search], n: int) -> dict[str, float]:
    """Recall@n against products summed in float64, and the share of places that hold the very same product."""
    recalls, equal = [], []
    for market, search in enumerate(searches):
        queries = shop.customers(market)[:JUDGED]
        live = np.flatnonzero(shop.available[market])
        exact = queries.astype(np.float64) @ shop.vectors[live].T.astype(np.float64)
        order = np.argsort(-exact, axis=1, kind="stable")[:, :n]
        rows = search(queries)
        own = np.take_along_axis(exact, np.searchsorted(live, np.maximum(rows, 0)), axis=1)
        last = np.take_along_axis(exact, order[:, -1:], axis=1)
        recalls.append(((rows >= 0) & (own >= last - 1e-5 * np.maximum(1, np.abs(last)))).mean())
        equal.append((live[order] == rows[:, : order.shape[1]]).mean())
    return {"recall": round(float(np.mean(recalls)), 4), "same place": round(float(np.mean(equal)), 5)}


def ours(shop: RetrievalShop, market: int, n: int) -> Search:
    """The product's own call, as the nightly lists make it."""
    return lambda queries: exact_top_n(queries, shop.vectors, n, shop.available[market])[1]


def flat_with_bitmap(shop: RetrievalShop, market: int, n: int) -> Search:
    """One Flat index for all markets, filtered by a bitmap."""
    index, bits = faiss.IndexFlatIP(shop.vectors.shape[1]), np.packbits(shop.available[market], bitorder="little")
    index.add(shop.vectors)
    selector = faiss.IDSelectorBitmap(bits)
    parameters = faiss.SearchParameters(sel=selector)
    return lambda queries: index.search(queries, n, params=parameters)[1]


def flat_per_market(shop: RetrievalShop, market: int, n: int) -> Search:
    """A Flat index of the market's products."""
    live = np.flatnonzero(shop.available[market])
    index = faiss.IndexFlatIP(shop.vectors.shape[1])
    index.add(shop.vectors[live])
    return lambda queries: live[index.search(queries, n)[1]]


def torch_top(shop: RetrievalShop, market: int, n: int, batch: int = 256) -> Search:
    """A matrix product and a top-k a batch, over the market's products."""
    live = np.flatnonzero(shop.available[market])
    products = torch.from_numpy(shop.vectors[live]).T.contiguous()

    def search(queries: FloatMatrix) -> Rows:
        parts = torch.from_numpy(queries).split(batch)
        return live[np.concatenate([torch.topk(part @ products, n).indices.numpy() for part in parts])]

    return search


def hnsw(shop: RetrievalShop, market: int, n: int) -> tuple[Search, str]:
    """HNSW over the market's products, efSearch raised until it finds enough; approximate."""
    live = np.flatnonzero(shop.available[market])
    index = faiss.IndexHNSWFlat(shop.vectors.shape[1], HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = HNSW_BUILD
    began = time.perf_counter()
    index.add(shop.vectors[live])
    built = time.perf_counter() - began

    def search(queries: FloatMatrix) -> Rows:
        found = index.search(queries, n)[1]
        return np.where(found >= 0, live[found], -1)

    recall, ef = 0.0, n
    while recall < WANTED_RECALL and ef < len(live):
        ef = int(ef * 1.25)
        index.hnsw.efSearch = ef
        recall = judge_one(shop, market, search, n)
    return search, f"M {HNSW_LINKS}, built in {built:.0f} s, efSearch {ef}, recall {recall:.4f}"


def judge_one(shop: RetrievalShop, market: int, search: Search, n: int) -> float:
    """Recall@n in one market against exact search."""
    queries = shop.customers(market)[:JUDGED]
    exact = exact_top_n(queries, shop.vectors, n, shop.available[market])[1]
    found = search(queries)
    return float(np.mean([len(np.intersect1d(a, b)) / n for a, b in zip(exact, found, strict=True)]))


def matmul_flops(size: int = 1536) -> npt.NDArray[np.float64]:
    """Operations per second, and per processor second, of a square float32 matrix product: the best of three."""
    left, right = torch.rand(size, size), torch.rand(size, size)
    out = torch.empty(size, size)
    return 2 * size**3 / np.min([_seconds(lambda a: torch.mm(a, right, out=out), left) for _ in range(3)], axis=0)


def customer_lists(shop: RetrievalShop, n: int) -> dict[str, float]:
    """Every customer in every market, without what was bought."""
    began = time.perf_counter()
    for market, allowed in enumerate(shop.available):
        exact_top_n(shop.customers(market), shop.vectors, n, allowed, shop.bought(market))
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 1), "lists/s": round(len(shop.available) * len(shop.customers(0)) / seconds)}


def print_result(result: dict[str, Any]) -> None:
    """The table on the terminal."""
    print(result["settings"])
    print(f"float32 matrix product: {result['matmul peak GFLOP/s']} GFLOP/s, {result['per processor second']} per "
          "processor second; x is how many times as long as ours, cpu x the same of processor seconds")  # fmt: skip
    columns = ("queries/s", "ours is faster by", "spread", "processor seconds of ours", "share of peak",
               "share of peak, processor", "recall", "same place", "markets")  # fmt: skip
    heads = ("queries/s", "x", "spread", "cpu x", "of peak", "of cpu peak", "recall", "same", "markets")
    widths = (10, 8, 14, 8, 9, 12, 8, 9, 9)
    print(" " * 24 + "".join(f"{head:>{width}}" for head, width in zip(heads, widths, strict=True)))
    for name, row in result["contenders"].items():
        cells = row | {"spread": f"{row['from']}-{row['to']}"}
        print(f"{name:<24}" + "".join(f"{cells[c]:>{width}}" for c, width in zip(columns, widths, strict=True)))
    for key in ("notes", "customer lists", "peak memory MiB"):
        print(f"{key}: {result[key]}")


def _seconds(work: Callable[[Any], Any], given: Any) -> Seconds:
    began, computed = time.perf_counter(), time.process_time()
    work(given)
    return time.perf_counter() - began, time.process_time() - computed


if __name__ == "__main__":
    main()
