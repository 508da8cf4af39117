"""The sources to start from: each reads a small made-up export, with the quirks of its kind, as a night does."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.ingest import step as ingest
from jobs.ingest.source import read_source
from jobs.lake.lake import Lake
from jobs.run import Counts, Run
from jobs.tables.records import REJECTED
from jobs.tables.shop import AVAILABILITY, CATALOGUE, EVENTS
from jobs.tables.table import Table

MakeRun = Callable[[date], Run]
SOURCES = Path(ingest.__file__).parents[1] / "sources"
NIGHT = date(2026, 4, 6)


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Rows of which each names the columns that it fills."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def rows_of(lake: Lake, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    """The columns of a table's rows, sorted."""
    rows = [tuple(row.values()) for row in lake.arrow(table, list(columns)).to_pylist()]
    return sorted(rows, key=str)


@pytest.fixture
def read(sail_lake: Lake, run: MakeRun, tmp_path: Path) -> Callable[[str], Counts]:
    """read(name): the night's ingest of what lies in `raw` by one of the sources."""
    return lambda name: ingest.execute(
        sail_lake, run(NIGHT), ingest.IngestConfig(SOURCES / f"{name}.sql", tmp_path / "raw")
    )


Read = Callable[[str], Counts]


def test_every_source_says_what_it_reads_and_what_to_adapt() -> None:
    for path in SOURCES.glob("*.sql"):
        source = read_source(path)
        assert path.read_text("utf-8").startswith(("--! # ", "-- ")), path.name
        assert source.statements


# --- Shopify: only an order's first row has what belongs to the whole order

SHOPIFY_ORDERS = (
    "Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Currency", "Total", "Created at",
    "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku", "Lineitem requires shipping",
    "Billing Country", "Billing Phone", "Shipping Country", "Cancelled at", "Refunded Amount", "Vendor", "Id", "Phone",
)  # fmt: skip
SHOPIFY_PRODUCTS = (
    "Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Tags", "Published", "Option1 Name",
    "Option1 Value", "Variant SKU", "Variant Price", "Image Src", "Image Position", "Status",
)  # fmt: skip


def line(order: str, sku: str, quantity: int, price: str, **more: str) -> dict[str, object]:
    """A row of orders_export.csv; the columns of the whole order are in `more`."""
    names = {"T-S": "Tee - S", "T-M": "Tee - M", "J-1": "Jeans", "": "Voucher"}
    return {
        "Name": order,
        "Created at": f"2026-04-0{order[1]} 00:30:00 +0200",
        "Lineitem quantity": quantity,
        "Lineitem name": names[sku],
        "Lineitem price": price,
        "Lineitem sku": sku,
        "Lineitem requires shipping": "true",
        "Vendor": "Atelier",
        **{name.replace("_", " "): value for name, value in more.items()},
    }


PAID = {"Financial Status": "paid", "Currency": "EUR", "Refunded Amount": "0.00"}
SHOPIFY_ROWS = [
    line("#1001", "T-S", 1, "20.00", Email=" Ann@Shop.example", **PAID, **{"Shipping Country": "DE"}),
    line("#1001", "T-M", 1, "20.00", Email=" Ann@Shop.example"),
    line("#1001", "T-S", 2, "20.00", Email=" Ann@Shop.example"),
    line("#1001", "J-1", 1, "60.00", Email=" Ann@Shop.example"),
    line("#2001", "J-1", 1, "60.00", **PAID, **{"Billing Country": "AT", "Billing Phone": "+43 1 23-45"}),
    line("#3001", "J-1", 1, "60.00", Email="bob@shop.example", **PAID | {"Financial Status": "refunded"}),
    line("#3002", "T-S", 1, "20.00", **PAID),
    line("#4001", "T-M", 1, "20.00", Email="ann@shop.example", **PAID, **{"Cancelled at": "2026-04-04 09:00:00 +0200"}),
    line("#4002", "", 1, "50.00", Email="ann@shop.example", **PAID, **{"Lineitem requires shipping": "false"}),
]
ANN, PHONE = hashed("ann@shop.example"), hashed("4312345")


def test_shopify_orders(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    """The second export begins within the first one."""
    write_csv(tmp_path / "raw" / "orders_export_1.csv", SHOPIFY_ORDERS, SHOPIFY_ROWS[:5])
    write_csv(tmp_path / "raw" / "orders_export_2.csv", SHOPIFY_ORDERS, SHOPIFY_ROWS[:4] + SHOPIFY_ROWS[5:])
    assert read("shopify_orders").rejected == 3
    found = rows_of(sail_lake, EVENTS, "basket_id", "product_id", "quantity", "price", "market", "customer_id")
    assert [row[:4] for row in found] == [
        ("#1001", "J-1", 1, 60.0),
        ("#1001", "T-M", 1, 20.0),
        ("#1001", "T-S", 3, 20.0),
        ("#2001", "J-1", 1, 60.0),
        ("#3002", "T-S", 1, 20.0),
    ]
    assert [row[4] for row in found[:4]] == ["DE", "DE", "DE", "AT"], "carried from the order's first row"
    assert [row[5] for row in found] == [ANN, ANN, ANN, PHONE, "order #3002"]
    times = rows_of(sail_lake, EVENTS, "event_ts")
    assert str(times[0][0]).startswith("2026-03-31 22:30:00"), "the offset counts"
    assert {row[0] for row in rows_of(sail_lake, REJECTED, "reason")} == {
        "excluded: refunded",
        "excluded: cancelled",
        "excluded: no product (gift card, tip, service)",
    }
    assert ("J-1", "Jeans", "Atelier", 60.0) in rows_of(sail_lake, CATALOGUE, "product_id", "name", "brand", "price")


def test_an_order_that_is_refunded_later_is_taken_out(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "raw" / "orders_export.csv"
    write_csv(path, SHOPIFY_ORDERS, SHOPIFY_ROWS[:5])
    read("shopify_orders")
    assert "#2001" in {row[0] for row in rows_of(sail_lake, EVENTS, "basket_id")}
    write_csv(path, SHOPIFY_ORDERS, [*SHOPIFY_ROWS[:4], SHOPIFY_ROWS[4] | {"Financial Status": "refunded"}])
    read("shopify_orders")
    assert {row[0] for row in rows_of(sail_lake, EVENTS, "basket_id")} == {"#1001"}


def test_shopify_orders_and_products(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    write_csv(tmp_path / "raw" / "orders" / "orders_export.csv", SHOPIFY_ORDERS, SHOPIFY_ROWS)
    tee = {"Handle": "tee", "Option1 Name": "Size"}
    write_csv(
        tmp_path / "raw" / "products" / "products_export.csv",
        SHOPIFY_PRODUCTS,
        [
            tee
            | {
                "Title": "Tee",
                "Body (HTML)": '<p>Soft,\n"fine" cotton</p>',
                "Vendor": "Atelier",
                "Type": "Tops",
                "Option1 Value": "S",
                "Variant SKU": "'T-S",
                "Variant Price": "20.00",
                "Image Src": "https://img.example/tee-1.jpg",
                "Image Position": "1",
                "Status": "active",
            },
            tee | {"Option1 Value": "M", "Variant SKU": "'T-M", "Variant Price": "22.00"},
            tee | {"Image Src": "https://img.example/tee-2.jpg", "Image Position": "2"},
            {"Handle": "jeans", "Title": "Jeans", "Variant SKU": "J-1", "Variant Price": "60.00", "Status": "archived"},
        ],
    )
    read("shopify_orders_products")
    assert rows_of(sail_lake, EVENTS, "basket_id", "product_id", "quantity") == [
        ("#1001", "jeans", 1),
        ("#1001", "tee", 4),
        ("#2001", "jeans", 1),
        ("#3002", "tee", 1),
    ]
    assert rows_of(sail_lake, CATALOGUE, "product_id", "name", "category", "price", "image_url") == [
        ("jeans", "Jeans", None, 60.0, None),
        ("tee", "Tee", "Tops", 20.0, "https://img.example/tee-1.jpg"),
    ]
    assert rows_of(sail_lake, AVAILABILITY, "product_id", "market", "available") == [
        ("jeans", "AT", False),
        ("jeans", "DE", False),
        ("tee", "AT", True),
        ("tee", "DE", True),
    ]


# --- WooCommerce: guests have the number 0

WOO = (
    "order_id", "order_number", "order_date", "status", "order_total", "order_currency", "customer_id", "billing_email",
    "billing_country", "shipping_country", "item_product_id", "item_name", "item_sku", "item_quantity", "item_total",
    "item_refunded", "item_refunded_qty", "item_meta",
)  # fmt: skip


def woo(order: int, product: int, quantity: int, total: str, **more: object) -> dict[str, object]:
    return {
        "order_id": order,
        "order_date": "2026-04-05 10:00:00",
        "status": "completed",
        "customer_id": 0,
        "item_product_id": product,
        "item_name": f"Product {product}",
        "item_quantity": quantity,
        "item_total": total,
        "item_refunded_qty": 0,
        **more,
    }


def test_woocommerce_orders(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    of_bob = {"billing_email": "Bob@Shop.example ", "billing_country": "DE"}
    write_csv(
        tmp_path / "raw" / "orders.csv",
        WOO,
        [
            woo(1, 7, 2, "39.80", customer_id=12, shipping_country="AT", billing_country="DE"),
            woo(1, 7, 1, "19.90", customer_id=12, shipping_country="AT", billing_country="DE", item_sku="7-red"),
            woo(1, 8, 1, "5.00", customer_id=12, shipping_country="AT", billing_country="DE"),
            woo(
                2, 7, 3, "59.70", **of_bob, status="wc-processing", item_refunded_qty=-1, order_date="4/5/2026  9:05:00"
            ),
            woo(
                2, 8, 1, "5.00", **of_bob, status="wc-processing", item_refunded_qty=-1, order_date="4/5/2026  9:05:00"
            ),
            woo(3, 8, 1, "5.00"),
            woo(4, 8, 1, "5.00", **of_bob, status="cancelled"),
            woo(5, 8, 1, "5.00", **of_bob, status="refunded"),
        ],
    )
    read("woocommerce_orders")
    guest = f"guest {hashed('bob@shop.example')}"
    columns = ("basket_id", "product_id", "quantity", "price", "market", "customer_id")
    found = rows_of(sail_lake, EVENTS, *columns)
    assert [row[:4] for row in found] == [
        ("1", "7", 3, 19.9),
        ("1", "8", 1, 5.0),
        ("2", "7", 2, 19.9),
        ("3", "8", 1, 5.0),
    ]
    assert [row[4] for row in found[:3]] == ["AT", "AT", "DE"]
    assert [row[5] for row in found] == ["12", "12", guest, "order 3"]
    times = {(row[0], str(row[1])[:16]) for row in rows_of(sail_lake, EVENTS, "basket_id", "event_ts")}
    assert times == {("1", "2026-04-05 10:00"), ("2", "2026-04-05 09:05"), ("3", "2026-04-05 10:00")}
    assert {row[0] for row in rows_of(sail_lake, REJECTED, "reason")} == {
        "excluded: order cancelled",
        "excluded: order refunded",
        "excluded: given back",
    }
    assert rows_of(sail_lake, CATALOGUE, "product_id", "name", "price") == [
        ("7", "Product 7", 19.9),
        ("8", "Product 8", 5.0),
    ]


def woo_order(number: int, customer: int, status: str, *lines: dict[str, object], email: str = "") -> dict[str, object]:
    return {
        "id": number,
        "status": status,
        "currency": "EUR",
        "date_created": "2026-04-05T10:00:00",
        "date_created_gmt": "2026-04-05T08:00:00",
        "customer_id": customer,
        "billing": {"email": email, "country": "DE"},
        "shipping": {"country": "" if customer else "AT"},
        "line_items": list(lines),
        "refunds": [],
    }


def woo_item(number: int, product: int, quantity: int, price: float, **more: object) -> dict[str, object]:
    return {"id": number, "product_id": product, "variation_id": 0, "quantity": quantity, "price": price} | more


def test_woocommerce_api(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    coat = {"name": "Coat - Red, M", "parent_name": "Coat", "image": {"id": 3, "src": "https://img.example/coat.jpg"}}
    write_jsonl(
        tmp_path / "raw" / "orders.jsonl",
        [
            woo_order(1, 12, "completed", woo_item(1, 7, 2, 19.9, name="Tee"), woo_item(2, 9, 1, 120, **coat)),
            woo_order(
                2,
                0,
                "processing",
                woo_item(3, 7, 1, 19.9, name='Tee \u2028 "new"', parent_name=None),
                email="B@x.example",
            ),
            woo_order(3, 0, "failed", woo_item(4, 7, 1, 19.9, name="Tee"), email="b@x.example"),
            woo_order(4, 0, "completed", woo_item(5, 0, 1, 9.9, name="Old"), woo_item(6, 9, 1, 120, **coat)),
            woo_order(5, 12, "completed"),
        ],
    )
    read("woocommerce_api")
    found = rows_of(sail_lake, EVENTS, "event_id", "product_id", "quantity", "price", "market", "customer_id")
    assert found == [
        ("1 1", "7", 2, 19.9, "DE", "12"),
        ("1 2", "9", 1, 120.0, "DE", "12"),
        ("2 3", "7", 1, 19.9, "AT", f"guest {hashed('b@x.example')}"),
        ("4 6", "9", 1, 120.0, "AT", "order 4"),
    ]
    assert {str(row[0])[:16] for row in rows_of(sail_lake, EVENTS, "event_ts")} == {"2026-04-05 08:00"}
    assert ("9", "Coat", 120.0, "EUR", "https://img.example/coat.jpg") in rows_of(
        sail_lake, CATALOGUE, "product_id", "name", "price", "currency", "image_url"
    )


# --- Google Analytics 4: products are in lists


def ga4_event(
    name: str, second: float, visitor: str | None, *items: dict[str, object], **more: object
) -> dict[str, Any]:
    return {
        "event_date": "20260405",
        "event_timestamp": 1775383200_000000 + round(second * 1_000_000),  # 2026-04-05 10:00:00
        "event_name": name,
        "event_params": [{"key": "ga_session_id", "value": {"int_value": 17}}],
        "user_pseudo_id": visitor,
        "geo": {"country": "Germany", "city": "(not set)"},
        "ecommerce": {"transaction_id": "(not set)"},
        "items": list(items),
    } | more


def ga4_item(number: str | None, **more: object) -> dict[str, object]:
    named = {
        "item_name": f"Item {number}",
        "item_brand": "(not set)",
        "item_category": "Women",
        "item_category2": "Coats",
    }
    return {"item_id": number, "price": 12.5, "quantity": 1, **named, **more}


SOLD = {"ecommerce": {"transaction_id": "T1"}, "geo": {"country": "Austria"}}
GA4 = [
    ga4_event("page_view", 0, "1.1"),
    ga4_event("view_item", 1.25, "1.1", ga4_item("A")),
    ga4_event("view_item", 1.25, "1.1", ga4_item("A")),
    ga4_event("select_item", 2, "1.1", ga4_item("A")),
    ga4_event("add_to_wishlist", 3, "1.1", ga4_item("A")),
    ga4_event("add_to_cart", 4, "1.1", ga4_item("B", quantity=2)),
    ga4_event("purchase", 5, "1.1", ga4_item("A"), ga4_item("B", quantity=3, price=8), ga4_item("B", price=8), **SOLD),
    ga4_event("purchase", 65, "1.1", ga4_item("A"), ga4_item("B", quantity=3, price=8), ga4_item("B", price=8), **SOLD),
    ga4_event("view_item", 6, None, ga4_item("A")),
    ga4_event("view_item", 7, "2.2", ga4_item("(not set)")),
    ga4_event("view_item", 8, "2.2", ga4_item("C", item_category2=None), geo={"country": "(not set)"}),
    ga4_event("view_item", 9, "2.2", ga4_item("A")),
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_ga4(read: Read, sail_lake: Lake, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "raw" / f"2026-04-05.{suffix}"
    if suffix == "jsonl":  # as BigQuery writes it: whole numbers in quotes, no null
        rows = [{k: v for k, v in row.items() if v is not None} for row in GA4]
        write_jsonl(path, [row | {"event_timestamp": str(row["event_timestamp"])} for row in rows])
    else:
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(GA4), path)
    read("ga4")
    assert rows_of(sail_lake, EVENTS, "event_type", "product_id", "quantity", "price", "market", "basket_id") == [
        ("bag", "B", 2, 12.5, "Germany", None),
        ("click", "A", 1, 12.5, "Germany", None),
        ("click", "A", 1, 12.5, "Germany", None),
        ("click", "C", 1, 12.5, "Germany", None),  # the main market
        ("purchase", "A", 1, 12.5, "Austria", "T1"),
        ("purchase", "B", 1, 8.0, "Austria", "T1"),
        ("purchase", "B", 3, 8.0, "Austria", "T1"),
        ("save", "A", 1, 12.5, "Germany", None),
    ]
    assert str(min(row[0] for row in rows_of(sail_lake, EVENTS, "event_ts"))).startswith("2026-04-05 10:00:01.25")
    assert {row[0] for row in rows_of(sail_lake, REJECTED, "reason")} == {
        "excluded: no consent, so no visitor",
        "excluded: no item_id",
        "excluded: sent twice",
    }
    assert rows_of(sail_lake, CATALOGUE, "product_id", "name", "brand", "category", "department", "price") == [
        ("A", "Item A", None, "Coats", "Women", 12.5),
        ("B", "Item B", None, "Coats", "Women", 8.0),
        ("C", "Item C", None, "Women", "Women", 12.5),
    ]


# --- logs and tables


EVENT_LOG = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
    "user_session",
)  # fmt: skip


def test_event_log(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    def event(second: int, kind: str, product: int, price: str = "12.50", **more: str) -> dict[str, object]:
        at = f"2026-04-05 10:00:{second:02} UTC"
        code = {"category_id": 1, "category_code": "apparel.shoes.boots" if product == 1 else ""}
        return {
            "event_time": at,
            "event_type": kind,
            "product_id": product,
            "price": price,
            "user_id": 5,
            **code,
            **more,
        }

    rows = [event(0, "view", 1, brand="b", user_session="s"), event(0, "view", 1, brand="b", user_session="s")]
    rows += [event(1, "cart", 1), event(2, "remove_from_cart", 1), event(3, "cart", 2, "3.00")]
    rows += [event(4, "purchase", 2, "3.00", user_session="s")] * 3
    write_csv(tmp_path / "raw" / "2026-Apr.csv", EVENT_LOG, rows)
    read("event_log")
    assert rows_of(sail_lake, EVENTS, "event_type", "product_id", "quantity", "price", "basket_id") == [
        ("bag", "1", 1, 12.5, None),
        ("bag", "2", 1, 3.0, None),
        ("click", "1", 1, 12.5, None),
        ("purchase", "2", 3, 3.0, "s 2026-04-05 10:00:04 UTC"),
    ]
    assert rows_of(sail_lake, REJECTED, "reason") == [("excluded: taken out of the bag",)]
    assert rows_of(sail_lake, CATALOGUE, "product_id", "brand", "category", "department", "price") == [
        ("1", "b", "boots", "apparel", 12.5),
        ("2", None, None, None, 3.0),
    ]


def test_visitor_log(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    def event(milliseconds: int, kind: str, item: int, transaction: str = "") -> dict[str, object]:
        names = ("timestamp", "visitorid", "event", "itemid", "transactionid")
        return dict(zip(names, (1775383200000 + milliseconds, 9, kind, item, transaction), strict=True))

    rows = [event(1, "view", 1), event(1, "view", 1), event(2, "addtocart", 1), *[event(3, "transaction", 1, "77")] * 2]
    write_csv(tmp_path / "raw" / "events.csv", rows[0], rows)
    read("visitor_log")
    columns = ("event_type", "quantity", "basket_id", "event_ts")
    found = [(*row[:3], str(row[3])[:23]) for row in rows_of(sail_lake, EVENTS, *columns)]
    assert found == [
        ("bag", 1, None, "2026-04-05 10:00:00.002"),
        ("click", 1, None, "2026-04-05 10:00:00.001"),
        ("purchase", 2, "77", "2026-04-05 10:00:00.003"),
    ]


def table(columns: str, *rows: tuple[object, ...]) -> list[dict[str, object]]:
    return [dict(zip(columns.split(), row, strict=True)) for row in rows]


def test_marketplace_tables(read: Read, sail_lake: Lake, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    orders = table(
        "order_id customer_id order_status order_purchase_timestamp",
        ("o1", "c1", "delivered", "2026-04-01 10:00:00"),
        ("o2", "c2", "shipped", "2026-04-02 10:00:00"),
        ("o3", "c3", "canceled", "2026-04-03 10:00:00"),
    )
    write_csv(raw / "orders" / "orders.csv", orders[0], orders)
    items = table(
        "order_id order_item_id product_id price",
        ("o1", 1, "p1", 10),
        ("o1", 2, "p1", 10),
        ("o1", 3, "p2", 5),
        ("o2", 1, "p2", 6),
        ("o3", 1, "p1", 10),
        ("o9", 1, "p1", 10),
    )
    write_csv(raw / "order_items" / "order_items.csv", items[0], items)
    people = [{"customer_id": f"c{n}", "customer_unique_id": "u1", "customer_state": "SP"} for n in (1, 2, 3)]
    write_csv(raw / "customers" / "customers.csv", people[0], people)
    products = [
        {"product_id": "p1", "product_category_name": "moda_bolsas"},
        {"product_id": "p2"},
        {"product_id": "p3"},
    ]
    write_csv(raw / "products" / "products.csv", products[0], products)
    read("marketplace_tables")
    assert rows_of(sail_lake, EVENTS, "basket_id", "product_id", "quantity", "price", "customer_id") == [
        ("o1", "p1", 2, 10.0, "u1"),
        ("o1", "p2", 1, 5.0, "u1"),
        ("o2", "p2", 1, 6.0, "u1"),
    ]
    assert rows_of(sail_lake, REJECTED, "reason") == [("excluded: canceled",), ("excluded: no such order",)]
    assert rows_of(sail_lake, CATALOGUE, "product_id", "category", "price") == [
        ("p1", "moda_bolsas", 10.0),
        ("p2", None, 6.0),
        ("p3", None, None),
    ]
