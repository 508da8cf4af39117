"""Finds the exact top N by inner product in one pass, and stores only scores over a query's limit.

Products are in panels [panels, d, 16], queries in blocks [blocks, d, 6]; one tile is 6 x 16 scores. Every score is the
same sum in the same order wherever its product is, so equal vectors tie exactly, at any size and in any batch. A
candidate is one integer: score above, complement of the row below. So larger is better, and no two are equal. All of it
is in one module, because numba compiles a function again only when its own file changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from models.arrays import BoolMask, Rows
from models.contract import FloatMatrix

ROWS, COLUMNS = 6, 16
"""Queries and products of a tile; it fills the vector registers of AVX2: 12 of sums, 2 of products, 1 of a query."""
GROUP = 4
"""Panels that stay in the first-level cache while all queries pass over them."""
HALF = ROWS // 2 * COLUMNS
SIGN = np.uint32(0x80000000)
LOW = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)

Panels = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint64]
IR = Any
"""A value or builder of llvmlite or numba's typing, which have no type annotations."""
PackedPanels = tuple[Panels, Rows]
"""(product vectors [panels, d, 16], the row of each place [panels * 16], -1: none)."""
CutPlan = tuple[Rows, Rows]
"""(stops, ranks): after panel stops[j] all candidates but the ranks[j] best are dropped; the last stop is the number of
panels, the last rank is n."""
TopLists = tuple[FloatMatrix, Rows, BoolMask]
"""(scores [q, n], rows [q, n], settled [q]), filled in place; a query is not settled where a guessed limit was too high
for n products: it needs one stop alone."""
QueryState = tuple[npt.NDArray[np.float32], Rows, Keys]
"""(limits [queries], the least score that is still of use; candidates held [queries]; their keys [queries, room])."""


@intrinsic
def _tile_intrinsic(
    typing: IR, queries: IR, query_at: IR, panels: IR, panel_at: IR, d: IR, limits: IR, limit_at: IR, tile: IR
) -> IR:
    """Write a tile's scores; the bits of those at or over their query's limit come back in two halves."""
    signature = types.UniTuple(types.uint64, 2)(  # type: ignore[no-untyped-call]
        queries, query_at, panels, panel_at, d, limits, limit_at, tile
    )

    def generate(context: IR, builder: IR, signature: IR, args: IR) -> IR:
        arrays = [context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2, 5, 7)]
        starts = [context.cast(builder, args[i], signature.args[i], types.int64) for i in (1, 3, 6)]
        depth = context.cast(builder, args[4], signature.args[4], types.int64)
        sums = _multiply(builder, arrays[0], starts[0], arrays[1], starts[1], depth)
        halves = _compare(builder, sums, arrays[2], starts[2], arrays[3])
        return context.make_tuple(builder, signature.return_type, halves)

    return signature, generate


WIDE = ir.VectorType(ir.FloatType(), COLUMNS)


def _multiply(builder: IR, queries: IR, query_at: IR, panels: IR, panel_at: IR, depth: IR) -> list[IR]:
    """The loop over dimensions, with a vector of 16 sums for each of 6 queries; `depth` is at least 1."""
    fma = builder.module.declare_intrinsic("llvm.fmuladd.v16f32", fnty=ir.FunctionType(WIDE, [WIDE] * 3))
    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(ir.IntType(64))
    k.add_incoming(_int(0), entry)
    before = [builder.phi(WIDE) for _ in range(ROWS)]
    product = builder.load(_vector_at(builder, panels, builder.add(panel_at, builder.mul(k, _int(COLUMNS)))), align=4)
    first = builder.add(query_at, builder.mul(k, _int(ROWS)))
    after = []
    for row, total in enumerate(before):
        total.add_incoming(ir.Constant(WIDE, [0.0] * COLUMNS), entry)
        value = builder.load(builder.gep(queries, [builder.add(first, _int(row))]))
        after.append(builder.call(fma, [_splat(builder, value), product, total]))
    following = builder.add(k, _int(1))
    for total, value in zip(before, after, strict=True):
        total.add_incoming(value, loop)
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
    builder.position_at_end(done)
    return after


def _compare(builder: IR, sums: list[IR], limits: IR, limit_at: IR, tile: IR) -> list[IR]:
    halves = [_int(0), _int(0)]
    for row, total in enumerate(sums):
        builder.store(total, _vector_at(builder, tile, _int(row * COLUMNS)), align=4)
        limit = builder.load(builder.gep(limits, [builder.add(limit_at, _int(row))]))
        reaching = builder.bitcast(builder.fcmp_ordered(">=", total, _splat(builder, limit)), ir.IntType(COLUMNS))
        shift = _int(row % (ROWS // 2) * COLUMNS)
        half = row // (ROWS // 2)
        halves[half] = builder.or_(halves[half], builder.shl(builder.zext(reaching, ir.IntType(64)), shift))
    return halves


def _int(value: int) -> IR:
    return ir.Constant(ir.IntType(64), value)


def _splat(builder: IR, value: IR) -> IR:
    nothing = ir.Constant(WIDE, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS))


def _vector_at(builder: IR, base: IR, at: IR) -> IR:
    return builder.bitcast(builder.gep(base, [at]), WIDE.as_pointer())


@intrinsic
def _bit_intrinsic(typing: IR, bits: IR) -> IR:
    """Position of the lowest bit that is set; there must be one."""

    def generate(context: IR, builder: IR, signature: IR, args: IR) -> IR:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


# Compiled code calls them without the typing context, which their definitions take first.
_score_tile: IR = _tile_intrinsic
_lowest_bit: IR = _bit_intrinsic


@njit(nogil=True, cache=True)
def pack_products(vectors: FloatMatrix, order: Rows, panels: Panels, first: int, last: int) -> None:
    """Fill panels [first, last) of [panels, d, 16] with the vectors [p, d] at `order`, -1: zeros."""
    flat, d = vectors.reshape(-1), vectors.shape[1]
    starts = np.zeros(COLUMNS, np.int64)
    for panel in range(first, last):
        for column in range(COLUMNS):
            starts[column] = max(order[panel * COLUMNS + column], 0) * d
        for k in range(d):  # 16 rows side by side: their cache lines are fetched at once
            for column in range(COLUMNS):
                panels[panel, k, column] = flat[starts[column] + k]
        for column in range(COLUMNS):
            if order[panel * COLUMNS + column] < 0:
                panels[panel, :, column] = 0


@njit(nogil=True, cache=True)
def _pack_queries(queries: FloatMatrix, chosen: Rows) -> npt.NDArray[np.float32]:
    d = queries.shape[1]
    packed = np.zeros(((len(chosen) + ROWS - 1) // ROWS, d, ROWS), np.float32)
    for i in range(len(chosen)):
        for k in range(d):
            packed[i // ROWS, k, i % ROWS] = queries[chosen[i], k]
    return packed.reshape(-1)


@njit(nogil=True, cache=True)
def _key(score: np.float32, row: int) -> np.uint64:
    bits = np.float32(score + np.float32(0)).view(np.uint32)  # the sum makes -0 the 0 that it ties with
    rising = np.uint32(~bits if bits & SIGN else bits | SIGN)
    return (np.uint64(rising) << WORD) | (LOW - np.uint64(row))


@njit(nogil=True, cache=True)
def _score(key: np.uint64) -> np.float32:
    rising = np.uint32(key >> WORD)
    return np.uint32(rising & ~SIGN if rising & SIGN else ~rising).view(np.float32)


@njit(nogil=True, cache=True)
def _cut(keys: Keys, held: int, n: int) -> np.float32:
    """Move the n largest of keys[:held] to the front, n <= held; the score of the least of them."""
    low, high = 0, held - 1
    while low < high:
        first, middle, last = keys[low], keys[(low + high) >> 1], keys[high]
        pivot = max(min(first, middle), min(max(first, middle), last))
        i, j = low, high
        while i <= j:
            while keys[i] > pivot:
                i += 1
            while keys[j] < pivot:
                j -= 1
            if i <= j:
                keys[i], keys[j] = keys[j], keys[i]
                i += 1
                j -= 1
        if n - 1 <= j:
            high = j
        elif n - 1 >= i:
            low = i
        else:
            break
    least = keys[0]
    for i in range(1, n):
        least = min(least, keys[i])
    return _score(least)


@njit(nogil=True, cache=True)
def _holds(rising: Rows, first: int, last: int, value: int) -> bool:
    """Whether rising[first:last] holds the value."""
    end = last
    while first < last:
        middle = (first + last) >> 1
        if rising[middle] < value:
            first = middle + 1
        else:
            last = middle
    return first < end and rising[first] == value


@njit(nogil=True, cache=True)
def best_of_queries(
    queries: FloatMatrix,
    chosen: Rows,
    products: PackedPanels,
    plan: CutPlan,
    excluded: tuple[Rows, Rows],
    lists: TopLists,
) -> None:
    """Fill the lists of the chosen queries with their best products, as far as there are any.

    `excluded` are (offsets, rows): query i gets none of the rising rows `rows[offsets[i]:offsets[i + 1]]`. After each
    stop but the last, the worst of the candidates that stay is the limit for the products that follow.
    """
    (stops, ranks), (scores, rows, settled) = plan, lists
    count, last_phase = len(chosen), len(stops) - 1
    limits = np.full((count + ROWS - 1) // ROWS * ROWS, -np.inf, np.float32)
    limits[count:] = np.inf
    guessed = np.full(count, -np.inf, np.float32)
    held = np.zeros(count, np.int64)
    keys = np.empty((count, _room(ranks.max())), np.uint64)
    state = (limits, held, keys)
    packed = _pack_queries(queries, chosen)
    for phase in range(len(stops)):
        begin = stops[phase - 1] if phase else 0
        for group in range(begin, stops[phase], GROUP):
            end = min(group + GROUP, stops[phase])
            _pass(packed, products, group, end, chosen, excluded, ranks[phase], state)
        for query in range(count if phase < last_phase else 0):
            if held[query] >= ranks[phase]:
                guessed[query] = limits[query] = _cut(keys[query], held[query], ranks[phase])
                held[query] = ranks[phase]
    for query in range(count):
        to, n = chosen[query], ranks[last_phase]
        found = _write(keys[query], held[query], n, scores[to], rows[to])
        full = found == n and scores[to, n - 1] > guessed[query]
        settled[to] = full or guessed[query] == -np.inf


@njit(nogil=True, cache=True)
def _room(rank: int) -> int:
    """Candidates a query may hold before they are cut to its `rank` best."""
    return 2 * rank + COLUMNS


@njit(nogil=True, cache=True)
def _pass(
    packed: npt.NDArray[np.float32],
    products: PackedPanels,
    begin: int,
    end: int,
    chosen: Rows,
    excluded: tuple[Rows, Rows],
    rank: int,
    state: QueryState,
) -> None:
    """Let all chosen queries pass over the panels [begin, end) and keep the products that reach their limits."""
    panels, row_of = products
    offsets, hidden = excluded
    limits, held, keys = state
    d, room, flat = panels.shape[1], _room(rank), panels.reshape(-1)
    tile = np.empty(ROWS * COLUMNS, np.float32)
    for first in range(0, len(chosen), ROWS):
        for panel in range(begin, end):
            lower, upper = _score_tile(packed, first * d, flat, panel * d * COLUMNS, d, limits, first, tile)
            while lower | upper:
                if lower:
                    place = np.int64(_lowest_bit(lower))
                    lower &= lower - np.uint64(1)
                else:
                    place = np.int64(_lowest_bit(upper)) + HALF
                    upper &= upper - np.uint64(1)
                query, row = first + place // COLUMNS, row_of[panel * COLUMNS + place % COLUMNS]
                start, stop = offsets[chosen[query]], offsets[chosen[query] + 1]
                # The limit may have risen since the tile was compared.
                if row < 0 or tile[place] < limits[query] or (start < stop and _holds(hidden, start, stop, row)):
                    continue
                keys[query, held[query]] = _key(tile[place], row)
                held[query] += 1
                if held[query] == room:
                    limits[query] = _cut(keys[query], room, rank)
                    held[query] = rank


@njit(nogil=True, cache=True)
def _write(keys: Keys, held: int, n: int, scores: npt.NDArray[np.float32], rows: Rows) -> int:
    """Write the n best of keys[:held] in order; how many there are."""
    found = min(held, n)
    if found < held:
        _cut(keys, held, found)
    best = keys[:found]
    best.sort()
    for i in range(found):
        key = best[found - 1 - i]
        scores[i] = _score(key)
        rows[i] = np.int64(LOW - (key & LOW))
    return found
