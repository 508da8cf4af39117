"""What is answered on demand: rankings, bags, alternatives in context, and the commands that print them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from feature_repo.client import Recommendations, TooManyError
from feature_repo.client.ranking import Ranked
from jobs.ask.context import alternatives_in_context
from jobs.ask.lookup import print_bag, print_ranking
from jobs.errors import UserError
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    MARKET_RANKING,
    PRODUCT_EMBEDDINGS,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.asking import call, known_customer, printed, vectors
from tests.support.feast_store import FeastStore
from tests.support.nights import FIRST, Shop, feast_below


@pytest.fixture(scope="module")
def online(night: Shop) -> FeastStore:
    return night.online()


def test_the_service_and_the_function_give_the_inner_products(night: Shop, online: FeastStore) -> None:
    customer, market = known_customer(night)
    products, reads = vectors(night, PRODUCT_EMBEDDINGS), vectors(night, CUSTOMER_EMBEDDINGS)[customer]
    expected = {p: float(vector @ reads) for p, vector in products.items()}
    ids = [*sorted(products)[:40], "P-nobody-knows"]
    served = online.read("ranking_v1", [{"customer_id": customer, "product_id": p} for p in ids])
    assert [row["ranking__score"] for row in served[:-1]] == pytest.approx(
        [expected[p] for p in ids[:-1]], rel=1e-5, abs=1e-6
    )
    assert served[-1]["ranking__score"] is None
    ranked = online.client().rank(customer, ids, market).places
    assert [place.product_id for place in ranked] == [*sorted(ids[:-1], key=lambda p: -expected[p]), "P-nobody-knows"]
    scores = sorted((expected[p] for p in ids[:-1]), reverse=True)
    assert [place.score for place in ranked[:-1]] == pytest.approx(scores, rel=1e-5, abs=1e-6)
    assert [place.source for place in ranked] == ["model"] * 40 + ["given order"]


def test_without_full_feature_names_the_service_refuses_rather_than_mix_up_two_vectors(
    night: Shop, online: FeastStore
) -> None:
    from feast.errors import FeatureNameCollisionError

    key = [{"customer_id": known_customer(night)[0], "product_id": night.rows(CATALOGUE)[0]["product_id"]}]
    with pytest.raises(FeatureNameCollisionError):
        online.store.get_online_features(online.store.get_feature_service("ranking_v1"), key)


def test_an_unknown_customer_gets_the_markets_order(night: Shop, online: FeastStore) -> None:
    row = next(r for r in night.rows(MARKET_RANKING) if r["category"] != "*" and len(r["product_ids"]) >= 3)
    everything = next(r for r in night.rows(MARKET_RANKING) if (r["market"], r["category"]) == (row["market"], "*"))
    mine = row["product_ids"][:3]
    other = next(p for p in everything["product_ids"] if p not in row["product_ids"])
    candidates = ["P-a", mine[2], other, mine[0], "P-b", mine[1]]
    client = online.client()
    ranked = client.rank("C-nobody", candidates, row["market"], row["category"]).places
    assert [(place.product_id, place.source) for place in ranked] == [
        *((p, "category order") for p in mine), (other, "market order"), ("P-a", "given order"), ("P-b", "given order"),
    ]  # fmt: skip
    assert ranked[0].score == pytest.approx(row["scores"][0]) and ranked[-1] == Ranked("P-b", None, "given order")
    nowhere = client.rank("C-nobody", candidates, "Atlantis", row["category"]).places
    assert list(nowhere) == [Ranked(p, None, "given order") for p in candidates]


def test_vectors_of_another_model_are_no_score(night: Shop, tmp_path: Path) -> None:
    customer, market = known_customer(night)
    shop = night.copy(tmp_path)
    rows = shop.rows(PRODUCT_EMBEDDINGS)[:3]
    foreign, blank = rows[0]["product_id"], rows[1]["product_id"]
    rows[0]["model_id"], rows[2]["vector"] = "another", rows[1]["vector"]
    with feast_below(shop.lake.root):
        store = shop.online()
        batch = shop.lake.arrow(PRODUCT_EMBEDDINGS, as_of=FIRST).schema
        changed = pa.RecordBatch.from_pylist(rows, schema=batch)
        store.push(PRODUCT_EMBEDDINGS, [changed], datetime(2026, 6, 1, tzinfo=UTC))
        ids = [rows[2]["product_id"], foreign, blank]
        client = store.client()
        ranked = client.rank(customer, ids, market).places
        assert [(p.product_id, p.source) for p in ranked] == [
            (ids[0], "model"),
            (blank, "model"),
            (foreign, "market order"),
        ]
        assert ranked[0].score == ranked[1].score, "equal scores stand as they were given"
        other = client.rank(customer, ids[::-1], market).places
        assert [p.product_id for p in other] == [blank, ids[0], foreign]
        served = store.read("ranking_v1", [{"customer_id": customer, "product_id": p} for p in ids])
        assert [row["ranking__score"] is None for row in served] == [False, True, False]


def test_a_customer_of_whom_the_model_read_nothing_is_unknown_to_it(night: Shop, tmp_path: Path) -> None:
    customer, market = known_customer(night)
    shop = night.copy(tmp_path)
    row = next(r for r in shop.rows(CUSTOMER_EMBEDDINGS) if r["customer_id"] == customer)
    row["vector"] = [0.0] * (len(row["vector"]) - 1) + [1.0]
    with feast_below(shop.lake.root):
        store = shop.online()
        batch = pa.RecordBatch.from_pylist([row], schema=shop.lake.arrow(CUSTOMER_EMBEDDINGS, as_of=FIRST).schema)
        store.push(CUSTOMER_EMBEDDINGS, [batch], datetime(2026, 6, 1, tzinfo=UTC))
        client = store.client()
        page = client.category_page(market).list.product_ids
        assert {place.source for place in client.rank(customer, page, market).places} == {"market order"}
        assert store.read("ranking_v1", [{"customer_id": customer, "product_id": page[0]}])[0]["ranking__score"] is None


def test_the_client_answers_with_the_rows_of_the_tables(night: Shop) -> None:
    client = Recommendations(f"sqlite://{night.lake.root / 'feast' / 'online.db'}")
    market = known_customer(night)[1]
    similar = next(r for r in night.rows(YOU_MIGHT_ALSO_LIKE) if r["product_ids"])
    page = client.product_page(similar["product_id"], similar["market"])
    assert list(page.you_might_also_like.product_ids) == similar["product_ids"]
    assert list(page.you_might_also_like.sources) == similar["sources"] and page.shown.night == FIRST.isoformat()
    bags = [r for r in night.rows(BAG_EXTRAS) if r["product_ids"] and r["market"] == market][:3]
    bag = [r["product_id"] for r in bags]
    text = printed(lambda console: print_bag(client, [*bag, bag[0], "P-nobody-knows"], market, console))
    shown = client.bag([*bag, "P-nobody-knows"], market, places=12).list
    assert shown.origin == "own list" and all(product in text for product in shown.product_ids)
    assert set(shown.product_ids) <= {product for row in bags for product in row["product_ids"]} - {*bag}
    assert sum(line.lstrip()[:1].isdigit() for line in text.splitlines()) == len(shown.product_ids)
    with pytest.raises(UserError, match="the bag is empty"):
        print_bag(client, [""], market, Console())


def test_a_request_is_checked_and_cleaned(night: Shop, online: FeastStore) -> None:
    customer, market = known_customer(night)
    client = online.client()
    assert client.rank(customer, [], market).places == ()
    ranked = client.rank(customer, ["", "P-a", "P-a", "P-b"], market).places
    assert [place.product_id for place in ranked] == ["P-a", "P-b"]
    most = [f"P-{number}" for number in range(500)]
    assert len(client.rank(customer, most, market).places) == 500
    with pytest.raises(TooManyError, match=r"501 products, more than 500; give the first 500"):
        client.rank(customer, [*most, "P-x"], market)
    with pytest.raises(UserError, match=r"501 products, more than 500; give the first 500"):
        print_ranking(client, customer, market, None, [*most, "P-x"], Console())
    with pytest.raises(UserError, match=r"no ranking of category 'boats' in market 'GB'"):
        print_ranking(client, customer, "GB", "boats", None, Console())


# --- alternatives in context


def test_alternatives_in_context_are_the_category_without_what_was_bought(night: Shop) -> None:
    row = next(r for r in night.rows(YOU_MIGHT_ALSO_LIKE) if r["product_ids"])
    kinds = {r["product_id"]: r["category"] for r in night.rows(CATALOGUE)}
    bought: dict[str, set[str]] = {}
    for event in night.lake.arrow(EVENTS, ("customer_id", "product_id", "event_type")).to_pylist():
        if event["event_type"] == "purchase":
            bought.setdefault(event["customer_id"], set()).add(event["product_id"])
    same = [p for p, kind in kinds.items() if kind == kinds[row["product_id"]]]
    customer = max(sorted(bought), key=lambda c: len(bought[c] & {*row["product_ids"], *same}))
    found = alternatives_in_context(night.lake, FIRST, customer, row["product_id"], row["market"], shown=1_000)
    places = [place.product_id for place in found.places]
    assert len(set(places)) == len(places) and row["product_id"] not in places
    assert bought[customer] & {*row["product_ids"], *same}, "the example leaves something out"
    assert not set(places) & bought[customer]
    listed = set(row["product_ids"]) & set(vectors(night, PRODUCT_EMBEDDINGS))
    assert listed - bought[customer] <= set(places) <= {*row["product_ids"], *same}
    assert [place.product_id for place in found.plain] == row["product_ids"]
    assert found == alternatives_in_context(night.lake, FIRST, customer, row["product_id"], row["market"], shown=1_000)


def test_a_context_that_cannot_be_told_says_why(night: Shop) -> None:
    customer = night.rows(CUSTOMER_SEQUENCES)[0]["customer_id"]
    product_id = night.rows(PRODUCT_EMBEDDINGS)[0]["product_id"]
    for arguments, words in (
        ((date(2020, 1, 1), customer, product_id), f"2020-01-01 has no vectors; nights that have some: {FIRST}"),
        ((FIRST, "C-nobody", product_id), "customer 'C-nobody' is unknown"),
        ((FIRST, customer, "P-nobody"), "product 'P-nobody' has no vector"),
        ((FIRST, customer, product_id, "Atlantis"), "nothing is for sale in market 'Atlantis'"),
    ):
        with pytest.raises(UserError, match=words):
            alternatives_in_context(night.lake, *arguments)


# --- the commands that print it


def test_a_printed_ranking_names_products_and_who_decided(night: Shop, online: FeastStore) -> None:
    customer, market = known_customer(night)
    row = next(r for r in night.rows(MARKET_RANKING) if r["market"] == market and r["category"] != "*")
    text = printed(print_ranking, online.client(), customer, None, row["category"], None)
    assert f"market {market}" in text and "model" in text
    assert all(p in text for p in row["product_ids"])
    assert "given order" in printed(print_ranking, online.client(), "C-nobody", market, None, ["P-x"])
    with pytest.raises(UserError, match="give --market for a new customer"):
        print_ranking(online.client(), "C-nobody", None, None, ["P-x"], Console())


def test_the_questions_are_answered_from_the_lake_they_are_given(
    night: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(night.lake.root / "feast"))
    customer, market = known_customer(night)
    row = next(r for r in night.rows(YOU_MIGHT_ALSO_LIKE) if r["market"] == market)
    root, shown = ("--root", str(night.lake.root)), row["product_ids"][0]
    for question, words in (
        (("rank", "--customer", customer, "--category", "*"), shown),
        (("rank", "--customer", customer, "--products", f"{shown}, P-x"), "given order"),
        (("context", "--customer", customer, "--product", row["product_id"]), "for everybody"),
        (("explain", "--product", row["product_id"], "--market", market), f"you_might_also_like for product "
                                                                          f"{row['product_id']}, market {market}"),
        (("explain", "--customer", customer), "recommended_for_you"),
        (("explain", "--category", "*", "--market", market, "--position", "2"), "2 of"),
    ):  # fmt: skip
        assert call(monkeypatch, *question, *root) == 0
        assert words in capsys.readouterr().out, question
    assert call(monkeypatch, "rank", "--customer", customer, *root) == 2
    assert "give --category NAME or --products A,B,C" in capsys.readouterr().err
