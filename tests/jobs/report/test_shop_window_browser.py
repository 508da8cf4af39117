"""The shop window in a real browser: what a person presses, and what they read then."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_repo.client.bag import BagList, combine
from jobs.report.window.choice import ShopWindowConfig
from jobs.report.window.page import written_of
from jobs.tables.shop import BAG_EXTRAS
from tests.support.browser import CHROMIUM, MISSING, Browser, chromium
from tests.support.toy_shop import RUN
from tests.support.window_shop import HOSTILE, MODEL, PAIR, REASON, WHO, window_lake

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=MISSING)
DRAWN = "document.querySelector('#window h2')"
RAILS = "[...document.querySelectorAll('.carousel')].map(c => [c.querySelector('h3').innerText, \
    [...c.querySelectorAll('.tile .name')].map(n => n.textContent)])"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("window")
    path = folder / "shop.html"
    path.write_text(written_of(window_lake(folder / "lake"), RUN, ShopWindowConfig(), [PAIR]), "utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(tab: Browser, address: str) -> Iterator[Browser]:
    """A browser without a word of complaint, before and after; nothing but the file itself is asked for."""
    tab.complaints.clear()
    tab.requests.clear()
    tab.size(1280, 900)
    yield tab
    assert tab.value("window.hacked") is None
    assert tab.complaints == []
    assert {a.split("#")[0] for a in tab.requests} <= {"about:blank", address, "data:,"}


def rails(browser: Browser) -> dict[str, list[str]]:
    """Title -> names of the tiles."""
    return dict(browser.value(RAILS))


def said(browser: Browser, selector: str) -> str:
    """The text that a person sees."""
    return str(browser.value(f"document.querySelector({json.dumps(selector)}).innerText"))


def test_the_first_view_shows_the_most_wanted_product_with_its_lists(browser: Browser, address: str) -> None:
    browser.open(address, "document.querySelectorAll('.carousel').length === 2")
    assert said(browser, "#window h2") == "Plain Coat"
    shown = rails(browser)
    assert shown["You Might Also Like"] == [
        HOSTILE, "Wool Scarf", "Striped Socks", "Long Scarf", "Thing without a kind", "Leather Belt", "Sun Hat"
    ]  # fmt: skip
    assert shown["People Also Bought"] == ["Striped Socks", "Long Scarf"]
    assert "£80.00" in said(browser, ".tile") and "<b>Bold</b>" in said(browser, ".tile")
    assert browser.value("document.querySelectorAll('.tile path[fill=\"#b5372f\"]').length") == 1, "the red coat"
    assert browser.value("document.querySelectorAll('#window img, #window b b, #window script').length") == 0
    assert "all 8 products" in said(browser, "footer")


def test_a_press_tells_why_and_escape_goes_back(browser: Browser, address: str) -> None:
    browser.open(address, DRAWN)
    browser.press(".tile")
    browser.until("document.querySelector('#why').open")
    why = said(browser, "#why")
    for words in (HOSTILE, "model", "its vector is among the nearest", "scarves-first", REASON,
                  "1st in You Might Also Like", "market GB", "0.6875", MODEL, RUN.run_id, "default"):  # fmt: skip
        assert words in why, words
    browser.key("Escape")
    browser.until("!document.querySelector('#why').open")
    assert browser.value("document.activeElement === document.querySelector('.tile')"), "the focus is back on the tile"
    browser.press(".tile")
    browser.press("#why .do")
    browser.until("document.querySelector('#window h2').textContent.includes('Coat & Co')")
    assert "product=p2" in browser.value("location.hash")


def test_arrow_keys_move_within_a_carousel(browser: Browser, address: str) -> None:
    browser.open(address, DRAWN)
    browser.value("document.querySelector('.tile').focus()")
    place = "[...document.querySelectorAll('.carousel .tiles')][0].querySelectorAll('.tile')"
    for key, expected in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 6),
        ("ArrowRight", 6),
        ("Home", 0),
    ):
        browser.key(key)
        assert browser.value(f"[...{place}].indexOf(document.activeElement)") == expected
    assert browser.value(f"[...{place}].filter(t => t.tabIndex === 0).length") == 1, "one stop for the whole carousel"
    browser.key("ArrowRight")
    browser.key("Enter")
    browser.until("document.querySelector('#why').open")
    assert "Wool Scarf, cream" in said(browser, "#why") and "brand cap" in said(browser, "#why")


def test_skipping_to_the_lists_keeps_what_is_shown(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&customer={WHO['c2']}", DRAWN)
    browser.key("Tab")
    assert browser.value("document.activeElement.className") == "skip"
    browser.key("Enter")
    browser.until("document.activeElement.id === 'main'")
    assert said(browser, "#window h2") == f"Customer {WHO['c2']}"
    browser.key("Tab")
    assert browser.value("document.activeElement.closest('.past') !== null"), "straight to the content"


def test_the_way_back_shows_what_was_shown(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&product=p1", DRAWN)
    browser.press("#view-customer")
    browser.until("document.querySelector('#window h2').textContent === 'Customer " + WHO["c1"] + "'")
    browser.value("history.back()")
    browser.until("document.querySelector('#window h2').textContent === 'Plain Coat'")


def test_a_product_is_found_by_typing(browser: Browser, address: str) -> None:
    browser.open(address, DRAWN)
    browser.press("#find")
    browser.type("scarf")
    browser.until("document.querySelectorAll('#find-hits li').length === 2")
    browser.key("ArrowDown")
    browser.key("ArrowDown")
    assert browser.value("document.querySelector('#find').getAttribute('aria-activedescendant')") == "hit1"
    browser.key("Enter")
    browser.until("document.querySelector('#window h2').textContent === 'Long Scarf'")
    browser.press("#find")
    browser.type("script")
    browser.until("document.querySelectorAll('#find-hits li').length === 1")
    assert HOSTILE in said(browser, "#find-hits")
    browser.press("#find-hits li")
    browser.until("location.hash.includes('product=p2')")


def test_a_market_and_a_variant_are_chosen(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&product=p1", "document.querySelectorAll('.carousel').length === 2")
    browser.press("#variant-1")
    browser.until(f"{RAILS}[0][1][0] === 'Sun Hat'")
    assert "variant=calm" in browser.value("location.hash")
    browser.value("(m => { m.value = '1'; m.dispatchEvent(new Event('change')); })(document.querySelector('#market'))")
    browser.until("location.hash.includes('market=FR')")
    browser.until("document.querySelector('#window').innerText.includes('few are sold here')")
    assert rails(browser)["You Might Also Like"] == [HOSTILE, "Wool Scarf"]
    assert "People Also Bought: nothing in FR: the night has no list here" in said(browser, "#window")


def test_a_customer_has_history_and_list_beside_each_other(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&customer={WHO['c2']}", DRAWN)
    assert said(browser, "#window h2") == f"Customer {WHO['c2']}"
    assert rails(browser)["Recommended for you"] == ["Leather Belt", HOSTILE]
    history = said(browser, ".past")
    assert history.index("purchase") < history.index("gone") < history.index("Coat & Co"), "newest first"
    left, right = (
        browser.value(f"document.querySelector('{s}').getBoundingClientRect().left") for s in (".past", ".tiles")
    )
    assert right > left + 200
    assert "variant calm" in said(browser, "#window")


def test_a_bag_is_filled_combined_and_emptied(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&product=p1", DRAWN)
    browser.press(".hero .do")
    browser.until("document.querySelectorAll('.bag li').length === 1")
    # p7 costs more than half the coat; everything else is there, best first.
    assert rails(browser)["A Little Something Extra"] == ["Wool Scarf", "Striped Socks", "Sun Hat"]
    browser.press("#find")
    browser.type("p2")
    browser.until("document.querySelectorAll('#find-hits li').length === 1")
    browser.key("Enter")
    browser.until("document.querySelectorAll('.bag li').length === 2")
    # Means over both: socks .55, scarf p3 .45, scarf p5 .4 (same category as p3), hat .3, belt .225; p1 is in the bag.
    assert rails(browser)["A Little Something Extra"] == ["Striped Socks", "Wool Scarf", "Sun Hat", "Leather Belt"]
    assert "2 products, £180.00 in all" in said(browser, "#window")
    browser.press(".tile")
    browser.until("document.querySelector('#why').open")
    assert "0.55" in said(browser, "#why") and "0.5000 as 2nd extra of Plain Coat, navy" in said(browser, "#why")
    browser.key("Escape")
    browser.press(".remove")
    browser.until("document.querySelectorAll('.bag li').length === 1")
    browser.press(".remove")
    browser.until("document.querySelector('#window').innerText.includes('Empty.')")


def test_two_customers_stand_side_by_side(browser: Browser, address: str) -> None:
    browser.open(f"{address}#pair=1", DRAWN)
    assert rails(browser) == {
        f"A · Customer {WHO['c1']}": [HOSTILE, "Wool Scarf"],
        f"B · Customer {WHO['c2']}": ["Wool Scarf", "Long Scarf"],
    }
    assert "1 of 2 products are in both lists" in said(browser, "#window")
    assert "only for A" in said(browser, ".side") and "1st for B" in said(browser, ".side")


def test_a_category_page_shows_the_markets_order(browser: Browser, address: str) -> None:
    browser.open(f"{address}#market=GB&category=scarves", DRAWN)
    assert rails(browser)["Most wanted"] == ["Long Scarf", "Wool Scarf"]
    browser.open(f"{address}#market=FR&category=scarves", DRAWN)
    assert "Most wanted: nothing in FR: the night has no list here" in said(browser, "#window")


@pytest.mark.parametrize(
    "view", ["product=p2", "category=*", f"customer={WHO['c1']}", "bag=p1&bag=p2", "pair=1", "product=nobody"]
)
def test_every_view_fits_a_small_phone(browser: Browser, address: str, view: str) -> None:
    browser.size(360, 740)
    browser.open(f"{address}#market=GB&{view}", DRAWN)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    if browser.value("document.querySelectorAll('.tile').length"):
        browser.press(".tile")
        browser.until("document.querySelector('#why').open")
        assert browser.value("document.querySelector('#why').getBoundingClientRect().right") <= 360
        assert (
            browser.value("document.querySelector('#why').scrollWidth - document.querySelector('#why').clientWidth")
            <= 0
        )


COMBINED = [
    # (bag, lists, limit, ids and scores expected); products are (id, category, price)
    ([("a", "coats", 10)], [[("x", "hats", 4, 0.5), ("y", "hats", 4, 0.4), ("z", "", 4, 0.3)]], 9,
     [("x", 0.5), ("z", 0.3)]),
    ([("a", "coats", 10)], [[("x", "hats", 5.5, 0.5), ("y", "coats", 1, 0.4), ("z", "socks", 5, 0.3)]], 9,
     [("z", 0.3)]),
    ([("a", "", None)], [[("x", "", 900, 0.5), ("w", "", None, 0.5), ("y", "", 1, 0.6)]], 2, [("y", 0.6), ("x", 0.5)]),
    ([("a", "", 8), ("b", "", 8)], [[("b", "", 1, 0.9), ("x", "", 1, 0.4)], [("x", "", 1, 0.2), ("y", "", 1, 0.5)]], 9,
     [("x", 0.3), ("y", 0.25)]),
    ([("a", "", 8)], [[]], 9, []),
]  # fmt: skip


@pytest.mark.parametrize(("bag", "lists", "limit", "expected"), COMBINED)
def test_a_bag_is_combined_by_its_rule(
    browser: Browser, address: str, bag: list[tuple[object, ...]], lists: list[list[tuple[object, ...]]], limit: int,
    expected: list[tuple[str, float]],
) -> None:  # fmt: skip
    names = ("id", "category", "price", "score")
    given = [[dict(zip(names, p, strict=False)) for p in products] for products in (bag, *lists)]
    browser.open(address, DRAWN)
    found = browser.value(f"combineBag({json.dumps(given[0])}, {json.dumps(given[1:])}, {limit})")
    assert [p["id"] for p in found] == [product for product, _ in expected]
    assert [p["score"] for p in found] == pytest.approx([score for _, score in expected])


def test_page_and_service_combine_a_bag_alike(browser: Browser, address: str) -> None:
    rng = np.random.default_rng(7)
    bags = []
    for _ in range(60):
        products = [f"p{n}" for n in range(14)]
        known = {
            p: (p, str(rng.choice(["", "hats", "socks", "belts", "bags"])), rng.choice([None, 1.0, 5.0, 9.0]))
            for p in products
        }  # fmt: skip
        bag = rng.choice(products, rng.integers(1, 5), replace=False).tolist()
        lists = []
        for owner in bag:
            shown = [p for p in rng.permutation(products)[: rng.integers(0, 9)].tolist() if p != owner]
            # Few different scores, so that there are ties.
            lists.append([(*known[p], float(rng.integers(0, 5)) / 8) for p in shown])
        bags.append(([known[p] for p in bag], lists))
    names = ("id", "category", "price", "score")
    given = [
        [[dict(zip(names, p, strict=False)) for p in products] for products in (bag, *lists)] for bag, lists in bags
    ]
    browser.open(address, DRAWN)
    found = browser.value(f"{json.dumps(given)}.map(([bag, ...lists]) => combineBag(bag, lists, 6))")
    for (bag, lists), shown in zip(bags, found, strict=True):
        parts = [
            BagList(owner[0], *([p[n] for p in products] for n in (0, 3, 1, 2)))
            for owner, products in zip(bag, lists, strict=True)
        ]
        prices = [product[2] for product in bag if product[2] is not None]
        expected = combine(parts, [product[1] for product in bag], 6, sum(prices) if prices else None)
        assert [(p["id"], p["score"]) for p in shown] == expected
    assert sum(map(len, found)) > 100


def test_a_night_without_lists_says_so(browser: Browser, tmp_path: Path, address: str) -> None:
    from jobs.lake.lake import Lake

    path = tmp_path / "shop.html"
    path.write_text(written_of(Lake(tmp_path / "lake"), RUN, ShopWindowConfig()), "utf-8")
    browser.open(path.as_uri(), "document.querySelector('#window .note')")
    assert "No lists were made for this night" in said(browser, "#window")
    browser.requests.clear()


def test_a_part_that_is_missing_is_one_sentence(browser: Browser, tmp_path: Path) -> None:
    from tests.support.toy_shop import shop

    path = tmp_path / "shop.html"
    lake = shop(tmp_path / "lake")
    shutil.rmtree(lake.path(BAG_EXTRAS))
    path.write_text(written_of(lake, RUN, replace(ShopWindowConfig(), places=2)), "utf-8")
    for view, sentence in (
        ("bag=p1", "A Little Something Extra: the night has no lists of this kind."),
        ("category=", "Most wanted: nothing in"),
        ("pair=1", "No product was computed in two customers’ contexts"),
        ("customer=nobody", "nobody is not on this page"),
    ):  # fmt: skip
        browser.open(f"{path.as_uri()}#market=GB&{view}", DRAWN)
        assert sentence in said(browser, "#window")
    browser.requests.clear()


def test_a_cut_off_file_says_so(browser: Browser, address: str, tmp_path: Path) -> None:
    whole = Path(address.removeprefix("file://")).read_text("utf-8")
    at = whole.index('id="data-page">') + 60
    path = tmp_path / "shop.html"
    path.write_text(whole[:at] + whole[at + 40 :], "utf-8")
    browser.open(path.as_uri(), "document.querySelector('#window .note')")
    assert "could not be read" in said(browser, "#window")
    assert browser.complaints
    browser.complaints.clear()
    browser.requests.clear()
