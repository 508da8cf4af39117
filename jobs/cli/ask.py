"""Defines the commands that only ask: what a service gets, and why."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.client.page import DEFAULT
from jobs.cli.common import LAKE, EngineName, Place, Root, command, day_of, now
from jobs.errors import UserError

if TYPE_CHECKING:
    from jobs.lake.lake import Lake

PANEL = "Questions"
Customer = Annotated[str | None, typer.Option(help="A customer id.")]
Product = Annotated[str | None, typer.Option(help="A product id.")]
Market = Annotated[str | None, typer.Option(help="Market; a customer's own where it is left out.")]
Variant = Annotated[str, typer.Option(help="A/B variant of the lists.")]
Night = Annotated[
    str | None, typer.Option("--as-of", metavar="DATE", help="The night; the one that is live where it is left out.")
]


@command(rich_help_panel=PANEL)
def lookup(
    customer: Customer = None,
    product: Product = None,
    market: Market = None,
    variant: Variant = DEFAULT,
    recent: Annotated[
        str | None,
        typer.Option(help="Products that a visitor has clicked since the night, separated by commas, newest last."),
    ] = None,
    root: Root = LAKE,
) -> None:
    """Print what a service gets from the online store, with names.

    With --recent and without an id, a visitor who is known by these clicks alone.
    """
    from rich.console import Console

    from jobs.ask.lookup import print_customer, print_product

    visit = [one.strip() for one in (recent or "").split(",") if one.strip()]
    if (customer is None) == (product is None) and not (visit and customer is None):
        raise UserError("give --customer ID or --product ID, one of them")
    clicks = [(one, "click", now()) for one in visit]
    client = Place(root).online_store().client()
    if product is not None:
        print_product(client, product, market, Console(), variant, clicks)
    else:
        print_customer(client, customer or "", market, Console(), clicks)


@command(rich_help_panel=PANEL)
def rank(
    customer: Annotated[str, typer.Option(help="A customer id.")],
    market: Market = None,
    category: Annotated[str | None, typer.Option(help="A category page; * for all products.")] = None,
    products: Annotated[str | None, typer.Option(help="Product ids, separated by commas.")] = None,
    variant: Variant = DEFAULT,
    root: Root = LAKE,
) -> None:
    """Print a category page, or some products, in a customer's own order."""
    from rich.console import Console

    from jobs.ask.lookup import print_ranking

    if (category is None) == (products is None):
        raise UserError("give --category NAME or --products A,B,C, one of them")
    given = None if products is None else [product.strip() for product in products.split(",")]
    print_ranking(Place(root).online_store().client(), customer, market, category, given, Console(), variant)


@command(rich_help_panel=PANEL)
def bag(
    products: Annotated[str, typer.Option(help="Product ids of the bag, separated by commas.")],
    market: Annotated[str, typer.Option(help="Market.")],
    variant: Variant = DEFAULT,
    root: Root = LAKE,
) -> None:
    """Print A Little Something Extra for a bag, combined from its products' lists."""
    from rich.console import Console

    from jobs.ask.lookup import print_bag

    asked = [product.strip() for product in products.split(",")]
    print_bag(Place(root).online_store().client(), asked, market, Console(), variant)


@command(rich_help_panel=PANEL)
def context(
    customer: Annotated[str, typer.Option(help="A customer id.")],
    product: Annotated[str, typer.Option(help="The product they have just clicked.")],
    market: Market = None,
    as_of: Night = None,
    variant: Variant = DEFAULT,
    root: Root = LAKE,
) -> None:
    """Print a product's alternatives in the order of one customer's history, beside the list for everybody."""
    from rich.console import Console

    from jobs.ask.context import alternatives_in_context, print_in_context

    lake, night = _night_of(root, as_of)
    print_in_context(alternatives_in_context(lake, night, customer, product, market, variant=variant), Console())


def _night_of(root: Path, as_of: str | None) -> tuple[Lake, date]:
    """(the lake as it was published, the live night), or (the lake as it is, the night that is given)."""
    from jobs.lake.live import publication

    lake = Place(root).lake()
    if as_of is not None:
        return lake, day_of(as_of)
    live = publication(lake)
    if live is None:
        raise UserError("no night is live; publish one, or give --as-of DATE for one that has vectors")
    return lake.at(live.versions), live.night


@command(rich_help_panel=PANEL)
def explain(
    touch_point: Annotated[
        str | None, typer.Option(help="Table of the list; by default you_might_also_like, or the customer's own.")
    ] = None,
    product: Annotated[
        str | None, typer.Option(help="The product whose list it is; with --customer, one of or missing from theirs.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="The customer whose list it is.")] = None,
    category: Annotated[str | None, typer.Option(help="Category of a market_ranking; * for all products.")] = None,
    market: Annotated[str | None, typer.Option(help="Market; needed where there is a list in several.")] = None,
    position: Annotated[int, typer.Option(help="The place in the list, 1 being the first.")] = 1,
    variant: Variant = DEFAULT,
    as_of: Night = None,
    root: Root = LAKE,
) -> None:
    """Tell why a place of a list shows its product: score, source, rule, night and model, from the tables alone."""
    from rich.console import Console

    from jobs.ask.explain import default_touch_point, print_explanation
    from jobs.ask.explain import explain as explained

    key = {"product_id": product, "customer_id": customer, "category": category, "market": market, "variant": variant}
    found = explained(
        Place(root).lake(), touch_point or default_touch_point(key), key, position, day_of(as_of) if as_of else None
    )
    print_explanation(found, Console())


@command(rich_help_panel=PANEL)
def experiments(as_of: Night = None, root: Root = LAKE) -> None:
    """Print how the variants of experiments did: who is ahead, by how much, and what is not decided."""
    from rich.console import Console

    from jobs.ask.experiments import print_experiments

    print_experiments(Place(root).lake(), day_of(as_of) if as_of else None, Console())


@command(rich_help_panel=PANEL)
def campaigns(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .csv or .ndjson file to write.")],
    as_of: Night = None,
    trigger: Annotated[str | None, typer.Option(help="Only the messages of one trigger.")] = None,
    root: Root = LAKE,
) -> None:
    """Write whom to write to about what, as a published night has it, for an e-mail tool."""
    from jobs.ask.campaigns import published_campaigns
    from jobs.ask.exports import check_export, export

    check_export(out)
    rows = published_campaigns(Place(root).lake(), day_of(as_of) if as_of else None, trigger)
    export(rows, out)
    typer.echo(f"{rows.num_rows:,} messages written to {out}")


@command(rich_help_panel=PANEL)
def audience(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .csv or .ndjson file to write.")],
    brand: Annotated[str | None, typer.Option(help="A brand.")] = None,
    category: Annotated[str | None, typer.Option(help="A category.")] = None,
    product: Product = None,
    size: Annotated[int, typer.Option(min=1, help="Most customers.")] = 10_000,
    market: Annotated[str | None, typer.Option(help="Only customers of this market.")] = None,
    active_days: Annotated[
        int | None, typer.Option(min=1, help="Only customers with an event in so many days before the night.")
    ] = None,
    as_of: Night = None,
    root: Root = LAKE,
) -> None:
    """Write the customers who most likely turn to a brand, a category or a product, the likeliest first."""
    from jobs.ask.audience import AudienceQuestion
    from jobs.ask.audience import audience as found
    from jobs.ask.exports import check_export, export

    check_export(out)
    given = {"brand": brand, "category": category, "product_id": product}
    asked = [(name, value) for name, value in given.items() if value is not None]
    if len(asked) != 1:
        raise UserError("give --brand NAME, --category NAME or --product ID, one of them")
    lake, night = _night_of(root, as_of)
    rows = found(lake, night, AudienceQuestion(*asked[0], size, market, active_days))
    export(rows, out)
    typer.echo(f"{rows.num_rows:,} customers written to {out}")


@command(rich_help_panel=PANEL)
def sql(
    query: Annotated[
        str, typer.Argument(help="A SELECT over tables named live.NAME; NAME has all nights' rows of some.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all rows to a .csv or .parquet file.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 50,
    engine: EngineName = "sail",
    root: Root = LAKE,
) -> None:
    """Run a SELECT over the tables as they are live; staged rows are not seen."""
    from rich.console import Console

    from jobs.ask.sql import answer, check_out, print_answer, write_answer

    lake = Place(root, engine=engine).lake()
    try:
        if out is None:
            print_answer(answer(lake, query, limit + 1), limit, Console())
        else:
            check_out(out)
            rows = answer(lake, query)
            write_answer(rows, out)
            Console().print(f"{rows.num_rows:,} rows written to {out}", markup=False)
    finally:
        lake.stop()
