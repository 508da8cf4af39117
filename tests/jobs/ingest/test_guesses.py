"""What the columns of exports mean: by names in several languages and systems, and by their values."""

from __future__ import annotations

import json

import pytest

from jobs.ingest.guesses import SampledColumn, best, quoted_name, sampled_view
from jobs.ingest.value_forms import instant_of, number_sql

VALUES = {
    "customer_id": ["17", "18", "19"],
    "product_id": ["A1", "B2", "A1"],
    "event_ts": ["2026-04-05 10:00:00", "2026-04-05 11:00:00", "2026-04-06 10:00:00"],
    "basket_id": ["1001", "1001", "1002"],
    "quantity": ["1", "2", "1"],
    "price": ["12.95", "3.00", "12.95"],
    "market": ["DE", "DE", "FR"],
    "name": ["Blue shirt", "Red shirt", "Blue shirt"],
    "image_url": ["https://x.org/1.jpg"] * 3,
    "currency": ["EUR"] * 3,
    "cancelled_at": ["2026-04-05 10:00:00", "", ""],
}
NAMES = {
    "customer_id": "user_id visitorid CustomerID customer.id email Kundennummer user_pseudo_id customer_unique_id "
    "dummyUserId client_id Email visitor_id household_key reviewerID id_cliente member_no Customer%20ID",
    "product_id": "sku item_id product_id StockCode asin parent_asin Lineitem_sku Artikelnummer article_id variant_id "
    "ItemId ProductKey outfit.id",
    "event_ts": "InvoiceDate created_at timestamp event_time t_dat Datum order_purchase_timestamp Created%20at Time "
    "rentalPeriod.start date_created_gmt bestelldatum",
    "basket_id": "order_id InvoiceNo Order%20ID transactionid increment_id Bestellnummer order_number",
    "quantity": "Quantity qty Lineitem_quantity Menge Anzahl qty_ordered",
    "price": "UnitPrice price Lineitem_price Einzelpreis precio item_price sale_price",
    "market": "Country country_code Shipping_Country geo.country Land market",
    "name": "Description product_name title Lineitem_name Artikelbezeichnung prod_name",
    "brand": "brand Vendor Marke manufacturer",
    "category": "category_code product_type Warengruppe item_category category.name product_category_name",
    "colour": "colour_group_name color Farbe",
    "image_url": "image_url img Image_Src",
    "currency": "currency Currency_Code",
    "cancelled_at": "Cancelled%20at refunded_at",
}


def column(name: str, values: list[str]) -> SampledColumn:
    return SampledColumn("raw", name, quoted_name(name), tuple(values))


@pytest.mark.parametrize(
    ("role", "name"), [(role, name.replace("%20", " ")) for role, names in NAMES.items() for name in names.split()]
)
def test_a_column_is_known_by_its_name(role: str, name: str) -> None:
    values = VALUES.get(role, ["Acme", "Other", "Acme"])
    others = [column(f"x{place}", each) for place, each in enumerate(VALUES.values())]
    if role == "event_ts":
        others = [each for each in others if each.instant is None]
    found = best([*others, column(name, values)], role)
    assert found is not None and found.name == name


@pytest.mark.parametrize(
    ("role", "better", "worse"),
    [
        ("customer_id", "customer_unique_id", "customer_id"),
        ("customer_id", "user_id", "user_session"),
        ("customer_id", "customer_id", "email"),
        ("product_id", "Lineitem sku", "Lineitem name"),
        ("product_id", "parent_asin", "asin"),
        ("market", "Shipping Country", "Billing Country"),
        ("category", "category_code", "category_id"),
        ("price", "UnitPrice", "Total"),
        ("price", "Price", "Gross Sales"),
        ("market", "Country", "Location"),
    ],
)
def test_of_two_columns_the_better_one_is_taken(role: str, better: str, worse: str) -> None:
    values = VALUES.get(role, ["a", "b", "c"])
    for names in ((better, worse), (worse, better)):
        found = best([column(name, values) for name in names], role)
        assert found is not None and found.name == better


@pytest.mark.parametrize(
    ("role", "name", "values"),
    [
        ("event_ts", "updated_at", VALUES["event_ts"]),
        ("event_ts", "order_estimated_delivery_date", VALUES["event_ts"]),
        ("event_ts", "date", ["soon", "later", "never"]),
        ("price", "Total", VALUES["price"]),
        ("quantity", "qty", ["1.5", "2.25", "1"]),
        ("market", "country_id", [f"{i}" for i in range(9)]),
        ("event_type", "type", ["shirt", "shoe", "shirt"]),
        ("customer_id", "customer", ["guest"] * 5),
        ("basket_id", "Name", ["Blue shirt", "Red shirt", "Blue shirt"]),
    ],
)
def test_values_that_do_not_fit_rule_a_column_out(role: str, name: str, values: list[str]) -> None:
    assert best([column(name, values)], role) is None


@pytest.mark.parametrize(
    ("values", "sql"),
    [
        (["2026-04-05", "2026-04-05 10:00", "2026-04-05T10:00:00.123Z", "2026-04-05 10:00:00 UTC"], "{}"),
        (["1396313921", "1396313922"], "timestamp_seconds(try_cast({} AS BIGINT))"),
        (["1396313921.25"], "timestamp_seconds(try_cast({} AS DOUBLE))"),
        (["1396313921123"], "timestamp_millis(try_cast({} AS BIGINT))"),
        (["1396313921123456"], "timestamp_micros(try_cast({} AS BIGINT))"),
        (["20260405", "20260410"], "try_to_timestamp({}, 'yyyyMMdd')"),
        (["20260405101112"], "try_to_timestamp({}, 'yyyyMMddHHmmss')"),
        (["31/4/2026 9:07", "1/4/2026 19:07"], "try_to_timestamp({}, 'd/M/yyyy H:mm')"),
        (["4/31/2026 9:07:01 PM"], "try_to_timestamp({}, 'M/d/yyyy h:mm:ss a')"),
        (["12/1/10 8:26", "1/13/11 8:26"], "try_to_timestamp({}, 'M/d/yy H:mm')"),
        (["05.04.2026, 10:00"], "try_to_timestamp({}, 'd.M.yyyy, H:mm')"),
        (["2026/04/05 10:00:00"], "try_to_timestamp({}, 'yyyy/M/d H:mm:ss')"),
        (["Apr 5, 2026", "May 12, 2026"], "try_to_timestamp({}, 'MMM d, yyyy')"),
        (["5 Apr 2026 10:00"], "try_to_timestamp({}, 'd MMM yyyy H:mm')"),
    ],
)
def test_times_are_read_by_the_function_for_them(values: list[str], sql: str) -> None:
    found = instant_of(values)
    assert found is not None and found.sql == sql


def test_day_and_month_that_no_value_tells_apart_are_left_to_a_person() -> None:
    found = instant_of(["5/4/2026", "6/4/2026"])
    assert found is not None and "d/M/yyyy was taken, not M/d/yyyy" in found.unsure
    mixed = instant_of(["2026-04-05 10:00:00"] * 5 + ["25/4/2026"] * 5)
    assert mixed is not None and mixed.unsure == ""
    assert mixed.sql == "coalesce(try_cast({0} AS TIMESTAMP), try_to_timestamp({0}, 'd/M/yyyy'))"


@pytest.mark.parametrize("values", [["soon"], ["12"], ["2026"], [], ["5012345678901"] * 2 + ["x"] * 2])
def test_what_is_no_time_is_none(values: list[str]) -> None:
    assert instant_of(values) is None


@pytest.mark.parametrize(
    ("values", "sql"),
    [
        (["12.95", "-3", "1e3"], "{}"),
        (["12,95", "1.234,50"], "replace(regexp_replace({}, '[^0-9,-]', ''), ',', '.')"),
        (["1,0000", "12,5000"], "replace(regexp_replace({}, '[^0-9,-]', ''), ',', '.')"),
        (["12,95 EUR"], "replace(regexp_replace({}, '[^0-9,-]', ''), ',', '.')"),
        (["$12.95", "$1,234.50"], "regexp_replace({}, '[^0-9.-]', '')"),
        (["free", "12"], None),
    ],
)
def test_numbers_are_read_by_the_function_for_them(values: list[str], sql: str | None) -> None:
    assert number_sql(values) == sql


def test_values_within_json_are_columns() -> None:
    view = sampled_view(
        "raw",
        {
            "customer": [json.dumps({"id": 7, "home": {"country": "DE"}, "tags": ["a"]}), None],
            "lines": [json.dumps([{"sku": "A", "qty": 2}, {"sku": "B"}]), json.dumps([])],
            "note": ["{not json", "x"],
        },
    )
    assert [(column.name, column.sql, column.values) for column in view.columns] == [
        ("customer.id", "get_json_object(customer, '$.id')", ("7", None)),
        ("customer.home.country", "get_json_object(customer, '$.home.country')", ("DE", None)),
        ("note", "note", ("{not json", "x")),
        ("lines.sku", "line.sku", ("A", None)),
        ("lines.qty", "line.qty", ("2", None)),
    ]
    assert view.lines == ("LATERAL VIEW explode(from_json(lines, 'ARRAY<STRUCT<sku: STRING, qty: STRING>>')) AS line")


@pytest.mark.parametrize(
    ("name", "sql"), [("price", "price"), ("Order ID", "`Order ID`"), ("order", "`order`"), ("a`b", "`a``b`")]
)
def test_names_are_quoted_where_sql_wants_it(name: str, sql: str) -> None:
    assert quoted_name(name) == sql
