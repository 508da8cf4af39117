"""Guesses what the columns of an unknown export mean, from their names and some of their values."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

from jobs.ingest.value_forms import MOSTLY, Instant, instant_of, mostly, number_sql

MOST_MARKETS = 250
MOST_WORDS = 60
"""Most kinds of events that a column may tell."""

PERSON = (
    "customer|cust|client|user|usr|buyer|shopper|member|visitor|account|person|guest|consumer|reviewer|household|"
    "kunden?|kunde|besteller|kaeufer|klant(?:en)?|cliente|utente|usuario|comprador|utilisateur|acheteur|kund|asiakas|"
    "klient|zakaznik|musteri|contact|subscriber|patron"
)
THING = (
    "product|prod|item|article|artikel|stock|style|variant|producto|produit|prodotto|produkt|articulo|articolo|"
    "material|good|ware|outfit|listing|content"
)
ORDER = (
    "order|invoice|basket|cart|bag|receipt|transaction|trans|bestell(?:ung|ungs)?|rechnung|rechnungs|auftrag|auftrags|"
    "pedido|commande|ordine|checkout|ticket|bon|purchase|sale|increment|beleg"
)
ID = "(?:unique|pseudo|visitor)?(?:ids?|no|nr|num|number|nummer|key|code|uuid|guid|hash|ref|reference|increment(?:id)?)"
WHEN = "date|datetime|time|timestamp|ts|day|dt|datum|zeit|zeitpunkt|fecha|hora|heure|dat|at|on|utc"
COUNTRY = "country|countrycode|countryiso|land|pais|pays|paese|laendercode|countryname"

NAMES: dict[str, tuple[tuple[int, str], ...]] = {
    "customer_id": (
        (100, rf"(?:{PERSON})unique{ID}"),
        (98, rf"(?:dummy|full|anon(?:ymous)?|ga)?(?:{PERSON}){ID}"),
        (90, rf"(?:id|no|num|code)?(?:{PERSON})"),
        (80, rf"(?:{PERSON}|billing|order|shipping)?e?mail(?:address|adresse)?"),
        (75, rf"(?:cookie|device|distinct|anonymous|amplitude|uid|cid|profile|loyalty(?:card)?|card){ID}?"),
        (50, rf"(?:{PERSON}|billing|shipping)?(?:phone|telefon|tel)(?:number|nummer)?"),
        (40, rf"(?:session|visit){ID}"),
        (30, rf"(?:{PERSON}|billing|shipping)(?:name|fullname)"),
    ),
    "product_id": (
        (100, "parentasin"),
        (99, rf"(?:line)?(?:{THING}){ID}"),
        (96, "(?:line)?(?:item|product|variant|article|artikel)?(?:sku|asin)"),
        (60, "ean|gtin|upc|isbn|mpn|barcode|handle|plu"),
        (95, rf"(?:id|no|num|code)(?:{THING})"),
        (55, rf"(?:line)?(?:{THING})"),
        (20, "(?:line)?(?:item|product|article|artikel)(?:name|title|titel|bezeichnung)"),
    ),
    "event_type": (
        (100, "(?:event|action|behaviou?r|interaction|activity|aktion|ereignis)(?:type|name|kind|typ)"),
        (90, "event|action|behaviou?r|interaction|activity|aktion|ereignis|verb"),
        (50, "type|typ|kind|name|feedback(?:type)?"),
    ),
    "event_ts": (
        (
            100,
            rf"(?:event|order|{ORDER}|purchased?|click|view|action|hit|server|interaction|visit|review)s?(?:{WHEN})+",
        ),
        (98, rf"orderpurchase(?:{WHEN})|tdat"),
        (95, "created(?:at|on|date|time|utc)?|datecreated(?:gmt)?|ordered(?:at|on)|placed(?:at|on)|erstellt(?:am)?"),
        (90, rf"(?:{WHEN})(?:{WHEN})*"),
        (80, "(?:processed|paid|datepaid|completed|sent|received|original|begin|start|first)(?:at|on|date|time)?"),
        (60, ".*(?:date|time|timestamp|datum|start)"),
    ),
    "event_id": (
        (100, rf"(?:event|row|hit|insert|message|interaction|line|lineitem|orderitem|orderline|position){ID}"),
        (60, "id|uuid|guid"),
    ),
    "basket_id": (
        (100, rf"(?:{ORDER}){ID}"),
        (80, rf"(?:id|no|num|code)?(?:{ORDER})"),
        (30, "name"),
    ),
    "market": (
        (100, "market|markt|marketplace|site|storefront|shop"),
        (98, rf"(?:ship(?:ping|to)?|delivery|destination)?(?:address)?(?:{COUNTRY})"),
        (90, rf"(?:billing|bill|{PERSON}|user|geo|buyer)(?:address)?(?:{COUNTRY})"),
        (60, "locale|storeview|website|territory|channel|store(?:id|code|name)?"),
        (40, "location|branch|filiale|outlet"),
    ),
    "quantity": (
        (
            100,
            "(?:line)?(?:item|product|order(?:ed)?)?(?:quantity|qty|menge|anzahl|stueck|stk|cantidad|quantite|quantita)",
        ),
        (95, "(?:quantity|qty)(?:ordered|sold|purchased)?|pieces|units|antal|aantal|stueckzahl"),
        (60, "count|cnt|number"),
    ),
    "price": (
        (
            100,
            "(?:unit|item|lineitem|product|sale|selling|einzel|stueck)(?:price|preis|cost)|pricegbp|priceusd|priceeur",
        ),
        (
            95,
            "price|preis|precio|prix|prezzo|prijs|pris|vk|(?:base|current|final|regular|retail|list|variant|actual)price",
        ),
        (60, "revenue|value|itemrevenue|amount|betrag|umsatz|sales|paid"),
        (55, "(?:gross|net)(?:sales|amount|revenue)"),
    ),
    "currency": ((100, "(?:order|price)?(?:currency|currencycode|waehrung|moneda|devise|valuta)"),),
    "name": (
        (100, "(?:line)?(?:product|prod|item|article|artikel)(?:display)?(?:name|title|titel|bezeichnung|description)"),
        (90, "title|titel|titre|titulo|nombre|nom|productname|bezeichnung|name|displayname|label"),
        (60, "description|descripcion|beschreibung|desc|detaildesc|(?:product|artikel)(?:desc|beschreibung)"),
        (50, "(?:line)?(?:item|product|article|artikel|produkt)"),
    ),
    "brand": (
        (100, "(?:product|item)?(?:brand|marke|marca|marque|merk)(?:name)?"),
        (80, "vendor|manufacturer|maker|hersteller|designer|supplier|lineitemvendor"),
    ),
    "category": (
        (
            100,
            "(?:product|item|main|sub|standard)?(?:category|kategorie|categoria|categorie|cat)(?:name|code|title|s|1)?",
        ),
        (
            95,
            "producttype(?:name)?|articletype|warengruppe|productgroup(?:name)?|producttypename|googleproductcategory",
        ),
        (80, "(?:product|item|main|sub)?(?:category|kategorie|cat)(?:id|key)|type|collection|class|group|rubrik"),
    ),
    "department": (
        (
            100,
            "department(?:name)?|dept|abteilung|division|indexgroupname|gender|geschlecht|section(?:name)?|mastercategory",
        ),
    ),
    "colour": ((100, "(?:base|product|item|perceived)?colou?r(?:group)?(?:name|s)?|farbe|couleur|kleur|colore|farge"),),
    "image_url": (
        (100, "(?:product|main|primary)?(?:image|img|picture|photo|bild)s?(?:url|link|src)?|thumbnail(?:url)?"),
    ),
    "launched_at": (
        (
            100,
            "launch(?:ed)?(?:at|date|on)?|release(?:d)?(?:date|at)?|onlinesince|firstavailable(?:date)?|introduced(?:at)?",
        ),
        (70, "publishedat|published|created(?:at|on|date)?|dateadded|addedat"),
    ),
    "updated_at": ((100, "(?:last)?(?:updated?|modified|changed?)(?:at|on|date|time)?|datemodified|geaendert(?:am)?"),),
    "available": (
        (100, "(?:is)?(?:available|instock|sellable|buyable|verfuegbar|lieferbar)|availability|stockstatus"),
        (
            90,
            "(?:stock|inventory|bestand|lagerbestand)(?:level|quantity|qty|count)?|quantityavailable|variantinventoryqty",
        ),
    ),
    "status": ((100, "(?:order|payment|financial|invoice|fulfillment|bestell)?status|state|orderstate|zustand"),),
    "cancelled_at": ((100, "(?:cancell?ed|refunded|storniert)(?:at|on|date|am)?"),),
}
"""Column of the contract -> (score, pattern of the names without blanks, signs and capitals)."""
TIME_OF_DAY = re.compile(r"\d{1,2}:\d{2}(:\d{2})?( ?[AaPp][Mm])?")
LINE_TOTAL = re.compile("(gross|net)(sales|amount|revenue)")
"""Names of what all pieces of a line cost."""
NO_EVENT_TIME = re.compile(
    "updat|modif|deliver|ship|approv|estimat|birth|expir|cancel|refund|launch|releas|end|limit|fulfil|geburt|return"
)
WHOLE_ORDER = re.compile("total|subtotal|shipping|discount|tax|freight|refund|compare|steuer|versand|rabatt")

EVENT_WORDS: dict[str, str] = {
    word: kind
    for kind, words in {
        "click": "view views viewed productview productviewed viewitem viewproduct pageview detail details "
        "productdetail productdetailview click clicks clicked pdpview pv browse visit itemview itempage viewcontent "
        "selectitem ansicht viewproductdetail productpage look clickitems catalogproductview productpageview",
        "save": "wishlist addtowishlist addwishlist fav favorite favourite addtofavorites addtofavourites like liked "
        "save saved bookmark heart merkzettel productaddedtowishlist wish wishlistadd collect "
        "wishlistaddproduct",
        "bag": "cart carts addtocart addcart add addtobag bag basket addtobasket productadded warenkorb cartadd "
        "inwarenkorb addtocarts bagadd checkoutcartaddproduct productaddtocart",
        "purchase": "purchase purchased purchases buy bought order orders ordered ordercompleted orderplaced "
        "transaction sale sold checkoutcomplete checkoutcompleted completeorder kauf bestellung "
        "conversion paid orderpaid placeorder",
    }.items()
    for word in words.split()
}
"""Words for events -> event type."""
UNDONE = re.compile(
    "(wc-)?(cancell?ed|refunded|voided|returned|failed|expired|storniert|abgebrochen|fraud|rejected|trash|unavailable|"
    "annule|cancelado)"
)
"""Words of a status that say that nothing was sold."""


RESERVED = re.compile(
    "all|and|any|as|between|by|case|cross|desc|distinct|else|end|except|false|for|from|full|group|having|in|inner|"
    "interval|is|join|left|like|limit|natural|not|null|offset|on|or|order|outer|over|partition|right|select|set|table|"
    "then|to|true|union|user|using|values|when|where|window|with"
)
"""Names that a SELECT must quote."""


def compact(name: str) -> str:
    """A name without capitals, accents, blanks and signs."""
    spelled = re.sub("[äöü]", lambda letter: {"ä": "ae", "ö": "oe", "ü": "ue"}[letter[0]], name.casefold())
    plain = unicodedata.normalize("NFKD", spelled)
    return "".join(letter for letter in plain if letter.isalnum())


@dataclass(frozen=True)
class SampledColumn:
    """A column of a view, or a value within its JSON, with its values in some rows (None: missing)."""

    view: str
    name: str
    """As a person reads it: `geo.country` for a value within JSON."""
    sql: str
    """How a SELECT writes it."""
    values: tuple[str | None, ...]

    @cached_property
    def present(self) -> list[str]:
        """The values that are not missing."""
        return [value.strip() for value in self.values if value is not None and value.strip()]

    @cached_property
    def counts(self) -> Counter[str]:
        """Value -> rows."""
        return Counter(self.present)

    @cached_property
    def blank(self) -> float:
        """Share of the rows without a value."""
        return 1 - len(self.present) / max(len(self.values), 1)

    @cached_property
    def instant(self) -> Instant | None:
        """How it writes times."""
        return instant_of(self.present[:500])

    @cached_property
    def number(self) -> str | None:
        """How its numbers are read."""
        return number_sql(self.present[:500])

    @property
    def is_float(self) -> bool:
        """Whether whole numbers have become 17850.0."""
        return mostly(self.present, re.compile(r"-?\d+\.0").fullmatch, 1.0)

    def named(self, role: str) -> int:
        """How well the name fits a role, 0 to 100."""
        path = re.split(r"[./]", self.name)
        names = {compact(path[-1]): 10, compact("".join(path[-2:])): 5, compact(self.name): 0}
        return max(
            (
                score - less
                for name, less in names.items()
                for score, pattern in NAMES[role]
                if re.fullmatch(pattern, name)
            ),
            default=0,
        )


def _is_event_type(column: SampledColumn) -> bool:
    if not column.present or len(column.counts) > MOST_WORDS or column.named("status"):
        return False
    known = sum(n for value, n in column.counts.items() if compact(value) in EVENT_WORDS)
    # A short name such as `type` must be told by its values alone.
    return known > (0.05 if column.named("event_type") >= 90 else 0.5) * len(column.present)


def is_unique(column: SampledColumn) -> bool:
    """Whether each row has a value of its own."""
    return column.blank < 0.01 and len(column.counts) == len(column.present) > 1


def _has_values(column: SampledColumn) -> bool:
    return bool(column.present)


def _is_order(column: SampledColumn) -> bool:
    # Shopify calls an order's number its name.
    return compact(re.split("[./]", column.name)[-1]) != "name" or mostly(
        column.present, re.compile(r"#?\w*\d+").fullmatch
    )


VALUES: dict[str, Callable[[SampledColumn], bool]] = {
    "customer_id": lambda column: len(column.counts) > 1 or len(column.values) < 3,
    "product_id": _has_values,
    "event_type": _is_event_type,
    "event_ts": lambda column: column.instant is not None and not NO_EVENT_TIME.search(compact(column.name)),
    "event_id": is_unique,
    "basket_id": lambda column: bool(column.present) and _is_order(column),
    "market": lambda column: 0 < len(column.counts) <= MOST_MARKETS and column.number is None,
    "quantity": lambda column: mostly(column.present[:500], re.compile(r"[-+]?\d+([.,]0+)?").fullmatch, 1.0),
    "price": lambda column: bool(column.number) and not WHOLE_ORDER.search(compact(column.name)),
    "currency": lambda column: mostly(column.present, re.compile("[A-Za-z]{3}").fullmatch),
    "name": lambda column: bool(column.present) and column.number is None,
    "image_url": lambda column: mostly(column.present, re.compile("(https?:)?//.*").match),
    "launched_at": lambda column: column.instant is not None,
    "updated_at": lambda column: column.instant is not None,
    "status": lambda column: any(UNDONE.fullmatch(value.lower()) for value in column.counts),
    "cancelled_at": lambda column: 0 < column.blank < 1,
}
"""What the values of a role's column must be like."""
TOLD_BY_VALUES = ("event_type", "event_ts")
"""Roles whose values are like no others, whatever the name."""


def best(columns: Iterable[SampledColumn], role: str) -> SampledColumn | None:
    """The column of some that is most likely of a role; the first of equals."""
    fits = VALUES.get(role, _has_values)
    by_values = 1 if role in TOLD_BY_VALUES else 0
    scored = [(max(column.named(role), by_values), column) for column in columns]
    fitting = [(score, column) for score, column in scored if score and fits(column)]
    if role == "event_ts":  # of a date and a time of day the time
        fitting.sort(key=lambda each: -len(each[1].counts))
    if role == "product_id":  # of a line's own number and its product's the latter
        fitting.sort(key=lambda each: is_unique(each[1]))
    return max(fitting, key=lambda each: each[0])[1] if fitting else None


def with_time_of_day(column: SampledColumn, columns: Iterable[SampledColumn]) -> SampledColumn:
    """A column of days with the time that another column of its view tells; the column itself where none does."""
    if any(":" in value for value in column.present):
        return column
    for other in columns:
        if other.view == column.view and other.named("event_ts") and mostly(other.present, TIME_OF_DAY.fullmatch):
            both = [
                f"{day} {time}" if day and time else None for day, time in zip(column.values, other.values, strict=True)
            ]
            found = replace(column, sql=f"concat({column.sql}, ' ', {other.sql})", values=tuple(both))
            return found if found.instant else column
    return column


def roles_of(columns: Sequence[SampledColumn], roles: Iterable[str]) -> dict[str, SampledColumn]:
    """Role -> its column, each column once; roles that come first choose first."""
    found: dict[str, SampledColumn] = {}
    for role in roles:
        left = [column for column in columns if column not in found.values()]
        if (column := best(left, role)) is not None:
            found[role] = column
    return found


@dataclass(frozen=True)
class SampledView:
    """Some rows of the files of one view."""

    name: str
    columns: tuple[SampledColumn, ...]
    lines: str = ""
    """LATERAL VIEW over an array of lines in a JSON column, if there is one."""
    days: tuple[date, ...] = ()
    """The days in the names of its files."""

    def filled_from(self, basket: SampledColumn, column: SampledColumn) -> bool:
        """Whether blanks of a column can be filled from other lines of the same order."""
        told: dict[str, bool] = defaultdict(bool)
        pairs = [(key, value) for key, value in zip(basket.values, column.values, strict=True) if key]
        for key, value in pairs:
            told[key] |= bool(value and value.strip())
        blanks = [key for key, value in pairs if not (value and value.strip())]
        return len(blanks) > 0.02 * len(pairs) and sum(told[key] for key in blanks) > 0.5 * len(blanks)


def sampled_view(name: str, rows: Mapping[str, Sequence[str | None]], days: tuple[date, ...] = ()) -> SampledView:
    """A view's columns, and the values within those that hold JSON."""
    columns: list[SampledColumn] = []
    arrays: list[tuple[str, list[SampledColumn]]] = []
    for column, values in rows.items():
        parsed = [_json(value) for value in values]
        held = [value for value in parsed if value is not None]
        if not held or len(held) < MOSTLY * sum(value is not None for value in values):
            columns.append(SampledColumn(name, column, quoted_name(column), tuple(values)))
        elif all(isinstance(value, dict) for value in held):
            for path in dict.fromkeys(path for value in held for path in _paths(value)):
                sql = f"get_json_object({quoted_name(column)}, '$.{'.'.join(path)}')"
                inner = tuple(_at(value, path) for value in parsed)
                columns.append(SampledColumn(name, ".".join((column, *path)), sql, inner))
        else:
            arrays.append(_lines(name, column, parsed))
    # One array's elements can become rows: that which names products.
    lines, inside = max(
        arrays, key=lambda each: max((c.named("product_id") for c in each[1]), default=0), default=("", [])
    )
    return SampledView(name, tuple(columns + inside), lines if inside else "", days)


def _lines(view: str, column: str, parsed: Sequence[Any]) -> tuple[str, list[SampledColumn]]:
    """(LATERAL VIEW over an array of objects, the columns of its elements)."""
    found = [value for value in parsed if isinstance(value, list)]
    keys = dict.fromkeys(k for value in found for item in value if isinstance(item, dict) for k in item if _is_word(k))
    schema = ", ".join(f"{quoted_name(key)}: STRING" for key in keys)
    sql = f"LATERAL VIEW explode(from_json({quoted_name(column)}, 'ARRAY<STRUCT<{schema}>>')) AS line"
    return sql, [
        SampledColumn(
            view, f"{column}.{key}", f"line.{quoted_name(key)}", tuple(_of_first(value, key) for value in parsed)
        )
        for key in keys
    ]


def quoted_name(name: str) -> str:
    """A column's name in SQL."""
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and not RESERVED.fullmatch(name.lower())
    return name if plain else f"`{name.replace('`', '``')}`"


def _is_word(key: str) -> bool:
    return re.fullmatch(r"\w+", key) is not None


def _json(value: str | None) -> Any:
    if value is None or not value.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _paths(value: Any, depth: int = 0) -> Iterable[tuple[str, ...]]:
    """The paths to scalars within an object, at most three keys long."""
    if isinstance(value, dict) and depth < 3:
        for key, inner in value.items():
            if _is_word(key):
                yield from ((key, *path) for path in _paths(inner, depth + 1))
    elif depth and not isinstance(value, dict | list):
        yield ()


def _at(value: Any, path: tuple[str, ...]) -> str | None:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return _text(value)


def _of_first(value: Any, key: str) -> str | None:
    first = value[0] if isinstance(value, list) and value else None
    return _text(first.get(key)) if isinstance(first, dict) else None


def _text(value: object) -> str | None:
    return None if value is None or isinstance(value, dict | list) else str(value)
