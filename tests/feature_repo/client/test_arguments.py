"""What is asked for may be anything: the answer is a list, or an error that begins with the argument's name."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from feature_repo.client import ArgumentError, Recommendations, TooManyError
from feature_repo.client.answers import BagPage, History, ListPage, Page, Product, ProductPage, Ranking
from feature_repo.client.outfits import OutfitPage
from feature_repo.online.reader import backend_at
from tests.support.synthetic import Shape, publish

SHAPE = Shape(products=30, customers=10, ranked=30)
ODD: list[Callable[[random.Random], Any]] = [
    lambda rng: None,
    lambda rng: "\ud800" + str(rng.random()),
    lambda rng: f"{rng.random()}\udfff",
    lambda rng: chr(rng.randrange(33, 127)) * rng.randrange(900, 10_240),
    lambda rng: "\0" * rng.randrange(1, 5),
    lambda rng: f"P00000{rng.randrange(10)}\0",
    lambda rng: f"' OR {rng.random()} = 1; DROP TABLE online; --",
    lambda rng: f"x') UNION SELECT value FROM online WHERE key LIKE '%{rng.randrange(99)}",
    lambda rng: "".join(chr(rng.randrange(0x110000)) for _ in range(rng.randrange(8))),
    lambda rng: rng.randrange(1 << 70),
    lambda rng: rng.random(),
    lambda rng: str(rng.random()).encode(),
    lambda rng: [f"P00000{rng.randrange(10)}"],
    lambda rng: {"$ne": None},
    lambda rng: f"*\r\nFLUSHALL {rng.random()}\r\n",
    lambda rng: f"P00000{rng.randrange(10)}",
]


METHODS: dict[str, Callable[..., Any]] = {
    "product_page": Recommendations.product_page,
    "outfits": Recommendations.outfits,
    "home": Recommendations.home,
    "category_page": Recommendations.category_page,
    "bag": Recommendations.bag,
    "page": Recommendations.page,
    "rank": Recommendations.rank,
    "history": Recommendations.history,
    "product": Recommendations.product,
    "products": Recommendations.products,
}
RIGHT = {
    "product_id": "P000001", "customer_id": "C00000001", "product_ids": ["P000001"], "market": "M0", "category": "*",
    "variant": "default", "places": 24, "recent": [("P000001", "click", 1_770_000_000)],
    "lists": [("trending", "*")],
}  # fmt: skip
"""A right value of every argument."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Recommendations:
    """Of a small store."""
    path = tmp_path_factory.mktemp("store") / "online.db"
    publish(backend_at(f"sqlite://{path}"), SHAPE, 1)
    return Recommendations(f"sqlite://{path}", refresh_seconds=60)


def test_ten_thousand_hostile_ids_get_a_list_or_an_error_that_names_the_argument(client: Recommendations) -> None:
    rng, answered, refused = random.Random(20), 0, list[tuple[str, str, str]]()
    arguments = {name: [*inspect.signature(method).parameters][1:] for name, method in METHODS.items()}
    requests = [(name, argument) for name, each in arguments.items() for argument in each]
    assert METHODS.keys() == {name for name in dir(Recommendations) if name[0] != "_"} - {"close"}
    for number in range(10_000):
        (name, argument), odd = requests[number % len(requests)], ODD[rng.randrange(len(ODD))](rng)
        given = odd if argument != "product_ids" or rng.random() < 0.3 else ["P000001", odd]
        try:
            answer = METHODS[name](client, **({one: RIGHT[one] for one in arguments[name]} | {argument: given}))
            assert isinstance(
                answer, ProductPage | OutfitPage | ListPage | Page | BagPage | Ranking | History | Product | list
            )
            answered += 1
        except ArgumentError as error:
            refused.append((argument, error.argument, str(error)))
    for argument, named, message in refused:
        assert message.startswith(argument) and named.startswith(argument), message
        assert len(message) < 200 and message.isprintable()
    assert answered > 2_000 and answered + len(refused) == 10_000
    cache = client.nights._now.rows  # type: ignore[union-attr]
    assert cache.bytes <= cache.most_bytes


def test_errors_say_what_is_wrong(client: Recommendations) -> None:
    for call, said in (
        (lambda: client.home(None, "M0"), "customer_id is None; give a text"),  # type: ignore[arg-type]
        (lambda: client.home("C", 7), "market is of type int; give a text"),  # type: ignore[arg-type]
        (lambda: client.product("x" * 10_000), "product_id has 10,000 characters; at most 1,000 are allowed"),
        (lambda: client.product("\ud83d"), "product_id has half of a character (a lone surrogate); give UTF-8"),
        (lambda: client.bag("P000001", "M0"), "product_ids is of type str; give a list of ids"),
        (lambda: client.bag(["P", None], "M0"), "product_ids[1] is None; give a text"),  # type: ignore[list-item]
        (lambda: client.bag(["P"], "M0", places=-1), "places is below 0; give a whole number, 0 or more"),
        (lambda: client.home("C", "M0", "P"), "recent is of type str; give a list of (product, event, time)"),  # type: ignore[arg-type]
        (lambda: client.home("C", "M0", [("P", "click")]), "recent[0] is no (product, event, time)"),  # type: ignore[list-item]
        (
            lambda: client.home("C", "M0", [("P", "look", 1)]),
            "recent[0] has an event that is none of click, save, bag, purchase",
        ),
        (
            lambda: client.home("C", "M0", [("P", "click", datetime(2026, 4, 6))]),
            "recent[0] has a time without a time zone",
        ),
        (
            lambda: client.home("C", "M0", [("P", "click", float("nan"))]),
            "recent[0] has a time that is neither a datetime nor Unix seconds",
        ),
    ):
        with pytest.raises(ArgumentError) as failed:
            call()
        assert str(failed.value) == said
    with pytest.raises(TooManyError, match=r"^product_ids has 501 products, more than 500"):
        client.rank("C", [f"P{n}" for n in range(501)], "M")


def test_ids_that_any_iterable_gives_are_read_once(client: Recommendations) -> None:
    page = client.bag((product for product in ["P000001", "P000002", "P000001"]), "M0")  # type: ignore[arg-type]
    assert page.list.product_ids == client.bag(["P000001", "P000002"], "M0").list.product_ids
    assert isinstance(client.home("C-nobody", "M0"), ListPage)
