"""Publishing killed at any write, and what services see in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.publish.step import SURFACES
from jobs.publish.store import OnlineStore
from jobs.tables.records import GATES, PUBLISHED
from jobs.tables.shop import CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS
from tests.support.asking import all_answers
from tests.support.nights import FIRST, SECOND, Shop


class Killed(BaseException):
    """The process ended here."""


class Mortal:
    """A backend whose process ends before its n-th write."""

    def __init__(self, backend: Any, writes: int) -> None:
        self.inner, self.left, self.prefix = backend, writes, backend.prefix

    def __getattr__(self, name: str) -> Any:
        if name in ("put", "drop"):
            self.left -= 1
            if self.left < 0:
                raise Killed
        return getattr(self.inner, name)


def test_a_night_killed_at_any_write_is_not_seen_and_goes_on(
    staged_second: Shop, second_night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = staged_second.copy(tmp_path)
    shop.step("gate", SECOND)
    before = all_answers(shop, shop.online())
    whole, kills = OnlineStore.backend.fget, 0  # type: ignore[attr-defined]
    for writes in (0, 1, 2, 3, 5, 7, 4, 4, 4, 4):
        with monkeypatch.context() as patch:
            patch.setattr(OnlineStore, "backend", property(lambda self, n=writes: Mortal(whole(self), n)))
            try:
                shop.step("publish", SECOND)
            except Killed:
                kills += 1
            else:
                break
        if shop.online().live().as_of == FIRST.isoformat():
            assert all_answers(shop, shop.online()) == before
            assert set(shop.lake.arrow(PUBLISHED, ("as_of",))["as_of"].to_pylist()) == {FIRST}
    assert kills >= 6
    shop.step("publish", SECOND)
    now, undisturbed = (
        all_answers(shop, shop.online(), SECOND),
        all_answers(second_night, second_night.online(), SECOND),
    )
    assert now == undisturbed


def test_between_the_store_and_published_a_rerun_says_what_is_live(
    staged_second: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = staged_second.copy(tmp_path)
    shop.step("gate", SECOND)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.publish.step._rows", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            shop.step("publish", SECOND)
    assert shop.online().live().as_of == SECOND.isoformat()
    assert "staged, not published" in shop.step("publish", FIRST).note, "an older night does not slip in"
    counts = shop.step("publish", SECOND)
    assert counts.rows_out == 0
    rows = shop.rows(PUBLISHED, SECOND)
    assert {row["surface"] for row in rows} >= {table.name for table in SURFACES}
    assert rows[0]["published_at"] == shop.online().live().published_at


def test_vectors_of_customers_and_products_change_in_one_instant(
    second_night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new model's vectors are nowhere beside the old one's, whenever a service asks."""
    shop = second_night.copy(tmp_path)
    shop.step("publish", FIRST, replace_newer=True)
    for table in (CUSTOMER_EMBEDDINGS, PRODUCT_EMBEDDINGS):
        shop.rewrite(table, lambda rows: [row | {"model_id": "another"} for row in rows], SECOND)
    shop.rewrite(GATES, lambda rows: [row | {"accepted": row["gate"] == "one_model"} for row in rows], SECOND)
    asked = {"customer_id": shop.rows(CUSTOMER_EMBEDDINGS, SECOND)[0]["customer_id"],
             "product_id": shop.rows(PRODUCT_EMBEDDINGS, SECOND)[0]["product_id"]}  # fmt: skip
    seen: list[tuple[str, str]] = []
    probe, whole = shop.online(), OnlineStore.backend.fget  # type: ignore[attr-defined]

    class Watched(Mortal):
        def __getattr__(self, name: str) -> Any:
            if name == "put":
                row = probe.store.get_online_features(
                    probe.store.get_feature_service("ranking_v1"), [asked], full_feature_names=True
                ).to_dict()
                seen.append((row["customer_embeddings__model_id"][0], row["product_embeddings__model_id"][0]))
            return super().__getattr__(name)

    monkeypatch.setattr(OnlineStore, "backend", property(lambda self: Watched(whole(self), 10**6)))
    shop.step("publish", SECOND)
    assert len(seen) > 10 and len({one for one, _ in seen}) == 2 and all(one == other for one, other in seen)
