"""A ListMaker as a Parcel, and back: the shelf's arrays, and the rules as rows that are checked again when read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from jobs.list_maker import ListMaker
from jobs.parcel import Parcel
from jobs.policy import policy_on
from jobs.policy_checks import rules_of
from jobs.shelf import Shelf
from jobs.standing import StandingRules
from jobs.variants import Variant
from models.popularity import Popularity
from models.rulebook import Attributes
from models.vocabulary import Vocabulary

VOCABULARIES = ("products", "markets", "brands", "categories", "departments")
FILLING = tuple(field.name for field in fields(Popularity))
ATTRIBUTES = tuple(field.name for field in fields(Attributes))


def packed_maker(maker: ListMaker) -> Parcel:
    """What makes the same lists elsewhere; not what it has counted."""
    shelf, policy = maker.shelf, maker.policy
    header = {name: getattr(shelf, name).ids.to_pylist() for name in VOCABULARIES} | {
        "as_of": policy.as_of.isoformat(),
        "settled": shelf.settled.isoformat(),
        "rules": [
            {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(rule).items()}
            for rule in policy.rules
        ],
    }
    arrays = {"available": shelf.available} | {name: getattr(shelf.filling, name) for name in FILLING}
    return Parcel(header, arrays | {name: getattr(shelf.attributes, name) for name in ATTRIBUTES})


def unpacked_maker(parcel: Parcel) -> ListMaker:
    """The maker that the parcel came from."""
    attributes = Attributes(**{name: parcel.arrays[name] for name in ATTRIBUTES})
    parts: dict[str, Any] = {name: Vocabulary(parcel.header[name]) for name in VOCABULARIES}
    filling = Popularity(**{name: parcel.arrays[name] for name in FILLING})
    settled = date.fromisoformat(parcel.header["settled"])
    # Pages of what is popular tonight are made in the step's own process.
    shelf = Shelf(**parts, available=parcel.arrays["available"], attributes=attributes, popular=filling,
                  filling=filling, settled=settled)  # fmt: skip
    policy = policy_on(rules_of(parcel.header["rules"]), date.fromisoformat(parcel.header["as_of"]))
    return ListMaker(shelf, policy)


def variant_from(plain: Mapping[str, Any]) -> Variant:
    """A variant of `dataclasses.asdict`."""
    standing = {table: StandingRules(**rules) for table, rules in plain["standing"].items()}
    return Variant(**{**plain, "standing": standing})
