"""What services get from Feast: the Delta rows, by our push and by Feast's own materialisation."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from jobs.__main__ import main
from jobs.errors import UserError
from jobs.lookup import print_customer, print_product
from jobs.online import REPO, OnlineStore
from jobs.tables import (
    CATALOGUE,
    CUSTOMER_SEQUENCES,
    LISTS,
    PEOPLE_ALSO_BOUGHT,
    PUBLISHED,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.night.nights import FIRST, Rows, Shop, feast_below


@pytest.fixture(scope="module")
def online(night: Shop) -> OnlineStore:
    return night.online()


def keys_of(rows: Rows, *names: str) -> list[dict[str, str]]:
    """Online keys of some rows."""
    return [{name: row[name] for name in names} for row in rows]


def only(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Some columns of rows."""
    return [{name: row[name] for name in names} for row in rows]


def test_a_product_page_gets_both_carousels(night: Shop, online: OnlineStore) -> None:
    similar, bought = night.rows(YOU_MIGHT_ALSO_LIKE), night.rows(PEOPLE_ALSO_BOUGHT)
    found = online.read("product_page_v1", keys_of(similar, "product_id", "market"))
    assert keys_of(similar, "product_id", "market") == keys_of(bought, "product_id", "market")
    for row, table, rows in ((r, t, rs) for t, rs in ((YOU_MIGHT_ALSO_LIKE, similar), (PEOPLE_ALSO_BOUGHT, bought))
                             for r in range(len(rs))):  # fmt: skip
        for column in ("product_ids", "scores", "sources"):
            assert found[row][f"{table.name}__{column}"] == rows[row][column]
        assert found[row][f"{table.name}__night"] == FIRST.isoformat()


def test_the_home_page_gets_the_customers_list(night: Shop, online: OnlineStore) -> None:
    rows = night.rows(RECOMMENDED_FOR_YOU)
    found = online.read("home_v1", keys_of(rows, "customer_id", "market"))
    columns = ("customer_id", "market", "product_ids", "scores", "sources")
    assert only(found, *columns) == only(rows, *columns)
    assert {row["night"] for row in found} == {FIRST.isoformat()}


def test_a_customers_history_is_the_sequence(night: Shop, online: OnlineStore) -> None:
    rows = night.rows(CUSTOMER_SEQUENCES)
    found = online.read("customer_history_v1", keys_of(rows, "customer_id"))
    columns = ("customer_id", "product_ids", "event_types", "market")
    assert only(found, *columns) == only(rows, *columns)
    # Feast keeps times to the second.
    stored = [[at.replace(microsecond=0) for at in row["event_timestamps"]] for row in rows]
    assert [[at.astimezone(UTC) for at in row["event_timestamps"]] for row in found] == stored


def test_a_products_details_are_its_catalogue_row(night: Shop, online: OnlineStore) -> None:
    rows = night.rows(CATALOGUE)
    found = online.read("product_details_v1", keys_of(rows, "product_id"))
    columns = ("product_id", "name", "brand", "category", "department", "colour", "price", "currency", "image_url")
    assert only(found, *columns) == only(rows, *columns)
    assert any(row["brand"] is None for row in rows) or len(rows) > 100


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ("product_page_v1", {"product_id": "P-nobody-knows", "market": "GB"}),
        ("home_v1", {"customer_id": "C-nobody-knows", "market": "GB"}),
        ("customer_history_v1", {"customer_id": "C-nobody-knows"}),
        ("product_details_v1", {"product_id": "P-nobody-knows"}),
    ],
)
def test_an_unknown_key_gives_nulls(service: str, key: dict[str, str], online: OnlineStore) -> None:
    found = online.read(service, [key])[0]
    features = {name: value for name, value in found.items() if name not in key}
    assert features and set(features.values()) == {None}


def test_a_known_product_in_an_unknown_market_gives_nulls(night: Shop, online: OnlineStore) -> None:
    key = {"product_id": night.rows(YOU_MIGHT_ALSO_LIKE)[0]["product_id"], "market": "Atlantis"}
    found = online.read("product_page_v1", [key])[0]
    assert found["you_might_also_like__product_ids"] is None


def test_every_online_column_is_in_its_tables_definition() -> None:
    from feature_repo.definitions import ONLINE, SERVICES, TYPES

    for table, columns in ONLINE.items():
        assert set(columns) <= set(table.names), table.name
        assert {column.type for column in table.columns if column.name in columns} <= set(TYPES), table.name
    served = {table for _, tables in SERVICES.values() for table in tables}
    assert served == set(ONLINE) == {CATALOGUE, CUSTOMER_SEQUENCES, *LISTS}


def test_feasts_own_materialisation_gives_what_our_push_gave(
    night: Shop, online: OnlineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feast.infra.offline_stores.contrib.spark_offline_store import spark

    from feature_repo.definitions import SERVICES, definitions

    # Feast takes the thread's active Spark session; in this process that may be the other engine's.
    monkeypatch.setattr(spark, "get_spark_session_or_start_new_with_repoconfig", lambda _: night.lake.spark)
    second = OnlineStore(night.lake.root, REPO / "feature_store.yaml")
    (tmp_path / "feast").mkdir()
    with feast_below(tmp_path):
        second.store.apply(definitions(night.lake.root))
    probe = keys_of(night.rows(RECOMMENDED_FOR_YOU), "customer_id", "market")
    assert second.read("home_v1", probe[:1])[0]["product_ids"] is None, "the second store is not empty to begin with"
    second.store.materialize(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    keys = {
        "product_page_v1": keys_of(night.rows(YOU_MIGHT_ALSO_LIKE), "product_id", "market"),
        "home_v1": probe,
        "customer_history_v1": keys_of(night.rows(CUSTOMER_SEQUENCES), "customer_id"),
        "product_details_v1": keys_of(night.rows(CATALOGUE), "product_id"),
    }
    assert keys.keys() == SERVICES.keys()
    for service, wanted in keys.items():
        assert second.read(service, wanted) == online.read(service, wanted), service


def test_the_online_rows_carry_the_time_of_publication(night: Shop, online: OnlineStore) -> None:
    from feast.utils import make_tzaware

    published = night.rows(PUBLISHED)[0]["published_at"]
    key = keys_of(night.rows(RECOMMENDED_FOR_YOU)[:1], "customer_id", "market")
    service = online.store.get_feature_service("home_v1")
    found = online.store.get_online_features(service, key).to_dict(include_event_timestamps=True)
    assert make_tzaware(datetime.fromtimestamp(found["product_ids__ts"][0], UTC)) == published.replace(microsecond=0)


# --- the command that prints it


def printed(show: Any, *arguments: Any) -> str:
    """What a lookup prints on a wide terminal."""
    console = Console(record=True, width=200, file=io.StringIO())
    show(*arguments, console)
    return console.export_text()


def test_a_customers_lookup_prints_names(night: Shop, online: OnlineStore) -> None:
    row = night.rows(RECOMMENDED_FOR_YOU)[0]
    names = {r["product_id"]: r["name"] for r in night.rows(CATALOGUE)}
    text = printed(print_customer, online, row["customer_id"], None)
    assert row["customer_id"] in text and f"night {FIRST}" in text
    assert all(names[product].split()[0] in text and product in text for product in row["product_ids"])


def test_a_products_lookup_prints_both_carousels(night: Shop, online: OnlineStore) -> None:
    row = night.rows(PEOPLE_ALSO_BOUGHT)[0]
    text = printed(print_product, online, row["product_id"], row["market"])
    assert "You Might Also Like" in text and "People Also Bought" in text
    assert all(product in text for product in row["product_ids"])


def test_lookups_of_the_unknown_say_so(online: OnlineStore) -> None:
    with pytest.raises(UserError, match="customer 'C-nobody' is not online"):
        print_customer(online, "C-nobody", None, Console())
    with pytest.raises(UserError, match="product 'P-nobody' is not in the live catalogue"):
        print_product(online, "P-nobody", "GB", Console())
    with pytest.raises(UserError, match="give --market"):
        print_product(online, "P-nobody", None, Console())


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit code of `python -m jobs ..` in this process."""
    monkeypatch.setattr(sys, "argv", ["jobs", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


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
