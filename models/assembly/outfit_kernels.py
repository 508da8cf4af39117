"""Chooses the pieces of outfits, compiled: each role's candidates, then looks until every market has enough."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.assembly.arrays import NONE, Array
from models.assembly.plain_kernels import compiled, inlined

TOP, BOTTOM, DRESS, SHOES, OUTER, BAG, ACCESSORY = range(7)
FEWEST_PIECES = 2
"""A look without so many products beside its owner is none."""
SEASON_DAYS = 90.0
"""Products launched so many days apart are of different seasons; after two of them it does not matter how many."""
MARKETS = 64
"""Markets of a word of bits."""


class Garments(NamedTuple):
    """P products as outfits see them."""

    role: Array
    """[P], place in `models.assembly.outfits.ROLES`; -1: none."""
    department: Array
    """[P], a row of `OutfitRules.mixes`."""
    price: Array
    """[P], NaN where there is none."""
    level: Array
    """[P], log of the price over the median of its category; NaN where it is not known."""
    launched: Array
    """[P], a day; NaN where it is not known."""
    colour: Array
    """[P], 0 goes with all, other numbers with the same one; -1: not known."""


class Agreement(NamedTuple):
    """What a pair of products loses for each difference, and a piece where markets do not sell it."""

    colour: float
    level: float
    season: float
    stock: float


class OutfitRules(NamedTuple):
    """What markets may show; markets are bits of words. A class of markets has its own mixes and price window."""

    sold: Array
    """[P, words], the markets that sell each product."""
    allowed: Array
    """[P, words], those of them whose rules do not exclude it."""
    classes: Array
    """[classes, words], the markets of each class."""
    mixes: Array
    """[classes, D, D]."""
    windows: Array
    """[classes, 2], least and greatest price as shares of the owner's."""


class EditorSets(NamedTuple):
    """An editor's sets: set s is `rows[offsets[s] : offsets[s + 1]]`; owner o has those of its range of `of`."""

    offsets: Array
    rows: Array
    rules: Array
    """[sets], number of the rule."""
    markets: Array
    """[sets, words], where the rule holds."""
    of_offsets: Array
    of: Array


class RoleOffers(NamedTuple):
    """Candidates of each of O owners and role, best first; arrays [O, roles, depth], -1 ends a role."""

    owners: Array
    """[O], products."""
    rows: Array
    scores: Array
    labels: Array


class Looks(NamedTuple):
    """The looks of O owners, arrays [O, looks, pieces] where it is not said; a look ends at the first -1 in `rows`."""

    rows: Array
    scores: Array
    labels: Array
    rules: Array
    """[O, looks], the rule of an editor's set; -1: none."""
    markets: Array
    """[O, looks, words], the markets that show each look."""


@inlined
def _agree(one: int, two: int, garments: Garments, by: Agreement) -> float:  # pragma: no cover - compiled
    """At most 0: what speaks against two products in one look."""
    found = 0.0
    if garments.colour[one] > 0 and garments.colour[two] > 0 and garments.colour[one] != garments.colour[two]:
        found -= by.colour
    apart = abs(garments.level[one] - garments.level[two])
    if apart == apart:  # no NaN
        found -= by.level * apart
    days = abs(garments.launched[one] - garments.launched[two])
    if days == days:
        found -= by.season * min(days / SEASON_DAYS, 2.0)
    return found


@compiled
def keep_best(
    start: int,
    stop: int,
    found: Array,
    scores: Array,
    labels: Array,
    garments: Garments,
    by: Agreement,
    out: RoleOffers,
) -> None:  # pragma: no cover - compiled
    """Write the best candidates of each role of owners start .. stop - 1, of `found` [O, any], where -1 is none and a
    product may come twice; `scores` get what the pair's attributes say.
    """
    depth = out.rows.shape[2]
    for o in range(start, stop):
        owner = out.owners[o]
        for at in range(found.shape[1]):
            product = found[o, at]
            if product < 0 or product == owner:
                continue
            role, repeated = garments.role[product], False
            for place in range(depth):
                repeated = repeated or out.rows[o, role, place] == product
            if repeated:
                continue
            score = scores[o, at] + _agree(owner, product, garments, by)
            place = depth
            while place > 0:
                other = out.rows[o, role, place - 1]
                before = out.scores[o, role, place - 1]
                if other >= 0 and (before > score or (before == score and other < product)):
                    break
                if place < depth:
                    out.rows[o, role, place] = other
                    out.scores[o, role, place] = before
                    out.labels[o, role, place] = out.labels[o, role, place - 1]
                place -= 1
            if place < depth:
                out.rows[o, role, place] = product
                out.scores[o, role, place] = score
                out.labels[o, role, place] = labels[o, at]


@inlined
def _ones(bits: np.uint64) -> int:  # pragma: no cover - compiled
    """The number of bits that are set."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@inlined
def _fitting(
    word: int, product: int, owner: int, garments: Garments, rules: OutfitRules
) -> np.uint64:  # pragma: no cover - compiled
    """The markets of a word that may show a product in an outfit of an owner."""
    fits = np.uint64(0)
    price, own = garments.price[product], garments.price[owner]
    for one in range(len(rules.classes)):
        if not rules.mixes[one, garments.department[owner], garments.department[product]]:
            continue
        low, high = rules.windows[one, 0], rules.windows[one, 1]
        if price > 0 and own > 0 and not low * own <= price <= high * own:
            continue
        fits |= rules.classes[one, word]
    return np.uint64(rules.allowed[product, word] & fits)


@compiled
def _wanted(had: int) -> int:  # pragma: no cover - compiled
    """The roles, as bits, of which a look that has the roles `had` gets the next piece: a top and a bottom or a dress,
    then shoes, then the others.
    """
    if not had & (1 << DRESS):
        body = had & ((1 << TOP) | (1 << BOTTOM))
        if body == 0:
            return (1 << TOP) | (1 << BOTTOM) | (1 << DRESS)
        if body != (1 << TOP) | (1 << BOTTOM):
            return ((1 << TOP) | (1 << BOTTOM)) - body
    if not had & (1 << SHOES):
        return 1 << SHOES
    return ((1 << OUTER) | (1 << BAG) | (1 << ACCESSORY)) & ~had


@inlined
def _showing(o: int, product: int, looks: int, word: int, out: Looks) -> np.uint64:  # pragma: no cover - compiled
    """The markets of a word that show a product in one of an owner's first looks."""
    markets = np.uint64(0)
    for look in range(looks):
        for at in range(out.rows.shape[2]):
            if out.rows[o, look, at] == product:
                markets |= out.markets[o, look, word]
    return markets


@compiled
def _piece(
    o: int,
    look: int,
    held: int,
    wanted: int,
    offers: RoleOffers,
    garments: Garments,
    by: Agreement,
    rules: OutfitRules,
    out: Looks,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """(role, place among its candidates) of the best candidate of the `wanted` roles beside the `held` pieces of a
    look, in the markets that can show these; -1: none.
    """
    best, chosen, most, markets = NONE, NONE, -np.inf, 0
    for word in range(out.markets.shape[2]):
        markets += _ones(out.markets[o, look, word])
    for role in range(offers.rows.shape[1]):
        if not wanted & (1 << role):
            continue
        for place in range(offers.rows.shape[2]):
            product, score = offers.rows[o, role, place], offers.scores[o, role, place]
            if product < 0 or score <= most:  # nothing is added below
                break
            sellers = 0
            for word in range(out.markets.shape[2]):
                fits = _fitting(word, product, offers.owners[o], garments, rules)
                sellers += _ones(out.markets[o, look, word] & fits & ~_showing(o, product, look, word, out))
            if sellers == 0:
                continue
            score += by.stock * (look + 1) * np.log(sellers / markets)  # later looks serve what is left
            for at in range(held):
                score += _agree(out.rows[o, look, at], product, garments, by)
            if score > most:
                best, chosen, most = role, place, score
    return best, chosen


@compiled
def _assign(o: int, look: int, left: Array, out: Looks) -> bool:  # pragma: no cover - compiled
    """Take one of the places `left` [markets] for a look in each of its markets; whether some market has more."""
    more = False
    for market in range(len(left)):
        word, bit = market // MARKETS, np.uint64(1) << np.uint64(market % MARKETS)
        if out.markets[o, look, word] & bit:
            left[market] -= 1
        more = more or left[market] > 0
    return more


@compiled
def _open(o: int, look: int, left: Array, out: Looks) -> None:  # pragma: no cover - compiled
    """Begin a look in the markets that have a place left for it."""
    for word in range(out.markets.shape[2]):
        out.markets[o, look, word] = 0
    for market in range(len(left)):
        if left[market] > 0:
            out.markets[o, look, market // MARKETS] |= np.uint64(1) << np.uint64(market % MARKETS)


@compiled
def _editors(
    o: int, label: int, left: Array, offers: RoleOffers, rules: OutfitRules, sets: EditorSets, out: Looks
) -> int:  # pragma: no cover - compiled
    """Begin an owner's looks with the editor's sets of which a market sells all products; returns how many."""
    look = 0
    for at in range(sets.of_offsets[o], sets.of_offsets[o + 1]):
        number, held, some = sets.of[at], 0, False
        if look == out.rows.shape[1]:
            break
        _open(o, look, left, out)
        for word in range(out.markets.shape[2]):
            shown = out.markets[o, look, word] & sets.markets[number, word]
            for k in range(sets.offsets[number], sets.offsets[number + 1]):
                product = sets.rows[k]
                shown &= rules.allowed[product, word] & ~_showing(o, product, look, word, out)
            out.markets[o, look, word] = shown
            some = some or shown != 0
        if not some:
            continue
        for k in range(sets.offsets[number], sets.offsets[number + 1]):
            if sets.rows[k] != offers.owners[o]:
                out.rows[o, look, held], out.scores[o, look, held] = sets.rows[k], 0.0
                out.labels[o, look, held] = label
                held += 1
        out.rules[o, look] = sets.rules[number]
        _assign(o, look, left, out)
        look += 1
    return look


@compiled
def compose(
    start: int,
    stop: int,
    most: tuple[int, int, int],
    left: Array,
    offers: RoleOffers,
    garments: Garments,
    by: Agreement,
    rules: OutfitRules,
    sets: EditorSets,
    out: Looks,
) -> None:  # pragma: no cover - compiled
    """Write the looks of owners start .. stop - 1: an editor's sets, and then looks that cover what the owner does not,
    until every market has enough of what it sells. `most` is (looks in a market, pieces of a look, label of an editor's
    piece); `left` [O, markets] is working memory.
    """
    for o in range(start, stop):
        owner, mine, more = offers.owners[o], left[o], False
        for market in range(len(mine)):
            sells = rules.sold[owner, market // MARKETS] >> np.uint64(market % MARKETS) & np.uint64(1)
            mine[market] = most[0] * int(sells)
        look = _editors(o, most[2], mine, offers, rules, sets, out)
        for market in range(len(mine)):
            more = more or mine[market] > 0
        own = garments.role[owner]
        while own >= 0 and more and look < out.rows.shape[1]:
            _open(o, look, mine, out)
            held, had = 0, 1 << own
            while held < most[1] and _wanted(had):
                wanted = _wanted(had)
                role, place = _piece(o, look, held, wanted, offers, garments, by, rules, out)
                if role < 0:
                    had |= wanted
                    continue
                had |= 1 << role
                product = out.rows[o, look, held] = offers.rows[o, role, place]
                out.scores[o, look, held] = offers.scores[o, role, place]
                out.labels[o, look, held] = offers.labels[o, role, place]
                for word in range(out.markets.shape[2]):
                    shown = _fitting(word, product, owner, garments, rules) & ~_showing(o, product, look, word, out)
                    out.markets[o, look, word] &= shown
                held += 1
            if held < FEWEST_PIECES:
                for at in range(held):
                    out.rows[o, look, at] = out.labels[o, look, at] = NONE
                break
            more = _assign(o, look, mine, out)
            look += 1
