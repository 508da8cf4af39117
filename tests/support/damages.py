"""Ways to spoil a staged night, each with the gates that must say so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from jobs.run import fingerprint
from jobs.tables.audiences import AFFINITIES, CAMPAIGNS
from jobs.tables.networks import NETWORKS
from jobs.tables.records import MODELS
from jobs.tables.shop import (
    AVAILABILITY,
    BAG_EXTRAS,
    CUSTOMER_EMBEDDINGS,
    CUSTOMER_SEQUENCES,
    EVENTS,
    MARKET_RANKING,
    OUTFITS,
    PEOPLE_ALSO_BOUGHT,
    PRODUCT_EMBEDDINGS,
    RECOMMENDED_FOR_YOU,
    TOUCH_POINTS,
    YOU_MIGHT_ALSO_LIKE,
)
from jobs.tables.table import Table
from jobs.train.champions import promote
from tests.support.nights import FIRST, Rows, Shop

PARALLEL = ("product_ids", "scores", "sources", "rules", "categories")


def held(row: dict[str, Any], places: int) -> dict[str, Any]:
    """A list cut to its first places, in every column."""
    return row | {name: row[name][:places] for name in PARALLEL if row.get(name) is not None}


def with_first_place(rows: Rows, row: int, product: str) -> Rows:
    """The lists with another product in the first place of one of them."""
    changed = [dict(r) for r in rows]
    changed[row]["product_ids"] = [product, *changed[row]["product_ids"][1:]]
    return changed


def show_what_the_market_lacks(shop: Shop, as_of: date) -> None:
    sold = {(r["product_id"], r["market"]) for r in shop.rows(AVAILABILITY, as_of) if r["available"]}
    products = sorted({product for product, _ in sold})

    def change(rows: Rows) -> Rows:
        row, lacking = next(
            (i, p) for i, r in enumerate(rows) for p in products
            if (p, r["market"]) not in sold and p not in r["product_ids"]
        )  # fmt: skip
        return with_first_place(rows, row, lacking)

    shop.rewrite(PEOPLE_ALSO_BOUGHT, change, as_of)


def show_a_product_nobody_knows(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: with_first_place(rows, 3, "P-invented"), as_of)


def repeat_a_product(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: with_first_place(rows, 0, rows[0]["product_ids"][1]), as_of)


def show_the_product_itself(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: with_first_place(rows, 5, rows[5]["product_id"]), as_of)


def show_a_bought_product(shop: Shop, as_of: date) -> None:
    sold = {(r["product_id"], r["market"]) for r in shop.rows(AVAILABILITY, as_of) if r["available"]}
    events = shop.lake.arrow(EVENTS, ("customer_id", "product_id", "event_type")).to_pylist()
    bought = {(r["customer_id"], r["product_id"]) for r in events if r["event_type"] == "purchase"}

    def change(rows: Rows) -> Rows:
        row, product = next(
            (i, p) for i, r in enumerate(rows) for who, p in sorted(bought)
            if who == r["customer_id"] and (p, r["market"]) in sold
        )  # fmt: skip
        return with_first_place(rows, row, product)

    shop.rewrite(RECOMMENDED_FOR_YOU, change, as_of)


def lose_most_rows(shop: Shop, as_of: date) -> None:
    shop.rewrite(YOU_MIGHT_ALSO_LIKE, lambda rows: rows[: len(rows) // 3], as_of)


def lose_one_row(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: rows[1:], as_of)


def lose_every_row(shop: Shop, as_of: date) -> None:
    shop.rewrite(PEOPLE_ALSO_BOUGHT, lambda _: [], as_of)


def shorten_the_lists(shop: Shop, as_of: date) -> None:
    def change(rows: Rows) -> Rows:
        return [held(r, 3) | {"short_reason": "for want of time"} for r in rows]

    shop.rewrite(PEOPLE_ALSO_BOUGHT, change, as_of)


def empty_a_list_in_silence(shop: Shop, as_of: date) -> None:
    shop.rewrite(RECOMMENDED_FOR_YOU, lambda rows: [held(rows[0], 0), *rows[1:]], as_of)


def spoil_the_index(shop: Shop, as_of: date) -> None:
    with_manifest(shop, YOU_MIGHT_ALSO_LIKE, as_of, recall=0.31)


def embed_customers_with_another_model(shop: Shop, as_of: date) -> None:
    shop.rewrite(CUSTOMER_EMBEDDINGS, lambda rows: [r | {"model_id": "amf-of-last-year"} for r in rows], as_of)


def make_the_champion_worse_than_popularity(shop: Shop, _: date) -> None:
    shop.rewrite(MODELS, lambda rows: [r | {"ndcg": 0.001} for r in rows], FIRST)


def show_something_else_entirely(shop: Shop, as_of: date) -> None:
    """Lists that keep every rule and favour no product, but hold nothing of what is live."""
    live = {(r["product_id"], r["market"]): r["product_ids"] for r in shop.rows(YOU_MIGHT_ALSO_LIKE, FIRST)}
    by_market: dict[str, list[str]] = {}
    for row in shop.rows(YOU_MIGHT_ALSO_LIKE, as_of):
        by_market.setdefault(row["market"], []).append(row["product_id"])

    def change(rows: Rows) -> Rows:
        changed = []
        for place, row in enumerate(rows):
            old = {*live.get((row["product_id"], row["market"]), ()), row["product_id"]}
            sold = by_market[row["market"]]
            fresh = [product for product in (*sold[place % len(sold) :], *sold) if product not in old]
            changed.append(row | {"product_ids": list(dict.fromkeys(fresh))[: len(row["product_ids"])]})
        return changed

    shop.rewrite(YOU_MIGHT_ALSO_LIKE, change, as_of)


def with_vectors(shop: Shop, table: Table, change: Callable[[int, list[float]], list[float]], as_of: date) -> None:
    """Rewrite every vector: `change` gets its row and its numbers."""
    shop.rewrite(table, lambda rows: [r | {"vector": change(i, r["vector"])} for i, r in enumerate(rows)], as_of)


def collapse_products_to_a_point(shop: Shop, as_of: date) -> None:
    first = shop.rows(PRODUCT_EMBEDDINGS, as_of)[0]["vector"]
    with_vectors(shop, PRODUCT_EMBEDDINGS, lambda _, __: first, as_of)


def collapse_customers_to_a_point(shop: Shop, as_of: date) -> None:
    first = shop.rows(CUSTOMER_EMBEDDINGS, as_of)[0]["vector"]
    with_vectors(shop, CUSTOMER_EMBEDDINGS, lambda row, _: [x * (1 + row % 3) for x in first[:-1]] + [1.0], as_of)


def put_not_a_number_into_a_vector(shop: Shop, as_of: date) -> None:
    nan = float("nan")
    with_vectors(shop, CUSTOMER_EMBEDDINGS, lambda row, v: [nan, *v[1:]] if row == 7 else v, as_of)


def put_infinity_into_product_vectors(shop: Shop, as_of: date) -> None:
    with_vectors(shop, PRODUCT_EMBEDDINGS, lambda row, v: [float("inf"), *v[1:]] if row % 9 == 0 else v, as_of)


def cut_a_vector(shop: Shop, as_of: date) -> None:
    with_vectors(shop, CUSTOMER_EMBEDDINGS, lambda row, v: v[:5] if row == 3 else v, as_of)


def stretch_a_vector(shop: Shop, as_of: date) -> None:
    with_vectors(shop, PRODUCT_EMBEDDINGS, lambda row, v: [1e6 * x for x in v] if row == 5 else v, as_of)


def forget_most_customers_vectors(shop: Shop, as_of: date) -> None:
    with_vectors(shop, CUSTOMER_EMBEDDINGS, lambda row, v: [0.0] * (len(v) - 1) + [1.0] if row % 3 else v, as_of)


def lose_a_customers_vector(shop: Shop, as_of: date) -> None:
    shop.rewrite(CUSTOMER_EMBEDDINGS, lambda rows: rows[1:], as_of)


def turn_the_model_round(shop: Shop, as_of: date) -> None:
    """What the customers want least comes first."""
    with_vectors(shop, PRODUCT_EMBEDDINGS, lambda _, v: [-x for x in v], as_of)


def shift_the_network(shop: Shop, as_of: date) -> None:
    """Services would read the products of one part by other vectors."""

    def shift(rows: Rows) -> Rows:
        parts = [row for row in rows if row["part"] != "network"]
        parts[0]["numbers"] = parts[0]["numbers"][1:] + parts[0]["numbers"][:1]
        return rows

    shop.rewrite(NETWORKS, shift, as_of)


def build_the_index_with_another_model(shop: Shop, as_of: date) -> None:
    with_manifest(shop, YOU_MIGHT_ALSO_LIKE, as_of, model_id="amf-of-last-year")


def build_the_other_index_with_another_model(shop: Shop, as_of: date) -> None:
    with_manifest(shop, PEOPLE_ALSO_BOUGHT, as_of, model_id="co-purchase-of-last-year")


def promote_another_model_too_late(shop: Shop, as_of: date) -> None:
    """The night was made with the champion before."""
    row = next(row for row in shop.rows(MODELS, FIRST) if row["champion"])
    earlier = row | {"model_id": "amf-of-last-year"}
    shop.rewrite(MODELS, lambda rows: [*rows, earlier], FIRST)
    shutil.copytree(shop.lake.root / "models" / row["model_id"], shop.lake.root / "models" / "amf-of-last-year")
    promote(shop.lake, "amf-of-last-year", as_of, "a test", datetime(2026, 6, 1, tzinfo=UTC))


def spoil_the_other_index(shop: Shop, as_of: date) -> None:
    with_manifest(shop, PEOPLE_ALSO_BOUGHT, as_of, recall=0.2)


def with_manifest(shop: Shop, table: Table, as_of: date, **changes: object) -> None:
    """Rewrite some of what an index's manifest says, with its checksum."""
    path = shop.lake.directory("indexes", as_of) / table.name / "manifest.json"
    plain = json.loads(path.read_text("utf-8")) | changes
    del plain["sha256"]
    path.write_text(json.dumps(plain | {"sha256": fingerprint(plain)}), "utf-8")


def keep_the_index_of_another_night(shop: Shop, as_of: date) -> None:
    for_first = shop.lake.directory("indexes", FIRST) / YOU_MIGHT_ALSO_LIKE.name
    place = shop.lake.directory("indexes", as_of) / YOU_MIGHT_ALSO_LIKE.name
    shutil.rmtree(place)
    shutil.copytree(for_first, place)


def make_the_sequences_anew(shop: Shop, as_of: date) -> None:
    """After the lists: they are of other sequences now."""
    shop.step("sequences", as_of)


def lose_customers_everywhere(shop: Shop, as_of: date) -> None:
    """Every table agrees, but a tenth of the customers are gone."""
    for table in (CUSTOMER_SEQUENCES, CUSTOMER_EMBEDDINGS, RECOMMENDED_FOR_YOU, AFFINITIES, CAMPAIGNS):
        shop.rewrite(table, lambda rows: [r for r in rows if hash_of(r["customer_id"]) % 10], as_of)


def hash_of(text: str) -> int:
    """A number that follows from a text alone."""
    return sum(text.encode())


def lose_a_market_in_the_rankings(shop: Shop, as_of: date) -> None:
    def change(rows: Rows) -> Rows:
        return [held(r, 0) | {"short_reason": "none"} if r["market"] == rows[0]["market"] else r for r in rows]

    shop.rewrite(MARKET_RANKING, change, as_of)


def lose_a_market_of_extras(shop: Shop, as_of: date) -> None:
    """Its lists are there, explained, and empty."""

    def change(rows: Rows) -> Rows:
        return [held(r, 0) | {"short_reason": "none"} if r["market"] == rows[0]["market"] else r for r in rows]

    shop.rewrite(BAG_EXTRAS, change, as_of)


def show_everybody_the_same(shop: Shop, as_of: date) -> None:
    """Best-sellers: in their market's order, nothing the customer bought."""
    sold = {(r["product_id"], r["market"]) for r in shop.rows(AVAILABILITY, as_of) if r["available"]}
    owned = {r["customer_id"]: set(r["bought"] or ()) for r in shop.rows(CUSTOMER_SEQUENCES, as_of)}
    products = sorted({product for product, _ in sold})

    def change(rows: Rows) -> Rows:
        return [
            r | {"product_ids": [p for p in products if (p, r["market"]) in sold and p not in owned[r["customer_id"]]]
                 [: len(r["product_ids"])]}
            for r in rows
        ]  # fmt: skip

    shop.rewrite(RECOMMENDED_FOR_YOU, change, as_of)


def show_one_popular_product_first(shop: Shop, as_of: date) -> None:
    """The two most shown products of a market stand in every list of alternatives."""
    by_market: dict[str, list[str]] = {}
    for row in shop.rows(YOU_MIGHT_ALSO_LIKE, as_of):
        by_market.setdefault(row["market"], []).append(row["product_id"])

    def change(rows: Rows) -> Rows:
        changed = []
        for row in rows:
            first = [p for p in by_market[row["market"]][:3] if p != row["product_id"]][:2]
            rest = [p for p in row["product_ids"] if p not in first]
            changed.append(row | {"product_ids": [*first, *rest][: len(row["product_ids"])]})
        return changed

    shop.rewrite(YOU_MIGHT_ALSO_LIKE, change, as_of)


def fall_back_on_popularity(shop: Shop, as_of: date) -> None:
    def change(rows: Rows) -> Rows:
        return [r | {"sources": ["market popularity"] * len(r["sources"])} for r in rows]

    shop.rewrite(PEOPLE_ALSO_BOUGHT, change, as_of)


def fall_back_more_than_last_night(shop: Shop, as_of: date) -> None:
    def change(rows: Rows) -> Rows:
        return [r | {"sources": ["global popularity"] * len(r["sources"])} if i % 3 == 0 else r
                for i, r in enumerate(rows)]  # fmt: skip

    shop.rewrite(YOU_MIGHT_ALSO_LIKE, change, as_of)


def name_too_few_sources(shop: Shop, as_of: date) -> None:
    shop.rewrite(BAG_EXTRAS, lambda rows: [rows[0] | {"sources": rows[0]["sources"][1:]}, *rows[1:]], as_of)


def lose_a_tenth_of_the_rows(shop: Shop, as_of: date) -> None:
    """Of the products of one night, as if they had been sold out; the lists agree with the availability."""

    def fewer(rows: Rows) -> Rows:
        return [r for r in rows if hash_of(r["product_id"]) % 6]

    gone = {r["product_id"] for r in shop.rows(AVAILABILITY, as_of) if hash_of(r["product_id"]) % 6 == 0}
    shop.rewrite(AVAILABILITY, fewer, as_of)
    for table in (YOU_MIGHT_ALSO_LIKE, PEOPLE_ALSO_BOUGHT, BAG_EXTRAS):
        shop.rewrite(table, fewer, as_of)
    shop.rewrite(OUTFITS, lambda rows: [without_looks(r, gone) for r in fewer(rows)], as_of)
    for table in TOUCH_POINTS:
        shop.rewrite(table, lambda rows: [without(r, gone) for r in rows], as_of)
    shop.rewrite(CAMPAIGNS, lambda rows: [row for row in rows if not gone & set(row["product_ids"])], as_of)


def without(row: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """A list without some products."""
    kept = [place for place, product in enumerate(row["product_ids"]) if product not in gone]
    cut = {name: [row[name][place] for place in kept] for name in PARALLEL if row.get(name) is not None}
    return row | cut | {"short_reason": row["short_reason"] or (None if kept else "sold out")}


def without_looks(row: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """Outfits that no market shows a look of with one of some products."""
    hidden = {look for look, product in zip(row["looks"], row["product_ids"], strict=True) if product in gone}
    return row | {"shown_in": [text for text in row["shown_in"] if text.partition(":")[0] not in hidden]}


@dataclass(frozen=True)
class Damage:
    """What was done to a staged night, and the gates that must say so."""

    do: Callable[[Shop, date], None]
    gates: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the step gate, where the tiny shop needs others."""

    def __str__(self) -> str:
        return self.do.__name__


DAMAGES = (
    Damage(show_what_the_market_lacks, ("people_also_bought_unavailable",)),
    Damage(show_a_product_nobody_knows, ("recommended_for_you_unavailable",)),
    Damage(repeat_a_product, ("you_might_also_like_repeats",)),
    Damage(show_the_product_itself, ("you_might_also_like_selves",)),
    Damage(show_a_bought_product, ("recommended_for_you_bought",)),
    Damage(lose_most_rows, ("you_might_also_like_coverage", "you_might_also_like_rows")),
    Damage(lose_one_row, ("recommended_for_you_coverage",)),
    Damage(lose_every_row, ("people_also_bought_coverage", "people_also_bought_rows")),
    Damage(shorten_the_lists, ("people_also_bought_full", "people_also_bought_churn")),
    Damage(empty_a_list_in_silence, ("recommended_for_you_explained",)),
    Damage(spoil_the_index, ("you_might_also_like_recall",)),
    Damage(embed_customers_with_another_model, ("one_model",)),
    Damage(make_the_champion_worse_than_popularity, ("champion_quality",)),
    Damage(show_something_else_entirely, ("you_might_also_like_churn",)),
    Damage(collapse_products_to_a_point, ("product_embeddings_spread", "champion_fresh")),
    Damage(collapse_customers_to_a_point, ("customer_embeddings_spread",)),
    Damage(put_not_a_number_into_a_vector, ("customer_embeddings_finite",)),
    Damage(put_infinity_into_product_vectors, ("product_embeddings_finite",)),
    Damage(cut_a_vector, ("customer_embeddings_finite",)),
    Damage(stretch_a_vector, ("product_embeddings_norm",)),
    Damage(forget_most_customers_vectors, ("customer_embeddings_empty",)),
    Damage(lose_a_customers_vector, ("customer_embeddings_coverage",)),
    Damage(turn_the_model_round, ("champion_fresh",), {"fresh_days": 7}),
    Damage(shift_the_network, ("networks_agreement",)),
    Damage(build_the_index_with_another_model, ("one_model",)),
    Damage(build_the_other_index_with_another_model, ("one_co_purchase_model",)),
    Damage(promote_another_model_too_late, ("one_model",)),
    Damage(spoil_the_other_index, ("people_also_bought_recall",)),
    Damage(keep_the_index_of_another_night, ("stale",)),
    Damage(make_the_sequences_anew, ("stale",)),
    Damage(lose_customers_everywhere, ("customers", "recommended_for_you_rows")),
    Damage(lose_a_market_in_the_rankings, ("market_ranking_empty_markets",)),
    Damage(lose_a_market_of_extras, ("bag_extras_empty_markets",)),
    Damage(show_everybody_the_same, ("recommended_for_you_catalogue", "recommended_for_you_churn",
                                     "recommended_for_you_concentration")),
    Damage(show_one_popular_product_first, ("you_might_also_like_bestsellers",)),
    Damage(fall_back_on_popularity, ("people_also_bought_fallbacks",)),
    Damage(fall_back_more_than_last_night, ("you_might_also_like_fallbacks",)),
    Damage(name_too_few_sources, ("bag_extras_uneven",)),
    Damage(
        lose_a_tenth_of_the_rows,
        ("you_might_also_like_rows", "people_also_bought_rows", "bag_extras_rows", "outfits_rows"),
    ),
)  # fmt: skip
