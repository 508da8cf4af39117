"""Finds products of other roles that go with a product, and makes looks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.arrays import BoolMask, Rows
from models.assembly.outfit_kernels import (
    MARKETS,
    Agreement,
    EditorSets,
    Garments,
    Looks,
    OutfitRules,
    RoleOffers,
)
from models.copurchase.model import CoPurchase
from models.ragged import offsets_of, ranges
from models.search.exact import in_threads
from models.search.search import exact_top_n, threads

ROLES = ("top", "bottom", "dress", "shoes", "outer layer", "bag", "accessory")
"""What a product is in an outfit; a dress takes the place of a top and a bottom."""
SEEN_DEPTH = 48
"""Products seen together with an owner, in baskets and in visits, that are looked at beside the expected ones."""
OWNERS_AT_ONCE = 4096


@dataclass(frozen=True)
class PairEvidence:
    """What speaks for a pair of products: both models are over the P products, and either may know nothing."""

    bought: CoPurchase
    viewed: CoPurchase | None
    bought_weight: float
    viewed_weight: float

    @property
    def models(self) -> list[tuple[CoPurchase, float]]:
        """Each model with its weight."""
        given = ((self.viewed, self.viewed_weight), (self.bought, self.bought_weight))
        return [(model, weight) for model, weight in given if model is not None and weight > 0]

    def candidates(self, owners: Rows, garments: Garments, mixes: BoolMask, depth: int) -> npt.NDArray[np.int32]:
        """[O, any], for each owner the products of every role that are expected to go with it, of departments that
        `mixes` allows, and those that were seen with it; -1 is none.
        """
        sources = np.concatenate([model.source_vectors() * weight for model, weight in self.models], axis=1)
        targets = np.concatenate([model.target_vectors() for model, _ in self.models], axis=1)
        found = np.full((len(owners), len(ROLES) * depth + len(self.models) * SEEN_DEPTH), -1, np.int32)
        for department in np.unique(garments.department[owners]):
            asking = np.flatnonzero(garments.department[owners] == department)
            shown = mixes[department][garments.department]
            for role in range(len(ROLES)):
                allowed = np.flatnonzero(shown & (garments.role == role))
                if len(allowed):
                    _, rows = exact_top_n(sources[owners[asking]], targets, depth, allowed)
                    found[asking, role * depth : (role + 1) * depth] = rows
        for place, (model, _) in enumerate(self.models):
            start = len(ROLES) * depth + place * SEEN_DEPTH
            found[:, start : start + SEEN_DEPTH] = model.best_seen(owners, SEEN_DEPTH)
        found[(found >= 0) & (garments.role[found] < 0)] = -1
        return found

    def scores(self, owners: Rows, found: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.float32], list[BoolMask]]:
        """(log-linear scores [O, any] of pairs, by model which of them were seen), in the order of `models`."""
        total, seen = np.zeros(found.shape, np.float32), []
        for model, weight in self.models:
            scores, together = model.rescore(owners, found.astype(np.int64))
            total += np.float32(weight) * scores
            seen.append(together)
        return total, seen


def role_offers(
    evidence: PairEvidence,
    owners: Rows,
    garments: Garments,
    by: Agreement,
    mixes: BoolMask,
    depth: int,
    labels: tuple[int, int, int],
) -> RoleOffers:
    """The `depth` best candidates of each role for each owner [O], over all markets.

    `labels` are those of a pair that was bought together, viewed together, and neither.
    """
    from models.assembly.outfit_kernels import keep_best

    size = (len(owners), len(ROLES), depth)
    out = RoleOffers(
        owners.astype(np.int32),
        np.full(size, -1, np.int32),
        np.full(size, -np.inf, np.float32),
        np.full(size, -1, np.int8),
    )
    found = evidence.candidates(owners, garments, mixes, depth)
    for start in range(0, len(owners), OWNERS_AT_ONCE):
        part = slice(start, start + OWNERS_AT_ONCE)
        scores, seen = evidence.scores(owners[part], found[part])
        label = np.full(scores.shape, labels[2], np.int8)
        for (model, _), together in zip(evidence.models, seen, strict=True):  # bought together comes last
            label[together] = labels[0] if model is evidence.bought else labels[1]
        rows = RoleOffers(*(each[part] for each in out))
        _in_parts(keep_best, len(scores), found[part], scores, label, garments, by, rows)
    return out


def bits_of(masks: BoolMask) -> npt.NDArray[np.uint64]:
    """[n, words], the bits of masks [n, markets]: market m is bit m % 64 of word m // 64."""
    padded = np.zeros((len(masks), -(-masks.shape[1] // MARKETS) * MARKETS), np.uint8)
    padded[:, : masks.shape[1]] = masks
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def masks_of(bits: npt.NDArray[np.uint64], markets: int) -> BoolMask:
    """The masks [n, markets] of bits [n, words]."""
    return np.unpackbits(bits.view(np.uint8), axis=1, count=markets, bitorder="little").astype(bool)


def editor_sets(sets: list[tuple[int, list[int], BoolMask]], owners: Rows, markets: int) -> EditorSets:
    """Sets given as (rule, products, [markets] where it holds), the first one first, for the owners [O] among their
    products.
    """
    flat = np.array([product for _, products, _ in sets for product in products], np.int64)
    sizes = np.array([len(products) for _, products, _ in sets], np.int64)
    number = np.repeat(np.arange(len(sets)), sizes)
    order = np.lexsort((number, flat))
    low, high = (np.searchsorted(flat[order], owners, side) for side in ("left", "right"))
    return EditorSets(
        offsets_of(sizes),
        flat,
        np.array([rule for rule, _, _ in sets], np.int16),
        bits_of(np.array([where for _, _, where in sets], bool).reshape(len(sets), markets)),
        offsets_of(high - low),
        number[order][ranges(low, high - low)[1]],
    )


def looks_of(
    offers: RoleOffers,
    garments: Garments,
    by: Agreement,
    rules: OutfitRules,
    sets: EditorSets,
    markets: int,
    most: tuple[int, int, int, int],
) -> Looks:
    """The looks of all owners: each market shows the first ones of what it sells, at most `most` (looks in a market,
    looks of an owner, pieces of a look, label of an editor's piece).

    No product is in two looks of an owner, and no role twice in a look that is not an editor's.
    """
    from models.assembly.outfit_kernels import compose

    shown, looks, pieces, label = most
    size = (len(offers.owners), looks, max(pieces, int(np.diff(sets.offsets).max(initial=0))))
    out = Looks(
        np.full(size, -1, np.int32),
        np.full(size, -np.inf, np.float32),
        np.full(size, -1, np.int8),
        np.full(size[:2], -1, np.int16),
        np.zeros((*size[:2], rules.sold.shape[1]), np.uint64),
    )
    left = np.zeros((len(offers.owners), markets), np.int8)
    _in_parts(compose, size[0], (shown, pieces, label), left, offers, garments, by, rules, sets, out)
    return out


def _in_parts(work: Callable[..., None], count: int, *given: object) -> None:
    """Call `work(first, last, *given)` for the parts of [0, count), one for each thread."""
    in_threads(lambda first, last: work(first, last, *given), count, -(-count // threads()), threads())
