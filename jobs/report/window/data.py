"""Reads what the shop window shows of a night, as JSON: products, markets and customers, and all their lists."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.client.answers import LEFT_EMPTY, NO_ADD_ON, NO_LIST
from jobs.gate.counts import ListCounts
from jobs.lake.forgotten import Salt
from jobs.lake.lake import Lake
from jobs.lake.reading import Tally, count_rows, matching, of_night, scan
from jobs.lake.snapshot import KeysAmong
from jobs.policy.variants import DEFAULT
from jobs.report.examples import SIGNS
from jobs.report.figures import RULES
from jobs.report.pictures import SILHOUETTES, paint, silhouette
from jobs.report.recent import Recent
from jobs.report.window.choice import (
    Axes,
    Chosen,
    ContextPair,
    ShopWindowConfig,
    choose,
    choose_customers,
    numbers_of,
    places_of,
)
from jobs.tables.shop import (
    BAG_EXTRAS,
    CATALOGUE,
    CUSTOMER_LISTS,
    CUSTOMER_SEQUENCES,
    MARKET_RANKING,
    OUTFITS,
    PAGE_LISTS,
    PRODUCT_LISTS,
    RECOMMENDED_FOR_YOU,
    RULE_EFFECTS,
    SOLD_OUT_ALTERNATIVES,
    SOURCES,
    STANDING_SOURCES,
    TITLES,
)
from jobs.tables.table import Table
from jobs.text import clean

DETAILS = ("product_id", "name", "brand", "category", "colour", "price", "currency")
NOTES = ("variant", "short_reason", "model_id", "run_id")
"""Columns of a list that hold for the whole list."""
SEPARATOR = "\x1f"
"""Between the texts of NOTES where they are one text."""
SCORE_DIGITS = 4
"""Digits of a score on the page; scores that a bag combines are whole."""
ListRow = tuple[int, list[float], list[float], list[float], list[float]]
"""A list on the page: the number of its notes, then its products, scores, sources and rules, best first."""
OutfitRow = tuple[int, list[int], list[float], list[int], list[int], list[str], list[str], list[list[int]]]
"""The same of outfits, with look and role of each product, and the markets that show each look."""
ListRows = Mapping[str, ListRow | OutfitRow]
"""Key on the page -> list."""


class Numbering:
    """Numbers strings in the order in which they are first met."""

    def __init__(self, first: Iterable[str] = ()) -> None:
        self._numbers = {text: number for number, text in enumerate(dict.fromkeys(first))}

    @property
    def texts(self) -> list[str]:
        """Number -> string."""
        return list(self._numbers)

    def of(self, values: pa.Array) -> pa.Array:
        """[n] numbers of [n] strings; strings not met before get the next numbers, null is the empty string."""
        met = pc.dictionary_encode(pc.fill_null(values, ""))
        return pa.array(self.of_texts(met.dictionary.to_pylist()), pa.int64()).take(met.indices)

    def of_texts(self, texts: Iterable[str]) -> list[int]:
        """`of` for plain strings."""
        return [self._numbers.setdefault(text, len(self._numbers)) for text in texts]


@dataclass(frozen=True)
class WindowTexts:
    """The strings that lists refer to by number, shared by all lists."""

    products: Numbering
    sources: Numbering
    rules: Numbering
    """Number 0 is the empty string: no rule moved the place."""
    notes: Numbering


@dataclass(frozen=True)
class ShopWindow:
    """All that the page holds."""

    page: dict[str, object]
    """The JSON object of everything but lists."""
    lists: dict[str, ListRows]
    """By table name, those that have any. Keys are `product,market,variant` in PRODUCT_LISTS, `product,variant` in
    outfits, `category,market,variant` in market_ranking and lists like it, and the customer in CUSTOMER_LISTS, as
    numbers into the page."""
    shown: dict[str, tuple[int, int]]
    """What is counted -> how many the page has, how many there are."""


def read_window(
    lake: Lake,
    run_id: str,
    config: ShopWindowConfig,
    contexts: Sequence[ContextPair],
    recent: Recent,
    counts: Mapping[str, ListCounts],
    salt: Salt,
) -> ShopWindow:
    """Read what the tables have of the night; a table that is not there leaves its part empty.

    Customers have the pseudonyms of `salt`. `counts` says which markets and variants PRODUCT_LISTS hold.
    """
    as_of, chosen = recent.as_of, choose(lake, config, contexts, recent, counts)
    texts = WindowTexts(Numbering(chosen.products), Numbering(), Numbering([""]), Numbering())
    homes = choose_customers(config.customers, chosen.markets, contexts, recent)
    categories = _categories(lake, as_of, chosen.markets)
    lists = _lists(lake, as_of, config, chosen, homes, categories, texts)
    customers = _histories(recent, texts, homes, config.history, chosen.markets, salt)
    page: dict[str, object] = {
        "asOf": f"{as_of}",
        "run": clean(run_id),
        "shown": len(chosen.products),
        "places": config.places,
        "markets": _cleaned(chosen.markets),
        "variants": _cleaned(chosen.variants),
        "categories": _cleaned(categories),
        "firsts": _first_products(lists, chosen),
        "customers": customers,
        "contexts": [_context(pair, texts, salt) for pair in contexts],
        "lists": list(lists),
        "customerList": RECOMMENDED_FOR_YOU.name,
        "rankingList": MARKET_RANKING.name,
        "titles": TITLES,
        "sourceWords": SOURCES | STANDING_SOURCES,
        "ruleWords": RULES,
        "signs": SIGNS,
        "silhouettes": SILHOUETTES,
        "reasons": _reasons(lake, as_of),
        "empty": {"rules": LEFT_EMPTY, "noList": NO_LIST, "addOns": NO_ADD_ON},
    }
    page["catalogue"] = _catalogue(lake, as_of, texts.products.texts)
    page["sources"], page["rules"] = _cleaned(texts.sources.texts), _cleaned(texts.rules.texts)
    page["notes"] = [_cleaned(note.split(SEPARATOR)) for note in texts.notes.texts]
    shown = {
        "products": (len(chosen.products), chosen.products_in_all),
        "markets": (len(chosen.markets), chosen.markets_in_all),
        "customers": (len(customers), count_rows(lake, CUSTOMER_SEQUENCES, as_of)),
    }
    return ShopWindow(page, lists, shown)


def _lists(
    lake: Lake,
    as_of: date,
    config: ShopWindowConfig,
    chosen: Chosen,
    homes: Mapping[str, str],
    categories: Sequence[str],
    texts: WindowTexts,
) -> dict[str, ListRows]:
    """By table name the lists that the page holds; tables without any are left out."""
    products, markets = numbers_of(chosen.products), numbers_of(sorted(set(homes.values())))
    of_products: Axes = [("product_id", products), *chosen.market_axes]
    of_customers: Axes = [("customer_id", numbers_of(homes)), ("market", markets)]
    of_categories: Axes = [("category", numbers_of(categories)), *chosen.market_axes]
    axes = (
        dict.fromkeys((*chosen.tables, SOLD_OUT_ALTERNATIVES), of_products)
        | dict.fromkeys(CUSTOMER_LISTS, of_customers)
        | dict.fromkeys((MARKET_RANKING, *PAGE_LISTS), of_categories)
    )
    lists: dict[str, ListRows] = {}
    with ThreadPoolExecutor(1) as ahead:  # Arrow reads a table beside the lists of the one before it
        read = {table: ahead.submit(_read, lake, table, as_of, parts) for table, parts in axes.items()}
        for table, parts in axes.items():
            rows, places = read.pop(table).result(), places_of(table, config)
            lists[table.name] = _lists_of(table, rows, parts, texts, places)
    own = {f"{number}": f"{number},{markets[market]}" for number, market in enumerate(homes.values())}
    for table in CUSTOMER_LISTS:  # each customer's of the own market
        found = lists[table.name]
        lists[table.name] = {number: found[key] for number, key in own.items() if key in found}
    lists[OUTFITS.name] = _outfits(lake, as_of, products, chosen, texts)
    return {name: found for name, found in lists.items() if found}


def _read(lake: Lake, table: Table, as_of: date, axes: Axes) -> list[pa.RecordBatch]:
    """The rows of the night's lists whose key columns are all in `axes`."""
    columns = dict.fromkeys((*table.key, "product_ids", "scores", "sources", "rules", *NOTES))
    return list(lake.chosen(table, columns, as_of, _wanted(axes)))


def _lists_of(table: Table, batches: Sequence[pa.RecordBatch], axes: Axes, texts: WindowTexts, places: int) -> ListRows:
    """Rows of a table as lists, cut to `places`.

    Columns that an older table lacks, and arrays that are null, read as nothing.
    """
    found: dict[tuple[int, ...], ListRow] = {}
    for batch in batches:
        joined = pc.binary_join_element_wise(*(pc.fill_null(batch[name], "") for name in NOTES), SEPARATOR)
        rows = zip(
            texts.notes.of(joined).to_pylist(),
            _cut(batch["product_ids"], places, texts.products.of),
            _cut(batch["scores"], places, _exact if table is BAG_EXTRAS else _rounded),
            _cut(batch["sources"], places, texts.sources.of),
            _cut(batch["rules"], places, texts.rules.of),
            strict=True,
        )
        keys = zip(*(batch[name].to_pylist() for name, _ in axes), strict=True)
        for key, row in zip(keys, rows, strict=True):
            found[tuple(of.get(value or DEFAULT, -1) for value, (_, of) in zip(key, axes, strict=True))] = row
    # In order, the lists of a product in all markets lie beside each other: that halves them when compressed.
    return {",".join(map(str, key)): found[key] for key in sorted(found)}


def _outfits(
    lake: Lake, as_of: date, products: Mapping[str, int], chosen: Chosen, texts: WindowTexts
) -> dict[str, OutfitRow]:
    """`product,variant` -> the looks that some market of the page shows."""
    markets, variants = numbers_of(chosen.markets), numbers_of(chosen.variants)
    columns = (
        "product_ids",
        "scores",
        "sources",
        "rules",
        "looks",
        "roles",
        "shown_in",
        "variant",
        "model_id",
        "run_id",
    )
    found: dict[str, OutfitRow] = {}
    for batch in lake.chosen(OUTFITS, ("product_id", *columns), as_of, _wanted([("product_id", products)])):
        rows = batch.select([name for name in batch.schema.names if name != "shown_in"]).to_pylist()
        for row, shown in zip(rows, _shown_in(batch["shown_in"], markets), strict=True):
            at = [place for place, look in enumerate(row["looks"]) if look in shown]
            of = {name: [row[name][place] for place in at] for name in columns[:6]}
            note = SEPARATOR.join((row["variant"], "", row["model_id"], row["run_id"]))
            found[f"{products[row['product_id']]},{variants.get(row['variant'], -1)}"] = (
                texts.notes.of_texts([note])[0],
                texts.products.of_texts(of["product_ids"]),
                _rounded(pa.array(of["scores"], pa.float32())).to_pylist(),
                texts.sources.of_texts(of["sources"]),
                texts.rules.of_texts(of["rules"]),
                of["looks"],
                of["roles"],
                [shown[look] for look in dict.fromkeys(of["looks"])],
            )
    return {key: row for key, row in sorted(found.items()) if row[1]}


def _shown_in(lists: pa.Array, markets: Mapping[str, int]) -> list[dict[str, list[int]]]:
    """Of each list of texts `look:market`: look -> the markets among these."""
    texts = pc.list_flatten(lists).dictionary_encode()
    parts = [text.partition(":") for text in texts.dictionary.to_pylist()]
    at = np.flatnonzero(np.array([market in markets for _, _, market in parts], bool)[np.asarray(texts.indices)])
    found: list[dict[str, list[int]]] = [{} for _ in range(len(lists))]
    owners, codes = (np.asarray(values)[at].tolist() for values in (pc.list_parent_indices(lists), texts.indices))
    for owner, code in zip(owners, codes, strict=True):
        look, _, market = parts[code]
        found[owner].setdefault(look, []).append(markets[market])
    return found


def _wanted(axes: Axes) -> KeysAmong:
    """Rows whose key columns are all on their axes; every variant is shown, and a list without one is the default's."""
    return KeysAmong({name: of for name, of in axes if name != "variant"})


def _cut(lists: pa.Array, places: int, converted: Callable[[pa.Array], pa.Array]) -> list[list[float]]:
    """The first `places` elements of each list, all converted at once; a null list is empty."""
    cut = pc.list_slice(lists, 0, places)
    lengths = pc.fill_null(pc.list_value_length(cut), 0)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    rows: list[list[float]] = pa.ListArray.from_arrays(pa.array(offsets), converted(pc.list_flatten(cut))).to_pylist()
    return rows


def _exact(scores: pa.Array) -> pa.Array:
    """Scores by the shortest digits that give the same float32 again, to which the page's script rounds them."""
    return pc.cast(pc.cast(_finite(scores), pa.string()), pa.float64())


def _rounded(scores: pa.Array) -> pa.Array:
    """Scores to SCORE_DIGITS digits, whatever their size."""
    values = np.asarray(_finite(scores), np.float64)
    size = np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=values != 0))
    scale = 10.0 ** (SCORE_DIGITS - 1 - size)
    return pa.array(np.round(values * scale) / scale)


def _finite(scores: pa.Array) -> pa.Array:
    known = pc.cast(pc.fill_null(scores, 0.0), pa.float32())
    return pc.if_else(pc.is_finite(known), known, pa.scalar(0.0, pa.float32()))


def _categories(lake: Lake, as_of: date, markets: Sequence[str]) -> list[str]:
    """The categories that have a ranking in these markets; `*` stands for all products."""
    where = of_night(as_of) & pc.field("market").isin(pa.array(markets, pa.string()))
    tally = Tally(("category",))
    for batch in scan(lake, MARKET_RANKING, tally.keys, where):
        tally.add(batch.columns)
    return sorted(name for name, _ in tally.most_first() if name)


def _first_products(lists: Mapping[str, ListRows], chosen: Chosen) -> list[str]:
    """By market: the product with the most recent events that has a list there; the first product where none has."""
    table = next((table.name for table in PRODUCT_LISTS if table.name in lists), None)
    firsts: dict[int, int] = {}
    for key in lists[table] if table else ():
        product, market, _ = map(int, key.split(","))
        firsts[market] = min(product, firsts.get(market, product))
    return [clean(chosen.products[firsts.get(n, 0)]) for n in range(len(chosen.markets))] if chosen.products else []


def _histories(
    recent: Recent, texts: WindowTexts, homes: Mapping[str, str], most: int, markets: Sequence[str], salt: Salt
) -> list[dict[str, object]]:
    """Each customer with the newest events before the night, oldest first."""
    columns = ("product_ids", "event_types", "event_timestamps")
    rows = recent.histories(homes, columns)
    found: list[dict[str, object]] = []
    for customer, market in homes.items():
        row = rows.get(customer)
        ids, kinds, times = (row[name] if row else [] for name in columns)
        days = [f"{at:%Y-%m-%d}" if at else "" for at in times[-most:]]
        events = zip(texts.products.of_texts(ids[-most:]), _cleaned(kinds[-most:]), days, strict=True)
        found.append(
            {
                "id": salt.pseudonym(customer),
                "market": markets.index(market) if market in markets else -1,
                "marketName": clean(market),
                "events": list(events),
                "inAll": len(ids),
            }
        )
    return found


def _context(pair: ContextPair, texts: WindowTexts, salt: Salt) -> dict[str, object]:
    sides = [
        {
            "customer": salt.pseudonym(side.customer_id),
            "list": [[texts.products.of_texts([p])[0], round(score, SCORE_DIGITS)] for p, score in side.list],
        }
        for side in pair.sides
    ]
    (product,) = texts.products.of_texts([pair.product])
    return {"product": product, "market": clean(pair.market), "model": clean(pair.model_id), "sides": sides}


def _catalogue(lake: Lake, as_of: date, ids: Sequence[str]) -> list[list[str | float | None]]:
    """By product number: id, name, brand, category, colour, price, currency, silhouette and paint.

    A product that the night's catalogue does not have goes by its id.
    """
    where = of_night(as_of) & pc.field("product_id").isin(pa.array(list(ids), pa.string()))
    rows = {row["product_id"]: row for row in matching(lake, CATALOGUE, DETAILS, where)}
    found: list[list[str | float | None]] = []
    for product in ids:
        row = rows.get(product, {})
        name, brand, category, colour, currency = (
            clean(row.get(column)) for column in ("name", "brand", "category", "colour", "currency")
        )
        price = row.get("price")
        price = price if price is not None and np.isfinite(price) else None
        drawn = silhouette(category, name or clean(product)), paint(colour)
        found.append([clean(product), name or clean(product), brand, category, colour, price, currency, *drawn])
    return found


def _reasons(lake: Lake, as_of: date) -> dict[str, str]:
    """Rule -> its reason, from the rules as they were that night."""
    found = {}
    for row in matching(lake, RULE_EFFECTS, ("rule_id", "rule"), of_night(as_of)):
        try:
            rule = json.loads(row["rule"] or "null")
        except ValueError:
            continue
        if isinstance(rule, dict) and isinstance(rule.get("reason"), str):
            found[clean(str(row["rule_id"]))] = clean(rule["reason"])
    return found


def _cleaned(texts: Iterable[str]) -> list[str]:
    return [clean(text) for text in texts]
