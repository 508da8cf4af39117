"""Finds the source of each product that was shown, in the published list that showed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.client.list_ids import stamp_of
from jobs.lake.digests import TextDigests, digests
from jobs.lake.lake import Lake
from jobs.lake.live import Published, publications, readable
from jobs.lake.rows import decoded
from jobs.policy.variants import DEFAULT
from jobs.tables.impressions import IMPRESSIONS, OUTCOMES
from jobs.tables.shop import CUSTOMER_LISTS, SOURCES, STANDING_SOURCES, TOUCH_POINTS
from jobs.tables.table import Table
from models.arrays import BoolMask, Digests, Rows
from models.digests import of_texts

STAMP = 8
"""Characters of the publication in a list_id, until the year 2059."""
RANKED = ".rank."
"""In the list_id of a page in a customer's own order, which no table holds."""
MOST_PLACES = 1_000
"""Places of a list that are looked up."""
FOUND = ("source", "rule", "variant")
"""Columns of an outcome that its list tells."""
BATCH_ROWS = 1 << 16
LISTED = ("list_id", "touch_point", "owner", "market", "variant", "customer_id")
"""Columns of an impression that tell its list."""
EXPLORATION = "exploration"
"""The rule that shows a young product, whatever its source: what it brings is told apart."""
NAMES = pa.array([*SOURCES, *STANDING_SOURCES, EXPLORATION])
KEY = ("stamp", "touch_point", "owner", "market", "variant")
OF_CUSTOMERS = pa.array([table.name for table in CUSTOMER_LISTS])


@dataclass(frozen=True)
class KnownSources:
    """What earlier nights found of a day's impressions, whose publications may be gone by now."""

    keys: Digests
    """[n] digests of impression_ids, ascending."""
    rows: pa.Table
    """[n] source, rule and variant, dictionary-encoded."""

    @staticmethod
    def of_day(lake: Lake, day: date) -> KnownSources | None:
        """Those of the outcomes of a day as they are; None where there are none."""
        keys, rows = [np.empty(0, np.uint64)], []
        for batch in lake.snapshot(OUTCOMES).of_days(["impression_id", *FOUND], [day], BATCH_ROWS):
            plain = decoded(batch, OUTCOMES)
            plain = plain.filter(pc.is_valid(plain["source"]))
            keys.append(of_texts(plain["impression_id"])[:, 0])
            columns = [plain[name].dictionary_encode() for name in FOUND]
            rows.append(pa.RecordBatch.from_arrays(columns, FOUND))
        if not sum(map(len, keys)):
            return None
        order = np.argsort(np.concatenate(keys), kind="stable")
        whole = pa.Table.from_batches(rows).unify_dictionaries().combine_chunks()
        return KnownSources(np.concatenate(keys)[order], whole.take(pa.array(order)))

    def beside(self, batch: pa.RecordBatch, found: dict[str, pa.Array]) -> dict[str, pa.Array]:
        """`ShownLists.known_of` of a batch, with what was known before where a list does not say it any more."""
        at = _found(self.keys, of_texts(batch["impression_id"])[:, 0])
        missing = pc.and_(pc.is_null(found["source"]), pa.array(at >= 0))
        before = self.rows.take(pa.array(np.maximum(at, 0))).combine_chunks()
        texts = {name: before[name].chunk(0).cast(pa.string()) for name in FOUND}
        return {name: pc.if_else(missing, texts[name], found[name].cast(pa.string())) for name in FOUND}


@dataclass(frozen=True)
class ShownLists:
    """The published lists of a day's impressions: L lists, P places in all."""

    keys: Digests
    """[L] digests of publication, table and key, ascending."""
    first: Rows
    """[L + 1] first place of each list."""
    variants: list[str]
    """[L] the variant that each list was made for."""
    product: npt.NDArray[np.uint32]
    """[P] a part of a digest of the product."""
    source: npt.NDArray[np.int8]
    """[P] number of its source in NAMES, -1 for another."""
    rule: npt.NDArray[np.int32]
    """[P] number of the rule that moved it in `rules`."""
    rules: list[str]
    """The rules; '' is none."""
    whole: bool = True
    """Whether every publication of the impressions can still be read."""

    @staticmethod
    def of(lake: Lake, impressions: Iterable[pa.RecordBatch]) -> ShownLists:
        """The lists of impressions (their columns LISTED), of publications that can still be read."""
        keys, stamps, names = [np.empty(0, np.uint64)], set[str](), set[str]()
        for batch in impressions:
            plain = decoded(batch, IMPRESSIONS)
            plain = plain.filter(pc.is_valid(plain["list_id"]))
            key = _key_of(plain.filter(pa.array(_begins(plain))))
            stamps.update(key["stamp"].dictionary.to_pylist())
            names.update(key["touch_point"].dictionary.to_pylist())
            keys.append(np.unique(np.concatenate([_digests(key), _digests(_default(key))])))
        shown = np.unique(np.concatenate(keys))
        tables = [table for table in TOUCH_POINTS if table.name in names]
        kept = [one for one in publications(lake) if one.at and stamp_of(one.at) in stamps]
        kept = [one for one in kept if readable(lake, one, tables)]
        found = _joined([_read(lake, one, table, shown) for one in kept for table in tables])
        return replace(found, whole=len(kept) == len(stamps))

    def known_of(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """`source` and `rule` of each impression, null where its list does not say; and `variant`, which of a
        customer's own list the list alone says.
        """
        if not len(self.product):
            nothing = pa.nulls(batch.num_rows, pa.string())
            return {"source": nothing, "rule": nothing, "variant": batch["variant"]}
        at = self._lists(batch)
        product = _parts(batch["product_id"])
        place = np.asarray(pc.fill_null(batch["place"], 0)) - 1
        inside = (at >= 0) & (place >= 0) & (place < (self.first[at + 1] - self.first[at]))
        where = np.where(inside, self.first[at] + place, 0)
        found = np.where(inside & (self.product[where] == product), where, -1)
        moved = np.flatnonzero((at >= 0) & (found < 0))
        if len(moved):  # the page left products of the list out, or put others between them
            found[moved] = self._anywhere(at[moved], product[moved])
        source, rule = self.source[found], self.rule[found]
        without = (found < 0) | ~np.array([bool(name) for name in self.rules])[rule]
        own = pc.and_(pc.is_in(batch["touch_point"], OF_CUSTOMERS), pa.array(at >= 0))
        of_list = pa.array(self.variants, pa.string()).take(pa.array(at, mask=at < 0))
        variant = pc.if_else(own, pc.coalesce(batch["variant"], of_list), batch["variant"])
        return {
            "source": pa.DictionaryArray.from_arrays(pa.array(source, mask=(found < 0) | (source < 0)), NAMES),
            "rule": pa.DictionaryArray.from_arrays(pa.array(rule, mask=without), pa.array(self.rules)),
            "variant": variant,
        }

    def _lists(self, batch: pa.RecordBatch) -> Rows:
        """[n] number of each impression's list: of its variant, else the default's; -1 where there is none."""
        begins = _begins(batch)
        first = batch.filter(pa.array(begins))
        key = _key_of(first)
        at = _found(self.keys, _digests(key))
        missing = np.flatnonzero(at < 0)
        at[missing] = _found(self.keys, _digests(_default(key))[missing])
        at[np.asarray(pc.fill_null(pc.match_substring(first["list_id"], RANKED), True))] = -1
        return np.asarray(at[np.cumsum(begins) - 1])

    @cached_property
    def _by_product(self) -> tuple[Digests, Rows]:
        """(list and product of each place as one number, ascending, the places)."""
        lists = np.repeat(np.arange(len(self.keys)), np.diff(self.first))
        numbers = _numbers(lists, self.product)
        order = np.argsort(numbers, kind="stable")
        return numbers[order], order

    def _anywhere(self, at: Rows, product: npt.NDArray[np.uint32]) -> Rows:
        """[n] the place of a product in a list; -1 where it is not in it."""
        numbers, places = self._by_product
        found = _found(numbers, _numbers(at, product))
        return np.where(found >= 0, places[found], -1)


def _numbers(lists: Rows, product: npt.NDArray[np.uint32]) -> Digests:
    return np.asarray((lists.astype(np.uint64) << np.uint64(32)) | product)


def _found(keys: Digests, wanted: Digests) -> Rows:
    """[n] place of each of `wanted` among ascending keys; -1 where it is not there."""
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    return np.where(keys[at] == wanted, at, -1) if len(keys) else np.full(len(wanted), -1)


def _begins(impressions: pa.RecordBatch) -> BoolMask:
    """[n] whether an impression is of another list than the one before it: pages log theirs one after the other."""
    size = impressions.num_rows
    begins = np.zeros(size, np.bool_)
    begins[:1] = True
    for name in ("list_id", "customer_id", "variant"):
        column = impressions[name]
        begins[1:] |= np.asarray(pc.fill_null(pc.not_equal(column.slice(1), column.slice(0, max(size - 1, 0))), True))
    return begins


def _key_of(impressions: pa.RecordBatch) -> pa.RecordBatch:
    """What names the list of each impression; a customer's own list has one variant, which its key does not name."""
    own = pc.is_in(impressions["touch_point"], OF_CUSTOMERS)
    columns = (
        pc.utf8_slice_codeunits(impressions["list_id"], 0, STAMP),
        impressions["touch_point"],
        pc.if_else(own, impressions["customer_id"], impressions["owner"]),
        impressions["market"],
        pc.if_else(own, "", impressions["variant"]),
    )
    return pa.RecordBatch.from_arrays([column.dictionary_encode() for column in columns], KEY)


def _default(key: pa.RecordBatch) -> pa.RecordBatch:
    return key.set_column(4, "variant", pa.repeat(DEFAULT, key.num_rows).dictionary_encode())


def _digests(key: pa.RecordBatch) -> Digests:
    return digests(key, KEY, TextDigests())


def _parts(texts: pa.Array) -> npt.NDArray[np.uint32]:
    encoded = texts.dictionary_encode()
    words = (of_texts(encoded.dictionary)[:, 0] >> np.uint64(32)).astype(np.uint32)
    return np.asarray(words[np.asarray(encoded.indices)])


def _read(lake: Lake, one: Published, table: Table, shown: Digests) -> ShownLists:
    """The lists of a publication and table that are among `shown`."""
    assert one.at
    owner, stamp = next(name for name in table.key if name not in ("market", "variant")), stamp_of(one.at)

    def keys_of(rows: pa.RecordBatch) -> Digests:
        size = rows.num_rows
        variant = pa.repeat("", size) if table in CUSTOMER_LISTS else rows["variant"]
        columns = [pa.repeat(stamp, size), pa.repeat(table.name, size), rows[owner], rows["market"], variant]
        return _digests(pa.RecordBatch.from_arrays(columns, KEY))

    def picked(rows: pa.RecordBatch) -> BoolMask:
        return _found(shown, keys_of(rows)) >= 0

    names = [*dict.fromkeys([*table.key, "variant", "product_ids", "sources", "rules"])]
    parts = []
    for batch in lake.at(one.versions).snapshot(table).batches(names, one.night, wanted=picked):
        if batch.num_rows:
            lists = [pc.list_slice(batch[name], 0, MOST_PLACES) for name in ("product_ids", "sources", "rules")]
            first = np.concatenate([[0], np.cumsum(np.asarray(pc.list_value_length(lists[0]), np.int64))])
            products, sources, rules = map(pc.list_flatten, lists)
            source = pc.if_else(pc.equal(rules, EXPLORATION), EXPLORATION, sources)
            number = np.asarray(pc.fill_null(pc.index_in(source, value_set=NAMES), -1), np.int8)
            moved = pc.fill_null(rules, "").dictionary_encode()
            known = (_parts(products), number, np.asarray(moved.indices, np.int32), moved.dictionary.to_pylist())
            parts.append(ShownLists(keys_of(batch), first, batch["variant"].to_pylist(), *known))
    return _joined(parts)


def _joined(parts: list[ShownLists]) -> ShownLists:
    """The lists of all parts, by their keys."""
    nothing = np.empty(0, np.uint32), np.empty(0, np.int8), np.empty(0, np.int32)
    parts = [ShownLists(np.empty(0, np.uint64), np.zeros(1, np.int64), [], *nothing, []), *parts]
    keys, product, source = (
        np.concatenate([getattr(p, name) for p in parts]) for name in ("keys", "product", "source")
    )
    rules = {name: number for number, name in enumerate(dict.fromkeys(name for part in parts for name in part.rules))}
    rule = [np.array([rules[name] for name in part.rules], np.int32)[part.rule] for part in parts]
    lengths = np.concatenate([np.diff(part.first) for part in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    variants = [variant for part in parts for variant in part.variants]
    order = np.argsort(keys, kind="stable")
    first = np.concatenate([[0], np.cumsum(lengths[order])])
    places = np.arange(first[-1]) + np.repeat(starts[:-1][order] - first[:-1], lengths[order])
    columns = product[places], source[places], np.concatenate(rule)[places]
    return ShownLists(keys[order], first, [variants[at] for at in order], *columns, [*rules])
