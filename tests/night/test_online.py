"""What services get from Feast: the Delta rows, by our push and by Feast's own materialisation."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from jobs.ask.lookup import print_customer, print_product
from jobs.errors import UserError
from jobs.publish.step import SURFACES
from jobs.publish.store import REPO
from jobs.tables.networks import ASSORTMENTS, NETWORKS
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.asking import call, keys_of, only, printed
from tests.support.feast_store import FeastStore
from tests.support.nights import FIRST, Shop, feast_below

PAGE_KEY = ("product_id", "market", "variant")


@pytest.fixture(scope="module")
def online(night: Shop) -> FeastStore:
    return night.online()


def test_a_product_page_gets_both_carousels(night: Shop, online: FeastStore) -> None:
    similar, bought = night.rows(YOU_MIGHT_ALSO_LIKE), night.rows(PEOPLE_ALSO_BOUGHT)
    found = online.read("product_page_v2", keys_of(similar, *PAGE_KEY))
    assert keys_of(similar, *PAGE_KEY) == keys_of(bought, *PAGE_KEY)
    for row, table, rows in ((r, t, rs) for t, rs in ((YOU_MIGHT_ALSO_LIKE, similar), (PEOPLE_ALSO_BOUGHT, bought))
                             for r in range(len(rs))):  # fmt: skip
        for column in ("product_ids", "scores", "sources"):
            assert found[row][f"{table.name}__{column}"] == rows[row][column]
        assert found[row][f"{table.name}__night"] == FIRST.isoformat()


def test_the_home_page_gets_the_customers_list(night: Shop, online: FeastStore) -> None:
    rows = night.rows(RECOMMENDED_FOR_YOU)
    found = online.read("home_v1", keys_of(rows, "customer_id", "market"))
    columns = ("customer_id", "market", "product_ids", "scores", "sources")
    assert only(found, *columns) == only(rows, *columns)
    assert {row["night"] for row in found} == {FIRST.isoformat()}


def test_the_bag_and_category_pages_get_their_lists(night: Shop, online: FeastStore) -> None:
    for service, table, more in (
        ("bag_page_v1", BAG_EXTRAS, ("categories",)),
        ("category_page_v1", MARKET_RANKING, ()),
    ):
        rows = night.rows(table)
        found = online.read(service, keys_of(rows, *table.key))
        columns = (*table.key, "product_ids", "scores", "sources", *more)
        assert only(found, *columns) == only(rows, *columns), service


def test_vectors_come_with_their_model(night: Shop, online: FeastStore) -> None:
    for service, table in (("customer_vector_v1", CUSTOMER_EMBEDDINGS), ("product_vector_v1", PRODUCT_EMBEDDINGS)):
        rows = night.rows(table)
        found = online.read(service, keys_of(rows, *table.key))
        assert only(found, *table.key, "vector", "model_id") == only(rows, *table.key, "vector", "model_id")


def test_a_customers_history_is_the_sequence(night: Shop, online: FeastStore) -> None:
    rows = night.rows(CUSTOMER_SEQUENCES)
    found = online.read("customer_history_v1", keys_of(rows, "customer_id"))
    columns = ("customer_id", "product_ids", "event_types", "market")
    assert only(found, *columns) == only(rows, *columns)
    # Feast keeps times to the second.
    stored = [[at.replace(microsecond=0) for at in row["event_timestamps"]] for row in rows]
    assert [[at.astimezone(UTC) for at in row["event_timestamps"]] for row in found] == stored


def test_a_products_details_are_its_catalogue_row(night: Shop, online: FeastStore) -> None:
    rows = night.rows(CATALOGUE)
    found = online.read("product_details_v1", keys_of(rows, "product_id"))
    columns = ("product_id", "name", "brand", "category", "department", "colour", "price", "currency", "image_url")
    assert only(found, *columns) == only(rows, *columns)
    assert any(row["brand"] is None for row in rows) or len(rows) > 100


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ("product_page_v2", {"product_id": "P-nobody-knows", "market": "GB", "variant": "default"}),
        ("bag_page_v1", {"product_id": "P-nobody-knows", "market": "GB", "variant": "default"}),
        ("category_page_v1", {"market": "GB", "category": "nothing", "variant": "default"}),
        ("customer_vector_v1", {"customer_id": "C-nobody-knows"}),
        ("product_vector_v1", {"product_id": "P-nobody-knows"}),
        ("ranking_v1", {"customer_id": "C-nobody-knows", "product_id": "P-nobody-knows"}),
        ("home_v1", {"customer_id": "C-nobody-knows", "market": "GB"}),
        ("customer_history_v1", {"customer_id": "C-nobody-knows"}),
        ("product_details_v1", {"product_id": "P-nobody-knows"}),
    ],
)
def test_an_unknown_key_gives_nulls(service: str, key: dict[str, str], online: FeastStore) -> None:
    found = online.read(service, [key])[0]
    features = {name: value for name, value in found.items() if name not in key}
    assert features and set(features.values()) == {None}


def test_a_known_product_in_an_unknown_market_or_variant_gives_nulls(night: Shop, online: FeastStore) -> None:
    known = keys_of(night.rows(YOU_MIGHT_ALSO_LIKE)[:1], *PAGE_KEY)[0]
    for key in (known | {"market": "Atlantis"}, known | {"variant": "untold"}):
        assert online.read("product_page_v2", [key])[0]["you_might_also_like__product_ids"] is None


def test_every_online_column_is_in_its_tables_definition() -> None:
    from feature_repo.definitions import TYPES
    from feature_repo.served import ONLINE, SERVICES

    for table, columns in ONLINE.items():
        assert set(columns) <= set(table.names), table.name
        assert {column.type for column in table.columns if column.name in columns} <= set(TYPES), table.name
    served = {table for _, tables in SERVICES.values() for table in tables}
    assert served | {NETWORKS, ASSORTMENTS} == set(ONLINE) == set(SURFACES), "only the client reads these two"


def test_a_service_of_ours_that_is_defined_no_more_goes(night: Shop, tmp_path: Path) -> None:
    from feast import FeatureService

    shop = night.copy(tmp_path)
    with feast_below(shop.lake.root):
        store = shop.online()
        view = store.store.get_feature_view("you_might_also_like")
        for name, owner in (("product_page_v1", "recommendations"), ("somebody_elses", "search")):
            store.store.apply(FeatureService(name=name, features=[view], owner=owner))
        store.apply()
        names = {service.name for service in store.store.list_feature_services()}
    assert "product_page_v1" not in names and {"product_page_v2", "ranking_v1", "somebody_elses"} <= names


def test_feasts_own_materialisation_gives_what_our_push_gave(night: Shop, online: FeastStore, tmp_path: Path) -> None:
    from feature_repo.definitions import definitions
    from feature_repo.served import SERVICES

    second = FeastStore(night.lake.root, REPO / "feature_store.yaml")
    (tmp_path / "feast").mkdir()
    with feast_below(tmp_path):
        second.store.apply(definitions(night.lake.root))
    probe = keys_of(night.rows(RECOMMENDED_FOR_YOU), "customer_id", "market")
    with pytest.raises(UserError, match="publish a night there first"):
        second.read("home_v1", probe[:1])
    second.store.materialize(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    for service, (_, tables) in SERVICES.items():
        wanted = keys_of(night.rows(tables[0]), *tables[0].key)
        assert second.read(service, wanted) == online.read(service, wanted), service


def test_the_online_rows_carry_the_time_of_publication(night: Shop, online: FeastStore) -> None:
    from feast.utils import make_tzaware

    published = night.rows(PUBLISHED)[0]["published_at"]
    key = keys_of(night.rows(RECOMMENDED_FOR_YOU)[:1], "customer_id", "market")
    service = online.store.get_feature_service("home_v1")
    found = online.store.get_online_features(service, key).to_dict(include_event_timestamps=True)
    assert make_tzaware(datetime.fromtimestamp(found["product_ids__ts"][0], UTC)) == published.replace(microsecond=0)


# --- the commands that print it


def test_a_customers_lookup_prints_names(night: Shop, online: FeastStore) -> None:
    row = night.rows(RECOMMENDED_FOR_YOU)[0]
    names = {r["product_id"]: r["name"] for r in night.rows(CATALOGUE)}
    text = printed(print_customer, online.client(), row["customer_id"], None)
    assert row["customer_id"] in text and f"night {FIRST}" in text
    assert all(names[product].split()[0] in text and product in text for product in row["product_ids"])


def test_a_products_lookup_prints_both_carousels(night: Shop, online: FeastStore) -> None:
    row = night.rows(PEOPLE_ALSO_BOUGHT)[0]
    text = printed(print_product, online.client(), row["product_id"], row["market"])
    assert "You Might Also Like" in text and "People Also Bought" in text
    assert all(product in text for product in row["product_ids"])


def test_a_lookup_of_a_variant_without_lists_says_what_a_service_shows(night: Shop, online: FeastStore) -> None:
    row = night.rows(PEOPLE_ALSO_BOUGHT)[0]
    client = online.client()
    text = printed(lambda console: print_product(client, row["product_id"], row["market"], console, "untold"))
    assert "variant untold" in text and text.count("a service shows the default variant") == 2
    text = printed(lambda console: print_product(client, row["product_id"], "Atlantis", console))
    assert text.count("nothing for market Atlantis: the night has no list here") == 2


def test_lookups_of_the_unknown_say_so(online: FeastStore) -> None:
    client = online.client()
    with pytest.raises(UserError, match="customer 'C-nobody' is not online"):
        print_customer(client, "C-nobody", None, Console())
    text = printed(print_product, client, "P-nobody", "GB")
    assert "does not have the product" in text and text.count("a service shows the market order") == 2
    text = printed(print_customer, client, "C-nobody", "GB")
    assert "does not know the customer" in text and text.count("a service shows the market order") == 1
    with pytest.raises(UserError, match="give --market"):
        print_product(client, "P-nobody", None, Console())


def test_the_lookup_command_reads_the_lake_it_is_given(
    night: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(night.lake.root / "feast"))
    customer = night.rows(RECOMMENDED_FOR_YOU)[0]["customer_id"]
    assert call(monkeypatch, "lookup", "--root", str(night.lake.root), "--customer", customer) == 0
    assert customer in capsys.readouterr().out
    assert call(monkeypatch, "lookup", "--root", str(night.lake.root), "--customer", "C-nobody") == 2
    assert capsys.readouterr().err.startswith("error: customer 'C-nobody' is not online")


def test_a_lookup_where_nothing_was_published_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(tmp_path / "feast"))
    assert call(monkeypatch, "lookup", "--root", str(tmp_path), "--customer", "C1") == 2
    message = capsys.readouterr().err
    assert "publish a night there first" in message and "Traceback" not in message
