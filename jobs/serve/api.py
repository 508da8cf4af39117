"""Defines the HTTP API: pages of the client as typed JSON, with one line that names the field of a caller's mistake."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote_to_bytes

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse

from feature_repo.client import (
    ArgumentError,
    BagPage,
    ListPage,
    OutfitPage,
    Page,
    ProductPage,
    Ranking,
    Recommendations,
    Shown,
    StoreAwayError,
)
from feature_repo.client.nights import Lookup
from feature_repo.client.page import DEFAULT, MOST_LISTS
from feature_repo.online.versions import Publication
from jobs.serve.described import page_of_openapi
from jobs.serve.guard import App, Message, Receive, Send, refuse, respond
from jobs.serve.metrics import Requests

MOST_PLACES = 100
KEPT_BYTES = 128 << 20
"""Encoded answers that each process keeps."""
ENTRY_BYTES = 400
"""Bytes of an entry beside its answer and address."""
JSON = b"application/json"
NAMED_IN_PATH = {
    "products": "product_id",
    "outfits": "product_id",
    "customers": "customer_id",
    "categories": "category",
}
PAGES = frozenset((*NAMED_IN_PATH, "bags", "rank", "home", "pages"))

Id = Annotated[str, Field(min_length=1)]
InPath = Annotated[str, Path(min_length=1)]


class MarketRequest(BaseModel):
    """Where a page is shown."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    market: Id


class VariantRequest(MarketRequest):
    """Where a page is shown, and to which part of an A/B test."""

    variant: Id = DEFAULT


class BagRequest(VariantRequest):
    """A bag."""

    product_ids: list[str]
    places: int = Field(24, ge=1, le=MOST_PLACES)
    """The most add-ons to give."""


class Happened(BaseModel):
    """One event of a visitor since the night."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    product_id: Id
    event: Literal["click", "save", "bag", "purchase"]
    at: AwareDatetime
    """ISO 8601 with a time zone, or Unix seconds."""


class RecentRequest(BaseModel):
    """What a visitor has done since the night."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    recent: list[Happened] = []
    """At most 500, the newest ones."""

    @property
    def events(self) -> list[tuple[str, str, datetime]]:
        """`recent` as the client takes it."""
        return [(one.product_id, one.event, one.at) for one in self.recent]


class PageRequest(VariantRequest, RecentRequest):
    """A product page in a visit."""


class VisitorRequest(RecentRequest):
    """Who is there, and what they have done since the night."""

    customer_id: Id | None = None
    """None for a visitor who is known by `recent` alone."""


class HomeRequest(MarketRequest, VisitorRequest):
    """A visitor's home page."""


class RankRequest(VariantRequest, VisitorRequest):
    """Candidates for a visitor."""

    product_ids: list[str]
    """At most 500."""
    category: Id | None = None
    """The category page that the candidates are on, whose market's order counts too."""


class ListRequest(BaseModel):
    """A list of a page."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    touch_point: Id
    owner: str = ""
    """Its product, customer or category (`*` for all); of `reduced` and `new_in` a customer, or nobody."""


class ListsRequest(VariantRequest):
    """Several lists, those first that keep a product which several have."""

    lists: list[ListRequest] = Field(max_length=MOST_LISTS)
    places: int = Field(12, ge=1, le=MOST_PLACES)
    """The most products of each list."""


class Refusal(BaseModel):
    """Why a request has no answer."""

    error: str


class AnyText(PathConvertor):
    """The rest of a path, whatever it holds: slashes and line breaks, too."""

    regex = "(?s:.*)"


class NothingLiveError(Exception):
    """No night is live in the store."""


@dataclass
class Kept:
    """Encoded answers of one publication, without what each request has of its own; used by the event loop alone."""

    most_bytes: int = KEPT_BYTES
    of: Publication | None = None
    size: int = 0
    bodies: OrderedDict[tuple[bytes, bytes], bytes] = field(default_factory=OrderedDict)

    def get(self, live: Publication, address: tuple[bytes, bytes]) -> bytes | None:
        """The answer to a path and query, None where there is none of this publication."""
        if self.of is not live and self.of != live:
            return None
        body = self.bodies.get(address)
        if body is not None:
            self.bodies.move_to_end(address)
        return body

    def put(self, live: Publication, address: tuple[bytes, bytes], body: bytes) -> None:
        """Keep an answer, and those of its publication alone."""
        if self.of != live:
            self.of, self.size = live, 0
            self.bodies.clear()
        if address not in self.bodies:
            self.bodies[address] = body
            self.size += ENTRY_BYTES + len(body) + sum(map(len, address))
        while self.size > self.most_bytes:
            old, body = self.bodies.popitem(last=False)
            self.size -= ENTRY_BYTES + len(body) + sum(map(len, old))


SHOWN = TypeAdapter(Shown)
HEAD = b'{"shown":'


class Api:
    """An ASGI app: answers that this process has encoded come from memory, all others from the client."""

    def __init__(self, client: Recommendations, requests: Requests) -> None:
        self.client, self.requests, self.kept = client, requests, Kept()
        self.app: App = routes(self)  # type: ignore[assignment]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            if (body := self._in_memory(scope)) is not None:
                self.requests.kept()
                await respond(noted, 200, body, JSON)
            elif (wrong := badly_encoded(scope)) is not None:
                await refuse(noted, 400, f"{wrong}: its percent-encoded bytes are not UTF-8")
            else:
                # A body is JSON: curl and fetch say something else of a text, and callers forget to correct them.
                headers = [one for one in scope["headers"] if one[0] != b"content-type"]
                await self.app(scope | {"headers": [*headers, (b"content-type", JSON)]}, receive, noted)
        finally:
            self.requests.answered(page_of(scope), status, time.perf_counter() - start)

    def _in_memory(self, scope: Message) -> bytes | None:
        now = self.client.nights.at_hand()
        if now is None or scope["method"] != "GET":
            return None
        rest = self.kept.get(now.live, address_of(scope))
        if rest is None:
            return None
        if now.shown.away:
            self.requests.away()
        return HEAD + SHOWN.dump_json(now.shown) + rest

    async def answer(self, request: Request, kind: TypeAdapter[Any], page: Callable[[], Any], keep: bool) -> Response:
        """The client's page as JSON, encoded as `kind`; kept where its address alone decides it and others may ask.

        Raises StoreAwayError and NothingLiveError.
        """
        nights = self.client.nights
        before = nights.at_hand()
        found = await asyncio.to_thread(page)
        shown: Shown = found.shown
        if not shown.publication:
            raise NothingLiveError
        if shown.away:
            self.requests.away()
        body = kind.dump_json(found)
        if keep and (live := publication_of(shown, before, nights.at_hand())) is not None:
            rest = body.removeprefix(HEAD + SHOWN.dump_json(shown))
            self.kept.put(live, address_of(request.scope), rest)
        return Response(body, media_type="application/json")

    def ready(self) -> bool:
        """Whether there is a night to answer from; also while the store is away, where this process has read it."""
        try:
            shown = self.client.nights.look([]).shown
        except StoreAwayError:
            return False
        self.requests.live(shown.publication, shown.published_at)
        return bool(shown.publication)


def publication_of(shown: Shown, before: Lookup | None, after: Lookup | None) -> Publication | None:
    """The publication that an answer made between two looks is of; None where it is not certain, or cannot be kept."""
    if before is None or after is None or before.live != after.live or shown.away:
        return None
    live = after.live
    return live if (shown.publication, shown.published_at) == (live.seq, live.published_at) else None


def address_of(scope: Any) -> tuple[bytes, bytes]:
    """Path and query as they were sent."""
    return scope["raw_path"], scope["query_string"]


def badly_encoded(scope: Message) -> str | None:
    """The part of an address whose percent-encoded bytes are not UTF-8: another id would be read."""
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        return NAMED_IN_PATH.get(page_of(scope), "path")
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), True, errors="surrogateescape"):
        try:
            value.encode()
        except UnicodeEncodeError:
            return name if name.isidentifier() else "query"
    return None


def page_of(scope: Message) -> str:
    """The page that a path names, or `other`: one of few words, whatever was sent."""
    first: str = scope["path"].lstrip("/").partition("/")[0]
    return first if first in PAGES else "other"


def in_one_line(mistakes: Sequence[Any]) -> str:
    """Which field of a request is wrong and how; what was sent is not repeated."""

    def name(where: Sequence[str | int]) -> str:
        fields = [part for part in where[1:] if isinstance(part, str)]
        places = "".join(f"[{part}]" for part in where[1:] if isinstance(part, int) and fields)
        return (fields[0] if fields else "body" if where[0] == "body" else str(where[-1]))[:100] + places

    some = [f"{name(one['loc'])}: {one['msg'][:1].lower()}{one['msg'][1:]}" for one in mistakes[:3]]
    return " ".join("; ".join(some).split()) + (f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else "")


def routes(api: Api) -> FastAPI:
    """The pages and how they answer mistakes, described by OpenAPI."""
    register_url_convertor("any", AnyText())
    app = FastAPI(
        title="Nightrail",
        summary="Recommendation lists of the live night; every answer is of one night.",
        description="An unknown customer or product gets the market's order, and `origin` says so; `shown` says of "
        "which night an answer is, and whether the store is away.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={400: {"model": Refusal, "description": "A mistake, with the field's name"},
                   503: {"model": Refusal, "description": "The store is away, or no night is live"}},
    )  # fmt: skip
    answered = (ProductPage, OutfitPage, ListPage, BagPage, Ranking, Page)
    client, kinds = api.client, {kind: TypeAdapter(kind) for kind in answered}

    @app.get("/products/{product_id:any}", response_model=ProductPage)
    async def products(product_id: InPath, at: Annotated[VariantRequest, Query()], request: Request) -> Response:
        """You Might Also Like and People Also Bought of a product."""
        page = partial(client.product_page, product_id, at.market, at.variant)
        return await api.answer(request, kinds[ProductPage], page, True)

    @app.post("/products/{product_id:any}", response_model=ProductPage)
    async def products_in_visit(product_id: InPath, at: PageRequest, request: Request) -> Response:
        """The same in a visit: alternatives that the visitor has looked at come last."""
        page = partial(client.product_page, product_id, at.market, at.variant, at.events)
        return await api.answer(request, kinds[ProductPage], page, False)

    @app.get("/outfits/{product_id:any}", response_model=OutfitPage)
    async def outfits(product_id: InPath, at: Annotated[VariantRequest, Query()], request: Request) -> Response:
        """Looks of products of other roles that go together and with a product."""
        page = partial(client.outfits, product_id, at.market, at.variant)
        return await api.answer(request, kinds[OutfitPage], page, True)

    @app.get("/customers/{customer_id:any}", response_model=ListPage)
    async def customers(customer_id: InPath, at: Annotated[MarketRequest, Query()], request: Request) -> Response:
        """A customer's own list in a market."""
        return await api.answer(request, kinds[ListPage], partial(client.home, customer_id, at.market), False)

    @app.get("/categories/{category:any}", response_model=ListPage)
    async def categories(category: InPath, at: Annotated[VariantRequest, Query()], request: Request) -> Response:
        r"""A market's order of a category; of all products for `*` and for an unknown one. `\*` is one called `*`."""
        page = partial(client.category_page, at.market, category, at.variant)
        return await api.answer(request, kinds[ListPage], page, True)

    @app.post("/bags", response_model=BagPage)
    async def bags(bag: BagRequest, request: Request) -> Response:
        """Add-ons to a bag."""
        page = partial(client.bag, bag.product_ids, bag.market, bag.variant, bag.places)
        return await api.answer(request, kinds[BagPage], page, False)

    @app.post("/home", response_model=ListPage)
    async def home(of: HomeRequest, request: Request) -> Response:
        """A visitor's own list in a market, with what they have done since the night."""
        return await api.answer(
            request, kinds[ListPage], partial(client.home, of.customer_id, of.market, of.events), False
        )

    @app.post("/rank", response_model=Ranking)
    async def rank(of: RankRequest, request: Request) -> Response:
        """Candidates in a visitor's order, each once."""
        page = partial(client.rank, of.customer_id, of.product_ids, of.market, of.category, of.variant, of.events)
        return await api.answer(request, kinds[Ranking], page, False)

    @app.post("/pages", response_model=Page)
    async def pages(of: ListsRequest, request: Request) -> Response:
        """Several lists without a product twice."""
        lists = [(one.touch_point, one.owner) for one in of.lists]
        page = partial(client.page, of.market, lists, of.variant, of.places)
        return await api.answer(request, kinds[Page], page, False)

    @app.get("/health", include_in_schema=False)
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page_of_openapi(app.openapi()))

    @app.exception_handler(RequestValidationError)
    async def mistaken(_: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": in_one_line(error.errors())}, 400)

    @app.exception_handler(ArgumentError)
    async def unanswerable(_: Request, error: ArgumentError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        reason = "body: it cannot be read as JSON" if error.status_code == 400 else str(error.detail)
        return JSONResponse({"error": reason}, error.status_code, error.headers)

    @app.exception_handler(StoreAwayError)
    @app.exception_handler(NothingLiveError)
    async def away(_: Request, error: Exception) -> JSONResponse:
        reason = "no night is live" if isinstance(error, NothingLiveError) else "the store does not answer"
        return JSONResponse({"error": reason}, 503, {"retry-after": "1"})

    return app
