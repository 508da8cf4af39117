"""Words of categories tell what a product is in an outfit, and words of colours what they go with."""

from __future__ import annotations

import pytest

from jobs.lists.config import OutfitsConfig
from jobs.lists.roles import ROLE_OF, colour_families, role_of
from jobs.sample_shop.world import CATEGORIES
from models.assembly.outfits import ROLES


@pytest.mark.parametrize(
    ("category", "role"),
    [
        ("Trainers", "shoes"),
        ("hiking boots", "shoes"),
        ("T-Shirts", "top"),
        ("Women > Shirt Dresses", "dress"),
        ("coats & jackets", "outer layer"),
        ("beach towels", None),
        ("pyjama tops", None),
        ("gift cards", None),
        ("Hosen", None),
    ],
)
def test_the_last_known_word_tells_the_role(category: str, role: str | None) -> None:
    assert role_of(category, {}) == (ROLES.index(role) if role else -1)


def test_the_shop_says_otherwise() -> None:
    given = OutfitsConfig(roles={"Hosen": "bottom", "trainers": "none"}).roles
    assert role_of("Hosen", given) == ROLES.index("bottom") and role_of("trainers", given) == -1
    with pytest.raises(ValueError, match="roles"):
        OutfitsConfig(roles={"Hosen": "trousers"})  # type: ignore[dict-item]


def test_the_sample_shop_has_every_role() -> None:
    assert {role_of(category.name, {}) for category in CATEGORIES} == {-1, *range(len(ROLES))}
    assert set(ROLE_OF.values()) == {*ROLES, "none"}


def test_neutral_colours_are_one_family_that_goes_with_all() -> None:
    found = colour_families(["black", "Dark Navy", "red", "wine", "teal", "quux", None, ""])
    assert found[:2].tolist() == [0, 0] and found[2] == found[3] > 0 and found[4] > 0 != found[2]
    assert found[5:].tolist() == [-1, -1, -1]
