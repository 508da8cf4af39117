"""What a visitor does now, read with the network of the night: exact lists, the night's vectors, and fallbacks."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_repo.client import Recommendations
from feature_repo.client.answers import FRESH, MARKET_ORDER, OWN
from feature_repo.client.network import Network
from feature_repo.client.sessions import NOW
from feature_repo.online.store import writer
from jobs.lake.live import publications
from jobs.lists.assortment import read_assortment
from jobs.lists.assortments import stage_assortments
from jobs.lists.builder import ListBuilder
from jobs.lists.config import ListsConfig
from jobs.networks import read_network
from jobs.policy.compile import policy_on
from jobs.policy.parse import rules_of
from jobs.policy.variants import Variant
from jobs.sample_shop import SIZES, truth
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import (
    AVAILABILITY,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.asking import call, known_customer, vectors
from tests.support.nights import FIRST, Shop, feast_below

MORNING = datetime(FIRST.year, FIRST.month, FIRST.day, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(night: Shop) -> Recommendations:
    return night.online().client()


@pytest.fixture(scope="module")
def network(night: Shop) -> Network:
    found = read_network(night.lake, FIRST)
    assert found is not None
    return found


def seconds(at: datetime) -> int:
    return int(at.timestamp())


def test_everybodys_history_has_the_nights_vector(night: Shop, network: Network) -> None:
    of_night = vectors(night, CUSTOMER_EMBEDDINGS)
    for row in night.rows(CUSTOMER_SEQUENCES):
        times = map(seconds, row["event_timestamps"])
        found = network.encode(network.events(zip(row["product_ids"], row["event_types"], times, strict=True)))
        if found is None:
            assert not of_night[row["customer_id"]][:-1].any()
        else:
            np.testing.assert_allclose(found, of_night[row["customer_id"]], atol=1e-4)
    products = vectors(night, PRODUCT_EMBEDDINGS)
    assert set(products) <= set(network.number)
    for product, vector in products.items():
        np.testing.assert_array_equal(network.vectors[:, network.number[product]], vector.astype(np.float32))


def test_the_list_is_the_markets_best_for_history_and_session(
    night: Shop, client: Recommendations, network: Network
) -> None:
    customer, market = known_customer(night)
    history = next(row for row in night.rows(CUSTOMER_SEQUENCES) if row["customer_id"] == customer)
    sold = {r["product_id"] for r in night.rows(AVAILABILITY) if r["market"] == market and r["available"]}
    today = sorted(sold)[:3]
    recent = [(p, "click", MORNING + timedelta(minutes=place)) for place, p in enumerate(today[:2])]
    recent.append((today[2], "purchase", MORNING + timedelta(hours=1)))
    page = client.home(customer, market, recent)
    assert (page.list.origin, page.shown.night) == (FRESH, FIRST.isoformat())
    events = zip(history["product_ids"], history["event_types"], map(seconds, history["event_timestamps"]), strict=True)
    now = [(p, kind, seconds(at)) for p, kind, at in recent]
    whole, present = (network.encode(network.events(some)) for some in ([*events, *now], now))
    assert whole is not None and present is not None
    vector = NOW * present + (1 - NOW) * whole
    scores = {product: float(own @ vector) for product, own in vectors(night, PRODUCT_EMBEDDINGS).items()}
    rows = {row["product_id"]: row for row in night.rows(CATALOGUE)}
    for product in {*history["bought"], today[2], *(p for p in rows if (rows[p]["launched_at"] or FIRST) >= FIRST)}:
        scores.pop(product, None)
    brands: dict[str, int] = {}
    expected = []
    for product in sorted(scores.keys() & sold, key=lambda p: -scores[p]):
        brand = rows[product]["brand"]
        brands[brand] = brands.get(brand, 0) + 1
        if brand is None or brands[brand] <= 8:
            expected.append(product)
    assert list(page.list.product_ids) == expected[: night.config.lists.top_n]
    assert page.list.scores == pytest.approx([scores[p] for p in page.list.product_ids], abs=1e-5)
    ranked = client.rank(customer, sorted(scores)[:50], market, recent=recent).places
    assert [one.product_id for one in ranked] == sorted(sorted(scores)[:50], key=lambda p: -scores[p])
    assert client.home(customer, market).list.product_ids != page.list.product_ids


def test_what_the_night_has_read_already_counts_once(night: Shop, client: Recommendations, network: Network) -> None:
    customer, market = known_customer(night)
    row = next(row for row in night.rows(CUSTOMER_SEQUENCES) if row["customer_id"] == customer)
    own = list(zip(row["product_ids"], row["event_types"], row["event_timestamps"], strict=True))[-3:]
    now = network.encode(network.events((product, kind, seconds(at)) for product, kind, at in own))
    products = sorted(network.number)[:20]
    found = client.rank(customer, products, market, recent=own).places
    vector = NOW * now + (1 - NOW) * vectors(night, CUSTOMER_EMBEDDINGS)[customer]
    scores = {product: float(vector @ network.vectors[:, network.number[product]]) for product in products}
    assert [one.score for one in found if one.source == "model"] == pytest.approx(
        sorted(scores.values(), reverse=True), abs=1e-4
    )


def test_a_visitor_without_an_id_is_known_by_the_session_alone(night: Shop, client: Recommendations) -> None:
    row = next(row for row in night.rows(RECOMMENDED_FOR_YOU) if len(row["product_ids"]) > 3)
    clicked, market = row["product_ids"][0], row["market"]
    for nobody in (None, "", "C-new-today"):
        shown = client.home(nobody, market, [(clicked, "click", seconds(MORNING))]).list
        assert shown.origin == FRESH and len(shown.product_ids) == len(client.home("C-x", market).list.product_ids)
        ranked = client.rank(nobody, shown.product_ids[::-1], market, recent=[(clicked, "click", MORNING)]).places
        assert [one.product_id for one in ranked] == list(shown.product_ids)


def test_without_events_that_the_network_can_read_the_list_is_the_nights(night: Shop, client: Recommendations) -> None:
    customer, market = known_customer(night)
    assert client.home(customer, market, []).list.origin == OWN
    assert client.home(None, market, [("P-unknown", "click", MORNING)]).list.origin == MARKET_ORDER
    assert (
        client.home(customer, "Atlantis", [("P-unknown", "click", MORNING)]).list
        == client.home(customer, "Atlantis").list
    )


def test_alternatives_that_the_visit_has_had_come_last(night: Shop, client: Recommendations) -> None:
    row = next(row for row in night.rows(YOU_MIGHT_ALSO_LIKE) if len(row["product_ids"]) > 5)
    page, market, own = row["product_id"], row["market"], row["product_ids"]
    visit = [
        (own[0], "click", MORNING),
        (own[4], "click", MORNING + timedelta(minutes=1)),
        (page, "click", MORNING + timedelta(minutes=2)),
    ]
    shown = client.product_page(page, market, recent=visit).you_might_also_like
    plain = client.product_page(page, market).you_might_also_like
    assert shown.origin == FRESH and shown.list_id == plain.list_id
    assert list(shown.product_ids) == [*own[1:4], *own[5:], own[0], own[4]]
    told = dict(zip(plain.product_ids, zip(plain.scores, plain.sources, strict=True), strict=True))
    assert dict(zip(shown.product_ids, zip(shown.scores, shown.sources, strict=True), strict=True)) == told
    assert (
        client.product_page(page, market, recent=visit).people_also_bought
        == client.product_page(page, market).people_also_bought
    )


def test_a_visit_finds_what_the_shop_knows_to_be_alternatives(night: Shop, client: Recommendations) -> None:
    known = truth(SIZES["tiny"])
    sold = {r["product_id"] for r in night.rows(AVAILABILITY) if r["available"] and r["market"] == "GB"}
    right = chance = 0.0
    for group in range(len(known.groups)):
        alike = sold & {known.product_ids[place] for place in np.flatnonzero(known.group == group)}
        if len(alike) < 6:
            continue
        visit = [(product, "click", MORNING) for product in sorted(alike)[:2]]
        shown = set(client.home(None, "GB", visit).list.product_ids[:6]) - {product for product, _, _ in visit}
        right += len(shown & alike) / max(len(shown), 1)
        chance += len(alike) / len(sold)
    assert right > 3 * chance > 0


def test_the_lookup_command_reads_a_visit(
    night: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = next(row for row in night.rows(YOU_MIGHT_ALSO_LIKE) if len(row["product_ids"]) > 3)
    with feast_below(night.lake.root):
        for who in (("--customer", known_customer(night)[0]), ("--product", row["product_id"]), ()):
            visit = ("--recent", ", ".join(row["product_ids"][:2]), "--market", row["market"])
            assert call(monkeypatch, "lookup", *who, *visit, "--root", str(night.lake.root)) == 0
            assert "made now of the visit" in capsys.readouterr().out


def test_rules_that_exclude_and_caps_hold_in_a_visit(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    assortment = read_assortment(shop.lake, shop.run_of(FIRST), shop.config.lists.popular, 14)
    client = Recommendations(shop.online().backend)
    customer, market = known_customer(shop)
    recent = [(client.home(customer, market).list.product_ids[0], "click", MORNING)]
    first, second = client.home(customer, market, recent).list.product_ids[:2]
    row = {"rule_id": "x", "kind": "exclude", "touch_point": RECOMMENDED_FOR_YOU.name, "attribute": "product_id"}
    cap = {"rule_id": "cap", "kind": "category_cap", "touch_point": RECOMMENDED_FOR_YOU.name, "amount": 2}
    rows = [row | {"value": first, "variant": "b"}, cap, row | {"rule_id": "y", "value": second, "market": "nowhere"}]
    builder = ListBuilder(assortment, policy_on(rules_of(rows), FIRST), 24)
    config = ListsConfig(variants=(Variant(share=0.5), Variant("b", share=0.5)))
    stage_assortments(shop.lake, builder, config, shop.run_of(FIRST))
    shop.step("publish")
    client = Recommendations(shop.online().backend)
    shown = client.home(customer, market, recent).list.product_ids
    assert first not in shown and second in shown
    category = {r["product_id"]: r["category"] for r in shop.rows(CATALOGUE)}
    assert max(Counter(filter(None, map(category.get, shown))).values()) <= 2


def test_a_publication_of_older_code_without_a_network_is_gone_back_to(second_night: Shop, tmp_path: Path) -> None:
    shop, new = second_night.copy(tmp_path), (NETWORKS, ASSORTMENTS)
    backend = shop.online().backend
    with writer(backend) as store:  # as if the first night had been published before there were these tables
        nights = store.nights()
        for night in nights[:-1]:
            for facts in ("versions", "stamps", "since", "layouts", "rows"):
                night.extra[facts] = {k: v for k, v in night.extra[facts].items() if k not in {t.name for t in new}}
        backend.put({backend.prefix + b"!log": json.dumps([one.packed().decode() for one in nights]).encode()})
    for table in new:
        shop.lake.remove(table, pc.field("as_of") == pa.scalar(FIRST))
    first = publications(shop.lake)[0]
    kept = [
        row
        for row in shop.lake.arrow(PUBLISHED).to_pylist()
        if row["as_of"] != FIRST or row["surface"] not in {t.name for t in new}
    ]
    shop.lake.overwrite(PUBLISHED, pa.Table.from_pylist(kept, schema=shop.lake.arrow(PUBLISHED).schema))
    assert "its rows were online" in shop.step("publish", replace_newer=True, published_at=first.at).note
    assert Recommendations(backend).home(*known_customer(shop)).shown.night == FIRST.isoformat()
