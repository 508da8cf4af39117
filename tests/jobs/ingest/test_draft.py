"""First sources for made-up exports: they parse, and where a person has nothing to decide they give events at once."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import UserError
from jobs.ingest.check import SourceCheck, check_source
from jobs.ingest.draft import draft_source
from jobs.ingest.draft_folder import draft_of_folder
from jobs.ingest.guesses import SampledView, sampled_view
from jobs.ingest.source import read_source
from jobs.ingest.step import IngestConfig
from jobs.lake.lake import Lake
from tests.support.command_line import jobs
from tests.support.tables import write_text

Rows = Sequence[Mapping[str, object]]
TODAY = date(2026, 5, 1)


def text_of(rows: Rows, delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def view_of(rows: Rows, name: str = "raw") -> SampledView:
    return sampled_view(name, {key: [str(row[key]) if row[key] != "" else None for row in rows] for key in rows[0]})


def drafted(tmp_path: Path, *views: SampledView) -> str:
    """A draft that `read_source` takes."""
    text = draft_source(views, "a test")
    read_source(write_text(tmp_path / "draft.sql", text))
    return text


def log(count: int = 40) -> Rows:
    """Events of a shop as public event logs have them."""
    words = ("view", "view", "addtocart", "transaction", "remove_from_cart")
    return [
        {
            "event_time": f"2026-04-{1 + i % 5:02} 10:{i:02}:00 UTC", "event_type": words[i % 5],
            "product_id": 1000 + i % 7, "category_code": "" if i % 4 == 0 else "shoes.boots", "brand": "acme",
            "price": 35.79, "user_id": 500 + i % 9, "user_session": f"s{i}",
        }
        for i in range(count)
    ]  # fmt: skip


def shopify(count: int = 20) -> Rows:
    """Orders of which only the first line has what belongs to the whole order."""
    rows = []
    for i in range(count):
        for line in range(2):
            first = line == 0
            rows.append(
                {
                    "Name": f"#{1000 + i}", "Email": f"c{i % 6}@x.org",
                    "Financial Status": ("refunded" if i == 3 else "paid") if first else "",
                    "Created at": f"2026-04-{1 + i % 5:02} 10:00:00 +0200", "Lineitem quantity": 1 + line,
                    "Lineitem name": f"Shirt {i % 4}", "Lineitem price": "12.50", "Lineitem sku": f"S{i % 4}{line}",
                    "Shipping Country": "DE" if first else "", "Total": "37.50" if first else "",
                }
            )  # fmt: skip
    return rows


def german(count: int = 30) -> Rows:
    return [
        {
            "Bestellnummer": 9000 + i // 2, "Bestelldatum": f"{13 + i % 5}.04.2026 1{i % 10}:30",
            "Kundennummer": f"{100 + i % 7}.0", "Artikelnummer": f"A-{i % 5}", "Artikelbezeichnung": f"Hemd {i % 5}",
            "Menge": -1 if i == 7 else 1, "Einzelpreis": "1.012,95 EUR" if i == 1 else "12,95 EUR", "Land": "DE",
        }
        for i in range(count)
    ]  # fmt: skip


def test_an_event_log(tmp_path: Path) -> None:
    text = drafted(tmp_path, view_of(log()))
    for line in (
        "  user_id AS customer_id,\n", "  product_id,\n", "  event_time AS event_ts,\n",
        "    WHEN 'view' THEN 'click'\n",
        "    WHEN 'addtocart' THEN 'bag'\n", "    WHEN 'transaction' THEN 'purchase'\n",
        "  -- TODO: also there, left out: remove_from_cart\n", "THEN 'another kind of event'\n",
        "max_by(category_code, event_time) FILTER (WHERE category_code IS NOT NULL) AS category",
    ):  # fmt: skip
        assert line in text, text


def test_what_pages_log_is_no_event(tmp_path: Path) -> None:
    at, name = "2026-04-02 10:00:00 UTC", "mlm3q8zk.ymal.GB.default.P1"
    rows = [{"visitor": f"v{i % 9}", "sku": 1000 + i, "shown": at, "list": name, "position": i} for i in range(40)]
    text = drafted(tmp_path, view_of(log(), "web"), view_of(rows, "seen"))
    assert "FROM web;" in text
    columns = (
        "visitor AS customer_id,\n  sku AS product_id,\n  shown AS shown_at,\n  list AS list_id,\n  position AS place"
    )
    assert f"-- impressions\nSELECT\n  {columns}\nFROM seen" in text


def test_orders_of_a_shop_system(tmp_path: Path) -> None:
    text = drafted(tmp_path, view_of(shopify()))
    for line in (
        "sha2(lower(trim(Email)), 256) AS customer_id", "`Lineitem sku` AS product_id", "`Created at` AS event_ts",
        "max(`Shipping Country`) OVER (PARTITION BY Name) AS market", "Name AS basket_id",
        "`Lineitem price` AS price", "WHEN lower(max(`Financial Status`) OVER (PARTITION BY Name)) IN ('refunded')",
    ):  # fmt: skip
        assert line in text, text


def test_a_german_shop(tmp_path: Path) -> None:
    text = drafted(tmp_path, view_of(german()))
    for line in (
        "regexp_replace(Kundennummer, '[.]0$', '') AS customer_id", "Artikelnummer AS product_id", "Land AS market",
        "try_to_timestamp(Bestelldatum, 'd.M.yyyy H:mm') AS event_ts", "Bestellnummer AS basket_id",
        "replace(regexp_replace(Einzelpreis, '[^0-9,-]', ''), ',', '.') AS price", "'return or correction'",
    ):  # fmt: skip
        assert line in text, text


def test_normalised_tables_are_joined(tmp_path: Path) -> None:
    items = [
        {"order_id": f"o{i // 2}", "order_item_id": 1, "product_id": f"p{i % 5}", "price": "9.9"} for i in range(20)
    ]
    orders = [
        {"order_id": f"o{i}", "customer_id": f"k{i}", "order_purchase_timestamp": "2026-04-01 10:00:00"}
        for i in range(10)
    ]
    customers = [{"customer_id": f"k{i}", "customer_unique_id": f"u{i % 4}", "customer_state": "SP"} for i in range(10)]
    products = [{"product_id": f"p{i}", "product_category_name": "toys", "product_weight_g": 5} for i in range(5)]
    named = {"orders": orders, "order_items": items, "customers": customers, "products": products}
    text = drafted(tmp_path, *(view_of(rows, name) for name, rows in named.items()))
    assert (
        "FROM order_items\nJOIN orders ON order_items.order_id = orders.order_id\n"
        "LEFT JOIN customers ON orders.customer_id = customers.customer_id" in text
    )
    assert "customers.customer_unique_id AS customer_id" in text
    assert "-- catalogue\nSELECT\n  product_id,\n  product_category_name AS category\nFROM products" in text


def till(count: int = 40) -> Rows:
    """Lines of a till: no SKU on some, the time of day in a column of its own, the price of all pieces."""
    return [
        {
            "Date": f"04/{13 + i % 9}/2026", "Time": f"10:{i:02}:00", "Item": f"Scarf {i % 7}", "Qty": f"{1 + i % 2}.0",
            "SKU": "" if i % 4 == 3 else f"S{i % 7}", "Gross Sales": "$1,012.00", "Customer ID": f"C{i % 9}",
            "Transaction ID": f"T{i // 4}", "Location": ("Soho", "Brooklyn")[i // 4 % 2],
        }
        for i in range(count)
    ]  # fmt: skip


def test_lines_of_a_till(tmp_path: Path) -> None:
    text = drafted(tmp_path, view_of(till()))
    for line in (
        "  SKU AS product_id,\n", "THEN 'no product'",
        "try_to_timestamp(concat(Date, ' ', Time), 'M/d/yyyy H:mm:ss') AS event_ts",
        "-- guess: Gross Sales is for all pieces of a line\n  round(try_cast(regexp_replace(`Gross Sales`",
        "-- guess: each Location gets lists of its own", "max_by(Item, try_to_timestamp(concat(Date, ' ', Time)",
    ):  # fmt: skip
        assert line in text, text
    assert "OVER" not in text, "a line's product is not that of another line"


def web_log(sold: bool = False) -> Rows:
    words = ("catalog_product_view", "wishlist_add_product", "checkout_cart_add_product")
    return [
        {
            "event": "order" if sold and i == 9 else words[i % 3],
            "ts": "2026-04-01T10:00:00.000+01:00",
            "customer": json.dumps({"id": i % 9}),
            "product": json.dumps({"id": 1000 + i % 5, "sku": f"N{i % 5}"}),
        }
        for i in range(30)
    ]


def magento(sold: bool = False) -> Mapping[str, Rows]:
    """A web log beside a database's tables, whose keys are called entity_id."""
    people = [{"entity_id": 996 + i, "email": f"a{i}@x.org", "created_at": "01.02.2026 10:00"} for i in range(9)]
    items = [
        {
            "item_id": i, "order_id": 1 + i // 2, "product_id": 1000 + i % 5, "sku": f"N{i % 5}",
            "qty_ordered": "1,0000", "price": "1.299,00",
        }
        for i in range(20)
    ]  # fmt: skip
    orders = [
        {"entity_id": i, "increment_id": 10_000 + i, "customer_id": i % 4, "created_at": "24.04.2026 10:12"}
        for i in range(1, 11)
    ]
    products = [{"entity_id": 1000 + i, "sku": f"N{i}", "name": f"Coat {i}", "price": "9,95"} for i in range(5)]
    return {"customers": people, "items": items, "orders": orders, "products": products, "web": web_log(sold)}


def test_a_web_log_and_the_tables_of_orders_beside_it_are_united(tmp_path: Path) -> None:
    text = drafted(tmp_path, *(view_of(rows, name) for name, rows in magento().items()))
    for line in (
        "WHEN 'catalog_product_view' THEN 'click'", "WHEN 'wishlist_add_product' THEN 'save'",
        "FROM web\nUNION ALL\n", "FROM items\nJOIN orders ON items.order_id = orders.entity_id;",
        "items.product_id AS product_id", "AS STRING) AS event_ts", "items.qty_ordered, '[^0-9,-]'",
        "-- catalogue\nSELECT\n  entity_id AS product_id,\n  name,\n",
        "FROM products\n-- not used: the folder customers",
    ):  # fmt: skip
        assert line in text, text


def test_a_log_that_has_purchases_is_not_united_with_orders(tmp_path: Path) -> None:
    text = drafted(tmp_path, *(view_of(rows, name) for name, rows in magento(sold=True).items()))
    assert "UNION" not in text and "-- not used: the folder orders" in text


def test_folders_of_one_kind_of_event_each_are_united(tmp_path: Path) -> None:
    row = {"session_id": 1, "item_id": "p", "timestamp": "2026-04-01T10:00:00.000Z"}
    clicks = [row | {"session_id": i} for i in range(5)]
    buys = [each | {"quantity": 1, "price": 5} for each in clicks]
    text = drafted(tmp_path, view_of(clicks, "clicks"), view_of(buys, "buys"))
    assert "'click' AS event_type" in text and "'purchase' AS event_type" in text
    assert text.count("UNION ALL") == 1 and "CAST(NULL AS STRING) AS quantity" in text


def test_a_weekday_without_files_is_a_closed_one(tmp_path: Path) -> None:
    view = view_of(log())
    days = [date(2026, 3, 2) + timedelta(days=n) for n in range(35)]
    open_days = tuple(day for day in days if day.strftime("%A") != "Sunday")
    assert '--! closed_weekdays = ["sunday"]' in drafted(tmp_path, SampledView("raw", view.columns, "", open_days))
    assert "closed_weekdays" not in drafted(tmp_path, SampledView("raw", view.columns, "", open_days[:9]))


def test_what_no_column_tells_is_left_to_a_person(tmp_path: Path) -> None:
    rows = [{"a": f"x{i}", "b": f"y{i}", "note\nDROP": "z"} for i in range(5)]
    text = drafted(tmp_path, view_of(rows))
    assert "  -- TODO: which is it? There are a, b, note DROP\n  CAST(NULL AS STRING) AS customer_id" in text
    assert "-- TODO: no column tells; click, save, bag or purchase\n  'click' AS event_type" in text


NAMES = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12),
    st.sampled_from(
        ["order", "sku", "user_id", "date", "event_type", "qty", "price", "Land", "it's", "a`b", "-- events"]
    ),
)
VALUES = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(
        ["view", "Add-To-Cart", "vi'ew", "buy\\", "3/4/2026", "1.0", "12,5 EUR", '{"a": [1]}', '[{"sku": "x"}]']
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=6), st.integers(1, 2))
def test_whatever_an_export_holds_its_draft_is_a_source(rows: dict[str, list[str | None]], views: int) -> None:
    text = draft_source([sampled_view(f"v{place}", rows) for place in range(views)], "a test")
    with TemporaryDirectory() as folder:
        assert "events" in read_source(write_text(Path(folder) / "draft.sql", text)).statements


# --- from files to events


def checked(lake: Lake, folder: Path) -> SourceCheck:
    """What a draft that nobody corrected gives."""
    source = write_text(folder / "draft.sql", draft_of_folder(folder / "raw"))
    return check_source(lake, IngestConfig(source, folder / "raw"), None, TODAY, lambda *_: None)


def json_orders(count: int = 12) -> str:
    orders = [
        {
            "id": i, "created_at": "2026-04-05T10:00:00+02:00", "currency": "EUR",
            "customer": {"id": i % 4, "email": "a@x.org"}, "shipping_address": {"country_code": "DE"},
            "line_items": [{"sku": f"S{i % 3}", "quantity": 1, "title": "Hat"}, {"sku": "T", "price": "1"}],
        }
        for i in range(count)
    ]  # fmt: skip
    return "".join(json.dumps(order) + "\n" for order in orders)


@pytest.mark.parametrize(
    ("name", "text", "events", "customers", "types"),
    [
        ("log.csv", text_of(log()), 32, 9, {"click": 16, "bag": 8, "purchase": 8}),
        ("orders_export (1).csv", text_of(shopify()), 38, 6, {"purchase": 38}),
        ("Bestellungen.CSV", text_of(german(), ";"), 29, 7, {"purchase": 29}),
        ("orders.jsonl", json_orders(), 24, 4, {"purchase": 24}),
    ],
)
def test_a_draft_gives_events(
    name: str, text: str, events: int, customers: int, types: dict[str, int], sail_lake: Lake, tmp_path: Path
) -> None:
    write_text(tmp_path / "shop" / "raw" / name, text)
    found = checked(sail_lake, tmp_path / "shop")
    assert found.stops == [] and found.facts
    assert (found.facts["events"], found.facts["customers"], found.types) == (events, customers, types)


def test_files_of_several_kinds_in_one_folder_are_parted_first(tmp_path: Path) -> None:
    write_text(tmp_path / "orders.csv", "order_id,customer\n1,c\n")
    write_text(tmp_path / "order items.csv", "order_id,sku\n1,p\n")
    with pytest.raises(UserError, match=r"order items\.csv into order_items/; orders\.csv into orders/"):
        draft_of_folder(tmp_path)


def test_odd_files_and_folders_are_read_too(tmp_path: Path) -> None:
    write_text(tmp_path / "order" / "a.csv", "SKU,user_id,created_at\nA,1,2026-04-01 10:00:00Z\n")
    write_text(tmp_path / "order" / "b.csv", "user_id,sku,created_at,qty\n2,B,2026-04-02 10:00:00Z,2\n")
    write_text(tmp_path / "empty" / "c.csv", "title,sku\n")
    text = draft_of_folder(tmp_path)
    assert read_source(write_text(tmp_path / "draft.sql", text)).statements["events"].endswith("FROM `order`")
    assert "qty AS quantity" in text and "-- not used: the folder empty (title, sku)" in text


def test_bytes_that_are_no_utf_8_propose_an_encoding(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_bytes("sku,user_id,created_at,title\nA,1,2026-04-01,Jäckchen\n".encode("cp1252"))
    (tmp_path / "notes.xlsx").write_bytes(b"x")
    text = draft_of_folder(tmp_path)
    assert '--! encoding = "windows-1252"\n' in text and "-- not read: notes.xlsx" in text


def test_the_command_writes_a_new_file_and_never_over_one(tmp_path: Path) -> None:
    write_text(tmp_path / "raw" / "log.csv", text_of(log()))
    where = ("--raw", str(tmp_path / "raw"))
    shown = jobs(tmp_path / "lake", "draft", *where)
    assert shown.returncode == 0 and "-- events\nSELECT" in shown.stdout
    source = tmp_path / "new.sql"
    written = jobs(tmp_path / "lake", "draft", *where, "--source", str(source))
    assert written.returncode == 0 and source.read_text() == shown.stdout
    assert f"python -m jobs check --source {source} --raw {tmp_path / 'raw'}" in written.stdout
    again = jobs(tmp_path / "lake", "draft", *where, "--source", str(source))
    assert again.returncode == 2 and "is there already" in again.stderr and source.read_text() == shown.stdout
