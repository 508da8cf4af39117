"""A customer who asked to be forgotten is nowhere any more, and no night brings them back."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from jobs.cli.operate import forgotten_lines
from jobs.errors import UserError
from jobs.forget import step as forgetting
from jobs.forget.step import Forgotten, forget
from jobs.forget.tables import customer_tables
from jobs.lake.forgotten import SALT_FILE, own_salt
from jobs.lake.lake import Lake
from jobs.outcomes.update import fold_in, is_current
from jobs.run import Progress, Run, silent
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.records import FORGOTTEN, RAW_FILES, REJECTED
from jobs.tables.shop import CUSTOMER_SEQUENCES, EVENTS, RECOMMENDED_FOR_YOU
from tests.support.command_line import jobs
from tests.support.nights import FIRST, SECOND, Shop, feast_below
from tests.support.tables import assert_same_rows

NOW = datetime(2026, 5, 3, 4, 5, tzinfo=UTC)


class NoStore:
    """An online store in which nobody is."""

    def forget(self, customers: Sequence[str]) -> dict[str, int]:
        return dict.fromkeys(customers, 0)

    def scrub(self) -> None:
        pass


def forget_in(shop: Shop, *ids: str, progress: Progress = silent) -> Forgotten:
    with feast_below(shop.lake.root):
        return forget(shop.lake, shop.online(), ids, NOW, progress)


def texts_of(value: object) -> Iterator[str]:
    """Every text within a value of a table."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)


def text_of(path: Path) -> str:
    """A file's characters, with those that a page carries compressed."""
    content = path.read_bytes()
    for block in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", content) if path.suffix == ".html" else ():
        with suppress(ValueError, zlib.error):
            content += zlib.decompress(base64.b64decode(block))
    return content.decode("utf-8", "replace")


def naming(root: Path, customer: str) -> list[str]:
    """Files below a root that hold the characters, read without the product's help; Parquet is decoded."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if path.suffix == ".parquet":
            there = any(customer in text for row in pq.read_table(path).to_pylist() for text in texts_of(row))
        elif path.name.endswith(("-wal", "-shm")) and not path.exists():
            continue  # SQLite took it away when it was closed
        else:
            there = customer in text_of(path)
        if there:
            found.append(path.relative_to(root).as_posix())
    return found


def on_page(lake: Lake, customer: str) -> str:
    """The customer's name on pages."""
    return own_salt(lake).pseudonym(customer)


@pytest.fixture(scope="module")
def known(second_night: Shop) -> str:
    """A customer of both nights who is on a page in clear and on the shop window, which packs its data."""
    lake = second_night.lake
    listed = [set(lake.arrow(RECOMMENDED_FOR_YOU, as_of=night)["customer_id"].to_pylist()) for night in (FIRST, SECOND)]
    page = (lake.directory("reports", SECOND) / "index.html").read_text("utf-8")
    return next(id for id in sorted(set.intersection(*listed)) if on_page(lake, id) in page)


def named_everywhere(night: Shop, folder: Path, customer: str) -> Shop:
    """A copy of a night in which a log, a rejected row and what a killed step left name the customer as well."""
    shop = night.copy(folder)
    root = shop.lake.root
    (root / "logs").mkdir(exist_ok=True)
    (root / "logs" / "night.log").write_text(f"1 line of {customer}\n")
    (root / "logs" / "other.log").write_text(f"1 line of {customer}0\n")
    packed = base64.b64encode(zlib.compress(json.dumps([customer] * 9).encode())).decode()
    for name, text in (("clear", customer), ("packed", packed)):
        (shop.lake.directory("reports", FIRST) / f"{name}.html").write_text(f"<p>{text}</p>", "utf-8")
    (root / "tables" / ".events.aside").mkdir()
    pq.write_table(pa.table({"customer_id": [customer]}), root / "tables" / ".events.aside" / "part.parquet")
    shown = [{"impression_id": who, "customer_id": who, "counted": True} for who in (customer, "somebody")]
    of_day = {"product_id": "P", "shown_at": NOW, "shown_date": NOW.date()}
    shop.lake.replace_rows(IMPRESSIONS, [one | of_day for one in shown], shop.run_of(SECOND))
    fold_in(shop.lake, shop.run_of(SECOND))
    row = {"source": "broken", "raw": json.dumps({"customer_id": None, "basket_id": f'"1,{customer},click\n2'})}
    shop.lake.replace_rows(REJECTED, [row], shop.run_of(SECOND), where="source = 'broken'")
    return shop


@pytest.fixture(scope="module")
def done(second_night: Shop, known: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Forgotten]:
    """Two published nights, from which the customer was taken."""
    shop = named_everywhere(second_night, tmp_path_factory.mktemp("forgotten"), known)
    assert {path.split("/")[0] for path in naming(shop.lake.root, known)} == {"tables", "feast", "reports", "logs"}
    return shop, forget_in(shop, known)


def test_no_file_of_the_lake_names_the_customer(done: tuple[Shop, Forgotten], known: str) -> None:
    shop, told = done
    assert naming(shop.lake.root, known) == ["logs/other.log"], "which names one whose id begins like theirs"
    assert naming(shop.lake.root, on_page(shop.lake, known)) == []
    assert {"logs/night.log", f"reports/as_of={SECOND}/shop.html", f"reports/as_of={FIRST}/packed.html"} <= set(
        told.deleted
    )
    assert (shop.lake.directory("reports", SECOND) / "drift.html").exists(), "a page that never showed them"


def test_no_page_names_a_customer(second_night: Shop) -> None:
    ids = second_night.lake.arrow(CUSTOMER_SEQUENCES, as_of=SECOND)["customer_id"].to_pylist()
    pages = list((second_night.lake.root / "reports").rglob("*.html"))
    words = {word for page in pages for word in re.findall(r"\w+", text_of(page))}
    assert len(pages) > 6 and len(ids) > 100 and not words & set(ids)


def test_everybody_else_is_as_they_were(second_night: Shop, done: tuple[Shop, Forgotten], known: str) -> None:
    shop, told = done
    for table in customer_tables():
        if not second_night.lake.exists(table):
            continue
        before, after = second_night.lake.arrow(table), shop.lake.arrow(table)
        theirs = pc.equal(before["customer_id"], known)
        assert_same_rows(before.filter(pc.invert(theirs)), after, ("before", "after"))
        assert told.rows[known].get(table.name, 0) == (pc.sum(theirs).as_py() or 0), table.name
    assert_same_rows(second_night.lake.arrow(REJECTED), shop.lake.arrow(REJECTED), ("before", "after"))
    for table in (IMPRESSIONS, OUTCOMES):
        assert shop.lake.arrow(table)["customer_id"].to_pylist() == ["somebody"] and told.rows[known][table.name] == 1
    assert is_current(shop.lake), "their going is no reason to compute outcomes again"
    assert told.rows[known]["rejected"] == 1
    assert told.rows[known]["online store"] > 0


def test_services_do_not_know_them(done: tuple[Shop, Forgotten], known: str) -> None:
    shop, _ = done
    with feast_below(shop.lake.root):
        found = shop.online().read("customer_history_v1", [{"customer_id": known}])
    assert found[0]["product_ids"] is None


def test_it_is_recorded_without_the_id(done: tuple[Shop, Forgotten], known: str) -> None:
    shop, told = done
    rows = shop.rows(FORGOTTEN, NOW.date())
    assert len(rows) == 1
    proof = json.loads(rows[0]["proof"])
    assert (proof["state"], proof["rows"], proof["files_read_back"]) == ("done", told.rows[known], told.files)
    assert known not in str(rows)
    assert (shop.lake.root / SALT_FILE).stat().st_mode & 0o777 == 0o600


def test_no_night_brings_them_back(done: tuple[Shop, Forgotten], known: str, tmp_path: Path) -> None:
    shop = done[0].copy(tmp_path)
    stamps = ["as_of", "run_id", "since", "events_version"]
    before = shop.lake.arrow(EVENTS), shop.lake.arrow(CUSTOMER_SEQUENCES, as_of=SECOND).drop_columns(stamps)
    # So that the raw files, which still hold their rows, are all read again.
    shop.lake.overwrite(RAW_FILES, shop.lake.arrow(RAW_FILES).slice(0, 0))
    notes = [shop.step("ingest", night).note for night in (FIRST, SECOND)]
    assert "rows of customers who asked to be forgotten" in notes[0]
    shop.step("sequences", SECOND)
    assert naming(shop.lake.root, known) == ["logs/other.log"]
    assert_same_rows(shop.lake.arrow(EVENTS), before[0], ("after", "before"))
    after = shop.lake.arrow(CUSTOMER_SEQUENCES, as_of=SECOND).drop_columns(stamps)
    assert_same_rows(after, before[1], ("after", "before"))


def test_pages_are_written_anew_without_them(done: tuple[Shop, Forgotten], known: str, tmp_path: Path) -> None:
    shop, told = done[0].copy(tmp_path), done[1]
    assert told.earlier == frozenset()
    assert next(forgotten_lines(told)).startswith(f"{known}: removed ")
    pages = [path for path in told.deleted if path.endswith(("index.html", "shop.html"))]
    assert pages and not any((shop.lake.root / path).exists() for path in pages)
    again = jobs(shop.lake.root, "forget", "--customer", known)
    assert again.returncode == 0, again.stderr
    assert f"{known}: nothing was left; removed earlier: " in again.stdout
    assert {line.removeprefix("written again: ") for line in again.stdout.splitlines() if "again: " in line} >= set(
        pages
    )
    assert naming(shop.lake.root, on_page(shop.lake, known)) == []
    page = (shop.lake.directory("reports", SECOND) / "index.html").read_text("utf-8")
    assert shop.run_of(SECOND).run_id in page and "Went live" in page and "no step of this run" not in page


def test_a_rollback_does_not_bring_them_back(done: tuple[Shop, Forgotten], known: str, tmp_path: Path) -> None:
    shop = done[0].copy(tmp_path)
    shop.step("publish", FIRST, replace_newer=True)
    assert naming(shop.lake.root, known) == ["logs/other.log"]


class Killed(BaseException):
    """What no code catches."""


@pytest.mark.parametrize(
    "point", [pytest.param(n, marks=() if n == 4 else pytest.mark.soak) for n in range(1, forgetting.STEPS + 1)]
)
def test_killed_on_the_way_it_completes_when_called_again(
    second_night: Shop, done: tuple[Shop, Forgotten], known: str, tmp_path: Path, point: int
) -> None:
    shop = named_everywhere(second_night, tmp_path, known)

    def kill(_what: str, step: int, _steps: int) -> None:
        if step == point:
            raise Killed

    with pytest.raises(Killed):
        forget_in(shop, known, progress=kill)
    assert shop.lake.arrow(FORGOTTEN).num_rows == 1, "recorded first: the next night leaves them out already"
    again = forget_in(shop, known)
    assert naming(shop.lake.root, known) == ["logs/other.log"]
    assert again.rows == done[1].rows, "the record counts what the first call had found"
    assert shop.lake.arrow(FORGOTTEN).num_rows == 1


# --- a lake of three customers


NIGHTS = (date(2026, 4, 6), date(2026, 4, 7), date(2026, 4, 8))


def sequence(customer: str) -> dict[str, object]:
    return {"customer_id": customer, "product_ids": ["5"], "market": "GB", "last_event_at": NOW}


def small(lake: Lake, *customers: str) -> Lake:
    """One complete night, and two in which only the first customer changed."""
    for night in NIGHTS:
        changed = customers if night == NIGHTS[0] else customers[:1]
        schema = [name for name in CUSTOMER_SEQUENCES.names if name not in ("as_of", "run_id", "since")]
        rows = pa.Table.from_pylist([dict.fromkeys(schema) | sequence(customer) for customer in changed],
                                    schema=arrow_without_identity())  # fmt: skip
        lake.replace(CUSTOMER_SEQUENCES, rows, Run(night, f"run-{night}", NOW), since=NIGHTS[0])
    return lake


def arrow_without_identity() -> pa.Schema:
    from jobs.lake.rows import arrow_schema

    return pa.schema([f for f in arrow_schema(CUSTOMER_SEQUENCES) if f.name not in ("as_of", "run_id", "since")])


def test_a_night_in_which_nobody_else_changed_stays_a_night(tmp_path: Path) -> None:
    lake = small(Lake(tmp_path / "lake"), "A", "B", "C")
    forget(lake, NoStore(), ["A"], NOW)  # type: ignore[arg-type]
    assert lake.nights(CUSTOMER_SEQUENCES) == list(NIGHTS)
    for night in NIGHTS:
        assert lake.arrow(CUSTOMER_SEQUENCES, ["customer_id"], night)["customer_id"].to_pylist() == ["B", "C"]
        assert lake.count(CUSTOMER_SEQUENCES, night) == 2


HOSTILE = ("o'brien", "zx\\", 'q"uote', "' OR '1'='1", "'); DROP TABLE x; --", "../../etc/passwd", "ünï", "<b>&amp;",
           "a,b\tc", "\u202egnp", "👗", "%s{}", "--")  # fmt: skip


@pytest.mark.parametrize("customer", HOSTILE)
def test_an_id_is_never_more_than_text(tmp_path: Path, customer: str) -> None:
    lake = small(Lake(tmp_path / "lake"), customer, "B", "C")
    raws = [json.dumps({"customer_id": f" {customer} ", "price": "1"}, ensure_ascii=pure) for pure in (True, False)]
    others = [json.dumps({"customer_id": "B", "price": "-1"}), "{broken"]
    rows = [{"source": "events", "reason": "negative price", "expected": False, "raw": raw} for raw in raws + others]
    lake.replace_rows(REJECTED, rows, Run(NIGHTS[0], "run", NOW))
    told = forget(lake, NoStore(), [customer], NOW)  # type: ignore[arg-type]
    assert told.rows == {customer: {"customer_sequences": 3, "rejected": 2}}
    assert sorted(lake.arrow(REJECTED)["raw"].to_pylist()) == sorted(others)
    assert Counter(lake.arrow(CUSTOMER_SEQUENCES)["customer_id"].to_pylist()) == {"B": 3, "C": 1}
    assert naming(lake.root, customer) == []


def test_an_id_of_digits_takes_nobody_elses_rows(tmp_path: Path) -> None:
    lake = small(Lake(tmp_path / "lake"), "5", "55", "15")
    row = {"customer_id": "55", "product_id": "15", "quantity": "5", "price": "-5", "event_ts": "2026-04-05"}
    lake.replace_rows(REJECTED, [{"source": "events", "raw": json.dumps(row)}], Run(NIGHTS[0], "run", NOW))
    told = forget(lake, NoStore(), ["5"], NOW)  # type: ignore[arg-type]
    assert told.rows == {"5": {"customer_sequences": 3}}
    assert lake.arrow(REJECTED).num_rows == 1


def test_somebody_who_was_never_there_is_recorded_all_the_same(tmp_path: Path) -> None:
    lake = small(Lake(tmp_path / "lake"), "A", "B")
    told = forget(lake, NoStore(), ["nobody", " A "], NOW)  # type: ignore[arg-type]
    assert told.rows == {"nobody": {}, "A": {"customer_sequences": 3}}
    assert lake.arrow(FORGOTTEN).num_rows == 2


def test_a_lost_or_exchanged_salt_stops_the_night(tmp_path: Path) -> None:
    lake = small(Lake(tmp_path / "lake"), "A", "B")
    forget(lake, NoStore(), ["A"], NOW)  # type: ignore[arg-type]
    salt = lake.root / SALT_FILE
    salt.write_text("ab" * 32)
    with pytest.raises(UserError, match="is not the salt"):
        forget(lake, NoStore(), ["B"], NOW)  # type: ignore[arg-type]
    salt.unlink()
    with pytest.raises(UserError, match="missing"):
        forget(lake, NoStore(), ["B"], NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [[], [""], ["  "], ["A", " "]])
def test_nobody_is_no_customer(tmp_path: Path, ids: list[str]) -> None:
    with pytest.raises(UserError, match="empty customer id"):
        forget(small(Lake(tmp_path / "lake"), "A", "B"), NoStore(), ids, NOW)  # type: ignore[arg-type]


def test_a_folder_without_tables_is_no_lake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a lake"):
        forget(Lake(tmp_path), NoStore(), ["A"], NOW)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_never_had_a_night_is_refused(copied_night: Shop) -> None:
    shop = copied_night
    customer = shop.rows(RECOMMENDED_FOR_YOU)[0]["customer_id"]
    shutil.move(shop.lake.work / "feast", shop.lake.work / "elsewhere")
    with pytest.raises(UserError, match="never to this online store: set NIGHTRAIL_FEATURE_STORE"):
        forget_in(shop, customer)
    shutil.rmtree(shop.lake.work / "feast")
    shutil.move(shop.lake.work / "elsewhere", shop.lake.work / "feast")
    assert forget_in(shop, customer).rows[customer]["online store"] > 0
