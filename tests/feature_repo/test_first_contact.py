"""The first contact with a store: right and wrong addresses, settings and folders; reading never makes anything."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from feast import FeatureStore
from feast.repo_config import FeastConfigError
from typer.testing import CliRunner

from feature_repo.client import Recommendations, StoreAwayError
from feature_repo.online.backend import StoreMissingError, StoreSettingsError
from feature_repo.online.reader import backend_at, connect
from feature_repo.settings import store_settings
from jobs.__main__ import app
from jobs.publish.store import REPO
from tests.support.redis_server import RedisServer
from tests.support.synthetic import Shape, publish

SHAPE = Shape(products=30, customers=4, ranked=30)
CUSTOMER = SHAPE.customer_ids[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a store in var/online.db."""
    monkeypatch.chdir(tmp_path)
    publish(backend_at("sqlite://var/online.db"), SHAPE, 1)
    return tmp_path


def files_below(folder: Path) -> set[str]:
    """Every file and folder but SQLite's own log and lock files."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {name for name in found if not name.endswith(("-wal", "-shm"))}


def test_relative_and_absolute_addresses_lead_to_one_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ("sqlite://var/online.db", f"sqlite://{folder}/var/online.db", f"sqlite:///{folder}/var/online.db")
    for address in addresses:
        assert Recommendations(address).home(CUSTOMER, "M0").list.product_ids, address
        assert connect(address).live.seq == 1
    client = Recommendations(addresses[0])
    monkeypatch.chdir("/")
    assert client.home(CUSTOMER, "M0").list.product_ids, "relative to the folder of its making"


def test_a_reader_makes_no_store_and_says_where_there_is_none(folder: Path) -> None:
    before = files_below(folder)
    for address in ("sqlite://other/online.db", f"sqlite://{folder}/nowhere.db", "sqlite:///var/online.db"):
        with pytest.raises(StoreAwayError, match="there is no online store at /"):
            Recommendations(address).home(CUSTOMER, "M0")
        with pytest.raises(StoreMissingError):
            assert connect(address).live
    with pytest.raises(StoreAwayError, match=r"did you mean sqlite://var/online.db, from the working folder\?"):
        Recommendations("sqlite:///var/online.db").product("P")
    for address in ("sqlite://", "sqlite://var/"):
        with pytest.raises(StoreSettingsError, match="names no file"):
            Recommendations(address)
    assert files_below(folder) == before and not Path("/var/online.db").exists()


def test_a_reader_opens_the_store_read_only(folder: Path) -> None:
    reader = connect("sqlite://var/online.db")
    assert reader.live.seq == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.backend._reading().execute("DELETE FROM online")  # type: ignore[attr-defined]


def test_a_client_waits_for_the_first_night_without_an_empty_answer(folder: Path) -> None:
    client = Recommendations("sqlite://later.db", refresh_seconds=0.0)
    with pytest.raises(StoreAwayError, match="there is no online store"):
        client.home(CUSTOMER, "M0")
    publish(backend_at("sqlite://later.db"), SHAPE, 1)
    client.nights._paused_until = 0.0
    assert client.home(CUSTOMER, "M0").list.product_ids


def test_an_empty_and_a_wrong_file_are_no_store(folder: Path) -> None:
    (folder / "empty.db").touch()
    (folder / "text.db").write_text("customer,product\n" * 1_000)
    with closing(sqlite3.connect(folder / "other.db")) as other, other:
        other.execute("CREATE TABLE orders (id)")
    with closing(sqlite3.connect(folder / "alike.db")) as other, other:
        for name in ("online", "recent", "older"):
            other.execute(f"CREATE TABLE {name} (key BLOB, seq INTEGER, value BLOB)")
        other.execute("INSERT INTO online VALUES (CAST('n!live' AS BLOB), 1, CAST('hello' AS BLOB))")
    for name, said in (
        ("empty.db", "empty.db is no online store; correct the address"),
        ("text.db", "file is not a database"),
        ("other.db", "is no online store"),
        ("alike.db", "values that are not those of an online store"),
    ):
        with pytest.raises(StoreAwayError, match=said):
            Recommendations(f"sqlite://{name}").category_page("M0")
    with pytest.raises(StoreAwayError, match="no night was ever published there"):
        Recommendations("sqlite://var/online.db", prefix="other").category_page("M0")


def test_a_redis_without_a_night_is_away(redis_server: RedisServer) -> None:
    redis_server.client().flushall()
    client = Recommendations(redis_server.url, prefix="first")
    with pytest.raises(StoreAwayError, match="no night was ever published there"):
        client.home(CUSTOMER, "M0")
    redis_server.client().set("first!live", "hello")
    client.nights._paused_until = 0.0
    with pytest.raises(StoreAwayError, match="values that are not those of an online store"):
        client.home(CUSTOMER, "M0")


def test_a_variable_that_is_not_set_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTRAIL_FEAST", raising=False)
    before = files_below(folder)
    with pytest.raises(StoreSettingsError, match="NIGHTRAIL_FEAST is not set"):
        store_settings(REPO / "feature_store.yaml")
    with pytest.raises(FeastConfigError, match="NIGHTRAIL_FEAST is not set"):
        FeatureStore(repo_path=str(folder), fs_yaml_file=REPO / "feature_store.yaml")
    assert files_below(folder) == before
    assert not list(REPO.glob("$*")), "no folder of that name"


def test_a_relative_folder_of_feasts_is_one_from_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", "var")
    store = FeatureStore(repo_path=str(REPO), fs_yaml_file=REPO / "feature_store.yaml")
    assert store.list_feature_services() == []
    assert (folder / "var" / "registry.db").exists() and not (REPO / "var").exists()
    assert store_settings(REPO / "feature_store.yaml").open().get([b"n!live"])[0]
    monkeypatch.setenv("NIGHTRAIL_FEAST", "mistyped")
    with pytest.raises(StoreSettingsError, match="there is no folder .*/mistyped for Feast's registry"):
        FeatureStore(repo_path=str(REPO), fs_yaml_file=REPO / "feature_store.yaml").list_feature_services()
    assert not (folder / "mistyped").exists()


@pytest.mark.parametrize("damage", ["none", "empty", "wrong"])
def test_status_and_lookup_say_that_nothing_is_online(
    damage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTRAIL_FEAST", str(folder / "feast"))
    (folder / "lake" / "tables").mkdir(parents=True)
    if damage != "none":
        (folder / "feast").mkdir()
        (folder / "feast" / "online.db").write_text("no database" * 100 if damage == "wrong" else "")
    done = CliRunner().invoke(app, ["lookup", "--root", "lake", "--customer", "C1"])
    assert done.exit_code != 0
    said = {"none": "is online; publish a night there first", "empty": "is no online store", "wrong": "is damaged"}
    assert said[damage] in str(done.exception)
    told = CliRunner().invoke(app, ["status", "--root", "lake"])
    assert told.exit_code == 0
    state = "no night was ever published there" if damage == "none" else "away"
    assert f"Online store: {state}" in told.output, told.output
    assert (folder / "feast").exists() == (damage != "none")
    assert os.environ["NIGHTRAIL_FEAST"] == str(folder / "feast")
