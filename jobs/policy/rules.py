"""Defines the kinds of merchandisers' rules: their columns, limits and scopes."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import date
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from jobs.tables import shop
from jobs.text import INVISIBLE
from models.assembly.rulebook import DEFAULT_RULES

PRODUCT_LISTS = tuple(table.name for table in (*shop.PRODUCT_LISTS, shop.SOLD_OUT_ALTERNATIVES))
"""Touch points whose lists belong to a product, which has a department and a price to compare with."""
TOUCH_POINTS = tuple(table.name for table in shop.TOUCH_POINTS)
LISTS = tuple(table.name for table in shop.LISTS)
"""Touch points with lists that are filled up, whatever there is to show."""
OUTFITS = shop.OUTFITS.name
EVERYWHERE = (*TOUCH_POINTS, OUTFITS)
COLUMNS = tuple(name for name in shop.POLICY.names if name not in ("as_of", "run_id"))
"""Columns that merchandisers fill in; the command adds the day and the run."""
ANY = "*"
"""In mix_departments: every department."""
MOST_RULES = 5_000
"""Rule numbers are 16 bits wide, and nobody can answer for more rules than that."""
LONGEST_ID = 100
SET = (2, 8)
"""Fewest and most products of an editor's set."""


def _only(pattern: str, wanted: str, *types: type) -> BeforeValidator:
    """Accepts text that matches the pattern, and values of exactly these types: cells of a file are text, those of the
    table are typed, and pydantic alone would also read true, 1_000 and timestamps as numbers or days."""

    def check(value: object) -> object:
        if type(value) in types or (isinstance(value, str) and re.fullmatch(pattern, value, re.ASCII)):
            return value
        raise ValueError(f"is no {wanted}")

    return BeforeValidator(check)


def _text(text: str) -> str:
    if text != text.strip() or not text:
        raise ValueError("begins or ends with a blank; remove it, or leave the field empty")
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("has a character that is no text; write it again")
    return text


def _whole(least: int, most: int, unit: str) -> FieldInfo:
    """The limits of an `amount`, and its unit."""
    wanted = f"a whole number from {least} to {most} ({unit})"
    limits: FieldInfo = Field(ge=least, le=most, multiple_of=1, description=wanted)
    return limits


Attribute = Literal["product_id", "brand", "category", "department"]
ATTRIBUTES: tuple[str, ...] = get_args(Attribute)
Day = Annotated[date, _only(r"\d{4}-\d{2}-\d{2}", "date; write it as 2026-04-06", date)]
NUMBER = r"[+-]?\d{1,300}(\.\d{1,300})?"
Number = Annotated[float, Field(allow_inf_nan=False), _only(NUMBER, "finite number; write it as 3 or 0.5", int, float)]
Text = Annotated[str, Field(strict=True), AfterValidator(_text)]


class Rule(BaseModel):
    """One checked row of the table policy, see `jobs.tables.shop.POLICY`.

    Each kind of rule is a subclass that declares the columns that it needs; it refuses the others. The context of a
    validation is the list of variants that a rule may name (None: any).
    """

    model_config = ConfigDict(frozen=True)
    touch_points: ClassVar[tuple[str, ...]] = TOUCH_POINTS
    """Touch points that rules of this kind can hold for."""
    why: ClassVar[str] = ""
    """Why they cannot hold for the others."""

    rule_id: Annotated[Text, Field(description="a name of its own")]
    kind: str
    touch_point: Text | None = None
    market: Text | None = None
    variant: Text | None = None
    attribute: Text | None = None
    value: Text | None = None
    shown: Text | None = None
    amount: Number | None = None
    low: Number | None = None
    high: Number | None = None
    starts_on: Day | None = None
    ends_on: Day | None = None
    reason: Text | None = None

    @field_validator("rule_id")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if len(name) > LONGEST_ID:
            raise ValueError(f"has {len(name)} characters; at most {LONGEST_ID} are allowed")
        if any(unicodedata.category(letter) in INVISIBLE for letter in name):
            raise ValueError("has an invisible or control character; write it with others")
        if name.casefold() in DEFAULT_RULES:
            raise ValueError(f"is the name of a default rule, as are {', '.join(DEFAULT_RULES)}; choose another")
        return name

    @field_validator("touch_point")
    @classmethod
    def _check_touch_point(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and name not in cls.touch_points:
            fault = f"cannot have {info.data['kind']}: {cls.why}" if name in EVERYWHERE else "is unknown"
            raise ValueError(f"{fault}; it must be {' or '.join(cls.touch_points)}, or empty for all of them")
        return name

    @field_validator("variant")
    @classmethod
    def _check_variant(cls, name: str | None, info: ValidationInfo) -> str | None:
        if info.context is not None and name not in (None, *info.context):
            names = ", ".join(info.context)
            raise ValueError(f"is not one of tonight's variants {names}; correct it or leave it empty")
        return name

    @field_validator("attribute", "value", "shown", "amount", "low", "high", mode="before")
    @classmethod
    def _check_use(cls, value: object, info: ValidationInfo) -> object:
        if info.field_name not in cls.__annotations__ and value is not None:
            raise ValueError(f"means nothing to {info.data['kind']}; leave it empty")
        return value

    @field_validator("ends_on")
    @classmethod
    def _check_days(cls, ends: date | None, info: ValidationInfo) -> date | None:
        starts = info.data.get("starts_on")
        if starts is not None and ends is not None and starts > ends:
            raise ValueError(f"is before starts_on = {starts}; exchange them")
        return ends

    def on(self, as_of: date) -> bool:
        """Whether it holds on a night; both ends count."""
        return (self.starts_on or date.min) <= as_of <= (self.ends_on or date.max)

    def within(self, touch_point: str, market: str, variant: str) -> bool:
        """Whether it holds for the lists of a touch point, market and variant."""
        return (
            self.touch_point in (None, touch_point)
            and self.market in (None, market)
            and self.variant in (None, variant)
            and touch_point in self.touch_points
        )

    def meets(self, other: Rule) -> bool:
        """Whether there is a list for which both hold on one night; for two rules of one kind."""
        starts = max(self.starts_on or date.min, other.starts_on or date.min)
        ends = min(self.ends_on or date.max, other.ends_on or date.max)
        scopes = ((self.touch_point, other.touch_point), (self.market, other.market), (self.variant, other.variant))
        return starts <= ends and all(one is None or two is None or one == two for one, two in scopes)

    @property
    def rank(self) -> tuple[bool, bool, bool, str]:
        """The least rank wins where one rule must: a market named, a touch point named, a variant, then the name."""
        return self.market is None, self.touch_point is None, self.variant is None, self.rule_id

    @property
    def selects(self) -> list[tuple[str, str]]:
        """(attribute, value) of the products that it names; not those of all departments."""
        if self.kind == "mix_departments":
            return [("department", value) for value in (self.value, self.shown) if value is not None and value != ANY]
        if self.kind == "outfit":
            return [("product_id", product) for product in self.set_of]
        return [] if self.attribute is None or self.value is None else [(self.attribute, self.value)]

    @property
    def set_of(self) -> list[str]:
        """The products of an editor's set, each once, in their order."""
        return list(dict.fromkeys(re.findall(r"[^,\s]+", self.value or "")))

    def as_json(self) -> str:
        """The rule as one JSON object without empty columns."""
        given = self.model_dump(exclude_none=True)
        return json.dumps(given, ensure_ascii=False, sort_keys=True, default=str)


class Exclude(Rule):
    """Keeps products out of lists."""

    touch_points = EVERYWHERE
    kind: Literal["exclude"]
    attribute: Attribute
    value: Text


class Include(Rule):
    """Puts a product at a place."""

    touch_points = LISTS
    why = "it shows what is there and adds none; boost the product there"
    kind: Literal["include"]
    attribute: Literal["product_id"]
    value: Text
    amount: Annotated[Number, _whole(1, 1000, "place, 1 being the first")]


class Move(Rule):
    """Moves products up or down."""

    kind: Literal["boost", "bury"]
    attribute: Attribute
    value: Text
    amount: Annotated[Number, _whole(1, 1000, "places to move")]


class BrandCap(Rule):
    """Limits the products of one brand in a list."""

    kind: Literal["brand_cap"]
    amount: Annotated[Number, _whole(0, 1000, "most of one brand in a list, 0 for any number")]


class CategoryCap(Rule):
    """Limits the products of one category in a list."""

    touch_points = LISTS
    why = "it may be of one category, and would lose all but its first products"
    kind: Literal["category_cap"]
    amount: Annotated[Number, _whole(0, 1000, "most of one category in a list, 0 for any number")]


class MixDepartments(Rule):
    """Lets the lists of one department's products show products of another."""

    touch_points = (*PRODUCT_LISTS, OUTFITS)
    why = "only lists that belong to a product have a department and a price to compare with"
    kind: Literal["mix_departments"]
    value: Annotated[Text, Field(description=f"department of the product whose list it is, or {ANY}")]
    shown: Annotated[Text, Field(description=f"department that its list may show, or {ANY}")]


class PriceWindow(Rule):
    """Limits the prices in a list to shares of the price of the product whose list it is."""

    touch_points = MixDepartments.touch_points
    why = MixDepartments.why
    kind: Literal["price_window"]
    low: Annotated[Number, Field(ge=0, le=1000)] | None = None
    high: Annotated[Number, Field(gt=0, le=1000)] | None = Field(None, validate_default=True)

    @field_validator("high")
    @classmethod
    def _check_window(cls, high: float | None, info: ValidationInfo) -> float | None:
        low = info.data.get("low", 0)  # 0 where it has a mistake of its own
        if high is None and low is None:
            raise ValueError(
                "and low are empty; give one of them, or both, as shares of the price of the product whose list it "
                "is, such as 0.5 and 2"
            )
        if low is not None and high is not None and low > high:
            raise ValueError(f"is below low = {low:g}; exchange them")
        return high


class RepeatPurchase(Rule):
    """Lets a customer's list show a bought product of a category again after some days."""

    touch_points = (shop.RECOMMENDED_FOR_YOU.name,)
    why = "only a customer's own list knows what the customer bought"
    kind: Literal["repeat_purchase"]
    attribute: Literal["category"]
    value: Text
    amount: Annotated[Number, _whole(0, 36_500, "days since the purchase")]


class SizeRun(Rule):
    """Lets products step back of which few sizes are left."""

    kind: Literal["size_run"]
    amount: Annotated[
        Number, Field(ge=0, le=1, description="a share from 0 to 1 (least share of its sizes in stock, 0 for any)")
    ]


class OutfitSet(Rule):
    """Shows products together as the first look of each of them."""

    touch_points = (OUTFITS,)
    why = "only outfits show products as a set"
    kind: Literal["outfit"]
    value: Annotated[Text, Field(description=f"the ids of {SET[0]} to {SET[1]} products, parted by commas or blanks")]

    @field_validator("value")
    @classmethod
    def _check_set(cls, value: str) -> str:
        named = len(set(re.findall(r"[^,\s]+", value)))
        if not SET[0] <= named <= SET[1]:
            raise ValueError(f"names {named} products; a set has {SET[0]} to {SET[1]}")
        return value


AnyRule = (
    Exclude
    | Include
    | Move
    | BrandCap
    | CategoryCap
    | MixDepartments
    | PriceWindow
    | RepeatPurchase
    | SizeRun
    | OutfitSet
)
KINDS: dict[str, type[Rule]] = {
    kind: model for model in get_args(AnyRule) for kind in get_args(model.model_fields["kind"].annotation)
}
"""Kind of rule -> its class."""
