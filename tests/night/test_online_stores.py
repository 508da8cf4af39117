"""The online store over whole nights: beside Feast's own stores, in a real Redis, taken back."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.cli.operate import chosen_rollback
from jobs.errors import UserError
from jobs.publish.step import SURFACES
from jobs.publish.store import REPO
from jobs.tables.records import PUBLISHED
from jobs.tables.shop import (
    CATALOGUE,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    RECOMMENDED_FOR_YOU,
    YOU_MIGHT_ALSO_LIKE,
)
from tests.support.asking import all_answers, call, keys_of
from tests.support.feast_store import FeastStore
from tests.support.nights import FIRST, SECOND, Rows, Shop, feast_below
from tests.support.redis_server import RedisServer, running_redis

REDIS = REPO / "redis.yaml"


def odd_catalogue(rows: Rows) -> Rows:
    rows[0] |= {"name": "Łódź 👗 \x00 \n quoted '\"", "brand": None, "price": None, "category": ""}
    rows[1] |= {"name": "", "price": float("nan"), "image_url": None}
    rows[2] |= dict.fromkeys(("name", "brand", "category", "department", "colour", "price", "currency"))
    return rows


def odd_lists(rows: Rows) -> Rows:
    rows[0] |= {"product_ids": [], "scores": [], "sources": []}
    rows[1] |= {"product_ids": None, "scores": None, "sources": None}
    rows[2]["product_ids"] = ["zoë", *rows[2]["product_ids"][1:]]
    rows[3]["scores"] = [1e-38] * len(rows[3]["scores"])
    return rows


def odd_sequences(rows: Rows) -> Rows:
    rows[0]["event_timestamps"] = rows[0]["event_timestamps"][::-1]
    # No empty list of times: Feast's own materialisation stops at one.
    rows[1] |= {"product_ids": [], "event_types": None}
    rows[2] |= {"market": None}
    return rows


@pytest.fixture(scope="module")
def odd(night: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A night with nulls, empty lists and odd text, published again."""
    shop = night.copy(tmp_path_factory.mktemp("odd"))
    for table, change in ((CATALOGUE, odd_catalogue), (RECOMMENDED_FOR_YOU, odd_lists),
                          (CUSTOMER_SEQUENCES, odd_sequences)):  # fmt: skip
        shop.rewrite(table, change)
    note = shop.step("publish").note
    assert "rows written online" in note, note
    return shop


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_every_service_gives_what_feasts_own_stores_give(
    odd: Shop, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from feature_repo.definitions import definitions

    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        server.client().flushall()
        own = f"  type: redis\n  connection_string: 127.0.0.1:{server.port}\n"
    else:
        own = f"  type: sqlite\n  path: {tmp_path}/theirs.db\n"
    ours = (REPO / "feature_store.yaml").read_text("utf-8")
    start, end = ours.index("  type: feature_repo"), ours.index("batch_engine")
    settings = tmp_path / "feature_store.yaml"
    settings.write_text(ours[:start] + own + ours[end:])
    (tmp_path / "feast").mkdir()
    theirs = FeastStore(odd.lake.root, settings)
    with feast_below(tmp_path):
        theirs.store.apply(definitions(odd.lake.root))
    theirs.store.materialize(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    online = odd.online()
    expected, found = all_answers(odd, theirs), all_answers(odd, online)
    for service in expected:
        assert found[service] == expected[service], service
    with pytest.raises(UserError, match="names the online store"):
        assert theirs.backend


@pytest.fixture
def in_redis(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty Redis that `redis.yaml` finds."""
    redis_server.client().flushall()
    monkeypatch.setenv("NIGHTRAIL_REDIS", redis_server.url)
    return redis_server


def redis_store(shop: Shop) -> FeastStore:
    store = FeastStore(shop.lake.root, REDIS)
    with feast_below(shop.lake.root):
        assert store.store is not None and store.backend
    return store


def test_redis_serves_what_sqlite_serves(odd: Shop, in_redis: RedisServer, tmp_path: Path) -> None:
    shop = odd.copy(tmp_path)
    online = odd.online()
    shop.step("publish", feature_store=REDIS)
    found = redis_store(shop)
    assert all_answers(odd, found) == all_answers(odd, online)
    assert found.live().published_at == max(row["published_at"] for row in shop.rows(PUBLISHED))


def test_two_nights_and_back_in_redis(second_night: Shop, in_redis: RedisServer, tmp_path: Path) -> None:
    shop = second_night.copy(tmp_path)
    store = redis_store(shop)
    shop.step("publish", FIRST, feature_store=REDIS, replace_newer=True)
    first = all_answers(shop, store, FIRST)
    assert {row["night"] for row in first["home_v1"]} == {FIRST.isoformat()}
    again = shop.step("publish", FIRST, feature_store=REDIS)
    assert again.rows_out == 0, "the same night again writes nothing"
    counts = shop.step("publish", SECOND, feature_store=REDIS)
    assert 0 < counts.rows_out <= counts.rows_in
    second = all_answers(shop, store, SECOND)
    keys = in_redis.client().dbsize()
    back = shop.step("publish", FIRST, feature_store=REDIS, replace_newer=True)
    assert "its rows were online" in back.note and in_redis.client().dbsize() == keys
    assert all_answers(shop, store, FIRST) == first
    forth = shop.step("publish", SECOND, feature_store=REDIS)
    assert "its rows were online" in forth.note
    assert all_answers(shop, store, SECOND) == second


def test_a_request_over_several_views_is_one_round_trip(night: Shop, in_redis: RedisServer, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    shop.step("publish", feature_store=REDIS)
    store, client = redis_store(shop), in_redis.client()
    keys = keys_of(shop.rows(YOU_MIGHT_ALSO_LIKE)[:5], "product_id", "market", "variant")
    store.read("product_page_v2", keys)
    before = client.info("commandstats")["cmdstat_mget"]["calls"]
    store.read("product_page_v2", keys)
    assert client.info("commandstats")["cmdstat_mget"]["calls"] == before + 1


def test_a_customer_is_forgotten_in_every_view_and_version(second_night: Shop, tmp_path: Path) -> None:
    shop = second_night.copy(tmp_path)
    store = shop.online()
    row = shop.rows(RECOMMENDED_FOR_YOU, SECOND)[0]
    customer, market = row["customer_id"], row["market"]
    theirs = [table for table in SURFACES if table.key[0] == "customer_id"]
    views = sum(any(one["customer_id"] == customer for one in shop.rows(table, SECOND)) for table in theirs)
    assert store.forget([customer, "C-nobody"]) == {customer: views, "C-nobody": 0}
    assert not store.forget([customer])[customer]
    assert store.read("home_v1", [{"customer_id": customer, "market": market}])[0]["product_ids"] is None
    for service in ("customer_history_v1", "customer_vector_v1"):
        assert store.read(service, [{"customer_id": customer}])[0]["night"] is None
    assert store.read("customer_vector_v1", keys_of(shop.rows(CUSTOMER_EMBEDDINGS, SECOND)[1:2], "customer_id"))


def test_clear_leaves_nothing_and_the_next_night_is_loaded_whole(night: Shop, tmp_path: Path) -> None:
    shop = night.copy(tmp_path)
    store = shop.online()
    before = all_answers(shop, store)
    assert store.clear() > 100 and store.live().seq == 0
    with pytest.raises(UserError, match="publish a night there first"):
        all_answers(shop, shop.online())
    counts = shop.step("publish")
    assert counts.rows_out == counts.rows_in > 0
    after = all_answers(shop, shop.online())
    assert after == before


def test_a_stranger_gets_the_markets_order_and_is_told_so(night: Shop) -> None:
    client = night.online().client()
    row = next(row for row in night.rows(RECOMMENDED_FOR_YOU) if row["product_ids"])
    market = row["market"]
    own = client.home(row["customer_id"], market)
    assert (list(own.list.product_ids), own.list.origin) == (row["product_ids"], "own list")
    assert own.shown.night == FIRST.isoformat()
    everybody = next(r for r in night.rows(MARKET_RANKING) if (r["market"], r["category"]) == (market, "*"))
    best = everybody["product_ids"][:24]
    stranger = client.home("C-nobody", market).list
    assert (list(stranger.product_ids), stranger.origin) == (best, "market order")
    assert stranger.scores == tuple(everybody["scores"][:24])
    page = client.product_page("P-nobody", market).you_might_also_like
    assert (list(page.product_ids), page.origin) == (best, "market order")
    nowhere = client.home("C-nobody", "Atlantis").list
    assert (nowhere.product_ids, nowhere.origin) == ((), "nothing")


# --- rollback


def test_rollback_goes_to_the_night_before_and_can_be_tried_dry(
    second_night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = second_night.copy(tmp_path)
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(shop.lake.root / "feast"))
    assert chosen_rollback(shop.lake, None).night == FIRST
    seen = shop.what_services_see()
    assert call(monkeypatch, "rollback", "--root", str(shop.lake.root), "--dry-run") == 0
    text = capsys.readouterr().out
    assert f"Rollback to {FIRST}" in text and all(table.name in text for table in SURFACES) and "one value" in text
    assert shop.what_services_see() == seen
    shop.rewrite(CATALOGUE, lambda rows: rows, FIRST)
    assert call(monkeypatch, "rollback", "--root", str(shop.lake.root), "--dry-run") == 0
    assert "one value" in capsys.readouterr().out, "what was published is what is gone back to"
    staged = ("--dry-run", "--to", str(FIRST), "--staged")
    assert call(monkeypatch, "rollback", "--root", str(shop.lake.root), *staged) == 0
    assert "differ" in capsys.readouterr().out
    back = chosen_rollback(shop.lake, None)
    shop.step("publish", back.night, replace_newer=True, published_at=back.at)
    with pytest.raises(UserError, match="nothing before what is live"):
        chosen_rollback(shop.lake, None)


# --- settings


def test_a_password_is_in_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop_root, secret = tmp_path / "lake", "s3cret/word"
    messages = []
    for address in (f"redis://:{secret}@127.0.0.1:1/0", f"redis://:{secret}@127.0.0.1:no/0",
                    f"127.0.0.1:1,password={secret}", f"127.0.0.1:no,password={secret}"):  # fmt: skip
        monkeypatch.setenv("NIGHTRAIL_REDIS", address)
        store = FeastStore(shop_root, REDIS)
        with feast_below(shop_root), pytest.raises(UserError) as error:
            store.live()
        messages += [str(error.value), repr(error.value.__context__), repr(store.store.config.online_store)]
    bad = tmp_path / "bad.yaml"
    bad.write_text(REDIS.read_text("utf-8").replace("retries:", "no_such_setting: 1\n  retries:"))
    with feast_below(shop_root), pytest.raises(Exception, match="no_such_setting") as error:
        assert FeastStore(shop_root, bad).store
    messages.append(str(error.value))
    assert [text for text in messages if "s3cret" in text] == []


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_a_password_beside_the_address_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_redis("pass word'") as server:
        monkeypatch.setenv("NIGHTRAIL_REDIS", f"redis://127.0.0.1:{server.port}/0")
        with feast_below(tmp_path):
            with pytest.raises(UserError, match="does not answer"):
                FeastStore(tmp_path, REDIS).live()
            monkeypatch.setenv("NIGHTRAIL_REDIS_PASSWORD", "pass word''")
            assert FeastStore(tmp_path, REDIS).live().seq == 0


def test_an_address_that_is_not_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTRAIL_REDIS", raising=False)
    with feast_below(tmp_path), pytest.raises(UserError, match="set NIGHTRAIL_REDIS"):
        FeastStore(tmp_path, REDIS).live()
