"""Client, command line, HTTP API and shop window give the same lists to the same questions, and the same reasons."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from feature_repo.client import ProductList, Recommendations
from feature_repo.client.answers import LEFT_EMPTY, NO_ADD_ON, NO_LIST
from feature_repo.online.reader import backend_at
from feature_repo.served import ONLINE
from jobs.ask.lookup import print_bag, print_customer, print_product
from jobs.publish.load import load_night
from jobs.report.window.choice import ShopWindowConfig
from jobs.report.window.page import written_of
from jobs.tables.shop import MARKET_RANKING, PEOPLE_ALSO_BOUGHT, TITLES
from tests.support.asking import printed
from tests.support.browser import CHROMIUM, MISSING, Browser, chromium
from tests.support.http_shop import HttpShop, served
from tests.support.toy_shop import RUN, listed
from tests.support.window_shop import WHO, window_lake

Shown = dict[str, tuple[list[str], str]]
"""Title of a list -> its products, best first, and the reason where there are none."""
SIMILAR, BOUGHT, EXTRAS, HOME = (
    TITLES[name] for name in ("you_might_also_like", "people_also_bought", "bag_extras", "recommended_for_you")
)
CATEGORY = "Most wanted"
NAMES = "shop.catalogue.map((_, number) => [shortName(shop.product(number)), shop.product(number).id])"
RAILS = """[...document.querySelectorAll('.carousel')].map(c => [c.querySelector('h3').innerText,
    [...c.querySelectorAll('.tile .name')].map(n => n.textContent)])"""
NOTES = "[...document.querySelectorAll('#window .note')].map(n => n.innerText)"


@dataclass(frozen=True)
class Question:
    """One question, as each asks it."""

    client: Callable[[Recommendations], dict[str, ProductList]]
    printed: Callable[[Recommendations], str] | None
    window: str
    """The page's address behind the #."""
    empty: dict[str, str]
    """Lists without products -> why."""


def of_product(product: str, market: str, variant: str = "default", **empty: str) -> Question:
    def client(shop: Recommendations) -> dict[str, ProductList]:
        page = shop.product_page(product, market, variant)
        return {SIMILAR: page.you_might_also_like, BOUGHT: page.people_also_bought}

    def told(shop: Recommendations) -> str:
        return printed(lambda console: print_product(shop, product, market, console, variant))

    reasons = {TITLES[name]: reason for name, reason in empty.items()}
    return Question(client, told, f"market={market}&product={product}&variant={variant}", reasons)


def of_bag(products: str, market: str, variant: str = "default", reason: str = "") -> Question:
    bag = products.split(",")
    return Question(
        lambda shop: {EXTRAS: shop.bag(bag, market, variant).list},
        lambda shop: printed(lambda console: print_bag(shop, bag, market, console, variant)),
        f"market={market}&variant={variant}&" + "&".join(f"bag={product}" for product in bag),
        {EXTRAS: reason} if reason else {},
    )


def of_customer(customer: str, market: str, reason: str = "") -> Question:
    return Question(
        lambda shop: {HOME: shop.home(customer, market).list},
        lambda shop: printed(print_customer, shop, customer, market),
        f"market={market}&customer={WHO[customer]}",
        {HOME: reason} if reason else {},
    )


def of_category(category: str, market: str, reason: str = "") -> Question:
    return Question(
        lambda shop: {CATEGORY: shop.category_page(market, category).list},
        None,
        f"market={market}&category={category}",
        {CATEGORY: reason} if reason else {},
    )


QUESTIONS = {
    "both carousels": of_product("p1", "GB"),
    "a product without one of them": of_product("p4", "GB", people_also_bought=NO_LIST),
    "a list that rules made empty": of_product("p3", "GB", people_also_bought=LEFT_EMPTY),
    "a product that the market does not sell": of_product(
        "p4", "FR", you_might_also_like=NO_LIST, people_also_bought=NO_LIST
    ),
    "a short list": of_product("p1", "FR", people_also_bought=NO_LIST),
    "the default variant in place of another": of_product("p1", "GB", "calm"),
    "a list of another variant alone": of_product("p2", "GB", people_also_bought=NO_LIST),
    "a bag": of_bag("p1,p2", "GB"),
    "a bag in a variant without add-ons": of_bag("p1,p2", "GB", "calm"),
    "a bag without add-ons": of_bag("p4,p8", "GB", reason=NO_LIST),
    "a bag that nothing small goes with": of_bag("p1,p3,p4,p7,p8", "GB", reason=NO_ADD_ON),
    "a bag elsewhere": of_bag("p1", "FR", reason=NO_LIST),
    "a customer": of_customer("c1", "GB"),
    "a customer without a list": of_customer("c3", "FR"),
    "a category": of_category("scarves", "GB"),
    "a category that the market has not": of_category("scarves", "FR", NO_LIST),
    "all products": of_category("*", "FR"),
}


@dataclass(frozen=True)
class Made:
    """A night of a small shop."""

    folder: Path
    """Holds the lake, the online store and the shop window."""
    client: Recommendations
    window: str
    """The address of its shop window."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("night")
    lake = window_lake(folder / "lake")
    bought = [("p4", 0.5), ("p5", 0.25)]
    lake.replace_rows(
        PEOPLE_ALSO_BOUGHT,
        [
            listed({"product_id": "p1"}, bought),
            listed({"product_id": "p2", "variant": "calm"}, bought),
            listed({"product_id": "p3"}, [], short_reason="no product fits: its department"),
        ],
        RUN,
    )
    orders = (("GB", "*", ["p1", "p2"]), ("GB", "scarves", ["p5", "p3"]), ("FR", "*", ["p2", "p1", "p5"]))
    rows = [listed({"market": m, "category": c}, [(p, 9.0 - n) for n, p in enumerate(ps)]) for m, c, ps in orders]
    lake.replace_rows(MARKET_RANKING, rows, RUN)
    address = f"sqlite://{folder}/online.db"
    load_night(lake, backend_at(address), RUN, [table for table in ONLINE if lake.exists(table)], 100, 7)
    page = folder / "shop.html"
    page.write_text(written_of(lake, RUN, ShopWindowConfig(), []), "utf-8")
    return Made(folder, Recommendations(address), page.as_uri())


@pytest.fixture(scope="module")
def over_http(made: Made) -> Iterator[HttpShop]:
    """A client of the HTTP API, which runs."""
    with served(made.folder / "lake", NIGHTRAIL_FEAST=str(made.folder)) as server:
        yield HttpShop(server.url)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip(MISSING)
    with chromium(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


def of_client(client: Recommendations, question: Question) -> Shown:
    """What the client answers."""
    return {title: (list(one.product_ids), one.reason) for title, one in question.client(client).items()}


def of_text(text: str) -> Shown:
    """What the command line prints."""
    found: Shown = {}
    for line in text.splitlines():
        if title := next((title for title in (SIMILAR, BOUGHT, EXTRAS, HOME) if line.startswith(title)), ""):
            reason = re.search(r": nothing for market \w+: (.+)$", line)
            found[title] = ([], reason[1].strip() if reason else "")
        elif found and (place := re.match(r"\s*\d+ +(\S+)", line)):
            found[next(reversed(found))][0].append(place[1])
    return found


def of_window(browser: Browser, address: str, question: Question, lists: int) -> Shown:
    """What a person sees on the page."""
    there = "document.querySelectorAll('.carousel').length + document.querySelectorAll('#window .note').length"
    browser.open("about:blank", "true")
    browser.open(f"{address}#{question.window}", f"document.querySelector('#window h2') && {there} >= {lists}")
    ids: dict[str, Any] = dict(browser.value(NAMES))
    found: Shown = {title: ([ids[name] for name in names], "") for title, names in browser.value(RAILS)}
    for note in browser.value(NOTES):
        title, _, reason = note.split(": ", 2)
        found[title] = ([], reason.removesuffix("."))
    return found


@pytest.mark.parametrize("name", QUESTIONS)
def test_client_and_command_line_give_the_same_answer(name: str, made: Made) -> None:
    question = QUESTIONS[name]
    answer = of_client(made.client, question)
    assert {title: reason for title, (_, reason) in answer.items() if reason} == question.empty
    assert all(bool(products) != bool(reason) for products, reason in answer.values())
    if question.printed:
        assert of_text(question.printed(made.client)) == answer


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_http_api_gives_the_same_answer(name: str, made: Made, over_http: HttpShop) -> None:
    assert QUESTIONS[name].client(over_http) == QUESTIONS[name].client(made.client)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_shop_window_gives_the_same_answer(name: str, made: Made, browser: Browser) -> None:
    answer = of_client(made.client, QUESTIONS[name])
    assert of_window(browser, made.window, QUESTIONS[name], len(answer)) == answer
