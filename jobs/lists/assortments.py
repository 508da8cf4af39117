"""Stages which products of the night's network a list of a visitor may show in each market."""

from __future__ import annotations

import base64
import json

import numpy as np

from jobs.lake.lake import Lake
from jobs.lists.builder import ListBuilder, ListGroup
from jobs.lists.config import ListsConfig
from jobs.lists.touch_points import FOR_YOU
from jobs.networks import network_products
from jobs.run import Run
from jobs.tables.networks import ASSORTMENTS
from models.assembly.rulebook import LAST


def stage_assortments(lake: Lake, builder: ListBuilder, config: ListsConfig, run: Run) -> None:
    """Write the products of each market that no rule excludes from Recommended for you, for any variant: the client
    does not know which variant a customer sees. Those that step back behind all others are left out if enough stay.
    """
    assortment, rows, places = builder.assortment, [], builder.places(FOR_YOU)
    of_network = assortment.products.encode(network_products(lake, run.as_of).ids, missing="negative")
    for market in range(len(assortment.markets)):
        books = [builder.book(ListGroup(FOR_YOU, market, variant)) for variant in config.variants]
        allowed = assortment.available[market] & np.logical_and.reduce([book.excluded < 0 for book in books])
        behind = np.logical_or.reduce([book.places == LAST for book in books])
        if (allowed & ~behind).sum() >= places:
            allowed &= ~behind
        bits = np.packbits(np.append(allowed, False)[of_network])  # the last stands for what left the catalogue
        settings = {
            "places": places,
            "brand_cap": min((book.brand_cap for book in books if book.brand_cap), default=0),
            "category_cap": min((book.category_cap for book in books if book.category_cap), default=0),
        }
        rows.append(
            {
                "market": builder.market_name(market),
                "products": base64.b64encode(bits.tobytes()).decode(),
                "settings": json.dumps(settings),
            }
        )
    lake.replace_rows(ASSORTMENTS, rows, run)
