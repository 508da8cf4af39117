"""Compiles the loops that a first night would wait longest for: of searches, of lists, of outfits, of lifts."""

from __future__ import annotations

import numpy as np

from models.affinities import best_values
from models.assembly import outfit_kernels
from models.assembly.assembly import Candidates, ListShape, Owners, Tiers, assemble
from models.assembly.outfits import bits_of, editor_sets, looks_of
from models.assembly.rulebook import DEFAULT_RULES, Attributes, Rulebook
from models.search.search import exact_top_n
from models.sequences import Sequences


def compile_loops() -> None:
    """Search, assemble, count and dress one product, so that numba's cache has these loops afterwards."""
    one, flag = np.zeros(1, np.int64), np.ones(1, bool)
    vectors = np.ones((1, 4), np.float32)
    exact_top_n(vectors, vectors, 1)
    history = Sequences(np.array([0, 1]), np.zeros(1, np.int32), np.zeros(1, np.int8), one)
    best_values(history, history.products, np.ones(1), (np.ones((1, 1)), np.zeros(1, np.int32)), 1, 1)
    attributes = Attributes(one, one, one, np.ones(1, np.float32), flag)
    none = np.full(1, -1, np.int16)
    book = Rulebook(
        names=DEFAULT_RULES,
        excluded=none,
        places=np.zeros(1, np.int16),
        mover=none,
        pins=one[:0],
        pin_places=one[:0],
        pin_rules=none[:0],
        brand_cap=0,
        brand_cap_rule=-1,
        category_cap=0,
        category_cap_rule=-1,
        mixes=np.ones((2, 2), bool),
        guard_rule=-1,
        price_low=0.0,
        price_high=np.inf,
        price_rule=-1,
        diversity=0.0,
        explore_place=-1,
    )
    assemble(ListShape(1, 0), Candidates.empty(1, 1), Owners.of_products(one), Tiers.none(1), flag, attributes, book)
    _dress_one_product()


def _dress_one_product() -> None:
    one, number, mixes = np.zeros(1, np.int64), np.zeros(1, np.float32), np.ones((1, 1, 1), bool)
    garments = outfit_kernels.Garments(
        role=np.zeros(1, np.int8),
        department=one,
        price=number,
        level=number,
        launched=number,
        colour=np.zeros(1, np.int16),
    )
    offers = outfit_kernels.RoleOffers(
        np.zeros(1, np.int32),
        np.full((1, 7, 1), -1, np.int32),
        np.zeros((1, 7, 1), np.float32),
        np.zeros((1, 7, 1), np.int8),
    )
    by, bits = outfit_kernels.Agreement(0.0, 0.0, 0.0, 0.0), bits_of(np.ones((1, 1), bool))
    found = np.zeros((1, 1), np.int32)
    outfit_kernels.keep_best(0, 1, found, number[None], found.astype(np.int8), garments, by, offers)
    rules = outfit_kernels.OutfitRules(bits, bits, bits, mixes, np.ones((1, 2)))
    looks_of(offers, garments, by, rules, editor_sets([], one, 1), 1, (1, 1, 2, 0))
